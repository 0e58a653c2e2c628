"""Weights of torchvision and timm, laid over our networks, give the outputs they give at home."""

from __future__ import annotations

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from timm.models.nasnet import NASNetALarge
from torch import nn

from tests.data import DATA, needs_data
from tlcore import worlds, zoo
from tlcore.zoo.loading import TORCHVISION


def shaken(net: nn.Module) -> nn.Module:
    """Random statistics and weights for every normalisation, so that each of its numbers matters."""
    draws = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=draws)
            module.running_var.uniform_(0.8, 1.2, generator=draws)
            module.weight.data.uniform_(0.8, 1.2, generator=draws)
            module.bias.data.normal_(0, 0.1, generator=draws)
    return net.eval()


def assert_equal_outputs(ours: nn.Module, theirs: nn.Module, size: tuple[int, ...]) -> None:
    x = torch.randn(2, *size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mine, wanted = ours.eval()(x), theirs(x)
    scale = wanted.abs().max()
    assert scale > 0 and wanted.std() > 0
    torch.testing.assert_close(mine / scale, wanted / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["alexnet_torchvision", "vgg_a", "googlenet_torchvision", "inception_v3", "resnet18", "resnet50",
                                  "wide_resnet50_2", "resnext50_32x4d", "densenet121", "efficientnet_b0"])  # fmt: skip
def test_torchvisions(name):
    more = {"aux_logits": False, "init_weights": False} if TORCHVISION[name] in ("googlenet", "inception_v3") else {}
    if name == "inception_v3":
        more["aux_logits"] = True  # its own constructor insists
    theirs = shaken(torchvision.models.get_model(TORCHVISION[name], weights=None, **more))
    ours = zoo.get_model(name)
    state = {k: t for k, t in theirs.state_dict().items() if not k.startswith("AuxLogits")}
    zoo.load(ours, zoo.translate(state, ours), "of torchvision")
    assert_equal_outputs(ours, theirs, (3, 96, 96))


TIMM = {
    "inception_v4": "inception_v4",
    "inception_resnet_v2": "inception_resnet_v2",
    # not SE-ResNet-18 and 34: timm's have a ReLU before the gate, which the paper has not
    "se_resnet50": "legacy_seresnet50",
    "se_resnext50_32x4d": "legacy_seresnext50_32x4d",
    "resnext101_32x4d": "resnext101_32x4d",
    "mobilenet_v1": "mobilenetv1_100",
}


@pytest.mark.parametrize("name", TIMM)
def test_timms(name):
    theirs, ours = shaken(timm.create_model(TIMM[name], pretrained=False)), zoo.get_model(name)
    zoo.load(ours, zoo.translate(theirs.state_dict(), ours), "of timm")
    assert_equal_outputs(ours, theirs, (3, 96, 96))


def test_timms_nasnet():
    theirs, ours = shaken(NASNetALarge(pad_type="")), zoo.get_model("nasnet_a_large")
    state = theirs.state_dict()
    ordered: dict[str, torch.Tensor] = {}
    for cell in dict.fromkeys(
        key.split(".")[0] for key in state
    ):  # there the current input comes first, here the previous
        mine = {k: t for k, t in state.items() if k.split(".")[0] == cell}
        ordered |= {k: t for k, t in mine.items() if k.split(".")[1].startswith(("path", "final_path"))} | mine
    zoo.load(ours, zoo.translate(ordered, ours), "of timm")
    assert_equal_outputs(ours, theirs, (3, 96, 96))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "other"), [("senet154", "legacy_senet154"), ("se_resnet152", "legacy_seresnet152")])
def test_timms_large(name, other):
    theirs, ours = shaken(timm.create_model(other, pretrained=False)), zoo.get_model(name)
    zoo.load(ours, zoo.translate(theirs.state_dict(), ours), "of timm")
    assert_equal_outputs(ours, theirs, (3, 64, 64))


def test_senet154_is_timms_layer_by_layer():
    with torch.device("meta"):
        theirs, ours = timm.create_model("legacy_senet154", pretrained=False), zoo.get_model("senet154")
    assert list(zoo.translate(theirs.state_dict(), ours)) == [k for k in ours.state_dict() if "tracked" not in k]


def test_counts_agree_with_torchvision_and_timm():
    for name, other in TORCHVISION.items():
        with torch.device("meta"):
            ours = zoo.get_model(name)
        wanted = torchvision.models.get_model_weights(other)["IMAGENET1K_V1"].meta
        scores = wanted["_metrics"]["ImageNet-1K"]
        card = zoo.card(name)
        if name != "inception_v3":  # counted there with its auxiliary head
            assert sum(p.numel() for p in ours.parameters()) == wanted["num_params"] or "googlenet" in name
        assert (card.top1, card.top5) == (scores["acc@1"], scores["acc@5"])
    with torch.device("meta"):
        theirs = timm.create_model("tf_efficientnet_l2", pretrained=False)
    assert sum(p.numel() for p in theirs.parameters()) == zoo.card("efficientnet_l2").params


def test_torchvisions_weights_load_by_name(monkeypatch):
    from tlcore.zoo import loading

    theirs = shaken(
        torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True, transform_input=True)
    )
    monkeypatch.setattr(loading, "_from_torchvision", lambda name: theirs.state_dict() if name == "googlenet" else {})
    ours = zoo.get_model("googlenet_torchvision", weights="imagenet")
    assert_equal_outputs(ours, theirs, (3, 64, 64))


def test_a_file_of_our_own(tmp_path):
    net = shaken(zoo.get_model("resnet20"))
    save_file(
        {k: t.half() if t.is_floating_point() else t for k, t in net.state_dict().items()}, tmp_path / "net.safetensors"
    )
    again = zoo.get_model("resnet20", weights=tmp_path / "net.safetensors").eval()
    x = torch.rand(2, 3, 32, 32)
    assert next(again.parameters()).dtype == torch.float32
    torch.testing.assert_close(again(x), net(x), rtol=0.02, atol=0.02)


def test_what_does_not_fit_is_named_and_changes_nothing(tmp_path):
    net = zoo.get_model("resnet20")
    before = {k: t.clone() for k, t in net.state_dict().items()}
    state = {k: torch.ones_like(t) for k, t in before.items()}
    state["extra.weight"] = state.pop("conv1.weight")
    state["fc.weight"] = torch.ones(100, 64)
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(
        ValueError, match=r"missing conv1.weight; unknown extra.weight; of another shape fc.weight \(100, 64\)"
    ):
        zoo.load(net, state, "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors do not fit CifarResNet"):
        zoo.get_model("resnet20", weights=tmp_path / "other.safetensors")
    assert all(torch.equal(before[k], t) for k, t in net.state_dict().items())
    with pytest.raises(ValueError, match="it is another network"):
        zoo.translate(state, net)
    (tmp_path / "broken.safetensors").write_bytes((tmp_path / "other.safetensors").read_bytes()[:5000])
    with pytest.raises(ValueError, match="no whole safetensors file"):
        zoo.get_model("resnet20", weights=str(tmp_path / "broken.safetensors"))
    with pytest.raises(ValueError, match="there is no file"):
        zoo.get_model("resnet20", weights="nowhere.safetensors")
    with pytest.raises(ValueError, match="none are known"):
        zoo.get_model("zfnet", weights="imagenet")
    with pytest.raises(ValueError, match="'imagenet'"):
        zoo.get_model("resnet50", weights="openimages")


@needs_data
def test_anothers_resnet20_knows_cifar10():
    """akamaster's ResNet-20, stated 91.73%: on the lossless test images it must be as good in our network."""
    data = worlds.load("cifar10-lossless", split="test", root=DATA)
    images, labels = data.inputs / 255, data.targets
    net = zoo.get_model("resnet20").eval()
    state = {name.replace("linear.", "fc."): tensor for name, tensor in zoo_file("cifar_resnet20").items()}
    zoo.load(net, state, "akamaster")
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        right = net((images - mean.view(3, 1, 1)) / std.view(3, 1, 1)).argmax(1) == labels
    assert right.float().mean() == pytest.approx(0.916, abs=0.003)


@needs_data
def test_googles_mobilenet_knows_photos():
    """MobileNet v1 of Google, laid over ours: its figure on the 1,000 sample photos is 81.0 percent (top-5)."""
    net = zoo.get_model("mobilenet_v1", width_multiplier=0.25, same_padding=True).eval()
    zoo.load(net, zoo.translate(zoo_file("mobilenet_v1_0.25_224"), net), "Google")
    right, count = 0, 200
    for images, labels in worlds.load("imagenet-sample", split="test", root=DATA)[::5].batches(50):
        with torch.no_grad():
            right += (net(images / 127.5 - 1).topk(5).indices == labels[:, None]).any(1).sum().item()
    assert right / count == pytest.approx(0.81, abs=0.07)


def zoo_file(name: str) -> dict[str, torch.Tensor]:
    from tlcore import weights

    return weights.read(DATA / "weights" / f"{name}.safetensors")
