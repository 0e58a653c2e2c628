"""One small type for every dataset, real or generated: inputs, targets, class names, and a line that says whence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tlcore.runtime import nearest

Index = slice | Sequence[int] | torch.Tensor


def as_floats(x: torch.Tensor) -> torch.Tensor:
    """Bytes as shares of 255; floats stay as they are.

    >>> as_floats(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    return x.float() / 255 if x.dtype == torch.uint8 else x


@dataclass(frozen=True, repr=False)
class Dataset:
    """Labelled inputs in memory.

    >>> data = Dataset(torch.arange(12.0).view(6, 2), torch.tensor([0, 0, 0, 0, 1, 1]), ("cat", "dog"), "made by hand")
    >>> data
    Dataset of 6, inputs (6, 2) float32, 2 classes (cat, dog): made by hand
    >>> train, rest = data.split(0.5)
    >>> train.counts().tolist(), rest.counts().tolist()
    ([2, 1], [2, 1])
    >>> data.subset(per_class=1).targets.tolist()
    [0, 1]

    Parameters
    ----------
    inputs
        Tensor (N, ...), or a list of N strings.
    targets
        Class numbers (N,), or anything else with N rows, such as masks (N, H, W).
    classes
        Names of the classes; empty where targets are no classes.
    origin
        Where the data is from, in one line; it follows the data through `split`, `subset` and indexing.
    factors
        Further tensors of N rows by name: what else is known about each input.
    """

    inputs: torch.Tensor | list[str]
    targets: torch.Tensor
    classes: tuple[str, ...] = ()
    origin: str = ""
    factors: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rows = {"inputs": len(self.inputs), "targets": len(self.targets)}
        rows |= {name: len(tensor) for name, tensor in self.factors.items()}
        if len(set(rows.values())) > 1:
            told = ", ".join(f"{name} has {n}" for name, n in rows.items())
            raise ValueError(f"Dataset: every part needs as many rows as there are inputs; {told}")

    def __len__(self) -> int:
        return len(self.targets)

    def __repr__(self) -> str:
        text = not isinstance(self.inputs, torch.Tensor)
        what = "texts" if text else f"inputs {tuple(self.inputs.shape)} {str(self.inputs.dtype)[6:]}"  # type: ignore[union-attr]
        shown = ", ".join(self.classes[:6]) + (", …" if len(self.classes) > 6 else "")
        classes = f", {len(self.classes)} classes ({shown})" if self.classes else ""
        return f"Dataset of {len(self)}, {what}{classes}: {self.origin}"

    def __getitem__(self, index: Index) -> Dataset:
        """Rows by slice, list, index tensor or mask."""
        if isinstance(index, int):
            raise TypeError(f"Dataset[{index}]: one row has no classes to speak of; use data[{index}:{index + 1}]")
        device = self.targets.device
        chosen = index if isinstance(index, slice) else torch.as_tensor(index, device=device)
        rows = torch.arange(len(self), device=device)[chosen]
        inputs = self.inputs[rows] if isinstance(self.inputs, torch.Tensor) else [self.inputs[n] for n in rows.tolist()]
        factors = {name: tensor[rows.to(tensor.device)] for name, tensor in self.factors.items()}
        return replace(self, inputs=inputs, targets=self.targets[rows], factors=factors)

    @property
    def device(self) -> torch.device:
        """Where the targets are."""
        return self.targets.device

    def counts(self) -> torch.Tensor:
        """How many inputs each class has (K,)."""
        self._needs_classes("counts")
        return torch.bincount(self.targets, minlength=len(self.classes))

    def to(self, device: torch.device | str) -> Dataset:
        """The same data on another device; texts stay where they are."""
        inputs = self.inputs.to(device) if isinstance(self.inputs, torch.Tensor) else self.inputs
        factors = {name: tensor.to(device) for name, tensor in self.factors.items()}
        return replace(self, inputs=inputs, targets=self.targets.to(device), factors=factors)

    def split(self, *shares: float, seed: int = 0) -> tuple[Dataset, ...]:
        """Cut at random into parts of the given shares and the rest, each class in the same proportion.

        >>> data = Dataset(torch.zeros(100, 1), torch.arange(100) % 4, ("a", "b", "c", "d"))
        >>> [len(part) for part in data.split(0.6, 0.2)]
        [60, 20, 20]
        """
        if not shares or min(shares) <= 0 or sum(shares) >= 1 + 1e-9:
            raise ValueError(f"split{shares}: shares above 0 that sum to less than 1 are accepted, such as split(0.8)")
        parts: list[list[torch.Tensor]] = [[] for _ in range(len(shares) + 1)]
        for rows in self._by_class():
            order = rows[torch.randperm(len(rows), generator=_draws(seed)).to(rows.device)]
            cuts = [round(sum(shares[: n + 1]) * len(rows)) for n in range(len(shares))]
            for part, piece in zip(parts, torch.tensor_split(order, cuts)):
                part.append(piece)
        return tuple(self[torch.cat(part).sort().values] for part in parts)

    def subset(
        self,
        *,
        per_class: int | None = None,
        size: int | None = None,
        classes: Sequence[str] | None = None,
        seed: int = 0,
    ) -> Dataset:
        """Fewer inputs, drawn at random: so many of each class, so many in all, or only some classes (renumbered).

        Raises
        ------
        ValueError
            For a class that there is not (with the nearest name), or more inputs than there are.
        """
        data = self._of(classes) if classes is not None else self
        if per_class is not None:
            data._needs_classes("subset(per_class=…)")
            short = [name for name, n in zip(data.classes, data.counts().tolist()) if n < per_class]
            if per_class < 1 or short:
                raise ValueError(f"subset(per_class={per_class}): from 1 on; too few of {', '.join(short) or 'none'}")
            kept = [rows[_some(len(rows), per_class, seed + n)] for n, rows in enumerate(data._by_class())]
            data = data[torch.cat(kept).sort().values]
        if size is not None:
            if not 1 <= size <= len(data):
                raise ValueError(f"subset(size={size}): from 1 to {len(data)} is accepted")
            data = data[_some(len(data), size, seed).sort().values]
        return data

    def labelled_by(self, factor: str, classes: Sequence[str] = ()) -> Dataset:
        """The same inputs with another factor as their target: a new task on the old domain."""
        if factor not in self.factors:
            raise ValueError(f"labelled_by({factor!r}): {nearest(factor, self.factors)}")
        return replace(self, targets=self.factors[factor], classes=tuple(classes))

    def batches(self, size: int, *, shuffle: bool = False, seed: int = 0) -> Iterator[tuple[Any, torch.Tensor]]:
        """Batches of inputs and targets, once through."""
        order = torch.randperm(len(self), generator=_draws(seed)) if shuffle else torch.arange(len(self))
        for rows in order.split(size):
            part = self[rows]
            yield part.inputs, part.targets

    def _of(self, names: Sequence[str]) -> Dataset:
        for name in names:
            if name not in self.classes:
                raise ValueError(f"subset(classes=…): no class {name!r}; {nearest(name, self.classes)}")
        numbers = torch.tensor([self.classes.index(name) for name in names], device=self.device)
        hit = self.targets[:, None] == numbers  # (N, K)
        data = self[hit.any(1)]
        return replace(data, targets=hit[hit.any(1)].int().argmax(1), classes=tuple(names))

    def _by_class(self) -> list[torch.Tensor]:
        if not self.classes:
            return [torch.arange(len(self), device=self.device)]
        return [(self.targets == n).nonzero()[:, 0] for n in range(len(self.classes))]

    def _needs_classes(self, what: str) -> None:
        if not self.classes:
            raise ValueError(f"{what}: this dataset has no classes")


def _draws(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _some(count: int, size: int, seed: int) -> torch.Tensor:
    return torch.randperm(count, generator=_draws(seed))[:size]
