"""A comparison in sentences and cells, as the terminal and the page share them."""

from __future__ import annotations

from raykd.display.study_text import params_text
from raykd.display.text import difference, metric_name, number
from raykd.records.compare_result import ArmResult, CompareResult, DifferenceResult


def conclusion(result: CompareResult) -> str:
    """Which arms differ from the reference: only those whose simultaneous interval leaves out 0."""
    name, where = metric_name(result.metric), f"{result.rows:,} {result.split} rows"
    sentences = [f"Compared with `{result.reference}` by {name} on {where}."]
    for verdict in ("higher", "lower"):
        arms = [entry for entry in result.differences if entry.verdict == verdict]
        listed = ", ".join(
            f"`{entry.arm}` ({difference(entry.value)} {interval(entry.simultaneous)})" for entry in arms
        )
        if arms:
            sentences.append(f"{verdict.capitalize()}: {listed}.")
    open_ones = [f"`{entry.arm}`" for entry in result.differences if entry.verdict == "not settled"]
    if open_ones:
        sentences.append(f"Not settled: {', '.join(open_ones)}.")
    return " ".join(sentences)


def method(result: CompareResult) -> str:
    """How intervals and p-values were made."""
    compared = len(result.differences)
    level = 100 * (1 - result.alpha / compared)
    both = (
        "; only one arm is compared, so both are equal"
        if compared == 1
        else f"; the adjusted one has {level:.4g} %, so that all {compared} hold together with 95 % (Bonferroni)"
    )
    exact = any(entry.mcnemar is not None for entry in result.differences)
    return (
        f"Intervals are percentiles of {result.resamples:,} resamples of rows and draws (seed {result.seed}). The "
        f"first has 95 % for its difference alone{both}. p-values are two-sided and adjusted for their number (Holm)"
        f"{', those of the bootstrap and of McNemar apart' * exact}. A difference is called higher or lower only where "
        "the adjusted interval leaves out 0."
    )


def arm_cells(arm: ArmResult) -> list[str]:
    """Name, value over draws, number of draws."""
    spread = "" if arm.deviation is None else f" ± {number(arm.deviation)}"
    return [arm.name, f"{number(arm.mean)}{spread}", str(len(arm.draws))]


def difference_cells(entry: DifferenceResult) -> list[str]:
    """Difference, both intervals, adjusted p-value, verdict."""
    intervals = [interval(entry.interval), interval(entry.simultaneous)]
    return [difference(entry.value), *intervals, probability(entry.p_holm), entry.verdict]


def interval(ends: tuple[float, float]) -> str:
    """`[-0.012, +0.034]`: what rounds to 0 has no sign."""
    low, high = (f"{end:+z.3f}".replace("+0.000", "0.000") for end in ends)
    return f"[{low}, {high}]"


def probability(p: float | None) -> str:
    """A p-value with two digits; a dash where there is none."""
    return "-" if p is None else "< 0.001" if p < 0.001 else f"{p:.2g}"


def settings_text(arm: ArmResult) -> str:
    """The settings that tell the treatments apart, in a line."""
    return params_text(arm.settings)
