"""Exported files give the outputs of the network, at any batch size or at the one they were made for."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from tlcore import compress

X = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def net() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 16))  # in training mode


@pytest.mark.parametrize("suffix", ["pt2", "onnx"])
def test_a_file_computes_what_the_network_computes(tmp_path, suffix):
    if suffix == "onnx":
        pytest.importorskip("onnxruntime")
    model = net()
    small = compress.tensor_train(compress.svd(model, rank=4, layers=["0"]), rank=3, layers=["6"])
    file = compress.export(small, tmp_path / f"net.{suffix}", X)
    assert small.training  # only meanwhile in evaluation mode
    small.eval()
    for rows in (1, 3, 5):
        torch.testing.assert_close(file(X[:rows]), small(X[:rows]), atol=1e-5, rtol=1e-4)
    assert file.bytes == (tmp_path / f"net.{suffix}").stat().st_size
    torch.testing.assert_close(compress.load(file.path)(X), small(X), atol=1e-5, rtol=1e-4)


@pytest.mark.slow
def test_16_bits_in_onnx(tmp_path):
    pytest.importorskip("onnxruntime")
    model = net().eval()
    file = compress.export(compress.half(model, compute="half"), tmp_path / "net.onnx", X)
    torch.testing.assert_close(file(X), model(X), atol=1e-2, rtol=1e-2)


def test_a_file_for_a_phone_takes_one_image(tmp_path):
    file = compress.export(net(), tmp_path / "net.pt2", X, batch=1)
    assert file(X[:1]).shape == (1, 16)
    with pytest.raises(ValueError, match="batches of 1; one of 5 was given"):
        file(X)


def test_what_is_missing_or_wrong_is_said(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"ends in .pt2 or .onnx"):
        compress.export(net(), tmp_path / "net.tflite", X)
    with pytest.raises(TypeError, match="at least one row"):
        compress.export(net(), tmp_path / "net.pt2", X[:0])
    with pytest.raises(ValueError, match="cannot be exported"):
        compress.export(nn.Sequential(Odd()), tmp_path / "net.pt2", X)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"needs onnxruntime: pip install 'tlcore\[export\]'"):
        compress.export(net(), tmp_path / "net.onnx", X)


class Odd(nn.Module):
    def forward(self, x):
        return x if x.sum().item() > 0 else -x


@pytest.mark.parametrize("format", ["torch", "onnx"])
def test_the_format_counts_and_not_the_suffix(tmp_path, format):
    net, x = nn.Sequential(nn.Linear(3, 2)).eval(), torch.rand(4, 3)
    file = compress.export(net, tmp_path / "model.bin", x, format=format)
    assert file.format == format and torch.allclose(file(x), net(x), atol=1e-5)
