"""Hard parameter sharing: one trunk for all tasks, and a head for each (Caruana 1997)."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import nn

from tlcore.multitask.neck import features_of, headless
from tlcore.runtime import nearest

Heads = Mapping[str, int | nn.Module]
Outputs = dict[str, torch.Tensor]


class MultiTask(nn.Module):
    """What all networks for several tasks have in common.

    ``model(x)`` answers all tasks about the same inputs, ``model(x, ["a"])`` some of them, and ``model.each({"a": x,
    "b": z})`` each task about inputs of its own.
    """

    tasks: tuple[str, ...]

    def shared_parameters(self) -> list[nn.Parameter]:
        """Those that every task's loss reaches, input first."""
        raise NotImplementedError

    def own_parameters(self, task: str) -> list[nn.Parameter]:
        """Those that only this task's loss reaches."""
        raise NotImplementedError

    def penalty(self) -> torch.Tensor | None:
        """What the sharing itself adds to the loss; None where it adds nothing."""
        return None

    def forward(self, x: torch.Tensor, tasks: Iterable[str] | None = None) -> Outputs:
        """Outputs by task, one row for each input."""
        raise NotImplementedError

    def each(self, inputs: Mapping[str, torch.Tensor]) -> Outputs:
        """Outputs of each task for its own inputs, which go through what is shared as one batch."""
        counts = [len(x) for x in inputs.values()]
        made = self(torch.cat(list(inputs.values())), inputs)
        parts = {task: made[task].split(counts) for task in inputs}
        return {task: parts[task][n] for n, task in enumerate(inputs)}

    def _asked(self, tasks: Iterable[str] | None) -> list[str]:
        asked = list(self.tasks if tasks is None else [tasks] if isinstance(tasks, str) else tasks)
        for task in asked:
            if task not in self.tasks:
                raise ValueError(f"{type(self).__name__}: no task {task!r}; {nearest(str(task), self.tasks)}")
        return asked


class MultiTaskModel(MultiTask):
    """One trunk for all tasks, and a head for each.

    >>> model = MultiTaskModel("resnet20", {"animal": 6, "indoors": 2})
    >>> {task: tuple(out.shape) for task, out in model(torch.zeros(5, 3, 32, 32)).items()}
    {'animal': (5, 6), 'indoors': (5, 2)}
    >>> trunk = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU())  # ends in maps, which are averaged over all places
    >>> model = MultiTaskModel(trunk, {"a": 6, "b": nn.Linear(16, 1)}, at="output")
    >>> model(torch.zeros(5, 3, 8, 8), ["b"])["b"].shape
    torch.Size([5, 1])

    Parameters
    ----------
    backbone
        A name of the zoo, or a network; it is copied, with its weights.
    heads
        By task: the number of outputs of a linear layer, or a module that takes features (N, F).
    at
        Where the heads go: "neck", in the place of the last linear layer (as in `anatomy.resolve`), or "output".
    width
        Features at the "output"; default the outputs of the trunk's last layer.
    seed
        Of new heads' weights.

    Raises
    ------
    ValueError, TypeError
        Without heads, for a head that is neither a number from 1 on nor a module, or if there is no neck.
    """

    def __init__(
        self,
        backbone: str | nn.Module,
        heads: Heads,
        *,
        at: Literal["neck", "output"] = "neck",
        width: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if at not in ("neck", "output"):
            raise ValueError(f"MultiTaskModel(at={at!r}): accepted are 'neck' and 'output'")
        if at == "neck":
            self.trunk, width = headless(backbone, function="MultiTaskModel")
        elif isinstance(backbone, nn.Module):
            self.trunk = copy.deepcopy(backbone)
        else:
            raise TypeError(f"MultiTaskModel(backbone={backbone!r}, at='output'): give a network that ends in features")
        self.heads = made_heads(heads, width, self.trunk, seed, "MultiTaskModel")
        self.tasks = tuple(heads)

    def shared_parameters(self) -> list[nn.Parameter]:
        """The trunk's."""
        return list(self.trunk.parameters())

    def own_parameters(self, task: str) -> list[nn.Parameter]:
        """The head's."""
        return list(self.heads[self._asked([task])[0]].parameters())

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What all heads see (N, F)."""
        return features_of(self.trunk, x)

    def forward(self, x: torch.Tensor, tasks: Iterable[str] | None = None) -> Outputs:
        """Outputs by task, one row for each input; the trunk runs once."""
        asked, features = self._asked(tasks), self.features(x)
        return {task: self.heads[task](features) for task in asked}

    def each(self, inputs: Mapping[str, torch.Tensor]) -> Outputs:
        """Outputs of each task for its own inputs; a head sees only its own rows."""
        asked = self._asked(inputs)
        features = self.features(torch.cat(list(inputs.values()))).split([len(x) for x in inputs.values()])
        return {task: self.heads[task](part) for task, part in zip(asked, features, strict=True)}


def check_names(heads: Iterable[Any], function: str) -> None:
    """Tasks name modules, and torch has names of its own."""
    for task in heads:
        if not isinstance(task, str) or not task or "." in task or hasattr(nn.ModuleDict(), task):
            better = f"{task}_task".replace(".", "_")
            raise ValueError(
                f"{function}(heads=…): a task cannot be called {task!r}; a text without dots is accepted that is no "
                f"name of torch's own, such as {better!r}"
            )


def made_heads(heads: Heads, width: int | None, trunk: nn.Module, seed: int, function: str) -> nn.ModuleDict:
    """Heads as modules; linear ones are drawn from U(-b, b) with b = 1 / sqrt(F), as torch draws them.

    >>> made_heads({"a": 3}, 8, nn.Identity(), 0, "f")["a"].weight.shape
    torch.Size([3, 8])
    """
    if not isinstance(heads, Mapping) or not heads:
        raise ValueError(f"{function}(heads={heads!r}): a head for at least one task is needed, such as {{'a': 10}}")
    made, like = nn.ModuleDict(), next(iter(trunk.parameters()), torch.zeros(()))
    check_names(heads, function)
    for number, (task, head) in enumerate(heads.items()):
        if isinstance(head, nn.Module):
            made[task] = head
            continue
        if type(head) is not int or head < 1:
            raise ValueError(
                f"{function}(heads={{{task!r}: {head!r}}}): the number of outputs, from 1 on, or a module is accepted"
            )
        if width is None:
            width = output_width(trunk, function)
        layer = nn.utils.skip_init(nn.Linear, width, head)
        draws = torch.Generator().manual_seed(seed + number)
        for parameter in layer.parameters():
            nn.init.uniform_(parameter, -(width**-0.5), width**-0.5, generator=draws)
        made[task] = layer.to(like.device, like.dtype if like.is_floating_point() else None)
    return made


def output_width(trunk: nn.Module, function: str) -> int:
    """Features at a network's end: the outputs of its last layer with a matrix or a kernel.

    >>> output_width(nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU()), "f")
    16
    """
    layers = [m for m in trunk.modules() if isinstance(m, nn.Linear | nn.modules.conv._ConvNd)]
    if not layers:
        raise ValueError(
            f"{function}: the trunk has no layer that tells how many features it gives; say it, with width="
        )
    last = layers[-1]
    return last.out_features if isinstance(last, nn.Linear) else last.out_channels
