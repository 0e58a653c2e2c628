"""Heads, curves over depth and patches, against doing it by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from tlcore import transfer, worlds, zoo
from tlcore.transfer import FeatureExtractor, classifier, compare_heads, depth_order, layer_curve, top_patches

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def data() -> tuple[worlds.Dataset, worlds.Dataset]:
    world = worlds.Shapes(shapes=("circle", "star", "square"), colours=("red", "green", "blue"))
    return world.sample(120, seed=1), world.sample(90, seed=2)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return zoo.get_model("resnet20")


def test_heads_learn_the_same_every_time():
    draws = np.random.default_rng(0)
    x, y = draws.normal(size=(60, 20)).astype(np.float32), np.arange(60) % 3
    x[np.arange(60), y] += 4
    for name in transfer.HEADS:
        one, two = classifier(name, seed=3).fit(x[:45], y[:45]), classifier(name, seed=3).fit(x[:45], y[:45])
        assert one.score(x[45:], y[45:]) > 0.8, name
        np.testing.assert_array_equal(one.predict(x), two.predict(x))
    with pytest.raises(ValueError, match="nearest: 'forest'"):
        classifier("forrest")


def test_compare_heads_is_doing_it_by_hand(net, data):
    train, test = data
    found = compare_heads(net, train, test, "layer2", heads=("svm",), pixels=("svm",), **CPU)
    reader = FeatureExtractor(net, "layer2", **CPU)
    neck = classifier("svm").fit(reader.transform(train), train.targets)
    plain = classifier("svm").fit(train.inputs.flatten(1).numpy(), train.targets)
    wanted = [
        neck.score(reader.transform(test), test.targets),
        plain.score(test.inputs.flatten(1).numpy(), test.targets),
    ]
    assert found.column("accuracy") == pytest.approx(wanted)
    assert found.column("features") == [32, 3072] and "layer2" in repr(found) and "<table>" in found._repr_html_()
    assert len(found.plot().patches) == 2


def test_one_image_a_class_and_absent_classes(net, data):
    train, test = data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = compare_heads(net, train.subset(per_class=1), test, **CPU)
    assert len(one.rows) == 4 and all(0 <= row.accuracy <= 1 for row in one.rows)
    absent = train[train.targets != 1]
    with pytest.warns(UserWarning, match=r"of class 'star', so no head can predict it; \d+ of 90 test images"):
        found = compare_heads(net, absent, test, heads=("svm",), pixels=(), **CPU)
    assert found.rows[0].accuracy <= (test.targets != 1).float().mean()
    with pytest.raises(ValueError, match="all images to train on are of class 'star'; a head needs two"):
        compare_heads(net, train[train.targets == 1], test, **CPU)
    with pytest.raises(ValueError, match="needs class numbers"):
        compare_heads(net, train.labelled_by("mask"), test, **CPU)
    with pytest.raises(ValueError, match="nearest: 'svm'"):
        compare_heads(net, train, test, heads=("swm",), **CPU)


def test_the_curve_is_one_extractor_a_layer(net, data, tmp_path):
    train, test = data
    layers = ["conv1", "layer1", "neck"]
    found = layer_curve(net, train, test, layers, labels=("colour", "shape"), pool=2, cache=tmp_path, **CPU)
    assert found.labels == ["colour", "shape"] and found.column("layer", "shape") == layers
    for row in found.rows:
        reader = FeatureExtractor(net, row.layer, pool=2, **CPU)
        head = classifier("softmax").fit(reader.transform(train), train.factors[row.label])
        assert head.score(reader.transform(test), test.factors[row.label]) == pytest.approx(row.accuracy, abs=0.03)
        most = train.factors[row.label].bincount().argmax()
        assert row.chance == pytest.approx((test.factors[row.label] == most).float().mean().item())
    assert found.best("colour").accuracy == max(found.column("accuracy", "colour"))
    ax = found.plot()
    assert [text.get_text() for text in ax.get_xticklabels()] == layers
    np.testing.assert_allclose(ax.lines[0].get_ydata(), found.column("accuracy", "colour"))
    assert len(list(tmp_path.iterdir())) == 6
    again = layer_curve(net, train, test, layers, labels=("colour", "shape"), pool=2, cache=tmp_path, **CPU)
    assert again.column("accuracy") == found.column("accuracy")


def test_a_curve_with_another_head_and_its_errors(net, data):
    train, test = data
    found = layer_curve(net, train, test, ["conv1"], head=KNeighborsClassifier(3), **CPU)
    assert found.labels == ["target"] and len(found.rows) == 1
    with pytest.raises(ValueError, match="nearest: 'colour'"):
        layer_curve(net, train, test, labels=("color",), **CPU)
    with pytest.raises(ValueError, match="no node named 'conv9'"):
        layer_curve(net, train, test, ["conv9"], **CPU)
    with pytest.raises(ValueError, match="accepted are layer, label"):
        found.column("loss")


@pytest.mark.parametrize("name", ["resnet20", "vgg_a", "googlenet", "densenet121", "lenet5", "mobilenet_v1"])
def test_depth_order_goes_from_the_input_to_the_logits(name):
    with torch.device("meta"):
        model = zoo.get_model(name)
    names = depth_order(model, 8)
    assert names[0] == "input" and "neck" in names and 4 <= len(names) <= 8 and len(set(names)) == len(names)
    seen = transfer.features.Cutter(model).seen
    order = list(seen.graph.nodes)
    places = [order.index(seen.resolve(one)) for one in names]
    assert places == sorted(places) and order[places[-1]] in order[-1].all_input_nodes
    if name != "densenet121":  # everything passes each: without it, the output cannot be reached from the input
        for one in names[1:-1]:
            assert not reaches(seen.graph, without=seen.resolve(one))


def reaches(graph: torch.fx.Graph, without: torch.fx.Node) -> bool:
    """Whether some path leads from the input to the output around a node."""
    nodes = list(graph.nodes)
    seen, todo = set(), [nodes[0]]
    while todo:
        node = todo.pop()
        if node not in seen and node is not without:
            seen.add(node)
            todo += node.users
    return nodes[-1] in seen


def test_patches_are_the_maxima_and_alone_make_them():
    """Inside the border a patch, put through the layers, gives the activation by itself: the field is all there is."""
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 4, 3, padding=1),
        nn.Flatten(),
        nn.Linear(4 * 64, 2),
    ).eval()
    x = torch.rand(30, 3, 16, 16)
    found = top_patches(net, "3", 2, x, count=30, batch_size=7, mean=0.5, std=0.5, **CPU)
    with torch.no_grad():
        maps = net[:4]((x - 0.5) / 0.5)[:, 2]
    wanted = maps.flatten(1).max(1).values.sort(descending=True).values
    np.testing.assert_allclose([p.activation for p in found], wanted, rtol=1e-4, atol=1e-5)
    assert found.size == (10, 10) and len({p.image for p in found}) == 30
    inside = 0
    for p in found:
        assert maps[p.image][p.position] == pytest.approx(p.activation, rel=1e-4, abs=1e-5)
        top, left, bottom, right = p.box
        assert 0 <= top < bottom <= 16 and 0 <= left < right <= 16
        assert torch.equal(p.picture, x[p.image, :, top:bottom, left:right])
        if p.picture.shape[1:] == (10, 10):
            inside += 1
            with torch.no_grad():
                alone = net[:4]((p.picture[None] - 0.5) / 0.5)[0, 2, 2:3, 2:3]  # in the middle no padding is seen
            assert alone.item() == pytest.approx(p.activation, rel=1e-4, abs=1e-5)
        else:
            assert 0 in p.box[:2] or 16 in p.box[2:]
    assert inside >= 3
    assert len(found.plot()) == 30


def test_nothing_outside_the_box_matters(net, data):
    x = data[1].inputs[:20]
    for patch in top_patches(net, "layer1.1", 5, x, count=3, **CPU):
        top, left, bottom, right = patch.box
        other = torch.rand(1, 3, 32, 32)
        other[0, :, top:bottom, left:right] = patch.picture
        made = FeatureExtractor(net, "layer1.1", pool="flatten", **CPU).transform(other).reshape(16, 32, 32)
        assert made[5][patch.position] == pytest.approx(patch.activation, rel=1e-3, abs=1e-4)


def test_patches_of_vectors_bytes_and_what_is_wrong(net, data):
    x = (data[1].inputs[:10] * 255).to(torch.uint8)
    whole = top_patches(net, "fc", 3, x.numpy(), count=2, **CPU)
    assert whole[0].picture.shape == (3, 32, 32) and whole[0].position == () and whole.size == (32, 32)
    assert whole[0].picture.max() <= 1
    large = top_patches(net, "conv1", 0, x, count=10, size=64, **CPU)
    assert max(side for patch in large for side in patch.box) > 32
    bad = [
        (lambda: top_patches(net, "conv1", 16, x, **CPU), "has channels 0 to 15"),
        (lambda: top_patches(net, "conv2", 0, x, **CPU), "no node named 'conv2'; nearest: 'conv1'"),
        (lambda: top_patches(net, "conv1", 0, x, pool="max", **CPU), "accepted are mean, std"),
        (lambda: top_patches(net, "conv1", 0, x, count=0, **CPU), "from 1 on"),
        (lambda: top_patches(net, "conv1", 0, x[0, 0], **CPU), r"accepted are images \(N, C, H, W\)"),
    ]
    for call, message in bad:
        with pytest.raises(ValueError, match=message):
            call()
