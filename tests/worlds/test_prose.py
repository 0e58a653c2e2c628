"""Paragraphs from docstrings: whole sentences, in equal numbers, the same for the same seed, and no hint by name."""

from __future__ import annotations

import re

import pytest

from tlcore import worlds


def test_paragraphs_are_prose_in_equal_numbers() -> None:
    data = worlds.docstrings(("python", "torch", "sklearn"), count=40, words=(8, 30))
    assert data.counts().tolist() == [40, 40, 40] and len(set(data.inputs)) == 120
    for text in data.inputs:
        assert 8 <= len(text.split()) <= 30 and text[0].isupper() and text.endswith("."), text
        assert not re.search(r">>>|`|::|\b(?:torch|pytorch|sklearn|python)\b", text, re.IGNORECASE), text


def test_the_seed_decides() -> None:
    one, same, other = (worlds.docstrings(("torch",), count=20, seed=seed).inputs for seed in (0, 0, 1))
    assert one == same != other


@pytest.mark.parametrize(
    ("libraries", "count", "message"),
    [(("torhc",), 5, "'torhc' is no installed package"), (("python",), 10**6, "python has [0-9]+ paragraphs")],
)
def test_bad_input(libraries: tuple[str, ...], count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        worlds.docstrings(libraries, count=count)
