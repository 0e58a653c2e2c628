"""Generated worlds are what they say: exact accuracies, true factors, the same bits for the same seed."""

from __future__ import annotations

import bz2
import io
import lzma
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from tests.data import DATA, needs_data
from tlcore import worlds
from tlcore.worlds import real
from tlcore.worlds.outlines import OUTLINES, SHAPES
from tlcore.worlds.shapes import COLOURS, TEXTURES


@pytest.mark.parametrize("prior", [0.5, 0.2, 0.9])
def test_the_best_classifier_of_gaussians_is_the_bayes_rule(prior):
    world = worlds.Gaussian(features=5, distance=1.7, prior=prior, shift=2.0)
    data = world.sample(200_000, seed=1)
    guess = (world.posterior(data.inputs) > 0.5).long()
    assert (guess == data.targets).float().mean() == pytest.approx(world.bayes_accuracy, abs=0.004)
    told = LogisticRegression().fit(data.inputs[:20000], data.targets[:20000])
    weight, bias = torch.tensor(told.coef_[0], dtype=torch.float32), float(told.intercept_[0])
    assert told.score(data.inputs, data.targets) == pytest.approx(world.accuracy_of(weight, bias), abs=0.004)
    assert world.accuracy_of(weight, bias) <= world.bayes_accuracy + 1e-9


def test_posteriors_are_calibrated():
    world = worlds.Gaussian(features=3, distance=1.0, prior=0.3)
    data = world.sample(100_000, seed=2)
    told = world.posterior(data.inputs)
    for low in np.arange(0.1, 0.7, 0.1):
        bin = (told >= low) & (told < low + 0.1)
        assert data.targets[bin].float().mean() == pytest.approx(float(told[bin].mean()), abs=0.02)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(2, 40), st.integers(0, 5))
def test_rho_is_the_cosine(rho, features, seed):
    a, b = (
        worlds.Gaussian(features=features, world_seed=seed),
        worlds.Gaussian(features=features, world_seed=seed, rho=rho),
    )
    assert float(a.direction @ b.direction) == pytest.approx(rho, abs=1e-4)
    assert a.accuracy_of(b.direction) <= a.bayes_accuracy + 1e-6


def test_teachers():
    for hidden in (0, 6):
        world = worlds.TeacherStudent(hidden=hidden, flips=0.2)
        data = world.sample(50_000, seed=3)
        agree = ((world.score(data.inputs) > 0).long() == data.targets).float().mean()
        assert agree == pytest.approx(world.bayes_accuracy, abs=0.01)
        assert 0.3 < data.factors["clean"].float().mean() < 0.7
    same, other = worlds.TeacherStudent(), worlds.TeacherStudent(rho=0.0)
    x = same.sample(20_000).inputs
    assert ((same.score(x) > 0) == (other.score(x) > 0)).float().mean() == pytest.approx(0.5, abs=0.02)


def test_bad_knobs_get_a_sentence():
    for wrong, text in (
        (lambda: worlds.Gaussian(rho=1.2), "from 0 to 1"),
        (lambda: worlds.Gaussian(prior=0), "between 0 and 1"),
        (lambda: worlds.TeacherStudent(flips=0.7), "below 0.5"),
        (lambda: worlds.Shapes(shapes=("circel",)), "nearest: 'circle'"),
        (lambda: worlds.Shapes(label="color"), "nearest: 'colour'"),
        (lambda: worlds.Shapes(textures=()), "at least one"),
        (lambda: worlds.Shapes(weights=(1.0,)), "16 shapes"),
        (lambda: worlds.Shapes().sample(0), "from 1 on"),
        (lambda: worlds.load("cifar"), "nearest: 'cifar10'"),
        (lambda: worlds.load("cifar10-losless"), "nearest: 'cifar10-lossless'"),
        (lambda: worlds.load("mnist-x"), "nearest: 'mnist'"),
        (lambda: worlds.load("digits-3"), "nearest: 'digits'"),
        (lambda: worlds.load("pacs-foto"), "nearest: 'pacs-photo'"),
        (lambda: worlds.load("imagenet-0"), "imagenet-20"),
        (lambda: worlds.load("mnist", split="dev"), "accepted are"),
        (lambda: worlds.load("imdb", root="/nowhere"), "not in /nowhere; set"),
        (lambda: worlds.load("mnist", root="/nowhere", fallback="cats"), "'shapes' and 'digits'"),
    ):
        with pytest.raises(ValueError, match=text):
            wrong()


def test_there_are_sixteen_shapes_in_four_groups():
    assert len(SHAPES) == 16 and [len(group) for group in OUTLINES.values()] == [4] * 4


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_has_an_inside_and_stays_near_the_unit_circle(name):
    axis = torch.linspace(-1.5, 1.5, 301)
    inside = SHAPES[name](axis[None], axis[:, None]) < 0
    far = torch.hypot(*torch.meshgrid(axis, axis, indexing="ij")) > 1.2
    assert 0.05 < inside.float().mean() * 9 / 4 < 0.95 and not inside[far].any()


def test_no_two_shapes_are_alike():
    axis = torch.linspace(-1.2, 1.2, 101)
    drawn = torch.stack([SHAPES[name](axis[None], axis[:, None]) < 0 for name in SHAPES]).float().flatten(1)
    both = drawn @ drawn.T
    union = drawn.sum(1)[:, None] + drawn.sum(1) - both
    overlap = both / union
    assert overlap.fill_diagonal_(0).max() < 0.85


def test_the_same_seed_gives_the_same_bits():
    world = worlds.Shapes(blur=(0.0, 0.5))
    a, b = world.sample(700, seed=5), world.sample(700, seed=5)
    assert torch.equal(a.inputs, b.inputs) and all(torch.equal(a.factors[k], b.factors[k]) for k in a.factors)
    assert not torch.equal(a.inputs, world.sample(700, seed=6).inputs)
    assert a.inputs.min() >= 0 and a.inputs.max() <= 1


def test_masks_and_boxes_are_where_the_shape_is():
    world = worlds.Shapes(noise=0.0, slant=0.0, gain=(1, 1), clutter=0.0, textures=("plain",), backgrounds=("plain",))
    data = world.sample(300, seed=7)
    masks, boxes = data.factors["mask"], data.factors["box"]
    assert masks.flatten(1).any(1).all()
    rows = torch.arange(32)
    for mask, box in zip(masks[:50], boxes[:50]):
        left, top, right, bottom = box.tolist()
        inside = ((rows >= top) & (rows < bottom))[:, None] & ((rows >= left) & (rows < right))
        assert not (mask & ~inside).any()
        assert mask[top].any() and mask[bottom - 1].any() and mask[:, left].any() and mask[:, right - 1].any()
    ground = data.inputs[:, :, 0, 0, None, None]  # a corner is ground
    differs = (data.inputs - ground).abs().amax(1) > 0.02
    clear = differs.flatten(1).any(1)  # now and then shape and ground have one colour
    assert clear.float().mean() > 0.95
    near = torch.nn.functional.max_pool2d(masks[:, None].float(), 5, 1, 2)[
        :, 0
    ].bool()  # soft edges reach a little further
    assert (differs & ~near).float().mean() < 0.001 and (differs & masks).sum() > 0.9 * masks[clear].sum()


@pytest.mark.parametrize("label", ["shape", "superclass", "texture", "colour", "background"])
def test_any_factor_can_be_the_label(label):
    data = worlds.Shapes(label=label).sample(2000, seed=1)
    assert torch.equal(data.targets, data.factors[label])
    assert (data.counts() > 2000 / len(data.classes) * 0.7).all()


def test_superclasses_count_only_what_is_there():
    data = worlds.Shapes(label="superclass", shapes=("star", "circle", "ring")).sample(500)
    assert data.classes == ("round", "figure")
    named = [data.classes[n] for n in data.targets.tolist()]
    wanted = ["figure" if n == 0 else "round" for n in data.factors["shape"].tolist()]
    assert named == wanted


def test_the_colour_is_the_colour():
    world = worlds.Shapes(
        shapes=("square",), textures=("plain",), noise=0.0, slant=0.0, gain=(1, 1), scale=(0.7, 0.8), offset=0.0
    )
    data = world.sample(400, seed=2)
    middle = data.inputs[:, :, 14:18, 14:18].mean((2, 3))
    palette = torch.tensor([COLOURS[name] for name in world.colours])
    seen = torch.cdist(middle, palette).argmin(1)
    assert (seen == data.factors["colour"]).float().mean() > 0.97


def test_shares_of_shapes_are_the_prior():
    shares = (0.7, 0.2, 0.1)
    data = worlds.Shapes(shapes=("circle", "star", "T"), weights=shares).sample(20_000)
    assert (data.counts() / 20_000 - torch.tensor(shares)).abs().max() < 0.01


def test_sizes_other_than_32():
    data = worlds.Shapes(size=64).sample(10)
    assert data.inputs.shape == (10, 3, 64, 64) and data.factors["mask"].shape == (10, 64, 64)
    assert len(TEXTURES) == 6


def test_splits_and_subsets_keep_the_classes_and_the_origin():
    data = worlds.Shapes().sample(1600, seed=1)
    train, test = data.split(0.75, seed=3)
    assert len(train) + len(test) == 1600 and train.origin == data.origin
    assert (train.counts() - 3 * test.counts()).abs().max() <= 4
    few = data.subset(per_class=5, seed=1)
    assert few.counts().tolist() == [5] * 16
    two = data.subset(classes=("star", "circle"))
    assert two.classes == ("star", "circle")
    assert all(two.classes[n] == worlds.Shapes().shapes[s] for n, s in zip(two.targets, two.factors["shape"]))
    masks = data.labelled_by("mask")
    assert masks.targets.shape == (1600, 32, 32) and masks.classes == ()
    assert sum(len(y) for _, y in data.batches(100, shuffle=True)) == 1600
    for wrong, text in (
        (lambda: data.split(1.5), "sum to less than 1"),
        (lambda: data.subset(per_class=500), "too few of"),
        (lambda: data.subset(size=9999), "from 1 to 1600"),
        (lambda: data.subset(classes=("sta",)), "nearest: 'star'"),
        (lambda: data.labelled_by("masks"), "nearest: 'mask'"),
        (lambda: masks.counts(), "no classes"),
        (lambda: worlds.Dataset(torch.zeros(3, 1), torch.zeros(2)), "inputs has 3, targets has 2"),
    ):
        with pytest.raises(ValueError, match=text):
            wrong()


def test_a_named_fallback_says_what_it_is():
    data = worlds.load("cifar10", root="/nowhere", fallback="shapes")
    assert "in place of cifar10" in data.origin and data.inputs.dtype == torch.uint8
    assert worlds.load("digits", split="train").counts().min() > 90


@pytest.mark.parametrize("name", ["cifar10-lossless", "cifar10-jpeg", "pacs"])
def test_what_cannot_be_fetched_is_not_replaced(tmp_path, monkeypatch, name):
    monkeypatch.setattr(real, "_fetch", lambda *_: pytest.fail("fetched something else"))
    with pytest.raises(ValueError, match="it cannot be fetched, only cifar10, cifar100, mnist, usps can; set"):
        worlds.load(name, root=tmp_path, download=True)


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cifar10", "cifar10/cifar10_jpeg.npz"),
        ("usps", "usps/usps_16x16.npz"),
        ("usps", "usps.bz2"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte.gz"),
        ("pacs", "domains/pacs_96.zip"),
        ("trec6", "text/trec_train_5500.label.xz"),
        ("imdb", "text/imdb_train.tsv.xz"),
        ("sst2", "text/sst2_stsa.binary.train.xz"),
        ("mr", "text/mr_rt-polarity.neg.xz"),
    ],
)
def test_broken_files_get_a_sentence(tmp_path, name, path):
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).write_bytes(b"PK\x03\x04 a download that stopped")
    with pytest.raises(ValueError, match=rf"broken or incomplete .*{Path(path).name}: .*remove it there"):
        worlds.load(name, root=tmp_path)
    assert (tmp_path / path).is_file(), "a file of the user's own is left alone"


def idx(*sizes: int) -> bytes:
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(int(np.prod(sizes)))


@pytest.mark.parametrize("labels", [idx(5)[:-2], idx(5)[:6], idx(5)[:2], b"", idx(4)])
def test_a_label_file_that_ends_early_is_named(tmp_path, labels):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (raw / "t10k-images-idx3-ubyte").write_bytes(idx(5, 28, 28))
    (raw / "t10k-labels-idx1-ubyte").write_bytes(idx(5))
    assert len(worlds.load("mnist", split="test", root=tmp_path)) == 5
    (raw / "t10k-labels-idx1-ubyte").write_bytes(labels)
    with pytest.raises(ValueError, match=r"broken or incomplete .*t10k-labels-idx1-ubyte: .*remove it there"):
        worlds.load("mnist", split="test", root=tmp_path)


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("trec6", "trec_train_5500.label.xz", "HUM:ind Who is it ?\nHU"),
        ("imdb", "imdb_train.tsv.xz", "1\t9\tgood\n0\t1"),
        ("sst2", "sst2_stsa.binary.train.xz", "1 good\n0"),
    ],
)
def test_a_text_that_ends_early_is_named(tmp_path, name, file, text):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / file).write_bytes(lzma.compress(text.encode()))
    with pytest.raises(ValueError, match=rf"broken or incomplete .*{file}: .*remove it there"):
        worlds.load(name, root=tmp_path)


def test_a_text_ends_where_its_line_does(tmp_path):
    (tmp_path / "text").mkdir()
    odd = "one\u2028two\x85three\x0cfour"
    for file, text, encoding in (
        ("imdb_train.tsv.xz", f"1\t9\t{odd}\n0\t2\tbad\n", "utf-8"),
        ("trec_train_5500.label.xz", "HUM:ind Who\x85 is it ?\nNUM:x How many ?\n", "latin-1"),
        ("wikitext2_train.txt.xz", f" {odd} \n\n = Title = \n", "utf-8"),
    ):
        (tmp_path / "text" / file).write_bytes(lzma.compress(text.encode(encoding)))
    assert worlds.load("imdb", root=tmp_path).inputs == [odd, "bad"]
    assert worlds.load("trec6", root=tmp_path).inputs == ["Who\x85 is it ?", "How many ?"]
    assert worlds.load("wikitext2", root=tmp_path).inputs == [odd, "= Title ="]


def test_usps_is_found_where_torchvision_put_it(tmp_path):
    row = "3 " + " ".join(f"{n + 1}:{-1 + n / 128:.4f}" for n in range(256))
    (tmp_path / "usps.t.bz2").write_bytes(bz2.compress(f"{row}\n{row}\n".encode()))
    data = worlds.load("usps", split="test", root=tmp_path)
    assert data.inputs.shape == (2, 1, 16, 16) and data.inputs.dtype == torch.uint8 and data.targets.tolist() == [2, 2]
    with pytest.raises(ValueError, match="not in"):
        worlds.load("usps", split="train", root=tmp_path)


def test_a_domain_of_pacs_is_cut_alike_alone_and_among_others(tmp_path):
    from PIL import Image

    (tmp_path / "domains").mkdir()
    with zipfile.ZipFile(tmp_path / "domains" / "pacs_96.zip", "w") as file:
        for number, domain in enumerate(real._PACS_DOMAINS):
            for kind in ("dog", "person"):
                for n in range(12 + 5 * number):
                    picture = io.BytesIO()
                    Image.new("RGB", (96, 96), (60 * number, 100 * (kind == "dog"), 8 * n)).save(picture, "jpeg")
                    file.writestr(f"pacs/{domain}/{kind}/{n:03}.jpg", picture.getvalue())
    for split in ("train", "test", "valid"):
        every = worlds.load("pacs", split=split, root=tmp_path)
        assert every.classes == real._PACS and set(every.targets.tolist()) == {0, 6}
        for number, domain in enumerate(real._PACS_DOMAINS):
            alone = worlds.load(f"pacs-{domain}", split=split, root=tmp_path)
            part = every[every.factors["domain"] == number]
            assert torch.equal(part.inputs, alone.inputs) and torch.equal(part.targets, alone.targets)
            assert set(alone.factors["domain"].tolist()) == {number}


def test_a_download_that_stops_leaves_nothing_behind(tmp_path, monkeypatch):
    def stops(family, folder, split, *, download):
        (folder / "MNIST").mkdir()
        (folder / "MNIST" / "half.gz").write_bytes(b"half")
        raise OSError("the line went dead")

    monkeypatch.setattr(real, "_from_torchvision", stops)
    with pytest.raises(ValueError, match=r"the line went dead.*removed"):
        worlds.load("mnist", root=tmp_path, download=True)
    assert not list(tmp_path.iterdir())


def test_a_download_takes_the_place_of_what_is_broken(tmp_path, monkeypatch):
    broken = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(b"half")

    def fetches(family, folder, split, *, download):
        (folder / "MNIST" / "raw").mkdir(parents=True)
        (folder / "MNIST" / "raw" / broken.name).write_bytes(b"whole")
        return worlds.Dataset(torch.zeros(3, 1, 28, 28), torch.zeros(3).long(), ("0",), "fetched")

    monkeypatch.setattr(real, "_from_torchvision", fetches)
    assert worlds.load("mnist", root=tmp_path, download=True).origin == "fetched"
    assert broken.read_bytes() == b"whole" and [p.name for p in tmp_path.iterdir()] == ["MNIST"]


def test_a_folder_of_classes(tmp_path):
    from PIL import Image

    for label, colour in (("n01", (200, 0, 0)), ("n02", (0, 0, 200))):
        (tmp_path / "imagenet" / "train" / label).mkdir(parents=True)
        for n in range(3):
            Image.new("RGB", (300, 260), colour).save(tmp_path / "imagenet" / "train" / label / f"{n}.png")
    data = worlds.load("imagenet-2", root=tmp_path)
    assert data.inputs.shape == (4, 3, 224, 224) and data.classes == ("n01", "n02") and "2 a class" in data.origin
    assert bool((data.inputs[data.targets == 1][:, 2] == 200).all())
    with pytest.raises(ValueError, match="imagenet-20"):
        worlds.load("imagenet-few", root=tmp_path)


SIZES = {
    "cifar10-lossless": ("test", 1017, (3, 32, 32)),
    "mnist": ("test", 10_000, (1, 28, 28)),
    "usps": ("train", 7291, (1, 16, 16)),
    "pacs-photo": ("test", 334, (3, 96, 96)),
    "trec6": ("train", 5452, None),
    "imdb": ("train", 25_000, None),
    "sst2": ("valid", 872, None),
    "mr": ("test", 1066, None),
    "wikitext2": ("valid", None, None),
}


@needs_data
@pytest.mark.parametrize("name", SIZES)
def test_real_data(name):
    split, count, shape = SIZES[name]
    data = worlds.load(name, split=split, root=DATA)
    assert count is None or abs(len(data) - count) <= 3
    if shape:
        assert data.inputs.shape[1:] == shape and data.inputs.dtype == torch.uint8 and (data.counts() > 0).all()
    else:
        assert all(isinstance(text, str) and text for text in data.inputs)


@needs_data
def test_the_jpeg_set_is_in_the_order_of_the_lossless_one():
    with np.load(DATA / "cifar10" / "lossless_subset_labels.npz") as labels:
        index = torch.tensor(labels["test_index"]).long()
    jpeg, exact = (
        worlds.load("cifar10-jpeg", split="test", root=DATA),
        worlds.load("cifar10-lossless", split="test", root=DATA),
    )
    assert torch.equal(jpeg.targets[index], exact.targets)
    assert (jpeg.inputs[index].float() - exact.inputs.float()).abs().mean() < 8


@needs_data
def test_film_reviews_by_the_sentence():
    sizes = [len(worlds.load("sst2", split=split, root=DATA)) for split in ("train", "valid", "test")]
    assert sizes == [6920, 872, 1821]
    train, test = (worlds.load("mr", split=split, root=DATA) for split in ("train", "test"))
    assert len(train) + len(test) == 10_662 and test.counts().tolist() == [533, 533]
    assert len({*train.inputs} & {*test.inputs}) < 10  # a few sentences come twice in the files
    with pytest.raises(ValueError, match="'train' and 'test'"):
        worlds.load("mr", split="valid", root=DATA)
