"""How source and target can differ: six shifts with a known truth, measures of distance, remedies, a diagnosis.

>>> from tlcore import shift, worlds
>>> apart = shift.pair(worlds.Gaussian(), shift.Prior(1.0, to=(0.9, 0.1)))
>>> apart.truth.conditions
concept, prior, marginal
"""

from __future__ import annotations

from tlcore.shift.applications import APPLICATIONS, SHIFTS, Application, applications
from tlcore.shift.base import Rows, Shift
from tlcore.shift.conditions import CONDITIONS, Conditions
from tlcore.shift.distributions import Concept, Conditional, Marginal, Prior, Selection
from tlcore.shift.pair import Pair, Truth, pair
from tlcore.shift.spaces import FeatureSpace, LabelSpace
from tlcore.shift.transforms import TRANSFORMS

__all__ = [
    "APPLICATIONS",
    "CONDITIONS",
    "SHIFTS",
    "TRANSFORMS",
    "Application",
    "Concept",
    "Conditional",
    "Conditions",
    "FeatureSpace",
    "LabelSpace",
    "Marginal",
    "Pair",
    "Prior",
    "Rows",
    "Selection",
    "Shift",
    "Truth",
    "applications",
    "pair",
]
