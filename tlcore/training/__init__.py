"""Training: one loop for a network, a laboratory for many, schedules, groups of layers.

>>> from torch import nn
>>> from tlcore import training, worlds
>>> data = worlds.Gaussian(features=4, distance=4).sample(256)
>>> training.fit(nn.Linear(4, 2), data, epochs=2, progress=False).last.epoch
2
"""

from __future__ import annotations

from tlcore.training.fit import evaluate, fit
from tlcore.training.groups import freeze_to, layer_groups, parameter_groups, training_mode
from tlcore.training.history import Epoch, History
from tlcore.training.lab import Lab
from tlcore.training.precision import Arithmetic, fastest
from tlcore.training.results import Results
from tlcore.training.schedules import SCHEDULES, constant, cosine, one_cycle, step_down, stlr

__all__ = [
    "SCHEDULES",
    "Arithmetic",
    "Epoch",
    "History",
    "Lab",
    "Results",
    "constant",
    "cosine",
    "evaluate",
    "fastest",
    "fit",
    "freeze_to",
    "layer_groups",
    "one_cycle",
    "parameter_groups",
    "step_down",
    "stlr",
    "training_mode",
]
