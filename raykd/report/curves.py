"""What a log's events say as series over the steps, ready to be drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from raykd.records.log import Event

LOSSES = ("loss", "soft", "hard")


@dataclass(frozen=True)
class Series:
    """Values over steps, by rising step; a step that was logged twice counts as it was logged last."""

    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    @classmethod
    def of(cls, points: Iterable[tuple[float, float | None]]) -> Series:
        """From (step, value) in the order of the log; a null, which stands for NaN or ∞, is left out."""
        by_step = dict(points)
        kept = sorted((x, y) for x, y in by_step.items() if y is not None)
        return cls(tuple(x for x, _ in kept), tuple(float(y) for _, y in kept))

    def __bool__(self) -> bool:
        return bool(self.x)


@dataclass(frozen=True)
class Curves:
    """One model's training."""

    metric: str = ""
    steps: int = 0
    step: int = 0
    epochs: float = 0.0
    losses: dict[str, Series] = field(default_factory=dict)  # loss, soft, hard on the training batches
    scores: Series = Series()  # the metric on validation
    validation_loss: Series = Series()
    best: tuple[int, float] | None = None  # step and value of the best evaluation

    @classmethod
    def of(cls, events: list[Event]) -> Curves:
        """Folds the events of metrics.jsonl."""
        plan: Event = next((event for event in reversed(events) if event["event"] == "plan"), {"event": "plan"})
        steps = [event for event in events if event["event"] == "step" and "step" in event]
        evals = [event for event in events if event["event"] == "eval" and "step" in event]
        metric = str(plan.get("metric", "")) or next((key for event in evals for key in event.get("scores", {})), "")
        scores = Series.of((event["step"], event.get("scores", {}).get(metric)) for event in evals)
        best = max(zip(scores.y, (-x for x in scores.x), strict=True), default=None)  # the first of equals
        losses = {key: Series.of((event["step"], event.get(key)) for event in steps) for key in LOSSES}
        return cls(
            metric,
            int(plan.get("steps", 0)),
            max((int(event["step"]) for event in steps + evals), default=0),
            float(plan.get("epochs", 0)),
            {key: series for key, series in losses.items() if series},
            scores,
            Series.of((event["step"], event.get("loss")) for event in evals),
            None if best is None else (int(-best[1]), best[0]),
        )
