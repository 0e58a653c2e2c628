"""Cross-stitch networks: a network for each task, and learned mixtures of their maps after every stage.

Misra, Shrivastava, Gupta, Hebert 2016 (arXiv:1604.03539).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from tlcore.multitask.model import Heads, MultiTask, Outputs, made_heads
from tlcore.multitask.soft_sharing import trunks


class CrossStitchUnit(nn.Module):
    """Each task goes on with a mixture of all tasks' maps: x'_i = sum_j alpha_ij x_j (eq. 1).

    >>> unit = CrossStitchUnit(2, channels=8, own=0.9)
    >>> a, b = unit([torch.ones(5, 8, 4, 4), torch.zeros(5, 8, 4, 4)])
    >>> a.shape, round(a.mean().item(), 2), round(b.mean().item(), 2)
    (torch.Size([5, 8, 4, 4]), 0.9, 0.1)

    Parameters
    ----------
    channels
        One matrix of alphas for each channel, as in the paper's section 4.
    own
        What a task keeps of its own at the start; the rest is shared out evenly over the others.
    """

    def __init__(self, tasks: int, *, channels: int, own: float = 0.9) -> None:
        super().__init__()
        others = (1 - own) / max(1, tasks - 1)
        start = torch.full((tasks, tasks), others).fill_diagonal_(own)
        self.alpha = nn.Parameter(start.unsqueeze(2).repeat(1, 1, channels))  # (T, T, C)

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Mixtures (N, C, ...) of T maps (N, C, ...)."""
        places = [1] * (maps[0].ndim - 2)
        return [sum(a.view(-1, *places) * x for a, x in zip(row, maps, strict=True)) for row in self.alpha]  # type: ignore[misc]


class CrossStitch(MultiTask):
    """One network for each task, stitched together after every stage.

    >>> stage = lambda a, b: nn.Sequential(nn.Linear(a, b), nn.ReLU())
    >>> make = lambda: nn.Sequential(stage(4, 8), stage(8, 6))
    >>> model = CrossStitch(make, {"a": 3, "b": 2})
    >>> {task: tuple(out.shape) for task, out in model(torch.zeros(5, 4)).items()}
    {'a': (5, 3), 'b': (5, 2)}
    >>> [tuple(unit.alpha.shape) for unit in model.units]
    [(2, 2, 8), (2, 2, 6)]

    Parameters
    ----------
    make
        Builds a trunk: an `nn.Sequential` of stages, the last of which ends in features or maps.
    heads
        As for `MultiTaskModel`.
    own
        As for `CrossStitchUnit`; 1 starts from networks that do not hear each other.

    Raises
    ------
    TypeError, ValueError
        If a trunk is no sequence of stages, or has a stage without weights (it has no channels of its own).
    """

    def __init__(
        self, make: Callable[[], nn.Module], heads: Heads, *, own: float = 0.9, seed: int = 0
    ) -> None:  # fmt: skip
        super().__init__()
        if not 0 <= own <= 1:
            raise ValueError(f"CrossStitch(own={own!r}): a share from 0 to 1 is accepted")
        self.trunks = trunks(make, heads, "CrossStitch")
        first = self.trunks[next(iter(heads))]
        if not isinstance(first, nn.Sequential) or not len(first):
            raise TypeError(f"CrossStitch(make=…): an nn.Sequential of stages is needed, not {type(first).__name__}")
        widths = [self._channels(number, stage) for number, stage in enumerate(first)]
        self.units = nn.ModuleList([CrossStitchUnit(len(heads), channels=width, own=own) for width in widths])
        self.heads = made_heads(heads, widths[-1], first, seed, "CrossStitch")
        self.tasks = tuple(heads)

    def shared_parameters(self) -> list[nn.Parameter]:
        """All but the heads: through the stitches every task's loss reaches every trunk."""
        return [*self.trunks.parameters(), *self.units.parameters()]

    def own_parameters(self, task: str) -> list[nn.Parameter]:
        """The head's."""
        return list(self.heads[self._asked([task])[0]].parameters())

    def forward(self, x: torch.Tensor, tasks: Iterable[str] | None = None) -> Outputs:
        """Outputs by task, one row for each input; all networks run, since they hear each other."""
        asked, maps = self._asked(tasks), [x] * len(self.tasks)
        stages = zip(*self.trunks.values(), strict=True)
        for stage, unit in zip(stages, self.units, strict=True):
            maps = unit([part(x) for part, x in zip(stage, maps, strict=True)])
        ends = dict(zip(self.tasks, (m.flatten(2).mean(2) if m.ndim > 2 else m for m in maps), strict=True))
        return {task: self.heads[task](ends[task]) for task in asked}

    def _channels(self, number: int, stage: nn.Module) -> int:
        layers = [m for m in stage.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
        if not layers:
            raise ValueError(
                f"CrossStitch(make=…): stage {number} ({type(stage).__name__}) has no weights, so there is nothing to "
                "stitch after it; join it with its neighbour in one nn.Sequential"
            )
        last = layers[-1]
        return last.out_features if isinstance(last, nn.Linear) else last.out_channels
