"""A row of a report in words: smaller or larger, faster or slower, better or worse, and what may be chance."""

from __future__ import annotations

from typing import Any

import torch

from tlcore.compress.measure import Ratio

NEAR = 0.05  # a ratio closer to 1 is said to be the same
WIDE = 0.15  # an interval that reaches farther from 1 leaves open which


def size_word(ratio: float) -> str:
    """Bytes after over bytes before, in a word.

    >>> size_word(0.3), size_word(0.99), size_word(2.0)
    ('smaller', 'as large', 'larger')
    """
    return "smaller" if ratio < 1 - NEAR else "larger" if ratio > 1 + NEAR else "as large"


def speed_word(ratio: Ratio) -> str:
    """A ratio of times in a word, which claims no more than its interval does.

    >>> [speed_word(Ratio(*numbers)) for numbers in ((0.5, 0.4, 0.6), (1.2, 1.1, 1.3), (1, 0.9, 1.1), (1.2, 0.9, 1.5))]
    ['faster', 'slower', 'as fast', 'of unclear speed']
    """
    if ratio.high < 1 and ratio.median < 1 - NEAR:
        return "faster"
    if ratio.low > 1 and ratio.median > 1 + NEAR:
        return "slower"
    return "as fast" if ratio.low > 1 - WIDE and ratio.high < 1 + WIDE else "of unclear speed"


def cost_sentence(before: Any, after: Any, batches: tuple[int, ...]) -> str:
    """Size and speed of a row of a report beside those of the first row.

    >>> from types import SimpleNamespace as Row
    >>> slow, same = Ratio(1.5, 1.4, 1.6), Ratio(1.0, 0.9, 1.1)
    >>> one = Row(name="before", bytes=1000, macs=100, ratios=(same, same))
    >>> cost_sentence(one, Row(name="a", bytes=500, macs=80, ratios=(slow, same)), (1, 64))
    'a: smaller but slower at batch 1, as fast at batch 64: 0.50x the bytes, 0.80x the MACs, 1.50x and 1.00x the time.'
    """
    size = size_word(after.bytes / before.bytes)
    speeds = [speed_word(ratio) for ratio in after.ratios]
    good = {"smaller": 1, "as large": 0, "larger": -1, "faster": 1, "as fast": 0, "of unclear speed": 0, "slower": -1}
    link = "but" if good[size] * good[speeds[0]] < 0 else "and"
    if len(set(speeds)) == 1:
        told = f"{size} {link} {speeds[0]}"
    else:
        told = f"{size} {link} " + ", ".join(f"{word} at batch {batch}" for word, batch in zip(speeds, batches))
    parts = [f"{after.bytes / before.bytes:.2f}x the bytes"]
    if before.macs and after.macs is not None:
        parts.append(f"{after.macs / before.macs:.2f}x the MACs")
    parts.append(f"{' and '.join(f'{ratio.median:.2f}x' for ratio in after.ratios)} the time")
    return f"{after.name}: {told}: {', '.join(parts)}."


def accuracy_sentence(
    name: str, before: torch.Tensor | None, after: torch.Tensor | None, recovered: torch.Tensor | None = None
) -> str:
    """Points lost or gained on the same images (N,), each beside twice its standard error.

    >>> right = torch.ones(100, dtype=torch.bool)
    >>> worse = right.clone(); worse[:20] = False
    >>> accuracy_sentence("svd", right, worse, right)
    'svd: loses 20.0 ± 8.0 points of accuracy, and after recovery training changes nothing, on 100 images.'
    """
    if before is None or after is None:
        return f"{name}: accuracy could not be compared."
    told = _change(before, after)
    if recovered is not None:
        told += f", and after recovery training {_change(before, recovered, first=False)}"
    return f"{name}: {told}, on {len(before):,} images."


def _change(before: torch.Tensor, after: torch.Tensor, *, first: bool = True) -> str:
    gaps = after.double() - before.double()
    if not bool(gaps.any()):
        return "classifies every image as rightly as before" if first else "changes nothing"
    points, error = 100 * float(gaps.mean()), 200 * float(gaps.std(correction=1)) / len(gaps) ** 0.5
    word = "gains" if points > 0 else "loses"
    chance = "" if abs(points) > error else ", which may be chance"
    return f"{word} {abs(points):.1f} ± {error:.1f} points{' of accuracy' if first else ''}{chance}"
