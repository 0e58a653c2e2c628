"""AWD-LSTM and its softmax against torch's own; each dropout drops what its name says."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tlcore.text.awd_lstm import AWDLSTM, NONE, Dropouts, LockedDropout, WeightDropLSTM, detached, slowness
from tlcore.text.softmax import linear_cross_entropy


class Plain(nn.Module):
    """The same model of torch's own parts."""

    def __init__(self, net: AWDLSTM):
        super().__init__()
        sizes = net.sizes
        widths = [sizes["embedding"], *[sizes["hidden"]] * (sizes["layers"] - 1), sizes["embedding"]]
        self.embedding = nn.Embedding(sizes["vocabulary"], sizes["embedding"])
        self.lstms = nn.ModuleList(nn.LSTM(a, b) for a, b in itertools.pairwise(widths))
        self.out = nn.Linear(sizes["embedding"], sizes["vocabulary"])
        self.embedding.load_state_dict(net.embedding.state_dict())
        self.lstms.load_state_dict(net.lstms.state_dict())
        self.out.weight, self.out.bias = self.embedding.weight, net.bias

    def forward(self, x, states=None):
        h, after = self.embedding(x), []
        for n, lstm in enumerate(self.lstms):
            h, state = lstm(h, states[n] if states else None)
            after.append(state)
        return self.out(h), after


@pytest.mark.parametrize("training", [True, False])
def test_without_dropout_it_is_torchs_lstm(training):
    torch.manual_seed(0)
    net = AWDLSTM(50, 12, 20, 3, NONE).train(training)
    plain = Plain(net)
    x, y = torch.randint(50, (15, 4)), torch.randint(50, (15, 4))
    state = others = None
    for _ in range(3):  # the state goes on
        encoded = net.encode(x, state)
        scores, others = plain(x, others)
        torch.testing.assert_close(net.logits(encoded.out), scores, atol=1e-5, rtol=0)
        state = detached(encoded.state)
        others = [(h.detach(), c.detach()) for h, c in others]
    mine = linear_cross_entropy(encoded.out.flatten(0, 1), net.embedding.weight, net.bias, y.flatten())
    theirs = F.cross_entropy(scores.flatten(0, 1), y.flatten())
    got = torch.autograd.grad(mine, [net.embedding.weight, *net.lstms.parameters()])
    wanted = torch.autograd.grad(theirs, [plain.embedding.weight, *plain.lstms.parameters()])
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_dropped_weights_are_what_the_fused_kernel_gets():
    layer, x = WeightDropLSTM(5, 7, weight_drop=0.5), torch.randn(6, 3, 5)
    torch.manual_seed(4)
    out, (h, _) = layer(x)
    torch.manual_seed(4)
    dropped = F.dropout(layer.weight_hh_l0, 0.5)
    plain = nn.LSTM(5, 7)
    plain.load_state_dict(layer.state_dict() | {"weight_hh_l0": dropped.detach()})
    wanted, (last, _) = plain(x)
    torch.testing.assert_close(out, wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(h, last, atol=1e-6, rtol=0)
    out.sum().backward()
    gone = dropped == 0
    assert gone.any() and layer.weight_hh_l0.grad[gone].abs().max() == 0 < layer.weight_hh_l0.grad.abs().max()


def test_locked_dropout_is_the_same_at_every_step():
    out = LockedDropout(0.4).train()(torch.ones(9, 200, 20))
    assert torch.equal(out, out[:1].expand_as(out)) and not torch.equal(out[0, 0], out[0, 1])
    assert abs(float((out == 0).float().mean()) - 0.4) < 0.02 and float(out.max()) == pytest.approx(1 / 0.6)


def test_embedding_dropout_drops_whole_words_everywhere():
    net = AWDLSTM(1000, 6, 8, 1, Dropouts(0, 0, 0, 0.3, 0)).train()
    embedded = net._embedded(torch.arange(1000).repeat(2, 3).T)  # each word six times
    gone = (embedded == 0).all(-1).view(3, 1000, 2)
    assert torch.equal(gone, gone[:1, :, :1].expand_as(gone)) and abs(float(gone.float().mean()) - 0.3) < 0.05
    wanted = net.embedding.weight.expand(3, 1000, 6)[~gone[..., 0]] / 0.7
    torch.testing.assert_close(embedded.view(3, 1000, 2, 6)[:, :, 0][~gone[..., 0]], wanted)


def test_evaluation_drops_nothing():
    net, x = AWDLSTM(20, 6, 8, 2, 2 * Dropouts()).eval(), torch.randint(20, (5, 2))
    assert torch.equal(net(x), net(x)) and not torch.equal(net.train()(x), net(x))


def test_slowness_is_its_formula():
    net = AWDLSTM(20, 6, 8, 2)
    encoded = net.encode(torch.randint(20, (5, 2)))
    wanted = 2 * (encoded.out**2).mean() + ((encoded.raw[1:] - encoded.raw[:-1]) ** 2).mean()
    assert slowness(encoded, 2, 1).item() == pytest.approx(wanted.item())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 700), st.integers(1, 30), st.integers(0, 99), st.floats(0.1, 3))
def test_softmax_in_pieces(rows, classes, seed, scale):
    torch.manual_seed(seed)
    h, weight, bias = (torch.randn(size, dtype=torch.float64) for size in ((rows, 5), (classes, 5), (classes,)))
    y = torch.randint(classes, (rows,))
    y[torch.rand(rows) < 0.3] = -100
    y[0] = 0
    leaves = [t.clone().requires_grad_() for t in (h, weight, bias)]
    others = [t.clone().requires_grad_() for t in (h, weight, bias)]
    mine = linear_cross_entropy(*leaves, y)
    theirs = F.cross_entropy(F.linear(*others), y)
    torch.testing.assert_close(mine.double(), theirs, atol=1e-5, rtol=1e-5)
    (scale * mine).backward()
    (scale * theirs).backward()
    for a, b in zip(leaves, others):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-5, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(linear_cross_entropy(h, weight, bias, y), mine.detach(), check_dtype=False)


def test_rates_out_of_range():
    with pytest.raises(ValueError, match=r"Dropouts\(weight=1.0\): from 0 to below 1"):
        Dropouts(weight=1.0)
    with pytest.raises(ValueError, match=r"AWDLSTM\(layers=0\)"):
        AWDLSTM(10, layers=0)
