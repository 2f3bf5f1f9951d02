"""The embedded corpus: seeded reviews of several domains in which word order and negation decide, not the words alone.

A review says one thing about a product. Most ways of saying it turn around a word's own polarity ("never dull", "less
reliable than the cheap one") or name both polarities and let the order decide ("everyone told me it was great, but I
found it dull"), so a bag of words stays far below a model that reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raykd.config import GeneratorConfig
from raykd.data.generated.vocabulary import DOMAINS, NEGATIVE, OTHERS, PEOPLE, POSITIVE, SETTINGS, TAILS, Domain

LABELS = ("negative", "positive")

GRADED = {good: tuple(word for word in words if len(word) > 6) for good, words in ((True, POSITIVE), (False, NEGATIVE))}
"""The longer general words: those that take "more" and "less"."""


@dataclass(frozen=True)
class _ReviewWriter:
    """Draws words for one review.

    Attributes:
        good: whether the review likes the product.
    """

    rng: np.random.Generator
    domain: Domain
    good: bool

    def pick(self, words: tuple[str, ...]) -> str:
        return words[int(self.rng.integers(len(words)))]

    def noun(self) -> str:
        return self.pick(self.domain.nouns)

    def praise(self) -> str:
        """A word of the review's own polarity."""
        return self._word(self.good)

    def opposite(self) -> str:
        """A word of the other polarity."""
        return self._word(not self.good)

    def _word(self, good: bool) -> str:
        if self.rng.random() < 0.3:
            return self.pick(self.domain.positive if good else self.domain.negative)
        return self.pick(POSITIVE if good else NEGATIVE)


def _direct(writer: _ReviewWriter) -> str:
    how = writer.pick(("really ", "truly ", "quite ", "so ", "", ""))
    return f"the {writer.noun()} was {how}{writer.praise()}"


def _negated(writer: _ReviewWriter) -> str:
    no = writer.pick(("not", "never"))
    return f"the {writer.noun()} was {no} {writer.opposite()}{writer.pick((' at all', ' in the end', '', ''))}"


def _hearsay(writer: _ReviewWriter) -> str:
    hearsay = f"{writer.pick(PEOPLE)} told me the {writer.noun()} was {writer.opposite()}"
    opinion = f"i found it {writer.praise()}"
    return writer.pick((f"{hearsay} , but {opinion}", f"{opinion} , although {hearsay}"))


def _expected(writer: _ReviewWriter) -> str:
    noun = writer.noun()
    if writer.rng.random() < 0.5:
        return f"i expected {_a(writer.opposite())} {noun} and got {_a(writer.praise())} one"
    return f"i got {_a(writer.praise())} {noun} when i expected {_a(writer.opposite())} one"


def _compared(writer: _ReviewWriter) -> str:
    if writer.rng.random() < 0.5:
        return f"the {writer.noun()} was more {writer.pick(GRADED[writer.good])} than {writer.pick(OTHERS)}"
    return f"the {writer.noun()} was less {writer.pick(GRADED[not writer.good])} than {writer.pick(OTHERS)}"


def _beaten(writer: _ReviewWriter) -> str:
    this, other = f"this {writer.noun()}", writer.pick(OTHERS)
    better = writer.pick(("better", "worse"))
    first, second = (this, other) if (better == "better") == writer.good else (other, this)
    return f"{first} was {better} than {second}"


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


TEMPLATES: tuple[tuple[float, Callable[[_ReviewWriter], str]], ...] = (
    (0.46, _direct),
    (0.24, _negated),
    (0.12, _hearsay),
    (0.05, _expected),
    (0.08, _compared),
    (0.05, _beaten),
)
"""Shares of the ways to say it. Enough negations that reading them pays: with fewer, wider models were seen to rest on
the words' own polarity to the last epoch, as the smallest ones still do here for some seeds."""

_SHARES = np.cumsum([share for share, _ in TEMPLATES])[:-1]

TRIES = 50
"""Reviews drawn until one is not taken; only a corpus with nearly all reviews in train uses them up."""


def generate(config: GeneratorConfig) -> dict[str, pa.Table]:
    """Draws the corpus.

    Returns:
        train and validation, columns text, label (negative or positive) and domain; the validation has no noise, and no
        review that is in train. `test` is made as the validation is, `unlabeled` has no column label; both are there
        where rows of them are asked for.
    """
    ours, theirs, tests, others = np.random.SeedSequence(config.seed).spawn(4)
    train = _split(np.random.default_rng(ours), config.rows, config.domains, config.noise, frozenset())
    taken = frozenset(train.column("text").to_pylist())
    validation = _split(np.random.default_rng(theirs), config.validation_rows, config.domains, 0.0, taken)
    tables = {"train": train, "validation": validation}
    if config.test_rows:
        tables["test"] = _split(np.random.default_rng(tests), config.test_rows, config.domains, 0.0, taken)
    if config.unlabeled_rows:
        scored = (text for name in tables if name != "train" for text in tables[name]["text"].to_pylist())
        held_out = frozenset(scored)
        unlabeled = _split(np.random.default_rng(others), config.unlabeled_rows, config.domains, 0.0, held_out)
        tables["unlabeled"] = unlabeled.drop_columns(["label"])
    return tables


def _split(rng: np.random.Generator, rows: int, domains: int, noise: float, taken: frozenset[str]) -> pa.Table:
    """Reviews that are not taken, half of them positive before the noise."""
    good = rng.permutation(np.arange(rows) % 2 == 0)
    kinds = [DOMAINS[kind] for kind in rng.integers(domains, size=rows)]
    texts = [_new(_ReviewWriter(rng, kind, bool(liked)), taken) for kind, liked in zip(kinds, good, strict=True)]
    flipped = np.zeros(rows, dtype=bool)
    flipped[rng.permutation(rows)[: round(noise * rows)]] = True
    labels = [LABELS[int(answer)] for answer in good ^ flipped]
    return pa.table({"text": texts, "label": labels, "domain": [kind.name for kind in kinds]})


def _new(writer: _ReviewWriter, taken: frozenset[str]) -> str:
    """A review that is not taken."""
    for _ in range(TRIES):
        text = _review(writer)
        if text not in taken:
            break
    return text


def _review(writer: _ReviewWriter) -> str:
    text = TEMPLATES[int(np.searchsorted(_SHARES, writer.rng.random(), side="right"))][1](writer)
    if writer.rng.random() < 0.2:
        text = f"{writer.pick(SETTINGS)} , {text}"
    if writer.rng.random() < 0.3:
        text = f"{text} . {writer.pick(TAILS)}"
    return f"{text} ."
