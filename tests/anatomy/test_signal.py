"""Signals against autograd by hand and closed forms; the model as it was; training undisturbed."""

from __future__ import annotations

import copy
import gc
import math
import random
import weakref
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from tlcore import anatomy

mpl.use("Agg")


def rms(tensor: torch.Tensor) -> float:
    return float(tensor.detach().double().square().mean().sqrt())


def by_hand(layers: list[nn.Module], x: torch.Tensor, loss: Callable[[torch.Tensor], torch.Tensor]) -> list[tuple]:
    """The oracle: keep every output, ask autograd for each gradient. Nothing may work in place."""
    outputs = [layers[0](x)]
    for layer in layers[1:]:
        outputs.append(layer(outputs[-1]))
    weights = [p for layer in layers for p in layer.parameters()]
    gradients = iter(torch.autograd.grad(loss(outputs[-1]), [*outputs, *weights]))
    sizes = [rms(next(gradients)) for _ in outputs]
    rows = []
    for layer, y, size in zip(layers, outputs, sizes, strict=True):
        own = [next(gradients).flatten() for _ in layer.parameters()]
        rows.append((rms(y), size, rms(torch.cat(own)) if own else None, float((y == 0).double().mean())))
    return rows


def square(y: torch.Tensor) -> torch.Tensor:
    return y.square().mean()


def close(rows: Any, expected: list[tuple]) -> None:
    assert len(rows) == len(expected)
    for row, want in zip(rows, expected, strict=True):
        for mine, theirs in zip(row[2:], want, strict=True):
            assert (mine is None) == (theirs is None)
            assert mine is None or mine == pytest.approx(theirs, rel=1e-5, abs=1e-12), row


@st.composite
def chain(draw: st.DrawFn) -> tuple[list[nn.Module], list[nn.Module]]:
    """The same random layers twice, where the first may work in place and the second may not."""
    torch.manual_seed(draw(st.integers(0, 99)))
    layers: list[nn.Module] = [nn.Conv2d(2, 4, 3, padding=1)]
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            layers.append(nn.BatchNorm2d(4))
        layers.append(draw(st.sampled_from([nn.ReLU, nn.LeakyReLU, nn.Identity, nn.Hardtanh]))())
        layers.append(draw(st.sampled_from([nn.Conv2d(4, 4, 3, groups=2), nn.AvgPool2d(2), nn.MaxPool2d(2, 1)])))
    layers += [nn.Flatten(), nn.ReLU(), nn.LazyLinear(5), nn.Softplus(), nn.Unflatten(1, (5, 1)), nn.ReLU()]
    nn.Sequential(*layers)(torch.zeros(2, 2, 8, 8))
    eager = copy.deepcopy(layers)
    for layer in eager:
        if hasattr(layer, "inplace"):
            layer.inplace = True
    return eager, layers


@settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chain())
def test_random_chains_agree_with_autograd(drawn: tuple[list[nn.Module], list[nn.Module]]) -> None:
    eager, plain = drawn
    x = torch.randn(3, 2, 8, 8)
    seen = anatomy.signal(nn.Sequential(*eager), x.clone(), square)
    close(seen.rows, by_hand(plain, x, square))
    assert seen.names == [str(i) for i in range(len(eager))]


class Residual(nn.Module):
    """Pre-activation in place: the shortcut carries what ReLU has overwritten."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.stem, self.relu = nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(inplace)
        self.conv, self.head, self.inplace = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 3), inplace

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        y = self.conv(self.relu(x))
        x = y + (x if self.inplace else x.relu())
        x = self.relu(x).mean((2, 3))
        y = self.head(x).view(-1, 3, 1)
        return y.relu_() if self.inplace else y.relu()


def test_in_place_work_changes_no_number() -> None:
    torch.manual_seed(0)
    one, two = Residual(True), Residual(False)
    two.load_state_dict(one.state_dict())
    x = torch.randn(4, 2, 6, 6)
    left, right = anatomy.signal(one, x, square), anatomy.signal(two, x, square)
    assert left.names == ["stem", "relu", "conv", "head"]
    close([r for r in left if r.name != "relu"], [row[2:] for row in right if row.name != "relu"])
    assert left["relu"].activation == pytest.approx(right["relu"].activation)


def test_first_layer_in_place_spares_the_input() -> None:
    x = torch.randn(3, 4)
    before = x.clone()
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2))
    seen = anatomy.signal(net, x, square)
    assert torch.equal(x, before) and x.grad is None
    assert seen[0].activation == pytest.approx(rms(before.relu()))
    assert seen[0].gradient > 0


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_a_factor_per_layer_becomes_a_power(gain: float) -> None:
    """Orthogonal layers times a gain scale every vector by it, forwards and backwards."""
    depth, width = 12, 16
    net = nn.Sequential(*(nn.Linear(width, width, bias=False) for _ in range(depth)))
    for layer in net:
        nn.init.orthogonal_(layer.weight, gain)
    seen = anatomy.signal(net, torch.randn(8, width), lambda y: y.sum())
    assert seen.ratio() == pytest.approx(gain ** (depth - 1), rel=1e-4)
    assert seen.ratio("activation") == pytest.approx(gain ** (1 - depth), rel=1e-4)
    assert seen.gradients[-1] == pytest.approx(1)


def test_he_keeps_what_glorot_loses() -> None:
    """He et al. 2015, section 2.2: under ReLU the factor per layer is 1 with gain 2, 1/2 (in variance) with gain 1."""
    torch.manual_seed(0)
    ratios = []
    for init in (lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"), nn.init.xavier_normal_):
        layers = [nn.Linear(256, 256, bias=False) for _ in range(20)]
        for layer in layers:
            init(layer.weight)
        net = nn.Sequential(*(part for layer in layers for part in (layer, nn.ReLU(inplace=True))))
        seen = anatomy.signal(net, torch.randn(32, 256), lambda y: (y * torch.randn(32, 256)).sum())
        ratios.append(seen.ratio())
        assert seen["39"].zeros == pytest.approx(0.5, abs=0.1)
    assert 1 / 4 < ratios[0] < 4
    assert 2**-9.5 / 4 < ratios[1] < 2**-9.5 * 4


def test_tiny_gradients_do_not_underflow() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    seen = anatomy.signal(net, torch.randn(2, 4), lambda y: y.sum() * 1e-30)
    assert seen[1].gradient == pytest.approx(1e-30, rel=1e-5)


# -- what counts as a layer ----------------------------------------------------------------------------------


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.body, self.idle = nn.Embedding(9, 6), nn.Linear(6, 6), nn.Linear(2, 2)
        self.lstm = nn.LSTM(6, 6, batch_first=True)
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, tokens: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        x = self.lstm(self.body(self.body(self.embed(tokens))))[0]
        return self.attention(x, x, x)[0] * scale


TOKENS = torch.arange(8).reshape(2, 4)


def test_shared_recurrent_and_attention_layers() -> None:
    torch.manual_seed(0)
    net = Shared()
    seen = anatomy.signal(net, TOKENS, square)
    assert seen.names == ["embed", "body", "lstm", "attention"]
    one = net.embed(TOKENS)
    two = net.body(one)
    three = net.body(two)
    four = net.lstm(three)[0]
    out = net.attention(four, four, four)[0]
    g = torch.autograd.grad(
        square(out), [two, three, four, net.body.weight, net.body.bias, *net.attention.parameters()]
    )
    assert seen["body"].activation == pytest.approx(rms(torch.cat([two, three])), rel=1e-5)
    assert seen["body"].gradient == pytest.approx(rms(torch.cat([g[0], g[1]])), rel=1e-5)
    assert seen["body"].weight_gradient == pytest.approx(rms(torch.cat([g[3].flatten(), g[4]])), rel=1e-5)
    assert seen["lstm"].gradient == pytest.approx(rms(g[2]), rel=1e-5)
    flat = torch.cat([p.flatten() for p in g[5:]])
    assert seen["attention"].weight_gradient == pytest.approx(rms(flat), rel=1e-5)


def test_forms_of_inputs_and_layers() -> None:
    net = Shared()
    one = anatomy.signal(net, TOKENS, square).rows
    assert anatomy.signal(net, (TOKENS, 1.0), square).rows == one
    assert anatomy.signal(net, {"tokens": TOKENS, "scale": 1.0}, square).rows == one
    some = anatomy.signal(net, TOKENS, square, layers=["lstm", "body"])
    assert list(some) == [one[2], one[1]]
    block = nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Tanh()), nn.Linear(4, 2))
    seen = anatomy.signal(block, torch.randn(3, 4), square, layers=("0", "0.1"))
    assert seen["0"].gradient == seen["0.1"].gradient
    assert seen["0"].weight_gradient is not None and seen["0.1"].weight_gradient is None
    (alone,) = anatomy.signal(block[1], torch.randn(3, 4), square)
    assert alone.name == "" and "(itself)" in repr(anatomy.signal(block[1], torch.randn(3, 4), square))


def test_frozen_layers_have_gradients_too() -> None:
    net = Shared()
    free = anatomy.signal(net, TOKENS, square)
    net.requires_grad_(False)
    frozen = anatomy.signal(net, TOKENS, square)
    assert frozen.gradients == pytest.approx(free.gradients)
    assert all(row.weight_gradient is None for row in frozen)


def test_gradients_that_do_not_exist_are_zero_and_nan_stays_nan() -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x) + 0 * self.unused(x).detach()

    seen = anatomy.signal(Half(), torch.randn(2, 3), square)
    assert (seen["unused"].gradient, seen["unused"].weight_gradient) == (0.0, 0.0)
    assert math.isnan(anatomy.signal(nn.Linear(3, 3), torch.randn(2, 3), lambda y: (y * math.nan).sum())[0].gradient)


# -- side effects --------------------------------------------------------------------------------------------


class Stateful(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.calls = torch.zeros(1), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        self.hidden = x.mean()
        return x + random.random() + np.random.rand()


@pytest.mark.parametrize("grad", [True, False])
def test_model_is_untouched(grad: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(True), nn.Dropout(0.5), Stateful()).train()
    net[1].weight.requires_grad_(False)
    net[0].weight.grad = torch.ones_like(net[0].weight)
    norm = net[1].running_mean
    hidden, x = net[4].hidden, torch.randn(4, 2, 5, 5, requires_grad=True)
    before, modes = copy.deepcopy(net.state_dict()), [m.training for m in net.modules()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with torch.set_grad_enabled(grad):
        one = anatomy.signal(net, x, square)
        two = anatomy.signal(net, x, square)
        assert torch.is_grad_enabled() == grad
    assert one == two  # the same dropout mask, the same batch statistics
    assert one[3].zeros > 0.3
    assert net[1].running_mean is norm and net[4].hidden is hidden and net[4].calls == 0
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert modes == [m.training for m in net.modules()]
    assert net[0].weight.grad.eq(1).all() and net[0].bias.grad is None and x.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not any(p._backward_hooks for p in net.parameters())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), np.random.get_state()[1].tolist())


def test_after_an_error_all_is_as_before() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))

    def fails(y: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        anatomy.signal(net, torch.randn(4, 3), fails)
    assert not any(m._forward_hooks for m in net.modules()) and int(net[0].num_batches_tracked) == 0


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5"])
def test_torchvision_nets(name: str) -> None:
    """Residual sums after in-place ReLUs; chunks and shuffles, which are views."""
    torch.manual_seed(0)
    net, target = getattr(torchvision.models, name)(weights=None, num_classes=10), torch.tensor([1, 2])
    seen = anatomy.signal(net, torch.randn(2, 3, 32, 32), lambda y: F.cross_entropy(y, target))
    assert all(math.isfinite(row.activation) and row.activation > 0 for row in seen)
    assert all(row.gradient > 0 for row in seen)


# -- watch ---------------------------------------------------------------------------------------------------


def small() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.Flatten(),
        nn.ReLU(inplace=True),
        nn.Linear(64, 2),
        nn.LeakyReLU(0.1, True),
    )


BATCH = torch.randn(8, 1, 6, 6, generator=torch.Generator().manual_seed(0))


def train(net: nn.Module, steps: int, each: Callable[[], None] = lambda: None, keep: bool = False) -> None:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    for _ in range(steps):
        each()
        if not keep:
            optimizer.zero_grad()
        square(net(BATCH) - 1).backward()
        optimizer.step()


@pytest.mark.parametrize("keep", [False, True])
def test_watch_records_what_signal_measures_and_leaves_training_alone(keep: bool) -> None:
    net, alone = small(), small()
    expected: list[anatomy.Signal] = []
    with anatomy.watch(net) as log:
        train(net, 4, keep=keep)
    train(alone, 4, lambda: expected.append(anatomy.signal(alone, BATCH, lambda y: square(y - 1))), keep)
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), alone.state_dict().values()))
    assert log.steps == [0, 1, 2, 3] and log.names == expected[0].names
    for mine, theirs in (
        (log.activation, [s.activations for s in expected]),
        (log.gradient, [s.gradients for s in expected]),
        (log.zeros, [[row.zeros for row in s] for s in expected]),
        (log.weight_gradient, [[math.nan if (w := r.weight_gradient) is None else w for r in s] for s in expected]),
    ):
        torch.testing.assert_close(mine, torch.tensor(theirs), rtol=1e-5, atol=1e-9, equal_nan=True)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    assert not any(p._backward_hooks for p in net.parameters())


def test_watch_ignores_evaluation_and_keeps_the_count() -> None:
    net = small()

    def evaluate() -> None:
        with torch.no_grad():
            net(BATCH)

    with anatomy.watch(net, layers=["4", "0"], every=3) as log:
        assert log.gradient.shape == (0, 2)
        train(net, 7, evaluate)
        net[0](BATCH).sum().backward()  # a part alone
        net(BATCH)  # no backward pass
    assert log.steps == [0, 3, 6]
    assert log.names == ["4", "0"]
    assert log.gradient.shape == log.weight_gradient.shape == (3, 2)
    assert not log.gradient.isnan().any()
    assert repr(log) == "SignalLog(3 records of passes 0 … 6, 2 layers)"


def test_watch_lets_go_after_an_error() -> None:
    net, losses = small(), list[torch.Tensor]()
    with pytest.raises(ZeroDivisionError), anatomy.watch(net) as log:  # noqa: PT012
        train(net, 2)
        losses.append(square(net(BATCH)))
        _ = 1 / 0
    losses[0].backward()  # its graph has hooks, which are silent now
    train(net, 1)
    assert log.steps == [0, 1]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with anatomy.watch(net) as log:
        with pytest.raises(RuntimeError):
            net(torch.zeros(1, 7, 6, 6))
        net[0](BATCH).sum().backward()
        train(net, 1)
    assert log.steps == [1]
    with log, pytest.raises(RuntimeError, match="recording already"), log:
        pass


def test_two_forward_passes_before_one_backward_pass() -> None:
    net = nn.Linear(3, 3)
    x, y = torch.randn(4, 3), torch.randn(4, 3)
    with anatomy.watch(net) as log:
        (square(net(x)) + 2 * square(net(y))).backward()
    assert log.steps == [0, 1]
    assert log.weight_gradient[0] == log.weight_gradient[1]
    assert log.activation[:, 0].tolist() == pytest.approx([rms(net(x)), rms(net(y))])
    assert float(log.weight_gradient[0]) == pytest.approx(
        rms(torch.cat([net.weight.grad.flatten(), net.bias.grad])), rel=1e-5
    )


def test_frozen_and_unfrozen_layers() -> None:
    net = small()
    net[0].requires_grad_(False)
    net[1].requires_grad_(False)
    with anatomy.watch(net) as log:
        train(net, 1)
        net.requires_grad_(True)
        train(net, 1)
    assert log.weight_gradient[:, 0].isnan().tolist() == [True, False]
    assert log.gradient[:, 0].isnan().tolist() == [True, False]
    assert log.gradient[:, -1].isfinite().all()


def test_watch_keeps_no_graph_alive() -> None:
    net = small()
    with anatomy.watch(net) as log:
        output = net(BATCH)
        ref = weakref.ref(output)
        del output
        gc.collect()
        assert ref() is None
    assert log.steps == []


def test_tables_and_pictures() -> None:
    net = small()
    seen = anatomy.signal(net, BATCH, square)
    assert repr(seen).splitlines()[0].split()[:3] == ["layer", "kind", "activation"]
    assert seen._repr_html_().count("<tr>") == len(seen) + 1 == 7
    ax = seen.plot()
    assert ax.get_yscale() == "log" and len(ax.lines) == 2
    assert seen.plot(ax=ax, what="weight_gradient") is ax
    with anatomy.watch(net) as log:
        train(net, 2)
    ax = log.plot(what="activation")
    assert len(ax.lines) == 6 and ax.get_yscale() == "log"


SIGNAL, WATCH = anatomy.signal, anatomy.watch
ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: SIGNAL("net", BATCH, square), TypeError, r"signal\(model=…\): give an nn.Module, not str"),
    (lambda: SIGNAL(small(), BATCH, 3), TypeError, r"loss=3\): give a callable"),
    (lambda: SIGNAL(small(), BATCH, lambda y: y), ValueError, r"scalar tensor, .* returned a tensor of shape \(8, 2\)"),
    (lambda: SIGNAL(small(), BATCH, lambda y: 1.0), ValueError, "it returned float"),
    (lambda: SIGNAL(small(), BATCH, lambda y: y.detach().sum()), ValueError, "without gradient; do not detach"),
    (
        lambda: SIGNAL(small(), BATCH, lambda y: torch.ones(1, requires_grad=True).sum()),
        ValueError,
        "does not depend on the network",
    ),
    (
        lambda: SIGNAL(small(), BATCH, square, layers="0"),
        TypeError,
        r"give an iterable of module paths, such as \['0'\]",
    ),
    (lambda: SIGNAL(small(), BATCH, square, layers=["9"]), ValueError, "no module at the path '9'; nearest: '0'"),
    (lambda: SIGNAL(small(), BATCH, square, layers=[]), ValueError, "at least one module path"),
    (lambda: SIGNAL(Shared(), TOKENS, square, layers=["idle"]), ValueError, "'idle' did not run .* nearest"),
    (lambda: SIGNAL(small().to("meta"), BATCH, square), ValueError, "meta device"),
    (
        lambda: SIGNAL(small(), BATCH, square).ratio("grad"),
        ValueError,
        r"what='grad'\): accepted .* nearest: 'gradient'",
    ),
    (lambda: SIGNAL(small(), BATCH, square).plot(what="loss"), ValueError, "what='loss'"),
    (lambda: SIGNAL(small(), BATCH, square)["7"], ValueError, r"signal\['7'\]: no such layer"),
    (lambda: WATCH(small(), every=0), ValueError, r"every=0\): must be an int of at least 1"),
    (lambda: WATCH(small(), layers=["9"]), ValueError, r"watch\(layers=…\): no module at the path '9'"),
    (lambda: WATCH(small()).plot(what="x"), ValueError, "what='x'"),
]


@pytest.mark.parametrize(("call", "kind", "message"), ERRORS)
def test_error_sentences(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
