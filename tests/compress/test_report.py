"""The report: its figures are the networks' own, and it says what is slower, and what may be chance."""

from __future__ import annotations

import copy
import time

import pytest
import torch
from scipy.stats import binom
from torch import nn

from tlcore import compress, training, worlds
from tlcore.compress.measure import Ratio
from tlcore.compress.reported import Row
from tlcore.compress.verdict import accuracy_sentence, cost_sentence
from tlcore.worlds import Dataset, Gaussian, Loader


class Slow(nn.Module):
    """The same function, later."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(0.004)
        return self.inner(x)


@pytest.fixture(scope="module")
def trained() -> tuple[nn.Module, Dataset]:
    data = Gaussian(features=32, distance=3).sample(400)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    training.fit(net, data, epochs=3, lr=0.05, progress=False, device="cpu")
    return net, data


def test_figures_are_those_of_the_networks(trained):
    net, data = trained
    small = compress.svd(net, rank=1)
    wrong = nn.Sequential(*small, Flip())
    nets = {"slow": Slow(small), "wrong": wrong}
    found = compress.report(net, nets, data, recovered={"wrong": net}, runs=15)
    before, slow, flipped = found
    right = training.evaluate(net, data)[1]
    assert before.accuracy == pytest.approx(right) and flipped.recovered == pytest.approx(right)
    assert flipped.accuracy == pytest.approx(1 - training.evaluate(small, data)[1])
    assert (before.parameters, before.macs) == (32 * 64 + 64 * 64 + 64 * 2 + 130, 32 * 64 + 64 * 64 + 64 * 2)
    assert before.ratios[0] == Ratio(1, 1, 1)
    assert slow.parameters < before.parameters and slow.bytes < before.bytes
    assert slow.seconds[0] > 0.004 and slow.ratios[0].low > 1
    assert any(line.startswith("slow: smaller but slower") for line in found.sentences)
    assert any("and after recovery training changes nothing" in line for line in found.sentences)
    figures = found.figures()["wrong"]
    assert figures["accuracy"] == flipped.recovered and figures["bytes"] == flipped.bytes
    assert "smaller but slower" in repr(found) and "<table>" in found._repr_html_()
    with pytest.raises(ValueError, match="there are before, slow, wrong"):
        found["svd"]
    axes = found.plot()
    named = [text.get_text() for text in axes[1].get_legend().get_texts()]
    assert named == ["before", "slow", "wrong"] and len(axes[0].collections) == 3


class Flip(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return -x


def test_files_stand_beside_networks(trained, tmp_path):
    net, data = trained
    file = compress.export(net, tmp_path / "net.pt2", data.inputs[:8], batch=3)
    found = compress.report(net, {"file": file}, data, batches=(3,), runs=3)
    assert found["file"].accuracy == found["before"].accuracy
    assert found["file"].bytes == file.bytes and found["file"].parameters is None


def test_sentences():
    def row(name, size, *ratios):
        return Row(name, 1, size, None, (1.0,) * len(ratios), ratios, None, None)

    one, fast, slow = Ratio(1.0, 0.9, 1.1), Ratio(0.5, 0.4, 0.6), Ratio(2.0, 1.8, 2.2)
    base = row("before", 100, one)
    assert cost_sentence(base, row("a", 50, fast), (1,)).startswith("a: smaller and faster: 0.50x the bytes, 0.50x")
    assert cost_sentence(base, row("a", 50, slow), (1,)).startswith("a: smaller but slower")
    assert cost_sentence(base, row("a", 200, fast), (1,)).startswith("a: larger but faster")
    assert cost_sentence(base, row("a", 100, one), (1,)).startswith("a: as large and as fast")
    right = torch.arange(1000) % 10 > 0
    few, many = right.clone(), right.clone()
    few[1], many[1:400] = False, False
    assert "may be chance" in accuracy_sentence("a", right, few)
    assert "loses 36.0" in accuracy_sentence("a", right, many) and "chance" not in accuracy_sentence("a", right, many)


def test_the_interval_of_a_median_is_the_sign_tests():
    for n in (3, 6, 15, 30, 100):
        ratio = compress.paired_ratio([1.0] * n, [float(i) for i in range(1, n + 1)])
        cut = int(ratio.low) - 1
        assert ratio.high == n - cut
        assert binom.cdf(cut, n, 0.5) <= 0.025 or n < 6
        assert binom.cdf(cut + 1, n, 0.5) > 0.025


def test_bad_input_gets_a_sentence(trained):
    net, data = trained
    with pytest.raises(TypeError, match="'after' is int"):
        compress.report(net, 3, data)
    with pytest.raises(ValueError, match="'b' is not in after"):
        compress.report(net, {"a": net}, data, recovered={"b": net})
    with pytest.raises(ValueError, match="at least one input"):
        compress.report(net, net, torch.ones(0, 32))
    with pytest.raises(ValueError, match="move all to one device"):
        compress.report(net, nn.Linear(32, 2, device="meta"), data)
    with pytest.raises(ValueError, match="whole numbers from 1 on"):
        compress.report(net, net, data, runs=0)
    broken = nn.Sequential(nn.Linear(32, 2))
    broken[0].weight.data.fill_(float("nan"))
    with pytest.raises(ValueError, match="NaN or infinite"):
        compress.difference(net, broken, data.inputs)


def test_changes_of_every_method_layer_by_layer():
    net = nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 64))
    net[0].weight.data[:, 4:] = 0  # half of its columns are empty: rank 16 remains of 16
    small = compress.svd(net, rank={"0": 8, "3": 2})
    first, last = compress.changes(net, small)
    values = torch.linalg.svdvals(net[0].weight.detach().flatten(1))
    assert first.error == pytest.approx(float((values[8:].square().sum() / values.square().sum()).sqrt()), rel=1e-4)
    assert (first.now, first.rank, last.rank) == ("LowRankConv", 8, 2)
    assert first.parameters_after == sum(p.numel() for p in small[0].parameters())
    assert compress.changes(net, compress.half(net))[1].error < 1e-3
    eight = compress.changes(net, compress.int8(net, data=torch.randn(4, 8, 3, 3)))[1]
    assert eight.parameters_after == eight.parameters_before and 0 < eight.error < 0.02
    assert compress.changes(net, net[:1])[1].now == "gone"
    assert "LowRankConv" in repr(compress.changes(net, small))


def test_loaders_that_shuffle_are_gone_through_once(trained):
    net, data = trained
    found = compress.report(net, {"copy": copy.deepcopy(net)}, Loader(data, 8, seed=1), runs=2)
    assert any("classifies every image as rightly as before" in line for line in found.sentences)


def test_a_file_of_one_batch_size_is_judged_on_any_batches(trained, tmp_path):
    net, data = trained
    right = compress.report(net, {"copy": net}, data, runs=2)["before"].accuracy
    for batch in (1, 7):
        file = compress.export(net, tmp_path / f"{batch}.pt2", data.inputs, batch=batch)
        for judged in (data, Loader(data, 64, shuffle=False)):
            assert compress.report(net, {"phone": file}, judged, batches=(batch,), runs=2)["phone"].accuracy == right


def test_bytes_are_judged_as_shares():
    data = worlds.load("digits", split="test")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    found = compress.report(
        net, {"svd": compress.svd(net, rank=2), "int8": compress.int8(net, data=data)}, data, runs=2
    )
    with torch.no_grad():
        want = float((net(data.inputs / 255).argmax(1) == data.targets).double().mean())
    assert found["before"].accuracy == pytest.approx(want)
    assert found["int8"].accuracy == pytest.approx(want, abs=0.03)  # its ranges are those of shares, too
