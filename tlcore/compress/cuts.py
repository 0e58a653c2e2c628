"""Cutting by scores: weights are masked, units are taken out. What is gone stays gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from tlcore.compress.masks import masked
from tlcore.compress.rewire import take
from tlcore.compress.saliency import weights_of
from tlcore.compress.units import inner_units

Scores = Mapping[str, torch.Tensor]


class CutWeights:
    """Weights that are masked."""

    def __init__(self, model: nn.Module, layers: Sequence[str] | None) -> None:
        self.model = model
        self.kept: dict[str, torch.Tensor] = {}
        names, self.alone = weights_of(model, layers, function="prune")
        known = dict(model.named_parameters())
        self.masks = {name: torch.ones_like(known[name], dtype=torch.bool) for name in names}
        self.total = sum(mask.numel() for mask in self.masks.values())

    def gone(self) -> int:
        return sum(int((~mask).sum()) for mask in self.masks.values())

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters()) - self.gone()

    def checked(self, scores: Scores) -> dict[str, torch.Tensor]:
        return _fitting(scores, {name: tuple(mask.shape) for name, mask in self.masks.items()})

    def cut(self, scores: dict[str, torch.Tensor], share: float, by_layer: bool) -> None:
        """Mask the least of all weights, or of each layer's, up to a share of the weights there were at first."""
        groups = [[name] for name in self.masks] if by_layer else [list(self.masks)]
        for names in groups:
            flat = torch.cat([scores[n].masked_fill(~self.masks[n], -torch.inf).flatten() for n in names])
            keep = torch.ones_like(flat, dtype=torch.bool)
            keep[flat.sort(stable=True).indices[: round(share * len(flat))]] = False
            for name, piece in zip(names, keep.split([self.masks[n].numel() for n in names]), strict=True):
                self.masks[name] = piece.view_as(self.masks[name]).clone()
        with self.held():
            pass

    def held(self) -> Any:
        return masked(self.model, self.masks)


class CutUnits:
    """Units that are taken out."""

    def __init__(self, model: nn.Module, layers: Sequence[str] | None) -> None:
        self.model = model
        self.masks: dict[str, torch.Tensor] = {}
        self.units, self.alone = inner_units(model, layers, function="prune")
        if layers is not None and self.alone:
            path, why = next(iter(self.alone.items()))
            raise ValueError(f"prune(of='units'): the units of {path!r} cannot be removed ({why})")
        self.kept = {path: torch.arange(its.count) for path, its in self.units.items()}
        self.total = sum(its.count for its in self.units.values())

    def gone(self) -> int:
        return self.total - sum(len(kept) for kept in self.kept.values())

    def parameters(self) -> int:
        return sum(p.numel() for p in self.model.parameters())

    def checked(self, scores: Scores) -> dict[str, torch.Tensor]:
        return _fitting(scores, {path: (len(kept),) for path, kept in self.kept.items()})

    def cut(self, scores: dict[str, torch.Tensor], share: float, by_layer: bool) -> None:
        """Take out the least of all units, or of each layer's, up to a share of the units there were at first."""
        ranked = {path: scores[path].detach().float().cpu() for path in self.units}
        for path, score in ranked.items():  # a layer keeps its best unit, or nothing would pass
            score = ranked[path] = score.clone()
            score[score.argmax()] = torch.inf
        groups = [[path] for path in self.units] if by_layer else [list(self.units)]
        for paths in groups:
            flat = torch.cat([ranked[path] for path in paths])
            here = sum(self.units[path].count for path in paths)
            count = round(share * here) - (here - len(flat))
            order = flat.sort(stable=True).indices
            keep = torch.ones(len(flat), dtype=torch.bool)
            keep[order[: max(0, min(count, int(flat.isfinite().sum())))]] = False
            for path, piece in zip(paths, keep.split([len(ranked[p]) for p in paths]), strict=True):
                if not piece.all():
                    now = replace(self.units[path], count=len(piece))
                    take(self.model, now, piece.nonzero()[:, 0])
                    self.kept[path] = self.kept[path][piece]

    def held(self) -> Any:
        return nullcontext()


def _fitting(scores: Scores, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, torch.Tensor]:
    for name, shape in shapes.items():
        there = tuple(scores[name].shape) if name in scores else None
        if there != shape:
            told = "no scores" if there is None else f"scores of shape {there}"
            raise ValueError(f"prune(criterion=…): {told} for {name!r}; a tensor {shape} is accepted")
        if scores[name].isnan().any():
            raise ValueError(f"prune(criterion=…): the scores of {name!r} hold values that are no numbers")
    return {name: scores[name] for name in shapes}
