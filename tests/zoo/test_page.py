"""The table in the docs is the one that its script draws; fields published elsewhere are found again."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from tlcore import anatomy, zoo

DOCS = Path(__file__).parents[2] / "docs"
# Araujo, Norris, Sim 2019 (Distill, "Computing receptive fields of convolutional neural networks"), table 1.
PUBLISHED = {
    "alexnet": 195, "vgg_d": 212, "mobilenet_v1": 315, "bn_inception": 699, "inception_v3": 1311, "inception_v4": 2071,
    "inception_resnet_v2": 3039, "se_resnet50": 483, "se_resnet101": 1027, "se_resnet152": 1507,
}  # fmt: skip
# The true 5x5 and pool4's 3x3 make GoogLeNet's 715; 50-layer nets of today take their stride in the 3x3.
MEASURED = {"googlenet": 715, "googlenet_torchvision": 379, "resnet50": 427, "resnet152": 1451, "densenet121": 2071}


@pytest.mark.parametrize(("name", "side"), [*PUBLISHED.items(), *MEASURED.items()])
def test_fields_are_the_published_ones(name, side):
    with torch.device("meta"):
        net = zoo.get_model(name).eval()
    assert anatomy.receptive_field(net, input_size=zoo.card(name).input_size).size == (side, side)


def test_the_papers_stride_sees_further():
    for name, side in (("resnet50", 483), ("resnet101", 1027), ("resnet152", 1507)):
        with torch.device("meta"):
            net = zoo.get_model(name, stride="paper").eval()
        assert anatomy.receptive_field(net, input_size=(3, 224, 224)).size == (side, side)


def test_the_page_is_current():
    row = runpy.run_path(str(DOCS / "zoo.py"))["row"]
    lines = (DOCS / "zoo.md").read_text(encoding="utf-8").splitlines()
    listed = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert sorted(listed) == zoo.list_models()
    for name in ("lenet5", "googlenet", "resnet50", "densenet121", "mobilenet_v1"):
        assert listed[name] == row(name), "run python docs/zoo.py"
    for name, line in listed.items():
        assert f"{zoo.card(name).params:,}" in line
