"""Where metrics are sent: the section `trackers`."""

from __future__ import annotations

from pydantic import Field

from raykd.config.base import Section


class TrackersConfig(Section):
    """Where the metrics of a run or study are sent. Nothing leaves this machine unless a URI or WANDB_MODE says so."""

    tensorboard: bool = Field(False, description="event files in the run's folder; a study always writes them")
    mlflow: str | None = Field(
        None, description="tracking URI: a server, or a file", examples=["sqlite:///runs/mlflow.db"]
    )
    wandb: str | None = Field(None, description="project of Weights & Biases; offline unless WANDB_MODE is set")
