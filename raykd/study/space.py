"""The space of a study: points from it, a point as a trial's configuration, and the same for Ray Tune and Optuna.

A key counts only where it means something: the rates of the feedback where a point has feedback on. What does not
count is not part of the point, so a grid has no point twice and a searcher is not misled by it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import optuna
from pydantic import ValidationError
from ray import tune
from ray.tune.search.sample import Domain

from raykd import config as configuration
from raykd.config import FeedbackConfig, PolicyConfig, RangeConfig, RunConfig, StudyConfig, WeightingConfig
from raykd.config.overlay import has_key, put
from raykd.config.run import HELD_OUT
from raykd.errors import ConfigError

C = TypeVar("C", FeedbackConfig, WeightingConfig)
Params = dict[str, Any]
"""By dotted key, a value for each key that counts."""


def sample(config: RunConfig) -> list[Params]:
    """`trials` points of a random search, drawn from `study.seed`."""
    study = _study(config)
    rng = np.random.RandomState(study.seed)
    return [_drawn(config, lambda key: domain(study.space[key]).sample(random_state=rng)) for _ in range(study.trials)]


def grid(config: RunConfig) -> list[Params]:
    """All different points of a grid, in the order of the space."""
    space = _study(config).space
    columns = [[(key, value) for value in key_range.values or []] for key, key_range in space.items()]
    points = [_drawn(config, dict(chosen).__getitem__) for chosen in itertools.product(*columns)]
    return list({json.dumps(params, sort_keys=True): params for params in points}.values())


def domain(key_range: RangeConfig) -> Domain:
    """A key's values as Ray Tune samples and mutates them."""
    if key_range.uniform is not None:
        return tune.uniform(*key_range.uniform)
    if key_range.loguniform is not None:
        return tune.loguniform(*key_range.loguniform)
    if key_range.randint is not None:
        return tune.randint(*key_range.randint)
    return tune.choice(key_range.values or [])


@dataclass(frozen=True)
class Suggest:
    """The space as Optuna asks for it, define by run: it sees the keys that count, and no others."""

    config: RunConfig

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        """The point under the key `params`, beside what Ray Tune notes of each suggestion."""
        return {"params": _drawn(self.config, lambda key: self._suggest(trial, key))}

    def _suggest(self, trial: optuna.Trial, key: str) -> Any:
        key_range = _study(self.config).space[key]
        if key_range.uniform is not None:
            return trial.suggest_float(key, *key_range.uniform)
        if key_range.loguniform is not None:
            return trial.suggest_float(key, *key_range.loguniform, log=True)
        if key_range.randint is not None:
            return trial.suggest_int(key, key_range.randint[0], key_range.randint[1] - 1)
        values = key_range.values or []
        # By name: a list or a mapping is no categorical value to Optuna.
        names = [json.dumps(value) for value in values]
        return values[names.index(trial.suggest_categorical(key, names))]


def mutations(config: RunConfig) -> dict[str, Domain | list[Any]]:
    """What PBT changes, by key: it shifts along a list, and multiplies what is drawn from a range."""
    space, first = _study(config).space, sample(config)[0]
    return {key: key_range.values or domain(key_range) for key, key_range in space.items() if key in first}


def bounded(params: Params, space: dict[str, RangeConfig]) -> Params:
    """A mutated point within its ranges: PBT multiplies and knows no bounds."""
    kept = dict(params)
    for key, key_range in space.items():
        pair = key_range.uniform or key_range.loguniform
        if pair is not None and key in kept:
            kept[key] = min(max(kept[key], pair[0]), pair[1])
    return kept


def trial_config(config: RunConfig, params: Params, name: str) -> RunConfig:
    """The configuration of one trial: the study's with a point laid over it.

    Raises:
        ConfigError: the values do not go together.
    """
    raw = _base(config)
    for key in _ordered(params):
        put(raw, key, params[key])
    raw["name"] = name
    return configuration.parse(raw, where=f"trial {name}")


def shared_rows(config: RunConfig) -> RunConfig:
    """The study's configuration with the rows held out that any of its trials needs.

    Held out in all of them, used or not: they train on the same rows, and no teacher has seen another's quiz.
    """
    quiz = any(feedback.needs_quiz for feedback in _possible(config, "feedback", FeedbackConfig))
    reward = any(weighting.needs_reward_split for weighting in _possible(config, "weighting", WeightingConfig))
    needed = {"quiz": quiz, "reward": reward}
    held = {key: HELD_OUT for key, wanted in needed.items() if wanted and getattr(config.rows, key) is None}
    task = config.task.model_copy(update={"metric": _study(config).metric or config.task.metric})
    return config.model_copy(update={"data": config.rows.model_copy(update=held), "task": task})


def check(config: RunConfig, points: list[Params]) -> None:
    """Refuses a space in which no point is valid; single ones that are not become failed trials.

    Raises:
        ConfigError: what the first of them was refused for.
    """
    first: ConfigError | None = None
    for params in points:
        try:
            trial_config(config, params, "check")
            return
        except ConfigError as error:
            first = first or error
    assert first is not None
    raise ConfigError("study.space", f"no point of it is a valid configuration; the first: {first.what}", first.mend)


def policies(config: RunConfig) -> list[PolicyConfig]:
    """The policies that a trial may choose its teachers by, as far as they differ in what is computed before it."""
    forms = [form for form in _possible(config, "weighting", WeightingConfig) if isinstance(form, PolicyConfig)]
    return list({(form.sentence_teacher, form.sentence_encoder, form.cross_fit): form for form in forms}.values())


def _drawn(config: RunConfig, value: Callable[[str], Any]) -> Params:
    """A point whose values are drawn key by key, those first that others depend on."""
    raw, params = _base(config), {}
    for key in _ordered(_study(config).space):
        if has_key(raw, key):
            params[key] = value(key)
            put(raw, key, params[key])
    return params


def _ordered(keys: dict[str, Any]) -> Iterator[str]:
    """Whole sections, then types, then the rest."""
    return iter(sorted(keys, key=lambda key: (key.count(".") > 0, not key.endswith(".type"))))


def _base(config: RunConfig) -> dict[str, Any]:
    """What all trials begin from: no study, no baselines, no second look at the teachers' answers."""
    # What was written and no defaults: those of another type may be others.
    raw = config.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return raw | {"study": None, "baselines": [], "parity_rows": 0}


def _possible(config: RunConfig, section: str, family: type[C]) -> list[C]:
    """The forms that a section may take in some trial, by its types and other named values; numbers stay."""
    space = _study(config).space
    keys = [key for key in _ordered(space) if key.split(".")[0] == section and _names(space[key].values)]
    forms = []
    for values in itertools.product(*(space[key].values or [] for key in keys)):
        raw = _base(config)
        for key, value in zip(keys, values, strict=True):
            if has_key(raw, key):
                put(raw, key, value)
        with contextlib.suppress(ValidationError):  # such a trial fails, and needs nothing
            forms.append(family.of(raw.get(section, {})))
    return forms


def _names(values: list[Any] | None) -> bool:
    return bool(values) and all(isinstance(value, (str, dict)) for value in values or [])


def _study(config: RunConfig) -> StudyConfig:
    assert config.study is not None
    return config.study
