"""Transfer: pre-train a network, cut features out of it, fine-tune it.

>>> from tlcore import transfer, worlds, zoo
>>> net = zoo.get_model("resnet20")  # in earnest with weights
>>> data = worlds.Shapes(shapes=("circle", "star")).sample(32)
>>> done = transfer.fine_tune(net, data, plan="head_only", num_classes=2, epochs=1, lr=0.1, progress=False)
>>> done.history.last.epoch, net(data.inputs).shape
(1, torch.Size([32, 2]))
"""

from __future__ import annotations

from tlcore.transfer.classifiers import HEADS, HeadTable, Judged, classifier, compare_heads
from tlcore.transfer.curve import LayerCurve, Probe, depth_order, layer_curve
from tlcore.transfer.features import FeatureExtractor
from tlcore.transfer.fine_tune import fine_tune, group_plan
from tlcore.transfer.heads import find_head, replace_head
from tlcore.transfer.patches import Patch, Patches, top_patches
from tlcore.transfer.plans import (
    PLANS,
    Phase,
    Plan,
    as_plan,
    bottom_frozen,
    discriminative,
    full,
    gradual,
    head_only,
    procedure,
    top,
)
from tlcore.transfer.pretrain import Recipe, pretrain
from tlcore.transfer.segment import Segmenter, intersection_over_union, segmenter
from tlcore.transfer.stages import stages
from tlcore.transfer.tuned import FineTuned

__all__ = [
    "HEADS",
    "PLANS",
    "FeatureExtractor",
    "FineTuned",
    "HeadTable",
    "Judged",
    "LayerCurve",
    "Patch",
    "Patches",
    "Phase",
    "Plan",
    "Probe",
    "Recipe",
    "Segmenter",
    "as_plan",
    "bottom_frozen",
    "classifier",
    "compare_heads",
    "depth_order",
    "discriminative",
    "find_head",
    "fine_tune",
    "full",
    "gradual",
    "group_plan",
    "head_only",
    "intersection_over_union",
    "layer_curve",
    "pretrain",
    "procedure",
    "replace_head",
    "segmenter",
    "stages",
    "top",
    "top_patches",
]
