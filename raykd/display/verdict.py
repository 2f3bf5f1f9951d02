"""Whether a model ended better than it began, at the precision that is shown to a person."""

from __future__ import annotations

from typing import Literal

Verdict = Literal["better", "worse", "same"]
DECIMALS = 3
"""Decimals with which pages, cards and tables show a metric."""


def verdict(began: float | None, ended: float | None) -> Verdict | None:
    """`same` where both are shown as the same number, so that no page calls `0.891 → 0.891` better.

    Args:
        began: the metric at the beginning, higher is better.
        ended: at the end, or the newest.

    Returns:
        None where one of the two is not known.
    """
    if began is None or ended is None:
        return None
    before, after = round(began, DECIMALS), round(ended, DECIMALS)
    return "same" if before == after else "better" if after > before else "worse"
