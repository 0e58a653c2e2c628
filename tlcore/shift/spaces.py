"""Another feature space, another label space: source and target have no common inputs, or no common answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch

from tlcore.runtime import nearest
from tlcore.shift.base import (
    POSTERIOR,
    Rows,
    Shift,
    class_names,
    posterior,
    posterior_or_label,
    relabelled,
    without_posterior,
)
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
        erased = self.kind == "grey" and rows.label == "colour"
        kept = without_posterior(data, erased) if self.kind == "projection" or erased else data.factors
        factors = {name: factor for name, factor in kept.items() if name not in ("mask", "box")}
        made = getattr(self, f"_{self.kind}")(x.float())
        made = made.round().to(x.dtype) if x.dtype == torch.uint8 and x.ndim == 4 else made
        return rows.but(data=replace(data, inputs=made, factors=factors))

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

    def narrow(self, rows: Rows) -> Rows:
        """All rows, or those of the source's half of the classes."""
        return rows if self.kind == "superclass" else self._only(rows, self._halves(rows.data)[0])

    def step(self, rows: Rows, draws: torch.Generator) -> Rows:
        """The target's labels; rows of classes that it does not have weigh nothing."""
        data = rows.data
        if self.kind == "disjoint":
            return self._only(rows, self._halves(data)[1])
        names = self._coarse(data)
        classes = tuple(dict.fromkeys(names))
        number = torch.tensor([classes.index(name) for name in names], device=data.device)
        merge = torch.nn.functional.one_hot(number, len(classes)).float()  # (K_S, K_T)
        known = posterior(data) @ merge if POSTERIOR in data.factors else None
        made = relabelled(data, number[data.targets], classes, known)
        return rows.but(data=made, prior=rows.prior @ merge, error=rows.error @ merge)

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
    def _only(rows: Rows, kept: list[int]) -> Rows:
        """Rows of some of the classes, renumbered; the others weigh nothing and get the first label."""
        data, share = rows.data, rows.prior[kept]
        number = torch.zeros(len(data.classes), dtype=torch.long, device=data.device)
        number[kept] = torch.arange(len(kept), device=data.device)
        seen, known = posterior_or_label(data)[:, kept].sum(1), None
        if POSTERIOR in data.factors:
            known = posterior(data)[:, kept] / seen.clamp_min(torch.finfo(seen.dtype).tiny)[:, None]
        return rows.but(
            data=relabelled(data, number[data.targets], tuple(data.classes[n] for n in kept), known),
            weights=rows.weights * torch.isin(data.targets, torch.tensor(kept, device=data.device)),
            seen=rows.seen * seen,
            prior=share / share.sum(),
            error=rows.error[kept] / share.sum(),
            rule=None,
        )
