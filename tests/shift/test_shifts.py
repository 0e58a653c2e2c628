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


class Points:
    """Six numbers on a line, labelled with known probabilities: small enough to count."""

    places = torch.tensor([-4.0, -2.0, -1.0, 1.0, 2.0, 4.0])

    def __init__(self, plus: tuple[float, ...]) -> None:
        self.plus = torch.tensor(plus)

    def posterior(self, x: torch.Tensor) -> torch.Tensor:
        """P(second class | x), and outside the six as at the nearest."""
        return self.plus[(x[:, :1] - self.places).abs().argmin(1)]

    def sample(self, count: int, *, seed: int = 0) -> worlds.Dataset:
        """Each pair of a place and a label as often as it should be, up to rounding."""
        shares = torch.tensor([1.0, 2, 3, 3, 2, 1])[:, None] * torch.stack([1 - self.plus, self.plus], 1)
        rows = (shares / shares.sum() * count).round().long().flatten()
        place, label = torch.arange(6).repeat_interleave(2), torch.arange(2).repeat(6)
        x, y = self.places[place.repeat_interleave(rows)][:, None], label.repeat_interleave(rows)
        plus = self.posterior(x)
        return worlds.Dataset(x, y, ("minus", "plus"), "points", {"posterior": torch.stack([1 - plus, plus], 1)})


def faces(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> dict[str, dict[object, np.ndarray]]:
    """P(X), P(Y), P(X|Y) and P(Y|X), counted; P(Y|X) only for x that occur."""
    every = [-8.0, -4.0, -2.0, -1.0, -0.5, 0.5, 1.0, 2.0, 4.0, 8.0]
    joint = np.array([[float(weights[(x[:, 0] == place) & (y == k)].sum()) for k in (0, 1)] for place in every])
    joint /= joint.sum()
    assert joint.sum() == pytest.approx(1)
    return {
        "marginal": {0: joint.sum(1)},
        "prior": {0: joint.sum(0)},
        "conditional": {k: joint[:, k] / joint[:, k].sum() for k in (0, 1) if joint[:, k].sum() > 0},
        "concept": {place: row / row.sum() for place, row in zip(every, joint) if row.sum() > 0},
    }


SWAP = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
CHAINS = {
    "gain": [shift.Marginal(kind="gain")],
    "own gain": [shift.Conditional(kind="gain")],
    "swap": [shift.Concept()],
    "one way": [shift.Concept(0.5, to=torch.tensor([[1.0, 0.0], [1.0, 0.0]]))],
    "prior": [shift.Prior(to=(0.9, 0.1))],
    "place": [shift.Selection(by=0)],
    "label": [shift.Selection(by=lambda data: data.targets)],
    "constant": [shift.Selection(by=lambda data: torch.full((len(data),), 0.1))],
    "swap and back": [shift.Concept(to=SWAP), shift.Concept(to=SWAP)],
    "prior and back": [shift.Prior(to=(0.9, 0.1)), shift.Prior(to=(0.5, 0.5))],
    "place and back": [shift.Selection(by=0), shift.Selection(by=lambda data: -data.inputs[:, 0])],
    "prior, gain": [shift.Prior(to=(0.8, 0.2)), shift.Marginal(kind="gain")],
}
SIDES = {
    "certain": (0.0, 0.0, 0.0, 1.0, 1.0, 1.0),
    "overlapping": (0.2, 0.1, 0.4, 0.6, 0.9, 0.8),
    "unrelated": (0.5,) * 6,
}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("name", CHAINS)
def test_the_bayes_table(name, side):
    """Which faces of P(X, Y) move with which cause, as counting the rows of both domains says."""
    world = Points(SIDES[side])
    start = rows = shift.Rows.of(world.sample(24000))
    for one in CHAINS[name]:
        rows = one.step(rows, torch.Generator().manual_seed(0))
    old, new = (faces(each.data.inputs, each.data.targets, each.weights) for each in (start, rows))
    expected = {
        face
        for face in old
        if any(np.abs(old[face][at] - new[face][at]).max() > 0.02 for at in old[face].keys() & new[face].keys())
    }
    found = shift.pair(world, CHAINS[name], size=3000).truth.conditions.moved
    assert found == expected


@pytest.mark.parametrize(
    ("world", "kind", "expected"),
    [
        (worlds.TeacherStudent(), "offset", True),
        (worlds.TeacherStudent(), "noise", True),
        (worlds.TeacherStudent(), "gain", False),
        (worlds.TeacherStudent(hidden=4, flips=0.2), "gain", False),
        (worlds.TeacherStudent(hidden=4, flips=0.2), "offset", True),
        (worlds.TeacherStudent(flips=0), "gain", False),  # an integer 0 makes an integer posterior
        (worlds.Gaussian(distance=0), "gain", False),
        (worlds.Gaussian(), "gain", True),
    ],
)
def test_concept_is_compared_at_the_new_inputs(world, kind, expected):
    apart = shift.pair(world, shift.Marginal(kind=kind), size=2000)
    assert apart.truth.conditions["concept"] is expected
    x, y = apart.target.inputs, apart.target.targets
    if isinstance(world, worlds.TeacherStudent):  # the labels themselves: as often what the teacher says of their x?
        right = float(((world.score(x) > 0).long() == y).double().mean())
        assert (abs(right - world.bayes_accuracy) > 0.04) is expected


@pytest.mark.parametrize(("label", "groups"), [("colour", False), ("colour", True), ("background", False)])
def test_erased_labels_are_not_known(label, groups):
    world = worlds.Shapes(label=label)
    one = shift.FeatureSpace(kind="grey") if label == "colour" else shift.Marginal(kind="background")
    truth = shift.pair(world, [shift.LabelSpace(), one] if groups else one, size=50).truth
    assert truth.labelling is None and truth.conditions["concept"] is (True if label == "background" else None)
    for other in ("shape", "texture"):
        assert shift.pair(world.but(label=other), one, size=50).truth.labelling is not None
    half = shift.Marginal(0.5, kind="background")  # there the old ground shines through
    assert shift.pair(world, half, size=50).truth.labelling is not None


def test_pictures_saturate_and_so_lose_what_was_known():
    known = {"posterior": torch.full((400, 2), 0.5)}
    data = worlds.Dataset(torch.rand(400, 3, 4, 4), torch.arange(400) % 2, ("a", "b"), "", known)
    assert shift.pair(data, shift.Marginal(kind="gain"), size=50).truth.labelling is None


def test_priors_are_those_of_the_world():
    for size in (10, 500):
        assert shift.pair(worlds.Gaussian(prior=0.3), size=size).truth.prior.tolist() == pytest.approx([0.7, 0.3])
        turned = shift.pair(worlds.Gaussian(prior=0.48), shift.Concept(), size=size).truth
        assert turned.prior.tolist() == pytest.approx([0.48, 0.52]) and turned.conditions["prior"] is True
        level = shift.pair(worlds.Gaussian(), shift.Concept(), size=size).truth.conditions
        assert level.moved == {"concept", "conditional"}
    shares = shift.pair(FEW.but(weights=(2, 1, 1)), size=10).truth.prior
    assert shares.tolist() == [0.5, 0.25, 0.25]
    assert shift.pair(FEW.but(label="colour"), size=10).truth.prior.tolist() == [0.125] * 8
    assert shift.pair(worlds.Language(), size=10).truth.prior.unique().numel() == 1
    counted = shift.pair(worlds.TeacherStudent(), shift.Concept(), size=20).truth  # one half, but only counts say so
    assert counted.conditions["prior"] is False


def test_selection_of_one_class_is_told_from_chance():
    """Along the direction of the classes the prior moves, across it does not; closed form, whatever the size."""
    world = worlds.Gaussian(features=4, distance=2)
    across = worlds.Gaussian(features=4, shift=1.0)._across
    for seed in range(10):
        for way, moved in ((world.direction, True), (across, False)):
            one = shift.Selection(by=lambda data, way=way: data.inputs @ way)
            assert shift.pair(world, one, size=100, seed=seed).truth.conditions["prior"] is moved


def test_what_changed_nothing_moved_nothing():
    digits, texts = worlds.load("digits"), worlds.Language(sentences=1)
    for world, one in (
        (digits, shift.Marginal(0.001)),
        (digits, shift.Conditional(0.001, kind="gain")),
        (texts, shift.FeatureSpace(1e-9, kind="language")),
        (FEW, shift.Selection(by=lambda data: torch.ones(len(data)))),
        (FEW, shift.Concept(to=torch.eye(3))),
        (VECTORS, [shift.Concept(), shift.Concept()]),
        (FEW, [shift.Concept()] * 3),
    ):
        truth = shift.pair(world, one, size=50).truth
        assert not truth.conditions.moved and truth.labelling is not None, one


def test_selecting_by_the_label_is_a_prior_shift():
    one = shift.Selection(by=lambda data: data.targets)
    assert shift.pair(FEW, one, size=100).truth.conditions.moved == {"prior", "marginal"}
    apart = shift.pair(VECTORS, one, size=1000)
    assert apart.truth.conditions.moved == {"prior", "marginal", "concept"}
    share = float(apart.truth.prior[1])
    assert float(apart.target.targets.double().mean()) == pytest.approx(share, abs=0.06)
    expected = VECTORS.but(prior=share).posterior(apart.target.inputs)
    assert torch.allclose(apart.truth.labelling[:, 1], expected, atol=1e-4)


def test_blurred_rows_as_a_source_of_their_own():
    """What an earlier pair has lost is not taken for certain later."""
    blurred = shift.pair(VECTORS, shift.Marginal(kind="noise"), size=2000).target
    found = shift.pair(blurred, shift.Prior(to=(0.9, 0.1)), size=200).truth.conditions
    assert found.moved == {"prior", "marginal", "concept"}
    found = shift.pair(blurred, shift.LabelSpace(kind="disjoint"), size=200).truth.conditions
    assert found.moved == {"label_space", "marginal"}


@pytest.mark.parametrize("kind", ["night", "noise", "blur", "words", "gain"])
def test_each_class_changes_to_a_degree_of_its_own(kind):
    if kind == "words":
        data = worlds.Dataset(["a b c d e f g h i j"] * 300, torch.arange(300) % 3, ("a", "b", "c"))
    else:
        data = FEW.but(noise=0).sample(300)
    made = shift.Conditional(kind=kind).step(shift.Rows.of(data), torch.Generator().manual_seed(0)).data.inputs
    if kind == "words":
        change = torch.tensor([10.0 - len(text.split()) for text in made])
    else:
        change = (made - data.inputs).abs().mean((1, 2, 3))
    first, middle, last = (float(change[data.targets == n].mean()) for n in range(3))
    if kind == "gain":
        assert middle == 0 and min(first, last) > 0
    else:
        assert first == 0 and 0.3 * last < middle < 0.7 * last


def test_integers_become_numbers_that_can_move():
    for kind in (torch.long, torch.uint8, torch.int8):
        data = worlds.Dataset(torch.randint(0, 99, (400, 6)).to(kind), torch.arange(400) % 2, ("a", "b"))
        rows, draws = shift.Rows.of(data), torch.Generator()
        made = shift.Marginal(0.5, kind="gain").step(rows, draws).data.inputs
        assert torch.allclose(made, data.inputs * 2**0.5)
        flat = shift.FeatureSpace(0.5, kind="projection").step(rows, draws).data.inputs
        as_float = worlds.Dataset(data.inputs.float(), data.targets, data.classes)
        other = shift.FeatureSpace(0.5, kind="projection").step(shift.Rows.of(as_float), draws).data.inputs
        assert torch.equal(flat, other)


def test_classes_ruled_out_are_not_unknown():
    draws = torch.Generator()
    for one in (shift.Prior(to=(1, 0)), shift.LabelSpace(kind="disjoint")):
        rows = one.step(shift.Rows.of(worlds.TeacherStudent().sample(500)), draws)
        assert bool(rows.data.factors["posterior"].isfinite().all())


def test_few_rows_of_many_classes():
    apart = shift.pair(worlds.Shapes(), shift.Prior(), size=2)
    assert len(apart.source) == len(apart.target) == 2
    gone = FEW.but(weights=(1, 1, 0))
    assert not shift.pair(gone, shift.Prior(0.0), size=9).truth.conditions.moved
    assert shift.pair(gone, shift.Prior(to=(3, 1, 0)), size=9).truth.prior.tolist() == [0.75, 0.25, 0.0]


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
    assert len({translate(word) for word in words}) == len(words)
    assert translate("It is, he said.").count(" ") == 3
    before: set[str] = set()
    for share in (0.1, 0.4, 0.8):
        made = {word: translate(word, share) for word in words}
        chosen = {word for word in words if made[word] != word}
        assert all(made[word] == translate(word) for word in chosen)  # wholly or not at all
        assert before <= chosen and len(chosen) / len(words) == pytest.approx(share, abs=4 * 0.5 / len(words) ** 0.5)
        assert ("Night" in chosen) == ("night" in chosen)
        text = " ".join(words)
        assert translate(text, share) == " ".join(made.values())  # the same words in whatever text
        before = chosen


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
        (lambda: shift.pair(FEW, shift.Concept(to=[[1, 0], [0, 1]]), size=9), TypeError, "to=list"),
        (lambda: shift.pair(VECTORS, shift.Selection(by=6), size=9), ValueError, "from 0 to 5"),
        (lambda: shift.pair(FEW, shift.Selection(by="box"), size=9), ValueError, r"it gives \(192, 4\)"),
        (lambda: shift.pair(FEW, shift.Selection(by=lambda d: torch.ones(3)), size=9), ValueError, r"gives \(3,\)"),
        (lambda: shift.pair(FEW, shift.Selection(by=lambda d: [1] * len(d)), size=9), ValueError, "gives list"),
        (lambda: shift.pair(VECTORS, shift.Selection(by=lambda d: d.targets / 0), size=9), ValueError, "not finite"),
        (lambda: shift.pair(VECTORS, shift.Prior(to=(1, float("inf"))), size=9), ValueError, "2 shares"),
        (
            lambda: shift.pair(
                worlds.Dataset(torch.ones(99, 1, 4, 4).long(), torch.arange(99) % 2, ("a", "b")),
                shift.Marginal(),
                size=9,
            ),
            TypeError,
            "uint8",
        ),
        (lambda: shift.pair(FEW, size=1), ValueError, "from 2 on"),
        (lambda: shift.pair(worlds.load("digits"), shift.Marginal(kind="background"), size=9), ValueError, "mask"),
    ],
)
def test_bad_input_gets_a_sentence(make, error, says):
    with pytest.raises(error, match=says):
        make()
