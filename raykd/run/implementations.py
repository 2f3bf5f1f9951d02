"""Whether a rule, a loss or a feedback method can be used: its class has what a run calls, the task enough classes."""

from __future__ import annotations

from raykd.config import FeedbackConfig, ObjectiveConfig, WeightingConfig, load_implementation
from raykd.config.choice import Choice
from raykd.data.tasks import Task
from raykd.errors import ConfigError

METHODS: dict[type[Choice], tuple[str, tuple[str, ...]]] = {
    ObjectiveConfig: ("raykd.objective.Objective", ("from_config", "per_example")),
    WeightingConfig: ("raykd.weighting.Weighting", ("from_config", "weigh", "observes", "finalize")),
    FeedbackConfig: ("raykd.feedback.Feedback", ("before", "after", "due", "finalize")),
}
"""What the class of a choice is made of, and the methods that every run calls."""


def check_methods(choice: Choice) -> None:
    """Loads the class of a choice and looks for the methods that a run calls.

    Raises:
        ConfigError: it cannot be loaded, or lacks one of them.
    """
    loaded = load_implementation(choice)
    base, methods = next(entry for family, entry in METHODS.items() if isinstance(choice, family))
    abstract: frozenset[str] = getattr(loaded, "__abstractmethods__", frozenset())
    for method in (*methods, *sorted(abstract)):
        if method in abstract or not callable(getattr(loaded, method, None)):
            what = f"{choice.implementation} has no method {method}"
            raise ConfigError(f"{type(choice).__module__}.{type(choice).__name__}", what, f"make it one of {base}")


def check_classes(objective: ObjectiveConfig, task: Task) -> list[str]:
    """Whether a loss is of use for as many classes as the task has; returns warnings of what is left out.

    Raises:
        ConfigError: it is of no use.
    """
    misfit, left_out = objective.misfit(task.classes), objective.left_out(task.classes)
    if misfit is not None:
        raise ConfigError("objective", misfit, "take another type, such as kl")
    return [] if left_out is None else [f"objective {objective.type}: {left_out}"]
