"""What a network costs: parameters, multiply-adds, activations and bytes, per layer and in total.

The multiply-adds are those of torch's own formulas (`torch.utils.flop_counter`), halved and laid to the layer
that makes them. Closed forms to compare them with are in `tlcore.anatomy.cost`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tlcore import plots
from tlcore.anatomy.count import count
from tlcore.anatomy.graph import nearest
from tlcore.anatomy.inputs import InputSize, examples, shown
from tlcore.anatomy.layers import brief, check_model, kind_of, parts
from tlcore.anatomy.tally import Bytes, LayerProfile, summed, tally

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RULE = (
    "MACs: multiply-adds of convolutions, linear layers and matrix products, input {input}, batch {batch};\n"
    "biases, normalisation, pooling and activation functions count nothing."
)


@dataclass(frozen=True, repr=False)
class Profile:
    """The cost of each layer in the order of execution; iterate, index, or just show it.

    ``profile[3]`` is a row, ``profile["layer1"]`` the sum of the rows at and below that module path.

    Attributes
    ----------
    rows : tuple of LayerProfile
        One per call of a layer, and per call of any other module that multiplies or owns parameters by itself.
        Layers that did not run come last.
    model : str
        The class of the network.
    input_shapes : tuple of tuple of int
        What it ran on, with the batch.
    """

    rows: tuple[LayerProfile, ...]
    model: str
    input_shapes: tuple[tuple[int, ...], ...]
    _kinds: dict[str, str] = field(compare=False)

    @property
    def params(self) -> int:
        """All parameters, each counted once; buffers are none."""
        return self.total.params

    @property
    def trainable_params(self) -> int:
        """Parameters with ``requires_grad``."""
        return self.total.trainable_params

    @property
    def macs(self) -> int:
        """Multiply-adds for one input: those of convolutions, linear layers and matrix products."""
        return self.total.macs

    @property
    def activations(self) -> int:
        """Elements of all outputs of layers, in-place ones and views included."""
        return self.total.activations

    @property
    def bytes(self) -> Bytes:
        """Bytes of the parameters and of all activations (were each kept: not the peak of a run)."""
        return self.total.bytes

    @property
    def total(self) -> LayerProfile:
        """The sum of all rows."""
        return summed("total", self.model, self.rows)

    def by(self, depth: int = 1) -> Profile:
        """The sums below the module paths of `depth` parts: for 1 the network's children.

        >>> net = nn.Sequential(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 8)), nn.Linear(8, 2))
        >>> [(row.name, row.params) for row in profile(net, (4,)).by(1)]
        [('0', 112), ('1', 18)]
        """
        if not isinstance(depth, int) or isinstance(depth, bool) or depth < 1:
            raise ValueError(f"by(depth={depth!r}): must be an int of at least 1")
        groups: dict[str, list[LayerProfile]] = {}
        for row in self.rows:
            groups.setdefault(".".join(row.name.split(".")[:depth]), []).append(row)
        rows = (summed(path, self._kinds[path], group) for path, group in groups.items())
        return Profile(tuple(rows), self.model, self.input_shapes, self._kinds)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[LayerProfile]:
        return iter(self.rows)

    def __getitem__(self, key: int | str) -> LayerProfile:
        if not isinstance(key, str):
            return self.rows[key]
        if key not in self._kinds:
            raise ValueError(f"profile[{key!r}]: no module at that path; {nearest(key, filter(None, self._kinds))}")
        inside = (row for row in self.rows if not key or row.name == key or row.name.startswith(f"{key}."))
        return summed(key, self._kinds[key], inside)

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the share of the parameters and of the multiply-adds in each row, over depth.

        ``profile.by(1).plot()`` draws the same for the network's children.
        """
        rows, total = [row for row in self.rows if row.params or row.macs], self.total
        ax = ax or plots.figure(width=6.4)[1][0]
        for share, colour, label, side in (
            ([row.params / max(total.params, 1) for row in rows], plots.BLUE, "parameters", -0.2),
            ([row.macs / max(total.macs, 1) for row in rows], plots.ORANGE, "multiply-adds", 0.2),
        ):
            ax.bar([i + side for i in range(len(rows))], share, width=0.4, color=colour, label=label)
        if len(rows) <= 24:
            ax.set_xticks(range(len(rows)), [row.name or "(itself)" for row in rows], rotation=90)
        else:
            ax.set_xlabel("layers, in the order of execution")
        ax.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        ax.set_title(f"{self.model}: {brief(total.params)} parameters, {brief(total.macs)} MACs")
        ax.legend()
        return ax

    def _laid_out(self) -> plots.Table:
        frozen = self.trainable_params != self.params
        numbers = ["params", *(["trainable"] if frozen else []), "MACs", "activations", "bytes"]
        cells = []
        for row in (*self.rows, self.total):
            shape = "x".join(map(str, row.output_shape or ())) if row.ran else "not run"
            trainable = [row.trainable_params] if frozen else []
            counts = (row.params, *trainable, row.macs, row.activations, row.bytes.total)
            cells.append([row.name or "(itself)", row.kind, shape, *(f"{n:,}" for n in counts)])
        rule = RULE.format(
            input=", ".join("x".join(map(str, shape)) for shape in self.input_shapes),
            batch=next((shape[0] for shape in self.input_shapes if shape), 1),
        )
        return plots.Table(cells, ["name", "kind", "output", *numbers], left=2, rule=True, caption=rule)

    def __repr__(self) -> str:
        return repr(self._laid_out())

    def _repr_html_(self) -> str:
        return self._laid_out()._repr_html_()


def profile(model: nn.Module, input_size: InputSize, *, dtype_bytes: int | None = None) -> Profile:
    """Parameters, multiply-adds, activations and bytes of `model`, per layer and in total.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
    ...                     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    >>> cost = profile(net, (3, 32, 32))                # (N, 3, 32, 32) -> (N, 10), counted for N = 1
    >>> cost.params, cost.macs, cost.activations, cost.bytes.parameters
    (322, 221264, 24602, 1288)
    >>> cost.by(1)["0"].macs == 3 * 3 * 3 * 8 * 32 * 32
    True
    >>> cost
    name   kind                  output  params     MACs  activations   bytes
    -------------------------------------------------------------------------
    0      Conv2d             1x8x32x32     216  221,184        8,192  33,632
    1      BatchNorm2d        1x8x32x32      16        0        8,192  32,832
    2      ReLU               1x8x32x32       0        0        8,192  32,768
    3      AdaptiveAvgPool2d    1x8x1x1       0        0            8      32
    4      Flatten                  1x8       0        0            8      32
    5      Linear                  1x10      90       80           10     400
    total  Sequential              1x10     322  221,264       24,602  99,696
    MACs: multiply-adds of convolutions, linear layers and matrix products, input 1x3x32x32, batch 1;
    biases, normalisation, pooling and activation functions count nothing.

    Parameters
    ----------
    model : nn.Module
        It is only read: a copy runs in evaluation mode, on the meta device where possible (so a network built
        under ``torch.device("meta")`` will do).
    input_size : tuple of int, Tensor, or a tuple of those
        ``(C, H, W)`` or ``(N, C, H, W)``, of which one image is counted (``(H, W)`` alone where the first
        convolution tells the channels; ``(C, L)``, ``(C, D, H, W)``, or what your network takes, without the
        batch). One such tuple per input if there are several. An example tensor is counted as it is, with its
        batch; give one where inputs have a type of their own. A network that starts with an embedding gets
        indices.
    dtype_bytes : int, optional
        Bytes per number; default what each tensor has (4 for float32).

    Returns
    -------
    Profile

    Raises
    ------
    TypeError, ValueError
        If an argument is not accepted or the network cannot run on inputs of that size.

    Notes
    -----
    A multiply-add of a convolution (grouped, dilated and transposed ones included), a linear layer or a matrix
    product counts one, also when made by a function (`F.conv2d`, `torch.matmul`, attention, recurrent layers);
    padding counts as input. Biases, normalisation, pooling and activation functions count nothing. It is what
    He et al. 2016, table 1, call FLOPs. Activations and bytes count every output, in-place ones and views too.
    """
    check_model(model, "profile")
    if any(isinstance(p, nn.UninitializedParameter) for p in model.parameters()):
        raise ValueError("profile(model=…): it has lazy layers without a shape; run it once on a batch before")
    if dtype_bytes is not None and (
        not isinstance(dtype_bytes, int) or isinstance(dtype_bytes, bool) or dtype_bytes < 1
    ):
        raise ValueError(f"profile(dtype_bytes={dtype_bytes!r}): must be an int of at least 1, such as 2 or 4")
    given = examples(model, input_size, "profile")
    counted = count(model, given, f"profile(input_size={shown(input_size)})")
    shapes = tuple(tuple(one.shape) if isinstance(one, Tensor) else one for one in given)
    kinds = {path: kind_of(module) for path, module, _ in parts(model)}
    return Profile(tally(model, counted, dtype_bytes), type(model).__name__, shapes, kinds)
