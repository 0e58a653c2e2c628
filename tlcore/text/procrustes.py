"""A rotation from one space of word vectors into another: translation without a dictionary for all but a few words.

Mikolov, Le, Sutskever 2013 (arXiv:1309.4168) fitted any linear map; Xing et al. 2015 and Smith et al. 2017
(arXiv:1702.03859) showed that it should be orthogonal, which has a closed form (Schönemann 1966).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from tlcore.text.word2vec import Neighbour, WordVectors


def procrustes(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The orthogonal W (E, E) with the least ``|source @ W - target|``: U V' of the decomposition of source' target.

    >>> turn = torch.linalg.qr(torch.randn(4, 4)).Q
    >>> rows = torch.randn(20, 4)
    >>> torch.allclose(procrustes(rows, rows @ turn), turn, atol=1e-4)
    True

    Raises
    ------
    ValueError
        If the rows (N, E) are not of one shape, there are none, or a number is not finite.
    """
    if source.ndim != 2 or source.shape != target.shape or not len(source):
        raise ValueError(
            f"procrustes: rows {tuple(source.shape)} and {tuple(target.shape)}; pairs of rows (N, E) are accepted"
        )
    if not (source.isfinite().all() and target.isfinite().all()):
        raise ValueError("procrustes: a row holds a number that is not finite")
    u, _, v = torch.linalg.svd(source.double().T @ target.double())
    rotation: torch.Tensor = u @ v
    return rotation.to(source.dtype)


@dataclass
class Aligned:
    """Two spaces of word vectors, the first turned into the second."""

    source: WordVectors
    target: WordVectors
    rotation: torch.Tensor

    def translate(self, word: str, count: int = 1) -> list[Neighbour]:
        """The words of the target nearest to a word of the source."""
        return self.target.nearest(F.normalize(self.source[word], dim=0) @ self.rotation, count)

    def accuracy(self, pairs: Iterable[tuple[str, str]], among: int = 1) -> float:
        """The share of pairs whose second word is among the nearest to the first; pairs with an unknown word count as
        wrong.
        """
        found = [
            a in self.source and b in self.target and b in [near.word for near in self.translate(a, among)]
            for a, b in pairs
        ]
        if not found:
            raise ValueError("accuracy: there are no pairs")
        return sum(found) / len(found)


def align(source: WordVectors, target: WordVectors, pairs: Iterable[tuple[str, str]]) -> Aligned:
    """Turn one space into another by some known pairs of words; directions count, lengths do not.

    >>> vectors = torch.randn(6, 3)
    >>> one = WordVectors(tuple("abcdef"), vectors, torch.ones(6))
    >>> other = WordVectors(tuple("ABCDEF"), vectors.roll(1, 1), torch.ones(6))
    >>> found = align(one, other, [("a", "A"), ("b", "B"), ("c", "C"), ("d", "D"), ("e", "E")])
    >>> found.translate("f")[0].word
    'F'

    Raises
    ------
    ValueError
        If the spaces have different widths, or no pair has two known words.
    """
    if source.vectors.shape[1] != target.vectors.shape[1]:
        raise ValueError(
            f"align: the vectors are {source.vectors.shape[1]} and {target.vectors.shape[1]} wide; both need one width"
        )
    known = [(a, b) for a, b in pairs if a in source and b in target]
    if not known:
        raise ValueError("align: no pair has a word of each vocabulary; give pairs (source word, target word)")
    a, b = (
        F.normalize(torch.stack([space[pair[side]] for pair in known]), dim=1)
        for side, space in enumerate((source, target))
    )
    return Aligned(source, target, procrustes(a, b))
