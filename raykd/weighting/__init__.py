"""How K teachers are blended, example by example."""

from raykd.weighting.base import Stepped, Stepping, Weighting, check_weights
from raykd.weighting.build import build
from raykd.weighting.inputs import SentenceVectors, WeightingInputs

__all__ = ["SentenceVectors", "Stepped", "Stepping", "Weighting", "WeightingInputs", "build", "check_weights"]
