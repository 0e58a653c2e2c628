"""Transfer: pre-train a network, cut features out of it, fine-tune it."""

from __future__ import annotations

from tlcore.transfer.pretrain import Recipe, pretrain

__all__ = ["Recipe", "pretrain"]
