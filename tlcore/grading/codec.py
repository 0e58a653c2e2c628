"""Values as data: JSON for the structure, raw bytes for arrays. Never pickle on the way out.

What may cross from the student's kernel to the judge is listed here, by exact type: numbers, text, bytes,
lists, tuples, dicts, sets, NumPy arrays and scalars, torch tensors. Everything else becomes a handle: a
number that stands for an object which stays where it is.
"""

from __future__ import annotations

import base64
import collections
import functools
import itertools
import json
import math
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

MAX_BYTES = 64 * 2**20
MAX_ITEMS = 1_000_000
MAX_DEPTH = 40
MAX_KEYS = 10_000  # keys other than text, whose hashes may be made to collide
_INLINE = 32 * 2**10
_KINDS = "?biufcSUmM"


class CodecError(Exception):
    """A message that is too large, too deep or malformed."""


class Encoder:
    """Turn a value into a JSON tree and a list of byte strings.

    `other` is called for an object that has no encoding here; it returns the JSON that stands for it.
    """

    def __init__(self, other: Callable[[Any, Encoder], Any]) -> None:
        self.blobs: list[bytes] = []
        self._other, self._items, self._bytes = other, 0, 0

    def __call__(self, value: Any, depth: int = 0) -> Any:
        self._items += 1
        if self._items > MAX_ITEMS or depth > MAX_DEPTH:
            raise CodecError(f"the value has more than {MAX_ITEMS} parts or {MAX_DEPTH} levels")
        kind, down = type(value), depth + 1
        if value is None or kind in (bool, int, float, str):
            return value
        if kind is list:
            return [self(v, down) for v in value]
        if kind is dict or kind in (collections.OrderedDict, collections.defaultdict, collections.Counter):
            return {"t": "dict", "v": [[self(k, down), self(v, down)] for k, v in dict.items(value)]}
        if kind is tuple or (kind.__module__ == "torch" and kind.__name__ == "Size"):
            return {"t": "tuple", "v": [self(v, down) for v in value]}
        if issubclass(kind, tuple) and hasattr(kind, "_fields"):
            fields = [str(f) for f in kind._fields]
            return {"t": "named", "n": kind.__name__, "f": fields, "v": [self(v, down) for v in value]}
        if kind in (set, frozenset):
            return {"t": kind.__name__, "v": [self(v, down) for v in value]}
        if kind is bytes:
            return {"t": "bytes", "b": self.blob(value)}
        if kind is complex:
            return {"t": "complex", "v": [value.real, value.imag]}
        return self._array(value) or self._other(value, self)

    def blob(self, data: bytes) -> int:
        """Keep `data` beside the tree; return its number."""
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise CodecError(f"the value is larger than {MAX_BYTES // 2**20} MB")
        self.blobs.append(data)
        return len(self.blobs) - 1

    def _array(self, value: Any) -> Any:
        numpy, torch, kind = sys.modules.get("numpy"), sys.modules.get("torch"), type(value)
        if numpy and (kind is numpy.ndarray or isinstance(value, numpy.generic)):
            if value.dtype.kind not in _KINDS or (kind is not numpy.ndarray and kind is not value.dtype.type):
                return None
            scalar = kind is not numpy.ndarray
            data = numpy.ascontiguousarray(value).tobytes()
            return {
                "t": "array",
                "d": value.dtype.str,
                "s": list(value.shape),
                "b": self.blob(data),
                "0": scalar,
            }
        if torch and kind in (torch.Tensor, torch.nn.Parameter):
            if value.layout is not torch.strided or value.is_quantized:
                return None
            data = (
                value.detach()
                .cpu()
                .resolve_conj()
                .resolve_neg()
                .contiguous()
                .reshape(-1)
                .view(torch.uint8)
                .numpy()
                .tobytes()
            )
            leaf = bool(value.is_leaf and value.requires_grad)
            name = str(value.dtype).removeprefix("torch.")
            return {"t": "tensor", "d": name, "s": list(value.shape), "b": self.blob(data), "g": leaf}
        if torch and kind is torch.dtype:
            return {"t": "dtype", "n": str(value).removeprefix("torch.")}
        return None


class Decoder:
    """Inverse of `Encoder`; `other` receives the JSON of anything it does not know."""

    def __init__(self, blobs: list[bytes], other: Callable[[dict[str, Any], Decoder], Any]) -> None:
        self.blobs, self._other = blobs, other
        self._items = self._keys = self._bytes = 0

    def __call__(self, tree: Any) -> Any:
        self._items += 1
        if self._items > MAX_ITEMS:
            raise CodecError(f"the value has more than {MAX_ITEMS} parts")
        if tree is None or type(tree) in (bool, int, float, str):
            return tree
        if type(tree) is list:
            return [self(v) for v in tree]
        tag = tree["t"]
        if tag == "dict":
            return {self._key(k): self(v) for k, v in tree["v"]}
        if tag == "tuple":
            return tuple(self(v) for v in tree["v"])
        if tag == "named":
            kind = _named(str(tree["n"])[:80], tuple(str(f) for f in tree["f"][:100]))
            return kind(*(self(v) for v in tree["v"]))
        if tag in ("set", "frozenset"):
            return (set if tag == "set" else frozenset)(self._key(v) for v in tree["v"])
        if tag == "bytes":
            return self._blob(tree)
        if tag == "complex":
            return complex(*tree["v"])
        if tag == "array":
            return self._array(tree)
        if tag == "tensor":
            return self._tensor(tree)
        if tag == "dtype":
            return _dtype(tree["n"])
        return self._other(tree, self)

    def _blob(self, tree: dict[str, Any]) -> bytes:
        """A byte string; one that is named many times counts many times."""
        data: bytes = self.blobs[tree["b"]]
        self._bytes += len(data)
        if self._bytes > MAX_BYTES:
            raise CodecError(f"the value is larger than {MAX_BYTES // 2**20} MB")
        return data

    def _key(self, tree: Any) -> Any:
        self._keys += type(tree) is not str
        if self._keys > MAX_KEYS:
            raise CodecError(f"the value has more than {MAX_KEYS} keys that are not text")
        return self(tree)

    def _array(self, tree: dict[str, Any]) -> Any:
        import numpy as np

        dtype = np.dtype(str(tree["d"]))
        if dtype.kind not in _KINDS:
            raise CodecError(f"an array of type {dtype} cannot be passed on")
        array = np.frombuffer(self._blob(tree), dtype).reshape(_shape(tree)).copy()
        return array[()] if tree["0"] else array

    def _tensor(self, tree: dict[str, Any]) -> Any:
        import torch

        data = bytearray(self._blob(tree))
        flat = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
        tensor = flat.view(_dtype(tree["d"])).reshape(_shape(tree))
        return tensor.requires_grad_(bool(tree["g"]))


@functools.lru_cache(maxsize=256)
def _named(name: str, fields: tuple[str, ...]) -> Any:
    return collections.namedtuple(name, fields, rename=True)  # type: ignore[misc]


def _shape(tree: dict[str, Any]) -> list[int]:
    """Shape of an array; one without elements may still be too large to be looked at."""
    shape = [int(n) for n in tree["s"]]
    if len(shape) > 32 or min(shape, default=0) < 0 or math.prod(max(n, 1) for n in shape) > MAX_BYTES:
        raise CodecError(f"an array of shape {str(shape)[:100]} cannot be passed on")
    return shape


def _read_plain_file(file: Path, size: int) -> bytes:
    """Read `file`; a link, a pipe or a file of another size is refused without being opened for long."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    with open(os.open(file, flags), "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != size:
            raise CodecError("the message announces data that was not written")
        return stream.read(size)


def _dtype(name: str) -> Any:
    import torch

    found = getattr(torch, str(name), None)
    if type(found) is not torch.dtype:
        raise CodecError(f"unknown tensor type {name!r}")
    return found


def pack(message: dict[str, Any], blobs: list[bytes], file: Path) -> str:
    """Write a message as one line of text; large blobs go to `file`."""
    sizes = [len(b) for b in blobs]
    if sum(sizes) <= _INLINE:
        message = message | {"inline": [base64.b64encode(b).decode() for b in blobs]}
    else:
        file.write_bytes(b"".join(blobs))
        message = message | {"sizes": sizes}
    return json.dumps(message)


def unpack(text: str, file: Path) -> tuple[dict[str, Any], list[bytes]]:
    """Inverse of `pack`. Raises `CodecError` for anything that `pack` would not have written."""
    if len(text) > MAX_BYTES:
        raise CodecError(f"the message is longer than {MAX_BYTES // 2**20} MB")
    try:
        message = json.loads(text)
        if "sizes" not in message:
            return message, [base64.b64decode(b) for b in message.get("inline", [])]
        sizes = [int(n) for n in message["sizes"]]
        if min(sizes) < 0 or sum(sizes) > MAX_BYTES:
            raise CodecError(f"the value is larger than {MAX_BYTES // 2**20} MB")
        data = _read_plain_file(file, sum(sizes))
        ends = list(itertools.accumulate(sizes, initial=0))
        return message, [data[a:b] for a, b in itertools.pairwise(ends)]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OSError) as error:
        raise CodecError(f"a malformed message: {error}") from error
