"""Reading a network without training it.

>>> from torch import nn
>>> from tlcore import anatomy
>>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
>>> anatomy.receptive_field(net).size
(8, 8)
"""

from __future__ import annotations

from tlcore.anatomy.effective import EffectiveField, effective_receptive_field
from tlcore.anatomy.graph import Trace, resolve, trace
from tlcore.anatomy.picture import draw_effective, draw_growth
from tlcore.anatomy.receptive_field import ReceptiveField, receptive_field
from tlcore.anatomy.stack import draw_stack
from tlcore.anatomy.table import LayerRow, Table
from tlcore.anatomy.windows import Window

__all__ = [
    "EffectiveField",
    "LayerRow",
    "ReceptiveField",
    "Table",
    "Trace",
    "Window",
    "draw_effective",
    "draw_growth",
    "draw_stack",
    "effective_receptive_field",
    "receptive_field",
    "resolve",
    "trace",
]
