"""What the selector's actor does: gathers experience of all workers, updates the policy, publishes versions of it.

Students act by themselves with a copy of the weights and send what came of it (docs/ray.md, "RLlib").
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import threading
import time
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from raykd.errors import RunError
from raykd.weighting.policy.advantage import MovingMoments, leave_one_out_gain
from raykd.weighting.policy.experience import Experience, PolicyTrainerSpec, PolicyVersion
from raykd.weighting.policy.model import Policy, bernoulli_entropy
from raykd.weighting.policy.rllib import INFLUENCE, PolicyTrainerConfig, spaces

HISTORY = 4
"""Versions that are kept: a student that is a step behind asks for the one that its step was to use, not the newest."""


@dataclass
class _Run:
    """What one run has sent: parts of a step by rank, and the last step that is whole."""

    parts: dict[int, dict[int, Experience]] = field(default_factory=dict)
    last: int = -1


class PolicyTrainer:
    """Owns the policy and its RLlib Learner; fed by all workers of a run, or of many (`shared`).

    A step's experience counts once it has come from all workers; it is used in the order of steps and ids, so what is
    learnt does not depend on whose came first. A step that was counted before is not counted again: after a run went
    back to a checkpoint, its replayed steps find a private learner restored to that checkpoint, and a shared one that
    has heard them already.
    """

    def __init__(self, spec: PolicyTrainerSpec) -> None:
        torch.set_num_threads(1)
        self.spec = spec
        observations, actions = spaces(len(spec.layout.teachers), spec.layout.features)
        config = (
            PolicyTrainerConfig()
            .environment(observation_space=observations, action_space=actions)
            .training(
                lr=spec.lr,
                learner_config_dict={
                    "clip_ratio": spec.clip_ratio,
                    "entropy_bonus": spec.entropy_bonus,
                    "hidden_width": spec.hidden_width,
                    "expected": spec.expected,
                },
            )
            .learners(num_learners=0)
        )
        self.learner: Any = config.build_learner()
        if spec.start is not None:
            self._policy.load_state_dict({name: torch.from_numpy(value) for name, value in spec.start.items()})
        self.version = 0
        self._runs: dict[str, _Run] = {}
        self._pending: list[Experience] = []
        self._replayed: list[Experience] = []
        self._moving = MovingMoments()
        self._metrics: dict[int, dict[str, float]] = {}
        self._history = {0: self._copy()}
        self._used = time.monotonic()
        if spec.lease_s is not None:
            threading.Thread(target=self._end_unused, daemon=True).start()

    def renew(self) -> None:
        """Its lease begins again, as with every call of a run."""
        self._used = time.monotonic()

    def push(self, run: str, step: int, rank: int, world: int, experience: Experience) -> None:
        """What worker `rank` of `world` saw in a step of a run; rows may be none.

        Args:
            run: of many that share the policy, an attempt of it: a run that begins anew counts anew.
        """
        self._used = time.monotonic()
        sender = self._runs.setdefault(run, _Run())
        if step <= sender.last:
            return
        parts = sender.parts.setdefault(step, {})
        parts[rank] = experience
        if len(parts) < world:
            return
        sender.last = step
        del sender.parts[step]
        whole = Experience.joined([parts[rank] for rank in range(world)])
        # Influence has its baseline already, and compares no rows.
        self._pending.append(whole if self.spec.reward == "influence" else leave_one_out_gain(whole))
        if len(self._pending) == self.spec.update_every:
            self._update(Experience.joined(self._pending, by_id=False))
            self._pending = []

    def weights(self, version: int | None) -> PolicyVersion | None:
        """The weights of a version (None: the newest) and the metrics of its update; None where it is still to come.

        Raises:
            RunError: the version is too old to be had.
        """
        self._used = time.monotonic()
        wanted = self.version if version is None else version
        if wanted > self.version:
            return None
        if wanted not in self._history:
            raise RunError("selector", f"version {wanted} of the policy is gone, the newest is {self.version}")
        return PolicyVersion(wanted, self._history[wanted], self._metrics.get(wanted, {}))

    def state(self, run: str, step: int) -> bytes | None:
        """Everything that is needed to resume after a run's rewarded step, RLlib's checkpoint in it; None until all
        workers' parts of that step are there."""
        self._used = time.monotonic()
        if step >= 0 and self._runs.get(run, _Run()).last < step:
            return None
        folder = Path(tempfile.mkdtemp())
        try:
            self.learner.save_to_path(str(folder / "rllib"))
            state = {
                "version": self.version,
                "runs": {name: run_state.last for name, run_state in self._runs.items()},
                "moving": asdict(self._moving),
                "metrics": self._metrics,
            }
            for version, weights in self._history.items():
                _keep(folder / f"version-{version}.npz", weights)
            (folder / "selector.json").write_text(json.dumps(state), encoding="utf-8")
            for name, kept in (("pending", self._pending), ("replayed", self._replayed)):
                for k, experience in enumerate(kept):
                    _keep(folder / f"{name}-{k}.npz", asdict(experience))
            return _packed(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def restore(self, packed: bytes) -> None:
        """Back from `state`. RLlib's checkpoints are pickles: from this run's own folder only."""
        folder = Path(tempfile.mkdtemp())
        try:
            with zipfile.ZipFile(io.BytesIO(packed)) as archive:
                archive.extractall(folder)
            self.learner.restore_from_path(str(folder / "rllib"))
            state = json.loads((folder / "selector.json").read_text(encoding="utf-8"))
            self.version = state["version"]
            self._metrics = {int(version): metrics for version, metrics in state["metrics"].items()}
            self._history = {int(path.stem.split("-")[1]): _arrays(path) for path in folder.glob("version-*.npz")}
            self._runs = {name: _Run(last=last) for name, last in state["runs"].items()}
            self._moving = MovingMoments(**state["moving"])
            self._pending, self._replayed = _experience(folder, "pending"), _experience(folder, "replayed")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _policy(self) -> Policy:
        policy: Policy = self.learner.module[DEFAULT_MODULE_ID].unwrapped().policy
        return policy

    def _update(self, seen: Experience) -> None:
        """`passes` gradient steps on the rows; the clipped ratio bounds how far they go."""
        if not len(seen.ids):  # a batch without a labelled row: a version like the last, so that the count goes on
            self.version += 1
            self._keep_version()
            return
        batch, rows = self._in_expectation(seen) if self.spec.expected else self._of_choices(seen)
        for _ in range(self.spec.passes):
            self.learner.update(batch=MultiAgentBatch({DEFAULT_MODULE_ID: batch}, rows))
        self.version += 1
        with torch.no_grad():
            logits_BK = self._policy(torch.from_numpy(seen.states_BKF))
        share = {f"share_{k}": float(value) for k, value in enumerate(logits_BK.sigmoid().mean(0))}
        self._metrics[self.version] = {
            "reward": float((seen.reward_B + seen.metric_B).mean()),
            "entropy": float(bernoulli_entropy(logits_BK).mean()),
            "rows": float(len(seen.ids)),
            **share,
        }
        self._keep_version()

    def _keep_version(self) -> None:
        """Keeps the weights of this version, and drops those that nobody will ask for."""
        self._history[self.version] = self._copy()
        for old in [version for version in self._history if version <= self.version - HISTORY]:
            del self._history[old]
            self._metrics.pop(old, None)

    def _of_choices(self, seen: Experience) -> tuple[SampleBatch, int]:
        """What Reinforce learns from, and its rows."""
        columns = {
            Columns.OBS: seen.states_BKF,
            Columns.ACTIONS: seen.actions_BK,
            Columns.ACTION_LOGP: seen.log_likelihood_B,
            Columns.ADVANTAGES: self._moving.advantage(seen),
        }
        return SampleBatch({name: torch.from_numpy(array) for name, array in columns.items()}), len(seen.ids)

    def _in_expectation(self, seen: Experience) -> tuple[SampleBatch, int]:
        """What a gradient in expectation is of, and its rows: these, and those of the last `replay` updates.

        An earlier row's r is of the student as it was; of the policy that acted then it does not depend.
        """
        scale = self._moving.scale(seen.influence_BK)
        rows = [*self._replayed, seen]
        columns = {
            Columns.OBS: np.concatenate([some.states_BKF for some in rows]),
            INFLUENCE: np.concatenate([some.influence_BK for some in rows]) / np.float32(scale),
        }
        self._replayed = rows[-self.spec.replay :] if self.spec.replay else []
        count = sum(len(some.ids) for some in rows)
        return SampleBatch({name: torch.from_numpy(array) for name, array in columns.items()}), count

    def _copy(self) -> dict[str, np.ndarray]:
        return {name: value.numpy().copy() for name, value in self._policy.state_dict().items()}

    def _end_unused(self) -> None:
        assert self.spec.lease_s is not None
        while time.monotonic() - self._used < self.spec.lease_s:
            time.sleep(min(1.0, self.spec.lease_s / 4))
        os._exit(0)


def _keep(path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(path, **cast(Any, arrays))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as arrays:
        return dict(arrays)


def _experience(folder: Path, name: str) -> list[Experience]:
    paths = sorted(folder.glob(f"{name}-*.npz"), key=lambda file: int(file.stem.split("-")[1]))
    return [Experience(**_arrays(path)) for path in paths]


def _packed(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, path.relative_to(folder))
    return buffer.getvalue()
