"""The same trunk with another head: a class for every pixel instead of one for the image."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.nn import functional as F

from tlcore.anatomy.graph import needed_for, trace


class Segmenter(nn.Module):
    """A trunk, a 1x1 convolution on its maps, and its output enlarged to the size of the image; see `segmenter`."""

    def __init__(self, trunk: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        self.trunk, self.num_classes = trunk, num_classes
        self.head = nn.Conv2d(channels, num_classes, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.trunk(x)  # (N, C, h, w)
        return F.interpolate(self.head(maps), x.shape[-2:], mode="bilinear", align_corners=False)  # (N, K, H, W)


def segmenter(
    model: nn.Module, node: str, num_classes: int, *, input_size: Sequence[int] = (3, 32, 32), seed: int = 0
) -> Segmenter:
    """Cut a network at `node`, whose output has maps (N, C, h, w), and give it a head for masks.

    >>> from tlcore import zoo
    >>> net = segmenter(zoo.get_model("resnet20"), "layer3", 2)
    >>> net(torch.zeros(5, 3, 32, 32)).shape
    torch.Size([5, 2, 32, 32])

    The trunk is a copy: `model` stays as it is. Train it with `fine_tune` on masks (N, H, W), such as those of
    ``worlds.Shapes(label="mask")``. The coarser the maps at `node`, the coarser the masks.

    Long, Shelhamer, Darrell 2015 (arXiv:1411.4038), section 3: a classifier's layers read as convolutions, and its
    coarse output enlarged with bilinear weights.

    Parameters
    ----------
    node
        As in `anatomy.resolve`; the last before global pooling is the classifier's own map.
    num_classes
        Classes of a pixel, the background being one.
    input_size
        Of an image (C, H, W) that the network takes; from it the number of maps at `node` is found.
    seed
        Of the head's weights.

    Raises
    ------
    ValueError
        If there is no such node (with the nearest), it has no maps, or the network does not take such images.
    """
    if type(num_classes) is not int or num_classes < 2:
        raise ValueError(f"segmenter(num_classes={num_classes!r}): a whole number from 2 on is accepted")
    trunk = _cut(model, node)
    where = next((p.device for p in model.parameters()), torch.device("cpu"))
    channels = _channels(trunk, node, input_size, where)
    with torch.random.fork_rng(devices=[]):  # the head below draws its first weights from the common generator
        made = Segmenter(trunk, channels, num_classes)
    bound, draws = 1 / math.sqrt(channels), torch.Generator(device="cpu").manual_seed(seed)
    for parameter in made.head.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=draws)
    return made.to(where)


def intersection_over_union(predicted: torch.Tensor, masks: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Of each class (K,): pixels that both give it, as a share of the pixels that either does; nan where neither does.

    >>> intersection_over_union(torch.tensor([[0, 1, 1, 1]]), torch.tensor([[0, 0, 1, 1]]), 2)
    tensor([0.5000, 0.6667])

    Parameters
    ----------
    predicted
        Class numbers (N, H, W), or logits (N, K, H, W).
    masks
        Class numbers (N, H, W).
    """
    given = predicted.argmax(1) if predicted.ndim == masks.ndim + 1 else predicted
    if given.shape != masks.shape:
        raise ValueError(
            f"intersection_over_union: predictions {tuple(predicted.shape)} for masks {tuple(masks.shape)}; "
            "class numbers of the masks' shape or logits (N, K, H, W) are accepted"
        )
    rows = torch.arange(num_classes, device=masks.device).view(-1, *[1] * masks.ndim)
    mine, theirs = given == rows, masks == rows  # (K, N, H, W)
    both, either = (mine & theirs).flatten(1).sum(1), (mine | theirs).flatten(1).sum(1)
    return both / either


def _cut(model: nn.Module, node: str) -> fx.GraphModule:
    """A copy of the network up to a node, and nothing above it."""
    seen = trace(model, function="segmenter")
    end = seen.resolve(node, argument="node", function="segmenter")
    used, graph, twin = needed_for(end), fx.Graph(), copy.deepcopy(model)
    copies: dict[fx.Node, fx.Node] = {}
    for old in seen.graph.nodes:
        if old in used or old.op == "placeholder":
            copies[old] = graph.node_copy(old, copies.__getitem__)
        if old in used and old.op == "get_attr" and not hasattr(twin, str(old.target).split(".")[0]):
            twin.register_buffer(str(old.target), getattr(seen.model, str(old.target)))  # a constant found in tracing
    graph.output(copies[end])
    return fx.GraphModule(twin, graph, "Trunk").train(model.training)


@torch.no_grad()
def _channels(trunk: fx.GraphModule, node: str, input_size: Sequence[int], where: torch.device) -> int:
    was = trunk.training
    trunk.eval()
    try:
        maps = trunk.forward(torch.zeros(1, *input_size, device=where))  # its __call__ prints when it fails
    except RuntimeError as error:
        raise ValueError(f"segmenter(input_size={tuple(input_size)}): the network cannot take it ({error})") from None
    trunk.train(was)
    if not isinstance(maps, torch.Tensor) or maps.ndim != 4:
        what = f"shape {tuple(maps.shape)}" if isinstance(maps, torch.Tensor) else type(maps).__name__
        raise ValueError(f"segmenter(node={node!r}): its output has {what}; maps (N, C, h, w) are accepted")
    return maps.shape[1]
