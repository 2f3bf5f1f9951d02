"""Which teacher was given which rows, folded from a run's result and the events of its log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raykd.report.curves import Series
from raykd.report.run_files import Run, section_type

GROUPS = {"class": "class", "domain": "domain", "length": "length in characters"}


@dataclass(frozen=True)
class Group:
    """Rows with something in common, and each teacher's mean weight (of a policy: π) on them."""

    name: str
    rows: int
    weight: dict[str, float]


@dataclass(frozen=True)
class WeightingData:
    """The weighting of a whole run, or of an unfinished one so far."""

    finished: bool
    rule: str
    mode: str
    reward: str
    updates: int
    undecided: float | None  # the entropy of a policy that has not made up its mind
    share: dict[str, Series]  # by teacher: how often it is chosen on the rows of an update
    entropy: Series
    rewards: Series
    overall: dict[str, float]
    rows: int
    groups: dict[str, list[Group]]  # by the keys of GROUPS

    @property
    def policy(self) -> bool:
        return self.rule == "policy"

    @property
    def teachers(self) -> list[str]:
        """In the run's order."""
        return list(self.overall or self.share)

    @classmethod
    def of(cls, run: Run) -> WeightingData | None:
        """None where the weights do not depend on the row."""
        said: dict[str, Any] = run.result.get("weighting") or {}
        events = [event for event in run.events if event["event"] == "selector" and "step" in event]
        if not (said or events):
            return None
        choices: dict[str, Any] = said.get("choices") or {}
        names = list(dict.fromkeys(name for event in events for name in event.get("share") or {}))
        return cls(
            finished=bool(run.result),
            rule=section_type(run.config, "weighting"),
            mode=str(said.get("mode") or ""),
            reward=str(said.get("reward") or ""),
            updates=int(said.get("updates") or len(events)),
            undecided=said.get("entropy_undecided"),
            share={name: Series.of((e["step"], (e.get("share") or {}).get(name)) for e in events) for name in names},
            entropy=Series.of((event["step"], event.get("entropy")) for event in events),
            rewards=Series.of((event["step"], event.get("reward")) for event in events),
            overall=dict(choices.get("all") or {}),
            rows=int(choices.get("rows") or 0),
            groups={
                key: [Group(str(one["group"]), int(one["rows"]), dict(one["weight"])) for one in choices[key]]
                for key in GROUPS
                if choices.get(key)
            },
        )
