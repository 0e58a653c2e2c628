"""Shifts against closed forms: tilted priors, Bayes' rule, PIL's grey, and what a pair must be."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data import DATA, needs_data
from tlcore import shift, worlds
from tlcore.worlds.outlines import SUPERCLASS_OF

FEW = worlds.Shapes(shapes=("circle", "star", "triangle"))
VECTORS = worlds.Gaussian(features=6)
TEXTS = worlds.Dataset(
    ["the cat sat on the mat", "dogs bark at night", "a bird", "fish swim in the sea all day"] * 200,
    torch.arange(800) % 2,
    ("a", "b"),
    "made here",
)
CASES = [
    (FEW, shift.FeatureSpace(kind="grey")),
    (FEW, shift.FeatureSpace(0.5, kind="resolution")),
    (VECTORS, shift.FeatureSpace(0.5, kind="projection")),
    (TEXTS, shift.FeatureSpace(kind="language")),
    *((FEW, shift.Marginal(kind=kind)) for kind in ("gain", "night", "noise", "blur", "background", "offset")),
    *((VECTORS, shift.Marginal(kind=kind)) for kind in ("gain", "noise", "offset")),
    (TEXTS, shift.Marginal(kind="words")),
    (FEW, shift.Selection()),
    (FEW, shift.Selection(by="scale")),
    (VECTORS, shift.Selection(by=2)),
    (TEXTS, shift.Selection()),
    (FEW, shift.LabelSpace()),
    (worlds.Shapes(), shift.LabelSpace(kind="disjoint")),
    (FEW, shift.Concept()),
    (VECTORS, shift.Concept()),
    (FEW, shift.Prior()),
    (VECTORS, shift.Prior(to=(3, 1))),
    (FEW, shift.Conditional(kind="gain")),
    (VECTORS, shift.Conditional()),
    (TEXTS, shift.Conditional(kind="words")),
]
NAMES = [f"{type(one).__name__}-{getattr(one, 'kind', '')}-{n}" for n, (_, one) in enumerate(CASES)]


@pytest.mark.parametrize(("world", "one"), CASES, ids=NAMES)
def test_every_shift_moves_what_it_names_and_repeats(world, one):
    apart = shift.pair(world, one, size=60, seed=3)
    assert len(apart.source) == len(apart.target) == 60
    assert apart.truth.conditions[one.condition] is True
    again = shift.pair(world, one, size=60, seed=3)
    if isinstance(apart.target.inputs, torch.Tensor):
        assert torch.equal(apart.target.inputs, again.target.inputs)
    else:
        assert apart.target.inputs == again.target.inputs
    assert torch.equal(apart.target.targets, again.target.targets)


@pytest.mark.parametrize(("world", "one"), CASES, ids=NAMES)
def test_without_severity_nothing_moves(world, one):
    from dataclasses import replace

    apart = shift.pair(world, replace(one, severity=0.0), size=60, seed=3)
    plain = shift.pair(world, size=60, seed=3)
    assert not apart.truth.conditions.moved
    assert apart.target.classes == (plain.target.classes if one.condition != "label_space" else apart.source.classes)
    if one.condition == "label_space":
        return  # disjoint classes, severity 0: half of the classes each, the same half
    if isinstance(plain.target.inputs, torch.Tensor):
        assert torch.equal(apart.target.inputs, plain.target.inputs)
    else:
        assert apart.target.inputs == plain.target.inputs
    assert torch.equal(apart.target.targets, plain.target.targets)


def test_a_dataset_is_cut_in_two_without_common_rows():
    data = worlds.Dataset(torch.arange(400.0)[:, None], torch.arange(400) % 2, ("a", "b"))
    apart = shift.pair(data, size=150)
    assert not set(apart.source.inputs[:, 0].tolist()) & set(apart.target.inputs[:, 0].tolist())
    with pytest.raises(ValueError, match="400 rows are too few"):
        shift.pair(data, size=201)


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0.1, 1.0), st.integers(0, 50))
def test_a_moved_prior_is_what_bayes_says(share, severity, seed):
    world = worlds.Gaussian(features=4, distance=1.5)
    data = world.sample(4000, seed=seed)
    one = shift.Prior(severity, to=(1 - share, share))
    rows = one.step(shift.Rows.of(data), torch.Generator())
    old = float(data.targets.double().mean())
    new = (1 - severity) * old + severity * share
    assert rows.prior.tolist() == pytest.approx([1 - new, new], abs=1e-4)
    odds = (new / old) / ((1 - new) / (1 - old))  # times 1, the odds of the world's own prior of one half
    expected = world.but(prior=odds / (1 + odds)).posterior(data.inputs)
    assert torch.allclose(rows.data.factors["posterior"][:, 1], expected, atol=1e-3)
    by_label = torch.bincount(data.targets, rows.weights) / rows.weights.sum()
    assert by_label.tolist() == pytest.approx([1 - new, new], abs=1e-4)


@pytest.mark.parametrize("one", [shift.Selection(1.0, by=0), shift.Prior(1.0, to=(0.8, 0.2))])
def test_weights_turn_the_source_into_the_target(one):
    apart = shift.pair(worlds.Gaussian(features=3, distance=2), one, size=6000, seed=2)
    x, w, y = apart.source.inputs.double(), apart.truth.weights.double(), apart.target.inputs.double()
    assert float(w.mean()) == pytest.approx(1, abs=0.05)
    for power in (1, 2):
        means, spread = (w[:, None] * x**power).mean(0), (w[:, None] * x**power).std(0) + (y**power).std(0)
        assert bool(((means - (y**power).mean(0)).abs() < 4 * spread / 6000**0.5).all())
    share = (w * apart.source.targets).mean()
    assert float(share) == pytest.approx(float(apart.target.targets.double().mean()), abs=0.03)


def test_weights_of_two_shifts_multiply():
    data = worlds.Gaussian(features=3).sample(2000)
    one, other = shift.Selection(0.5, by=1), shift.Selection(0.7, by=2)
    draws = torch.Generator()
    both = other.step(one.step(shift.Rows.of(data), draws), draws).weights
    apart = [s.step(shift.Rows.of(data), draws).weights for s in (one, other)]
    assert torch.allclose(both, apart[0] * apart[1])


def test_a_relabelled_world_keeps_its_inputs_and_knows_its_labels():
    data = FEW.sample(500)
    rows = shift.Concept(1.0).step(shift.Rows.of(data), torch.Generator().manual_seed(0))
    assert torch.equal(rows.data.targets, (data.targets + 1) % 3)
    assert rows.data.inputs is data.inputs
    noisy = shift.Concept(0.3).step(shift.Rows.of(data), torch.Generator().manual_seed(0))
    assert float((noisy.data.targets != data.targets).double().mean()) == pytest.approx(0.3, abs=4 * 0.0205)
    assert torch.allclose(noisy.data.factors["posterior"].gather(1, data.targets[:, None]), torch.tensor(0.7))
    old = data.counts() / len(data)
    assert torch.allclose(noisy.prior, 0.7 * old + 0.3 * old.roll(1))  # class n gives three tenths to the next


def test_a_sensor_takes_the_posterior_along():
    world = worlds.Gaussian(features=5)
    apart = shift.pair(world, shift.Marginal(1.0, kind="gain"), size=200)
    assert torch.allclose(apart.truth.labelling[:, 1], world.posterior(apart.target.inputs / 2), atol=1e-5)
    assert apart.truth.conditions["concept"] is True and apart.truth.weights is None
    assert shift.pair(world, shift.Marginal(1.0, kind="noise"), size=200).truth.labelling is None


def test_what_noise_has_blurred_stays_unknown():
    noise = shift.Marginal(0.5, kind="noise")
    for then in (shift.Concept(0.5), shift.Prior(1.0, to=(0.8, 0.2)), shift.Selection(0.5, by=1)):
        apart = shift.pair(VECTORS, [noise, then], size=300)
        assert apart.truth.labelling is None and bool(apart.truth.prior.isfinite().all())
        assert apart.truth.conditions["concept"] is True
    assert shift.pair(FEW, [noise, shift.Concept(0.5)], size=50).truth.labelling is not None


def test_less_than_a_pixel_is_no_other_space():
    for world, kind in ((FEW, "resolution"), (VECTORS, "projection")):
        apart = shift.pair(world, shift.FeatureSpace(0.01, kind=kind), size=20)
        assert not apart.truth.conditions.moved and apart.target.inputs.shape == apart.source.inputs.shape


def test_the_bayes_table():
    """Which faces of P(X, Y) move with which cause; with and without overlapping classes."""
    told = {
        ("certain", "marginal"): {"marginal", "conditional"},
        ("certain", "concept"): {"concept", "conditional"},
        ("certain", "prior"): {"prior", "marginal"},
        ("certain", "conditional"): {"conditional", "marginal"},
        ("overlapping", "marginal"): {"marginal", "conditional", "concept"},
        ("overlapping", "concept"): {"concept", "conditional"},
        ("overlapping", "prior"): {"prior", "marginal", "concept"},
        ("overlapping", "conditional"): {"conditional", "marginal", "concept"},
    }
    for (kind, cause), expected in told.items():
        data = (FEW if kind == "certain" else VECTORS).sample(3000)
        assert shift.SHIFTS[cause](1.0).moves(data).moved == expected, (kind, cause)


def test_grey_is_the_grey_of_pil():
    from PIL import Image

    data = FEW.sample(20)
    data = worlds.Dataset((data.inputs * 255).to(torch.uint8), data.targets, data.classes)
    made = shift.FeatureSpace(kind="grey").step(shift.Rows.of(data), torch.Generator()).data.inputs
    for image, grey in zip(data.inputs, made):
        expected = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
        assert np.abs(grey[0].numpy().astype(int) - expected.astype(int)).max() <= 1


def test_superclasses_are_those_of_the_world():
    data = worlds.Shapes().sample(300)
    rows = shift.LabelSpace(groups=SUPERCLASS_OF).step(shift.Rows.of(data), torch.Generator())
    mine = [rows.data.classes[n] for n in rows.data.targets.tolist()]
    theirs = [SUPERCLASS_OF[data.classes[n]] for n in data.targets.tolist()]
    assert mine == theirs
    assert shift.pair(worlds.Shapes(), shift.LabelSpace(0.5, groups=SUPERCLASS_OF), size=50).truth.conditions[
        "label_space"
    ]


def test_half_disjoint_classes_share_half():
    apart = shift.pair(worlds.Shapes(), shift.LabelSpace(0.5, kind="disjoint"), size=100)
    assert len(set(apart.source.classes) & set(apart.target.classes)) == 4
    assert bool((apart.target.counts() > 0).any()) and len(apart.target.classes) == 8


def test_translation_is_one_to_one():
    from tlcore.shift.transforms import translate

    alphabet = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(w) for w in itertools.product(alphabet, repeat=2)] + ["Night", "night", "nights"]
    for share in (0.4, 1.0):
        assert len({translate(word, share) for word in words}) >= len(words) * (1 if share == 1 else 0.7)
    assert translate("It is, he said.").count(" ") == 3
    part = [translate(word, 0.4) != word for word in words]
    assert 0.3 < sum(part) / len(part) < 0.5


def test_bytes_stay_bytes_and_real_digits_are_accepted():
    digits = worlds.load("digits")
    for one in (shift.Marginal(kind="gain"), shift.Conditional(kind="noise"), shift.Marginal(kind="night")):
        apart = shift.pair(digits, one, size=200)
        assert apart.target.inputs.dtype == torch.uint8 and "moved by" in apart.target.origin


@needs_data
def test_real_photos_are_accepted():
    photos = worlds.load("cifar10", split="test", root=DATA).subset(size=2000)
    apart = shift.pair(photos, [shift.Prior(1.0), shift.Marginal(0.5, kind="night")], size=200)
    assert apart.target.inputs.shape == (200, 3, 32, 32)
    assert apart.truth.conditions.moved == {"prior", "marginal", "conditional"}


def test_every_application_of_the_lectures_runs():
    for one in shift.APPLICATIONS.values():
        world = TEXTS if one.world == "texts" else worlds.Shapes()
        found = shift.pair(world, one.shifts, size=40).truth.conditions
        assert all(found[s.condition] for s in one.shifts), one.name


def test_what_cannot_be_compared_is_not():
    found = shift.Conditions({"feature_space", "prior"})
    assert found["marginal"] is None and found["concept"] is None and found["prior"] is True
    assert shift.Conditions({"label_space"})["marginal"] is False
    with pytest.raises(ValueError, match="nearest: 'prior'"):
        shift.Conditions({"priors"})


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: shift.Prior(1.2), ValueError, "from 0 to 1"),
        (lambda: shift.Prior(float("nan")), ValueError, "from 0 to 1"),
        (lambda: shift.Marginal(kind="gian"), ValueError, "nearest: 'gain'"),
        (lambda: shift.FeatureSpace(kind="gray"), ValueError, "nearest: 'grey'"),
        (lambda: shift.LabelSpace(kind="superclas"), ValueError, "superclass"),
        (lambda: shift.pair(VECTORS, shift.FeatureSpace(), size=9), ValueError, "pictures"),
        (lambda: shift.pair(VECTORS, shift.Marginal(kind="night"), size=9), ValueError, "pictures"),
        (lambda: shift.pair(VECTORS, shift.Marginal(kind="words"), size=9), TypeError, "texts"),
        (lambda: shift.pair(TEXTS, shift.Marginal(kind="gain"), size=9), TypeError, "words"),
        (lambda: shift.pair(VECTORS, shift.Prior(to=(1, 2, 3)), size=9), ValueError, "2 shares"),
        (lambda: shift.pair(VECTORS, shift.Concept(to=torch.ones(2, 2)), size=9), ValueError, "probabilities"),
        (lambda: shift.pair(VECTORS, shift.Selection(by="brightnes"), size=9), ValueError, "nearest: 'brightness'"),
        (lambda: shift.pair(FEW, shift.LabelSpace(groups={"circle": "round"}), size=9), ValueError, "no group"),
        (lambda: shift.pair(FEW.but(weights=(1, 1, 0)), shift.Prior(), size=9), ValueError, "no rows of triangle"),
        (lambda: shift.pair(FEW, size=1), ValueError, "from 2 on"),
        (lambda: shift.pair(worlds.load("digits"), shift.Marginal(kind="background"), size=9), ValueError, "mask"),
    ],
)
def test_bad_input_gets_a_sentence(make, error, says):
    with pytest.raises(error, match=says):
        make()
