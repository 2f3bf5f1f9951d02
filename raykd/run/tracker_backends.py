"""TensorBoard, MLflow and Weights & Biases behind one small interface; each is imported only where it is used."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

OFFLINE = {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
"""Environment of the packages where the user has not set it: wandb writes files only, no usage is reported."""


def stay_offline() -> None:
    """Sets `OFFLINE`; before the packages are imported, which read it."""
    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)


class Tracker(Protocol):
    """A place that takes a run's scalars.

    Attributes:
        replays: True where a session writes everything again from the logs; False where only what is new is sent.
    """

    replays: bool

    def restart(self, model: str) -> None:
        """A model's log was cut back to a checkpoint; its scalars follow again from the first."""

    def scalars(self, model: str, step: int, values: Mapping[str, float]) -> None:
        """Values by name of a model (the student or a baseline) after an optimizer step."""

    def finish(self, scores: Mapping[str, float]) -> None:
        """The final scores by name."""

    def close(self, finished: bool) -> None:
        """The session ends; a run that is not finished may resume later."""


class TensorBoard:
    """Event files, a folder for each model, so that their curves share a chart; written again by each session.

    Args:
        folder: for the event files; what an earlier session left there is dropped.
        params: the configuration by dotted key.
    """

    replays = True

    def __init__(self, folder: Path, params: Mapping[str, Any]) -> None:
        self.folder, self.params = folder, params
        self._writers: dict[str, Any] = {}
        shutil.rmtree(folder, ignore_errors=True)

    def restart(self, model: str) -> None:
        """Drops the model's event files; they are written again from the first event."""
        writer = self._writers.pop(model, None)
        if writer is not None:
            writer.close()
            shutil.rmtree(self.folder / model, ignore_errors=True)

    def scalars(self, model: str, step: int, values: Mapping[str, float]) -> None:
        """Appends to the model's files."""
        writer = self._writer(model)
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    def finish(self, scores: Mapping[str, float]) -> None:
        """Hyperparameters beside the scores, for TensorBoard's HPARAMS page."""
        plain = {
            key: value if isinstance(value, (bool, int, float)) else str(value) for key, value in self.params.items()
        }
        self._writer("student").add_hparams(plain, dict(scores), name="final")

    def close(self, finished: bool) -> None:
        """Flushes and closes the event files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _writer(self, model: str) -> Any:
        from tensorboardX import SummaryWriter

        if model not in self._writers:
            self._writers[model] = SummaryWriter(str(self.folder / model))
        return self._writers[model]


class MLflow:
    """A run on an MLflow server or in a local database; a resumed one goes to the same MLflow run.

    Args:
        uri: the tracking URI.
        experiment: its name; made where there is none.
        run: the MLflow run to resume; None for a new one.
        params: the configuration by dotted key.
    """

    replays = False

    def __init__(self, uri: str, experiment: str, run: str | None, params: Mapping[str, Any]) -> None:
        stay_offline()
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self.client = MlflowClient(tracking_uri=uri)
        if run is None:
            known = self.client.get_experiment_by_name(experiment)
            number = known.experiment_id if known is not None else self.client.create_experiment(experiment)
            run = str(self.client.create_run(number, run_name=experiment).info.run_id)
            self.client.log_batch(run, params=[Param(key, str(value)) for key, value in params.items()])
        else:
            self.client.update_run(run, status="RUNNING")
        self.run = run

    def restart(self, model: str) -> None:
        """Nothing: what was sent stays, and the steps that are done again are sent again."""

    def scalars(self, model: str, step: int, values: Mapping[str, float]) -> None:
        """One batch of metrics MODEL/NAME."""
        self._log({f"{model}/{name}": value for name, value in values.items()}, step)

    def finish(self, scores: Mapping[str, float]) -> None:
        """Logs the final scores as metrics at step 0."""
        self._log(scores, 0)

    def close(self, finished: bool) -> None:
        """FINISHED, or KILLED until it resumes."""
        self.client.set_terminated(self.run, "FINISHED" if finished else "KILLED")

    def _log(self, values: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.run, metrics=[Metric(name, value, now, step) for name, value in values.items()])


class WandB:
    """A run of Weights & Biases, in files under `folder` only unless WANDB_MODE says otherwise.

    Args:
        run: its id, the same for all sessions of a run.
    """

    replays = False

    def __init__(self, project: str, name: str, run: str, folder: Path, params: Mapping[str, Any]) -> None:
        stay_offline()
        import wandb

        self.session = wandb.init(
            project=project, name=name, id=run, resume="allow", dir=str(folder), config=dict(params),
            settings=wandb.Settings(console="off", disable_git=True, silent=True),
        )  # fmt: skip

    def restart(self, model: str) -> None:
        """Nothing: what was sent stays, and the steps that are done again are sent again."""

    def scalars(self, model: str, step: int, values: Mapping[str, float]) -> None:
        """MODEL/NAME over MODEL/step: wandb's own step counts calls, and the models train one after another."""
        self.session.define_metric(f"{model}/*", step_metric=f"{model}/step")
        self.session.log({f"{model}/step": step} | {f"{model}/{name}": value for name, value in values.items()})

    def finish(self, scores: Mapping[str, float]) -> None:
        """Puts the final scores into the run's summary."""
        self.session.summary.update(dict(scores))

    def close(self, finished: bool) -> None:
        """Ends the process that wandb writes from."""
        self.session.finish(exit_code=0 if finished else 1)
