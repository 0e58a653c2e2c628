"""Multi-task learning: one network for several tasks, rules that balance them, and probes that tell who helps whom.

>>> from tlcore import multitask, worlds
>>> data = worlds.Shapes().sample(64)
>>> tasks = {"shape": data, "colour": data.labelled_by("colour")}
>>> model = multitask.MultiTaskModel("resnet20", {"shape": 16, "colour": 8})
>>> multitask.fit(model, tasks, rule="uncertainty", epochs=1, progress=False)["colour"].last.epoch
1
"""

from __future__ import annotations

from tlcore.multitask.affinity import TransferMatrix, lookahead_affinity, transfer_matrix
from tlcore.multitask.balance import Balance, Sum
from tlcore.multitask.batches import TaskBatches
from tlcore.multitask.condition_map import ConditionMap, Trial
from tlcore.multitask.conditions import KNOBS, Setup, condition_map, trial
from tlcore.multitask.conflict import Conflict, gradient_conflict
from tlcore.multitask.cross_stitch import CrossStitch, CrossStitchUnit
from tlcore.multitask.dwa import DynamicAverage, dwa_weights
from tlcore.multitask.fit import evaluate, fit
from tlcore.multitask.gradients import task_gradients
from tlcore.multitask.gradnorm import GradNorm, gradnorm_slope, gradnorm_targets
from tlcore.multitask.history import Histories
from tlcore.multitask.matrix import TaskMatrix
from tlcore.multitask.model import MultiTask, MultiTaskModel
from tlcore.multitask.paired import Paired
from tlcore.multitask.pcgrad import PCGrad, pcgrad
from tlcore.multitask.rules import RULES
from tlcore.multitask.soft_sharing import SoftSharing
from tlcore.multitask.teachers import teacher_map
from tlcore.multitask.trunks import equal_cost_width, small_trunk
from tlcore.multitask.uncertainty import Uncertainty, uncertainty_loss

__all__ = [
    "KNOBS",
    "RULES",
    "Balance",
    "ConditionMap",
    "Conflict",
    "CrossStitch",
    "CrossStitchUnit",
    "DynamicAverage",
    "GradNorm",
    "Histories",
    "MultiTask",
    "MultiTaskModel",
    "PCGrad",
    "Paired",
    "Setup",
    "SoftSharing",
    "Sum",
    "TaskBatches",
    "TaskMatrix",
    "TransferMatrix",
    "Trial",
    "Uncertainty",
    "condition_map",
    "dwa_weights",
    "equal_cost_width",
    "evaluate",
    "fit",
    "gradient_conflict",
    "gradnorm_slope",
    "gradnorm_targets",
    "lookahead_affinity",
    "pcgrad",
    "small_trunk",
    "task_gradients",
    "teacher_map",
    "transfer_matrix",
    "trial",
    "uncertainty_loss",
]
