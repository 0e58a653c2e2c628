"""How far apart two samples are: five measures, two of them with a p-value.

Each takes a source and a target sample and looks at nothing else, so each speaks of P(X) only. `mmd(groups=…)` and
`per_class` look within the classes and so speak of P(X|Y).

Sources: Gretton et al. 2012, "A Kernel Two-Sample Test"; Sun & Saenko 2016, "Deep CORAL" (arXiv 1607.01719);
Ben-David et al. 2007, "Analysis of Representations for Domain Adaptation"; Bonneel et al. 2015, "Sliced and Radon
Wasserstein Barycenters of Measures"; Lopez-Paz & Oquab 2017, "Revisiting Classifier Two-Sample Tests" (arXiv
1610.06545).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from tlcore.runtime import nearest
from tlcore.shift.threads import one_blas_thread
from tlcore.worlds.dataset import Dataset

Groups = tuple[torch.Tensor, torch.Tensor]
_BLOCK = 2**24  # numbers of a kernel matrix held at once: 128 MB
_SEEN = 1000  # rows that choose a bandwidth: its error is then below one percent
_SCALES = 100  # kernel features of the default classifier


@dataclass(frozen=True, repr=False)
class Evidence:
    """What a measure found, and how often chance alone finds as much.

    >>> Evidence("mmd", 0.01321, 0.00498)
    mmd 0.0132 (p = 0.005)
    >>> Evidence("mmd", 0.01321)
    mmd 0.0132

    Attributes
    ----------
    name
        The measure.
    statistic
        Its value; the more, the further apart.
    p_value
        Probability of such a value or a larger one if both samples come from one distribution; None if not asked for.
    """

    name: str
    statistic: float
    p_value: float | None = None

    def __repr__(self) -> str:
        p = self.p_value
        chance = "" if p is None else " (p < 0.0001)" if p < 1e-4 else f" (p = {p:.2g})"
        return f"{self.name} {self.statistic:.3g}{chance}"


def mmd(
    source: torch.Tensor,
    target: torch.Tensor,
    *,
    bandwidth: float | None = None,
    permutations: int = 200,
    groups: Groups | None = None,
    seed: int = 0,
) -> Evidence:
    """Squared maximum mean discrepancy with a Gaussian kernel, unbiased, and its permutation test.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(200, 5, generator=draws), torch.randn(150, 5, generator=draws)  # (N, F), (M, F)
    >>> mmd(x, y).p_value > 0.05, mmd(x, y + 0.5).p_value < 0.05
    (True, True)

    Parameters
    ----------
    source, target
        (N, ...) and (M, ...), rows of one shape.
    bandwidth
        Of the kernel exp(-|a - b|² / (2 bandwidth²)), in units of the inputs. By default the median distance between
        two rows of the pooled sample; with `groups`, between two rows of one group.
    permutations
        How often the domains are shuffled to see what chance does; 0 leaves the p-value out.
    groups
        Class numbers (N,) and (M,). Then the statistic is the mean of the groups' own, weighted by their sizes, and
        domains are shuffled within groups only: a test of P(X|Y) that does not see P(Y). A group with fewer than
        2 rows on a side is left out.
    seed
        Of the shuffles.

    Returns
    -------
    Evidence
        The statistic may be a little below 0: it is unbiased, and 0 is its mean for equal distributions. The p-value
        is (1 + how many shuffles reach it) / (1 + permutations), exact for any sample sizes.

    Raises
    ------
    ValueError
        Rows of different shapes, fewer than 2 rows, numbers that are not finite, a bandwidth not above 0, negative
        permutations, or no group with 2 rows on both sides.

    Notes
    -----
    Gretton et al. 2012, eq. 3. With K the kernel matrix of the pooled sample, its diagonal left out, and z marking the
    source rows, the three sums are z'Kz, z'K(1 - z) and (1 - z)'K(1 - z): all shuffles are one matrix product with K.
    Its rows are made in blocks, so memory grows with N + M and not with its square.
    """
    x, y = as_rows("mmd", source, target)
    if bandwidth is not None and not 0 < bandwidth < math.inf:
        raise ValueError(
            f"mmd(bandwidth={bandwidth!r}): a distance above 0 is accepted, or None for the median distance"
        )
    if permutations < 0:
        raise ValueError(f"mmd(permutations={permutations}): from 0 (no p-value) on is accepted, such as 200")
    parts = [(torch.cat([x, y]), len(x))] if groups is None else _by_group(x, y, groups)
    draws = torch.Generator().manual_seed(seed)
    width = bandwidth or median_distance([pooled for pooled, _ in parts], draws)
    total = sum(len(pooled) for pooled, _ in parts)
    found = torch.zeros(1 + permutations, dtype=x.dtype, device=x.device)
    for pooled, first in parts:
        found += len(pooled) / total * _mmds(pooled, first, width, permutations, draws)
    statistic = float(found[0])
    # The same split can come again in another order, and then rounding must not make it the smaller one.
    reached = int((found[1:] >= statistic - 1e-12).sum())
    return Evidence("mmd", statistic, (1 + reached) / (1 + permutations) if permutations else None)


def coral_distance(source: torch.Tensor, target: torch.Tensor) -> float:
    """How much the covariances differ: their squared Frobenius distance over 4 F².

    >>> x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])  # (4, 2)
    >>> round(coral_distance(x, 2 * x), 4)  # covariances 2/3 and 8/3 times the identity
    0.5
    >>> coral_distance(x, x + 7)  # means do not count
    0.0

    Parameters
    ----------
    source, target
        (N, ...) and (M, ...), rows of one shape.

    Raises
    ------
    ValueError
        Rows of different shapes, fewer than 2 rows, or numbers that are not finite.

    Notes
    -----
    Sun & Saenko 2016, eq. 1 to 3. With more features than rows the distance comes from products of rows, and
    no F x F matrix is made: pictures may be large.
    """
    x, y = as_rows("coral_distance", source, target)
    x, y = x - x.mean(0), y - y.mean(0)
    features, n, m = x.shape[1], len(x) - 1, len(y) - 1
    if features <= len(x) + len(y):
        apart = (x.T @ x / n - y.T @ y / m).square().sum()
    else:
        apart = (x @ x.T / n).square().sum() + (y @ y.T / m).square().sum() - 2 * (x @ y.T).square().sum() / (n * m)
    return max(0.0, float(apart)) / (4 * features**2)


@one_blas_thread
def proxy_a_distance(source: torch.Tensor, target: torch.Tensor, *, seed: int = 0) -> float:
    """2 (1 - 2 err) with err the error of a linear classifier that tells the domains apart: from 0 to 2.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(200, 5, generator=draws), torch.randn(150, 5, generator=draws)  # (N, F), (M, F)
    >>> proxy_a_distance(x, y) < 0.3, proxy_a_distance(x, y + 9)
    (True, 2.0)

    Parameters
    ----------
    source, target
        (N, ...) and (M, ...), rows of one shape.
    seed
        Of the folds.

    Raises
    ------
    ValueError
        Rows of different shapes, fewer than 2 rows, or numbers that are not finite.

    Notes
    -----
    Ben-David et al. 2007, section 5. The classifier is a logistic regression on standardised features; its error is
    held out (five folds, or as many as there are rows) and balanced: the mean of the two domains' errors, so that
    samples of different sizes do not look apart. An error above one half counts as one half.
    """
    x, y = as_rows("proxy_a_distance", source, target)
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rows, domains = torch.cat([x, y]).cpu().numpy(), [0] * len(x) + [1] * len(y)
    folds = StratifiedKFold(min(5, len(x), len(y)), shuffle=True, random_state=seed)
    said = torch.from_numpy(cross_val_predict(_linear(), rows, domains, cv=folds))
    error = (float(said[: len(x)].double().mean()) + 1 - float(said[len(x) :].double().mean())) / 2
    return max(0.0, 2 * (1 - 2 * error))


def sliced_wasserstein(
    source: torch.Tensor, target: torch.Tensor, *, projections: int = 100, order: float = 1, seed: int = 0
) -> float:
    """Mean distance that the target's mass has to travel along random directions to become the source's.

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])  # (3, 1)
    >>> sliced_wasserstein(x, x + 5)
    5.0
    >>> sliced_wasserstein(x, torch.tensor([[1.0], [1.0]]), order=2) ** 2 < 0.6667  # two thirds of the mass move by 1
    True

    Parameters
    ----------
    source, target
        (N, ...) and (M, ...), rows of one shape.
    projections
        How many random directions; the error falls with its square root.
    order
        p of the Wasserstein distance, from 1 on; 1 is the earth mover's, 2 weighs long ways more.
    seed
        Of the directions.

    Returns
    -------
    float
        In units of the inputs. A shift by s costs about 0.8 |s| / sqrt(F) at order 1 and |s| / sqrt(F) at order 2.

    Raises
    ------
    ValueError
        Rows of different shapes, fewer than 2 rows, numbers that are not finite, no projections, or an order below 1.

    Notes
    -----
    Bonneel et al. 2015, section 3: the root of order p of the mean of W_p^p over directions. In one dimension W_p^p is
    the integral of |difference of the quantile functions|^p, which are steps: exact for N = M and for N != M alike.
    Every F directions are orthogonal to each other: each still uniform, their mean the more exact.
    """
    x, y = as_rows("sliced_wasserstein", source, target)
    if projections < 1:
        raise ValueError(f"sliced_wasserstein(projections={projections}): from 1 on is accepted, such as 100")
    if not 1 <= order < math.inf:
        raise ValueError(f"sliced_wasserstein(order={order!r}): from 1 on is accepted, such as 1 or 2")
    n, m = len(x), len(y)
    directions = _directions(x.shape[1], projections, torch.Generator().manual_seed(seed)).to(x)
    # Both quantile functions are flat between these cuts, in units of 1 / (n m): integers, hence exact.
    cuts = torch.cat([torch.arange(n, device=x.device) * m, torch.arange(m, device=x.device) * n]).unique()
    widths = torch.cat([cuts, cuts.new_tensor([n * m])]).diff().to(x.dtype) / (n * m)
    apart = (x @ directions).sort(0).values[cuts // m] - (y @ directions).sort(0).values[cuts // n]
    return float((widths @ apart.abs() ** order).mean() ** (1 / order))


@one_blas_thread
def classifier_test(source: torch.Tensor, target: torch.Tensor, *, classifier: Any = None, seed: int = 0) -> Evidence:
    """Can a classifier tell the domains apart? Its held-out balanced accuracy, and the p-value of such an accuracy.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(300, 5, generator=draws), torch.randn(200, 5, generator=draws)  # (N, F), (M, F)
    >>> classifier_test(x, y).p_value > 0.05, classifier_test(x, 2 * y).p_value < 0.001
    (True, True)

    Parameters
    ----------
    source, target
        (N, ...) and (M, ...), rows of one shape.
    classifier
        Anything with scikit-learn's `fit` and `predict`; by default a logistic regression on the standardised features
        and on a hundred Gaussian kernels, which also sees a change of variance.
    seed
        Of the split and of the default classifier.

    Returns
    -------
    Evidence
        The statistic is the balanced accuracy, one half if the domains cannot be told apart.

    Raises
    ------
    ValueError
        Rows of different shapes, fewer than 2 rows, or numbers that are not finite.
    TypeError
        A classifier without `fit` and `predict`.

    Notes
    -----
    Lopez-Paz & Oquab 2017, section 3. Each half of the data is judged by a classifier that learned from the other.
    Under equal distributions the target's share of the rows called target is hypergeometric, given their number; its
    tail (with half the weight of the value seen) is turned into a standard normal z. For large samples that is the
    paper's normal approximation of the accuracy; it also holds when one sample is small.
    The two z are not independent (both see the same chance difference of the halves). Their plain mean has at most the
    variance of one, whatever their dependence, and so keeps the level; dividing their sum by sqrt(2) would not.
    """
    x, y = as_rows("classifier_test", source, target)
    judge = _kernel_classifier(min(len(x) // 2 + len(y) // 2, _SCALES), seed) if classifier is None else classifier
    if not (hasattr(judge, "fit") and hasattr(judge, "predict")):
        raise TypeError(
            f"classifier_test(classifier={judge!r}): something with scikit-learn's fit and predict is accepted"
        )
    from scipy.stats import hypergeom, norm  # type: ignore[import-untyped]
    from sklearn.base import clone

    draws = torch.Generator().manual_seed(seed)
    halves = [[part[rows] for rows in _halves(len(part), draws)] for part in (x, y)]
    accuracies, scores = [], []
    for test in (0, 1):
        train = [part[1 - test] for part in halves]
        fitted = clone(judge, safe=False).fit(torch.cat(train).cpu().numpy(), [0] * len(train[0]) + [1] * len(train[1]))
        called = [int((torch.as_tensor(fitted.predict(part[test].cpu().numpy())) == 1).sum()) for part in halves]
        n, m = (len(part[test]) for part in halves)
        accuracies.append((1 - called[0] / n + called[1] / m) / 2)
        chance = hypergeom(n + m, sum(called), m)  # of the rows called target, how many are
        middle = chance.sf(called[1]) + chance.pmf(called[1]) / 2
        scores.append(float(norm.isf(min(max(middle, 1e-300), 1 - 1e-16))))
    return Evidence("classifier test", sum(accuracies) / 2, float(norm.sf(sum(scores) / 2)))


def per_class(measure: Callable[..., Any], source: Dataset, target: Dataset, **options: Any) -> dict[str, Any]:
    """A measure between the inputs of each class: how far apart P(X|Y) is, class by class.

    >>> draws = torch.Generator().manual_seed(0)
    >>> x, y = torch.randn(80, 3, generator=draws), torch.arange(80) % 2  # (N, F), (N,)
    >>> data = Dataset(x, y, ("cat", "dog"))
    >>> moved = Dataset(x + 4 * y[:, None], y, ("cat", "dog"))  # only the dogs
    >>> {name: round(far, 2) for name, far in per_class(sliced_wasserstein, data, moved, order=2).items()}
    {'cat': 0.0, 'dog': 3.99}

    Parameters
    ----------
    measure
        Any function of a source and a target sample.
    source, target
        Their classes are matched by name; a class with fewer than 2 rows on a side is left out.
    options
        Passed on to the measure.

    Returns
    -------
    dict
        What the measure returned, by class name, in the source's order.

    Raises
    ------
    ValueError
        A dataset without classes, or no class with 2 rows on both sides.
    """
    for side, data in (("source", source), ("target", target)):
        if not data.classes or data.targets.ndim != 1:
            raise ValueError(
                f"per_class: {side} has no classes; a Dataset with class numbers (N,) and names is accepted"
            )
    shared = [name for name in source.classes if name in target.classes]
    if source.classes and not shared:
        close = nearest(source.classes[0], target.classes)
        raise ValueError(f"per_class: no class name in both; source has {source.classes[0]!r}, target {close}")
    found = {}
    for name in shared:
        of_class = [(data.targets == data.classes.index(name)).nonzero()[:, 0] for data in (source, target)]
        if min(map(len, of_class)) >= 2:
            found[name] = measure(source[of_class[0]].inputs, target[of_class[1]].inputs, **options)
    if not found:
        raise ValueError(f"per_class: none of {', '.join(shared[:6])} has 2 rows in both source and target")
    return found


def as_rows(what: str, source: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Two samples as float64 matrices (N, F) and (M, F) on the source's device, once they are fit to be compared.

    >>> x, y = as_rows("mmd", torch.full((4, 1, 2, 2), 255, dtype=torch.uint8), torch.ones(3, 1, 2, 2))
    >>> x.shape, y.shape, float(x.max())
    (torch.Size([4, 4]), torch.Size([3, 4]), 1.0)

    Raises
    ------
    TypeError
        For anything but tensors.
    ValueError
        Rows of different shapes, fewer than 2 rows, or numbers that are not finite; the sentence begins with `what`.
    """
    for side, sample in (("source", source), ("target", target)):
        if not isinstance(sample, torch.Tensor):
            came = f"a {type(sample).__name__}"
            raise TypeError(f"{what}: {side} is {came}; a tensor (N, ...) is accepted: turn texts into numbers first")
        if sample.ndim == 0 or len(sample) < 2 or sample.numel() == 0:
            raise ValueError(f"{what}: {side} is {tuple(sample.shape)}; at least 2 rows with numbers are needed")
    if source.shape[1:] != target.shape[1:]:
        shapes = f"rows of source are {tuple(source.shape[1:])}, of target {tuple(target.shape[1:])}"
        raise ValueError(f"{what}: {shapes}; resize or describe both alike: one can only compare inputs of one shape")
    x, y = (precise(sample).flatten(1) if sample.ndim > 1 else precise(sample)[:, None] for sample in (source, target))
    for side, rows in (("source", x), ("target", y)):
        if not bool(rows.isfinite().all()):
            bad = int((~rows.isfinite()).any(1).sum())
            raise ValueError(
                f"{what}: {side} has NaN or infinity in {bad} of {len(rows)} rows; finite numbers are accepted"
            )
    return x, y.to(x.device)


def precise(values: torch.Tensor) -> torch.Tensor:
    """The same numbers in float64, bytes as shares of 255.

    >>> precise(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist()
    [0.0, 0.2, 1.0]
    """
    device = "cpu" if values.device.type == "mps" else values.device  # Apple's GPUs have no float64
    double = values.detach().to(device).to(torch.float64)
    return double / 255 if values.dtype == torch.uint8 else double


def squared_distances(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Between each row of `a` (N, F) and each of `b` (M, F): (N, M).

    >>> squared_distances(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[25.,  1.]])
    """
    return torch.addmm(a.square().sum(1)[:, None] + b.square().sum(1), a, b.T, alpha=-2).clamp_(min=0)


def median_distance(parts: list[torch.Tensor], draws: torch.Generator) -> float:
    """Between two rows of one part: the usual bandwidth of a Gaussian kernel (Gretton et al. 2012, section 8).

    >>> median_distance([torch.tensor([[0.0], [1.0], [3.0]])], torch.Generator())
    2.0
    """
    found = []
    for part in parts:
        some = part[torch.randperm(len(part), generator=draws)[:_SEEN].to(part.device)]
        some = some - some.mean(0)
        upper = torch.ones(len(some), len(some), dtype=torch.bool, device=some.device).triu_(1)
        found.append(squared_distances(some, some)[upper])
    apart = torch.cat(found)
    median = float(apart.median())
    if median <= 1e-20 * (1 + float(apart.max())):  # most rows are copies of each other
        apart = apart[apart > 1e-20 * (1 + float(apart.max()))]
        median = float(apart.median()) if len(apart) else 1.0
    return math.sqrt(median)


def _mmds(pooled: torch.Tensor, first: int, width: float, permutations: int, draws: torch.Generator) -> torch.Tensor:
    """The statistic if the first rows are the source's, then if random ones are: (1 + permutations,)."""
    n = len(pooled)
    pooled = pooled - pooled.mean(0)  # distances from products lose digits far from the origin
    marks = torch.zeros(2 + permutations, n, dtype=pooled.dtype)
    marks[0, :first] = 1
    marks[1:-1].scatter_(1, torch.rand(permutations, n, generator=draws).argsort(1)[:, :first], 1)
    marks[-1] = 1
    marks = marks.T.contiguous().to(pooled.device)
    sums = torch.empty_like(marks)
    for rows in torch.arange(n, device=pooled.device).split(max(1, _BLOCK // n)):
        kernel = squared_distances(pooled[rows], pooled).mul_(-0.5 / width**2).exp_()
        kernel[torch.arange(len(rows), device=rows.device), rows] = 0
        sums[rows] = kernel @ marks
    inside = (marks * sums)[:, :-1].sum(0)
    touching = marks[:, :-1].T @ sums[:, -1]
    outside = sums[:, -1].sum() - 2 * touching + inside
    m = n - first
    return inside / (first * (first - 1)) + outside / (m * (m - 1)) - 2 * (touching - inside) / (first * m)


def _by_group(x: torch.Tensor, y: torch.Tensor, groups: Groups) -> list[tuple[torch.Tensor, int]]:
    """Pooled rows of each group and how many of them are the source's."""
    numbers = [torch.as_tensor(group, device=x.device) for group in groups]
    for side, group, rows in (("source", numbers[0], x), ("target", numbers[1], y)):
        if group.shape != (len(rows),):
            shape = tuple(group.shape)
            raise ValueError(f"mmd(groups=…): {side} has {len(rows)} rows, its groups are {shape}; one number a row")
    parts = []
    for number in torch.cat(numbers).unique().tolist():
        mine, theirs = x[numbers[0] == number], y[numbers[1] == number]
        if min(len(mine), len(theirs)) >= 2:
            parts.append((torch.cat([mine, theirs]), len(mine)))
    if not parts:
        raise ValueError(
            "mmd(groups=…): no group has 2 rows in both source and target; are the numbers the same classes?"
        )
    return parts


def _directions(features: int, count: int, draws: torch.Generator) -> torch.Tensor:
    """Uniform directions as columns (F, count), orthogonal within each block of F."""
    blocks, width = -(-count // features), min(count, features)
    random = torch.randn(blocks, features, width, generator=draws, dtype=torch.float64)
    directions: torch.Tensor = torch.linalg.qr(random).Q.transpose(0, 1).flatten(1)[:, :count]
    return directions


def _halves(count: int, draws: torch.Generator) -> tuple[torch.Tensor, ...]:
    return torch.randperm(count, generator=draws).tensor_split(2)


def _linear() -> Any:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=300))


def _kernel_classifier(kernels: int, seed: int) -> Any:
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    both = make_union(FunctionTransformer(), Nystroem(n_components=kernels, random_state=seed))
    return make_pipeline(StandardScaler(), both, LogisticRegression(class_weight="balanced", max_iter=300))
