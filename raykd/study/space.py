"""The space of a study: points from it, a point as a trial's configuration, and the same for Ray Tune and Optuna.

A key counts only where it means something: the rates of the feedback where a point has feedback on. What does not
count is not part of the point, so a grid has no point twice and a searcher is not misled by it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from ray import tune
from ray.tune.search.sample import Domain

from raykd import config as configuration
from raykd.config import FITTED, RangeConfig, RunConfig, StudyConfig
from raykd.config.run import HELD_OUT
from raykd.errors import ConfigError

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
    columns = [[(key, value) for value in given.values or []] for key, given in space.items()]
    points = [_drawn(config, dict(chosen).__getitem__) for chosen in itertools.product(*columns)]
    return list({json.dumps(params, sort_keys=True): params for params in points}.values())


def domain(given: RangeConfig) -> Domain:
    """A key's values as Ray Tune samples and mutates them."""
    if given.uniform is not None:
        return tune.uniform(*given.uniform)
    if given.loguniform is not None:
        return tune.loguniform(*given.loguniform)
    if given.randint is not None:
        return tune.randint(*given.randint)
    return tune.choice(given.values or [])


@dataclass(frozen=True)
class Suggest:
    """The space as Optuna asks for it, define by run: it sees the keys that count, and no others."""

    config: RunConfig

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        """The point under the key `point`, beside what Ray Tune notes of each suggestion."""
        return {"params": _drawn(self.config, lambda key: self._suggest(trial, key))}

    def _suggest(self, trial: optuna.Trial, key: str) -> Any:
        given = _study(self.config).space[key]
        if given.uniform is not None:
            return trial.suggest_float(key, *given.uniform)
        if given.loguniform is not None:
            return trial.suggest_float(key, *given.loguniform, log=True)
        if given.randint is not None:
            return trial.suggest_int(key, given.randint[0], given.randint[1] - 1)
        values = given.values or []
        # By name: a list or a mapping is no categorical value to Optuna.
        names = [json.dumps(value) for value in values]
        return values[names.index(trial.suggest_categorical(key, names))]


def mutations(config: RunConfig) -> dict[str, Domain | list[Any]]:
    """What PBT changes, by key: it shifts along a list, and multiplies what is drawn from a range."""
    space, first = _study(config).space, sample(config)[0]
    return {key: given.values or domain(given) for key, given in space.items() if key in first}


def bounded(params: Params, space: dict[str, RangeConfig]) -> Params:
    """A mutated point within its ranges: PBT multiplies and knows no bounds."""
    kept = dict(params)
    for key, given in space.items():
        pair = given.uniform or given.loguniform
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
        _put(raw, key, params[key])
    raw["name"] = name
    return configuration.parse(raw, where=f"trial {name}")


def shared_rows(config: RunConfig) -> RunConfig:
    """The study's configuration with the rows held out that any of its trials needs.

    Held out in all of them, used or not: they train on the same rows, and no teacher has seen another's quiz.
    """
    space = _study(config).space
    whole = [value for key in ("feedback", "weighting") if key in space for value in space[key].values or []]
    types = {key: _possible(config, key) for key in ("feedback.type", "feedback.exam_source", "weighting.type",
                                                     "weighting.reward.type", "weighting.reward")}  # fmt: skip
    kinds = {_type_of(value) for value in whole}
    feedback = (types["feedback.type"] | kinds) & {"metadistil", "ikd"}
    quiz = bool(feedback) and "quiz" in types["feedback.exam_source"]
    rewards = types["weighting.reward.type"] | {_type_of(value) for value in types["weighting.reward"]}
    fitted = (types["weighting.type"] | kinds) & set(FITTED)
    reward = bool(fitted) or ("policy" in types["weighting.type"] | kinds and "r3" in rewards)
    needed = {"quiz": quiz, "reward": reward}
    held = {key: HELD_OUT for key, asked in needed.items() if asked and getattr(config.rows, key) is None}
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


def policies(config: RunConfig) -> bool:
    """Whether any trial may choose its teachers by a policy, which needs sentence vectors."""
    space = _study(config).space
    whole = space["weighting"].values or [] if "weighting" in space else []
    return "policy" in _possible(config, "weighting.type") | {_type_of(value) for value in whole}


def _drawn(config: RunConfig, value: Callable[[str], Any]) -> Params:
    """A point whose keys are asked for one by one, those first that others depend on."""
    raw, params = _base(config), {}
    for key in _ordered(_study(config).space):
        if _counts(key, raw):
            params[key] = value(key)
            _put(raw, key, params[key])
    return params


def _ordered(keys: dict[str, Any]) -> Iterator[str]:
    """Whole sections, then types, then the rest."""
    return iter(sorted(keys, key=lambda key: (key.count(".") > 0, not key.endswith(".type"))))


def _counts(key: str, raw: dict[str, Any]) -> bool:
    """Whether a key means anything beside what is chosen already."""
    section, _, name = key.partition(".")
    if not name or name == "type":
        return True
    kind = _type_of(raw.get(section))
    match section, name:
        case "feedback", "pilot_lr" | "rollback":
            return kind == "metadistil"
        case "feedback", "exam_source":
            return kind == "ikd"
        case "feedback", _:
            return kind != "none"
        case "weighting", "weights":
            return kind == "fixed"
        case "weighting", _:
            return kind == "policy"
        case "objective", "temperature":
            return kind == "kl"
    return True


def _put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Lays a value over a configuration; a section's type takes with it what another type does not have."""
    section, _, name = key.partition(".")
    if name == "type":
        raw[section] = _of_type(section, _mapping(section, raw[section]), value)
        return
    here, parts = raw, key.split(".")
    for part in parts[:-1]:
        here[part] = here = _mapping(part, here.get(part))
    here[parts[-1]] = value


def _mapping(section: str, value: Any) -> dict[str, Any]:
    """A section's shorthand (`weighting: policy`, `student: FOLDER`) as the mapping that it stands for."""
    if isinstance(value, dict):
        return value
    return {} if value is None else {"from" if section == "student" else "type": value}


def _of_type(section: str, given: dict[str, Any], kind: str) -> dict[str, Any]:
    match section, kind:
        case "feedback", "none":
            return {"type": kind}
        case "feedback", "ikd":
            return {key: value for key, value in given.items() if key not in ("pilot_lr", "rollback")} | {"type": kind}
        case "feedback", _:
            return {key: value for key, value in given.items() if key != "exam_source"} | {"type": kind}
        case "weighting", "policy":
            return {key: value for key, value in given.items() if key != "weights"} | {"type": kind}
        case "weighting", "fixed":
            return {"type": kind, "weights": given.get("weights")}
        case "weighting", _:
            return {"type": kind}
    return given | {"type": kind}


def _base(config: RunConfig) -> dict[str, Any]:
    """What all trials begin from: no study, no baselines, no second look at the teachers' answers."""
    raw = config.model_dump(mode="json", by_alias=True)
    return raw | {"study": None, "baselines": [], "parity_rows": 0}


def _possible(config: RunConfig, key: str) -> set[Any]:
    """The values that a key may have in some trial."""
    space = _study(config).space
    if key in space:
        return {value if isinstance(value, str) else json.dumps(value) for value in space[key].values or []}
    here: Any = _base(config)
    for part in key.split("."):
        here = here.get(part) if isinstance(here, dict) else None
    return {here} if isinstance(here, str) else set()


def _type_of(section: Any) -> str:
    return str(section.get("type")) if isinstance(section, dict) else str(section)


def _study(config: RunConfig) -> StudyConfig:
    assert config.study is not None
    return config.study
