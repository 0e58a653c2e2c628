"""Heads that scikit-learn trains: "train ANY classifier, even random forest will do", says the lecture.

They are pipelines, so they can stand behind a `FeatureExtractor`, or be cross-validated, as any other.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from torch import nn

from tlcore import plots
from tlcore.runtime import nearest
from tlcore.shift.threads import one_blas_thread
from tlcore.transfer.features import FeatureExtractor, Features
from tlcore.worlds import Dataset


def _svm(seed: int) -> Any:
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    return make_pipeline(StandardScaler(), LinearSVC(C=0.01, max_iter=10_000, random_state=seed))


def _softmax(seed: int) -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000, random_state=seed))


def _forest(seed: int) -> Any:
    from sklearn.ensemble import RandomForestClassifier

    return make_pipeline(RandomForestClassifier(200, random_state=seed))


# C fits a few hundred standardised features and 1 to 100 images a class.
HEADS: Mapping[str, Callable[[int], Any]] = {"svm": _svm, "softmax": _softmax, "forest": _forest}


def classifier(name: str, *, seed: int = 0) -> Any:
    """A fresh pipeline by name: "svm" (linear), "softmax" (logistic regression) or "forest" (200 random trees).

    >>> classifier("svm")
    Pipeline(steps=[('standardscaler', StandardScaler()),
                    ('linearsvc', LinearSVC(C=0.01, max_iter=10000, random_state=0))])

    Raises
    ------
    ValueError
        For another name, with the nearest.
    """
    if name not in HEADS:
        raise ValueError(f"classifier({name!r}): {nearest(name, HEADS)}")
    return HEADS[name](seed)


class Judged(NamedTuple):
    """One head on one kind of features; the accuracy is a share, the seconds are those of training and predicting."""

    head: str
    inputs: str
    features: int
    accuracy: float
    seconds: float


@dataclass(repr=False)
class HeadTable:
    """Heads side by side: a table, its rows, and a picture."""

    rows: list[Judged]
    origin: str = ""
    seconds: float = 0.0  # for taking the features of both splits

    def column(self, name: str) -> list[Any]:
        """One figure of all heads, such as ``column("accuracy")``."""
        if name not in Judged._fields:
            raise ValueError(f"column({name!r}): accepted are {', '.join(Judged._fields)}")
        return [getattr(row, name) for row in self.rows]

    def plot(self, ax: Any = None) -> Any:
        """Draw the accuracies as bars."""
        ax = ax or plots.figure()[1][0]
        names = [f"{row.head}\n{row.inputs}" for row in self.rows]
        kinds = list(dict.fromkeys(self.column("inputs")))
        colours = [plots.COLOURS[kinds.index(row.inputs)] for row in self.rows]
        bars = ax.bar(range(len(names)), self.column("accuracy"), color=colours)
        ax.bar_label(bars, [f"{row.accuracy:.0%}" for row in self.rows])
        ax.set_xticks(range(len(names)), names)
        ax.set(ylabel="accuracy", ylim=(0, 1.05))
        return ax

    def _table(self) -> plots.Table:
        return plots.table([list(row) for row in self.rows], Judged._fields)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


def compare_heads(
    model: nn.Module,
    train: Dataset,
    test: Dataset,
    layer: str = "neck",
    *,
    heads: Sequence[str] = tuple(HEADS),
    pixels: Sequence[str] = ("svm",),
    seed: int = 0,
    **options: Any,
) -> HeadTable:
    """Train heads on a layer's features, and some on raw pixels for comparison.

    >>> from tlcore import worlds, zoo
    >>> world = worlds.Shapes(shapes=("circle", "star"))
    >>> train, test = world.sample(20, seed=1), world.sample(50, seed=2)
    >>> found = compare_heads(zoo.get_model("resnet20"), train, test, device="cpu")
    >>> [(row.head, row.inputs, row.features) for row in found.rows]
    [('svm', 'neck', 64), ('softmax', 'neck', 64), ('forest', 'neck', 64), ('svm', 'pixels', 3072)]

    Parameters
    ----------
    heads, pixels
        Names out of `HEADS`: those trained on the layer's features, and those trained on the pixels themselves.
    options
        Of the `FeatureExtractor`, such as ``mean=0.5, std=0.5, size=224``.

    Raises
    ------
    ValueError
        For an unknown head, with the nearest; for targets that are no classes; for a training split of one class.
    """
    for name in (*heads, *pixels):
        classifier(name)
    start, rows = time.perf_counter(), []
    reader = FeatureExtractor(model, layer, **options)
    known, new = reader.transform(train), reader.transform(test)
    seconds = time.perf_counter() - start
    labels = targets(train, "compare_heads"), targets(test, "compare_heads")
    say_absent(*labels, train.classes, "compare_heads")
    rows += [judged(name, layer, known, new, *labels, seed) for name in heads]
    if pixels:
        raw = pixel_reader()
        known, new = raw.transform(train), raw.transform(test)
        rows += [judged(name, "pixels", known, new, *labels, seed) for name in pixels]
    return HeadTable(rows, train.origin, seconds)


def pixel_reader() -> FeatureExtractor:
    """Takes the inputs themselves, one row an image."""
    return FeatureExtractor(nn.Identity(), "input", pool="flatten", device="cpu")


@one_blas_thread
def judged(
    head: Any, inputs: str, train: Features, test: Features, y: Features, y_test: Features, seed: int = 0
) -> Judged:
    """Train one head, by name or a classifier of the user's own, and test it."""
    start = time.perf_counter()
    own = classifier(head, seed=seed) if isinstance(head, str) else clone(head)
    right = float(np.mean(own.fit(train, y).predict(test) == y_test))
    name = head if isinstance(head, str) else type(head).__name__
    return Judged(name, inputs, train.shape[1], right, time.perf_counter() - start)


def targets(data: Dataset, function: str) -> Any:
    """Class numbers (N,) as an array."""
    if data.targets.ndim != 1 or data.targets.is_floating_point():
        shape = f"{tuple(data.targets.shape)} of {str(data.targets.dtype)[6:]}"
        raise ValueError(f"{function}: the targets are {shape}; a classifier needs class numbers (N,)")
    return data.targets.cpu().numpy()


def say_absent(y: Any, y_test: Any, classes: Sequence[str], function: str) -> None:
    """Warn of classes that a head cannot learn, since the training split has none of them.

    Raises
    ------
    ValueError
        If it has only one class.
    """

    def named(number: int) -> str:
        return repr(classes[number]) if number < len(classes) else f"number {number}"

    seen = np.unique(y)
    if len(seen) < 2:
        raise ValueError(f"{function}: all images to train on are of class {named(int(seen[0]))}; a head needs two")
    absent = [int(number) for number in np.unique(y_test) if number not in seen]
    if absent:
        count = int(np.isin(y_test, absent).sum())
        warnings.warn(
            f"{function}: no image to train on is of class {', '.join(map(named, absent))}, so no head can predict it; "
            f"{count} of {len(y_test)} test images count as wrong",
            stacklevel=3,
        )
