"""The teachers of the baseline `quiz_teacher`: trained on the quiz's labels in place of the student's feedback.

docs/methods.md, section "The baseline `quiz_teacher`": θ_T ← step(∇CE(z_T(x_q), y_q)), the step of a teacher under
feedback with ω = 0 and γ = 1 on the quiz rows of each round.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from raykd import models
from raykd.config import CotangentFeedbackConfig
from raykd.errors import Interrupted, ModelError, TrainerLost
from raykd.files import replacing_folder, write_json
from raykd.records.events import PhaseEvent, Scores
from raykd.records.run_result import TrainedTeacherResult
from raykd.teachers.feedback.ensemble import TrainableEnsemble
from raykd.teachers.feedback.message import TeacherFeedback
from raykd.teachers.feedback.trainer import TeacherTrainerSpec
from raykd.teachers.finetune import TeacherPrepContext
from raykd.teachers.serving.client import TargetSource
from raykd.teachers.serving.replica import ActorResources
from raykd.training.checkpoint import load_checkpoint, save_checkpoint
from raykd.training.job import Subset, WorkerContext
from raykd.training.replacement_sampler import draw_rows

log = logging.getLogger(__name__)
FILE = "tuned.json"
CHECKED_ROWS = 8
DECISIVE = (
    "trainable",
    "teacher_lr",
    "teacher_optimizer",
    "teacher_schedule",
    "teacher_warmup_ratio",
    "teacher_weight_decay",
    "teacher_max_grad_norm",
)
"""Settings of the feedback that decide the tuned weights."""
DRIVER = WorkerContext(0, 1, torch.device("cpu"), 1)


@dataclass(frozen=True)
class QuizTuning:
    """How teachers are trained on the quiz.

    Attributes:
        feedback: the run's own, whose optimizer they have.
        rounds: the student's steps that have a round of feedback; each is one step of the teachers.
        rows: of a round's quiz.
        part: rows of a quiz that are forwarded at a time.
        seed: of the draws, the student's.
        checkpoint_every: steps between checkpoints.
        max_failures: how often a lost process may send the teachers back to the last checkpoint.
    """

    feedback: CotangentFeedbackConfig
    rounds: range
    rows: int
    part: int
    seed: int
    checkpoint_every: int
    max_failures: int

    @property
    def losses(self) -> CotangentFeedbackConfig:
        """The feedback's settings with cross-entropy as the teachers' only loss."""
        alone = {"weight": 0.0, "teacher_ce": 1.0, "teacher_kd": 0.0, "teacher_reference_kl": 0.0}
        # A quiz of several parts holds the graph of one of them.
        return self.feedback.model_copy(update={**alone, "recompute": self.feedback.recompute or self.rows > self.part})

    def parts(self, quiz: Subset, version: int) -> list[np.ndarray]:
        """The ids of the quiz of a teacher's step: those that the feedback of this round draws, in parts."""
        ids = draw_rows("quiz", quiz.ids, self.rows, self.seed, self.rounds[version])
        return np.array_split(ids, -(-self.rows // self.part))


def tune(
    sources: Sequence[TargetSource],
    resources: Sequence[ActorResources],
    tuning: QuizTuning,
    folder: Path,
    prep: TeacherPrepContext,
) -> dict[str, TrainedTeacherResult]:
    """Trains copies of teachers on the quiz rows and writes them to `folder/NAME`; finished ones are kept.

    Args:
        sources: of the stored soft targets of the teachers that learn by feedback.
        resources: what each of them runs on.
        folder: within the run's, on storage that all nodes share; `folder.work` beside it has the checkpoints.

    Returns:
        By teacher's name its scores on validation before and after, its drift and its folder.

    Raises:
        TeacherError: a teacher cannot answer, or has diverged.
        Interrupted: `prep.stop` was set; a checkpoint is saved.
    """
    fingerprint = _fingerprint(sources, tuning, prep)
    finished = _finished(folder, fingerprint)
    if finished is not None:
        log.info("teachers tuned on the quiz: %s is finished", fingerprint[:12])
        return finished
    prep.metrics.write(PhaseEvent(phase="teachers on the quiz"))
    left = tuning.max_failures
    while True:
        ensemble = _ensemble(sources, resources, tuning, prep)
        try:
            return _Tuning(ensemble, tuning, folder, prep, fingerprint).run()
        except TrainerLost as error:
            if not left:
                raise
            left -= 1
            log.warning("%s: going back to the last checkpoint", error)
        finally:
            ensemble.close()


def _ensemble(
    sources: Sequence[TargetSource],
    resources: Sequence[ActorResources],
    tuning: QuizTuning,
    prep: TeacherPrepContext,
) -> TrainableEnsemble:
    rounds, temperature = len(tuning.rounds), 1.0  # of the divergence from the student, which has no weight here
    specs = [
        TeacherTrainerSpec(source.teacher, prep.task, tuning.losses, temperature, rounds, place)
        for source, place in zip(sources, resources, strict=True)
    ]
    return TrainableEnsemble(sources, specs, 1, DRIVER)


class _Tuning:
    """One attempt, from the last checkpoint to the end."""

    def __init__(
        self, ensemble: TrainableEnsemble, tuning: QuizTuning, folder: Path, prep: TeacherPrepContext, fingerprint: str
    ) -> None:
        self.ensemble, self.tuning, self.folder, self.prep = ensemble, tuning, folder, prep
        self.fingerprint, self.work = fingerprint, folder.with_name(f"{folder.name}.work")
        self.quiz, self.validation = Subset.of(prep.corpus, "quiz"), Subset.of(prep.corpus, "validation")
        self.began: dict[str, Scores] = {}

    def run(self) -> dict[str, TrainedTeacherResult]:
        """All steps that are left; errors as for `tune`."""
        ensemble, total, every = self.ensemble, len(self.tuning.rounds), self.tuning.checkpoint_every
        self._resume()
        while ensemble.version < total:
            self._step()
            if self.prep.stop.is_set():
                self._save()
                what = f"stopped at step {ensemble.version} of {total}"
                raise Interrupted("teachers on the quiz", what, "the same command resumes")
            if ensemble.version % every == 0 and ensemble.version < total:
                self._save()
        return self._finish()

    def _step(self) -> None:
        ensemble, version = self.ensemble, self.ensemble.version
        for number, ids in enumerate(self.tuning.parts(self.quiz, version)):
            key = (version, 0, number)
            served_KBC = ensemble.open(ids, key)
            nothing = {k: TeacherFeedback(np.zeros_like(served_KBC[k]), self.tuning.rows) for k in ensemble.trainable}
            ensemble.send(key, nothing)
        ensemble.step(measure=False)

    def _resume(self) -> None:
        checkpoint = load_checkpoint(self.work)
        if checkpoint is not None and checkpoint.state["fingerprint"] == self.fingerprint:
            self.ensemble.restore(checkpoint.folder)
            self.began = checkpoint.state["began"]
            log.info("resuming at step %d of %d", self.ensemble.version, len(self.tuning.rounds))
            return
        shutil.rmtree(self.work, ignore_errors=True)
        self.ensemble.check_copies(self.ensemble.stored.clients[0].source.wanted[:CHECKED_ROWS])
        self.began = {name: scores for name, (scores, _) in self._scored().items()}

    def _save(self) -> None:
        state = {"fingerprint": self.fingerprint, "began": self.began}
        save_checkpoint(self.work, self.ensemble.version, state, beside=self.ensemble.save)

    def _scored(self) -> dict[str, tuple[Scores, float]]:
        """Scores on validation, and the drift, by name."""
        labels, task = self.validation.labels(), self.prep.task
        evaluated = self.ensemble.evaluate(self.validation.split, self.validation.ids)
        return {name: (dict(task.scores(logits, labels)), drift) for name, (logits, drift) in evaluated.items()}

    def _finish(self) -> dict[str, TrainedTeacherResult]:
        ended = self._scored()
        results = {
            name: TrainedTeacherResult(
                began=self.began[name],
                ended=scores,
                drift=drift,
                versions=self.ensemble.version,
                folder=str((self.folder / name).relative_to(self.prep.folder)),
            )
            for name, (scores, drift) in ended.items()
        }
        with replacing_folder(self.folder) as draft:
            exported = self.ensemble.export(draft)
            weights = {name: models.weights_fingerprint(path) for name, path in exported.items()}
            teachers = {name: result.model_dump() for name, result in results.items()}
            write_json(draft / FILE, {"fingerprint": self.fingerprint, "weights": weights, "teachers": teachers})
        shutil.rmtree(self.work, ignore_errors=True)
        return results


def _finished(folder: Path, fingerprint: str) -> dict[str, TrainedTeacherResult] | None:
    """What an earlier session has written; None where it was made of something else, or is not whole."""
    try:
        summary: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        weights = {name: models.weights_fingerprint(folder / name) for name in summary["weights"]}
    except FileNotFoundError:
        return None
    except (ValueError, ModelError):  # a damaged file
        weights, summary = {}, {"fingerprint": None, "weights": None}
    if summary["fingerprint"] != fingerprint or summary["weights"] != weights:
        log.warning("the teachers in %s are not those of this run, they are trained again", folder)
        return None
    return {name: TrainedTeacherResult.model_validate(fields) for name, fields in summary["teachers"].items()}


def _fingerprint(sources: Sequence[TargetSource], tuning: QuizTuning, prep: TeacherPrepContext) -> str:
    """Of everything that decides the tuned weights and their scores."""
    parts = {
        "teachers": {source.teacher.name: source.teacher.identity for source in sources},
        "settings": {key: getattr(tuning.feedback, key) for key in DECISIVE},
        "quiz": Subset.of(prep.corpus, "quiz").digest(),
        "validation": Subset.of(prep.corpus, "validation").digest(),
        "draws": [tuning.rounds.start, tuning.rounds.stop, tuning.rounds.step, tuning.rows, tuning.part, tuning.seed],
        "task": [prep.task.type, prep.task.best_by, list(prep.task.labels)],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
