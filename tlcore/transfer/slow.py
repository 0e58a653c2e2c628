"""A trunk without labels, from time: what a scene holds changes slowly, pixels change fast, and we know how we moved.

Sources: Wiskott & Sejnowski 2002, "Slow Feature Analysis: Unsupervised Learning of Invariances"; Agrawal, Carreira &
Malik 2015, "Learning to See by Moving" (arXiv:1505.01596); the softened constraints of `slow_features` are those of
Bardes, Ponce & LeCun 2022, "VICReg" (arXiv:2105.04906).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import runtime, training
from tlcore.training import History
from tlcore.transfer.given import Array, rows
from tlcore.transfer.pretext import Neck, neck_width, unlabelled
from tlcore.worlds import Dataset
from tlcore.worlds.dataset import as_floats


@dataclass(frozen=True)
class Clips:
    """Short films of still scenes, taken by a camera that moves.

    Attributes
    ----------
    frames
        (N, T, C, H, W).
    motion
        By how many pixels the camera moved down and right after each frame but the last, (N, T - 1, 2).
    origin
        Where the pictures are from.
    """

    frames: torch.Tensor
    motion: torch.Tensor
    origin: str = ""

    def __len__(self) -> int:
        return len(self.frames)


def film(images: Dataset | torch.Tensor, *, frames: int = 6, window: int = 32, speed: int = 2, seed: int = 0) -> Clips:
    """Move a window over each picture: its position is time, and what it shows stays the same scene.

    >>> from tlcore import worlds
    >>> clips = film(worlds.Shapes(size=44).sample(10), frames=5, window=32, speed=2)
    >>> clips.frames.shape, clips.motion.shape, int(clips.motion.abs().max()) <= 2
    (torch.Size([10, 5, 3, 32, 32]), torch.Size([10, 4, 2]), True)

    Parameters
    ----------
    images
        (N, C, H, W), larger than the window.
    frames
        T.
    window
        Height and width of what the camera sees.
    speed
        Most pixels a frame in each direction; the direction is kept until the picture's edge, which turns it back.

    Raises
    ------
    ValueError, TypeError
        Pictures that are not larger than the window, fewer than 2 frames, or a speed that does not fit.
    """
    data = unlabelled("film", images, least=1)
    x = data.inputs
    assert isinstance(x, torch.Tensor)
    if x.ndim != 4 or min(x.shape[2:]) <= window or window < 1:
        raise ValueError(f"film(window={window}): images are {tuple(x.shape)}; larger ones than the window are needed")
    room = [side - window for side in x.shape[2:]]
    if frames < 2 or not 1 <= speed <= min(room):
        raise ValueError(
            f"film(frames={frames}, speed={speed}): from 2 frames on, and a speed from 1 to {min(room)}, are accepted"
        )
    draws = torch.Generator().manual_seed(seed)
    place = torch.stack([torch.randint(side + 1, (len(x),), generator=draws) for side in room], 1)  # (N, 2)
    step = torch.randint(-speed, speed + 1, (len(x), 2), generator=draws)
    limit = torch.tensor(room)
    seen, moved = [], []
    span = torch.arange(window)
    which = torch.arange(len(x)).view(-1, 1, 1)
    for number in range(frames):
        down, right = (place[:, axis, None] + span for axis in (0, 1))  # (N, window)
        seen.append(x.permute(0, 2, 3, 1)[which, down[:, :, None], right[:, None]].permute(0, 3, 1, 2))
        if number < frames - 1:
            step = torch.where((place + step < 0) | (place + step > limit), -step, step)
            step = step.clamp(-place, limit - place)
            place = place + step
            moved.append(step)
    return Clips(torch.stack(seen, 1), torch.stack(moved, 1), f"{data.origin}, filmed by a moving window of {window}")


class SlowFeatureAnalysis(TransformerMixin, BaseEstimator):
    """The directions in which a series changes least from one moment to the next, all of variance 1.

    >>> t = np.linspace(0, 20, 500)
    >>> slow, fast = np.sin(t), np.sin(9 * t)
    >>> series = np.stack([slow + fast, slow - 2 * fast], 1)  # (T, F)
    >>> found = SlowFeatureAnalysis(1).fit_transform(series)  # (T, 1)
    >>> bool(abs(np.corrcoef(found[:, 0], slow)[0, 1]) > 0.999)
    True

    Setting: unsupervised (self-taught): no labels. Knowledge: feature representation.

    Parameters
    ----------
    components
        How many, the slowest first.

    Attributes
    ----------
    axes_
        (F, components).
    slowness_
        Mean squared change of each from one moment to the next, rising (components,); 2 for noise.

    Raises
    ------
    ValueError, TypeError
        Fewer moments than numbers + 2 (the number needed is said), or more components than directions with variance.

    Notes
    -----
    Wiskott & Sejnowski 2002, section 2, with linear functions: minimise the mean of squared differences under zero
    mean, variance 1 and no correlation, which is a generalised eigenproblem. Clips (N, T, F) are accepted: differences
    are then taken within a clip.
    """

    def __init__(self, components: int = 2) -> None:
        self.components = components

    def fit(self, X: Any, y: Any = None) -> SlowFeatureAnalysis:
        """Learn from moments in order (T, F), or from clips (N, T, F)."""
        from scipy.linalg import eigh  # type: ignore[import-untyped]

        what = "SlowFeatureAnalysis"
        given = np.asarray(X)
        clips = given[None] if given.ndim == 2 else given
        if clips.ndim != 3 or clips.shape[1] < 2:
            raise ValueError(
                f"{what}: X is {given.shape}; moments (T, F) or clips (N, T, F), T from 2 on, are accepted"
            )
        x = rows(what, "X", clips.reshape(-1, clips.shape[2]), least=clips.shape[2] + 2)
        if type(self.components) is not int or not 1 <= self.components <= x.shape[1]:
            raise ValueError(f"{what}(components={self.components!r}): from 1 to {x.shape[1]} is accepted")
        self.mean_ = x.mean(0)
        change = np.diff(clips.astype(np.float64), axis=1).reshape(-1, x.shape[1])
        spread = np.cov(x, rowvar=False, bias=True).reshape(x.shape[1], -1)
        if np.linalg.matrix_rank(spread) < x.shape[1]:
            raise ValueError(f"{what}: X has directions without variance; remove them first, by PCA for instance")
        values, axes = eigh(change.T @ change / len(change), spread)
        self.axes_: Array = axes[:, : self.components]
        self.slowness_: Array = values[: self.components]
        return self

    def transform(self, X: Any) -> Array:
        """Slow features (T, components)."""
        check_is_fitted(self, "axes_")
        found: Array = (rows("SlowFeatureAnalysis", "X", X) - self.mean_) @ self.axes_
        return found


def slow_features(
    model: nn.Module,
    clips: Clips,
    *,
    epochs: int,
    variance: float = 1.0,
    covariance: float = 0.1,
    slowness: float = 1.0,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train `model` in place so that its neck changes little from frame to frame, and yet tells scenes apart.

    >>> from tlcore import transfer, worlds, zoo
    >>> world = worlds.Shapes(shapes=("arrow", "heart"))
    >>> net = zoo.get_model("resnet20")
    >>> clips = film(world.but(size=44).sample(16))
    >>> slow_features(net, clips, epochs=1, batch_size=8, lr=0.01, progress=False).last.epoch
    1
    >>> transfer.FeatureExtractor(net, "neck").transform(world.sample(5)).shape
    (5, 64)

    Setting: unsupervised (self-taught): no labels. Knowledge: feature representation.

    Parameters
    ----------
    slowness, variance, covariance
        Weights of the three parts: the mean squared change of a feature between two frames of a clip; how much its
        standard deviation over clips falls short of 1; the squared covariances between features. The last two are
        Wiskott's constraints, softened: without them a constant would be slowest.
    options
        Of `training.fit`: lr, schedule, weight_decay, clip, progress, each_epoch, …

    Raises
    ------
    ValueError, TypeError
        Fewer than 2 clips, negative weights, a network without a head, or what `training.fit` raises.
    """
    what = "slow_features"
    if min(slowness, variance, covariance) < 0 or batch_size < 2:
        raise ValueError(f"{what}: weights from 0 on and batches of 2 clips or more are accepted")

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        a, b = out.float().unbind(1)  # (n, F), of two frames
        return slowness * (a - b).square().mean() + _spread(torch.cat([a, b]), variance, covariance)

    where = runtime.device() if device is None else torch.device(device)
    pairs = _FramePairs(what, clips, batch_size, where, seed)
    whole = _Siamese(Neck(model, what), None)
    history = training.fit(whole, pairs, epochs=epochs, loss=loss, device=where, seed=seed, **options)
    history.settings["method"] = what
    return history


def ego_motion(
    model: nn.Module,
    clips: Clips,
    *,
    epochs: int,
    hidden: int = 128,
    batch_size: int = 64,
    device: torch.device | str | None = None,
    seed: int = 0,
    **options: Any,
) -> History:
    """Train `model` in place so that two necks tell how the camera moved between their frames; its head is not changed.

    >>> from tlcore import transfer, worlds, zoo
    >>> world = worlds.Shapes(shapes=("arrow", "heart"))
    >>> net = zoo.get_model("resnet20")
    >>> clips = film(world.but(size=44).sample(16), speed=2)
    >>> ego_motion(net, clips, epochs=1, batch_size=8, lr=0.01, progress=False).last.epoch
    1
    >>> transfer.FeatureExtractor(net, "neck").transform(world.sample(5)).shape
    (5, 64)

    Setting: unsupervised (self-taught): no labels but one's own motion. Knowledge: feature representation.

    Parameters
    ----------
    clips
        Each pixel of motion, in each direction, is a class of its own.
    hidden
        Units of the layer that reads both necks.
    options
        Of `training.fit`: lr, schedule, weight_decay, clip, progress, each_epoch, …

    Raises
    ------
    ValueError, TypeError
        Fewer than 2 clips, a camera that never moves, a network without a head, or what `training.fit` raises.

    Notes
    -----
    Agrawal et al. 2015, section 3: a Siamese network, the two features concatenated, and one softmax for each axis of
    motion. A network that averages over all places just before its neck can tell motion only by what enters and leaves.
    """
    what = "ego_motion"
    reach = int(clips.motion.abs().max())
    if not reach:
        raise ValueError(f"{what}: the camera never moves in these clips; film(…, speed=2) moves it")
    where = runtime.device() if device is None else torch.device(device)
    pairs = _FramePairs(what, clips, batch_size, where, seed)
    width, ways = neck_width(model, clips.frames[:, 0], what), 2 * reach + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        top = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, 2 * ways))

    def loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return cross_entropy(out.unflatten(1, (2, ways)).transpose(1, 2), y + reach)

    whole = _Siamese(Neck(model, what), top)
    history = training.fit(whole, pairs, epochs=epochs, loss=loss, device=where, seed=seed, **options)
    history.settings |= {"method": what, "chance": math.log(ways)}
    return history


class _Siamese(nn.Module):
    """Two frames through one network: their necks (n, 2, F), or what a layer on top makes of both."""

    def __init__(self, neck: Neck, top: nn.Module | None) -> None:
        super().__init__()
        self.neck, self.top = neck, top

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        necks = self.neck(x.flatten(0, 1)).unflatten(0, (len(x), 2))
        return necks if self.top is None else self.top(necks.flatten(1))  # type: ignore[no-any-return]


class _FramePairs:
    """Batches of two frames of a clip (n, 2, C, H, W), each a frame apart, and the motion between them (n, 2)."""

    def __init__(self, what: str, clips: Clips, size: int, where: torch.device, seed: int) -> None:
        if not isinstance(clips, Clips):
            raise TypeError(f"{what}: clips are a {type(clips).__name__}; what film(…) makes is accepted")
        if len(clips) < 2 or size < 2:
            raise ValueError(f"{what}: {len(clips)} clips in batches of {size}; at least 2 of both are needed")
        self.frames, self.motion, self.size = clips.frames.to(where), clips.motion.to(where), size
        self.draws = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return max(1, len(self.frames) // self.size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = torch.randperm(len(self.frames), generator=self.draws)
        for some in order.split(self.size)[: len(self)]:
            first = torch.randint(self.motion.shape[1], (len(some),), generator=self.draws)
            some, first = some.to(self.frames.device), first.to(self.frames.device)
            x = torch.stack([self.frames[some, first], self.frames[some, first + 1]], 1)
            yield as_floats(x), self.motion[some, first]


def _spread(z: torch.Tensor, variance: float, covariance: float) -> torch.Tensor:
    """How far features (N, F) are from standard deviation 1 and from being uncorrelated."""
    with torch.autocast(z.device.type, enabled=False):
        z = z - z.mean(0)
        spread = (z.square().sum(0) / (len(z) - 1) + 1e-4).sqrt()
        products = (z.T @ z / (len(z) - 1)).square()
        apart = (products.sum() - products.diagonal().sum()) / z.shape[1]
        return variance * torch.relu(1 - spread).mean() + covariance * apart
