"""The result of several domains in sentences and cells, as the terminal and the page share them."""

from __future__ import annotations

from raykd.display.compare_text import interval
from raykd.display.durations import duration
from raykd.display.text import article, difference, metric_name, number, plural
from raykd.records.compare_result import Difference
from raykd.records.domains_result import DomainsResult, ModelValues

MACRO, MICRO = "mean over domains", "all rows together"


def values_of(result: DomainsResult) -> list[tuple[str, int, ModelValues]]:
    """Title, rows and values of each row of the table: the domains, then the means over domains and over rows."""
    domains = [(name, domain.rows, domain) for name, domain in result.domains.items()]
    return [*domains, (MACRO, result.rows, result.macro), (MICRO, result.rows, result.micro)]


def differences_of(result: DomainsResult) -> list[tuple[str, str, Difference]]:
    """Baseline, title and difference of each row of the table of differences."""
    return [
        (baseline, title, values.differences[baseline])
        for baseline in result.micro.differences
        for title, _, values in values_of(result)
    ]


def reached(result: DomainsResult) -> str:
    """What the students reached, in the mean over domains and over all rows."""
    name, domains = metric_name(result.metric), plural(len(result.domains), "domain")
    return (
        f"The students of {domains} reached {article(name)} {name} of {number(result.macro.student)} in the mean over "
        f"domains, {number(result.micro.student)} over all {result.rows:,} {result.split} rows together."
    )


def against(result: DomainsResult) -> list[str]:
    """A sentence for each baseline: what is settled about the means, and in which domains."""
    sentences = []
    for baseline, macro in result.macro.differences.items():
        micro = result.micro.differences[baseline]
        by_domain = {name: domain.differences[baseline].verdict for name, domain in result.domains.items()}
        parts = [
            f"{verdict} in {', '.join(names)}"
            for verdict in ("higher", "lower", "not settled")
            if (names := [name for name, found in by_domain.items() if found == verdict])
        ]
        sentences.append(
            f"Against `{baseline}`: {difference(macro.value)} {interval(macro.simultaneous)} in the mean over domains, "
            f"{macro.verdict}; {difference(micro.value)} {interval(micro.simultaneous)} over all rows, "
            f"{micro.verdict}; by domain {'; '.join(parts)}."
        )
    return sentences


def method(result: DomainsResult) -> str:
    """How the intervals were made; empty without a baseline."""
    baselines, domains = len(result.micro.differences), len(result.domains)
    if not baselines:
        return ""
    return (
        f"Intervals are percentiles of {result.resamples:,} resamples of the rows, paired, drawn within each domain. "
        "The first has 95 % for its difference alone. The adjusted ones hold together with 95 % (Bonferroni): those of "
        f"all domains ({domains * baselines}), and those of either mean ({baselines}). A difference is called higher "
        "or lower only where the adjusted interval leaves out 0. With one seed they cover chance in rows, not in "
        "training."
    )


def sharing(result: DomainsResult) -> str:
    """What the teachers' passes cost."""
    computed = sum(teacher.rows_computed for teacher in result.teachers)
    seconds = sum(teacher.seconds for teacher in result.teachers)
    reused = sum(teacher.rows_reused for teacher in result.teachers)
    text = f"The teachers computed {computed:,} rows in {duration(seconds)}, each once for all domains that share it"
    return text + (f"; {reused:,} were stored by earlier runs." if reused else ".")


def difference_cells(entry: Difference) -> list[str]:
    """The cells of a row: difference, both intervals, verdict."""
    return [difference(entry.value), interval(entry.interval), interval(entry.simultaneous), entry.verdict]
