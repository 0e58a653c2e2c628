"""What methods of transfer are given: two samples and their labels as arrays, once they are fit to be used together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tlcore.worlds import Dataset

Array = NDArray[np.float64]
Labels = NDArray[Any]


def rows(what: str, name: str, values: Any, *, least: int = 1) -> Array:
    """Rows (N, F) in float64, once they are fit to compute with; images are flattened, bytes become shares of 255.

    >>> rows("CORAL", "Xs", torch.full((4, 1, 2, 2), 255, dtype=torch.uint8)).shape
    (4, 4)

    Raises
    ------
    TypeError
        For texts and sparse matrices.
    ValueError
        Fewer than `least` rows, no columns, or numbers that are not finite; the sentence begins with `what`.
    """
    if isinstance(values, Dataset):
        values = values.inputs
    if hasattr(values, "toarray"):
        raise TypeError(f"{what}: {name} is a sparse matrix; rows of numbers (N, F) are accepted: use .toarray()")
    given = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if given.dtype.kind not in "fiub":
        raise TypeError(f"{what}: {name} holds {given.dtype}; rows of numbers (N, F) are accepted")
    if given.ndim < 2 or (given.size == 0 and given.shape[0] > 0):
        raise ValueError(f"{what}: {name} is {given.shape}; rows of numbers (N, F), or images, are accepted")
    if len(given) < least:
        raise ValueError(f"{what}: {name} has {len(given)} rows; at least {least} are needed")
    made: Array = given.reshape(len(given), -1).astype(np.float64)
    if given.dtype == np.uint8:
        made = made / 255
    if not np.isfinite(made).all():
        bad = int((~np.isfinite(made)).any(1).sum())
        raise ValueError(
            f"{what}: {name} has NaN or infinity in {bad} of {len(made)} rows; finite numbers are accepted"
        )
    return made


def both(what: str, Xs: Any, Xt: Any, *, least: int = 2) -> tuple[Array, Array]:
    """Rows of source and target, of one shape.

    Raises
    ------
    TypeError, ValueError
        As `rows`, and for rows of different shapes.
    """
    shapes = [tuple(np.shape(X.inputs if isinstance(X, Dataset) else X))[1:] for X in (Xs, Xt)]
    if all(shapes) and shapes[0] != shapes[1]:
        raise ValueError(
            f"{what}: rows of Xs are {shapes[0]}, of Xt {shapes[1]}; resize or describe both alike: source and target "
            "need inputs of one shape"
        )
    return rows(what, "Xs", Xs, least=least), rows(what, "Xt", Xt, least=least)


def labels(what: str, name: str, y: Any, count: int, *, why: str = "it learns from them") -> Labels:
    """Labels (N,) of `count` rows.

    >>> labels("TrAdaBoost", "yt", ["cat", "dog"], 2)
    array(['cat', 'dog'], dtype='<U3')

    Raises
    ------
    ValueError
        Missing, of another length, not one a row, or with some of them missing.
    """
    if y is None:
        raise ValueError(f"{what}: {name} is None; labels (N,) are needed: {why}")
    given: Labels = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)
    if given.shape != (count,):
        raise ValueError(f"{what}: {name} is {given.shape} for {count} rows; one label a row, ({count},), is accepted")
    missing = np.array([v is None for v in given]) if given.dtype == object else np.zeros(count, bool)
    if given.dtype.kind == "f":
        missing = ~np.isfinite(given)
    if missing.any():
        raise ValueError(
            f"{what}: {name} lacks {int(missing.sum())} of {count} labels (None, NaN); leave out rows without"
        )
    return given


def classes(what: str, ys: Labels, yt: Labels | None = None, *, least: int = 2) -> Labels:
    """The classes of both sides, in order (K,).

    Raises
    ------
    ValueError
        Fewer than `least` classes, numbers that are no classes, or a class that only one side has.
    """
    for name, y in (("ys", ys), ("yt", yt)):
        if y is not None and y.dtype.kind == "f" and not (y == np.round(y)).all():
            raise ValueError(f"{what}: {name} holds numbers such as {y[y != np.round(y)][0]:.4g}; classes are accepted")
    found: Labels = np.unique(ys)
    if yt is not None:
        theirs = np.unique(yt)
        for mine, other, extra in (("ys", "yt", _beyond(found, theirs)), ("yt", "ys", _beyond(theirs, found))):
            if extra:
                some = ", ".join(map(repr, extra[:4])) + (", …" if len(extra) > 4 else "")
                raise ValueError(
                    f"{what}: class {some} is in {mine} only; leave its rows out, or give rows of it in {other}: "
                    "source and target need the same classes"
                )
    if len(found) < least:
        raise ValueError(f"{what}: ys has {len(found)} class{'es' * (len(found) != 1)}; at least {least} are needed")
    return found


def same_names(what: str, source: Any, target: Any, name: str = "target") -> None:
    """Raise where both are datasets with classes, and not with the same ones in the same order."""
    if not (isinstance(source, Dataset) and isinstance(target, Dataset) and source.classes and target.classes):
        return
    if source.classes == target.classes:
        return
    sides: Sequence[tuple[str, Dataset, Dataset]] = (("source", source, target), (name, target, source))
    for side, mine, other in sides:
        extra = [name for name in mine.classes if name not in other.classes]
        if extra:
            some = ", ".join(map(repr, extra[:4])) + (", …" if len(extra) > 4 else "")
            raise ValueError(
                f"{what}: only {side} has the class {some}; the same classes on both sides are accepted: "
                "use subset(classes=…) on both"
            )
    raise ValueError(
        f"{what}: source and {name} have the same classes in another order; use subset(classes=…) on both to number "
        "them alike"
    )


def _beyond(one: Labels, other: Labels) -> list[Any]:
    """What `one` has and `other` does not."""
    return [value for value in one.tolist() if value not in set(other.tolist())]
