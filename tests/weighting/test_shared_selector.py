"""One selector that several runs feed: its lease, whose scaling it has, what counts of a run that begins anew."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import ray
import torch

from raykd.ray_errors import NAMESPACE
from raykd.training.job import WorkerContext
from raykd.weighting.policy.client import SelectorClient
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec
from raykd.weighting.policy.model import StateSpec
from raykd.weighting.policy.trainer import PolicyTrainer

pytestmark = pytest.mark.usefixtures("ray_local")

ALONE = WorkerContext(0, 1, torch.device("cpu"), 1)
ROWS = 16
LAYOUT = StateSpec(("a", "b", "c"), hidden=1, classes=2, student=False)
SPEC = PolicyTrainerSpec(LAYOUT, lr=0.05, clip_ratio=0.2, entropy_bonus=0.01, update_every=1, passes=4)


@pytest.fixture
def shared() -> Iterator[str]:
    """The name of a selector of this test alone."""
    name = uuid.uuid4().hex[:8]
    yield name
    if f"selector-{name}" in alive():
        ray.kill(ray.get_actor(f"selector-{name}", NAMESPACE))


def alive() -> set[str]:
    actors: list[Any] = ray.util.list_named_actors(all_namespaces=True)
    return {actor["name"] for actor in actors}


def client(name: str, run: str, lease_s: float = 60.0) -> SelectorClient:
    return SelectorClient(replace(SPEC, lease_s=lease_s), ALONE, run, name)


def experience(rng: np.random.Generator) -> Experience:
    """Choices at π = 1/2 of three teachers, and what was gained by chance."""
    actions = rng.integers(2, size=(ROWS, 3)).astype(np.float32)
    gain = rng.normal(size=ROWS).astype(np.float32)
    return Experience(
        ids=np.arange(ROWS), states_BKF=rng.normal(size=(ROWS, 3, LAYOUT.features)).astype(np.float32),
        actions_BK=actions, log_likelihood_B=np.full(ROWS, 3 * np.log(0.5), np.float32), reward_B=gain, gain_B=gain,
        metric_B=np.zeros(ROWS, np.float32), class_B=rng.integers(2, size=ROWS),
        influence_BK=np.zeros((ROWS, 3), np.float32),
    )  # fmt: skip


@pytest.mark.slow
def test_a_lease_lasts_as_long_as_a_run_is_there(shared: str) -> None:
    """A long evaluation or warm-up makes no call; a run that is gone does not hold it."""
    run = client(shared, "run", lease_s=2.0)
    version = run.weights(None).version
    time.sleep(6)
    assert run.weights(None).version == version
    run.close()
    deadline = time.monotonic() + 60
    while f"selector-{shared}" in alive():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_first_runs_scaling_is_that_of_all(shared: str) -> None:
    """Its weights are of states scaled so: another scaling would be another policy under the same name."""
    first, second = client(shared, "first"), client(shared, "second")
    assert first.scaling() == second.scaling() == {}
    mine, theirs = {"loss.mean": torch.tensor([1.0, 2.0])}, {"loss.mean": torch.tensor([3.0, 4.0])}
    assert torch.equal(first.agree(mine)["loss.mean"], mine["loss.mean"])
    for known in (second.agree(theirs), second.scaling(), first.agree(theirs)):
        assert torch.equal(known["loss.mean"], mine["loss.mean"])
        known["loss.mean"].zero_()  # a copy of its own
    # A client that a failing run does not close renews no lease either.
    closed = first._closed
    assert not closed.is_set()
    del first
    assert closed.is_set()
    second.close()


def test_two_students_feed_one_policy_at_once_and_each_attempt_counts_once(shared: str) -> None:
    """Against one trainer that is pushed the same rows in the same order."""
    rng = np.random.default_rng(0)
    alone = PolicyTrainer(SPEC)
    seen = [experience(rng) for _ in range(10)]
    students = [client(shared, "one"), client(shared, "two")]
    assert students[0].attempt != students[1].attempt
    for step in range(3):
        for k, student in enumerate(students):
            student.push(step, seen[2 * step + k])
            student.weights(None)  # they take turns: what is learnt depends on the order
            alone.push(f"run{k}", step, 0, 1, seen[2 * step + k])
    assert students[0].weights(None).version == 6

    # Resumed from its checkpoint after step 0: steps 1 and 2 were counted, 3 was not.
    resumed = client(shared, "one")
    resumed.attempt = students[0].attempt
    for step in (1, 2, 3):
        resumed.push(step, seen[6])
    alone.push("run0", 3, 0, 1, seen[6])
    assert resumed.weights(None).version == 7

    # The same folder from the beginning: what it sees in steps 0 to 2 is new.
    anew = client(shared, "one")
    for step in range(3):
        anew.push(step, seen[7 + step])
        alone.push("anew", step, 0, 1, seen[7 + step])
    found, expected = anew.weights(None), alone.weights(None)
    assert expected is not None
    assert found.version == expected.version == 10
    for name, value in expected.weights.items():
        assert np.array_equal(found.weights[name], value)
    for each in (*students, resumed, anew):
        each.close()
