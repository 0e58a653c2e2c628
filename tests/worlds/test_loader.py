"""Batches hold every row once, and what is changed in an image is changed as said."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tlcore import worlds
from tlcore.worlds import augment


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def numbered(count: int, side: int = 8) -> worlds.Dataset:
    """Images whose pixels all hold the image's number."""
    inputs = torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).expand(-1, 3, side, side).clone()
    return worlds.Dataset(inputs, torch.arange(count) % 2, ("even", "odd"))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.booleans(), st.booleans())
def test_every_row_comes_once(count, size, shuffle, drop_last):
    batches = worlds.Loader(numbered(count), size, shuffle=shuffle, drop_last=drop_last)
    seen = [(x[:, 0, 0, 0].long(), y) for x, y in batches]
    assert len(seen) == len(batches)
    rows = torch.cat([x for x, _ in seen]) if seen else torch.tensor([])
    assert len(set(rows.tolist())) == len(rows) == (count // size * size if drop_last else count)
    assert all(torch.equal(x % 2, y) for x, y in seen)


def test_epochs_differ_and_seeds_repeat():
    def epochs(seed):
        loader = worlds.Loader(numbered(50), 50, seed=seed, augment=("colour",))
        return [next(iter(loader))[0] for _ in range(2)]

    first, again, other = epochs(1), epochs(1), epochs(2)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], first[1]) and not torch.equal(first[0], other[0])


def test_bytes_become_normalised_numbers():
    data = worlds.Dataset(torch.full((4, 3, 5, 5), 255, dtype=torch.uint8), torch.zeros(4).long(), ("x",))
    x, _ = next(iter(worlds.Loader(data, 4, mean=(0.5, 0.0, 1.0), std=(0.5, 1.0, 2.0))))
    assert x[0, :, 0, 0].tolist() == [1.0, 1.0, 0.0]


def test_flips_are_mirror_images_of_about_half():
    images = torch.rand(400, 3, 6, 6)
    out = augment.flip(images, draws())
    same, mirrored = (out == images).flatten(1).all(1), (out == images.flip(3)).flatten(1).all(1)
    assert (same ^ mirrored).all() and 150 < mirrored.sum() < 250


def test_crops_are_windows_of_the_padded_image():
    images = torch.rand(60, 2, 9, 9)
    out = augment.crop(images, draws(), padding=2)
    padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
    windows = padded.unfold(2, 9, 1).unfold(3, 9, 1).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)  # (N, 25, C, 9, 9)
    hits = (windows == out[:, None]).flatten(2).all(2)
    assert (hits.sum(1) == 1).all() and len(set(hits.int().argmax(1).tolist())) > 15


def test_cutout_is_one_square_of_the_mean():
    images = torch.rand(50, 3, 12, 12)
    out = augment.cutout(images, draws(), side=4)
    changed = (out != images).any(1)  # (N, H, W)
    assert (changed.flatten(1).sum(1) <= 16).all() and (changed.flatten(1).sum(1) >= 4).all()
    mean = images.mean((1, 2, 3))
    for one, mask, value in zip(out, changed, mean):
        torch.testing.assert_close(one[:, mask], value.expand_as(one[:, mask]))


def test_colour_keeps_the_picture():
    images = torch.rand(20, 3, 8, 8)
    out = augment.colour(images, draws(), strength=0.3)
    for a, b in zip(images.flatten(2), out.flatten(2)):
        for mine, new in zip(a, b):  # each channel is a straight line of the old one
            assert torch.corrcoef(torch.stack([mine, new]))[0, 1] > 0.9999
    assert torch.equal(augment.colour(images, draws(), strength=0), images) or torch.allclose(
        augment.colour(images, draws(), strength=0), images, atol=1e-6
    )


def test_bad_options_get_a_sentence():
    images = torch.rand(2, 3, 8, 8)
    for wrong, text in (
        (lambda: augment.crop(images, draws(), padding=8), "from 1 to 7"),
        (lambda: augment.cutout(images, draws(), side=20), "from 1 to 8"),
        (lambda: augment.colour(images, draws(), strength=1.5), "below 1"),
        (lambda: worlds.Loader(numbered(4), 2, augment=("flipp",)), "nearest: 'flip'"),
        (lambda: worlds.Loader(numbered(4), 0), "from 1 on"),
    ):
        with pytest.raises(ValueError, match=text):
            wrong()
    with pytest.raises(TypeError, match="texts"):
        worlds.Loader(worlds.Dataset(["a"], torch.zeros(1).long(), ("x",)), 1)
