"""The lectures' architectures, each as its paper has it, one family a file.

>>> from tlcore import zoo
>>> net = zoo.get_model("resnet20")
>>> sum(p.numel() for p in net.parameters())
269722
>>> zoo.card("resnet20").macs
40551040
"""

from __future__ import annotations

from tlcore.zoo.cards import ModelCard, card, table
from tlcore.zoo.catalogue import get_model, list_models
from tlcore.zoo.loading import load, translate
from tlcore.zoo.net import Net

__all__ = ["ModelCard", "Net", "card", "get_model", "list_models", "load", "table", "translate"]
