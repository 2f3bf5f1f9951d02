"""The student's end of teachers that learn: worker 0 starts their ranks, every worker asks one rank of each teacher.

Version 0 is the frozen teacher that they are copies of, so until the first round the stored soft targets serve. The
ranks live as long as worker 0: a restarted run begins with new ones and puts the last checkpoint back into them, so
nothing that an earlier attempt has sent can reach them.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.actor import ActorHandle
from ray.exceptions import RayError, RayTaskError

from raykd.data.splits import Split
from raykd.errors import TeacherError, TrainerLost
from raykd.ray_errors import NAMESPACE, cause_of, first_line
from raykd.teachers.feedback.message import Key, TeacherFeedback
from raykd.teachers.feedback.trainer import TeacherTrainer, TeacherTrainerSpec
from raykd.teachers.serving import parity
from raykd.teachers.serving.client import Ensemble, TargetSource
from raykd.training import collective
from raykd.training.job import WorkerContext

START_S = 600.0
"""A rank that cannot be had for so long ends the run instead of hanging it."""


class TrainableEnsemble:
    """K teachers as one source of targets, some of which learn.

    Args:
        sources: of all K, as `Ensemble` takes them.
        specs: of those that learn, None for the others.
        ranks: processes of each that learns.
    """

    def __init__(
        self,
        sources: Sequence[TargetSource],
        specs: Sequence[TeacherTrainerSpec | None],
        ranks: int,
        worker: WorkerContext,
    ) -> None:
        self.stored = Ensemble(sources)
        self.worker, self.version, self.wire_bytes = worker, 0, 0
        self._specs = {k: spec for k, spec in enumerate(specs) if spec is not None}
        self._split = sources[0].split
        nonce = collective.broadcast(uuid.uuid4().hex[:12], worker.world)
        self._ranks: dict[int, list[ActorHandle]] = {}
        self._sent: list[ray.ObjectRef] = []
        self._compared = False
        if worker.rank == 0:
            self._ranks = {k: _start(spec, ranks, f"teacher-trainer-{nonce}-{k}") for k, spec in self._specs.items()}
        collective.barrier(worker.world)
        if worker.rank > 0:
            names = {k: [f"teacher-trainer-{nonce}-{k}-{rank}" for rank in range(ranks)] for k in self.trainable}
            self._ranks = {
                k: [ray.get_actor(name, NAMESPACE) for name in of_teacher] for k, of_teacher in names.items()
            }

    @property
    def trainable(self) -> Mapping[int, TeacherTrainerSpec]:
        """Those that learn, by their place among the K."""
        return self._specs

    # What a step asks for

    def prefetch(self, batches: list[np.ndarray]) -> None:
        """Asks for stored targets ahead of time; those of a version that does not exist yet cannot be."""
        if self.version == 0:
            self.stored.prefetch(batches)

    def available(self, ids: np.ndarray) -> int:
        """Rows times teachers that need no waiting."""
        if self.version == 0:
            return self.stored.available(ids)
        return sum(client.available(ids) for k, client in enumerate(self.stored.clients) if k not in self.trainable)

    def get(self, ids: np.ndarray) -> np.ndarray:
        """Logits [K, len(ids), C] of the version that the teachers have now."""
        return self.stored.get(ids) if self.version == 0 else self._ask(ids, None)

    def open(self, ids: np.ndarray, key: Key) -> np.ndarray:
        """As `get`, and every teacher that learns keeps what it served until the feedback for it comes."""
        served_KBC = self._ask(ids, key)
        if not self._compared and self.version == 0:
            self._compare(served_KBC, self.stored.get(ids))
        self._compared = True
        return served_KBC

    def check_copies(self, ids: np.ndarray) -> None:
        """Compares version 0 with the stored targets of these rows, in place of the first rows that are opened.

        Raises:
            TeacherError: they differ by more than rounding.
        """
        self._compare(self._ask(ids, None), self.stored.get(ids))
        self._compared = True

    def reference_logits(self, ids: np.ndarray) -> np.ndarray:
        """Logits [K, len(ids), C] of version 0."""
        return self.stored.get(ids)

    def send(self, key: Key, messages: dict[int, TeacherFeedback]) -> None:
        """Sends each teacher (by its place among the K) the student's feedback on the rows opened under `key`."""
        for k, message in messages.items():
            self.wire_bytes += message.nbytes
            self._sent.append(self._rank(k).feedback.remote(self.version, key, message))

    def step(self, measure: bool) -> dict[str, dict[str, float]]:
        """All feedback of the round has been sent: the teachers step. Called by every worker.

        Returns:
            By teacher's name, on worker 0, the metrics of `TeacherTrainer.step`; empty elsewhere.
        """
        self._wait(self._sent)
        self._sent = []
        collective.barrier(self.worker.world)
        metrics = {}
        if self.worker.rank == 0:
            refs = {k: [rank.step.remote(self.version, measure) for rank in self._ranks[k]] for k in self.trainable}
            metrics = {self._name(k): self._wait(of_teacher)[0] for k, of_teacher in refs.items()}
        collective.barrier(self.worker.world)
        self.version += 1
        return metrics

    # Beside the steps

    def evaluate(self, split: Split, ids: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
        """By teacher's name its logits [len(ids), C] on these rows and its drift; on worker 0, empty elsewhere."""
        if self.worker.rank > 0:
            return {}
        refs = {
            k: [rank.evaluate.remote(split, ids[r :: len(ranks)]) for r, rank in enumerate(ranks)]
            for k, ranks in self._ranks.items()
        }
        drifts = {k: ranks[0].drift.remote() for k, ranks in self._ranks.items()}
        out = {}
        for k, of_teacher in refs.items():
            parts = self._wait(of_teacher)
            logits = np.empty((len(ids), parts[0].shape[1]), parts[0].dtype)
            for r, part in enumerate(parts):
                logits[r :: len(parts)] = part
            out[self._name(k)] = (logits, self._wait([drifts[k]])[0])
        return out

    def save(self, folder: Path) -> None:
        """Worker 0: every teacher that learns writes its state into a checkpoint's folder."""
        self._wait([ranks[0].save.remote(folder) for ranks in self._ranks.values()])

    def restore(self, folder: Path) -> None:
        """Puts a checkpoint's state into all ranks; every worker calls it."""
        version = 0
        if self.worker.rank == 0:
            version = self._wait([rank.restore.remote(folder) for ranks in self._ranks.values() for rank in ranks])[0]
        self.version = int(collective.broadcast(str(version), self.worker.world))

    def export(self, folder: Path) -> dict[str, Path]:
        """Worker 0: writes the trained teachers as Hugging Face checkpoints; returns their folders by name."""
        folders = {k: folder / self._name(k) for k in self.trainable}
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)
        self._wait([self._ranks[k][0].export.remote(path) for k, path in folders.items()])
        return {self._name(k): path for k, path in folders.items()}

    def close(self) -> None:
        """Ends the ranks that this worker has started."""
        self.stored.close()
        if self.worker.rank == 0:
            for ranks in self._ranks.values():
                for rank in ranks:
                    ray.kill(rank)
        self._ranks = {}

    def _ask(self, ids: np.ndarray, key: Key | None) -> np.ndarray:
        refs = {k: self._rank(k).serve.remote(self.version, self._split, ids, key) for k in self.trainable}
        out = []
        for k, client in enumerate(self.stored.clients):
            if k not in refs:
                out.append(client.get(ids))
                continue
            (answer,) = self._wait([refs[k]])
            answer.check(client.source.teacher, self.version, self._split.texts)
            self.wire_bytes += answer.values.nbytes + ids.nbytes
            assert isinstance(answer.values, np.ndarray)
            out.append(answer.values)
        return np.stack(out)

    def _compare(self, served_KBC: np.ndarray, stored_KBC: np.ndarray) -> None:
        """Refuses copies whose logits differ from the frozen teacher's: another model would be trained otherwise."""
        for k, spec in self._specs.items():
            what = "the copy that learns differs from its stored soft targets"
            parity.compare(spec.teacher, served_KBC[k], stored_KBC[k], what)

    def _rank(self, k: int) -> Any:
        ranks = self._ranks[k]
        return ranks[self.worker.rank % len(ranks)]

    def _name(self, k: int) -> str:
        return self._specs[k].teacher.name

    def _wait(self, refs: Sequence[ray.ObjectRef]) -> list[Any]:
        return _answers(refs, ", ".join(spec.teacher.name for spec in self._specs.values()))


def _start(spec: TeacherTrainerSpec, ranks: int, name: str) -> list[ActorHandle]:
    make: Any = ray.remote(TeacherTrainer)
    options = {
        **spec.actor_resources.options,
        "namespace": NAMESPACE,
        "max_restarts": 0,  # a restarted rank would be at version 0: the run goes back to its last checkpoint
        # Never inside the placement group of the worker that starts it.
        "scheduling_strategy": "DEFAULT",
    }
    actors = [make.options(name=f"{name}-{rank}", **options).remote(spec) for rank in range(ranks)]
    if ranks > 1:
        (address,) = _answers([actors[0].address.remote()], spec.teacher.name)
        _answers([actor.join.remote(address, rank, ranks) for rank, actor in enumerate(actors)], spec.teacher.name)
    return actors


def _answers(refs: Sequence[ray.ObjectRef], who: str) -> list[Any]:
    """The values, the first error first: a rank that waits for a dead one never answers.

    Raises:
        TrainerLost: a rank has died.
        TeacherError: a rank refused, or answered nothing for long.
    """
    waiting = list(refs)
    try:
        while waiting:
            ready, waiting = ray.wait(waiting, num_returns=1, timeout=START_S)
            if not ready:
                raise TeacherError(f"teacher {who}", f"answered nothing for {START_S:.0f} s", "are its resources free?")
            ray.get(ready)
        return ray.get(list(refs))
    except RayTaskError as error:
        raise cause_of(error) from None
    except RayError as error:
        raise TrainerLost(f"teacher {who}", f"a process of it has died ({first_line(error)})") from None
