"""Language models: perplexities known beforehand, files that fit together, and a run that is killed and ends alike."""

from __future__ import annotations

import json
import lzma
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tlcore import cli, worlds
from tlcore.cli import app
from tlcore.text import ulmfit
from tlcore.text.awd_lstm import NONE
from tlcore.text.corpus import read_folder

SMALL = [
    "--vocabulary",
    "200",
    "--embedding",
    "16",
    "--hidden",
    "24",
    "--batch-size",
    "4",
    "--bptt",
    "12",
    "--lr",
    "0.01",
]


@pytest.fixture(scope="module")
def sentences():
    return [str(text) for text in worlds.Language(sentences=2).sample(400, seed=1).inputs]


@pytest.fixture(scope="module")
def folder(sentences, tmp_path_factory):
    where = tmp_path_factory.mktemp("text")
    (where / "one.txt").write_text("\n\n".join(sentences[:200]))
    (where / "two_train.txt.xz").write_bytes(lzma.compress("\n\n".join(sentences[200:350]).encode()))
    (where / "two_valid.txt").write_text("\n\n".join(sentences[350:]))
    (where / "notes.md").write_text("no text file")
    return where


def test_a_uniform_model_hesitates_between_all_tokens(sentences):
    tokens = ulmfit.Tokens.train(sentences, 150)
    net = ulmfit.AWDLSTM(len(tokens), 8, 8, 1, NONE)
    torch.nn.init.zeros_(net.embedding.weight)
    lm = ulmfit.LanguageModel(net, tokens)
    assert lm.perplexity(sentences) == pytest.approx(len(tokens), rel=1e-5)
    loss, count = lm.surprise(sentences[:7])
    words = sum(len(text.split()) for text in sentences[:7]) + 7
    assert lm.perplexity(sentences[:7], per="word") == pytest.approx(math.exp(loss / words))
    assert count == sum(len(tokens.encode(text)) for text in sentences[:7])  # each text's end is predicted as well


def test_a_known_distribution(sentences):
    """A model that knows the frequencies and nothing else has the perplexity of their entropy."""
    tokens = ulmfit.Tokens.train(sentences, 150)
    numbers = torch.cat([torch.tensor([*tokens.encode(text)[1:], tokens.bos]) for text in sentences])
    shares = torch.bincount(numbers, minlength=len(tokens)).double() / len(numbers)
    net = ulmfit.AWDLSTM(len(tokens), 8, 8, 1, NONE)
    torch.nn.init.zeros_(net.embedding.weight)
    net.bias.data = shares.clamp_min(1e-30).log().float()
    entropy = -(shares * shares.clamp_min(1e-30).log()).sum()
    found = ulmfit.LanguageModel(net, tokens).perplexity(sentences)
    assert found == pytest.approx(float(entropy.exp()), rel=1e-4)


@pytest.mark.parametrize("backward", [False, True])
def test_it_learns(sentences, backward):
    recipe = ulmfit.Recipe(200, 24, 48, epochs=3, batch_size=8, bptt=20, lr=0.02, backward=backward, temporal=0.1)
    lm = ulmfit.pretrain_lm(sentences[:350], recipe, device="cpu", progress=False)
    test = sentences[350:]
    numbers = torch.cat([torch.tensor(lm.tokens.encode(text)) for text in sentences])
    shares = torch.bincount(numbers).double() / len(numbers)
    frequencies = float((-(shares * shares.clamp_min(1e-30).log()).sum()).exp())
    assert lm.perplexity(test) < 0.6 * frequencies
    assert lm.card["recipe"]["backward"] is backward and lm.card["words"] == sum(
        len(t.split()) for t in sentences[:350]
    )


def test_command_writes_weights_vocabulary_card_and_log(folder, tmp_path):
    done = CliRunner().invoke(
        app, ["pretrain", "lm", "--root", str(folder), "-o", str(tmp_path), "--name", "lm-x", "--epochs", "2", *SMALL]
    )
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "lm-x.json").read_text())
    assert set(card["perplexity"]) == {"two_valid"} and card["data"].startswith("one.txt, two_train.txt.xz: 350 par")
    assert card["recipe"]["epochs"] == 2 and card["recipe"]["hidden"] == 24 and card["recipe"]["schedule"] == "stlr"
    assert str(tmp_path) not in json.dumps(card) and str(folder) not in json.dumps(card)
    assert load_file(tmp_path / "lm-x.safetensors")["embedding.weight"].dtype == torch.float16
    lm = ulmfit.LanguageModel.load(tmp_path, "lm-x", device="cpu")
    held_out = read_folder(folder).held_out["two_valid"]
    assert lm.perplexity(held_out) == pytest.approx(card["perplexity"]["two_valid"]["token"], abs=0.02)
    assert f"{card['perplexity']['two_valid']['token']:g} a token" in done.output
    rows = [json.loads(line) for line in (tmp_path / "lm-x.log.jsonl").read_text().splitlines()]
    assert rows[-1]["epoch"] == 2 and rows[-1]["step"] == rows[-1]["of"] and "two_valid" in rows[-1]["perplexity"]
    assert lm.generate(held_out[0][:10], length=20) == lm.generate(held_out[0][:10], length=20)


def _command(folder, out):
    return [
        sys.executable, "-m", "tlcore", "pretrain", "lm", "--root", str(folder), "-o", str(out), "--name", "lm-x",
        "--files", "two_train.txt.xz", "--epochs", "2", "--minutes", "0", "--arithmetic", "float32", "--device", "cpu", *SMALL,
    ]  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="kills a process as Linux does")
def test_a_killed_run_ends_alike(folder, tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(_command(folder, tmp_path / "whole"), check=True, env=environment, capture_output=True)
    steps = json.loads((tmp_path / "whole" / "lm-x.log.jsonl").read_text().splitlines()[-1])["of"]
    running = subprocess.Popen(_command(folder, tmp_path / "killed"), env=environment, stdout=subprocess.DEVNULL)
    checkpoint, deadline = tmp_path / "killed" / "lm-x.checkpoint", time.monotonic() + 120
    while running.poll() is None and time.monotonic() < deadline:
        if checkpoint.is_file() and torch.load(checkpoint, weights_only=True)["step"] > 0.3 * steps:
            break  # in the middle of an epoch
        time.sleep(0.02)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    subprocess.run(_command(folder, tmp_path / "killed"), check=True, env=environment, capture_output=True)
    one, other = (load_file(tmp_path / name / "lm-x.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    cards = [json.loads((tmp_path / name / "lm-x.json").read_text()) for name in ("whole", "killed")]
    assert cards[0]["perplexity"] == cards[1]["perplexity"]
    rows = [(tmp_path / name / "lm-x.log.jsonl").read_text().splitlines() for name in ("whole", "killed")]
    assert [json.loads(r)["step"] for r in rows[0]] == sorted({json.loads(r)["step"] for r in rows[1]})


def test_bad_input_gets_a_sentence(folder, tmp_path, sentences):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.txt.xz").write_bytes(b"no archive")
    for arguments, text in (
        (["lm"], "give a folder of text files"),
        (["lm", "--root", str(tmp_path / "none")], "there is no folder"),
        (["lm", "--root", str(tmp_path / "empty")], "there is no file .txt"),
        (["lm", "--root", str(tmp_path / "broken")], "a.txt.xz is no whole UTF-8 text"),
        (["lm", "--root", str(folder), "--files", "two_trian.txt.xz"], "nearest: 'two_train.txt.xz'"),
        (["lm", "--root", str(folder), "--model", "resnet20"], "--model is for images only"),
        (["shapes", "--bptt", "20"], "--bptt is for lm only"),
        (["lm", "--root", str(folder), "--epochs", "0"], "Recipe(epochs=0)"),
        (["lm", "--root", str(folder), "--schedule", "sltr"], "accepted are constant"),
    ):
        done = CliRunner().invoke(app, ["pretrain", *arguments, "--out", str(tmp_path / "o")])
        assert done.exit_code == 2 and text in " ".join(done.output.split()), done.output
    small = ulmfit.Recipe(100, 8, 8, epochs=1, batch_size=4, bptt=10)
    lm = ulmfit.pretrain_lm(sentences[:40], small, checkpoint=tmp_path / "c", progress=False)
    with pytest.raises(ValueError, match=r"c is of another run: hidden 8 there and 9 here; remove it"):
        ulmfit.pretrain_lm(
            sentences[:40], ulmfit.Recipe(100, 8, 9, epochs=1, batch_size=4, bptt=10), checkpoint=tmp_path / "c"
        )
    with pytest.raises(ValueError, match=r"the loss is nan in epoch 1, step .* try a smaller lr than"):
        ulmfit.pretrain_lm(sentences[:40], ulmfit.Recipe(100, 8, 8, batch_size=4, bptt=10, lr=1e30), progress=False)
    with pytest.raises(ValueError, match="take the vocabulary that was saved with these weights"):
        ulmfit.LanguageModel(lm.net, ulmfit.Tokens.train(sentences, 150))
    lm.save(tmp_path / "saved")
    ulmfit.Tokens.train(sentences, 150).save(tmp_path / "saved" / "lm.tokens.json")
    with pytest.raises(ValueError, match=r"lm.tokens.json has \d+ pieces, lm.safetensors weights for"):
        ulmfit.LanguageModel.load(tmp_path / "saved")
    (tmp_path / "saved" / "lm.tokens.json").unlink()
    with pytest.raises(ValueError, match=r"has no lm.tokens.json; they belong to the weights"):
        ulmfit.LanguageModel.load(tmp_path / "saved")


def test_a_checkpoint_of_another_text_or_vocabulary_is_refused(tmp_path):
    texts = ["a cat sat on a mat", "a dog lay on a log"] * 30
    recipe = ulmfit.Recipe(vocabulary=60, embedding=8, hidden=16, epochs=1, batch_size=2, bptt=10)
    options = {"checkpoint": tmp_path / "run", "minutes": 0, "device": "cpu", "progress": False}
    ulmfit.pretrain_lm(texts, recipe, **options)
    ulmfit.pretrain_lm(texts, recipe, **options)  # it is over, and may be asked for again
    with pytest.raises(ValueError, match="text"):
        ulmfit.pretrain_lm([text[::-1] for text in texts], recipe, **options)
    with pytest.raises(ValueError, match="pieces"):
        ulmfit.pretrain_lm(texts, recipe, tokens=ulmfit.Tokens.train(texts, 50), **options)


@pytest.mark.parametrize(
    "given", [["--root", "/a/b", "-o", "out/"], ["--root=/a/b", "--out=out"], ["-oout", "--root", "lm"]]
)
def test_the_command_of_a_card_can_be_typed_anywhere(given, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tlcore", "pretrain", "lm", "--epochs", "2", *given, "--name", "lm-x"])
    told = cli._typed()
    assert told == "tlcore pretrain lm --epochs 2 --root FOLDER --name lm-x"
