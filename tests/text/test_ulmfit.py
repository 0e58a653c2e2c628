from __future__ import annotations

import math
from importlib import import_module

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tlcore import training
from tlcore.text import ulmfit
from tlcore.text.awd_lstm import NONE
from tlcore.text.batches import Bucketed, filled_up
from tlcore.text.fine_tune import lm_groups
from tlcore.text.train_classifier import plan
from tlcore.training import Arithmetic

train_classifier_module = import_module("tlcore.text.train_classifier")
fine_tune_module = import_module("tlcore.text.fine_tune")
TEXTS = ["a cat sat on a mat", "a dog lay on a log"] * 30


@pytest.fixture(scope="module")
def lm() -> ulmfit.LanguageModel:
    recipe = ulmfit.Recipe(vocabulary=60, embedding=16, hidden=32, epochs=3, batch_size=2, bptt=10)
    return ulmfit.pretrain_lm(TEXTS, recipe, progress=False)


@pytest.fixture
def net() -> ulmfit.TextClassifier:
    torch.manual_seed(0)
    return ulmfit.TextClassifier(ulmfit.AWDLSTM(50, 8, 16, 2), 3, bptt=4).eval()


@given(st.integers(1, 400), st.sampled_from([0.05, 0.1, 0.3]), st.sampled_from([2.0, 32.0]))
@settings(max_examples=60, deadline=None)
def test_stlr_is_the_papers_formula_at_every_step(steps: int, cut_frac: float, ratio: float) -> None:
    schedule, cut = training.stlr(steps, cut_frac=cut_frac, ratio=ratio), math.floor(steps * cut_frac)
    for t in range(steps):
        if cut:
            p = t / cut if t < cut else 1 - (t - cut) / (cut * (1 / cut_frac - 1))
            assert schedule(t) == pytest.approx((1 + max(p, 0) * (ratio - 1)) / ratio)
        assert 1 / ratio - 1e-12 <= schedule(t) <= 1 + 1e-12


def test_pooling_by_hand_with_torchs_lstm(net: ulmfit.TextClassifier) -> None:
    """Each text alone, unpadded, through nn.LSTM: h_T, the maximum and the mean."""
    texts = [torch.randint(1, 50, (n,)) for n in (3, 11, 6)]
    found = net.pooled(filled_up(texts))
    for row, text in zip(found, texts, strict=True):
        h = net.body.embedding(text)[:, None]
        for layer in net.body.lstms:
            plain = nn.LSTM(layer.input_size, layer.hidden_size)
            plain.load_state_dict(layer.state_dict())
            h, _ = plain(h)
        h = h[:, 0]
        assert torch.allclose(row, torch.cat([h[-1], h.amax(0), h.mean(0)]), atol=1e-5)


def test_filling_up_changes_nothing(net: ulmfit.TextClassifier) -> None:
    text = torch.randint(1, 50, (5,))
    long = filled_up([text, torch.randint(1, 50, (23,))])
    assert torch.allclose(net(long)[0], net(text[None])[0], atol=1e-6)
    assert torch.isfinite(net(torch.zeros(1, 4, dtype=torch.long))).all()


def test_parts_change_the_gradient_and_not_the_features(net: ulmfit.TextClassifier) -> None:
    x = torch.randint(1, 50, (2, 12))
    whole = ulmfit.TextClassifier(net.body, 3, bptt=None).eval()
    assert torch.allclose(net.pooled(x), whole.pooled(x), atol=1e-6)
    x = torch.arange(1, 13)[None]  # each token once
    net.pooled(x)[:, 16:].sum().backward()  # maximum and mean
    reached = net.body.embedding.weight.grad[1:13].abs().sum(1)
    assert (reached > 0).all()  # every part gets gradients: BPT3C
    net.zero_grad()
    net.pooled(x)[:, :8].sum().backward()  # h_T alone: the last part only
    reached = net.body.embedding.weight.grad[1:13].abs().sum(1)
    assert (reached[:8] == 0).all()
    assert (reached[8:] > 0).all()
    net.zero_grad()


def test_last_pooling(net: ulmfit.TextClassifier) -> None:
    last = ulmfit.TextClassifier(net.body, 3, pooling="last", bptt=4).eval()
    x = filled_up([torch.randint(1, 50, (n,)) for n in (3, 9)])
    assert torch.equal(last.pooled(x), net.pooled(x)[:, :8])


def test_the_body_is_a_copy_and_its_softmax_stays(lm: ulmfit.LanguageModel) -> None:
    before = {name: tensor.clone() for name, tensor in lm.net.state_dict().items()}
    made = ulmfit.train_classifier(lm, TEXTS, [0, 1] * 30, epochs=5, batch_size=4, dropout=0, progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in lm.net.state_dict().items())
    assert lm.net.bias.requires_grad
    assert torch.equal(made.nets[0].body.bias, lm.net.bias)
    assert made.score(TEXTS, [0, 1] * 30) == 1
    assert len(made.histories[0].epochs) == 5
    assert made.predict_proba(TEXTS[:7]).sum(1).tolist() == pytest.approx([1.0] * 7)


def test_same_seed_same_classifier(lm: ulmfit.LanguageModel) -> None:
    options = {"epochs": 4, "batch_size": 7, "progress": False, "seed": 3, "device": "cpu"}
    made = [ulmfit.train_classifier(lm, TEXTS[:20], [0, 1] * 10, **options) for _ in range(2)]
    assert torch.equal(made[0].predict_proba(TEXTS), made[1].predict_proba(TEXTS))


@pytest.mark.parametrize(
    ("unfreeze", "moved"),
    [
        ("last", [False, False, False]),
        ("full", [True, True, True]),
        ("gradual", [True] * 3),
        ("chain-thaw", [True] * 3),
    ],
)
def test_what_is_frozen_stays(lm: ulmfit.LanguageModel, unfreeze: str, moved: list[bool]) -> None:
    made = ulmfit.train_classifier(
        lm, TEXTS[:24], [0, 1] * 12, epochs=5, batch_size=8, unfreeze=unfreeze, weight_decay=0.1, progress=False
    )
    body = made.nets[0].body
    pairs = [(body.embedding.weight, lm.net.embedding.weight)]
    pairs += [(a.weight_hh_l0, b.weight_hh_l0) for a, b in zip(body.lstms, lm.net.lstms, strict=True)]
    assert [not torch.equal(a.cpu(), b.cpu()) for a, b in pairs] == moved


def test_gradual_unfreezing_layer_by_layer(lm: ulmfit.LanguageModel) -> None:
    """After the second epoch the upper LSTM layer has moved, the lower one has not."""
    options = {"batch_size": 8, "progress": False, "dropout": 0}
    stopped: list[list[bool]] = []
    original = training.fit

    def watching(net: nn.Module, *args, **more):
        ran = original(net, *args, **more)
        pairs = zip(net.body.lstms, lm.net.lstms, strict=True)
        stopped.append([not torch.equal(a.weight_hh_l0, b.weight_hh_l0) for a, b in pairs])
        return ran

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "fit", watching)
        ulmfit.train_classifier(lm, TEXTS[:24], [0, 1] * 12, epochs=5, device="cpu", **options)
    assert stopped == [[False, False], [False, True], [True, True], [True, True]]


def test_every_phase_starts_at_the_full_rate(lm: ulmfit.LanguageModel) -> None:
    """A schedule has lowered the rates by the end of the phase before."""
    found = ulmfit.train_classifier(
        lm, TEXTS, [0, 1] * 30, epochs=5, lr=0.02, schedule="cosine", batch_size=20, progress=False
    )
    rates = [epoch.lr for epoch in found.histories[0].epochs]
    assert rates[:4] == pytest.approx([0.02] * 4)  # three phases of one epoch each, and the first of the last phase
    assert rates[4] == pytest.approx(0.01)


def test_plans() -> None:
    assert [(p.free, p.epochs) for p in plan("gradual", 4, 6)] == [
        ((3,), 1),
        ((2, 3), 1),
        ((1, 2, 3), 1),
        ((0, 1, 2, 3), 3),
    ]
    assert [(p.free, p.epochs) for p in plan("full", 4, 6)] == [((0, 1, 2, 3), 6)]
    assert [(p.free, p.epochs) for p in plan("last", 4, 6)] == [((3,), 6)]
    with pytest.raises(ValueError, match="from 4 on"):
        list(plan("gradual", 4, 3))


def test_two_directions_are_averaged(lm: ulmfit.LanguageModel) -> None:
    recipe = ulmfit.Recipe(vocabulary=60, embedding=16, hidden=32, epochs=2, batch_size=2, bptt=10, backward=True)
    other = ulmfit.pretrain_lm(TEXTS, recipe, tokens=lm.tokens, progress=False)
    options = {"epochs": 4, "batch_size": 8, "progress": False}
    both = ulmfit.train_classifier([lm, other], TEXTS[:24], [0, 1] * 12, **options)
    one = ulmfit.train_classifier(lm, TEXTS[:24], [0, 1] * 12, **options)
    two = ulmfit.train_classifier(other, TEXTS[:24], [0, 1] * 12, **options)
    mean = (one.predict_proba(TEXTS) + two.predict_proba(TEXTS)) / 2
    assert torch.allclose(both.predict_proba(TEXTS), mean, atol=1e-6)


def test_fine_tuning_reads_on_and_leaves_the_model(lm: ulmfit.LanguageModel) -> None:
    target = ["a cat lay on a log", "a dog sat on a mat"] * 20
    before = lm.perplexity(target)
    tuned = ulmfit.fine_tune_lm(lm, target, epochs=3, batch_size=2, bptt=10, progress=False)
    assert tuned.perplexity(target) < before == lm.perplexity(target)
    assert tuned.card["fine_tuned"]["epochs"] == 3


def test_discriminative_rates_of_the_language_model(lm: ulmfit.LanguageModel) -> None:
    groups = training.parameter_groups(lm.net, 1.0, factor=2.6, groups=lm_groups(lm))
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    lower, upper = (rate[id(layer.weight_hh_l0)] for layer in lm.net.lstms)
    assert rate[id(lm.net.embedding.weight)] == 1  # the softmax, tied
    assert rate[id(lm.net.bias)] == 1
    assert upper == pytest.approx(1 / 2.6)
    assert lower == pytest.approx(1 / 2.6**2)


def test_a_new_vocabulary_starts_from_the_mean(lm: ulmfit.LanguageModel) -> None:
    texts = ["a bird sang on a mat"] * 20
    tokens = ulmfit.Tokens.train(texts, 60)
    moved, known = ulmfit.transfer_vocabulary(lm, tokens)
    old = lm.net.embedding.weight
    both = 0
    for number, piece in enumerate(tokens.pieces(range(len(tokens)))):
        there = lm.tokens.inner.token_to_id(piece)
        expected = old.mean(0) if there is None else old[there]
        both += there is not None
        assert torch.allclose(moved.net.embedding.weight[number], expected, atol=1e-6)
    assert known == both > 5
    same, count = ulmfit.transfer_vocabulary(lm, lm.tokens)
    assert count == len(lm.tokens)
    assert same.perplexity(TEXTS) == pytest.approx(lm.perplexity(TEXTS))
    tuned = ulmfit.fine_tune_lm(lm, texts, tokens=tokens, epochs=2, batch_size=2, bptt=10, progress=False)
    assert tuned.perplexity(texts) < moved.perplexity(texts)


@given(st.lists(st.integers(1, 30), min_size=2, max_size=70), st.integers(1, 9), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_every_text_once_an_epoch_with_its_label(lengths: list[int], size: int, seed: int) -> None:
    texts = [torch.full((n,), k + 1) for k, n in enumerate(lengths)]
    batches = Bucketed(texts, torch.arange(len(texts)) + 1, size, seed=seed)
    for _ in range(2):
        seen = []
        rows = list(batches)
        assert len(rows) == len(batches)
        for x, y in rows:
            assert size == 1 or len(x) > 1 or len(texts) == 1
            for line, label in zip(x, y, strict=True):
                assert set(line.tolist()) <= {0, int(label)}
                assert int((line != 0).sum()) == lengths[int(label) - 1]
            seen += y.tolist()
        assert sorted(seen) == list(range(1, len(texts) + 1))


def test_long_texts_are_cut(lm: ulmfit.LanguageModel) -> None:
    made = ulmfit.train_classifier(lm, TEXTS[:8], [0, 1] * 4, epochs=4, batch_size=4, max_len=4, progress=False)
    endings = ["a cat sat on a mat", "a cat sat in no time at all"]
    one, other = made.predict_proba(endings)
    assert torch.allclose(one, other)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"labels": [0] * 8}, "all texts are of class 0"),
        ({"labels": [0, 2] * 4}, "none of 1"),
        ({"labels": [-1, 0] * 4}, "from 0 to"),
        ({"labels": [0, 1]}, "8 texts"),
        ({"labels": [0.0, 1.0] * 4}, "class number"),
        ({"labels": [0, 1] * 4, "classes": ("a", "b", "c")}, "none of 2"),
        ({"unfreeze": "gradually"}, "gradual"),
        ({"epochs": 2}, "from 4 on"),
        ({"texts": [""] * 8}, "empty"),
        ({"texts": ["кошка сидела на ковре"] * 8}, "another script"),
        ({"pooling": "max"}, "concat"),
        ({"bptt": 0}, "from 1 on"),
        ({"lr": 0.0}, "above 0"),
        ({"lm": []}, "one language model"),
        ({"labels": ["a", "b"] * 4}, "class numbers are expected"),
        ({"batch_size": 1}, "from 2 on"),
        ({"patience": 1}, "only with val"),
        ({"val": (TEXTS[:2], [0, 2])}, "from 0 to 1"),
        ({"val": (TEXTS[:2], [0])}, "2 texts"),
        ({"arithmetic": "float16"}, "nearest"),
    ],
)
def test_bad_input(lm: ulmfit.LanguageModel, change: dict, says: str) -> None:
    given = {"lm": lm, "texts": TEXTS[:8], "labels": [0, 1] * 4, "progress": False} | change
    with pytest.raises(ValueError, match=says):
        ulmfit.train_classifier(given.pop("lm"), given.pop("texts"), given.pop("labels"), **given)


def test_a_loss_that_is_no_number_says_so(lm: ulmfit.LanguageModel) -> None:
    with pytest.raises(ValueError, match="step"):
        ulmfit.train_classifier(lm, TEXTS[:8], [0, 1] * 4, lr=1e30, clip=None, epochs=6, progress=False)
    assert lm.net.dropouts != NONE


@pytest.mark.parametrize("factor", [1.0, 2.6])
def test_discriminative_rates_of_both_stages(lm: ulmfit.LanguageModel, monkeypatch, factor: float) -> None:
    """Seen at the optimizer: every group below has the rate of the one above divided by the factor."""
    seen: dict[str, object] = {}
    fit, reading = train_classifier_module.training.fit, fine_tune_module.read

    def watched_fit(net, *args, optimizer, **options):
        seen.setdefault("net", net)
        seen["rates"] = {id(p): g["initial_lr"] for g in optimizer.param_groups for p in g["params"]}
        return fit(net, *args, optimizer=optimizer, **options)

    def watched_read(net, stream, optimizer, **options):
        seen["lm"] = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
        seen["options"], seen["lm_net"] = options, net
        return reading(net, stream, optimizer, **options)

    monkeypatch.setattr(train_classifier_module.training, "fit", watched_fit)
    monkeypatch.setattr(fine_tune_module, "read", watched_read)
    options = {"factor": factor, "lr": 0.02, "batch_size": 4, "progress": False}
    made = ulmfit.train_classifier(lm, TEXTS[:8], [0, 1] * 4, epochs=4, **options)
    for depth, group in enumerate(reversed(made.nets[0].groups())):
        rates = {seen["rates"][id(p)] for module in group for p in module.parameters() if id(p) in seen["rates"]}
        assert sorted(rates) == pytest.approx([0.02 / factor**depth])
    ulmfit.fine_tune_lm(lm, TEXTS[:8], epochs=1, bptt=10, schedule="constant", activation=2, temporal=1, **options)
    net = seen["lm_net"]
    for depth, module in enumerate([net.embedding, *reversed(net.lstms)]):
        assert sorted({seen["lm"][id(p)] for p in module.parameters()}) == pytest.approx([0.02 / factor**depth])
    assert seen["options"]["schedule"] == "constant"
    assert (seen["options"]["activation"], seen["options"]["temporal"]) == (2, 1)


def test_scratch_pooling_and_names_are_what_was_asked_for(lm: ulmfit.LanguageModel) -> None:
    still = {"unfreeze": "last", "epochs": 1, "batch_size": 4, "progress": False}
    read, fresh = (
        ulmfit.train_classifier(
            lm, TEXTS[:8], [0, 1] * 4, pretrained=pretrained, pooling="last", classes=("cat", "dog"), **still
        )
        for pretrained in (True, False)
    )
    assert torch.equal(read.nets[0].body.embedding.weight, lm.net.embedding.weight)
    assert not torch.equal(fresh.nets[0].body.embedding.weight, lm.net.embedding.weight)
    assert fresh.nets[0].body.sizes == lm.net.sizes and fresh.classes == ("cat", "dog")
    assert read.nets[0].head[2].in_features == lm.net.sizes["embedding"]


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "auto", Arithmetic(bf16=True)])
def test_arithmetic_is_chosen_and_told(lm: ulmfit.LanguageModel, arithmetic: object) -> None:
    options = {"epochs": 4, "batch_size": 4, "progress": False, "device": "cpu"}
    made = ulmfit.train_classifier(lm, TEXTS[:8], [0, 1] * 4, arithmetic=arithmetic, **options)
    told = made.histories[0].settings["arithmetic"]
    accepted = {"float32": (False,), "bfloat16": (True,), "auto": (False, True)}.get(arithmetic, (True,))
    assert isinstance(told, Arithmetic) and told.bf16 in accepted
    if arithmetic == "float32":  # the choice takes no draws and no order away
        again = ulmfit.train_classifier(lm, TEXTS[:8], [0, 1] * 4, arithmetic=Arithmetic(), **options)
        ours, theirs = made.nets[0].state_dict(), again.nets[0].state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_patience_and_validation(lm: ulmfit.LanguageModel) -> None:
    options = {"epochs": 30, "batch_size": 4, "progress": False, "device": "cpu"}
    made = ulmfit.train_classifier(
        lm, TEXTS[:8], [0, 1] * 4, val=(TEXTS[:4], [1, 0] * 2), patience=1, **options
    )  # what it learns is wrong there
    history = made.histories[0]
    assert len(history.epochs) < 30 and all(epoch.val_loss is not None for epoch in history.epochs)


def test_odd_texts_are_named(lm: ulmfit.LanguageModel) -> None:
    options = {"epochs": 4, "batch_size": 4, "progress": False, "device": "cpu"}
    with pytest.warns(UserWarning, match=r"the texts 2, 5 \(counted from 0\) are empty, or in a script"):
        made = ulmfit.train_classifier(
            lm, [*TEXTS[:2], "", *TEXTS[3:5], "кошка сидела на ковре", *TEXTS[6:8]], [0, 1] * 4, **options
        )
    with pytest.warns(UserWarning, match="predict: the texts 0 "):
        made.predict([" ", *TEXTS[:3]])


def test_labels_of_score_are_checked(lm: ulmfit.LanguageModel) -> None:
    made = ulmfit.train_classifier(lm, TEXTS[:8], [0, 1] * 4, epochs=4, batch_size=4, progress=False, device="cpu")
    for labels, says in (
        ([1], r"8 texts, labels \(1,\)"),
        ([0, 1], "8 texts"),
        (["a"] * 8, "class numbers are expected"),
    ):
        with pytest.raises(ValueError, match=says):
            made.score(TEXTS[:8], labels)


def test_a_classifier_can_be_kept(lm: ulmfit.LanguageModel, tmp_path) -> None:
    back = ulmfit.pretrain_lm(
        [*TEXTS, "the birds"] * 2,
        ulmfit.Recipe(vocabulary=60, embedding=16, hidden=32, epochs=1, backward=True),
        progress=False,
    )
    options = {"epochs": 4, "batch_size": 4, "pooling": "last", "classes": ("cat", "dog"), "progress": False}
    made = ulmfit.train_classifier([lm, back], TEXTS[:8], [0, 1] * 4, device="cpu", **options)
    made.save(tmp_path, "mine")
    again = ulmfit.Classifier.load(tmp_path, "mine", device="cpu")
    assert again.classes == ("cat", "dog") and again.backward == (False, True)
    assert torch.equal(again.predict_proba(TEXTS[:6]), made.predict_proba(TEXTS[:6]))
    lm.tokens.save(tmp_path / "mine.1.tokens.json")
    with pytest.raises(ValueError, match=r"do not fit together \(mine\.1\.tokens\.json has other pieces"):
        ulmfit.Classifier.load(tmp_path, "mine")
    (tmp_path / "mine.json").unlink()
    with pytest.raises(ValueError, match=r"has no mine\.json"):
        ulmfit.Classifier.load(tmp_path, "mine")
