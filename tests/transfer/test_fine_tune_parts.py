"""Heads, stages, plans and masks: each against torch's own layers, a count, or a formula written out."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tlcore import anatomy, training, transfer, worlds, zoo
from tlcore.training import Arithmetic

PLAIN = {"arithmetic": Arithmetic(), "device": "cpu", "progress": False}


def test_a_head_is_drawn_as_torch_draws_one():
    net = transfer.replace_head(nn.Sequential(nn.Flatten(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 9)), 5, seed=7)
    torch.manual_seed(7)
    theirs = nn.Linear(4, 5)
    torch.testing.assert_close(net[3].weight, theirs.weight)
    torch.testing.assert_close(net[3].bias, theirs.bias)
    state = torch.get_rng_state()
    transfer.replace_head(net, 2)
    assert torch.equal(state, torch.get_rng_state())  # nobody else's draws are used up


@pytest.mark.parametrize("name", ["resnet20", "vgg_a", "densenet40_k12", "mobilenet_v1", "googlenet", "inception_v3"])
def test_the_head_reads_the_neck_and_all_else_stays(name):
    with torch.device("meta"):
        net = zoo.get_model(name)
    before = dict(net.named_parameters())
    head = transfer.find_head(net)
    seen = anatomy.trace(net)
    assert seen.outputs[head].all_input_nodes[0].name == anatomy.resolve(net, "neck")
    assert transfer.replace_head(net, 3) is net and net.num_classes == 3
    changed = [name for name, p in net.named_parameters() if p is not before[name]]
    assert changed == [f"{head}.weight", f"{head}.bias"]
    assert net.get_submodule(head).weight.shape[0] == 3


def test_other_forms_of_heads():
    convolutional = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 10, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert transfer.find_head(convolutional) == "2"
    assert transfer.replace_head(convolutional, 4)(torch.zeros(2, 3, 9, 9)).shape == (2, 4)
    bare = nn.Sequential(nn.Linear(3, 4, bias=False).double())
    assert transfer.replace_head(bare, 2)[0].bias is None and bare[0].weight.dtype == torch.float64
    auxiliary = transfer.replace_head(zoo.get_model("googlenet", aux_logits=True), 7).train()
    assert [out.shape[1] for out in auxiliary(torch.zeros(2, 3, 64, 64))] == [7, 7, 7]

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.two(self.one(x) if x.sum() > 0 else x)  # torch.fx cannot trace this

    assert transfer.find_head(Branches()) == "two"
    assert transfer.replace_head(Branches(), 6)(torch.ones(1, 3)).shape == (1, 6)


def test_no_head_gets_a_sentence():
    for net, text in (
        (zoo.get_model("lenet5_1998"), r"'output' \(RadialOutput\)"),
        (nn.Sequential(nn.Conv2d(3, 4, 3)), r"'0' \(Conv2d\)"),
        (nn.Sequential(nn.ReLU()), "Sequential"),
        (nn.Linear(3, 2), "one single layer"),
    ):
        with pytest.raises(ValueError, match=text):
            transfer.replace_head(net, 3)
    with pytest.raises(ValueError, match="whole number from 1 on"):
        transfer.replace_head(zoo.get_model("resnet20"), 0)


@pytest.mark.parametrize(
    ("name", "firsts"),
    [
        ("resnet18", ["conv1", "layer1.0", "layer2.0", "layer3.0", "layer4.0", "fc"]),
        ("vgg_a", ["features.0", "features.3", "features.6", "features.11", "features.16", "classifier.0",
                   "classifier.3", "classifier.6"]),
        ("densenet121", ["conv0", "body.block1.0", "body.block2.0", "body.block3.0", "body.block4.0", "classifier"]),
        ("googlenet", ["stem.0", "stem.3", "inception3a", "inception4a", "inception5a", "fc"]),
        ("mobilenet_v1", ["stem", "body.0", "body.1", "body.3", "body.5", "body.11", "classifier"]),
    ],
)  # fmt: skip
def test_stages(name, firsts):
    with torch.device("meta"):
        net = zoo.get_model(name)
    names = {module: path for path, module in net.named_modules()}
    assert [names[stage[0]] for stage in transfer.stages(net)] == firsts


def test_stages_work_at_one_resolution():
    """Measured: within a stage of VGG, convolutions give maps of one size, and the next stage's are half as large."""
    sizes = {}
    with torch.device("meta"):
        net = zoo.get_model("vgg_a")
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda m, i, out, path=path: sizes.update({path: out.shape[-1]}))
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32, device="meta"))
    names = {module: path for path, module in net.named_modules()}
    assert [{sizes[names[m]] for m in stage} for stage in transfer.stages(net)[:5]] == [{32}, {16}, {8}, {4}, {2}]


@pytest.mark.parametrize(
    "name", ["lenet5_1998", "alexnet", "vgg_d", "inception_v3", "se_resnet18", "wrn_16_2", "efficientnet_b0"]
)
def test_every_parameter_is_in_one_group(name):
    with torch.device("meta"):
        net = zoo.get_model(name)
    for groups in (transfer.stages(net), training.layer_groups(net)):
        ids = [id(p) for group in groups for module in group for p in module.parameters()]
        assert sorted(ids) == sorted(id(p) for p in net.parameters())


def test_a_networks_own_parameters_are_in_the_lowest_group():
    class WithToken(nn.Module):
        def __init__(self):
            super().__init__()
            self.token, self.body, self.head = nn.Parameter(torch.ones(1, 4)), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.head(self.body(x + self.token))

    net = WithToken()
    assert next(transfer.stages(net)[0][0].parameters()) is net.token and len(transfer.stages(net)) == 3
    x, y = torch.randn(8, 4), torch.tensor([0, 1] * 4)
    transfer.fine_tune(net, [(x, y)], plan="head_only", epochs=2, **PLAIN)
    assert torch.equal(net.token, torch.ones(1, 4)) and not net.token.requires_grad


def test_groups_of_your_own():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 2))
    own = [[net[0], net[1]], [net[2]]]
    batches = [(torch.randn(4, 3), torch.tensor([0, 1, 2, 3]))]
    done = transfer.fine_tune(net, batches, plan="head_only", groups=own, num_classes=4, epochs=1, **PLAIN)
    assert [row[1] for row in done.groups.rows] == ["0, 1", "2"] and net[2].weight.requires_grad
    own = [own[0], [net[2]]]
    for wrong, text in (([[net[0]], [net[2]]], "in no group: 1.weight"), ([*own, [net[0]]], "more than one: 0.weight")):
        with pytest.raises(ValueError, match=text):
            transfer.group_plan(net, groups=wrong, epochs=1)
    assert len(transfer.group_plan(zoo.get_model("resnet20"), groups="layers", epochs=1).rows) == 11


def test_plans_share_out_the_epochs():
    shares = [[p.epochs for p in transfer.as_plan(plan).phases(4, n)] for plan, n in (
        ("procedure", 7), (transfer.procedure(1), 7), (transfer.gradual(2), 9), (transfer.gradual(first=4), 3),
        ([transfer.Phase(), transfer.Phase(0, 2), transfer.Phase()], 7),
    )]  # fmt: skip
    assert shares == [[3, 4], [1, 6], [2, 2, 2, 3], [3], [2, 2, 3]]
    assert transfer.discriminative(10).phases(3, 1)[0].rates(3, 1.0) == pytest.approx([0.01, 0.1, 1.0])
    for make, text in (
        (lambda: transfer.Phase(epochs=0), "from 1 on"), (lambda: transfer.Phase(factor=0), "above 0"),
        (lambda: transfer.Phase(schedule="cosin"), "'cosine'"), (lambda: transfer.top(0), "nothing is left to train"),
        (lambda: transfer.bottom_frozen(-1), "counts from the head"), (lambda: transfer.gradual(0), "from 1 on"),
        (lambda: transfer.procedure(unfreeze=1), "from 2 on"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            make()


def test_a_segmenter_computes_the_trunks_maps():
    net = zoo.get_model("resnet20").eval()
    made = transfer.segmenter(net, "layer2", 3)
    x = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        maps = net.layer2(net.layer1(net.relu(net.bn1(net.conv1(x)))))
        torch.testing.assert_close(made.trunk(x), maps)
        coarse = torch.einsum("nchw,kc->nkhw", maps, made.head.weight[:, :, 0, 0]) + made.head.bias.view(1, -1, 1, 1)
        torch.testing.assert_close(made(x), nn.Upsample(size=(32, 32), mode="bilinear")(coarse))
    assert made.trunk.layer2 is not net.layer2 and not hasattr(made.trunk, "layer3")
    assert transfer.find_head(made) == "head" and len(transfer.stages(made)) == 4
    copied = copy.deepcopy(made)
    torch.testing.assert_close(copied(x), made(x))


def test_a_segmenter_learns_masks():
    """A bright rectangle on a dark ground, the mask made of truth values."""
    draws = torch.Generator().manual_seed(0)
    masks = torch.zeros(80, 16, 16, dtype=torch.bool)
    for mask, (top, left) in zip(masks, torch.randint(10, (80, 2), generator=draws).tolist()):
        mask[top : top + 6, left : left + 6] = True
    images = 0.6 * masks[:, None] + 0.4 * torch.rand(80, 3, 16, 16, generator=draws)
    data = worlds.Dataset(images, masks)
    classifier = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )
    net = transfer.segmenter(classifier, "1", 2, input_size=(3, 16, 16))
    transfer.fine_tune(net, data[:64], data[64:], "full", epochs=6, lr=0.3, batch_size=8, **PLAIN)
    with torch.no_grad():
        assert transfer.intersection_over_union(net(data.inputs[64:]), data.targets[64:], 2).min() > 0.9


def test_intersection_over_union_by_counting():
    draws = torch.Generator().manual_seed(0)
    given, masks = (torch.randint(3, (2, 4, 5), generator=draws) for _ in range(2))
    expected = []
    for k in range(4):
        pairs = [(int(a) == k, int(b) == k) for a, b in zip(given.flatten(), masks.flatten())]
        both, either = sum(a and b for a, b in pairs), sum(a or b for a, b in pairs)
        expected.append(both / either if either else float("nan"))
    found = transfer.intersection_over_union(given, masks, 4)
    assert found.tolist() == pytest.approx(expected, nan_ok=True)
    logits = nn.functional.one_hot(given, 4).permute(0, 3, 1, 2).float()
    assert transfer.intersection_over_union(logits, masks, 4).tolist() == pytest.approx(expected, nan_ok=True)
    with pytest.raises(ValueError, match="class numbers of the masks' shape"):
        transfer.intersection_over_union(given[:1], masks, 3)


def test_bad_cuts_get_a_sentence():
    net = zoo.get_model("resnet20")
    for options, text in (
        ({"node": "layer9"}, "nearest: 'layer"), ({"node": "neck"}, "maps .* are accepted"),
        ({"num_classes": 1}, "from 2 on"), ({"input_size": (1, 32, 32)}, "cannot take it"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=text):
            transfer.segmenter(net, **{"node": "layer3", "num_classes": 2} | options)
