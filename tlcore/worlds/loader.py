"""Batches from data that is in memory and on the device: no worker processes, no copies, whole batches at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from tlcore.runtime import nearest
from tlcore.worlds.augment import AUGMENTS
from tlcore.worlds.dataset import Dataset, as_floats

Recipe = Sequence[str] | Mapping[str, Mapping[str, Any]]


class Loader:
    """Batches (x, y) of a dataset of tensors; iterate it again for the next epoch, in another order.

    >>> images = torch.randint(256, (100, 3, 32, 32), dtype=torch.uint8)
    >>> data = Dataset(images, torch.arange(100) % 2, ("a", "b"))
    >>> batches = Loader(data, 32, augment=("crop", "flip"), mean=0.5, std=0.25)
    >>> len(batches), [len(y) for _, y in batches]
    (4, [32, 32, 32, 4])
    >>> x, y = next(iter(batches))
    >>> x.shape, x.dtype
    (torch.Size([32, 3, 32, 32]), torch.float32)

    Parameters
    ----------
    batch_size
        Images in a batch; the last one of an epoch may be smaller, unless `drop_last`.
    shuffle
        A new order in every epoch, the same for the same `seed`.
    augment
        Names out of flip, crop, cutout and colour, or names with options: ``{"crop": {"padding": 2}, "flip": {}}``.
    share
        (number, of how many): the part of every epoch's order that one of several processes takes; while shuffling all
        parts have the same size.
    mean, std
        Numbers, or one per channel, to normalise with; images of bytes are divided by 255 before.
    """

    def __init__(
        self,
        data: Dataset,
        batch_size: int,
        *,
        shuffle: bool = True,
        augment: Recipe = (),
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        seed: int = 0,
        drop_last: bool = False,
        share: tuple[int, int] = (0, 1),
    ) -> None:
        if not isinstance(data.inputs, torch.Tensor):
            raise TypeError("Loader: the inputs are texts; a Loader makes batches of tensors")
        if batch_size < 1:
            raise ValueError(f"Loader(batch_size={batch_size}): from 1 on is accepted")
        recipe = augment if isinstance(augment, Mapping) else {name: {} for name in augment}
        for name in recipe:
            if name not in AUGMENTS:
                raise ValueError(f"Loader(augment=…): {name!r} is unknown; {nearest(name, AUGMENTS)}")
        self.data, self.batch_size, self.shuffle, self.recipe = data, batch_size, shuffle, recipe
        self.inputs, self.drop_last = data.inputs, drop_last
        shape = (1, -1, *[1] * (data.inputs.ndim - 2)) if data.inputs.ndim > 1 else (1,)
        numbers = (torch.as_tensor(n, dtype=torch.float32, device=data.inputs.device) for n in (mean, std))
        self.mean, self.std = (n.view(shape) if n.ndim else n for n in numbers)
        self.draws = torch.Generator(device=data.inputs.device).manual_seed(seed)
        self.share = share
        number, many = share
        self.changes = self.draws  # of several processes each makes its own changes, in a common order
        if many > 1:
            self.changes = torch.Generator(device=data.inputs.device).manual_seed(seed + number + 1)

    def __len__(self) -> int:
        whole, rest = divmod(len(self._mine(torch.arange(len(self.data)))), self.batch_size)
        return whole + bool(rest and not self.drop_last)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Where the draws are: a loader that is given it back goes on alike."""
        return {"draws": self.draws.get_state(), "changes": self.changes.get_state()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Go on where another loader was."""
        self.draws.set_state(state["draws"])
        self.changes.set_state(state["changes"])

    def _mine(self, order: torch.Tensor) -> torch.Tensor:
        number, many = self.share
        return order[: len(order) - len(order) % many if self.shuffle else None][number::many]

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        count, device = len(self.data), self.inputs.device
        if self.shuffle:
            order = torch.randperm(count, generator=self.draws, device=device)
        else:
            order = torch.arange(count, device=device)
        for rows in self._mine(order).split(self.batch_size):
            if self.drop_last and len(rows) < self.batch_size:
                return
            x = as_floats(self.inputs[rows])
            for name, options in self.recipe.items():
                x = AUGMENTS[name](x, self.changes, **options)
            yield (x - self.mean) / self.std, self.data.targets[rows]
