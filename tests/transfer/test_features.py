"""Features are what forward hooks and torchvision's own extractor see; whatever else is asked of a transformer."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from tlcore import worlds, zoo
from tlcore.transfer import FeatureExtractor, classifier
from tlcore.transfer.features import Options


def batch(count: int = 5, *shape: int) -> torch.Tensor:
    return torch.rand(count, *(shape or (3, 32, 32)), generator=torch.Generator().manual_seed(count))


def lived(net: nn.Module) -> nn.Module:
    """Statistics and weights that are not the initial ones, so that evaluation and training mode differ."""
    draws = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=draws)
            module.running_var.uniform_(0.5, 1.5, generator=draws)
            module.bias.data.normal_(0, 0.3, generator=draws)
    return net


def extractor(model: nn.Module, layer: str = "neck", **options: object) -> FeatureExtractor:
    return FeatureExtractor(model, layer, device="cpu", **options)


def hooked(net: nn.Module, path: str, x: torch.Tensor) -> torch.Tensor:
    """The output of a module's last call, copied at once: a later operation may work in place."""
    seen: list[torch.Tensor] = []
    handle = net.get_submodule(path).register_forward_hook(lambda m, a, out: seen.append(out.clone()))
    modes = [(module, module.training) for module in net.modules()]
    with torch.no_grad():
        net.eval()(x)
    for module, mode in modes:
        module.training = mode
    handle.remove()
    return seen[-1]


def assert_close(made: np.ndarray, wanted: torch.Tensor) -> None:
    """Equal up to the rounding of another order of sums."""
    scale = wanted.abs().max()
    torch.testing.assert_close(torch.tensor(made) / scale, wanted / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v1", "googlenet"])
def test_every_module_is_as_a_hook_sees_it(name):
    net, x = lived(zoo.get_model(name)), batch(2, 3, 48, 48)
    modules = [path for path, module in net.named_modules() if path]
    for path in modules[:: max(1, len(modules) // 7)]:
        assert_close(extractor(net, path, pool="flatten").transform(x), hooked(net, path, x).flatten(1))


@pytest.mark.parametrize("name", ["resnet18", "shufflenet_v2_x0_5", "regnet_y_400mf"])
def test_nodes_are_as_torchvisions_extractor_sees_them(name):
    net, x = lived(torchvision.models.get_model(name, weights=None)), batch(2, 3, 64, 64)
    nodes = {
        "resnet18": ["relu", "layer1.1.bn2", "layer2.0.relu", "flatten", "fc"],
        "shufflenet_v2_x0_5": ["stage2.0.branch2.7", "conv5.2", "mean"],
        "regnet_y_400mf": ["stem", "trunk_output.block2.block2-0.f.se", "flatten"],
    }[name]
    theirs = create_feature_extractor(net, eval_return_nodes=nodes, train_return_nodes=nodes).eval()
    with torch.no_grad():
        wanted = {key: value.flatten(1) for key, value in theirs(x).items()}
    ours = {"layer2.0.relu": "layer2_0_relu"}  # theirs is the first call of it, and so is the node of this name
    for node in nodes:
        assert_close(extractor(net, ours.get(node, node), pool="flatten").transform(x), wanted[node])


def test_neck_and_input_and_pools():
    net, x = lived(zoo.get_model("resnet20")), batch()
    maps = hooked(net, "layer2", x)
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(extractor(net).transform(x), hooked(net, "layer3", x).mean((2, 3)), **close)
    np.testing.assert_allclose(extractor(net, "layer2").transform(x), maps.mean((2, 3)), **close)
    np.testing.assert_allclose(extractor(net, "layer2", pool="max").transform(x), maps.amax((2, 3)), **close)
    grid = maps.reshape(5, 32, 4, 4, 4, 4).mean((3, 5)).flatten(1)
    np.testing.assert_allclose(extractor(net, "layer2", pool=4).transform(x), grid, **close)
    np.testing.assert_array_equal(extractor(net, "input", pool="flatten").transform(x), x.flatten(1))
    assert extractor(net, "fc").transform(x).shape == (5, 10) and extractor(net).transform(x).dtype == np.float32


@given(st.integers(1, 9), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_the_batch_size_changes_nothing(count, size):
    x = batch(count, 3, 8, 8)
    whole = extractor(SMALL, "2").transform(x)
    np.testing.assert_allclose(extractor(SMALL, "2", batch_size=size).transform(x), whole, rtol=1e-5, atol=1e-6)


SMALL = nn.Sequential(
    nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6, 2)
)


def test_the_network_and_the_images_are_only_read():
    net = lived(zoo.get_model("resnet20")).train()
    net.conv1.eval()
    net.fc.weight.requires_grad_(False)
    before = copy.deepcopy(net)
    images = batch()
    kept = images.clone()
    extractor(nn.Sequential(nn.ReLU(inplace=True), net), "1.layer1").transform(images - 0.5)
    extractor(nn.Sequential(nn.Hardtanh(0, 0.5, inplace=True), nn.Flatten()), "0").transform(images)
    assert torch.equal(images, kept)
    assert [m.training for m in net.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in net.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), before.state_dict().values(), strict=True))
    assert all(p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks for m in net.modules())


def test_layers_behind_are_not_computed():
    class Trap(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("this layer must not run")

    trap = Trap()
    trap.__class__.__module__ = "torch.nn.traps"  # so torch.fx does not look into it
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), trap, nn.Linear(4, 2))
    assert extractor(net, "1").transform(batch()).shape == (5, 4)
    with pytest.raises(ValueError, match="this layer must not run"):
        extractor(net, "neck").transform(batch())


def test_bytes_arrays_datasets_and_normalising():
    net = zoo.get_model("resnet20")
    data = worlds.load("digits", split="test")[:6]
    colour = data.inputs.expand(-1, 3, -1, -1).repeat_interleave(4, 2).repeat_interleave(4, 3).contiguous()
    wanted = extractor(net).transform((colour / 255 - 0.5) / 0.25)
    options = {"mean": (0.5, 0.5, 0.5), "std": 0.25}
    array = colour.numpy()
    array.setflags(write=False)
    for x in (colour, array, array[:, ::-1], np.asfortranarray(array), worlds.Dataset(colour, data.targets)):
        np.testing.assert_allclose(extractor(net, **options).transform(x), wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        extractor(net, **options).transform(array.astype(np.float64) / 255), wanted, rtol=1e-4, atol=1e-5
    )
    from torchvision.transforms.functional import resize

    big = extractor(net, "input", pool="flatten", size=48).transform(colour)
    np.testing.assert_allclose(big, resize(colour / 255, [48, 48], antialias=True).flatten(1), rtol=1e-4, atol=1e-5)


def test_weights_made_by_hooks_and_parametrizations():
    for wrap in (nn.utils.weight_norm, nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm):
        net = nn.Sequential(wrap(nn.Conv2d(3, 4, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2)).eval()
        for p in net.parameters():
            p.data.mul_(1.5)
        x = batch(3, 3, 3, 3)
        np.testing.assert_allclose(extractor(net).transform(x), net[:3](x).detach(), rtol=1e-5, atol=1e-6)


class Winding(nn.Module):
    """Its way depends on the values, so torch.fx cannot trace it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu, self.fc = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Linear(4, 2)
        self.never = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.conv(x))
        if x.sum() > -1:
            x = x * 2
        return self.fc(x.mean((2, 3)))


def test_networks_that_cannot_be_traced(tmp_path):
    net, x = Winding(), batch()
    with torch.no_grad():
        maps = net.conv(x)
    np.testing.assert_allclose(extractor(net, "conv").transform(x), maps.mean((2, 3)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(extractor(net).transform(x), 2 * maps.relu().mean((2, 3)).detach(), rtol=1e-4, atol=1e-5)
    assert extractor(net, "input").transform(x).shape == (5, 3)
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ValueError, match="no module 'convv'; nearest: 'conv'"):
        extractor(net, "convv").transform(x)
    with pytest.raises(ValueError, match="'never': it did not run"):
        extractor(net, "never").transform(x)
    with pytest.warns(UserWarning, match="nothing is kept"):
        extractor(net, "conv", cache=tmp_path).transform(x)
    assert not list(tmp_path.iterdir())


def test_the_cache(tmp_path, monkeypatch):
    net, x = lived(zoo.get_model("resnet20")), batch()
    runs: list[int] = []
    real = Options.compute
    monkeypatch.setattr(Options, "compute", lambda self, cut, x: runs.append(1) or real(self, cut, x))

    def taken(
        model: nn.Module, images: torch.Tensor, layer: str = "layer2", **options: object
    ) -> tuple[np.ndarray, bool]:
        before = len(runs)
        return extractor(model, layer, cache=tmp_path, **options).transform(images), len(runs) > before

    first, fresh = taken(net, x)
    assert fresh
    again, fresh = taken(copy.deepcopy(net), x.numpy(), batch_size=2)  # another object with the same content
    assert not fresh
    np.testing.assert_array_equal(first, again)
    net.fc.weight.data.add_(1)  # behind the cut
    assert not taken(net, x)[1]
    for change in ({"pool": "max"}, {"mean": 0.5}, {"std": 2.0}, {"size": 16}, {"layer": "layer1"}):
        assert taken(net, x, **change)[1], change
    assert taken(net, x + 1e-6)[1] and taken(net, x[:4])[1]
    net.layer2[0].bn1.running_mean.add_(1)
    changed, fresh = taken(net, x)
    assert fresh and not np.allclose(first, changed)
    net.bn1.eps = 0.1  # neither a weight nor in the graph
    assert taken(net, x)[1]
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".safetensors"]


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign"])
def test_a_damaged_cache_is_made_anew(tmp_path, damage):
    x = batch(5, 3, 8, 8)
    first = extractor(SMALL, "2", cache=tmp_path).transform(x)
    (path,) = tmp_path.iterdir()
    whole = bytearray(path.read_bytes())
    if damage == "flipped":
        whole[-3] ^= 64
    path.write_bytes({"cut": whole[:-7], "empty": b"", "flipped": whole, "foreign": b"PK\x03\x04" * 9}[damage])
    np.testing.assert_array_equal(extractor(SMALL, "2", cache=tmp_path).transform(x), first)
    np.testing.assert_array_equal(extractor(SMALL, "2", cache=tmp_path).transform(x), first)
    assert len(path.read_bytes()) > 100


def test_out_of_memory_takes_smaller_batches():
    class Tight(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return x * 2

    Tight.__module__ = "torch.nn.tight"
    x = batch(10, 4)
    with pytest.warns(UserWarning, match="batches of 2 from here on") as said:
        made = extractor(nn.Sequential(Tight()), "0", batch_size=8).transform(x)
    assert len(said) == 2
    np.testing.assert_allclose(made, 2 * x)


def test_scikit_learns_own_checks():
    width = "a network takes inputs of one shape by itself; the transformer learns nothing, not even that"
    failed = {"check_n_features_in": width, "check_n_features_in_after_fitting": width}
    check_estimator(extractor(nn.Identity(), "input"), expected_failed_checks=failed)


def test_in_pipelines():
    net = zoo.get_model("resnet20")
    data = worlds.Shapes(shapes=("circle", "star"), colours=("red",)).sample(40)
    pipe = make_pipeline(extractor(net, "layer1", pool="max"), classifier("svm"))
    x, y = data.inputs.numpy(), data.targets.numpy()
    assert cross_val_score(pipe, x, y, cv=2).shape == (2,)
    copied = clone(pipe)[0]
    assert copied.model is net and copied.get_params()["pool"] == "max"
    pipe.set_params(featureextractor__layer="neck").fit(data, data.targets)
    assert list(pipe[0].get_feature_names_out()[:2]) == ["neck_0", "neck_1"]
    again = pickle.loads(pickle.dumps(pipe))
    np.testing.assert_array_equal(again.predict(x), pipe.predict(x))


def test_bad_input_gets_a_sentence():
    net, x = zoo.get_model("resnet20"), batch()
    broken = x.clone()
    broken[3, 0, 0, 0] = float("nan")
    dead = copy.deepcopy(net)
    dead.layer2[0].conv1.weight.data.fill_(float("inf"))
    bad = [
        (lambda: extractor(net, "layer5").transform(x), r"no node named 'layer5'; nearest: 'layer"),
        (lambda: extractor(net, "layer5").fit(x), r"no node named 'layer5'"),
        (lambda: extractor(net).transform(broken), r"in rows 3 the inputs are no finite numbers"),
        (lambda: extractor(dead).transform(x), r"layer 'neck' gives no finite numbers"),
        (lambda: extractor(net).transform(x[:, :1]), r"cannot work on inputs \(N, 1, 32, 32\)"),
        (lambda: extractor(net).transform(x[0, 0, 0]), "Reshape your data"),
        (lambda: extractor(net).transform(x[:0]), r"0 sample\(s\)"),
        (lambda: extractor(net, pool="sum").transform(x), "accepted are 'mean', 'max', 'flatten'"),
        (lambda: extractor(net, pool=0).transform(x), "numbers from 1 on"),
        (lambda: extractor(net, batch_size=0).transform(x), "batch_size=0"),
        (lambda: extractor(net, std=0).transform(x), "numbers above 0"),
        (lambda: extractor(net, mean=(0.5, 0.5)).transform(x), "one for each of 3 channels"),
        (lambda: extractor(net, size=(3, 4, 5)).transform(x), "size="),
        (
            lambda: extractor(nn.Sequential(nn.Conv2d(3, 4, 3)), "neck").transform(x),
            "no linear layer, so it has no neck",
        ),
        (lambda: extractor(nn.Sequential(nn.Flatten(2)), "0").transform(x), "take pool='flatten'"),
    ]
    for call, message in bad:
        with pytest.raises(ValueError, match=message):
            call()
    for call in (lambda: extractor(net).transform(["text"]), lambda: extractor("resnet20").transform(x)):
        with pytest.raises(TypeError):
            call()
