"""Reading a network without training it.

>>> from torch import nn
>>> from tlcore import anatomy
>>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3))
>>> anatomy.receptive_field(net).size
(8, 8)
>>> anatomy.profile(net, (3, 32, 32)).macs
291744
"""

from __future__ import annotations

from tlcore.anatomy.compare import CostRow, CostTable, compare_costs
from tlcore.anatomy.cost import (
    Cost,
    bottleneck_cost,
    conv_cost,
    factorised_cost,
    plain_pair_cost,
    separable_cost,
)
from tlcore.anatomy.effective import EffectiveField, effective_receptive_field
from tlcore.anatomy.graph import Trace, resolve, trace
from tlcore.anatomy.picture import draw_effective, draw_growth
from tlcore.anatomy.profile import Profile, profile
from tlcore.anatomy.receptive_field import ReceptiveField, receptive_field
from tlcore.anatomy.signal import LayerSignal, Signal, signal
from tlcore.anatomy.stack import draw_stack
from tlcore.anatomy.table import LayerRow, Table
from tlcore.anatomy.tally import Bytes, LayerProfile
from tlcore.anatomy.watch import SignalLog, watch
from tlcore.anatomy.windows import Window

__all__ = [
    "Bytes",
    "Cost",
    "CostRow",
    "CostTable",
    "EffectiveField",
    "LayerProfile",
    "LayerRow",
    "LayerSignal",
    "Profile",
    "ReceptiveField",
    "Signal",
    "SignalLog",
    "Table",
    "Trace",
    "Window",
    "bottleneck_cost",
    "compare_costs",
    "conv_cost",
    "draw_effective",
    "draw_growth",
    "draw_stack",
    "effective_receptive_field",
    "factorised_cost",
    "plain_pair_cost",
    "profile",
    "receptive_field",
    "resolve",
    "separable_cost",
    "signal",
    "trace",
    "watch",
]
