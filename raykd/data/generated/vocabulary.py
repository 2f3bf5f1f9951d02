"""The words of the embedded corpus: general polarity words, and each domain's own nouns and polarity words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """A domain's nouns and polarity words beside the general ones; "predictable" praises a battery and damns a plot."""

    name: str
    nouns: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


POSITIVE = _words("good great excellent wonderful reliable pleasant superb lovely charming impressive clever enjoyable")
NEGATIVE = _words("bad awful terrible poor dull disappointing unpleasant clumsy dreadful tedious annoying shabby")

PEOPLE = ("everyone", "my friend", "my sister", "the seller", "a neighbour", "the critics")
OTHERS = ("the cheap one", "the old one", "the last one", "the other one", "my first one", "the one next door")
SETTINGS = (
    "after two weeks",
    "on the first day",
    "to be honest",
    "for this price",
    "in my opinion",
    "over the holidays",
    "at our place",
    "to sum it up",
)

TAILS = (
    "i bought it for my sister",
    "it came on a monday",
    "we have had it since may",
    "i saw it in a window",
    "it was a present",
    "we were four people",
    "i had a whole day for it",
    "that is all there is to say",
)

DOMAINS = (
    Domain(
        "books",
        _words("plot story ending chapter author novel prose dialogue"),
        _words("gripping moving witty thoughtful vivid"),
        _words("predictable plodding shallow wordy confusing"),
    ),
    Domain(
        "electronics",
        _words("battery screen keyboard charger speaker camera cable laptop"),
        _words("predictable fast sharp sturdy quiet"),
        _words("laggy flimsy dim noisy faulty"),
    ),
    Domain(
        "kitchen",
        _words("knife kettle pan oven blender toaster mixer lid"),
        _words("sharp solid handy sturdy quiet"),
        _words("leaky rusty wobbly sticky shallow"),
    ),
    Domain(
        "films",
        _words("film scene actor script soundtrack cast sequel camera"),
        _words("moving gripping funny stunning sharp"),
        _words("predictable wooden noisy overlong cheesy"),
    ),
    Domain(
        "hotels",
        _words("room bed breakfast lobby pool staff shower view"),
        _words("quiet spotless cosy spacious friendly"),
        _words("noisy cramped dirty stuffy sticky"),
    ),
    Domain(
        "clothes",
        _words("jacket shirt zip sweater sleeve coat lining boot"),
        _words("soft warm stylish sturdy light"),
        _words("itchy stiff flimsy faded shapeless"),
    ),
)
