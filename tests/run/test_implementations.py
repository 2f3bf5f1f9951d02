"""Classes of other packages that lack what a run calls, and rules whose weights are none."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from raykd import config
from raykd.config import KLConfig, MetaDistilConfig, UniformConfig, WeightingConfig
from raykd.config.choice import Choice
from raykd.errors import ConfigError
from raykd.run.implementations import check_methods
from raykd.weighting import check_weights
from raykd.weighting.rules import Uniform


class NoWeigh(Uniform):
    weigh: Any = None


@pytest.mark.parametrize(
    ("kind", "implementation", "missing"),
    [
        (KLConfig, "builtins:dict", "from_config"),
        (MetaDistilConfig, "builtins:dict", "before"),
        (UniformConfig, "raykd.weighting:Weighting", "weigh"),
        (UniformConfig, f"{__name__}:NoWeigh", "weigh"),
    ],
)
def test_a_class_without_a_method_is_refused(
    kind: type[Choice], implementation: str, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice: Any = kind
    check_methods(choice())
    monkeypatch.setattr(kind, "implementation", implementation)
    with pytest.raises(ConfigError, match=f"has no method {missing}"):
        check_methods(choice())


@pytest.mark.parametrize("name", ["uniform", "random", "entropy", "confidence", "oracle", "best", "logistic", "policy"])
def test_the_rules_of_raykd_have_all(name: str) -> None:
    kind: Any = WeightingConfig.types()[name]
    check_methods(kind())


@pytest.mark.parametrize(
    ("weights", "says"),
    [([[1.0, 1.0]], "sums are up to 2"), ([[1.5, -0.5]], "from -0.5"), ([[1.0]], r"shape \[1, 1\], not \[1, 2\]")],
)
def test_weights_that_are_none_are_refused(weights: list[list[float]], says: str) -> None:
    logits = torch.zeros(2, 1, 3)
    check_weights(Uniform(), torch.full((1, 2), 0.5), logits)
    with pytest.raises(ConfigError, match=says):
        check_weights(Uniform(), torch.tensor(weights), logits)


def test_a_loss_of_classes_is_refused_in_a_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {"data": "generated", "task": "regression", "teachers": ["a"], "student": "a", "objective": "kl"}
    config.parse(raw)
    monkeypatch.setattr(KLConfig, "classes_only", True)
    with pytest.raises(ConfigError, match=r"objective: kl compares probabilities of classes"):
        config.parse(raw)
