"""A language model by hand: what it is surprised by, how it is kept, and the one that comes with the package."""

from __future__ import annotations

import json
import math
import warnings

import pytest
import torch
from torch.nn import functional as F

from tlcore import weights, worlds
from tlcore.text import ulmfit
from tlcore.text.fine_tune import fine_tune_lm
from tlcore.text.language_model import same_language

TEXTS = ["a cat sat on a mat", "a dog lay on a log"] * 30


def made(**options: object) -> ulmfit.LanguageModel:
    recipe = ulmfit.Recipe(vocabulary=60, embedding=16, hidden=32, epochs=3, batch_size=2, bptt=10, **options)
    return ulmfit.pretrain_lm(TEXTS, recipe, progress=False)


@pytest.fixture(scope="module")
def shipped() -> ulmfit.LanguageModel:
    return ulmfit.LanguageModel.load("lm-english", device="cpu")


@pytest.mark.parametrize("backward", [False, True])
def test_surprise_by_hand(backward: bool) -> None:
    """One text after the other through the network, with everything before it in memory."""
    lm, texts = made(backward=backward), ["a cat sat on a log", "a dog sat", "a mat lay on a cat"]
    numbers = [torch.tensor(lm.tokens.encode(text)) for text in texts]
    if backward:
        numbers = [torch.cat([one[:1], one[1:].flip(0)]) for one in reversed(numbers)]
    line = torch.cat([*numbers, numbers[0][:1]])
    with torch.no_grad():
        out = lm.net.eval().logits(lm.net.encode(line[:-1, None]).out[:, 0])
    want = float(F.cross_entropy(out, line[1:], reduction="sum"))
    for batch_size in (1, 16):  # texts so short are not cut into columns
        found, count = lm.surprise(texts, batch_size=batch_size)
        assert found == pytest.approx(want, rel=1e-5) and count == len(line) - 1
    assert lm.perplexity(texts) == pytest.approx(math.exp(want / (len(line) - 1)), rel=1e-5)


def test_the_shipped_model_is_small_and_as_good_as_its_card_says(shipped: ulmfit.LanguageModel) -> None:
    files = [weights.FOLDER / f"lm-english.{end}" for end in ("safetensors", "tokens.json", "json")]
    assert sum(file.stat().st_size for file in files) <= 14e6
    assert sum(p.numel() for p in shipped.net.parameters()) == shipped.card["parameters"] <= 7e6
    prose = ["The old man looked at the sea, and he did not know what he should say to his son."] * 3
    mixed = ["say not and The old sea, looked man the son he did what know his should to he at."] * 3
    assert 5 * shipped.perplexity(prose) < shipped.perplexity(mixed)
    assert shipped.perplexity(prose) < 2 * shipped.card["perplexity"]["wikitext2_test"]["token"]


def test_files_that_do_not_fit_together(tmp_path) -> None:
    lm = made()
    lm.save(tmp_path)
    again = ulmfit.LanguageModel.load(tmp_path, device="cpu")
    assert again.perplexity(TEXTS) == pytest.approx(lm.perplexity(TEXTS), rel=0.01)
    card, pieces = (tmp_path / "lm.json").read_text(), json.loads(lm.tokens.to_json())
    words = pieces["model"]["vocab"]
    words["a"], words["o"] = words["o"], words["a"]  # as many pieces, and others
    (tmp_path / "lm.tokens.json").write_text(json.dumps(pieces))
    with pytest.raises(ValueError, match=r"has other pieces than lm.safetensors was trained with; take"):
        ulmfit.LanguageModel.load(tmp_path)
    lm.tokens.save(tmp_path / "lm.tokens.json")
    for change in ({"sizes": lm.net.sizes | {"hidden": 48}}, {"sizes": {"width": 3}}, {"dropouts": None}):
        (tmp_path / "lm.json").write_text(json.dumps(json.loads(card) | change))
        with pytest.raises(ValueError, match=r"is not the card of lm.safetensors"):
            ulmfit.LanguageModel.load(tmp_path)
    with pytest.raises(
        ValueError, match="no language model of this name comes with the package; nearest: 'lm-english'"
    ):
        ulmfit.LanguageModel.load("lm-englsh")


def test_the_card_of_a_fine_tuned_model_is_its_own(shipped: ulmfit.LanguageModel, tmp_path) -> None:
    tokens = ulmfit.Tokens.train(TEXTS, 60)
    tuned = fine_tune_lm(shipped, TEXTS[:4], tokens=tokens, epochs=1, batch_size=2, device="cpu", progress=False)
    tuned.save(tmp_path, "mine")
    card = json.loads((tmp_path / "mine.json").read_text())
    assert card["name"] == "mine" and card["parameters"] == sum(p.numel() for p in tuned.net.parameters())
    assert card["from"]["name"] == "lm-english" and not {"perplexity", "command", "data"} & card.keys()
    assert tuned.tokens_a_word == card["tokens"] / card["words"]  # of its own pieces
    assert ulmfit.transfer_vocabulary(shipped, tokens).lm.tokens_a_word is None


def test_another_language_is_noticed(shipped: ulmfit.LanguageModel) -> None:
    german = ["Der alte Mann blickte auf das Meer hinaus und wusste nicht, was er seinem Sohn erzählen sollte."] * 8
    options = {"epochs": 1, "batch_size": 2, "device": "cpu", "progress": False}
    with pytest.warns(UserWarning, match=r"tokens a word, those that the language model has read 1\.5; they may be in"):
        fine_tune_lm(shipped, german, **options)
    prose = [*worlds.docstrings(("sklearn",), count=4).inputs, "Great film!", "No!"]
    for short in (["Great film!", "Awful film."], ["Yes.", "No!"]):
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            same_language(shipped, short, shipped.tokens.encode_all(short, "test"), "test")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        tuned = fine_tune_lm(shipped, prose, **options)
    assert tuned.tokens_a_word == shipped.tokens_a_word
