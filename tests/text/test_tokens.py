"""Tokens: what goes in comes out, corpora that were prepared differently look alike, other scripts are told."""

from __future__ import annotations

import pytest
import torch

from tlcore.text.tokens import SPECIAL, Tokens

TEXTS = [
    'The old Captain said: "I don\'t know, Mr. Brown (of York) -- perhaps 1,250 men?"',
    "NASA went to the MOON in 1969; it's 3.5 days' travel.",
] * 20


@pytest.fixture(scope="module")
def tokens():
    return Tokens.train(TEXTS, 400)


def test_what_goes_in_comes_out(tokens):
    for text in (*TEXTS[:2], "Captain York don't know 1,250 men", "the 1969 MOON (travel)"):
        assert tokens.decode(tokens.encode(text)).replace(" ", "") == text.replace(" ", "")
        assert tokens.unk not in tokens.encode(text)
    assert tokens.decode(tokens.encode("Captain York, I know it's 3.5 days")) == "Captain York, I know it's 3.5 days"
    assert tokens.decode(torch.tensor(tokens.encode("the moon") + tokens.encode("Mr. Brown"))) == "the moon\nMr. Brown"


def test_corpora_look_alike(tokens):
    raw = tokens.encode("Captain Brown’s travel: 1,250 “men” don't know -- 3.5 days…")
    wiki = tokens.encode("Captain Brown 's travel : 1 @,@ 250 \" men \" don 't know — 3 @.@ 5 days ...")
    page = tokens.encode("Captain Brown's travel: 1,250 &quot;men&quot; don't<br />know -- 3.5 days...")
    assert raw == wiki == page


def test_special_tokens_stand_first(tokens):
    assert tokens.pieces(range(5)) == list(SPECIAL) and tokens.pad == 0
    assert tokens.encode("")[0] == tokens.bos and tokens.pieces(tokens.encode("a <unk> b"))[2] == "<unk>"
    assert not any("<" in piece for piece in tokens.pieces(range(5, len(tokens))))  # the marks are no text


def test_the_same_text_gives_the_same_vocabulary(tokens):
    assert all(Tokens.train(TEXTS, 400).to_json() == tokens.to_json() for _ in range(5))
    assert Tokens.train(["b a c"] * 5, 60, alphabet=2).pieces(
        Tokens.train(["b a c"] * 5, 60, alphabet=2).encode("c a")
    )[1:] == ["<unk>", "a"]


def test_saved_and_loaded(tokens, tmp_path):
    tokens.save(tmp_path / "t.json")
    again = Tokens.load(tmp_path / "t.json")
    assert again == tokens and again.encode(TEXTS[0]) == tokens.encode(TEXTS[0])
    assert [t.tolist() for t in again.encode_all(TEXTS[:3])] == [tokens.encode(text) for text in TEXTS[:3]]


def test_bad_input_gets_a_sentence(tokens, tmp_path):
    with pytest.raises(
        ValueError, match=r"unknown to this vocabulary of .* pieces; the text seems to be in another script"
    ):
        tokens.encode_all(["Привет, как твои дела?"])
    for empty, text in (([], "there are no texts"), (["", " "], "all 2 texts are empty")):
        with pytest.raises(ValueError, match=text):
            Tokens.train(empty)
    with pytest.raises(TypeError, match=r"write \[text\]"):
        tokens.encode_all("one string")
    with pytest.raises(TypeError, match="text 1 is a int"):
        tokens.encode_all(["a", 3])
    with pytest.raises(ValueError, match="there is no file"):
        Tokens.load(tmp_path / "none.json")
    with pytest.raises(ValueError, match="no vocabulary"):
        Tokens.from_json("{}")
    from tokenizers import Tokenizer, models

    with pytest.raises(ValueError, match="lacks <pad>"):
        Tokens(Tokenizer(models.BPE()))


def test_marks_that_a_text_contains_are_signs():
    tokens = Tokens.train(["a <pad> b <bos> c <cap> d < e > f"] * 9, 90)
    assert not {tokens.pad, tokens.bos, tokens.cap, tokens.up} & set(
        tokens.encode("a <pad> b <bos> c <cap> d <up> e")[1:]
    )
    assert tokens.encode("a <unk> b")[2] == tokens.unk  # WikiText writes rare words so
