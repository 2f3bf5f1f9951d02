"""How K teachers are blended, example by example."""

from raykd.weighting.base import Stepped, Weighting

__all__ = ["Stepped", "Weighting"]
