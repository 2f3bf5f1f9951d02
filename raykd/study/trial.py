"""One trial: a student trained on the study's sealed soft targets, in a folder of its own that it resumes from.

Runs in a process of Ray Tune. It starts no teacher: rows are read from the sealed tables, memory-mapped. Only where
its feedback is on has it teachers of its own, which are trained and end with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from ray import tune

from raykd import config as configuration
from raykd import models
from raykd.config import RunConfig
from raykd.data.corpus import Corpus
from raykd.data.encoding import Encoder
from raykd.data.tasks import Task
from raykd.errors import Interrupted, RaykdError, one_line
from raykd.files import write_json
from raykd.models import forward
from raykd.records.log import MetricsLog
from raykd.records.run_result import RunResult, TeacherResult
from raykd.run.context import RunContext
from raykd.run.features import stored_features
from raykd.run.folder import RunFolder
from raykd.run.targets import rows_of_trials, stored_sources
from raykd.run.train import distill_step, finish_student, initial_student, train_student
from raykd.run.weighting_inputs import compute_weighting_inputs
from raykd.study import population, space
from raykd.teachers.teacher_model import TeacherModel
from raykd.training.interrupt import StopFile
from raykd.training.job import Subset

log = logging.getLogger(__name__)
LATENCY_ROWS = 20
FAILURE = "failure.txt"
PAUSED = ".paused"
"""Marks a trial that has saved a checkpoint on request and may be ended."""


def stop_file(study: Path) -> StopFile:
    """The request to all trials of the study in this folder to save and end."""
    return StopFile(study / "STOP")


def trial_folder(study: Path, name: str) -> Path:
    """The folder of a trial of the study in this folder."""
    return study / "trials" / name


@dataclass(frozen=True)
class Setup:
    """What all trials of a study share; it crosses to their processes.

    Attributes:
        config: the study's, with the rows that all trials have.
        entries: the teachers, as in a result.
        clones: whether checkpoints go through Ray Tune, as PBT needs them.
    """

    config: RunConfig
    folder: Path
    corpus: Corpus
    task: Task
    teachers: tuple[TeacherModel, ...]
    entries: tuple[TeacherResult, ...]
    remote: bool
    clones: bool = False

    @property
    def stop(self) -> StopFile:
        """The request to save and end, for all trials."""
        return stop_file(self.folder)

    def trial(self, name: str) -> Path:
        """The folder of the trial by this name."""
        return trial_folder(self.folder, name)


def run_trial(config: dict[str, Any], setup: Setup) -> None:
    """The function that Ray Tune calls; reports at every evaluation and once more at the end.

    Raises:
        Exception: the trial failed; the reason in one line is in its folder.
    """
    name, params = name_of(config, str(tune.get_context().get_trial_id())), params_of(config)
    folder = setup.trial(name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PAUSED).unlink(missing_ok=True)
    if (folder / FAILURE).exists():
        # Ray Tune starts every failed trial again, and this one did not fail by the end of its process.
        raise RuntimeError((folder / FAILURE).read_text(encoding="utf-8"))
    try:
        _Trial(setup, name, space.bounded(params, _ranges(setup))).run()
    except Interrupted:
        (folder / PAUSED).touch()
        while setup.stop.is_set():  # the driver ends this process; to return would be to be finished
            time.sleep(0.2)
    except Exception as error:
        (folder / FAILURE).write_text(_reason(error), encoding="utf-8")
        raise


def name_of(config: Mapping[str, Any], trial_id: str) -> str:
    """The name of a trial's folder: listed with its values, else Ray Tune's own."""
    return str(config.get("trial", {}).get("name", trial_id))


def params_of(config: Mapping[str, Any]) -> space.Params:
    """The values that a trial lays over the study's configuration."""
    return dict(config.get("trial", config)["params"])


def _reason(error: BaseException) -> str:
    """An error as one line: its text, after its class where it is none of ours."""
    text = one_line(error)
    return text if isinstance(error, RaykdError) or not text else f"{type(error).__name__}: {text}"


class _Trial:
    """One trial in its process."""

    def __init__(self, setup: Setup, name: str, params: space.Params) -> None:
        self.setup = setup
        self.config = space.trial_config(setup.config, params, name)
        self.folder = RunFolder(setup.trial(name))
        log_file = MetricsLog(self.folder.path / "metrics.jsonl")
        self.context = RunContext(
            self.config, self.folder, setup.corpus, setup.task, setup.remote, setup.stop, log_file
        )  # fmt: skip
        self.begun = time.time()
        self.size: dict[str, float] = {}

    def run(self) -> None:
        """To the end, or from where it was left to the end; a finished one only reports its result again."""
        done = self.folder.run_result()
        if done is not None:
            tune.report(_final(done))
            return
        self.folder.write_config(self.config)
        if self.setup.clones and (leader := tune.get_checkpoint()) is not None:
            with leader.as_directory() as packed:
                population.clone_from(Path(packed), self.folder.path / "checkpoints")
        start = self._start()
        self.size = {"parameters": models.parameter_count(start), "latency_ms": self._latency_ms(start)}
        self._send(_final(self._train(start)))
        shutil.rmtree(self.folder.path / "checkpoints", ignore_errors=True)

    def _train(self, start: Path) -> RunResult:
        context, setup = self.context, self.setup
        sources = stored_sources(context, setup.teachers, rows_of_trials(context))
        features, in_loop = stored_features(context, setup.teachers, start)
        weighting_inputs = compute_weighting_inputs(context, setup.teachers)
        step = distill_step(context, sources, weighting_inputs, features, features_in_loop=in_loop)
        arm = train_student(context, "student", start, step, report=self._report)
        result = finish_student(
            context, {"student": arm}, setup.entries, [],
            begun=self.begun, kind="trial", latency_ms=self.size["latency_ms"],
        )  # fmt: skip
        self.folder.write_result(result)
        return result

    def _report(self, metrics: dict[str, Any]) -> None:
        """To Ray Tune, which may end the trial here: SystemExit unwinds it, and its resources are released."""
        self._send({**metrics, **self.size})

    def _send(self, metrics: dict[str, Any]) -> None:
        if not self.setup.clones:
            tune.report(metrics)
            return
        with tempfile.TemporaryDirectory(dir=self.folder.path) as packed:
            population.save_member(self.folder.path / "checkpoints", Path(packed))
            tune.report(metrics, checkpoint=tune.Checkpoint.from_directory(packed))

    def _start(self) -> Path:
        """The untrained student; trials of the same shape and seed share it."""
        made_of = json.dumps(
            [self.config.student.model_dump(mode="json"), self.config.seed, self.config.data.max_length]
        )  # fmt: skip
        folder = self.setup.folder / "starts" / hashlib.sha256(made_of.encode()).hexdigest()[:16]
        folder.parent.mkdir(exist_ok=True)
        with FileLock(f"{folder}.lock"):
            return initial_student(self.context, folder)

    def _latency_ms(self, start: Path) -> float:
        """Median milliseconds of a forward pass over one validation row, on the CPU with the trial's threads.

        Measured by the first of the trials that share the start: it loads the model once more, and trials of one shape
        do not differ by what else the machine did meanwhile.
        """
        threads = self.config.train.threads or os.cpu_count() or 1
        known = start.with_name(f"{start.name}-{threads}-threads.json")
        with FileLock(f"{start}.lock"):
            if not known.exists():
                write_json(known, {"latency_ms": self._measured_ms(start, threads)})
        return float(json.loads(known.read_text(encoding="utf-8"))["latency_ms"])

    def _measured_ms(self, start: Path, threads: int) -> float:
        model, tokenizer = models.load(start)
        validation = Subset.of(self.setup.corpus, "validation")
        encoder = Encoder(tokenizer, validation.rows(), self.config.data.max_length)
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        milliseconds = []
        with torch.inference_mode():
            for row in np.resize(validation.ids, LATENCY_ROWS):
                encoded = encoder.encode(np.array([row]))
                begun = time.perf_counter()
                forward.logits(model, encoded)
                milliseconds.append(1000 * (time.perf_counter() - begun))
        torch.set_num_threads(before)
        return float(np.median(milliseconds))


def _final(result: RunResult) -> dict[str, Any]:
    """The last report of a finished trial."""
    return {
        **result.scores,
        "value": result.value,
        "now": result.value,
        "evaluation": 0,  # nothing is left to be decided
        "step": result.steps,
        "epoch": result.epochs,
        "asked": result.efficiency.asked,
        "parameters": result.student.parameters,
        "latency_ms": result.student.latency_ms,
    }


def _ranges(setup: Setup) -> dict[str, configuration.RangeConfig]:
    assert setup.config.study is not None
    return setup.config.study.space
