"""The student's end of the selector: starts its actor or finds it by name, sends experience, asks for weights."""

from __future__ import annotations

import threading
import time
import uuid
import weakref
from typing import Any

import numpy as np
import ray
import torch
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from raykd.errors import ConfigError, RunError, TrainerLost
from raykd.ray_errors import NAMESPACE, cause_of, first_line
from raykd.training import collective
from raykd.training.job import WorkerContext
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec, PolicyVersion
from raykd.weighting.policy.model import StateSpec

PATIENCE_S = 300.0
"""A selector that makes no progress for so long ends the run instead of hanging it."""
WHERE = "selector"


class SelectorClient:
    """One worker's line to the run's selector, or to one that many runs share.

    A private selector lives as long as worker 0 of this attempt and is made anew by the next, so nothing that an
    earlier attempt has sent can reach it. A shared one is known by its name and outlives the run by its lease; the
    first run that names it decides its rate, clip and bonus, and how states are scaled. Its lease is renewed as long as
    this client is open, however long the student computes between two calls.

    Attributes:
        attempt: names what is sent to a shared selector, beside the run: a run that resumes keeps its checkpoint's, so
            that steps which it makes again do not count again; one that begins anew has another, and all its steps do.

    Raises:
        ConfigError: a shared one was made for other teachers or states.
    """

    def __init__(self, spec: PolicyTrainerSpec, worker: WorkerContext, run: str, shared: str | None) -> None:
        self.spec, self.worker, self.run, self.shared = spec, worker, run, shared
        self._sent: list[ray.ObjectRef] = []
        self.attempt = collective.broadcast(uuid.uuid4().hex[:12], worker.world)
        name = f"selector-{shared or self.attempt}"
        self._actor: ActorHandle | None = None
        if worker.rank == 0:
            self._actor = _start(spec, name, shared is not None)
        collective.barrier(worker.world)
        if worker.rank > 0:
            self._actor = ray.get_actor(name, NAMESPACE)
        self._closed = threading.Event()
        weakref.finalize(self, self._closed.set)  # also where a run fails before it can close this
        if shared:
            if worker.rank == 0 and spec.lease_s is not None:
                threading.Thread(target=_renew, args=(self._call, spec.lease_s, self._closed), daemon=True).start()
            self._check(shared)

    def push(self, step: int, experience: Experience) -> None:
        """Sends what this worker saw in a step, without waiting."""
        worker = self.worker
        run = self.run if self.shared is None else f"{self.run}/{self.attempt}"
        self._sent.append(self._call.push.remote(run, step, worker.rank, worker.world, experience))

    def scaling(self) -> dict[str, torch.Tensor]:
        """How the runs that feed a shared selector scale their states; empty before the first of them has said so."""
        return self._tensors(self._get(self._call.scaling.remote(None)))

    def agree(self, scaling: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Offers a scaling to a shared selector; returns the one that was offered first, which all runs use."""
        offered = {name: value.numpy() for name, value in scaling.items()}
        return self._tensors(self._get(self._call.scaling.remote(offered)))

    def weights(self, version: int | None) -> PolicyVersion:
        """The weights of a version, waiting until it is made; None: the newest there is.

        Raises:
            TrainerLost: the selector has died.
            RunError: it does not get there.
        """
        deadline, pause = time.monotonic() + PATIENCE_S, 0.002
        while True:
            found = self._get(self._call.weights.remote(version))
            if found is not None:
                for ref in self._sent:
                    self._get(ref)
                self._sent = []
                published: PolicyVersion = found
                return published
            if time.monotonic() > deadline:
                raise RunError(WHERE, f"version {version} of the policy was not made in {PATIENCE_S:.0f} s")
            time.sleep(pause)
            pause = min(2 * pause, 0.1)

    def state(self, step: int) -> bytes:
        """Everything after a rewarded step, once it has come from all workers; errors as for `weights`."""
        deadline = time.monotonic() + PATIENCE_S
        while (packed := self._get(self._call.state.remote(self.run, step))) is None:
            if time.monotonic() > deadline:
                raise RunError(WHERE, f"what the workers saw in step {step} did not come in {PATIENCE_S:.0f} s")
            time.sleep(0.01)
        return bytes(packed)

    def restore(self, packed: bytes) -> None:
        """Puts a state back; errors as for `weights`."""
        self._get(self._call.restore.remote(packed))

    def close(self) -> None:
        """Ends a private selector; a shared one goes on until its lease is out."""
        self._closed.set()
        if self._actor is not None and self.worker.rank == 0 and self.shared is None:
            ray.kill(self._actor)
        self._actor = None

    def _tensors(self, arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
        # Copies: what comes over the wire is read-only memory of the object store.
        return {name: torch.tensor(value) for name, value in arrays.items()}

    def _check(self, shared: str) -> None:
        """Refuses a selector that other runs feed with states of another kind."""
        theirs, form = self._get(self._call.layout.remote())
        mine = self.spec.form
        if form != mine:
            what = f"has {form[0]} hidden units and learns from {form[1]}; this run has {mine[0]} and {mine[1]}"
            raise ConfigError(f"weighting.shared {shared}", what, "give this run's another name")
        if theirs != self.spec.layout:
            what = f"is fed by runs with teachers {', '.join(theirs.teachers)} and {theirs.features} features a state"
            here = f"this run has {', '.join(self.spec.layout.teachers)} and {self.spec.layout.features}"
            raise ConfigError(f"weighting.shared {shared}", f"{what}; {here}", "give this run's another name")

    @property
    def _call(self) -> Any:
        assert self._actor is not None
        return self._actor

    def _get(self, ref: Any) -> Any:
        try:
            return ray.get(ref, timeout=PATIENCE_S)
        except RayTaskError as error:
            raise cause_of(error) from None
        except RayError as error:
            raise TrainerLost(WHERE, f"the policy's process has died ({first_line(error)})") from None


class _PolicyTrainerActor:
    """The actor. RLlib takes seconds and 200 MB to import, and no process but this one needs it."""

    def __init__(self, spec: PolicyTrainerSpec) -> None:
        from raykd.weighting.policy.trainer import PolicyTrainer

        self.learner = PolicyTrainer(spec)
        self._scaling: dict[str, np.ndarray] = {}

    def push(self, run: str, step: int, rank: int, world: int, experience: Experience) -> None:
        """Adds a worker's rows of a step; see `PolicyTrainer.push`."""
        self.learner.push(run, step, rank, world, experience)

    def renew(self) -> None:
        """A run is still there that will call again."""
        self.learner.renew()

    def scaling(self, offered: dict[str, np.ndarray] | None) -> dict[str, np.ndarray]:
        """How states are scaled, as the first who offered it has it; empty before."""
        self._scaling = self._scaling or offered or {}
        return self._scaling

    def layout(self) -> tuple[StateSpec, tuple[int, str]]:
        """What its states are made of, and its form."""
        return self.learner.spec.layout, self.learner.spec.form

    def weights(self, version: int | None) -> PolicyVersion | None:
        """The weights of a version; see `PolicyTrainer.weights`."""
        return self.learner.weights(version)

    def state(self, run: str, step: int) -> bytes | None:
        """What a checkpoint holds of it; see `PolicyTrainer.state`."""
        return self.learner.state(run, step)

    def restore(self, packed: bytes) -> None:
        """Restores a checkpoint's state; see `PolicyTrainer.restore`."""
        self.learner.restore(packed)


def _start(spec: PolicyTrainerSpec, name: str, shared: bool) -> ActorHandle:
    options: dict[str, Any] = {
        "name": name,
        "namespace": NAMESPACE,
        "num_cpus": 0,
        "max_restarts": 0,  # one that came back would know nothing: the run goes back to its last cut
        # Never inside the placement group of the worker that starts it.
        "scheduling_strategy": "DEFAULT",
        "lifetime": "detached" if shared else None,
        "get_if_exists": shared,
    }
    make: Any = ray.remote(_PolicyTrainerActor)
    actor: ActorHandle = make.options(**options).remote(spec)
    return actor


def _renew(actor: Any, lease_s: float, closed: threading.Event) -> None:
    """Four times a lease, until the client is closed; without waiting: the next call that is needed finds it dead."""
    while not closed.wait(lease_s / 4) and ray.is_initialized():
        actor.renew.remote()
