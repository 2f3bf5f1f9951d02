"""Which texts stand inside others, word by word: a suffix array over all words of a corpus (Manber and Myers, 1993).

A text is its words: runs of letters and digits, and single other signs, of the text without case (`casefold`). Spaces
and line breaks play no part. A text stands inside another one where its words follow one another there; so does an
equal text. A pair stands inside another one where its first text does in the first one, and its second in the second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import numpy as np

WORD = re.compile(r"\w+|[^\w\s]")
NONE, SEVERAL = -1, -2
"""In place of a text's only container: none of the containers counts, or they are not all equal."""
CHUNK = 1 << 22
"""Places of one text in others that are looked at together, for pairs."""


def words(text: str) -> list[str]:
    """The words of a text, at least one."""
    return WORD.findall(text.casefold()) or [text]


def containment(texts: Sequence[str], pairs: Sequence[str] | None) -> Containment:
    """Looks for all places of N texts in one another, or of N pairs."""
    return Suffixes(texts) if pairs is None else PairedSuffixes(Suffixes(texts), Suffixes(pairs))


class Suffixes:
    """All places of N texts in one another.

    Attributes:
        number: equal texts have equal numbers and others have not, int64 [N].
        owner: of every word of the corpus, in the order of what begins there, the text that it is in, int64 [W].
        low, high: text i begins at the places `low[i]` to `high[i] − 1` of that order and nowhere else, int64 [N].
    """

    def __init__(self, texts: Iterable[str]) -> None:
        codes: dict[str, int] = {}
        sequences = [[codes.setdefault(word, len(codes)) for word in words(text)] for text in texts]
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        corpus = np.fromiter(chain.from_iterable(sequences), np.int32, int(lengths.sum()))
        ends = np.repeat(np.cumsum(lengths), lengths)
        ranks, order = _sorted_suffixes(corpus, ends, int(lengths.max(initial=1)))
        starts = np.cumsum(lengths) - lengths
        self.owner = np.repeat(np.arange(len(lengths)), lengths)[order]
        self.low = np.searchsorted(ranks[-1][order], ranks[-1][starts])
        self.high = _upper_bounds(ranks, order, ends, starts, lengths, self.low)
        # Suffixes that equal a text whole are the first that begin with it, and no other text's are.
        self.number = np.unique(self.low, return_inverse=True)[1]

    def only_container(self, among: np.ndarray) -> np.ndarray:
        """Of each text the number of the container that no other contains, `NONE` or `SEVERAL` of them.

        A text that stands in no other is its own container.

        Args:
            among: the texts that count as containers, bool [N].
        """
        inside = self._only_owner(among)
        return self._only_owner(among & (inside == self.number))

    def inside(self, among: np.ndarray) -> np.ndarray:
        """Which texts stand inside one of these, itself left out, or equal one; both masks are bool [N]."""
        before = np.concatenate([[0], np.cumsum(among[self.owner])])
        return before[self.high] - before[self.low] > among

    def _only_owner(self, among: np.ndarray) -> np.ndarray:
        """The number of those among the texts that a text stands in, where it is but one; `NONE` or `SEVERAL`."""
        counted = among[self.owner]
        before = np.concatenate([[0], np.cumsum(counted)])
        first, last = before[self.low], before[self.high] - 1
        numbers = self.number[self.owner[counted]]
        if not len(numbers):
            return np.full(len(self.low), NONE)
        changes = np.concatenate([[0], np.cumsum(numbers[1:] != numbers[:-1])])
        found = last >= first
        first, last = np.where(found, first, 0), np.where(found, last, 0)
        only = np.where(changes[first] == changes[last], numbers[first], SEVERAL)
        return np.where(found, only, NONE)


class PairedSuffixes:
    """The same of pairs: of each pair those are looked at that have the rarer of its texts.

    Attributes:
        number: equal pairs have equal numbers and others have not, int64 [N].
    """

    def __init__(self, firsts: Suffixes, seconds: Suffixes) -> None:
        self.sides = (firsts, seconds)
        self.number = np.unique(np.stack([firsts.number, seconds.number]), axis=1, return_inverse=True)[1].reshape(-1)
        self.counts = np.stack([side.high - side.low for side in self.sides])

    def only_container(self, among: np.ndarray) -> np.ndarray:
        """As `Suffixes.only_container`, of pairs instead of texts."""
        contained = np.zeros(len(among), dtype=bool)
        for rows, containers in self._places(among):
            contained[rows[self.number[rows] != self.number[containers]]] = True
        least, most = np.full(len(among), len(among)), np.full(len(among), NONE)
        for rows, containers in self._places(among & ~contained):
            np.minimum.at(least, rows, self.number[containers])
            np.maximum.at(most, rows, self.number[containers])
        return np.where(least < most, SEVERAL, most)

    def inside(self, among: np.ndarray) -> np.ndarray:
        """As `Suffixes.inside`, of pairs instead of texts."""
        found = np.zeros(len(among), dtype=bool)
        for rows, containers in self._places(among):
            found[rows[rows != containers]] = True
        return found

    def _places(self, among: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows and a pair among these that each stands in, itself too, a part at a time; more than once for some."""
        for rarer, other in ((0, 1), (1, 0)):
            side, places = self.sides[rarer], _Places(self.sides[other])
            mine = np.flatnonzero(self.counts.argmin(axis=0) == rarer)
            parts = np.cumsum(self.counts[rarer, mine]) // CHUNK
            for part in np.split(mine, np.flatnonzero(np.diff(parts)) + 1):
                counts = self.counts[rarer, part]
                rows, before = np.repeat(part, counts), np.repeat(np.cumsum(counts) - counts, counts)
                containers = side.owner[side.low[rows] + np.arange(len(rows)) - before]
                counted = among[containers]
                rows, containers = rows[counted], containers[counted]
                both = places.has(containers, rows)
                yield rows[both], containers[both]


class _Places:
    """Whether a text stands in a given other one: the places of every text, ascending."""

    def __init__(self, side: Suffixes) -> None:
        self.side, self.length = side, len(side.owner)
        by_owner = np.argsort(side.owner, kind="stable")
        self.keys = side.owner[by_owner] * self.length + by_owner

    def has(self, containers: np.ndarray, texts: np.ndarray) -> np.ndarray:
        """Whether each container has the text beside it, bool like both."""
        base = containers * self.length
        before = np.searchsorted(self.keys, base + self.side.low[texts])
        return before < np.searchsorted(self.keys, base + self.side.high[texts])


Containment = Suffixes | PairedSuffixes


def _sorted_suffixes(corpus: np.ndarray, ends: np.ndarray, longest: int) -> tuple[list[np.ndarray], np.ndarray]:
    """By prefix doubling, the rank of each suffix by its first 1, 2, 4, … words, and the suffixes in order.

    Args:
        corpus: the words' codes, text after text, [W].
        ends: of each word the place behind its text, where the suffix ends, [W].
    """
    places = np.arange(len(corpus))
    ranks, width = [corpus], 1
    while width < longest:
        keys = ranks[-1].astype(np.int64) * (len(corpus) + 1)
        far = places + width < ends
        keys[far] += ranks[-1][places[far] + width] + 1
        ranks.append(np.unique(keys, return_inverse=True)[1].astype(np.int32))
        width *= 2
    return ranks, np.argsort(ranks[-1], kind="stable")


def _upper_bounds(
    ranks: list[np.ndarray],
    order: np.ndarray,
    ends: np.ndarray,
    starts: np.ndarray,
    lengths: np.ndarray,
    low: np.ndarray,
) -> np.ndarray:
    """Behind the last suffix that begins with each text, by bisection: two overlapping prefixes of 2^k words make one
    of any length between 2^k and 2^(k + 1)."""
    high, bound = low + 1, np.full(len(low), len(order))  # the text's own suffix begins with it
    levels = np.frexp(np.maximum(lengths, 1))[1] - 1
    for level, rank in enumerate(ranks):
        texts = np.flatnonzero(levels == level)
        start, length, rest = starts[texts], lengths[texts], lengths[texts] - (1 << level)
        begins, ends_in = rank[start], rank[start + rest]
        below, above = high[texts], bound[texts]
        while (below < above).any():
            middle = np.minimum((below + above) // 2, len(order) - 1)
            place = order[middle]
            fits = (place + length <= ends[place]) & (rank[place] == begins)
            fits &= rank[np.where(fits, place + rest, 0)] == ends_in
            active = below < above
            below = np.where(active & fits, middle + 1, below)
            above = np.where(active & ~fits, middle, above)
        high[texts] = below
    return high
