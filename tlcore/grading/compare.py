"""Strict comparison of an answer with what was expected, with a sentence that says what differs.

Types are looked up by identity (``type(v) in …``), never by ``isinstance`` and never by asking the value,
so an object whose ``__eq__`` is always true, or an ``int`` subclass that lies, compares equal to nothing.
"""

from __future__ import annotations

import math
import sys
from typing import Any

_MOST_ITEMS = 10_000_000
_ATOMS = (int, float, str, bool, complex, bytes, type(None))


class Mismatch(AssertionError):
    """The answer differs from what was expected; `mistake` names a known misconception that explains it."""

    def __init__(self, message: str, mistake: str = "") -> None:
        super().__init__(message)
        self.mistake = mistake


def plain(value: Any) -> Any:
    """Reduce numbers, sequences, arrays and tensors to exact built-in types.

    >>> import numpy as np
    >>> plain((np.int64(3), [np.float32(0.5)]))
    [3, [0.5]]
    """
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind in (list, tuple) or _is(value, "torch", "Size"):
        return [plain(v) for v in value]
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return [plain(v) for v in tuple.__iter__(value)]
    if kind in (set, frozenset):
        return {plain(v) for v in value}
    if kind is dict or (kind.__module__ == "collections" and kind.__name__ == "OrderedDict"):
        return {plain(k): plain(v) for k, v in value.items()}
    if _is_array(value):
        if math.prod(max(n, 1) for n in value.shape) > _MOST_ITEMS:
            raise Mismatch(f"an array of shape {tuple(value.shape)} is too large to be compared item by item")
        return _numpy(value).tolist()
    if kind.__module__ == "numpy" and hasattr(kind, "item") and kind is sys.modules["numpy"].dtype(kind).type:
        return value.item()
    raise Mismatch(f"expected plain values, got an object of type {kind.__name__!r}")


def equal(got: Any, want: Any) -> None:
    """Raise `Mismatch` unless both are the same value: numbers as numbers, sequences item by item.

    >>> equal((3, 4), [3, 4])
    >>> equal(3, "3")
    Traceback (most recent call last):
    ...
    tlcore.grading.compare.Mismatch: got 3, expected '3'
    """
    if _is_array(got) and _is_array(want) and tuple(got.shape) != tuple(want.shape):
        raise Mismatch(f"got shape {tuple(got.shape)}, expected shape {tuple(want.shape)}")
    mine, theirs = plain(got), plain(want)
    if not _same(mine, theirs):
        raise Mismatch(f"got {_short(got)}, expected {_short(want)}")


def close(got: Any, want: Any, rtol: float, atol: float) -> None:
    """Raise `Mismatch` unless shapes agree and every number is within ``atol + rtol * |want|``.

    >>> close([1.0, 2.0], [1.0, 2.0 + 1e-9], rtol=1e-5, atol=1e-8)
    """
    import numpy as np

    try:
        mine = np.asarray(_numpy(got) if _is_array(got) else plain(got), dtype=np.complex128)
    except (TypeError, ValueError) as error:
        raise Mismatch(f"expected numbers, got {_short(got)}") from error
    theirs = np.asarray(_numpy(want) if _is_array(want) else plain(want), dtype=np.complex128)
    if mine.shape != theirs.shape:
        raise Mismatch(f"got shape {mine.shape}, expected shape {theirs.shape}")
    bad = ~np.isclose(mine, theirs, rtol=rtol, atol=atol, equal_nan=True)
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        place = f" at {list(where)}" if where else ""
        raise Mismatch(f"got {_number(mine[where])}, expected {_number(theirs[where])}{place}")


def _same(a: Any, b: Any) -> bool:
    if type(a) is list and type(b) is list:
        return len(a) == len(b) and all(map(_same, a, b))
    if type(a) is dict and type(b) is dict:
        return a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    if type(a) in (int, float, complex) and type(b) in (int, float, complex):
        both_nan = type(a) is float and type(b) is float and math.isnan(a) and math.isnan(b)
        return both_nan or a == b
    return type(a) is type(b) and bool(a == b)


def _is(value: Any, module: str, name: str) -> bool:
    found = sys.modules.get(module)
    return found is not None and type(value) is getattr(found, name)


def _is_array(value: Any) -> bool:
    if _is(value, "numpy", "ndarray"):
        return True
    torch = sys.modules.get("torch")
    return torch is not None and type(value) in (torch.Tensor, torch.nn.Parameter)


def _numpy(value: Any) -> Any:
    if _is(value, "numpy", "ndarray"):
        return value
    tensor = value.detach().cpu()
    torch = sys.modules["torch"]
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def _number(value: complex) -> str:
    return f"{value.real:.6g}" if value.imag == 0 else f"{value:.6g}"


def _short(value: Any, width: int = 120) -> str:
    text = repr(value)
    return text if len(text) <= width else text[: width - 1] + "…"
