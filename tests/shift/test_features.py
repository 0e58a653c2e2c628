"""What tests look at: the same numbers whatever the type and place of the inputs, and components in few rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tlcore.shift.features import describe


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 8, 8)])
def test_bytes_beside_floats_are_the_same_pictures(shape):
    pixels = torch.randint(0, 256, (60, *shape), dtype=torch.uint8)
    as_floats, as_doubles = pixels.float() / 255, pixels.double() / 255
    for other in (as_floats, as_doubles):
        x, y = describe(pixels, other)
        assert np.allclose(x, y, atol=1e-3)


def test_few_rows_get_their_components():
    """With fewer rows than components nothing is lost: all distances stay, up to one scale."""
    draws = torch.Generator().manual_seed(0)
    rows = torch.cat([torch.zeros(30, 45), torch.randn(30, 15, generator=draws)], 1)  # nothing in the first columns
    made = np.concatenate(describe(rows[:15], rows[15:]))
    told = (rows[:, 45:] - rows[:, 45:].mean(0)) / rows[:, 45:].std(0, correction=0)
    expected, found = torch.pdist(told.double()), torch.pdist(torch.from_numpy(made))
    ratio = found / expected
    assert float(ratio.std() / ratio.mean()) < 1e-5


def test_vectors_keep_what_float32_would_round():
    x = torch.randn(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    far, near = describe(1e8 + x[:25], 1e8 + x[25:]), describe(x[:25], x[25:])
    assert np.allclose(far[0], near[0], atol=1e-6)
