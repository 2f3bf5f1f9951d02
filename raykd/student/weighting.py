"""Builds a worker's weighting, and tells in the end which teacher was given which rows."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from raykd import models
from raykd.config import WeightingConfig
from raykd.data.batch import Batch
from raykd.data.encoding import Encoder
from raykd.models import forward
from raykd.records.log import MetricsLog
from raykd.student.step import Targets
from raykd.teachers.serving.client import Ensemble, TargetSource, TeacherClient
from raykd.training.job import Job, Subset, WorkerContext
from raykd.training.optim import steps_per_epoch
from raykd.training.replacement_sampler import ReplacementSampler
from raykd.weighting import Weighting, fitted, rules
from raykd.weighting import report as survey
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.client import SelectorClient
from raykd.weighting.policy.experience import PolicyTrainerSpec
from raykd.weighting.policy.model import StateSpec
from raykd.weighting.policy.state import StateEncoder
from raykd.weighting.policy.weighting import PolicyWeighting, Reward

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightingInputs:
    """What a weighting may know beside a batch and its targets; picklable.

    Attributes:
        run: the run's name among those that share a selector.
        reward: the reward split, where there is one.
        sentences: of a policy, where its sentence vectors come from.
        folds: of each teacher the sources of its cross-fitted logits, one a fold; none where it is taken as it is.
        lease_s: a shared selector ends so long after its last use.
    """

    run: str
    reward: Subset | None = None
    sentences: TargetSource | None = None
    folds: tuple[tuple[TargetSource, ...], ...] = ()
    lease_s: float = 60.0


def build(
    config: WeightingConfig,
    weighting_inputs: WeightingInputs | None,
    sources: tuple[TargetSource, ...],
    job: Job,
    worker: WorkerContext,
) -> Weighting:
    """The weighting of one worker.

    Raises:
        ConfigError: the exported policy to start from is another run's.
    """
    match config.type:
        case "uniform":
            return rules.Uniform()
        case "fixed":
            return rules.Fixed(config.weights or [])
        case "random":
            return rules.Random(job.seed)
        case "confidence":
            return rules.Confidence(job.task)
        case "entropy":
            return rules.Entropy()
        case "oracle":
            return rules.Oracle(job.task)
        case "best" | "logistic":
            assert weighting_inputs is not None
            return _fitted(config.type, weighting_inputs, sources, job)
        case "policy":
            assert weighting_inputs is not None
            return _selection(config, weighting_inputs, sources, job, worker)


def _fitted(rule: str, weighting_inputs: WeightingInputs, sources: tuple[TargetSource, ...], job: Job) -> Weighting:
    assert weighting_inputs.reward is not None
    ids = weighting_inputs.reward.ids
    stored = Ensemble(sources)
    logits_KNC = torch.from_numpy(stored.get(ids))
    stored.close()
    labels_N = torch.from_numpy(weighting_inputs.reward.rows().labels(ids))
    best = rule == "best"
    weights = fitted.best(job.task, logits_KNC, labels_N) if best else fitted.logistic(logits_KNC, labels_N)
    names = [source.teacher.name for source in sources]
    said = ", ".join(f"{name} {weight:.3f}" for name, weight in zip(names, weights, strict=True))
    log.info("%s on %d rows of the reward split: %s", rule, len(ids), said)
    return rules.Fixed(weights)


def _selection(
    config: WeightingConfig,
    weighting_inputs: WeightingInputs,
    sources: tuple[TargetSource, ...],
    job: Job,
    worker: WorkerContext,
) -> PolicyWeighting:
    assert weighting_inputs.sentences is not None
    names = tuple(source.teacher.name for source in sources)
    layout = StateSpec(names, weighting_inputs.sentences.teacher.classes, job.task.classes, config.student_state)
    stored = Ensemble(sources)
    cross_fitted = CrossFitted(sources, weighting_inputs.folds) if weighting_inputs.folds else None
    states = StateEncoder(layout, job.task, TeacherClient(weighting_inputs.sentences).get, cross_fitted)
    start = policy.load_for(layout, Path(config.start_from).expanduser()) if config.start_from is not None else None
    first = None if start is None else {name: value.numpy() for name, value in start.policy.state_dict().items()}
    spec = PolicyTrainerSpec(
        layout=layout,
        lr=config.lr,
        clip_ratio=config.clip_ratio,
        entropy_bonus=config.entropy_bonus,
        update_every=config.update_every,
        passes=config.passes,
        start=first,
        lease_s=weighting_inputs.lease_s if config.shared else None,
    )
    line = SelectorClient(spec, worker, weighting_inputs.run, config.shared)
    if start is None:
        states.fit(job.train.ids, job.train.rows().labels(job.train.ids), stored.get)
    else:
        states.scaling = start.scaling
    stored.close()
    line.weights(None)  # RLlib takes seconds to import: the selector is ready before the first step, not within one
    return PolicyWeighting(
        config=config,
        states=states,
        line=line,
        reward=Reward(config.reward, job.task, _reward_rows(config, weighting_inputs, job, worker)),
        worker=worker,
        seed=job.seed,
        steps_per_epoch=steps_per_epoch(len(job.train.ids), job.settings),
        start=start,
        log=MetricsLog(Path(job.metrics)) if worker.rank == 0 else None,
    )


def _reward_rows(
    config: WeightingConfig, weighting_inputs: WeightingInputs, job: Job, worker: WorkerContext
) -> ReplacementSampler | None:
    if config.reward.type != "r3":
        return None
    assert weighting_inputs.reward is not None
    encoder = student_encoder(job, weighting_inputs.reward)
    return ReplacementSampler(
        "reward", encoder, weighting_inputs.reward.ids, config.reward.batch_size, job.seed, worker
    )


def student_encoder(job: Job, signal: Subset) -> Encoder:
    """Encodes these rows as the student reads them."""
    return Encoder(models.read_tokenizer(Path(job.model), "student"), signal.rows(), job.max_length)


class CrossFitted:
    """Teachers' logits for the training rows, each from a copy that was not trained on the row.

    Args:
        folds: of each teacher, the sources of its copies; each source's `wanted` are the rows that its copy speaks on.
    """

    def __init__(self, sources: tuple[TargetSource, ...], folds: tuple[tuple[TargetSource, ...], ...]) -> None:
        self._plain = [TeacherClient(source) for source in sources]
        self._copies = [[TeacherClient(source) for source in of_teacher] for of_teacher in folds]

    def __call__(self, ids: np.ndarray) -> np.ndarray:
        """[K, B, C]."""
        return np.stack([self._of(k, ids) for k in range(len(self._plain))])

    def _of(self, k: int, ids: np.ndarray) -> np.ndarray:
        if not self._copies[k]:
            return self._plain[k].get(ids)
        teacher = self._plain[k].source.teacher
        logits = np.empty((len(ids), teacher.classes), teacher.wire)
        for client in self._copies[k]:
            mine = np.isin(ids, client.source.wanted)
            logits[mine] = client.get(ids[mine])
        return logits


@dataclass(frozen=True)
class WeightReporter:
    """Looks at the training rows once more, on worker 0."""

    job: Job
    names: tuple[str, ...]

    def __call__(
        self, weighting: Weighting, targets: Targets, model: PreTrainedModel | None, folder: Path
    ) -> dict[str, Any]:
        """See `weighting.survey`; the model is asked where the weighting wants the student's answers."""
        signal = self.job.train
        rows, encoder = signal.rows(), student_encoder(self.job, signal) if weighting.needs_student else None

        def weigh(ids: np.ndarray) -> np.ndarray:
            encoded: dict[str, torch.Tensor] = {}
            student_BC = None
            if encoder is not None and model is not None:
                encoded = {name: tensor.to(model.device) for name, tensor in encoder.encode(ids).items()}
                student_BC = forward.predicted(model, encoded)
            batch = Batch(ids, torch.from_numpy(rows.labels(ids)), encoded, 0, 0, len(ids))
            return weighting.preference(batch, torch.from_numpy(targets.get(ids)), student_BC).numpy()

        return survey.survey(folder / survey.FILE, rows, signal.ids, self.names, weigh, self.job.task)
