"""What a diagnosis looks at: inputs of any kind as a few dozen numbers each, the same way in both domains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from tlcore.shift.divergences import precise

Features = Callable[[Any], torch.Tensor]
Array = np.ndarray[Any, Any]
_FILTERS, _KEPT = 24, 40


def describe(
    source: torch.Tensor | list[str], target: torch.Tensor | list[str], features: Features | None = None
) -> tuple[Array, Array]:
    """Features (N, F) and (M, F) of two samples, standardised over both.

    >>> x, y = torch.rand(30, 3, 16, 16), torch.rand(20, 3, 16, 16)
    >>> [part.shape for part in describe(x, y)]
    [(30, 49), (20, 49)]

    Vectors are taken as they are; pictures through fixed random filters (Saxe et al. 2011), pooled, with a few
    statistics of light, contrast and sharpness; texts as weighted words. Then principal components of both samples.

    Parameters
    ----------
    features
        A function from inputs to a tensor (N, ...), such as a trained network without its head, in place of these.
    """
    count = len(source)
    if features is not None:
        with torch.no_grad():
            made = np.concatenate([_flat(features(source)), _flat(features(target))])
        plain = np.empty((len(made), 0))
    elif isinstance(source, list) and isinstance(target, list):
        made, plain = _words([*source, *target]), np.array([[len(text.split())] for text in [*source, *target]], float)
    else:
        one = precise(torch.as_tensor(source))
        pooled = torch.cat([one, precise(torch.as_tensor(target)).to(one.device)])
        if pooled.ndim == 4:
            images = pooled.float()
            made, plain = _flat(_filtered(images)), _flat(_statistics(images))
        else:
            made, plain = _flat(pooled), np.empty((len(pooled), 0))
    if made.shape[1] > _KEPT:
        from sklearn.decomposition import PCA

        made = PCA(min(_KEPT, len(made) - 1), random_state=0).fit_transform(_standard(made))
        made /= np.sqrt((made**2).mean()) + 1e-12  # one scale for all: later components stay small, being mostly noise
        every = np.concatenate([made, _standard(plain)], 1)
    else:
        every = _standard(np.concatenate([made, plain], 1))
    return every[:count], every[count:]


def _filtered(images: torch.Tensor) -> torch.Tensor:
    """Responses of fixed random filters of two sizes, pooled to 4x4 (N, F)."""
    draws = torch.Generator().manual_seed(11)
    found = []
    for size, stride in ((3, 1), (5, 2)):
        kernel = torch.randn(_FILTERS, images.shape[1], size, size, generator=draws).to(images)
        kernel -= kernel.mean((1, 2, 3), keepdim=True)
        out = [
            torch.nn.functional.adaptive_avg_pool2d(
                torch.nn.functional.conv2d(part, kernel, stride=stride, padding=size // 2).abs(), 4
            )
            for part in images.split(256)
        ]
        found.append(torch.cat(out).flatten(1))
    return torch.cat(found, 1)


def _statistics(images: torch.Tensor) -> torch.Tensor:
    """Light and contrast of each channel, and sharpness in both directions (N, F)."""
    across, down = images.diff(dim=3).abs().mean((1, 2, 3)), images.diff(dim=2).abs().mean((1, 2, 3))
    dark = (images < 0.02).float().mean((1, 2, 3))
    return torch.cat([images.mean((2, 3)), images.std((2, 3)), torch.stack([across, down, dark], 1)], 1)


def _words(texts: list[str]) -> Array:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    table = TfidfVectorizer(sublinear_tf=True, token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    kept = min(_KEPT, table.shape[1] - 1)
    made: Array = TruncatedSVD(kept, random_state=0).fit_transform(table) if kept > 0 else table.toarray()
    return made


def _flat(values: torch.Tensor) -> Array:
    rows: Array = torch.as_tensor(values).detach().cpu().flatten(1).double().numpy()
    return rows


def _standard(values: Array) -> Array:
    made: Array = (values - values.mean(0)) / (values.std(0) + 1e-12)
    return made


def known_words(source: list[str], target: list[str]) -> tuple[float, float]:
    """Share of words that occur in half of the source: among the other half's words, and among the target's.

    >>> known_words(["a b", "b a"], ["a c"])
    (1.0, 0.5)
    """
    from sklearn.feature_extraction.text import CountVectorizer

    split = CountVectorizer(token_pattern=r"(?u)\b\w+\b").build_analyzer()
    own = {word for text in source[::2] for word in split(text)}

    def share(texts: list[str]) -> float:
        words = [word for text in texts for word in split(text)]
        return sum(word in own for word in words) / max(1, len(words))

    return share(source[1::2]), share(target)
