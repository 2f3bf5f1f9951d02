"""A configured weighting as one worker's object."""

from __future__ import annotations

from raykd.config import WeightingConfig, load_implementation
from raykd.weighting.base import Weighting
from raykd.weighting.inputs import WeightingInputs


def build(config: WeightingConfig, inputs: WeightingInputs) -> Weighting:
    """The weighting of one worker.

    Raises:
        ConfigError: its implementation cannot be imported, or the exported policy to start from is another run's.
    """
    weighting: Weighting = load_implementation(config).from_config(config, inputs)
    return weighting
