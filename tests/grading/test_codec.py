"""What crosses the boundary arrives as it was sent; what is malformed is refused."""

from __future__ import annotations

import os
import time
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcore.grading import codec, compare

atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
keys = st.text() | st.integers() | st.tuples(st.integers(), st.text())
values = st.recursive(
    atoms | hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, max_dims=3)),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def refuse(value, encode):
    raise TypeError(type(value))


def there_and_back(value, folder: Path):
    encoder = codec.Encoder(refuse)
    text = codec.pack({"ok": encoder(value)}, encoder.blobs, folder / "x")
    message, blobs = codec.unpack(text, folder / "x")
    return codec.Decoder(blobs, refuse)(message["ok"])


def same(a, b) -> bool:
    if type(a) is not type(b):
        return False
    if type(a) is np.ndarray:
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    if type(a) in (list, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if type(a) is dict:
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    return repr(a) == repr(b)


@settings(max_examples=200, deadline=None)
@given(values)
def test_plain_data_survives(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("codec")
    assert same(there_and_back(value, folder), value)


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool, torch.complex64]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (2, 0, 4), (64, 1000)])
def test_tensors_survive(tmp_path, dtype, shape):
    tensor = (torch.rand(shape) * 5).to(dtype)
    back = there_and_back(tensor, tmp_path)
    assert back.dtype == dtype and back.shape == tensor.shape and torch.equal(back, tensor)


def test_a_parameter_keeps_requires_grad_and_a_result_does_not(tmp_path):
    layer = torch.nn.Linear(2, 2)
    assert there_and_back(layer.weight, tmp_path).requires_grad
    assert not there_and_back(layer(torch.ones(1, 2)), tmp_path).requires_grad


def test_numpy_scalars_keep_their_type(tmp_path):
    for value in (np.float64(1.5), np.int32(7), np.bool_(True), np.str_("a")):
        back = there_and_back(value, tmp_path)
        assert type(back) is type(value) and back == value


class Liar(int):
    def __eq__(self, other):
        return True

    __hash__ = int.__hash__


def test_subclasses_that_could_lie_do_not_cross(tmp_path):
    for liar in (Liar(3), type("S", (str,), {})("x"), type("L", (list,), {})()):
        with pytest.raises(TypeError):
            there_and_back(liar, tmp_path)
        with pytest.raises(compare.Mismatch):
            compare.equal(liar, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "3",
        "[]",
        "{",
        '{"sizes": [9]}',
        '{"sizes": [-1]}',
        '{"sizes": [99999999999]}',
        '{"inline": 3}',
        "[" * 99999,
    ],
)
def test_malformed_messages_are_refused(tmp_path, text):
    with pytest.raises(codec.CodecError):
        codec.unpack(text, tmp_path / "x")


def test_a_link_or_a_pipe_in_place_of_the_data_is_refused(tmp_path):
    (tmp_path / "secret").write_bytes(b"123456789")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(codec.CodecError):
            codec.unpack('{"ok": 1, "sizes": [9]}', tmp_path / name)


def test_what_is_too_large_or_too_deep_is_refused():
    deep: list = []
    for _ in range(100):
        deep = [deep]
    for value in (deep, [0] * (codec.MAX_ITEMS + 1), bytes(codec.MAX_BYTES + 1)):
        with pytest.raises(codec.CodecError):
            codec.Encoder(refuse)(value)


BOMBS = {
    "rows without elements": {"t": "array", "d": "<f8", "s": [10**9, 0], "b": 0, "0": False},
    "a tensor without elements": {"t": "tensor", "d": "float32", "s": [0, 10**9], "b": 0, "g": False},
    "negative shapes": {"t": "array", "d": "<f8", "s": [-1], "b": 0, "0": False},
    "colliding keys": {"t": "set", "v": [n * (2**61 - 1) for n in range(300_000)]},
    "colliding entries": {"t": "dict", "v": [[n * (2**61 - 1), 0] for n in range(300_000)]},
    "empty tuples": [{"t": "tuple", "v": []}] * (codec.MAX_ITEMS + 1),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_replies_that_would_keep_the_judge_busy_are_refused(bomb):
    start = time.monotonic()
    with pytest.raises(codec.CodecError):
        codec.Decoder([b""], refuse)(BOMBS[bomb])
    assert time.monotonic() - start < 10


def test_words_may_be_many():
    words = {f"word{n}": n for n in range(3 * codec.MAX_KEYS)}
    encoder = codec.Encoder(refuse)
    assert codec.Decoder([], refuse)(encoder(words)) == words


def test_large_arrays_are_compared_without_lists():
    big = np.zeros((4000, 4000), dtype=np.float32)
    compare.close(big, big + 1e-9, 1e-5, 1e-6)
    with pytest.raises(compare.Mismatch, match="too large to be compared item by item"):
        compare.equal(big, big)
    with pytest.raises(compare.Mismatch, match=r"got shape \(2,\), expected shape \(3,\)"):
        compare.equal(np.zeros(2), np.zeros(3))
