"""Whole runs with a policy: real Ray, real students; equal however it is spread, stopped or fed."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray
import ray.util
import torch
from logs import events, losses
from tiny import TOKENIZER_TEACHERS as TEACHERS
from tiny import Configure
from torch import Tensor

from raykd import api
from raykd.config import RunConfig
from raykd.errors import ConfigError, Interrupted
from raykd.feedback import QuizLoss
from raykd.records.run_result import RunResult, WeightingResult
from raykd.weighting import Stepping
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.influence import Influence

pytestmark = pytest.mark.usefixtures("ray_local")

POLICY = "weighting={type: policy, reward: {every: 2}, student_warmup: 1, policy_warmup: 2}"
EXACT = ["train.precision=float64", "teachers.0.precision=float64", "teachers.1.precision=float64"]


def policy_updates(folder: Path) -> list[dict[str, Any]]:
    """The metrics of every version of the policy, without the time."""
    return [event.model_dump(exclude={"time"}) for event in events(folder, "policy")]


def weighting_of(result: RunResult) -> WeightingResult:
    assert result.weighting is not None
    return result.weighting


@pytest.mark.slow
def test_a_policy_learns_while_the_student_does(configure: Configure, tmp_path: Path) -> None:
    config = configure(POLICY, "baselines=[uniform]", teachers=TEACHERS)
    result = api.distill(config, tmp_path)
    weighting = weighting_of(result)
    # 16 steps; the odd ones are rewarded, the first of them is the student's warm-up no longer.
    assert weighting.updates == 8
    assert len(policy_updates(tmp_path)) == 8
    assert weighting.entropy_uniform == pytest.approx(2 * np.log(2))
    exported = policy.load(tmp_path / "policy")
    assert exported.version == 8
    assert exported.layout.teachers == ("wordpiece", "bpe")
    assert (tmp_path / "policy" / "rllib" / "rl_module").is_dir()
    table = pd.read_parquet(tmp_path / "teacher_weights.parquet")
    assert len(table) == 240
    mean_weights = weighting.teacher_weights
    assert mean_weights is not None
    for name in ("wordpiece", "bpe"):
        assert mean_weights.all[name] == pytest.approx(table[f"weight_{name}"].mean())
        by_class = table.groupby("label")[f"weight_{name}"].mean()
        assert mean_weights.groups["class"][0].weight[name] == pytest.approx(by_class[0])
    assert sum(group.rows for group in mean_weights.groups["domain"]) == 240
    # Warm-ups: uniform weights and no policy, so the first steps are those of the uniform student.
    assert losses(tmp_path)[:3] == losses(tmp_path / "baselines" / "uniform")[:3]
    assert losses(tmp_path)[3:] != losses(tmp_path / "baselines" / "uniform")[3:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "reward",
    [
        "r2",
        pytest.param("r3", marks=pytest.mark.nightly),
        "influence",
        pytest.param("sampled", marks=pytest.mark.nightly),
    ],
)
def test_two_workers_learn_the_same_policy(configure: Configure, tmp_path: Path, reward: str) -> None:
    """Unequal shards of 33 rows, a last batch of 9; float64 student, so the rewards differ in rounding alone."""
    gradient, reward = ("sampled", "influence") if reward == "sampled" else ("expected", reward)
    settings = [
        f"weighting.reward.gradient={gradient}", "train.gradient_accumulation=2",
        *EXACT, "train.batch_size=33", "train.epochs=1", "weighting.type=policy", "weighting.reward.every=1",
        f"weighting.reward.type={reward}", "data.reward=0.1", "weighting.reward.batch_size=7", "weighting.mode=prob",
    ]  # fmt: skip
    api.distill(configure(*settings, teachers=TEACHERS), tmp_path / "one")
    api.distill(configure(*settings, "train.workers=2", teachers=TEACHERS), tmp_path / "two")
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-5)
    one, two = policy_updates(tmp_path / "one"), policy_updates(tmp_path / "two")
    assert len(one) == len(two) == 7
    for mine, theirs in zip(one, two, strict=True):
        assert mine["rows"] == theirs["rows"]
        assert mine["reward"] == pytest.approx(theirs["reward"], rel=1e-5)
        assert mine["share"] == pytest.approx(theirs["share"], rel=1e-3)


def interrupted(config: RunConfig, folder: Path, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs until so many steps are logged, then stops it as Ctrl-C does."""
    stop = threading.Event()
    monkeypatch.setattr(api, "interruptible", lambda: contextlib.nullcontext(stop))

    def watch() -> None:
        while len(losses(folder)) < step:
            time.sleep(0.01)
        stop.set()

    threading.Thread(target=watch, daemon=True).start()
    with pytest.raises(Interrupted):
        api.distill(config, folder)
    monkeypatch.undo()


@pytest.mark.slow
@pytest.mark.parametrize(
    "weighting",
    [
        "reward: {every: 3}",
        pytest.param(
            "reward: {type: influence, every: 3, batch_size: 8, replay: 2}, hidden_width: 6", marks=pytest.mark.nightly
        ),
    ],
)
def test_a_resumed_run_is_the_undisturbed_one(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weighting: str
) -> None:
    """Bit for bit: student and policy, cut in the midst of an update that gathers three rewarded steps."""
    settings = [
        f"weighting={{type: policy, {weighting}, update_every: 3, lr: 0.2}}", "train.epochs=8",
        "student.dropout=0.1", "student.hidden_size=32", "data.reward=0.1",
    ]  # fmt: skip
    whole = api.distill(configure(*settings, teachers=TEACHERS), tmp_path / "whole")
    config = configure(*settings, teachers=TEACHERS)
    interrupted(config, tmp_path / "cut", 31, monkeypatch)
    again = api.distill(config, tmp_path / "cut")
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert policy_updates(tmp_path / "cut") == policy_updates(tmp_path / "whole")
    assert len(policy_updates(tmp_path / "whole")) == 6
    assert weighting_of(again) == weighting_of(whole)
    for name, value in policy.load(tmp_path / "whole" / "policy").policy.state_dict().items():
        assert torch.equal(value, policy.load(tmp_path / "cut" / "policy").policy.state_dict()[name])


@pytest.mark.slow
def test_a_killed_selector_sends_the_run_back_to_its_last_cut(configure: Configure, tmp_path: Path) -> None:
    settings = ["weighting={type: policy, reward: {every: 2}}", "train.epochs=8", "train.checkpoint_every=10"]
    api.distill(configure(*settings, teachers=TEACHERS), tmp_path / "whole")
    killed: list[str] = []

    def kill() -> None:
        while len(losses(tmp_path / "cut")) < 25:
            time.sleep(0.005)
        for actor in ray.util.list_named_actors(all_namespaces=True):
            if str(actor["name"]).startswith("selector-"):
                ray.kill(ray.get_actor(actor["name"], actor["namespace"]))
                killed.append(actor["name"])

    thread = threading.Thread(target=kill)
    thread.start()
    result = api.distill(configure(*settings, "train.max_failures=1", teachers=TEACHERS), tmp_path / "cut")
    thread.join()
    assert len(killed) == 1
    assert weighting_of(result).updates == 32
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    assert policy_updates(tmp_path / "cut") == policy_updates(tmp_path / "whole")


@pytest.mark.slow
def test_runs_that_share_a_policy_feed_one(configure: Configure, tmp_path: Path) -> None:
    """The second run goes on where the first has left it; a run for other teachers is refused."""
    shared = "weighting={type: policy, reward: {every: 2}, shared: common}"
    config = configure(shared, "cluster.lease_s=20", teachers=TEACHERS)
    first = api.distill(config, tmp_path / "first")
    assert weighting_of(first).updates == 8
    second = api.distill(config, tmp_path / "second")
    assert weighting_of(second).updates == 16
    assert policy_updates(tmp_path / "second")[0]["version"] >= 8
    with pytest.raises(ConfigError, match="is fed by runs with teachers wordpiece, bpe"):
        api.distill(configure(shared, teachers=TEACHERS[:1]), tmp_path / "third")
    ray.kill(ray.get_actor("selector-common", "raykd"))


@pytest.mark.slow
def test_a_policy_goes_on_from_an_export_and_sees_the_student(configure: Configure, tmp_path: Path) -> None:
    """Another run's policy, greedy and never rewarded: it acts from its first step as it was exported."""
    seen = "weighting={type: policy, reward: {every: 2}, student_state: true}"
    first = api.distill(configure(seen, teachers=TEACHERS), tmp_path / "first")
    assert weighting_of(first).updates == 8
    frozen = {"type": "policy", "mode": "greedy", "reward": {"every": 10_000}, "student_state": True}
    frozen["start_from"] = str(tmp_path / "first" / "policy")
    second = api.distill(configure(teachers=TEACHERS, weighting=frozen), tmp_path / "second")
    assert weighting_of(second).updates == 0
    for name, value in policy.load(tmp_path / "first" / "policy").policy.state_dict().items():
        assert torch.equal(value, policy.load(tmp_path / "second" / "policy").policy.state_dict()[name])
    frozen["hidden_width"] = 4
    with pytest.raises(ConfigError, match="has a hidden_width of 0; this run has 4"):
        api.check(configure(teachers=TEACHERS, weighting=frozen))
    frozen["hidden_width"] = 0
    frozen["student_state"] = False
    with pytest.raises(ConfigError, match="was trained for teachers wordpiece, bpe"):
        api.check(configure(teachers=TEACHERS, weighting=frozen))


@pytest.mark.slow
def test_influence_takes_the_derivative_of_metadistils_quiz(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewarded round of MetaDistil has u already: the reward split is asked in the other rewarded steps alone."""
    asked: list[int] = []
    parts = QuizLoss.parts

    def counted(self: QuizLoss, model: Any, step: int, draw: int, rows: int) -> Any:
        asked.append(step)
        return parts(self, model, step, draw, rows)

    monkeypatch.setattr(QuizLoss, "parts", counted)
    seen: dict[tuple[int, bool], Tensor] = {}
    look_ahead = Influence.look_ahead

    def kept(self: Influence, model: Any, stepping: Stepping) -> Tensor:
        r_BK = look_ahead(self, model, stepping)
        u_BC = stepping.derivative_BC
        seen[stepping.batch.step, u_BC is None] = r_BK
        # What the feedback centres for its teachers is not taken out of the policy's.
        assert u_BC is None or u_BC.mean(0).abs().max() > 1e-3 * u_BC.abs().max()
        return r_BK

    monkeypatch.setattr(Influence, "look_ahead", kept)
    config = configure(
        "weighting={type: policy, reward: {type: influence, every: 1}}", "train.max_steps=4", "data.quiz=0.1",
        "feedback={type: metadistil, every: 2, centred: true}", teachers=TEACHERS,
    )  # fmt: skip
    result = api.distill(config, tmp_path)
    assert asked == [1, 3]
    assert sorted(seen) == [(0, False), (1, True), (2, False), (3, True)]
    assert all(torch.isfinite(r_BK).all() and r_BK.abs().max() > 0 for r_BK in seen.values())
    assert weighting_of(result).updates == 4
    assert weighting_of(result).reward == "influence"
    assert result.splits["reward"].used_for == ["the policy's reward"]
    assert result.splits["quiz"].used_for == ["feedback to the teachers", "the policy's reward"]
    always = configure("weighting={type: policy, reward: influence}", "feedback=metadistil", teachers=TEACHERS)
    assert (always.rows.quiz, always.rows.reward) == (0.1, None)


@pytest.mark.slow
def test_policy_weights_and_teachers_that_learn(configure: Configure, tmp_path: Path) -> None:
    """Each teacher's part of the cotangent follows its weight: with all weight on one, the other does not move."""
    fixed = configure(
        *EXACT, "train.max_steps=2", "data.quiz=0.1",
        "feedback={type: metadistil, teacher_optimizer: sgd, teacher_lr: 0.1}",
        weighting={"type": "fixed", "weights": [1, 0]}, teachers=TEACHERS,
    )  # fmt: skip
    api.distill(fixed, tmp_path / "fixed")
    norms = events(tmp_path / "fixed", "feedback")[0].teachers
    assert norms["bpe"].norm_feedback == 0
    assert norms["wordpiece"].norm_feedback > 0
    both = configure(POLICY, "data.quiz=0.1", "feedback={type: metadistil, every: 4}", teachers=TEACHERS)
    result = api.distill(both, tmp_path / "both")
    assert result.feedback is not None
    assert result.feedback.rounds == 4
    assert weighting_of(result).updates == 7
    mean_weights = weighting_of(result).teacher_weights
    assert mean_weights is not None
    assert set(mean_weights.all) == {"wordpiece", "bpe"}
