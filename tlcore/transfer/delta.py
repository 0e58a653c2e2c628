"""Parameter transfer by behaviour: the fine-tuned network's feature maps stay near those of the pre-trained one.

Source: Li, Xiong, Wang, Rao, Liu & Huan 2019, "DELTA: Deep Learning Transfer using Feature Map with Attention for
Convolutional Networks" (arXiv:1901.09229).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore.transfer.heads import find_head
from tlcore.transfer.taps import tapped, taps
from tlcore.worlds import Dataset, Loader

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class DELTA:
    """A loss for `fine_tune` or `training.fit`: the task's, plus how far some layers' maps moved from the start's.

    >>> from tlcore import transfer, worlds, zoo
    >>> net = zoo.get_model("resnet20")  # in earnest with weights
    >>> data = worlds.Shapes(shapes=("circle", "star")).sample(32)
    >>> with DELTA(net, ["layer2", "layer3"], alpha=0.01) as loss:
    ...     done = transfer.fine_tune(net, data, loss=loss, num_classes=2, epochs=1, weight_decay=0, progress=False)
    >>> done.history.last.epoch
    1

    Setting: inductive (other labels). Knowledge: parameters. Labels: target; of the source only the trained network.

    Parameters
    ----------
    model
        Trained; a frozen copy of it, in evaluation mode, tells what its maps were. Hooks watch it until `remove`, or
        the end of ``with``.
    layers
        Module paths, or "neck".
    alpha
        Of the maps: alpha/2 times the mean over images of sum_j C share_j |maps_j - maps0_j|² / (H W), with C channels,
        so that equal shares, 1/C, weigh each channel by 1.
    beta
        Of the head's decay, beta/2 |w|².
    attention
        Shares of each layer's channels (C,), of sum 1; see `channel_attention`. Default equal ones.
    loss
        Of the task.

    Raises
    ------
    ValueError
        For an unknown layer, negative numbers, or shares of another size.

    Notes
    -----
    Eq. 4 to 6. Each step runs the copy as well. The penalty counts in training only, so a validation loss is the
    task's. Set ``weight_decay=0`` for the paper's objective.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        alpha: float = 0.01,
        beta: float = 0.01,
        attention: Mapping[str, torch.Tensor] | None = None,
        loss: Loss = cross_entropy,
    ) -> None:
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"DELTA({name}={value!r}): from 0 on is accepted, such as 0.01")
        self.places = taps(model, layers, "DELTA")
        if "logits" in self.places:
            raise ValueError("DELTA(layers=…): the new head has other logits than the old one; name layers below it")
        self.model, self.alpha, self.beta, self.loss = model, alpha, beta, loss
        self.attention = dict(attention or {})
        for name, shares in self.attention.items():
            if name not in self.places or abs(float(shares.sum()) - 1) > 1e-3 or float(shares.min()) < 0:
                raise ValueError(f"DELTA(attention=…): {name!r} needs shares of sum 1, and to be one of the layers")
        self.head = find_head(model)
        self.start = copy.deepcopy(model).eval().requires_grad_(False)
        self.seen: dict[str, torch.Tensor] = {}
        self.handles = self._watch()

    def __call__(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        value = self.loss(out, y)
        return value + self.penalty() if torch.is_grad_enabled() else value

    def penalty(self) -> torch.Tensor:
        """Of the images that the network saw last."""
        x = self.seen.get("images")
        if x is None:
            raise ValueError("DELTA: the network has seen no images yet, or is not watched any more")
        device = x.device
        self.start.to(device)
        with torch.no_grad():
            _, before = tapped(self.start, self.places, x)
        total = x.new_zeros((), dtype=torch.float32)
        for name in self.places:
            now, then = self.seen[name].float().flatten(2 if self.seen[name].ndim > 2 else 1), before[name].float()
            moved = (now - then.reshape(now.shape)).square()  # (N, C, HW), or (N, C)
            moved = moved.mean(2) if moved.ndim > 2 else moved
            shares = self.attention.get(name)
            if shares is not None and len(shares) != moved.shape[1]:
                raise ValueError(
                    f"DELTA(attention=…): {name!r} has {moved.shape[1]} channels, and {len(shares)} shares"
                )
            weights = torch.ones(moved.shape[1], device=device) if shares is None else shares.to(device) * len(shares)
            total = total + self.alpha / 2 * (moved @ weights).mean()
        head = self.model.get_submodule(self.head)
        return total + sum(self.beta / 2 * p.square().sum() for p in head.parameters() if p.requires_grad)

    def remove(self) -> None:
        """Watch the network no longer."""
        for handle in self.handles:
            handle.remove()
        self.seen.clear()

    def __enter__(self) -> DELTA:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.remove()

    def _watch(self) -> list[Any]:
        """Hooks that note what the network sees and what its layers give; copies of it are not watched."""
        model, places, seen = self.model, self.places, self.seen
        own = {name: model.get_submodule(path) for name, (_, path) in places.items() if name != "neck"}
        head = self.head

        def begin(module: nn.Module, given: tuple[Any, ...]) -> None:
            if module is not model:
                return
            seen["images"] = given[0].detach()
            if "neck" in places:  # the head may have been replaced since the last time
                handle = model.get_submodule(head).register_forward_pre_hook(lambda _, neck: end(neck[0]))

                def end(neck: torch.Tensor) -> None:
                    seen["neck"] = neck
                    handle.remove()

        def noted(name: str) -> Callable[..., None]:
            def hook(module: nn.Module, given: tuple[Any, ...], out: torch.Tensor) -> None:
                if module is own[name]:
                    seen[name] = out

            return hook

        watched = [module.register_forward_hook(noted(name)) for name, module in own.items()]
        return [model.register_forward_pre_hook(begin), *watched]


@torch.no_grad()
def channel_attention(
    model: nn.Module,
    data: Dataset,
    layers: Sequence[str],
    *,
    temperature: float = 5.0,
    loss: Loss = cross_entropy,
    batch_size: int = 256,
) -> dict[str, torch.Tensor]:
    """Shares of each layer's channels by what it costs to lose them: for `DELTA`'s attention.

    >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> data = Dataset(torch.rand(20, 1, 8, 8), torch.arange(20) % 2, ("a", "b"))
    >>> shares = channel_attention(net, data, ["0"])
    >>> shares["0"].shape, round(float(shares["0"].sum()), 4)
    (torch.Size([4]), 1.0)

    Parameters
    ----------
    model
        With a head that was trained on `data` while the rest was frozen, as in the paper.
    data
        Labelled; of the target.
    temperature
        Of the softmax over the increases of the loss; the paper's code takes 5.

    Raises
    ------
    ValueError
        For an unknown layer, or a temperature not above 0.

    Notes
    -----
    Li et al. 2019, eq. 7: the increase of the loss once the channel is set to 0, then a softmax over the channels. One
    pass over the data for each channel.
    """
    if not temperature > 0:
        raise ValueError(f"channel_attention(temperature={temperature!r}): a number above 0 is accepted")
    places = taps(model, layers, "channel_attention")
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    batches = Loader(data.to(where), batch_size, shuffle=False)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()

    def mean_loss() -> float:
        return float(sum(loss(model(x), y) * len(y) for x, y in batches)) / len(data)

    whole, found = mean_loss(), {}
    x, _ = next(iter(batches))
    _, seen = tapped(model, places, x[:1])
    for name, (side, path) in places.items():
        losses = []
        for channel in range(seen[name].shape[1]):
            handle = _silenced(model.get_submodule(path), side, channel)
            losses.append(mean_loss() - whole)
            handle.remove()
        found[name] = torch.softmax(torch.tensor(losses) / temperature, 0)
    for module, mode in modes:
        module.training = mode
    return found


def _silenced(module: nn.Module, side: str, channel: int) -> Any:
    """Set a channel of what goes into a module, or comes out of it, to 0."""

    def without(values: torch.Tensor) -> torch.Tensor:
        kept = torch.ones(values.shape[1], device=values.device, dtype=values.dtype)
        kept[channel] = 0
        return values * kept.view(1, -1, *[1] * (values.ndim - 2))

    if side == "input":
        return module.register_forward_pre_hook(lambda _, given: (without(given[0]), *given[1:]))
    return module.register_forward_hook(lambda _, given, out: without(out))
