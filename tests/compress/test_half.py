"""16 and 8 bits: against torch's own casts, and what must not be lost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tlcore import compress
from tlcore.compress.measure import stored


def net() -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(*body, nn.Linear(8, 4)).eval()


X = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "dtype", "far"), [("float16", torch.float16, 2e-3), ("bfloat16", torch.bfloat16, 2e-2)]
)
def test_weights_are_rounded_and_both_ways_of_computing_agree_with_the_original(name, dtype, far):
    whole = net()
    stored_only = compress.half(whole, dtype=name, compute="float32")
    for mine, other in zip(stored_only.model.parameters(), whole.parameters()):
        assert torch.equal(mine.float(), other if mine.dtype == torch.float32 else other.to(dtype).float())
    rounded = net()
    for module in (rounded[0], rounded[5]):
        for p in module.parameters():
            p.data = p.data.to(dtype).float()
    torch.testing.assert_close(stored_only(X), rounded(X))  # widened weights compute what rounded ones do
    for compute in ("float32", "half", "auto"):
        small = compress.half(whole, dtype=dtype, compute=compute)
        assert compress.difference(whole, small, X).relative < far
        assert small(X).dtype == torch.float32


def test_statistics_beyond_float16_survive():
    whole = net()
    whole[1].running_var.fill_(1e6)
    whole[1].running_mean.fill_(1e5)
    small = compress.half(whole)
    assert torch.equal(small.model[1].running_var, whole[1].running_var)
    assert small(X).isfinite().all()
    whole[5].weight.data[0, 0] = 1e5
    with pytest.raises(ValueError, match=r"5.weight holds 1e\+05.*bfloat16"):
        compress.half(whole)
    assert compress.half(whole, dtype="bfloat16").model[5].weight.isfinite().all()


def test_other_inputs_and_outputs_pass_through():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.fc = nn.Embedding(10, 4), nn.Linear(4, 2)

        def forward(self, words, *, scale):
            out = self.fc(self.table(words) * scale)
            return {"logits": out, "words": words}

    small = compress.half(Two(), compute="half")
    words = torch.arange(3)
    out = small(words, scale=torch.ones(1))
    assert out["logits"].dtype == torch.float32 and out["words"] is words


@pytest.mark.filterwarnings("ignore:torch.quantize_per")
def test_eight_bits_hold_a_quarter_and_classify_alike():
    whole = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 8))
    x = torch.randn(32, 64)
    for small in (compress.int8(whole), compress.int8(whole, data=x)):
        assert compress.parameters(small) == compress.parameters(whole)
        assert compress.macs(small, x) == compress.macs(whole, x)
        assert compress.saved_bytes(small) < 0.4 * compress.saved_bytes(whole)
        assert compress.difference(whole, small, x).relative < 0.05
        kept = {name: t for name, t in stored(small).items() if t.dtype == torch.int8}
        assert sum(t.numel() for t in kept.values()) == 64 * 256 + 256 * 8
    lstm = nn.LSTM(8, 16)
    assert compress.saved_bytes(compress.int8(lstm)) < 0.6 * compress.saved_bytes(lstm)


def test_eight_bit_layers_left_alone_are_named():
    with pytest.warns(UserWarning, match=r"left alone in float32: '0' \(Conv2d\)"):
        compress.int8(net())
    with pytest.raises(ValueError, match="no dense or recurrent layer"):
        compress.int8(nn.Sequential(nn.Conv2d(3, 3, 3)))
    with pytest.raises(TypeError, match="at least one input"):
        compress.int8(net(), data=X[:0])


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match="accepted are float16, bfloat16"):
        compress.half(net(), dtype="float8")
    with pytest.raises(ValueError, match="auto, half, float32"):
        compress.half(net(), compute="fast")
    with pytest.raises(TypeError, match="16 bits already"):
        compress.half(compress.half(net()))


def test_layers_without_an_8_bit_form_are_named():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.lstm, self.last = nn.Linear(3, 8), nn.LSTM(8, 16, batch_first=True), nn.Linear(16, 2)

        def forward(self, x):
            return self.last(self.lstm(self.first(x))[0][:, -1])

    with pytest.warns(UserWarning, match=r"left alone in float32: 'lstm' \(LSTM\)"):
        compress.int8(Reader(), data=torch.rand(16, 5, 3))
