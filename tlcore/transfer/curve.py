"""Which layer? One classifier a layer, for one label or several: what can be read off where.

The probes of Alain and Bengio 2016 (arXiv:1610.01644); the question is that of Yosinski et al. 2014 (arXiv:1411.1792).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn

from tlcore import plots
from tlcore.anatomy.graph import Trace, trace
from tlcore.transfer.classifiers import judged, say_absent, targets
from tlcore.transfer.features import Options
from tlcore.worlds import Dataset

# What only rescales, thins out or reshapes what the layer before it made.
_LIGHT = ("Norm", "ReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Hardswish", "Dropout", "Flatten", "Identity")
_LIGHT_CALLS = ("relu", "relu_", "relu6", "gelu", "silu", "tanh", "sigmoid", "dropout", "flatten", "view", "reshape")


class Probe(NamedTuple):
    """One head on one layer for one label; `chance` is the accuracy of always saying the most frequent class."""

    layer: str
    label: str
    features: int
    accuracy: float
    chance: float
    seconds: float


@dataclass(repr=False)
class LayerCurve:
    """Probes in the order of the layers: a table, its rows, and a picture."""

    rows: list[Probe]
    origin: str = ""
    seconds: float = 0.0  # for taking the features of all layers and both splits

    def column(self, name: str, label: str | None = None) -> list[Any]:
        """One figure of all probes, or of those for one label."""
        if name not in Probe._fields:
            raise ValueError(f"column({name!r}): accepted are {', '.join(Probe._fields)}")
        return [getattr(row, name) for row in self.rows if label in (None, row.label)]

    @property
    def labels(self) -> list[str]:
        """What was asked for."""
        return list(dict.fromkeys(self.column("label")))

    def best(self, label: str | None = None) -> Probe:
        """The probe with the highest accuracy for a label (the first one, by default)."""
        wanted = self.labels[0] if label is None else label
        return max((row for row in self.rows if row.label == wanted), key=lambda row: row.accuracy)

    def plot(self, ax: Any = None) -> Any:
        """Draw accuracy over depth, one line a label, with chance as thin lines."""
        ax = ax or plots.figure(width=5.5)[1][0]
        for label, colour, style in zip(self.labels, plots.COLOURS, ("-", "--", "-.", ":") * 2, strict=False):
            ax.plot(self.column("accuracy", label), style, color=colour, marker="o", label=label)
            ax.axhline(self.column("chance", label)[0], color=colour, linestyle=style, linewidth=0.6)
        names = self.column("layer", self.labels[0])
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        ax.set(ylabel="accuracy", ylim=(0, 1.02))
        ax.legend()
        return ax

    def _table(self) -> plots.Table:
        return plots.table([list(row) for row in self.rows], Probe._fields)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def layer_curve(
    model: nn.Module,
    train: Dataset,
    test: Dataset,
    layers: Sequence[str] | None = None,
    *,
    labels: Sequence[str] = (),
    head: Any = "softmax",
    seed: int = 0,
    **options: Any,
) -> LayerCurve:
    """Accuracy of a head on each of several layers, taken from the network in one pass.

    >>> from tlcore import worlds, zoo
    >>> world = worlds.Shapes(shapes=("circle", "star"), colours=("red", "blue"))
    >>> train, test = world.sample(60, seed=1), world.sample(60, seed=2)
    >>> net = zoo.get_model("resnet20")
    >>> found = layer_curve(net, train, test, ["conv1", "layer2", "neck"], labels=("shape", "colour"), device="cpu")
    >>> [(row.layer, row.label, row.features) for row in found.rows][:3]
    [('conv1', 'shape', 16), ('conv1', 'colour', 16), ('layer2', 'shape', 32)]

    Parameters
    ----------
    layers
        Names as `FeatureExtractor` takes them; default `depth_order(model)`.
    labels
        Names of the datasets' factors, such as ``("colour", "texture", "shape")``; default their targets.
    head
        A name out of `HEADS`, or a scikit-learn classifier.
    options
        Of the `FeatureExtractor`. Mean pooling forgets where something is: ``pool=4`` keeps a coarse place.

    Raises
    ------
    ValueError
        For unknown layers, heads, factors and options, with the nearest; for a training split of one class.
    """
    chosen = depth_order(model) if layers is None else list(layers)
    sets = {name: (train.labelled_by(name), test.labelled_by(name)) for name in labels} or {"target": (train, test)}
    known = {}
    for name, (one, other) in sets.items():
        known[name] = targets(one, "layer_curve"), targets(other, "layer_curve")
        say_absent(*known[name], one.classes, "layer_curve")
    start, taker = time.perf_counter(), Options(function="layer_curve", **options)
    both = [taker.run(model, chosen, _inputs(data)) for data in (train, test)]
    seconds, rows = time.perf_counter() - start, []
    for layer, one, other in zip(chosen, *both, strict=True):
        for name, (y, y_test) in known.items():
            row = judged(head, layer, one, other, y, y_test, seed)
            values, counts = np.unique(y, return_counts=True)
            chance = float(np.mean(y_test == values[counts.argmax()]))
            rows.append(Probe(layer, name, row.features, row.accuracy, chance, row.seconds))
    return LayerCurve(rows, train.origin, seconds)


def depth_order(model: nn.Module, most: int = 10) -> list[str]:
    """Layers that everything passes through on its way to the output, "input" first, each by its largest name.

    >>> from tlcore import zoo
    >>> depth_order(zoo.get_model("resnet20"), 7)
    ['input', 'relu', 'layer1', 'layer2', 'layer3', 'neck', 'fc']

    Of a convolution with normalisation and activation the last is taken. Of more than `most` layers the parts of large
    modules are left out first, evenly over the depth.
    """
    if most < 2:
        raise ValueError(f"depth_order(most={most}): from 2 on is accepted")
    seen = trace(model, function="depth_order")
    passes = _bottlenecks(seen.graph)
    kept = [a for a, b in zip(passes, [*passes[1:], None], strict=True) if b is None or not _light(seen, b)]
    names = ["input", *(seen.outermost(node) for node in kept if node.op != "placeholder")]
    try:
        neck = seen.resolve("neck")
        names = ["neck" if name == seen.outermost(neck) else name for name in names]
    except ValueError:
        pass
    names = list(dict.fromkeys(names))
    return _thinned(names, most)


def _thinned(names: list[str], most: int) -> list[str]:
    """So many of the names: both ends and the neck, then large modules before their parts, evenly over the depth."""
    kept = {names[0], names[-1]} | ({"neck"} & set(names) if most > 2 else set())
    for level in range(max(name.count(".") for name in names) + 1):
        more = [name for name in names if name.count(".") == level and name not in kept]
        room = min(len(more), most - len(kept))
        kept |= {more[(2 * n + 1) * len(more) // (2 * room)] for n in range(room)}
    return [name for name in names if name in kept]


def _bottlenecks(graph: fx.Graph) -> list[fx.Node]:
    """The nodes behind which nothing computed before them is used any more."""
    place = {node: n for n, node in enumerate(graph.nodes)}
    reach, found = 0, []
    for node in graph.nodes:
        if node.op in ("get_attr", "output"):
            continue
        if reach <= place[node] and node.users:
            found.append(node)
        reach = max([reach, *(place[user] for user in node.users)])
    return found


def _light(seen: Trace, node: fx.Node) -> bool:
    module = seen.module(node)
    if module is not None:
        return any(part in type(module).__name__ for part in _LIGHT)
    return getattr(node.target, "__name__", str(node.target)) in _LIGHT_CALLS


def _inputs(data: Dataset) -> torch.Tensor:
    if not isinstance(data.inputs, torch.Tensor):
        raise TypeError("layer_curve: texts were given; accepted are images (N, C, H, W)")
    return data.inputs
