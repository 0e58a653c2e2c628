"""Small enough for a phone: 16 and 8 bits, low-rank layers, pruning, distillation, growing, export, one honest table.

>>> from torch import nn
>>> from tlcore import compress, worlds
>>> net, data = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)), worlds.Gaussian(features=64).sample(32)
>>> found = compress.report(net, {"float16": compress.half(net), "svd": compress.svd(net, size=0.5)}, data, runs=5)
>>> [(row.name, row.parameters) for row in found]
[('before', 4290), ('float16', 4290), ('svd', 2242)]
"""

from __future__ import annotations

from tlcore.compress.activations import ActivationL1, activity, prune_silent
from tlcore.compress.break_even import BreakEven, break_even, cost_of
from tlcore.compress.changes import Change, Changes, changes
from tlcore.compress.deeper import deeper
from tlcore.compress.distill import SoftTargets, distill, distillation_loss
from tlcore.compress.export import Exported, export, load
from tlcore.compress.half import Half, half
from tlcore.compress.int8 import int8
from tlcore.compress.measure import Difference, difference, latencies, macs, paired_ratio, parameters, saved_bytes
from tlcore.compress.net2net import Grown, net2net
from tlcore.compress.optimal_brain_damage import optimal_brain_damage
from tlcore.compress.pruned import Pruned
from tlcore.compress.pruning import magnitude_pruning, prune, random_pruning
from tlcore.compress.report import report
from tlcore.compress.reported import Report
from tlcore.compress.saliency import saliency
from tlcore.compress.svd import LowRankConv, LowRankLinear, svd
from tlcore.compress.tensor_train import TTConv, TTLinear, factors, tensor_train
from tlcore.compress.tt import tt_svd, tt_tensor
from tlcore.compress.wider import wider

__all__ = [
    "ActivationL1",
    "BreakEven",
    "Change",
    "Changes",
    "Difference",
    "Exported",
    "Grown",
    "Half",
    "LowRankConv",
    "LowRankLinear",
    "Pruned",
    "Report",
    "SoftTargets",
    "TTConv",
    "TTLinear",
    "activity",
    "break_even",
    "changes",
    "cost_of",
    "deeper",
    "difference",
    "distill",
    "distillation_loss",
    "export",
    "factors",
    "half",
    "int8",
    "latencies",
    "load",
    "macs",
    "magnitude_pruning",
    "net2net",
    "optimal_brain_damage",
    "paired_ratio",
    "parameters",
    "prune",
    "prune_silent",
    "random_pruning",
    "report",
    "saliency",
    "saved_bytes",
    "svd",
    "tensor_train",
    "tt_svd",
    "tt_tensor",
    "wider",
]
