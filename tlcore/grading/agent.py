"""The student's side of the judge: runs in their kernel, does what it is asked, answers with plain data.

Nothing here is trusted. The judge sends one request at a time; each names an operation on an object that
lives here, and the reply is a value, a handle or the exception that was raised.
"""

from __future__ import annotations

import importlib
import itertools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tlcore.grading import codec
from tlcore.grading.checks import student_frames
from tlcore.grading.context import quiet, seeded

_objects: dict[int, Any] = {}
_numbers = itertools.count()


def serve(request: str, inbox: str, outbox: str, namespace: dict[str, Any]) -> str:
    """Answer one request of the judge (see `tlcore.grading.judge`); large values lie in two folders."""
    message, blobs = codec.unpack(request, Path(inbox) / "request")
    encoder = codec.Encoder(_handle)
    decode = codec.Decoder(blobs, _own)
    try:
        with quiet(), seeded(message.get("seed", 0)):
            answer = _OPERATIONS[message["op"]](decode, message, namespace)
            reply = {"ok": encoder(answer)}
    except BaseException as error:  # whatever the student's code raises is an answer
        encoder = codec.Encoder(_handle)
        reply = {"error": _describe(error)}
    return _Line(codec.pack(reply, encoder.blobs, Path(outbox) / "reply"))


class _Line(str):
    """Text whose ``repr`` is the text itself, so that it leaves the kernel unquoted."""

    __repr__ = str.__str__


def _handle(value: Any, encode: codec.Encoder) -> Any:
    number = next(_numbers)
    _objects[number] = value
    return {"t": "handle", "i": number, "n": type(value).__name__}


def _own(tree: dict[str, Any], decode: codec.Decoder) -> Any:
    if tree["t"] == "handle":
        return _objects[tree["i"]]
    return pickle.loads(decode.blobs[tree["b"]])  # written by the judge, which we may trust


def _describe(error: BaseException) -> dict[str, Any]:
    kinds = [k.__name__ for k in type(error).__mro__ if k.__module__ == "builtins"]
    text = str(error.args[0] if len(error.args) == 1 else error)
    return {"kinds": kinds, "name": type(error).__name__, "text": text[:1000], "trace": student_frames(error)}


def _get(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    return {name: namespace[name] for name in message["names"] if name in namespace}


def _call(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    fn, args, kwargs = decode(message["args"])
    return fn(*args, **kwargs)


def _attribute(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    return getattr(*decode(message["args"]))


def _item(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    value, key = decode(message["args"])
    return value[key]


def _length(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    return len(decode(message["args"])[0])


def _iterate(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    return _Opaque(iter(decode(message["args"])[0]))


def _next(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    iterator, count = decode(message["args"])
    return list(itertools.islice(iterator.value, count))


def _remote(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> Any:
    args, kwargs = decode(message["args"])
    return _function(message)(*args, **kwargs)


def _function(message: dict[str, Any]) -> Callable[..., Any]:
    if "source" in message:
        scope: dict[str, Any] = {"__name__": "tlcore_remote"}
        exec(compile(message["source"], "<remote>", "exec"), scope)
        fn: Callable[..., Any] = scope[message["name"]]
        return fn
    found: Any = importlib.import_module(message["module"])
    for part in message["name"].split("."):
        found = getattr(found, part)
    imported: Callable[..., Any] = found
    return imported


def _forget(decode: codec.Decoder, message: dict[str, Any], namespace: dict[str, Any]) -> None:
    _objects.clear()


class _Opaque:
    """Keeps an iterator from being taken for data."""

    def __init__(self, value: Any) -> None:
        self.value = value


_OPERATIONS: dict[str, Callable[[codec.Decoder, dict[str, Any], dict[str, Any]], Any]] = {
    "get": _get,
    "call": _call,
    "attribute": _attribute,
    "item": _item,
    "length": _length,
    "iterate": _iterate,
    "next": _next,
    "remote": _remote,
    "forget": _forget,
}
