"""The numbers of `signal`, recorded while a network trains."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from tlcore import plots
from tlcore.anatomy.layers import chosen_layers
from tlcore.anatomy.probe import ACTIVATION, GRADIENT, LABELS, WEIGHT, ZEROS, Probe, Record, checked_measures

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class SignalLog:
    """What `watch` recorded; the tensors have shape (steps, layers) and nan where there was no such number.

    Attributes
    ----------
    steps : list of int
        Which forward pass with gradient (counted from 0) each record belongs to.
    names : list of str
        The layers: as asked for, else those that ran, in the order of execution.
    activation, gradient, weight_gradient, zeros : Tensor
        As in `LayerSignal`.
    """

    def __init__(self, model: nn.Module, layers: Iterable[str] | None, every: int) -> None:
        chosen = chosen_layers(model, layers, "watch")
        self._model, self._every = model, every
        self._asked = None if layers is None else list(chosen)
        self._probe, self._passes = Probe(chosen), 0
        self._handles: list[Any] = []

    def __enter__(self) -> SignalLog:
        if self._handles:
            raise RuntimeError("watch: this log is recording already")
        self._probe.attach()
        self._handles = [
            self._model.register_forward_pre_hook(self._begin),
            self._model.register_forward_hook(self._end, always_call=True),
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._probe.remove()

    def _begin(self, module: nn.Module, args: Any) -> None:
        if torch.is_grad_enabled():
            self._probe.start(Record(self._passes) if self._passes % self._every == 0 else None)
            self._passes += 1

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        self._probe.record = None

    @property
    def names(self) -> list[str]:
        """The layers, one column each."""
        return list(self._probe.order) if self._asked is None else self._asked

    @property
    def steps(self) -> list[int]:
        """The training step of each record."""
        return [record.step for record in self._records()]

    @property
    def activation(self) -> torch.Tensor:
        """Root mean square of each layer's output."""
        return self._tensor(ACTIVATION)

    @property
    def gradient(self) -> torch.Tensor:
        """Root mean square of the gradient with respect to each layer's output."""
        return self._tensor(GRADIENT)

    @property
    def weight_gradient(self) -> torch.Tensor:
        """Root mean square of the gradient with respect to each layer's parameters."""
        return self._tensor(WEIGHT)

    @property
    def zeros(self) -> torch.Tensor:
        """Share of each layer's output that is exactly zero."""
        return self._tensor(ZEROS)

    def plot(self, ax: Axes | None = None, what: str = GRADIENT) -> Axes:
        """Draw one curve per layer over the steps on a logarithmic scale; dark is early, bright is late."""
        checked_measures((what,), "plot")
        import matplotlib as mpl

        ax = ax or plots.figure(width=6.4)[1][0]
        names, steps, values = self.names, self.steps, self._tensor(what)
        shades = mpl.colormaps["cividis"]
        for column, name in enumerate(names):
            shade = shades(0.9 * column / max(len(names) - 1, 1))
            named = len(names) <= 10 or column in (0, len(names) - 1)
            ax.plot(steps, values[:, column].tolist(), color=shade, label=(name or "(itself)") if named else None)
        ax.set_yscale("log")
        ax.set_xlabel("training step")
        ax.set_ylabel(LABELS[what])
        if names:
            ax.legend(title="layer", loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
        return ax

    def _records(self) -> list[Record]:
        return sorted(self._probe.records, key=lambda record: record.step)

    def _tensor(self, what: str) -> torch.Tensor:
        names = self.names
        rows = [[record.value(name, what) for name in names] for record in self._records()]
        return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), len(names))

    def __repr__(self) -> str:
        steps = self.steps
        span = f" of passes {steps[0]} … {steps[-1]}" if steps else ""
        return f"SignalLog({len(steps)} records{span}, {len(self.names)} layers)"


def watch(model: nn.Module, *, layers: Iterable[str] | None = None, every: int = 1) -> SignalLog:
    """Record sizes of activations and gradients while `model` trains; use it in a ``with`` statement.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1))
    >>> optimizer, x = torch.optim.SGD(net.parameters(), lr=0.1), torch.randn(32, 4)    # (N, 4) -> (N, 1)
    >>> with watch(net) as log:
    ...     for _ in range(5):
    ...         optimizer.zero_grad()
    ...         (net(x) - x[:, :1]).square().mean().backward()
    ...         optimizer.step()
    >>> log
    SignalLog(5 records of passes 0 … 4, 3 layers)
    >>> log.names, log.gradient.shape                                                   # (steps, layers)
    (['0', '1', '2'], torch.Size([5, 3]))

    Parameters
    ----------
    model : nn.Module
        Its own ``forward`` is what is recorded; calls of a part of it alone are not.
    layers : iterable of str, optional
        Module paths, blocks included; default every layer (module without children) that returns a tensor.
    every : int
        Record each so many forward passes only.

    Returns
    -------
    SignalLog
        One record for each forward pass that a backward pass follows. Passes without gradient (evaluation in
        ``torch.no_grad()``) do not count. Of several forward passes before one backward pass, each has a record;
        the gradient of the weights, which they share, stands in all. On leaving, also by an error, the
        hooks are removed; the log stays readable.

    Raises
    ------
    TypeError, ValueError
        If an argument is not accepted or a path is not known.

    Notes
    -----
    Sources and meaning of the numbers: see `signal`. Frozen layers before the first trainable one get no
    gradient while training (nan); `signal` shows theirs. The gradient of the weights is that of one backward
    pass, also where ``.grad`` accumulates. With a `GradScaler` gradients are scaled.
    """
    if not isinstance(every, int) or isinstance(every, bool) or every < 1:
        raise ValueError(f"watch(every={every!r}): must be an int of at least 1")
    return SignalLog(model, layers, every)
