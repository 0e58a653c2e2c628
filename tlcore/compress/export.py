"""Networks as files that run without this package: on a phone, on a server, without Python.

`torch.export` writes the whole computation into a .pt2 file that any torch of the same generation reads (and that
ExecuTorch lowers for phones); ONNX is read by onnxruntime, on telephones and servers alike.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from tlcore.anatomy.layers import check_model
from tlcore.compress.half import Half
from tlcore.compress.measure import Difference, difference, evaluated

Format = Literal["torch", "onnx"]
SUFFIXES: dict[Format, str] = {"torch": ".pt2", "onnx": ".onnx"}


@dataclass
class Exported:
    """A network in a file; call it with a batch as the network itself. `compress.report` measures it beside others.

    Attributes
    ----------
    path, format
        The file, and "torch" or "onnx".
    batch
        The batch size it is made for; None for any.
    difference
        Its outputs beside those of the network it was made from.
    """

    path: Path
    format: Format
    batch: int | None
    difference: Difference
    _run: Callable[[torch.Tensor], Any] = field(repr=False, compare=False)

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    def __call__(self, x: torch.Tensor) -> Any:
        """Run the file on a batch (N, ...)."""
        if self.batch is not None and len(x) != self.batch:
            raise ValueError(f"{self.path.name} was exported for batches of {self.batch}; one of {len(x)} was given")
        return self._run(x)


def export(
    model: nn.Module,
    path: str | Path,
    inputs: torch.Tensor,
    *,
    format: Format | None = None,
    batch: int | None = None,
    tolerance: float = 1e-3,
) -> Exported:
    """Write `model` to a file, read it back, and compare its outputs to those of the model.

    Examples
    --------
    >>> import tempfile
    >>> net, x = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), torch.rand(16, 4)
    >>> file = export(net, f"{tempfile.mkdtemp()}/net.pt2", x)
    >>> file(x[:1]).shape, file.difference.relative < 1e-5      # (N, 4) -> (N, 3)
    (torch.Size([1, 3]), True)

    Parameters
    ----------
    model
        Any network of one input.
    path
        Of the file; its suffix, .pt2 or .onnx, tells the format where `format` does not.
    inputs
        Example inputs (N, ...), on which outputs are compared.
    format
        "torch" or "onnx". The second needs ``pip install 'tlcore[export]'``.
    batch
        The batch size that the file accepts, such as 1 for a phone; None for any, as a server needs.
    tolerance
        Largest accepted relative difference of the outputs.

    Raises
    ------
    TypeError, ValueError
        For no network, another format, a network that cannot be exported, or a file whose outputs differ.
    ImportError
        If the format needs a package that is missing; the sentence says which extra.
    """
    check_model(model, "export")
    path = Path(path)
    kind = _kind(path, format)
    if kind not in SUFFIXES:
        given = f"format={format!r}" if format else f"path={path.name!r}"
        raise ValueError(
            f"export({given}): format='torch' or 'onnx', or a path that ends in .pt2 or .onnx, is accepted"
        )
    if not isinstance(inputs, torch.Tensor) or not inputs.ndim or not len(inputs):
        raise TypeError(f"export(inputs={type(inputs).__name__}): a tensor (N, ...) with at least one row is accepted")
    if batch is not None and (type(batch) is not int or batch < 1):
        raise ValueError(f"export(batch={batch!r}): a whole number from 1 on, or None for any, is accepted")
    if kind == "onnx":
        _need("onnx", "onnxscript", "onnxruntime")
    # torch takes a batch of 1 for a size that never changes
    rows = batch or max(2, len(inputs))
    example = inputs[torch.arange(rows, device=inputs.device) % len(inputs)]
    with evaluated(model), torch.no_grad(), _quiet():
        try:
            program = _program(model, example, batch)
            if kind == "torch":
                torch.export.save(program, path)
            else:
                # The optimiser folds a float32 batch normalisation into a 16-bit convolution and so mixes their types.
                plain = not any(isinstance(module, Half) for module in model.modules())
                torch.onnx.export(program, (example,), path, external_data=False, verbose=False, optimize=plain)
            run = load(path, format=kind)
        except Exception as error:  # whatever the user's layers meet there
            text = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(f"export({path.name}): this {type(model).__name__} cannot be exported: {text}") from error
        seen = difference(model, run, example)
    if seen.relative > tolerance:
        raise ValueError(
            f"export({path.name}): its outputs differ from the model's by {seen.relative:.2g} of their size, more than "
            f"tolerance={tolerance:g}"
        )
    return Exported(path, kind, batch, seen, run)


def _kind(path: Path, format: Format | None) -> Format | None:
    """The format that was named, or else the one that the suffix tells."""
    return format or next((name for name, suffix in SUFFIXES.items() if suffix == path.suffix), None)


def load(path: str | Path, *, format: Format | None = None) -> Callable[[torch.Tensor], Any]:
    """What an exported file computes, as a function of a batch (N, ...).

    Parameters
    ----------
    format
        "torch" or "onnx"; default what the suffix says.

    Raises
    ------
    ValueError, ImportError
        For another kind of file, or if onnxruntime is missing.
    """
    path = Path(path)
    kind = _kind(path, format)
    if kind == "torch":
        module = torch.export.load(path).module()
        return lambda x: module(x)
    if kind != "onnx":
        raise ValueError(
            f"load({path.name!r}, format={format!r}): files that end in .pt2 or .onnx are accepted, or others with "
            "format='torch' or 'onnx'"
        )
    (runtime,) = _need("onnxruntime")
    has = runtime.get_available_providers()
    wanted = [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in has]
    session = runtime.InferenceSession(str(path), providers=wanted)
    name = session.get_inputs()[0].name

    def run(x: torch.Tensor) -> Any:
        found = [torch.from_numpy(out) for out in session.run(None, {name: x.detach().cpu().numpy()})]
        return found[0] if len(found) == 1 else tuple(found)

    return run


class _OneInput(nn.Module):
    """Takes one argument of a name, whatever the network's own forward is called with."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input: torch.Tensor) -> Any:
        return self.model(input)


def _program(model: nn.Module, example: torch.Tensor, batch: int | None) -> Any:
    shapes = ({0: torch.export.Dim("batch")},) if batch is None else None
    return torch.export.export(_OneInput(model).train(model.training), (example,), dynamic_shapes=shapes)


def _need(*names: str) -> list[Any]:
    missing, found = [], []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except ImportError:
            missing.append(name)
    if missing:
        raise ImportError(f"export(format='onnx') needs {', '.join(missing)}: pip install 'tlcore[export]'")
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Exporters tell of every pass over the graph."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
