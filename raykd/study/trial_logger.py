"""Ray Tune's callback that writes what becomes of each trial into the study's log, and ends the search on request."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from raykd.errors import Interrupted
from raykd.ray_errors import first_line
from raykd.records.events import Event, TrialEndedEvent, TrialReportEvent, TrialStartedEvent
from raykd.records.log import MetricsLog
from raykd.study.trial import FAILURE, PAUSED, name_of, params_of, stop_file, trial_folder

log = logging.getLogger(__name__)
PATIENCE_S = 60.0
"""How long running trials may take to save a checkpoint when the user stops the study."""
REPORTED = ("step", "epoch", "value", "now", "asked", "parameters", "latency_ms")


class TrialLogger(tune.Callback):
    """Lives in the driver; holds paths only, since Ray Tune pickles it along with the search."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._asked: float | None = None

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Logs that a trial begins or resumes."""
        of = trial.config.get("trial", {}).get("of")
        self._write(TrialStartedEvent(trial=_name(trial), params=params_of(trial.config), of=of))

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Logs an evaluation of a trial's student."""
        reported = {key: result[key] for key in REPORTED if key in result}
        self._write(TrialReportEvent(trial=_name(trial), params=params_of(trial.config), **reported))

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Logs that a trial is finished, or that its scheduler or the time has ended it."""
        whole = (self._folder(trial) / "result.json").exists()
        self._write(
            TrialEndedEvent(trial=_name(trial), state="done")
            if whole
            else TrialEndedEvent(trial=_name(trial), state="stopped", reason="stopped early")
        )

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Says that a trial whose process died, as with its node, begins again from its last checkpoint.

        One that has failed for its own reason has no such chance: it ends when it starts.
        """
        if (self._folder(trial) / FAILURE).exists():
            trial.max_failures = 0
        else:
            log.warning("trial %s begins again from its last checkpoint: its process died", _name(trial))

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Logs that a trial has failed: for its own reason, or for Ray's where its process died."""
        path = self._folder(trial) / FAILURE
        if path.exists():
            reason = path.read_text(encoding="utf-8")
        else:
            reason = f"its process died: {first_line(trial.get_error() or 'no reason is known')}"
        self._write(TrialEndedEvent(trial=_name(trial), state="failed", reason=reason))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Ends the search once all running trials have saved their checkpoints after a request to stop.

        Raises:
            Interrupted: it is ended; Ray Tune's last snapshot has the running trials as unfinished.
        """
        stop = stop_file(self.folder)
        if not stop.is_set():
            return
        self._asked = self._asked or time.monotonic()
        running = [trial for trial in trials if trial.status == Trial.RUNNING]
        saved = all((self._folder(trial) / PAUSED).exists() for trial in running)
        if saved or time.monotonic() - self._asked > PATIENCE_S:
            done = sum(trial.status == Trial.TERMINATED for trial in trials)
            what = f"stopped with {done} trials ended and {len(running)} running"
            stop.clear()  # those that have saved may return now: nothing more is written of the search
            raise Interrupted("study", what, "the same command with --resume goes on")

    def _folder(self, trial: Trial) -> Path:
        return trial_folder(self.folder, _name(trial))

    def _write(self, event: Event) -> None:
        MetricsLog(self.folder / "metrics.jsonl").write(event)


def _name(trial: Trial) -> str:
    return name_of(trial.config, str(trial.trial_id))
