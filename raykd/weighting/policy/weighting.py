"""The policy at work in a student: acts, waits for the student's step, rewards, reports (docs/methods.md, "RL-KD").

Yuan et al., "Reinforced Multi-Teacher Selection for Knowledge Distillation" (AAAI 2021), section 3.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from raykd.config import PolicyConfig
from raykd.data.batch import Batch
from raykd.records.events import PolicyEvent
from raykd.records.log import MetricsLog
from raykd.records.run_result import PolicyUpdate, WeightingResult
from raykd.training import collective
from raykd.training.job import WorkerContext
from raykd.training.optim import steps_per_epoch
from raykd.weighting.base import Stepped, Stepping, Weighting
from raykd.weighting.inputs import WeightingInputs, needed
from raykd.weighting.policy import model as policy
from raykd.weighting.policy.client import SelectorClient
from raykd.weighting.policy.experience import Acted, Experience, PolicyTrainerSpec, PolicyVersion
from raykd.weighting.policy.influence import Influence
from raykd.weighting.policy.model import Exported, Policy, StateSpec
from raykd.weighting.policy.reward import PolicyReward, Reward
from raykd.weighting.policy.schedule import UpdateSchedule
from raykd.weighting.policy.state import StateEncoder

log = logging.getLogger(__name__)
STATE, TALLY = "selector.zip", "selection.json"


@dataclass
class _Tally:
    """What the result will say, and where the policy stands; part of a checkpoint."""

    last: int = -1
    version: int = 0
    attempt: str = ""
    began: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)


class PolicyWeighting(Weighting):
    """Weights by the policy's choices.

    Args:
        line: to the selector that learns.
        reward: what it is rewarded for.
        steps_per_epoch: of the student.
        start: the exported policy to start from.
        log: of worker 0, None elsewhere.
    """

    def __init__(
        self,
        config: PolicyConfig,
        states: StateEncoder,
        line: SelectorClient,
        reward: PolicyReward,
        worker: WorkerContext,
        seed: int,
        steps_per_epoch: int,
        start: Exported | None,
        log: MetricsLog | None,
    ) -> None:
        self.config, self.states, self.line, self.reward, self.worker, self.seed = (
            config, states, line, reward, worker, seed,
        )  # fmt: skip
        self.steps_per_epoch, self.log = steps_per_epoch, log
        self.needs_student = config.student_state
        self.calendar = UpdateSchedule(config.student_warmup, config.reward.every, config.update_every)
        layout = states.layout
        width = config.hidden_width
        self.policy = Policy(len(layout.teachers), layout.features, width) if start is None else start.policy
        self.tally = _Tally(attempt=line.attempt)
        self._acted: dict[int, Acted] = {}
        self._asked = -1

    @classmethod
    def from_config(cls, config: PolicyConfig, inputs: WeightingInputs) -> PolicyWeighting:
        """Starts the selector, or finds the shared one, and standardises the states on the training rows.

        Raises:
            ConfigError: the policy to start from, or the shared one, is for other teachers or states.
        """
        job, worker = needed(inputs.job, "the student's job"), needed(inputs.worker, "a worker")
        sentences, targets = (
            needed(inputs.sentences, "sentence vectors"),
            needed(inputs.targets, "the teachers' targets"),
        )
        rows = job.train.rows()
        labeled = bool(rows.labeled(job.train.ids).all())
        layout = StateSpec(inputs.teachers, sentences.width, inputs.task.classes, config.student_state, labeled)
        states = StateEncoder(layout, inputs.task, sentences.get, inputs.cross_fitted)
        start = None
        if config.start_from is not None:
            start = policy.load_for(layout, config.hidden_width, Path(config.start_from).expanduser())
        weights = None if start is None else {name: value.numpy() for name, value in start.policy.state_dict().items()}
        spec = PolicyTrainerSpec.from_config(config, layout, weights, inputs.lease_s)
        line = SelectorClient(spec, worker, inputs.run, config.shared)
        states.scaling = line.scaling() if config.shared else {}
        if states.scaling:
            log.info("states are scaled as by the run that began the policy %s", config.shared)
        elif start is not None:
            states.scaling = start.scaling
        else:
            states.fit(job.train.ids, rows.labels(job.train.ids), targets)
        if config.shared:
            states.scaling = line.agree(states.scaling)
        line.weights(None)  # RLlib takes seconds to import: the selector is ready before the first step, not within one
        return cls(
            config=config,
            states=states,
            line=line,
            reward=(Influence if config.reward.type == "influence" else Reward).from_config(config.reward, inputs),
            worker=worker,
            seed=inputs.seed,
            steps_per_epoch=steps_per_epoch(len(job.train.ids), job.settings),
            start=start,
            log=MetricsLog(Path(job.metrics)) if worker.rank == 0 else None,
        )

    def weigh(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None = None) -> torch.Tensor:
        """Weights [B, K] of this step's choices; equal ones while the student warms up, and while the policy does."""
        teachers, rows, _ = logits_KBC.shape
        equal_BK = logits_KBC.new_full((rows, teachers), 1.0 / teachers)
        if batch.step < self.config.student_warmup:
            return equal_BK
        self._refresh(batch.step)
        states_BKF = self.states.of(batch, logits_KBC, student_BC)
        with torch.no_grad():
            logits_BK = self.policy(states_BKF)
        warming = batch.step < self.config.student_warmup + self.config.policy_warmup
        rewarded = self.calendar.rewarded(batch.step)
        if warming:
            actions_BK = torch.ones_like(logits_BK)
        elif rewarded or self.config.mode == "sample":
            drawn = torch.from_numpy(policy.uniforms(self.seed, batch.step, batch.ids, teachers))
            actions_BK = policy.act(logits_BK, "sample", drawn)
        else:
            actions_BK = policy.act(logits_BK, self.config.mode)
        if rewarded:
            self._acted[batch.micro] = Acted(states_BKF, logits_BK, actions_BK)
        if self.config.mode == "prob" and not (warming or rewarded):
            return policy.proportional(logits_BK).to(equal_BK)
        return policy.blend(actions_BK, logits_BK).to(equal_BK)

    def observes(self, step: int) -> bool:
        """True on rewarded steps, whose dropout masks are kept until then."""
        return self.calendar.rewarded(step)

    def begin(self, model: PreTrainedModel, step: int, derivative_known: bool) -> None:
        """Looks at the reward split before the step, where the reward needs it."""
        self.reward.begin(model, step, derivative_known)

    def look_ahead(self, model: PreTrainedModel, stepping: Stepping) -> None:
        """Takes r of a micro-batch, where that is the reward; the row's label has no part in it."""
        self._acted[stepping.batch.micro].influence_BK = self.reward.look_ahead(model, stepping)

    def observe(self, model: PreTrainedModel, step: int, stepped: list[Stepped]) -> None:
        """On rewarded steps, what the choices of this step led to, to the selector."""
        if not self.calendar.rewarded(step):
            return
        metric = self.reward.metric(model, step)
        layout = self.states.layout
        parts = [Experience.none(len(layout.teachers), layout.features)]
        parts += [self._experience(micro, metric) for micro in stepped]
        self._acted = {}
        self.tally.last = step
        self.line.push(step, Experience.joined(parts))

    def _experience(self, micro: Stepped, metric: float) -> Experience:
        """A micro-batch's rows, as far as the reward counts them."""
        acted, batch = self._acted[micro.batch.micro], micro.batch
        seen = self.reward.rewarded(micro, acted)
        whole = Experience(
            ids=batch.ids,
            states_BKF=acted.states_BKF.numpy(),
            actions_BK=acted.actions_BK.numpy(),
            log_likelihood_B=policy.log_likelihood(acted.logits_BK, acted.actions_BK).numpy(),
            reward_B=seen.reward_B.float().cpu().numpy(),
            gain_B=seen.gain_B.float().cpu().numpy(),
            metric_B=np.full(len(batch.ids), metric, np.float32),
            class_B=seen.class_B.cpu().numpy().astype(np.int64),
            influence_BK=seen.influence_BK.float().numpy(),
        )
        return whole if bool(seen.kept_B.all()) else whole.of(seen.kept_B.cpu().numpy())

    def preference(self, batch: Batch, logits_KBC: torch.Tensor, student_BC: torch.Tensor | None) -> torch.Tensor:
        """π, [B, K]: the probability that a teacher is chosen."""
        with torch.no_grad():
            return self.policy(self.states.of(batch, logits_KBC, student_BC)).sigmoid()

    def save(self, folder: Path) -> None:
        """The selector after the last rewarded step, unless it is shared, and where this run stands."""
        (folder / TALLY).write_text(json.dumps(asdict(self.tally)), encoding="utf-8")
        if self.config.shared is None:
            (folder / STATE).write_bytes(self.line.state(self.tally.last))

    def restore(self, folder: Path) -> None:
        """Both of them; no worker goes on before the selector is back."""
        self.tally = _Tally(**json.loads((folder / TALLY).read_text(encoding="utf-8")))
        self.line.attempt = self.tally.attempt
        if self.config.shared is None and self.worker.rank == 0:
            self.line.restore((folder / STATE).read_bytes())
        collective.barrier(self.worker.world)
        self._asked = -1

    def finalize(self, folder: Path) -> dict[str, Any]:
        """Writes the policy after its last update as `policy/`; returns a `WeightingResult`'s fields on worker 0."""
        if self.worker.rank > 0:
            return {}
        last = self.tally.last
        final = None if self.config.shared else self.calendar.count(last) // self.config.update_every
        self._take(self.line.weights(final), last)
        target = folder / "policy"
        policy.export(target, Exported(self.states.layout, self.policy, self.states.scaling, self.tally.version))
        with zipfile.ZipFile(io.BytesIO(self.line.state(-1))) as archive:
            archive.extractall(target, [name for name in archive.namelist() if name.startswith("rllib/")])
        tally, teachers = self.tally, self.states.layout.teachers
        return WeightingResult(
            mode=self.config.mode,
            reward=self.config.reward.type,
            updates=tally.version,
            began=_update(tally.began, teachers),
            ended=_update(tally.ended, teachers),
            entropy_uniform=len(teachers) * float(np.log(2)),
        ).model_dump()

    def close(self) -> None:
        """Ends a private policy trainer; a shared one stays."""
        self.line.close()

    def _refresh(self, step: int) -> None:
        """The version that this step is to use; a shared selector's newest, asked for once a rewarded step."""
        if self.config.shared is not None:
            if self.calendar.rewarded(step) or self._asked < 0:
                self._take(self.line.weights(None), step)
                self._asked = step
            return
        wanted = self.calendar.version(step)
        # Version 0 is what the run began with: no need to wait for the selector's start.
        if wanted != self._asked and (wanted > 0 or self._asked > 0):
            self._take(self.line.weights(wanted), step)
        self._asked = wanted

    def _take(self, version: PolicyVersion, step: int) -> None:
        self.policy.load_state_dict({name: torch.tensor(value) for name, value in version.weights.items()})
        fresh, self.tally.version = version.version > self.tally.version, version.version
        if not fresh or not version.metrics:
            return
        self.tally.began, self.tally.ended = self.tally.began or version.metrics, version.metrics
        update = _update(version.metrics, self.states.layout.teachers)
        if self.log is not None and update is not None:
            self.log.write(
                PolicyEvent(
                    step=step + 1,
                    epoch=(step + 1) / self.steps_per_epoch,
                    version=version.version,
                    **update.model_dump(),
                )
            )


def _update(metrics: dict[str, float], teachers: tuple[str, ...]) -> PolicyUpdate | None:
    """An update's metrics with the shares by teacher's name; None where the policy was not updated."""
    if not metrics:
        return None
    share = {name: metrics[f"share_{k}"] for k, name in enumerate(teachers)}
    return PolicyUpdate(reward=metrics["reward"], entropy=metrics["entropy"], rows=metrics["rows"], share=share)
