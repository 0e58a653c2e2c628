"""The target's P(Y) without target labels, when P(X|Y) is the source's: estimate it, then correct the posterior.

Sources: Saerens et al. 2002, "Adjusting the Outputs of a Classifier to New a Priori Probabilities"; Lipton et al. 2018,
"Detecting and Correcting for Label Shift with Black Box Predictors" (arXiv 1802.03916); Alexandari et al. 2020,
"Maximum Likelihood with Bias-Corrected Calibration is Hard-To-Beat at Label Shift Adaptation" (arXiv 1901.06852).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tlcore.shift.divergences import precise

_SINGULAR = 1e-3  # a confusion matrix from samples of usual size is not known any better
_COLD, _HOT = 0.01, 100.0  # temperatures beyond these round probabilities to 0 and 1, or to 1/K


def bbse(
    source_predictions: torch.Tensor,
    source_targets: torch.Tensor,
    target_predictions: torch.Tensor,
    num_classes: int,
) -> torch.Tensor:
    """Black-box shift estimation: which class shares explain how often the classifier names each class in the target?

    >>> said, true = torch.tensor([0, 0, 0, 1, 1, 1, 1, 0]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])  # 3 of 4 are right
    >>> bbse(said, true, torch.tensor([0, 0, 0, 0, 0, 1, 1, 1]), 2)  # it names class 0 five times in 8
    tensor([0.7500, 0.2500])

    Parameters
    ----------
    source_predictions
        On labelled source rows that the classifier has not learned from: class numbers (N,), or probabilities (N, K).
    source_targets
        Their true classes (N,).
    target_predictions
        On target rows, of the same kind: (M,) or (M, K).
    num_classes
        K.

    Returns
    -------
    Tensor
        The target's prior (K,), non-negative, of sum 1.

    Raises
    ------
    ValueError
        Predictions of two kinds or of wrong shape or range, a class without source rows, or a singular confusion
        matrix: the classifier then gives no evidence about some classes.

    Notes
    -----
    Lipton et al. 2018, section 4 (probabilities: section 4, "soft"). With C[i, j] the mean prediction of class i in
    source rows of class j, and m the mean prediction in the target, C q = m. Where its solution has negative shares, q
    is the non-negative least squares solution (Lawson & Hanson 1974), scaled to sum 1; the paper clips instead.
    """
    soft = [
        _as_shares(name, predictions, num_classes)
        for name, predictions in (
            ("source_predictions", source_predictions),
            ("target_predictions", target_predictions),
        )
    ]
    if source_predictions.ndim != target_predictions.ndim:
        shapes = f"{tuple(source_predictions.shape)} and {tuple(target_predictions.shape)}"
        raise ValueError(
            f"bbse: predictions are {shapes}; class numbers (N,) for both or probabilities (N, K) for both"
        )
    targets = _as_classes("bbse", "source_targets", source_targets, num_classes, len(soft[0]))
    truth = torch.nn.functional.one_hot(targets, num_classes).to(soft[0])
    counts = truth.sum(0)
    confusion = soft[0].T @ truth / counts  # (K, K), each column a share of its class
    smallest = float(torch.linalg.svdvals(confusion)[-1])
    if smallest < _SINGULAR:
        raise ValueError(
            f"bbse: the confusion matrix is singular (smallest singular value {smallest:.1g}): the predictions do not "
            "tell some classes apart; use a better classifier, its probabilities (N, K), or fewer classes"
        )
    from scipy.optimize import nnls  # type: ignore[import-untyped]

    found = torch.from_numpy(nnls(confusion.cpu().numpy(), soft[1].mean(0).cpu().numpy())[0])
    return (found / found.sum()).to(source_predictions.device, _float_like(source_predictions))


def em(
    target_probabilities: torch.Tensor,
    source_prior: torch.Tensor | Sequence[float],
    *,
    steps: int = 1000,
    tolerance: float = 1e-6,
) -> torch.Tensor:
    """The target's prior of maximum likelihood, from a calibrated classifier's probabilities on target rows.

    >>> from tlcore.worlds import Gaussian
    >>> source = Gaussian(prior=0.5)
    >>> target = source.but(prior=0.8).sample(5000)
    >>> plus = source.posterior(target.inputs)  # (N,): what a perfect classifier of the source says
    >>> q = em(torch.stack([1 - plus, plus], 1), [0.5, 0.5])
    >>> abs(float(q[1]) - 0.8) < 0.03
    True

    Parameters
    ----------
    target_probabilities
        (N, K), rows of sum 1.
    source_prior
        Shares of the classes that the classifier learned from (K,), each above 0.
    steps
        At most so many; a classifier that tells the classes apart needs a dozen, a weak one hundreds.
    tolerance
        Stop once no share changes by more.

    Returns
    -------
    Tensor
        The target's prior (K,), non-negative, of sum 1.

    Raises
    ------
    ValueError
        Rows that are no probabilities, or a prior that is none or has zeros.

    Notes
    -----
    Saerens et al. 2002, eq. 2.9: correct the probabilities by the present prior (`adjust`), take their mean as the
    next. The likelihood is concave and rises at every step. Over-confident probabilities bias it: see `calibrate`.
    """
    if steps < 1:
        raise ValueError(f"em(steps={steps}): from 1 on is accepted, such as 1000")
    given = _as_probabilities("em", "target_probabilities", target_probabilities)
    known = checked_prior("em", "source_prior", source_prior, given.shape[1]).to(given.device)
    if float(known.min()) == 0:
        empty = (known == 0).nonzero()[:, 0].tolist()
        raise ValueError(f"em: source_prior is 0 for classes {empty}: of a class never learned nothing can be said")
    likelihood = given / known
    prior = known
    for _ in range(steps):
        joint = likelihood * prior
        following = (joint / joint.sum(1, keepdim=True).clamp(min=1e-300)).mean(0)
        change = float((following - prior).abs().max())
        prior = following
        if change < tolerance:
            break
    return (prior / prior.sum()).to(target_probabilities)


@dataclass(frozen=True)
class Calibration:
    """Logits (N, K) to calibrated probabilities (N, K): softmax(logits / temperature + bias).

    >>> calibration = Calibration(2.0, torch.tensor([0.5, -0.5]))
    >>> calibration(torch.tensor([[1.0, 3.0]]))
    tensor([[0.5000, 0.5000]])

    Attributes
    ----------
    temperature
        Above 1 where the classifier was too sure.
    bias
        (K,), of mean 0.
    """

    temperature: float
    bias: torch.Tensor

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities (N, K) of logits (N, K)."""
        if logits.ndim != 2 or logits.shape[1] != len(self.bias):
            raise ValueError(f"Calibration: logits are {tuple(logits.shape)}; (N, {len(self.bias)}) is accepted")
        return torch.softmax(logits / self.temperature + self.bias.to(logits), 1)


def calibrate(logits: torch.Tensor, targets: torch.Tensor) -> Calibration:
    """Bias-corrected temperature scaling: make probabilities true, on held-out source rows.

    >>> draws = torch.Generator().manual_seed(0)
    >>> honest = 2 * torch.randn(4000, 3, generator=draws)  # (N, K)
    >>> targets = torch.softmax(honest, 1).multinomial(1, generator=draws)[:, 0]  # (N,)
    >>> calibration = calibrate(3 * honest, targets)  # three times too sure
    >>> 2.8 < calibration.temperature < 3.2
    True

    Parameters
    ----------
    logits
        (N, K), of rows that the classifier has not learned from.
    targets
        Their true classes (N,).

    Returns
    -------
    Calibration
        Callable on logits (M, K); has `temperature` and `bias` (K,).

    Raises
    ------
    ValueError
        Wrong shapes, logits that are not finite, or a class without a row, whose bias nothing tells.

    Notes
    -----
    Alexandari et al. 2020, section 3 ("BCTS"): minimises the cross entropy over temperature and biases by L-BFGS in
    float64. Where the logits tell the classes apart without error, the best temperature is 0; it ends at 0.01.
    """
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"calibrate: logits are {tuple(logits.shape)}; (N, K) with 2 classes or more is accepted")
    with torch.inference_mode(False), torch.enable_grad():
        given = precise(logits).clone()
        if not bool(given.isfinite().all()):
            raise ValueError("calibrate: logits have NaN or infinity; finite numbers are accepted")
        true = _as_classes("calibrate", "targets", targets, given.shape[1], len(given)).clone()
        sharpness = given.new_zeros(()).requires_grad_()  # minus the logarithm of the temperature
        bias = given.new_zeros(given.shape[1]).requires_grad_()
        search = torch.optim.LBFGS(
            [sharpness, bias], max_iter=200, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def loss() -> torch.Tensor:
            search.zero_grad()
            temperature = torch.exp(-sharpness).clamp(_COLD, _HOT)
            value = torch.nn.functional.cross_entropy(given / temperature + bias, true)
            value.backward()
            return value

        search.step(loss)  # type: ignore[no-untyped-call]
    temperature = float(torch.exp(-sharpness.detach()).clamp(_COLD, _HOT))
    shift = bias.detach() - bias.detach().mean()
    return Calibration(temperature, shift.to(logits.device, _float_like(logits)))


def adjust(
    probabilities: torch.Tensor,
    source_prior: torch.Tensor | Sequence[float],
    target_prior: torch.Tensor | Sequence[float],
) -> torch.Tensor:
    """The posterior under another prior: Bayes' rule.

    >>> adjust(torch.tensor([[0.5, 0.5], [0.9, 0.1]]), [0.5, 0.5], [0.1, 0.9])  # (N, K)
    tensor([[0.1000, 0.9000],
            [0.5000, 0.5000]])

    Parameters
    ----------
    probabilities
        P(y|x) in the source (N, K), rows of sum 1.
    source_prior, target_prior
        P(y) there and here (K,); a class of the target needs a share above 0 in the source.

    Returns
    -------
    Tensor
        P(y|x) in the target (N, K): in proportion to probabilities * target_prior / source_prior.

    Raises
    ------
    ValueError
        Rows that are no probabilities, priors that are none, a class of the target that the source lacks, or a row
        that gives probability only to classes the target lacks.

    Notes
    -----
    Saerens et al. 2002, eq. 2.4. Exact if P(X|Y) is the same in both and the probabilities are true.
    """
    given = _as_probabilities("adjust", "probabilities", probabilities)
    before, after = (
        checked_prior("adjust", name, prior, given.shape[1]).to(given.device)
        for name, prior in (("source_prior", source_prior), ("target_prior", target_prior))
    )
    if bool(((before == 0) & (after > 0)).any()):
        missing = ((before == 0) & (after > 0)).nonzero()[:, 0].tolist()
        raise ValueError(
            f"adjust: source_prior is 0 for classes {missing}, which target_prior has: nothing to adjust from"
        )
    joint = given * torch.where(before > 0, after / before, torch.zeros_like(before))
    total = joint.sum(1, keepdim=True)
    if bool((total == 0).any()):
        row = int((total[:, 0] == 0).nonzero()[0])
        raise ValueError(f"adjust: row {row} has probability only in classes that target_prior gives 0")
    return (joint / total).to(probabilities)


def checked_prior(what: str, name: str, prior: torch.Tensor | Sequence[float], num_classes: int) -> torch.Tensor:
    """Class shares (K,) in float64, if they are shares.

    >>> checked_prior("em", "source_prior", [0.25, 0.75], 2)
    tensor([0.2500, 0.7500], dtype=torch.float64)

    Raises
    ------
    ValueError
        Another shape, negative shares, or a sum other than 1; the sentence begins with `what`.
    """
    shares = precise(torch.as_tensor(prior))
    if shares.shape != (num_classes,):
        raise ValueError(f"{what}: {name} is {tuple(shares.shape)}; one share a class, ({num_classes},), is accepted")
    if not (bool((shares >= 0).all()) and abs(float(shares.sum()) - 1) < 1e-3):
        raise ValueError(
            f"{what}: {name} is {[round(s, 4) for s in shares.tolist()]}; shares from 0 on of sum 1 are accepted"
        )
    return shares / shares.sum()


def _as_shares(name: str, predictions: torch.Tensor, num_classes: int) -> torch.Tensor:
    if predictions.ndim == 2:
        shares = _as_probabilities("bbse", name, predictions)
        if shares.shape[1] != num_classes:
            raise ValueError(f"bbse: {name} are {tuple(predictions.shape)}; (N, {num_classes}) is accepted")
        return shares
    classes = _as_classes("bbse", name, predictions, num_classes, len(predictions), every=False)
    return precise(torch.nn.functional.one_hot(classes, num_classes))


def _as_probabilities(what: str, name: str, given: torch.Tensor) -> torch.Tensor:
    if given.ndim != 2 or len(given) == 0 or given.shape[1] < 2 or not given.is_floating_point():
        kind = f"{tuple(given.shape)} {str(given.dtype)[6:]}"
        raise ValueError(f"{what}: {name} are {kind}; probabilities (N, K) of floats are accepted")
    shares = precise(given)
    sums = shares.sum(1)
    if not (bool((shares >= 0).all()) and float((sums - 1).abs().max()) < 1e-2):
        low, high = float(sums.min()), float(sums.max())
        raise ValueError(
            f"{what}: {name} have rows of sum {low:.3g} to {high:.3g} and a smallest number {float(shares.min()):.3g}; "
            "rows from 0 on of sum 1 are accepted: are these logits? then take torch.softmax(…, 1)"
        )
    return shares / sums[:, None]


def _as_classes(
    what: str, name: str, given: torch.Tensor, num_classes: int, rows: int, every: bool = True
) -> torch.Tensor:
    whole = not (given.is_floating_point() or given.is_complex())
    if given.shape != (rows,) or rows == 0 or not whole:
        kind = f"{tuple(given.shape)} {str(given.dtype)[6:]}"
        raise ValueError(f"{what}: {name} are {kind}; class numbers ({rows or 'N'},) of integers are accepted")
    classes = given.detach().long().to("cpu" if given.device.type == "mps" else given.device)
    low, high = int(classes.min()), int(classes.max())
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{what}: {name} go from {low} to {high}; class numbers from 0 to {num_classes - 1} are accepted"
        )
    counts = torch.bincount(classes, minlength=num_classes)
    if every and int(counts.min()) == 0:
        empty = (counts == 0).nonzero()[:, 0].tolist()
        raise ValueError(f"{what}: {name} have no row of classes {empty}; at least one of each class is needed")
    return classes


def _float_like(values: torch.Tensor) -> torch.dtype:
    return values.dtype if values.is_floating_point() else torch.get_default_dtype()
