"""Every variant is exact: its parameters to the digit, its multiply-adds, the images it takes."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from tlcore import anatomy, zoo

# Counts that were measured elsewhere: the published or the reference implementations'.
PARAMETERS = {
    "lenet5_1998": 60_000, "lenet5": 61_706, "alexnet": 60_965_224, "alexnet_ungrouped": 62_378_344,
    "alexnet_torchvision": 61_100_840, "zfnet": 62_357_608, "zfnet_wide": 107_627_624,
    "vgg_a": 132_863_336, "vgg_a_lrn": 132_863_336, "vgg_b": 133_047_848, "vgg_c": 133_638_952, "vgg_d": 138_357_544,
    "vgg_e": 143_667_240, "googlenet": 6_998_552, "googlenet_torchvision": 6_624_904, "bn_inception": 11_295_240,
    "inception_v3": 23_834_568, "inception_v4": 42_679_816, "inception_resnet_v2": 55_843_464,
    "resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "resnet101": 44_549_160,
    "resnet152": 60_192_808, "resnet20": 269_722, "wide_resnet50_2": 68_883_240, "wide_resnet101_2": 126_886_696,
    "resnext50_32x4d": 25_028_904, "resnext101_32x4d": 44_177_704, "resnext101_32x8d": 88_791_336,
    "resnext101_64x4d": 83_455_272, "densenet121": 7_978_856, "densenet169": 14_149_480, "densenet201": 20_013_928,
    "densenet161": 28_681_000, "se_resnet18": 11_778_592, "se_resnet34": 21_958_868, "se_resnet50": 28_088_024,
    "se_resnet101": 49_326_872, "se_resnet152": 66_821_848, "senet154": 115_088_984, "mobilenet_v1": 4_231_976,
    "nasnet_a_large": 88_753_150, "nasnet_a_mobile": 5_289_978, "efficientnet_l2": 480_309_308,
    "densenet40_k12": 1_019_722, "densenet_bc100_k12": 769_162,
}  # fmt: skip
# Millions of multiply-adds, from the same sources.
MACS = {
    "lenet5": 0.417, "alexnet": 724.4, "alexnet_ungrouped": 1135.3, "alexnet_torchvision": 714.2, "zfnet": 1168.0,
    "vgg_a": 7609.1, "vgg_b": 11308.5, "vgg_c": 11770.9, "vgg_d": 15470.3, "vgg_e": 19632.1, "googlenet": 1582.7,
    "googlenet_torchvision": 1498.4, "bn_inception": 2032.6, "inception_v3": 5713.2, "inception_v4": 12254.0,
    "inception_resnet_v2": 13155.8, "resnet18": 1814.1, "resnet34": 3663.8, "resnet50": 4089.2, "resnet101": 7801.4,
    "resnet152": 11513.6, "resnet20": 40.55, "wide_resnet50_2": 11398.0, "wide_resnet101_2": 22753.1,
    "resnext50_32x4d": 4230.5, "resnext101_32x4d": 7970.0, "resnext101_32x8d": 16414.0, "resnext101_64x4d": 15460.3,
    "densenet121": 2834.2, "densenet169": 3359.8, "densenet201": 4291.4, "densenet161": 7727.9,
    "se_resnet18": 1814.2, "se_resnet34": 3663.9, "se_resnet50": 3860.5, "se_resnet101": 7574.9, "se_resnet152": 11289.0,
    "senet154": 20688.4, "mobilenet_v1": 568.740, "nasnet_a_large": 23783.4,
    "nasnet_a_mobile": 564,  # the paper's; ports that pad and crop compute 568.2, of which a part is thrown away
}  # fmt: skip


def empty(name: str, **variant) -> zoo.Net:
    """The network without memory for its parameters."""
    with torch.device("meta"):
        return zoo.get_model(name, **variant).eval()


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def macs(net: nn.Module, *size: int) -> float:
    """Multiply-adds of convolutions and linear layers for one image, by torch's own counter (2 FLOPs each)."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, *size, device="meta"))
    return counter.get_total_flops() / 2


def test_the_zoo_is_complete():
    assert len(zoo.list_models()) >= 60
    assert set(PARAMETERS) <= set(zoo.list_models())


@pytest.mark.parametrize("name", zoo.list_models())
def test_cards_hold_what_the_network_has(name):
    card, net = zoo.card(name), empty(name)
    assert card.params == parameters(net) == PARAMETERS.get(name, card.params)
    assert card.macs == macs(net, *card.input_size)
    assert card.macs / 1e6 == pytest.approx(MACS.get(name, card.macs / 1e6), rel=0.005)
    assert net(torch.zeros(2, *card.input_size, device="meta")).shape == (2, card.num_classes)


@pytest.mark.parametrize("name", zoo.list_models())
def test_profiles_agree_with_torchs_counter(name):
    card = zoo.card(name)
    profile = anatomy.profile(empty(name), card.input_size)
    assert (profile.params, profile.macs) == (card.params, card.macs)
    assert sum(row.params for row in profile) == card.params and sum(row.macs for row in profile) == card.macs


def conv(i: int, o: int, *kernel: int) -> int:
    """Weights of a convolution and the two numbers of its normalisation."""
    return i * o * kernel[0] * kernel[-1] + 2 * o


def by_hand() -> dict[str, int]:
    """Counts of the networks that no reference has, layer by layer from the papers' tables."""
    found = {}
    for n in (20, 32, 44, 56, 110):  # He et al. 2015, section 4.2
        blocks = (n - 2) // 6
        stage = sum(conv(a, b, 3) + (2 * blocks - 1) * conv(b, b, 3) for a, b in ((16, 16), (16, 32), (32, 64)))
        found[f"resnet{n}"] = conv(3, 16, 3) + stage + 64 * 10 + 10
    found |= {"plain20": found["resnet20"], "plain56": found["resnet56"]}
    for n, k in ((16, 2), (28, 10), (40, 2)):  # Zagoruyko, Komodakis 2016, table 1
        blocks, total, i = (n - 4) // 6, 3 * 16 * 9, 16
        for o in (16 * k, 32 * k, 64 * k):
            total += 2 * i + 9 * i * o + 2 * o + 9 * o * o + i * o + (blocks - 1) * 2 * (2 * o + 9 * o * o)
            i = o
        found[f"wrn_{n}_{k}"] = total + 2 * i + i * 10 + 10
    for n, blocks in ((18, (2, 2, 2, 2)), (34, (3, 4, 6, 3))):  # the residual net without its three projections
        stages = sum(
            conv(a, b, 3) + (2 * c - 1) * conv(b, b, 3)
            for a, b, c in zip((64, 64, 128, 256), (64, 128, 256, 512), blocks)
        )
        found[f"plain{n}"] = conv(3, 64, 7) + stages + 512 * 1000 + 1000
    for n, count in ((50, 6), (101, 23)):  # ResNeXt with a gate of 2 * w * w/16 + w + w/16 after each of its blocks
        widths = (256, 512, 1024, 2048)
        gates = sum(c * (2 * w * (w // 16) + w + w // 16) for c, w in zip((3, 4, count, 3), widths))
        found[f"se_resnext{n}_32x4d"] = zoo.card(f"resnext{n}_32x4d").params + gates
    # Inception-ResNet-v1: Szegedy et al. 2016, figures 14, 10, 7, 11, 12, 13
    stem = conv(3, 32, 3) + conv(32, 32, 3) + conv(32, 64, 3) + conv(64, 80, 1) + conv(80, 192, 3) + conv(192, 256, 3)
    a = 3 * conv(256, 32, 1) + 3 * conv(32, 32, 3) + 96 * 256 + 256
    halve_a = conv(256, 384, 3) + conv(256, 192, 1) + conv(192, 192, 3) + conv(192, 256, 3)
    b = 2 * conv(896, 128, 1) + 2 * conv(128, 128, 1, 7) + 256 * 896 + 896
    halve_b = 3 * conv(896, 256, 1) + conv(256, 384, 3) + 3 * conv(256, 256, 3)
    c = 2 * conv(1792, 192, 1) + 2 * conv(192, 192, 1, 3) + 384 * 1792 + 1792
    found["inception_resnet_v1"] = stem + 5 * a + halve_a + 10 * b + halve_b + 5 * c + 1792 * 1000 + 1000
    found["efficientnet_b0"] = 5_288_548  # 5.3M in the paper; torchvision's count is compared in test_weights
    return found


@pytest.mark.parametrize(("name", "count"), by_hand().items())
def test_counts_derived_by_hand(name, count):
    assert parameters(empty(name)) == count


def test_every_network_has_an_independent_count():
    assert set(PARAMETERS) | set(by_hand()) == set(zoo.list_models())


VARIANTS = [
    ("googlenet", {"aux_logits": True}, 13_378_280, None),
    ("googlenet_torchvision", {"aux_logits": True}, 13_004_888, None),
    ("inception_v3", {"aux_logits": True}, 27_161_264, None),
    ("vgg16", {"num_classes": 2}, 134_268_738, None),
    ("resnet18", {"stem": "cifar", "num_classes": 10}, 11_173_962, 555.4),
    ("resnet34", {"stem": "cifar", "num_classes": 10}, 21_282_122, 1159.4),
    ("resnet50", {"stem": "cifar", "num_classes": 10}, 23_520_842, 1297.8),
    ("resnet101", {"stem": "cifar", "num_classes": 10}, 42_512_970, 2510.0),
    ("resnet152", {"stem": "cifar", "num_classes": 10}, 58_156_618, 3722.1),
    ("resnet50", {"stride": "paper"}, 25_557_032, 3858.0),
    ("resnet101", {"stride": "paper"}, 44_549_160, 7570.2),
    ("resnet152", {"stride": "paper"}, 60_192_808, 11282.4),
    ("se_resnet50", {"stride": "v1.5"}, 28_088_024, 4091.7),
    ("mobilenet_v1", {"width_multiplier": 0.75}, 2_585_560, 325.400),
    ("mobilenet_v1", {"width_multiplier": 0.5}, 1_331_592, 149.497),
    ("mobilenet_v1", {"width_multiplier": 0.25}, 470_072, 41.030),
    ("vgg16", {"batch_norm": True}, 138_365_992, None),
]


@pytest.mark.parametrize(("name", "variant", "count", "millions"), VARIANTS)
def test_variants(name, variant, count, millions):
    net = empty(name, **variant)
    assert parameters(net) == count
    if millions:
        side = 32 if "stem" in variant else 224
        assert macs(net, 3, side, side) / 1e6 == pytest.approx(millions, rel=0.0005)


@pytest.mark.parametrize("name", zoo.list_models())
def test_the_least_image_is_the_least(name):
    net, channels = empty(name), zoo.card(name).input_size[0]
    least = net.smallest
    assert net(torch.zeros(1, channels, least, least, device="meta")).shape[0] == 1
    if least > 1:
        small = torch.zeros(1, channels, least - 1, least - 1, device="meta")
        with pytest.raises((RuntimeError, AssertionError)):
            net.forward(small)  # torch's own words, from deep inside
        with pytest.raises(ValueError, match=f"{least}"):
            net(small)


@pytest.mark.parametrize("name", zoo.list_models())
def test_every_network_can_be_traced(name):
    net = empty(name)
    graph = fx.symbolic_trace(net)
    size = zoo.card(name).input_size
    assert graph(torch.zeros(1, *size, device="meta")).shape == net(torch.zeros(1, *size, device="meta")).shape


def test_other_classes_and_channels():
    for name in zoo.list_models():
        size = zoo.card(name).input_size[1:]
        net = empty(name, num_classes=7, in_channels=2)
        assert net(torch.zeros(2, 2, *size, device="meta")).shape == (2, 7), name


@pytest.mark.parametrize("name", ["googlenet", "googlenet_torchvision", "inception_v3"])
def test_auxiliary_heads_speak_in_training_only(name):
    net = empty(name, aux_logits=True, num_classes=5)
    x = torch.zeros(2, *zoo.card(name).input_size, device="meta")
    assert net(x).shape == (2, 5)
    assert all(out.shape == (2, 5) for out in net.train()(x))


def test_networks_can_be_copied_and_pickled():
    net = zoo.get_model("resnet20").eval()
    x = torch.rand(2, 3, 32, 32)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(other(x), net(x))


def test_gradients_reach_every_parameter():
    for name in ("lenet5_1998", "resnet20", "plain20", "wrn_16_2", "densenet40_k12"):
        net = zoo.get_model(name)
        net(torch.rand(2, *zoo.card(name).input_size)).logsumexp(1).sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters()), name


def test_plain_and_residual_cifar_nets_differ_only_in_the_shortcut():
    plain, residual = zoo.get_model("plain20"), zoo.get_model("resnet20")
    plain.load_state_dict(residual.state_dict())
    block_p, block_r = plain.layer1[0].eval(), residual.layer1[0].eval()
    x = torch.rand(1, 16, 8, 8)
    inside = block_r.bn2(block_r.conv2(block_r.relu(block_r.bn1(block_r.conv1(x)))))
    torch.testing.assert_close(block_p(x), inside.relu())
    torch.testing.assert_close(block_r(x), (inside + x).relu())


def test_lenets_third_layer_reads_sixty_maps():
    from tlcore.zoo.lenet import C3_READS

    assert len(C3_READS) == 16 and sum(map(len, C3_READS)) == 60
    assert [sum(n in maps for maps in C3_READS) for n in range(6)] == [10] * 6


def test_lenets_digits_are_twelve_rows_of_seven():
    codes = zoo.get_model("lenet5_1998").output.codes
    assert codes.shape == (10, 84) and set(codes.unique().tolist()) == {-1.0, 1.0}
    assert len({tuple(c) for c in codes.tolist()}) == 10
    assert zoo.get_model("lenet5_1998", num_classes=12).output.codes.shape == (12, 84)
