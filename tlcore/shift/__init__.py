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
from tlcore.shift.density_ratio import effective_size, kliep, logistic_ratio
from tlcore.shift.diagnose import Diagnosis, Finding, diagnose
from tlcore.shift.distributions import Concept, Conditional, Marginal, Prior, Selection
from tlcore.shift.divergences import (
    Evidence,
    classifier_test,
    coral_distance,
    mmd,
    per_class,
    proxy_a_distance,
    sliced_wasserstein,
)
from tlcore.shift.label_shift import Calibration, adjust, bbse, calibrate, em
from tlcore.shift.pair import Pair, Truth, pair
from tlcore.shift.sampling import oversample, undersample
from tlcore.shift.spaces import FeatureSpace, LabelSpace
from tlcore.shift.transforms import TRANSFORMS

__all__ = [
    "APPLICATIONS",
    "CONDITIONS",
    "SHIFTS",
    "TRANSFORMS",
    "Application",
    "Calibration",
    "Concept",
    "Conditional",
    "Conditions",
    "Diagnosis",
    "Evidence",
    "FeatureSpace",
    "Finding",
    "LabelSpace",
    "Marginal",
    "Pair",
    "Prior",
    "Rows",
    "Selection",
    "Shift",
    "Truth",
    "adjust",
    "applications",
    "bbse",
    "calibrate",
    "classifier_test",
    "coral_distance",
    "diagnose",
    "effective_size",
    "em",
    "kliep",
    "logistic_ratio",
    "mmd",
    "oversample",
    "pair",
    "per_class",
    "proxy_a_distance",
    "sliced_wasserstein",
    "undersample",
]
