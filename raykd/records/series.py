"""Values over optimizer steps, as the folds collect them and figures draw them."""

from __future__ import annotations

from collections.abc import Iterable


class Series:
    """Values over steps, by rising step; a step that was logged twice counts as it was logged last.

    Attributes:
        x: the steps, rising.
        y: the values at these steps. A null of the log, which is a NaN or ∞, is left out.
    """

    def __init__(self, points: Iterable[tuple[float, float | None]] = ()) -> None:
        self._by_step: dict[float, float] = {}
        for step, value in points:
            self.add(step, value)

    @classmethod
    def of(cls, points: Iterable[tuple[float, float | None]]) -> Series:
        """From (step, value) pairs in the order of the log."""
        return cls(points)

    def add(self, step: float, value: float | None) -> None:
        """Appends a value, or replaces the one that this step had; None removes it."""
        self._by_step.pop(step, None)
        if value is not None:
            self._by_step[step] = float(value)

    @property
    def x(self) -> tuple[float, ...]:
        return tuple(sorted(self._by_step))

    @property
    def y(self) -> tuple[float, ...]:
        return tuple(self._by_step[step] for step in sorted(self._by_step))

    @property
    def first(self) -> float | None:
        """The value at the lowest step; None where there is none."""
        return self._by_step[min(self._by_step)] if self._by_step else None

    @property
    def last(self) -> float | None:
        """The value at the highest step; None where there is none."""
        return self._by_step[max(self._by_step)] if self._by_step else None

    @property
    def mean(self) -> float | None:
        """Over all values; None where there is none."""
        return sum(self._by_step.values()) / len(self._by_step) if self._by_step else None

    def minus(self, other: Series) -> Series:
        """This series less another, at the steps that both have."""
        both = [step for step in self._by_step if step in other._by_step]
        return Series((step, self._by_step[step] - other._by_step[step]) for step in both)

    def __len__(self) -> int:
        return len(self._by_step)

    def __bool__(self) -> bool:
        return bool(self._by_step)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Series) and self._by_step == other._by_step

    __hash__ = None  # type: ignore[assignment]  # it grows

    def __repr__(self) -> str:
        return f"Series({list(zip(self.x, self.y, strict=True))})"
