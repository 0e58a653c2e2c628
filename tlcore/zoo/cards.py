"""What is known about each network: where it comes from, what it costs, what it scored, and what the lectures say.

Parameters and multiply-adds are those of the network as built by default and are checked by the tests. Multiply-adds
are those of convolutions and linear layers for one image; biases, normalisation and pooling count nothing.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from tlcore import plots
from tlcore.zoo.catalogue import MODELS, resolve
from tlcore.zoo.numbers import IN_1000, NUMBERS, SCORES


@dataclass(frozen=True)
class Paper:
    """A publication, how its network was trained, and what the lectures say of it."""

    year: int
    authors: str
    title: str
    where: str
    recipe: str = ""
    lecture: str = ""
    exact: str = ""


@dataclass(frozen=True)
class ModelCard:
    """All about one network; `exact` says in how far the lectures' figures are the network's own.

    `top1` and `top5` are accuracies in percent, `evaluated_by` says whose; None where we know of no figure.
    """

    name: str
    year: int
    authors: str
    paper: str
    where: str
    params: int
    macs: int
    input_size: tuple[int, int, int]
    num_classes: int
    top1: float | None
    top5: float | None
    evaluated_by: str
    recipe: str
    lecture: str
    exact: str

    def _repr_html_(self) -> str:
        return plots.table(self._lines(), ["", self.name])._repr_html_()

    def __str__(self) -> str:
        return repr(plots.table(self._lines(), ["", self.name]))

    def _lines(self) -> list[tuple[str, object]]:
        shown = [(f.name, getattr(self, f.name)) for f in fields(self)[1:]]
        return [(name.replace("_", " "), _cell(self, name)) for name, value in shown if value not in (None, "")]


@functools.cache
def papers() -> dict[str, Paper]:
    """The publications, by the key that `_FAMILY` names."""
    text = (Path(__file__).parent / "papers.toml").read_text(encoding="utf-8")
    return {key: Paper(**values) for key, values in tomllib.loads(text).items()}


_FAMILY = (
    ("lenet", "lenet"), ("alexnet_torchvision", "alexnet_torchvision"), ("alexnet", "alexnet"), ("zfnet", "zfnet"),
    ("vgg", "vgg"), ("googlenet", "googlenet"), ("bn_inception", "bn_inception"), ("inception_v3", "inception_v3"),
    ("inception", "inception_v4"), ("w", "wrn"), ("resnext", "resnext"), ("se", "se"), ("resnet", "resnet"),
    ("plain", "resnet"), ("densenet", "densenet"), ("mobilenet", "mobilenet"), ("nasnet", "nasnet"),
    ("efficientnet_b0", "efficientnet_b0"), ("efficientnet_l2", "efficientnet_l2"),
)  # fmt: skip


def card(name: str) -> ModelCard:
    """All that is known about a network.

    >>> found = card("googlenet")
    >>> found.year, found.params, found.input_size
    (2014, 6998552, (3, 224, 224))
    >>> print(found.exact)  # doctest: +ELLIPSIS
    6,998,552 parameters and 22 layers; 13,378,280 with both auxiliary heads. ...

    Raises
    ------
    ValueError
        For an unknown name, with the nearest ones.
    """
    name = resolve(name)
    paper = papers()[next(family for start, family in _FAMILY if name.startswith(start))]
    params, macs, side = NUMBERS[name]
    top1, top5, whose = SCORES.get(name, (None, None, ""))
    return ModelCard(
        name=name,
        year=paper.year,
        authors=paper.authors,
        paper=paper.title,
        where=paper.where,
        params=params,
        macs=macs,
        input_size=(1 if name.startswith("lenet") else 3, side, side),
        num_classes=1000 if side in IN_1000 else 10,
        top1=top1,
        top5=top5,
        evaluated_by=whose,
        recipe=paper.recipe,
        lecture=paper.lecture,
        exact=paper.exact,
    )


_COLUMNS = ("name", "year", "authors", "input_size", "params", "macs", "top1", "top5", "evaluated_by")


def table(*, sort_by: str = "year", descending: bool = False) -> plots.Table:
    """All networks with their figures.

    >>> table(sort_by="params").rows[0][0]
    'lenet5_1998'

    Parameters
    ----------
    sort_by
        A column: name, year, authors, input_size, params, macs, top1, top5 or evaluated_by.

    Raises
    ------
    ValueError
        For a column that there is not.
    """
    if sort_by not in _COLUMNS:
        raise ValueError(f"zoo.table(sort_by={sort_by!r}): accepted are {', '.join(_COLUMNS)}")
    cards = [card(name) for name in MODELS]
    known = [c for c in cards if getattr(c, sort_by) is not None]
    key: Callable[[ModelCard], Any] = lambda c: getattr(c, sort_by)  # noqa: E731
    ordered = sorted(known, key=key, reverse=descending) + [c for c in cards if getattr(c, sort_by) is None]
    rows = [[_cell(c, column) for column in _COLUMNS] for c in ordered]
    return plots.table(rows, [column.replace("_", " ") for column in _COLUMNS])


def _cell(found: ModelCard, column: str) -> object:
    value = getattr(found, column)
    if column == "input_size":
        return "x".join(map(str, value))
    return str(value) if column == "year" else value
