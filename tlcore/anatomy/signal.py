"""How large activations and gradients are from layer to layer: does the signal live through the depth?

If each layer scales what passes by a factor other than one, depth raises that factor to a power: activations
fade or grow on the way forward, gradients on the way back.

Sources: Hochreiter 1991, "Untersuchungen zu dynamischen neuronalen Netzen" (the vanishing gradient); Glorot &
Bengio 2010, "Understanding the difficulty of training deep feedforward neural networks" (section 4.2, figures 6
and 7: sizes per layer); He et al. 2015, "Delving Deep into Rectifiers" (arXiv 1502.01852, section 2.2).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from tlcore import plots
from tlcore.anatomy.graph import nearest
from tlcore.anatomy.layers import chosen_layers, kind_of
from tlcore.anatomy.probe import ACTIVATION, GRADIENT, LABELS, WEIGHT, ZEROS, Probe, Record, checked_measures
from tlcore.anatomy.untouched import untouched

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Inputs = torch.Tensor | Sequence[Any] | Mapping[str, Any]
MARKS = {ACTIVATION: ("o", "-"), GRADIENT: ("s", "--"), WEIGHT: ("^", "-."), ZEROS: ("x", ":")}


class LayerSignal(NamedTuple):
    """One layer; sizes are root mean squares over all elements (and all calls, if it is called more than once)."""

    name: str
    kind: str
    activation: float  # of its output
    gradient: float  # of the loss with respect to that output
    weight_gradient: float | None  # of the loss with respect to its parameters; None without trainable ones
    zeros: float  # share of its output that is exactly zero


@dataclass(frozen=True, repr=False)
class Signal:
    """What `signal` measured, layer by layer; iterate, index, or just show it.

    Attributes
    ----------
    rows : tuple of LayerSignal
        In the order of execution, or as asked for.
    loss : float
        The loss of that one pass.
    """

    rows: tuple[LayerSignal, ...]
    loss: float

    @property
    def names(self) -> list[str]:
        """The module paths."""
        return [row.name for row in self.rows]

    @property
    def activations(self) -> list[float]:
        """Root mean square of each layer's output."""
        return [row.activation for row in self.rows]

    @property
    def gradients(self) -> list[float]:
        """Root mean square of the gradient with respect to each layer's output."""
        return [row.gradient for row in self.rows]

    def ratio(self, what: str = "gradient") -> float:
        """The first layer's size over the last one's: far below 1 a gradient vanishes, far above 1 it explodes.

        Parameters
        ----------
        what : {"gradient", "activation", "weight_gradient", "zeros"}
            Layers without that number are passed over.
        """
        checked_measures((what,), "ratio")
        values = [value for row in self.rows if (value := getattr(row, what)) is not None]
        if not values:
            raise ValueError(f"ratio(what={what!r}): no layer has that number")
        return values[0] / values[-1] if values[-1] else math.inf if values[0] else math.nan

    @property
    def table(self) -> plots.Table:
        """One row per layer, as text and as HTML."""
        header = ["layer", "kind", "activation", "gradient", "weight gradient", "zeros"]
        cells = []
        for row in self.rows:
            weight = "" if row.weight_gradient is None else f"{row.weight_gradient:.3g}"
            cells.append([row.name or "(itself)", row.kind, f"{row.activation:.3g}", f"{row.gradient:.3g}", weight])
            cells[-1].append(f"{row.zeros:.0%}")
        caption = f"Root mean squares; loss {self.loss:.4g}."
        return plots.Table(cells, header, left=2, rule=True, caption=caption)

    def plot(self, ax: Axes | None = None, what: str | Iterable[str] = (ACTIVATION, GRADIENT)) -> Axes:
        """Draw sizes over depth on a logarithmic scale."""
        chosen = checked_measures((what,) if isinstance(what, str) else what, "plot")
        ax = ax or plots.figure(width=6.4)[1][0]
        for measure, colour in zip(chosen, plots.COLOURS):
            values = [math.nan if (value := getattr(row, measure)) is None else value for row in self.rows]
            marker, line = MARKS[measure]
            ax.plot(values, marker=marker, linestyle=line, markersize=4, color=colour, label=LABELS[measure])
        ax.set_yscale("log")
        if len(self.rows) <= 24:
            ax.set_xticks(range(len(self.rows)), [name or "(itself)" for name in self.names], rotation=90)
        ax.set_xlabel("layer, in the order of execution")
        ax.set_ylabel("root mean square")
        ax.legend()
        return ax

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LayerSignal]:
        return iter(self.rows)

    def __getitem__(self, key: int | str) -> LayerSignal:
        if not isinstance(key, str):
            return self.rows[key]
        if key not in self.names:
            raise ValueError(f"signal[{key!r}]: no such layer; {nearest(key, self.names)}")
        return self.rows[self.names.index(key)]

    def __repr__(self) -> str:
        return repr(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()


def signal(
    model: nn.Module,
    inputs: Inputs,
    loss: Callable[[Any], torch.Tensor],
    *,
    layers: Iterable[str] | None = None,
) -> Signal:
    """Sizes of activations and gradients in every layer, from one forward and one backward pass.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(*(part for _ in range(8) for part in (nn.Linear(32, 32), nn.Sigmoid())))
    >>> x, target = torch.randn(64, 32), torch.randn(64, 32)            # (N, 32) -> (N, 32)
    >>> seen = signal(net, x, lambda y: (y - target).square().mean())
    >>> seen.names[:4], seen[0].kind
    (['0', '1', '2', '3'], 'Linear')
    >>> seen.ratio() < 1e-4                                             # sigmoids: the gradient vanishes
    True

    Parameters
    ----------
    model : nn.Module
        Runs in the mode it is in (dropout and batch norm act as in training if it is). It is left as it was:
        parameters, their ``.grad``, buffers, attributes, hooks, and the random state.
    inputs : Tensor, tuple or dict
        ``(N, …)``; a tuple holds several inputs, a dict keyword arguments.
    loss : callable
        From the model's output to a scalar tensor.
    layers : iterable of str, optional
        Module paths, blocks included; default every layer (module without children) that returns a tensor.

    Returns
    -------
    Signal
        In the order of execution, or in that of `layers`.

    Raises
    ------
    TypeError, ValueError
        If an argument is not accepted, a path is not known or did not run, or the loss is no scalar that
        depends on the network.

    Notes
    -----
    The gradient with respect to a layer's output is that of the loss as given: of a mean over N samples it
    is about 1 / N of a sample's. Of a tuple the first tensor counts as the output. Parameters of a block are
    those of all its layers. A gradient that does not exist because the loss does not depend on it is 0.
    """
    chosen = chosen_layers(model, layers, "signal")
    if not callable(loss):
        raise TypeError(f"signal(loss={loss!r}): give a callable from the model's output to a scalar tensor")
    probe, record = Probe(chosen, awake=True), Record(0)
    with torch.inference_mode(False), torch.enable_grad(), untouched(model):
        probe.attach()
        try:
            probe.start(record)
            leaves: list[torch.Tensor] = []
            given = _fresh(inputs, leaves)
            if isinstance(given, dict):
                output = model(**given)
            else:
                output = model(*given) if isinstance(given, tuple) else model(given)
            probe.record = None  # a loss may call the model again
            scalar = _checked_loss(loss(output))
            trainable = [p for p in model.parameters() if p.requires_grad]
            gradients = torch.autograd.grad(scalar, [*leaves, *probe.roots, *trainable], allow_unused=True)
        finally:
            probe.remove()
    if all(gradient is None for gradient in gradients):
        raise ValueError("signal(loss=…): what it returns does not depend on the network")
    names = list(probe.order) if layers is None else list(chosen)
    for name in names:
        if name not in probe.order:
            close = nearest(name, probe.order)
            raise ValueError(f"signal(layers=…): {name!r} did not run or returns no tensor of numbers; {close}")
    return Signal(tuple(_row(name, chosen[name], record) for name in names), float(scalar.detach()))


def _row(name: str, module: nn.Module, record: Record) -> LayerSignal:
    learns = any(p.requires_grad for p in module.parameters())
    back, weight = (record.value(name, what) if record.has(name, what) else 0.0 for what in (GRADIENT, WEIGHT))
    size, share = record.value(name, ACTIVATION), record.value(name, ZEROS)
    return LayerSignal(name, kind_of(module), size, back, weight if learns else None, share)


def _fresh(value: Any, leaves: list[torch.Tensor]) -> Any:
    """The inputs as tensors of our own that ask for gradients and may be overwritten; their leaves are noted."""
    if isinstance(value, torch.Tensor):
        if not value.is_floating_point():
            return value
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1].clone()
    if isinstance(value, dict):
        return {key: _fresh(item, leaves) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_fresh(item, leaves) for item in value)
    return value


def _checked_loss(value: Any) -> torch.Tensor:
    if not isinstance(value, torch.Tensor) or value.numel() != 1:
        came = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value).__name__
        raise ValueError(f"signal(loss=…): must return a scalar tensor, such as loss.mean(); it returned {came}")
    if not value.requires_grad:
        raise ValueError("signal(loss=…): it returned a tensor without gradient; do not detach the model's output")
    return value.reshape(())
