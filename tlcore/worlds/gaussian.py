"""Worlds of vectors whose best possible classifier is known in closed form.

`Gaussian`: two classes, each a Gaussian with the same covariance. `TeacherStudent`: the label is what a random
linear or two-layer teacher says, sometimes flipped. In both, a source and a target are as similar as a knob rho says.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch

from tlcore.worlds.dataset import Dataset


def _axis(features: int, seed: int, device: torch.device | str) -> torch.Tensor:
    """A random direction of length 1."""
    draws = torch.Generator().manual_seed(seed)
    vector = torch.randn(features, generator=draws)
    return (vector / vector.norm()).to(device)


def similar(features: int, rho: float, seed: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """A direction of length 1 whose cosine with the direction of the same seed at rho = 1 is `rho`.

    >>> a, b = similar(50, 1.0, seed=4), similar(50, 0.3, seed=4)
    >>> round(float(a @ b), 4)
    0.3
    """
    if not 0 <= rho <= 1:
        raise ValueError(f"rho={rho!r}: a similarity from 0 to 1 is accepted")
    first, other = _axis(features, seed, device), _axis(features, seed + 1, device)
    across = other - (other @ first) * first
    return rho * first + math.sqrt(1 - rho**2) * across / across.norm()


@dataclass(frozen=True)
class Gaussian:
    """Two Gaussian classes around plus and minus half of `distance` along one direction.

    >>> world = Gaussian(features=10, distance=2.0)
    >>> data = world.sample(1000)
    >>> data.inputs.shape, data.classes
    (torch.Size([1000, 10]), ('minus', 'plus'))
    >>> round(world.bayes_accuracy, 4)
    0.8413

    Parameters
    ----------
    distance
        Between the two means, in standard deviations.
    prior
        Share of the class "plus".
    rho
        Similarity of the direction to that of rho = 1 and the same `world_seed`: 1 is the same task, 0 another.
    shift
        Added to every input along a direction across the classes': a covariate shift that moves no label.
    """

    features: int = 20
    distance: float = 2.0
    prior: float = 0.5
    rho: float = 1.0
    shift: float = 0.0
    world_seed: int = 0

    def __post_init__(self) -> None:
        if self.features < 2:
            raise ValueError(f"Gaussian(features={self.features}): from 2 on is accepted")
        if not 0 < self.prior < 1:
            raise ValueError(f"Gaussian(prior={self.prior}): a share between 0 and 1 is accepted")
        similar(self.features, self.rho, self.world_seed)

    def but(self, **changes: Any) -> Gaussian:
        """The same world with some knobs turned."""
        return replace(self, **changes)

    @property
    def direction(self) -> torch.Tensor:
        """From the mean of "minus" to that of "plus", of length 1 (features,)."""
        return similar(self.features, self.rho, self.world_seed)

    @property
    def _across(self) -> torch.Tensor:
        other = _axis(self.features, self.world_seed + 2, "cpu")
        across = other - (other @ self.direction) * self.direction
        return across / across.norm()

    @property
    def bayes_accuracy(self) -> float:
        """Accuracy of the best possible classifier: with a prior of one half, Phi(distance / 2).

        With t the logit of the prior: p Phi(d/2 + t/d) + (1 - p) Phi(d/2 - t/d).
        """
        d, p = self.distance, self.prior
        if d == 0:
            return max(p, 1 - p)
        t = math.log(p / (1 - p))
        return p * _phi(d / 2 + t / d) + (1 - p) * _phi(d / 2 - t / d)

    def posterior(self, x: torch.Tensor) -> torch.Tensor:
        """P(plus | x) (N,): the true labelling function."""
        return torch.sigmoid(self.distance * (x @ self.direction.to(x)) + math.log(self.prior / (1 - self.prior)))

    def accuracy_of(self, weight: torch.Tensor, bias: float = 0.0) -> float:
        """Accuracy, in this world, of the classifier that says "plus" where weight @ x + bias > 0; exact, no sampling.

        >>> world = Gaussian(distance=2.0)
        >>> world.accuracy_of(world.direction) == world.bayes_accuracy
        True
        """
        length = float(weight.norm())
        lean = float(weight @ self.direction) * self.distance / 2 / length
        offset = (bias + self.shift * float(weight @ self._across)) / length
        return self.prior * _phi(lean + offset) + (1 - self.prior) * _phi(lean - offset)

    def sample(self, count: int, *, seed: int = 0, device: torch.device | str = "cpu") -> Dataset:
        """Draw `count` labelled vectors; the factor "posterior" holds P(y|x) (N, 2)."""
        draws = torch.Generator(device=device).manual_seed(seed)
        targets = (torch.rand(count, generator=draws, device=device) < self.prior).long()
        middle = (2 * targets[:, None] - 1) * (self.distance / 2) * self.direction.to(device)
        noise = torch.randn(count, self.features, generator=draws, device=device)
        inputs = middle + self.shift * self._across.to(device) + noise
        plus = self.posterior(inputs)
        known = {"posterior": torch.stack([1 - plus, plus], 1)}
        return Dataset(inputs, targets, ("minus", "plus"), f"Gaussian world, generated, seed {seed}", known)


@dataclass(frozen=True)
class TeacherStudent:
    """Standard normal inputs, labelled by a random teacher and flipped with probability `flips`.

    >>> world = TeacherStudent(features=30, flips=0.1)
    >>> world.bayes_accuracy
    0.9
    >>> world.sample(5).inputs.shape
    torch.Size([5, 30])

    Parameters
    ----------
    hidden
        0 for a linear teacher; else the hidden ReLU units of a two-layer one.
    rho
        Similarity of each of the teacher's first-layer vectors to those of rho = 1 and the same `world_seed`.
    """

    features: int = 30
    hidden: int = 0
    flips: float = 0.0
    rho: float = 1.0
    world_seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.flips < 0.5:
            raise ValueError(f"TeacherStudent(flips={self.flips}): from 0 to below 0.5 is accepted")
        similar(self.features, self.rho, self.world_seed)

    def but(self, **changes: Any) -> TeacherStudent:
        """The same world with some knobs turned."""
        return replace(self, **changes)

    @property
    def bayes_accuracy(self) -> float:
        """Accuracy of the teacher itself."""
        return 1 - self.flips

    def score(self, x: torch.Tensor) -> torch.Tensor:
        """What the teacher computes (N,); its sign is the label."""
        seeds = range(self.world_seed + 10, self.world_seed + 10 + 2 * max(1, self.hidden), 2)
        first = torch.stack([similar(self.features, self.rho, seed, x.device) for seed in seeds]).to(x)  # (H, F)
        if not self.hidden:
            return x @ first[0]
        signs = torch.ones(self.hidden, device=x.device, dtype=x.dtype)
        signs[1::2] = -1
        return torch.relu(x @ first.T) @ signs

    def sample(self, count: int, *, seed: int = 0, device: torch.device | str = "cpu") -> Dataset:
        """Draw `count` labelled vectors; the factor "posterior" holds P(y|x) (N, 2), "clean" what the teacher says."""
        draws = torch.Generator(device=device).manual_seed(seed)
        inputs = torch.randn(count, self.features, generator=draws, device=device)
        clean = (self.score(inputs) > 0).long()
        flipped = torch.rand(count, generator=draws, device=device) < self.flips
        origin = f"teacher-student world, generated, seed {seed}"
        known = torch.nn.functional.one_hot(clean, 2) * (1 - 2 * self.flips) + self.flips
        factors = {"clean": clean, "posterior": known}
        return Dataset(inputs, clean ^ flipped.long(), ("no", "yes"), origin, factors)


def _phi(z: float) -> float:
    """Share of a standard normal below z."""
    return 0.5 * math.erfc(-z / math.sqrt(2))
