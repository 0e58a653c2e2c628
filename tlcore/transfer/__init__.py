"""Transfer: pre-train a network, cut features out of it, fine-tune it.

>>> from tlcore import transfer, worlds, zoo
>>> net = zoo.get_model("resnet20")  # in earnest with weights
>>> data = worlds.Shapes(shapes=("circle", "star")).sample(32)
>>> done = transfer.fine_tune(net, data, plan="head_only", num_classes=2, epochs=1, lr=0.1, progress=False)
>>> done.history.last.epoch, net(data.inputs).shape
(1, torch.Size([32, 2]))
"""

from __future__ import annotations

from tlcore.transfer.adapt import adapt, dan, dann, deep_coral, inverse_decay
from tlcore.transfer.adversarial import DomainAdversary, dann_strength, reverse_gradient
from tlcore.transfer.advisor import Advice, Bandwidths, best_bandwidths, recommend
from tlcore.transfer.alignment import CORAL, Aligned
from tlcore.transfer.autoencoder import Decoder, autoencoder
from tlcore.transfer.classifiers import HEADS, HeadTable, Judged, classifier, compare_heads
from tlcore.transfer.curve import LayerCurve, Probe, depth_order, layer_curve
from tlcore.transfer.delta import DELTA, channel_attention
from tlcore.transfer.domain_losses import coral_loss, mk_mmd
from tlcore.transfer.exemplar import exemplar
from tlcore.transfer.features import FeatureExtractor
from tlcore.transfer.fine_tune import fine_tune, group_plan
from tlcore.transfer.grid import Target, Trial, grid
from tlcore.transfer.heads import find_head, replace_head
from tlcore.transfer.hierarchical import HierarchicalGLM
from tlcore.transfer.importance import ImportanceWeighting
from tlcore.transfer.l2_sp import L2SP
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
from tlcore.transfer.relations import Network, RelationalTransfer, networks, propagate
from tlcore.transfer.rotation import rotated, rotation
from tlcore.transfer.rules import STRATEGIES, TABLES, freeze_or_fine_tune, table_advice, tables
from tlcore.transfer.scores import leep, logme
from tlcore.transfer.segment import Segmenter, intersection_over_union, segmenter
from tlcore.transfer.similarity import similarity
from tlcore.transfer.slow import Clips, SlowFeatureAnalysis, ego_motion, film, slow_features
from tlcore.transfer.small import small_net, train_source
from tlcore.transfer.stages import stages
from tlcore.transfer.subspace import SubspaceAlignment
from tlcore.transfer.tca import TCA
from tlcore.transfer.tradaboost import TrAdaBoost
from tlcore.transfer.tuned import FineTuned

__all__ = [
    "CORAL",
    "DELTA",
    "HEADS",
    "L2SP",
    "PLANS",
    "STRATEGIES",
    "TABLES",
    "TCA",
    "Advice",
    "Aligned",
    "Bandwidths",
    "Clips",
    "Decoder",
    "DomainAdversary",
    "FeatureExtractor",
    "FineTuned",
    "HeadTable",
    "HierarchicalGLM",
    "ImportanceWeighting",
    "Judged",
    "LayerCurve",
    "Network",
    "Patch",
    "Patches",
    "Phase",
    "Plan",
    "Probe",
    "Recipe",
    "RelationalTransfer",
    "Segmenter",
    "SlowFeatureAnalysis",
    "SubspaceAlignment",
    "Target",
    "TrAdaBoost",
    "Trial",
    "adapt",
    "as_plan",
    "autoencoder",
    "best_bandwidths",
    "bottom_frozen",
    "channel_attention",
    "classifier",
    "compare_heads",
    "coral_loss",
    "dan",
    "dann",
    "dann_strength",
    "deep_coral",
    "depth_order",
    "discriminative",
    "ego_motion",
    "exemplar",
    "film",
    "find_head",
    "fine_tune",
    "freeze_or_fine_tune",
    "full",
    "gradual",
    "grid",
    "group_plan",
    "head_only",
    "intersection_over_union",
    "inverse_decay",
    "layer_curve",
    "leep",
    "logme",
    "mk_mmd",
    "networks",
    "pretrain",
    "procedure",
    "propagate",
    "recommend",
    "replace_head",
    "reverse_gradient",
    "rotated",
    "rotation",
    "segmenter",
    "similarity",
    "slow_features",
    "small_net",
    "stages",
    "table_advice",
    "tables",
    "top",
    "top_patches",
    "train_source",
]
