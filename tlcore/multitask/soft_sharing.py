"""Soft parameter sharing: every task has a network of its own, and a penalty keeps the networks close.

Duong, Cohn, Bird, Cook 2015 (ACL, short papers), section 3: the squared distance of corresponding weights is added to
the loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import combinations

import torch
from torch import nn

from tlcore.multitask.model import Heads, MultiTask, Outputs, check_names, made_heads
from tlcore.multitask.neck import features_of


class SoftSharing(MultiTask):
    """One network for each task, drawn towards each other.

    >>> make = lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU())
    >>> model = SoftSharing(make, {"a": 3, "b": 2}, strength=0.1)
    >>> {task: tuple(out.shape) for task, out in model(torch.zeros(5, 4)).items()}
    {'a': (5, 3), 'b': (5, 2)}
    >>> model.penalty().item() > 0  # they start at different weights
    True

    Parameters
    ----------
    make
        Builds a trunk that ends in features (N, F) or maps; called once for each task.
    heads
        As for `MultiTaskModel`.
    strength
        Of the penalty: strength / 2 times the squared distance of all corresponding weights, summed over pairs of
        tasks. 0 leaves the tasks alone.
    seed
        Of the heads' weights; the trunks' are torch's own draws.

    Raises
    ------
    ValueError
        For a negative strength, or trunks that are not alike.
    """

    def __init__(
        self,
        make: Callable[[], nn.Module],
        heads: Heads,
        *,
        strength: float = 1e-3,
        width: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= strength < float("inf"):
            raise ValueError(f"SoftSharing(strength={strength!r}): a number from 0 on is accepted")
        self.trunks = trunks(make, heads, "SoftSharing")
        self.heads = made_heads(heads, width, self.trunks[next(iter(heads))], seed, "SoftSharing")
        self.tasks, self.strength = tuple(heads), strength

    def shared_parameters(self) -> list[nn.Parameter]:
        """None: no weight is reached by the loss of more than one task."""
        return []

    def own_parameters(self, task: str) -> list[nn.Parameter]:
        """Trunk and head."""
        self._asked([task])
        return [*self.trunks[task].parameters(), *self.heads[task].parameters()]

    def penalty(self) -> torch.Tensor | None:
        """Half of the strength times the squared distance, summed over pairs of tasks."""
        if not self.strength or len(self.tasks) < 2:
            return None
        far = [
            (p - q).square().sum()
            for one, other in combinations(self.trunks.values(), 2)
            for p, q in zip(one.parameters(), other.parameters(), strict=True)
        ]
        return self.strength / 2 * torch.stack(far).sum()

    def forward(self, x: torch.Tensor, tasks: Iterable[str] | None = None) -> Outputs:
        """Outputs by task, one row for each input; only the networks of the tasks asked for run."""
        return {task: self.heads[task](features_of(self.trunks[task], x)) for task in self._asked(tasks)}

    def each(self, inputs: Mapping[str, torch.Tensor]) -> Outputs:
        """Outputs of each task for its own inputs."""
        return {task: self(x, [task])[task] for task, x in inputs.items()}


def trunks(make: Callable[[], nn.Module], heads: Heads, function: str) -> nn.ModuleDict:
    """A trunk for each task, all of the same kind.

    >>> len(trunks(lambda: nn.Linear(4, 8), {"a": 3, "b": 2}, "f"))
    2
    """
    if not callable(make) or isinstance(make, nn.Module):
        raise TypeError(f"{function}(make=…): give a function that builds a trunk, since each task needs its own")
    check_names(heads, function)
    made = nn.ModuleDict({task: make() for task in heads})
    shapes = {task: [tuple(p.shape) for p in trunk.parameters()] for task, trunk in made.items()}
    if any(shape != next(iter(shapes.values())) for shape in shapes.values()):
        raise ValueError(f"{function}(make=…): the trunks differ in their weights' shapes; they must be alike")
    return made
