"""A served ensemble in the terminal."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.table import Table
from rich.text import Text

from raykd.display.durations import duration
from raykd.display.text import plural, share


def ensemble_table(state: dict[str, Any]) -> Table:
    """A row for each teacher: replicas by state, rows per second, queue, users; below, what is wrong and the store."""
    idle = state["idle_timeout_s"]
    ends = "" if idle is None else f", ends {duration(idle)} after its last user"
    title = f"ensemble {state['name']}, up for {duration(state['up_s'])}{ends}"
    table = Table(title=Text(title, "bold"), title_justify="left", caption_justify="left")
    table.add_column("teacher", overflow="fold")
    table.add_column("replicas", overflow="fold")
    for heading in ("rows/s", "computed", "known at once", "queue", "oldest call", "users"):
        table.add_column(heading, justify="right")
    for name, teacher in state["teachers"].items():
        table.add_row(Text(name), *_cells(teacher))
    table.caption = Text("\n".join(_notes(state)), "dim")
    return table


def _cells(teacher: dict[str, Any]) -> list[str]:
    service = teacher["service"]
    if service is None:
        return [f"0 of {teacher['wanted']}", "", "", "", "", "", ""]
    rows = service["rows"]
    known = "" if rows["hit_rate"] is None else share(rows["hit_rate"])
    oldest = f"{service['oldest_s']:.0f} s" if service["oldest_s"] else ""
    numbers = [f"{rows['rows_per_s']:,.0f}", f"{rows['forwards']:,}", known, f"{service['queue']:,}", oldest]
    return [_replicas(teacher, service), *numbers, f"{len(service['runs'])}"]


def _replicas(teacher: dict[str, Any], service: dict[str, Any]) -> str:
    states = Counter(replica["state"] for replica in service["replicas"])
    ready = states["working"] + states["idle"]
    others = [f"{number} {state}" for state, number in states.items() if state in ("starting", "leaving", "working")]
    return f"{ready} of {teacher['wanted']}" + (f" ({', '.join(others)})" if others else "")


def _notes(state: dict[str, Any]) -> list[str]:
    notes = []
    for name, teacher in state["teachers"].items():
        if teacher["unreachable"] is not None:
            notes.append(f"{name}: its service does not answer: {teacher['unreachable']}")
        if teacher["failures"]:
            notes.append(
                f"{name}: failed and started again {plural(teacher['failures'], 'time')}: {teacher['last_failure']}"
            )
        corpora = [] if teacher["service"] is None else teacher["service"]["corpora"]
        for corpus in corpora:
            where = "not stored" if corpus["store"] is None else "stored" if corpus["sealed"] else "being stored"
            notes.append(f"{name}: {corpus['known']:,} of {corpus['announced']:,} asked rows known, {where}")
    return [*notes, f"cache {state['cache']}"]


def names_table(found: dict[str, list[str]]) -> str:
    """The names of the ensembles that are up, one a line."""
    return "\n".join(found["ensembles"]) or "no ensemble is up"


def down_text(ended: dict[str, Any]) -> str:
    """What was ended, and what lives on with its users."""
    lines = [f"ensemble {ended['ensemble']} is down"]
    for teacher, runs in ended["in_use"].items():
        end = "ended with it" if ended["force"] else "it ends with the last of them"
        lines.append(f"teacher {teacher} is used by {plural(len(runs), 'run')}: {end}")
    return "\n".join(lines)
