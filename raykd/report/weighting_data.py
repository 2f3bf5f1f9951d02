"""The weighting of a run as its section shows it: the result where there is one, else the fold of the log so far."""

from __future__ import annotations

from dataclasses import dataclass

from raykd.records.feedback_state import PolicyState
from raykd.records.run_result import TeacherWeights, WeightGroup, WeightingResult
from raykd.report.run_files import Run

GROUPS = {"class": "class", "domain": "domain", "length": "length in characters"}
MOST_GROUPS = 12
"""Groups of a kind that the picture and the table show."""


@dataclass(frozen=True)
class WeightingData:
    """The weighting of a whole run, or of an unfinished one so far.

    Attributes:
        result: None while the run is not finished.
        policy: its curves; None for a rule.
        type: `policy` or the rule's name.
        weights: each teacher's mean weight (of a policy: its probability) on the training rows, at the end.
    """

    result: WeightingResult | None
    policy: PolicyState | None
    type: str
    weights: TeacherWeights | None

    @classmethod
    def of(cls, run: Run) -> WeightingData | None:
        """None where the weights do not depend on the row."""
        result, policy = run.result.weighting if run.result else None, run.state.student.policy
        if result is None and policy is None:
            return None
        kind = str(run.setting("weighting", "type") or ("policy" if policy else ""))
        return cls(result, policy, kind, result.teacher_weights if result else None)

    @property
    def by_policy(self) -> bool:
        """Whether a policy chose the teachers, and no rule."""
        return self.type == "policy"

    @property
    def updates(self) -> int:
        """How often the policy was updated; 0 for a rule."""
        if self.result is not None and self.result.updates is not None:
            return self.result.updates
        return self.policy.updates if self.policy else 0

    @property
    def groups(self) -> dict[str, list[WeightGroup]]:
        """The weights by class, domain and length, where there are any groups of that kind."""
        groups = self.weights.groups if self.weights else {}
        return {kind: members for kind, members in groups.items() if members}

    @property
    def largest_groups(self) -> dict[str, list[WeightGroup]]:
        """The largest of `groups` by rows, where a kind has too many to show."""
        return {
            kind: sorted(members, key=lambda group: -group.rows)[:MOST_GROUPS]
            if len(members) > MOST_GROUPS
            else members
            for kind, members in self.groups.items()
        }

    @property
    def teachers(self) -> list[str]:
        """Their names, in the order of the configuration."""
        return list(self.weights.all) if self.weights else list(self.policy.share) if self.policy else []
