"""A run's trackers: a thread that follows its logs and sends the scalars of the student and the baselines on."""

from __future__ import annotations

import json
import logging
import math
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from raykd.config import RunConfig, TrackersConfig
from raykd.config.load import flat
from raykd.errors import ConfigError, RunError, one_line
from raykd.files import write_json
from raykd.records.events import EvalEvent, Event, StepEvent
from raykd.records.log import Tail
from raykd.records.run_result import RunResult
from raykd.records.run_state import STUDENT
from raykd.run.tracker_backends import MLflow, TensorBoard, Tracker, WandB

log = logging.getLogger(__name__)
FILE = "trackers.json"
SECONDS_BETWEEN_LOOKS = 1.0
NOT_PARAMS = ("cache", "cluster", "study", "trackers")
"""Sections that decide nothing about the student."""


def check_trackers(config: TrackersConfig) -> None:
    """Looks for the packages of the configured trackers.

    Raises:
        ConfigError: one is not installed.
    """
    for package, configured in (("mlflow", config.mlflow), ("wandb", config.wandb)):
        if configured is not None and find_spec(package) is None:
            mend = f"pip install 'raykd[{package}]'"
            raise ConfigError(f"trackers.{package}", "its package is not installed", mend)


class RunTrackers:
    """Follows the logs of a run while the `with` block runs; without a configured tracker it does nothing.

    A tracker that fails later than at its start is given up with a warning: the run goes on without it.

    Args:
        folder: the run's; `trackers.json` in it says what an earlier session has sent.
        run: the run's name among all, the same when it resumes.

    Raises:
        ConfigError: a tracker's package is not installed.
        RunError: a tracker cannot be started, its server is down for example.
    """

    def __init__(self, config: RunConfig, folder: Path, run: str) -> None:
        check_trackers(config.trackers)
        self.folder = folder
        self._tails = {STUDENT: Tail(folder / "metrics.jsonl")}
        before = json.loads((folder / FILE).read_text(encoding="utf-8")) if (folder / FILE).exists() else {}
        self._sent: dict[str, float] = before.get("sent", {})
        self._mlflow: str | None = before.get("mlflow")
        self._trackers = list(self._started(config, run))
        self._finished = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="raykd-trackers", daemon=True)

    def __enter__(self) -> RunTrackers:
        if self._trackers:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end_thread()
        self._each(lambda tracker: tracker.close(self._finished))

    def finish(self, result: RunResult) -> None:
        """Sends what is left of the logs, then the final scores of the run's result."""
        self._end_thread()
        scores = final_scores(result)
        self._each(lambda tracker: tracker.finish(scores))
        self._finished = True

    def _started(self, config: RunConfig, run: str) -> Iterator[Tracker]:
        wanted, params = config.trackers, parameters(config)
        try:
            if wanted.tensorboard:
                yield TensorBoard(self.folder / "tensorboard", params)
            if wanted.mlflow is not None:
                tracker = MLflow(wanted.mlflow, config.name, self._mlflow, params)
                self._mlflow = tracker.run
                yield tracker
            if wanted.wandb is not None:
                yield WandB(wanted.wandb, config.name, run, self.folder, params)
        except Exception as error:  # whatever a foreign client raises: nothing has been trained yet
            what = f"cannot be started: {one_line(error, 300)}"
            raise RunError("trackers", what, "check the URI and the server, or leave the tracker out") from error

    def _follow(self) -> None:
        while not self._stop.wait(SECONDS_BETWEEN_LOOKS):
            self._look()

    def _end_thread(self) -> None:
        if self._thread.is_alive():
            self._stop.set()
            self._thread.join()
            self._look()

    def _look(self) -> None:
        """Sends what was written since the last look."""
        for path in self.folder.glob("baselines/*/metrics.jsonl"):
            self._tails.setdefault(path.parent.name, Tail(path))
        before = dict(self._sent)
        for model, tail in self._tails.items():
            events, cut_back = tail.read()
            if cut_back:
                self._each(lambda tracker, model=model: tracker.restart(model))  # type: ignore[misc]
            for event in events:
                values = scalars(event)
                if values and isinstance(event, StepEvent | EvalEvent):
                    self._send(model, event, values, is_new=event.time > before.get(model, 0.0))
        if self._sent != before:
            write_json(self.folder / FILE, {"sent": self._sent, "mlflow": self._mlflow})

    def _send(self, model: str, event: StepEvent | EvalEvent, values: dict[str, float], is_new: bool) -> None:
        def send(tracker: Tracker) -> None:
            if is_new or tracker.replays:
                tracker.scalars(model, event.step, values)

        self._each(send)
        self._sent[model] = max(event.time, self._sent.get(model, 0.0))

    def _each(self, call: Callable[[Tracker], None]) -> None:
        for tracker in list(self._trackers):
            try:
                call(tracker)
            except Exception as error:  # whatever a foreign client raises: it must not end the run
                log.warning("the tracker %s is given up: %s", type(tracker).__name__, one_line(error))
                self._trackers.remove(tracker)


def scalars(event: Event) -> dict[str, float]:
    """The values of a step or an evaluation by the names that trackers show, finite ones only; of others none."""
    match event:
        case StepEvent():
            names = ("lr", "loss", "hard", "soft", "grad_norm", "samples_per_s", "wait_share")
            values = {f"train/{name}": getattr(event, name) for name in names}
        case EvalEvent():
            values = {f"validation/{name}": value for name, value in {**event.scores, "loss": event.loss}.items()}
        case _:
            return {}
    return {name: float(value) for name, value in values.items() if value is not None and math.isfinite(value)}


def parameters(config: RunConfig) -> dict[str, Any]:
    """What decides the student, by dotted key; lists of plain values as JSON."""
    raw = config.model_dump(mode="json", by_alias=True)
    kept = flat({key: value for key, value in raw.items() if key not in NOT_PARAMS})
    return {key: json.dumps(value) if isinstance(value, list) else value for key, value in kept}


def final_scores(result: RunResult) -> dict[str, float]:
    """The scores of a run's result by name: of the student and the baselines on validation and test."""
    groups = {"validation": result.scores, "test": result.test or {}}
    groups |= {f"{name}/validation": baseline.scores for name, baseline in result.baselines.items()}
    groups |= {f"{name}/test": baseline.test for name, baseline in result.baselines.items() if baseline.test}
    named = {f"final/{group}/{name}": value for group, scores in groups.items() for name, value in scores.items()}
    return {name: value for name, value in named.items() if value is not None}
