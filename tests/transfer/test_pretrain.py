"""Pre-training: what comes out, and that a run of two processes goes on where it was killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from tlcore import training, transfer, worlds, zoo
from tlcore.cli import app

SMALL = ["shapes", "--classes", "circle,star", "--size", "256", "--batch-size", "32"]


def test_weights_card_and_log(tmp_path):
    done = CliRunner().invoke(app, ["pretrain", *SMALL, "--epochs", "3", "--out", str(tmp_path), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "resnet20-shapes.json").read_text())
    assert card["classes"] == ["circle", "star"] and card["recipe"]["seed"] == 0 and card["images"] == 256
    assert str(tmp_path) not in json.dumps(card) and card["processes"] == 1
    net = zoo.get_model("resnet20", weights=tmp_path / "resnet20-shapes.safetensors")
    assert load_file(tmp_path / "resnet20-shapes.safetensors")["conv1.weight"].dtype == torch.float16
    test = worlds.Shapes(shapes=("circle", "star")).sample(4000, seed=2000)
    assert round(training.evaluate(net, test)[1], 4) == card["accuracy"]["shapes, 2 classes"]
    rows = [json.loads(line) for line in (tmp_path / "resnet20-shapes.log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]


def test_bad_input_gets_a_sentence(tmp_path):
    for arguments, text in (
        (["cifar11"], "nearest: 'cifar10'"),
        (["shapes", "--classes", "circel"], "nearest: 'circle'"),
        (["shapes", "--model", "resnet21"], "nearest: 'resnet32', 'resnet20'"),
        (["imagenet"], "no folders train/CLASS/ and val/CLASS/"),
    ):
        done = CliRunner().invoke(app, ["pretrain", *arguments, "--root", str(tmp_path), "--out", str(tmp_path / "o")])
        assert done.exit_code == 2 and text in " ".join(done.output.split()), done.output


def test_folders_of_photos(tmp_path):
    from PIL import Image

    for part, count in (("train", 6), ("val", 2)):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / part / name).mkdir(parents=True)
            for n in range(count):
                Image.new("RGB", (40, 50), (200 * number, n, 9)).save(tmp_path / part / name / f"{n}.png")
    recipe = transfer.Recipe("imagenet", "resnet18", epochs=1, batch_size=4)
    card = transfer.pretrain(recipe, tmp_path / "out", root=tmp_path, device="cpu")
    assert card["classes"] == ["cat", "dog"] and card["images"] == 12 and len(card["accuracy"]) == 1


def _torchrun(folder, wait_for_epoch=None):
    """Two processes on the CPU; killed, without a warning, as soon as so many epochs are in the checkpoint's log."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tlcore"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    running = subprocess.Popen(
        [*command, "pretrain", *SMALL, "--epochs", "5", "--arithmetic", "float32", "--out", str(folder), "--device", "cpu"],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    log, deadline = folder / "resnet20-shapes.log.jsonl", time.monotonic() + 240
    while wait_for_epoch and running.poll() is None and time.monotonic() < deadline:
        if log.is_file() and len(log.read_text().splitlines()) >= wait_for_epoch:
            for process in [*psutil.Process(running.pid).children(recursive=True), running]:
                process.kill()
            break
        time.sleep(0.05)
    output, _ = running.communicate(timeout=240)
    return running.returncode, output


@pytest.mark.skipif(sys.platform != "linux", reason="kills a group of processes as Linux does")
def test_two_processes_are_killed_and_end_with_the_same_loss(tmp_path):
    code, output = _torchrun(tmp_path / "whole")
    assert code == 0, output
    code, _ = _torchrun(tmp_path / "killed", wait_for_epoch=3)
    assert code == -signal.SIGKILL and not (tmp_path / "killed" / "resnet20-shapes.json").exists()
    code, output = _torchrun(tmp_path / "killed")
    assert code == 0, output
    ends = []
    for name in ("whole", "killed"):
        rows = [json.loads(line) for line in (tmp_path / name / "resnet20-shapes.log.jsonl").read_text().splitlines()]
        ends.append(
            (rows[-1]["epoch"], rows[-1]["train_loss"], load_file(tmp_path / name / "resnet20-shapes.safetensors"))
        )
        assert json.loads((tmp_path / name / "resnet20-shapes.json").read_text())["processes"] == 2
    (epoch, loss, weights), (other_epoch, other_loss, other) = ends
    assert epoch == other_epoch == 5 and loss == pytest.approx(other_loss, abs=1e-6)
    assert all(torch.allclose(weights[n].float(), other[n].float(), atol=1e-3) for n in weights)
