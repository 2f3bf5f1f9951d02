"""How K teachers are blended, example by example."""

from raykd.weighting.base import Stepped, Weighting
from raykd.weighting.build import build
from raykd.weighting.inputs import SentenceVectors, WeightingInputs

__all__ = ["SentenceVectors", "Stepped", "Weighting", "WeightingInputs", "build"]
