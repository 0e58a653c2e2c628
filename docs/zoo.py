"""Draw docs/zoo.md, the table of every network: ``python docs/zoo.py``."""

from __future__ import annotations

from pathlib import Path

import torch

from tlcore import anatomy, zoo

HEAD = """# The zoo

Every network of `tlcore.zoo` as it is built by default; `python docs/zoo.py` makes this page. Multiply-adds
(in millions, one image) are those of convolutions and linear layers. The receptive field, in pixels, is that
of the last node before global pooling; in brackets what convolutions alone contribute, when pooling counts as
kernel 1 and keeps its stride. The stride is the distance in pixels between two neighbouring positions of that
node. Accuracies are in percent, one network, one crop unless it says otherwise.

| network | year | image | parameters | multiply-adds | field (convolutions) | stride | top-1 | top-5 | evaluated by |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |
"""


def row(name: str) -> str:
    """One line of the table."""
    card = zoo.card(name)
    with torch.device("meta"):
        net = zoo.get_model(name).eval()
    field = anatomy.receptive_field(net, input_size=card.input_size)
    strict = anatomy.receptive_field(net, input_size=card.input_size, contributors="conv")
    macs = f"{card.macs / 1e6:,.1f}" if card.macs >= 1e6 else f"{card.macs / 1e6:.3f}"
    scores = ["–" if score is None else f"{score:.2f}" for score in (card.top1, card.top5)]
    sizes = f"{field.size[0]} ({strict.size[0]})"
    image = "x".join(map(str, card.input_size))
    cells = [
        f"`{name}`",
        card.year,
        image,
        f"{card.params:,}",
        macs,
        sizes,
        field.stride[0],
        *scores,
        card.evaluated_by,
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def page() -> str:
    """The whole page, networks in the order of their years."""
    names = sorted(zoo.list_models(), key=lambda name: (zoo.card(name).year, zoo.card(name).authors, name))
    return HEAD + "\n".join(map(row, names)) + "\n"


if __name__ == "__main__":
    (Path(__file__).parent / "zoo.md").write_text(page(), encoding="utf-8")
