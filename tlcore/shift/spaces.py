"""Another feature space, another label space: source and target have no common inputs, or no common answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from tlcore.runtime import nearest
from tlcore.shift.base import POSTERIOR, Rows, Shift, class_names, posterior, relabelled, without_posterior
from tlcore.shift.transforms import translate
from tlcore.worlds import Dataset

_NEEDED = {"grey": "pictures (N, C, H, W)", "resolution": "pictures (N, C, H, W)", "projection": "vectors (N, F)"}


@dataclass(frozen=True)
class FeatureSpace(Shift):
    """X_S ≠ X_T: inputs of another kind.

    >>> from tlcore import shift, worlds
    >>> apart = shift.pair(worlds.Shapes(), shift.FeatureSpace(0.5, kind="resolution"), size=10)
    >>> apart.target.inputs.shape
    torch.Size([10, 3, 20, 20])
    >>> apart.truth.conditions
    feature_space

    Parameters
    ----------
    severity
        Of "resolution" and "projection": the side, or the number of features, loses up to three quarters; of
        "language": share of the vocabulary that is translated; "grey" loses all colour as soon as it is above 0.
    kind
        "grey" or "resolution" for pictures, "projection" for vectors, "language" for texts.
    """

    kind: str = "grey"
    condition: ClassVar[str] = "feature_space"
    KINDS: ClassVar[tuple[str, ...]] = (*_NEEDED, "language")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in self.KINDS:
            raise ValueError(f"FeatureSpace(kind={self.kind!r}): {nearest(self.kind, self.KINDS)}")

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """Inputs of the other space; masks and boxes, which belong to the old one, are dropped."""
        data = rows.data
        if not self.severity:
            return rows
        if self.kind == "language":
            if isinstance(data.inputs, torch.Tensor):
                raise TypeError(f"FeatureSpace(kind='language'): texts are needed; the data is {data!r}")
            return rows.but(data=replace(data, inputs=[translate(text, self.severity) for text in data.inputs]))
        x = data.inputs
        if not isinstance(x, torch.Tensor) or x.ndim != (2 if self.kind == "projection" else 4):
            raise ValueError(f"FeatureSpace(kind={self.kind!r}): {_NEEDED[self.kind]} are needed; the data is {data!r}")
        if not self._smaller(x):
            return rows
        kept = without_posterior(data) if self.kind == "projection" else data.factors
        factors = {name: factor for name, factor in kept.items() if name not in ("mask", "box")}
        made = getattr(self, f"_{self.kind}")(x.float())
        made = made.round().to(x.dtype) if x.dtype == torch.uint8 else made
        return rows.but(data=replace(data, inputs=made, factors=factors))

    def drags(self, rows: Rows) -> set[str]:
        """The feature space; what lives on it cannot be compared any more."""
        x = rows.data.inputs
        return {"feature_space"} if not isinstance(x, torch.Tensor) or self._smaller(x) else set()

    def _smaller(self, x: torch.Tensor) -> bool:
        """Whether anything is left out: the mildest severities may be less than one pixel or feature."""
        sizes = x.shape[1:] if self.kind == "projection" else x.shape[2:]
        return self.kind == "grey" or any(self._kept(count) < count for count in sizes)

    def _kept(self, count: int) -> int:
        return max(1, round(count * (1 - 0.75 * self.severity)))

    def _grey(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] != 3:
            raise ValueError(f"FeatureSpace(kind='grey'): pictures of 3 channels are needed, these have {x.shape[1]}")
        shares = x.new_tensor([0.299, 0.587, 0.114])  # ITU-R BT.601, as in PIL
        return (x * shares.view(1, 3, 1, 1)).sum(1, keepdim=True)

    def _resolution(self, x: torch.Tensor) -> torch.Tensor:
        size = (self._kept(x.shape[2]), self._kept(x.shape[3]))
        return torch.nn.functional.interpolate(x, size=size, mode="area")

    def _projection(self, x: torch.Tensor) -> torch.Tensor:
        draws = torch.Generator().manual_seed(5)
        axes: torch.Tensor = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=draws))[0]
        return x @ axes[:, : self._kept(x.shape[1])].to(x)


@dataclass(frozen=True)
class LabelSpace(Shift):
    """Y_S ≠ Y_T: other classes.

    >>> from tlcore import shift, worlds
    >>> apart = shift.pair(worlds.Shapes(), shift.LabelSpace(1.0, kind="disjoint"), size=16)
    >>> set(apart.source.classes) & set(apart.target.classes)
    set()
    >>> shift.pair(worlds.Shapes(), shift.LabelSpace(1.0), size=16).target.classes[:2]
    ('circle or ellipse', 'ring or crescent')

    Parameters
    ----------
    severity
        Of "superclass": share of the groups that are merged; of "disjoint": share of the target's classes that the
        source does not have.
    kind
        "superclass" (the same inputs, coarser labels) or "disjoint" (half of the classes each, inputs with them).
    groups
        Name of the superclass of each class, for "superclass"; by default neighbours are paired.
    """

    kind: str = "superclass"
    groups: Mapping[str, str] | None = None
    condition: ClassVar[str] = "label_space"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("superclass", "disjoint"):
            raise ValueError(f"LabelSpace(kind={self.kind!r}): {nearest(self.kind, ['superclass', 'disjoint'])}")

    def narrow(self, data: Dataset) -> Dataset:
        """All rows, or those of the source's half of the classes."""
        if self.kind == "superclass":
            return data
        kept, _ = self._halves(data)
        return self._only(data, kept)[torch.isin(data.targets, torch.tensor(kept, device=data.device))]

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """The target's labels; rows of classes that it does not have weigh nothing."""
        data = rows.data
        if self.kind == "disjoint":
            _, kept = self._halves(data)
            there = torch.isin(data.targets, torch.tensor(kept, device=data.device))
            share = rows.prior[kept]
            return Rows(self._only(data, kept), rows.weights * there, share / share.sum())
        names = self._coarse(data)
        classes = tuple(dict.fromkeys(names))
        number = torch.tensor([classes.index(name) for name in names], device=data.device)
        merge = torch.nn.functional.one_hot(number, len(classes)).float()  # (K_S, K_T)
        known = posterior(data) @ merge if POSTERIOR in data.factors else None
        return rows.but(data=relabelled(data, number[data.targets], classes, known), prior=rows.prior @ merge)

    def drags(self, rows: Rows) -> set[str]:
        """The label space; with disjoint classes come other inputs."""
        data = rows.data
        if self.kind == "superclass":
            return {"label_space"} if tuple(self._coarse(data)) != data.classes else set()
        source, target = self._halves(data)
        return {"label_space", "marginal"} if source != target else set()

    def _coarse(self, data: Dataset) -> list[str]:
        """New name of each class."""
        old = class_names(data, "LabelSpace")
        missing = [name for name in old if self.groups and name not in self.groups]
        if missing:
            raise ValueError(f"LabelSpace(groups=…): no group is given for {', '.join(missing)}")
        pairs = [" or ".join(old[n - n % 2 : n - n % 2 + 2]) for n in range(len(old))]
        wanted = [self.groups[name] for name in old] if self.groups else pairs
        every = list(dict.fromkeys(wanted))
        merged = every[: round(self.severity * len(every))]
        return [new if new in merged else name for name, new in zip(old, wanted)]

    def _halves(self, data: Dataset) -> tuple[list[int], list[int]]:
        half = len(class_names(data, "LabelSpace")) // 2
        if not half:
            raise ValueError(f"LabelSpace(kind='disjoint'): at least 2 classes are needed; the data is {data!r}")
        first = round(self.severity * half)
        return list(range(half)), list(range(first, first + half))

    @staticmethod
    def _only(data: Dataset, kept: list[int]) -> Dataset:
        """The labels renumbered; rows of other classes, which the caller leaves out, get the first."""
        number = torch.zeros(len(data.classes), dtype=torch.long, device=data.device)
        number[kept] = torch.arange(len(kept), device=data.device)
        known = None
        if POSTERIOR in data.factors:
            part = posterior(data)[:, kept]
            known = part / part.sum(1, keepdim=True)
        return relabelled(data, number[data.targets], tuple(data.classes[n] for n in kept), known)
