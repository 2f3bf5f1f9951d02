"""When a policy is rewarded and which of its versions a step uses, from the step's number alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UpdateSchedule:
    """Which steps are rewarded, and which version of the policy a step uses: both follow from the step alone.

    A step uses what was learnt up to the rewarded step before the last one, so that the selector has `every` steps to
    learn from the last one while the student goes on.
    """

    start: int
    every: int
    update_every: int

    def rewarded(self, step: int) -> bool:
        """Whether the choices of this step are rewarded."""
        return step >= self.start and (step + 1) % self.every == 0

    def count(self, step: int) -> int:
        """Rewarded steps up to this one."""
        return max(0, (step + 1) // self.every - self.start // self.every)

    def version(self, step: int) -> int:
        """The policy's version at this step."""
        return self.count(step - self.every) // self.update_every
