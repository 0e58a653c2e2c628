"""Labels in one domain, images in another: what adaptation gains on digits and PACS, nothing tuned on the target.

Claim: on MNIST -> USPS and on PACS photo -> art painting, cartoon and sketch, CORAL, DAN, Deep CORAL and DANN gain over
the source alone on most pairs; the table shows where one loses. Published on MNIST -> USPS: source only 75 to 84, DANN
77 to 91.

Hyper-parameters are not tuned on target labels. They are the papers': SGD of momentum 0.9, rates
falling as (1 + 10 p)^-0.75, 64 + 64 images a batch, DANN's strength 2 / (1 + exp(-10 p)) - 1, weights of 1, CORAL's
regularization of 1 on standardised features. Only the digits' rate, 0.05 in place of 0.01, and epochs are ours: with
them the network reaches 98% on held-out *source* digits, and 95% with the paper's rate. They were changed once, for
that reason, after a first table had been seen; results/adaptation.md holds it too. Choosing by target labels would
decide the ranking (Musgrave 2022). The target's test labels are used for the table alone.

Preprocessing: digits as shares of 255, MNIST resized from 28x28 to USPS's 16x16 (bilinear, antialiased); results of
source only depend on this by more than 8 points. PACS: 96x96 JPEGs resized to 160x160, MobileNet v1 0.25 of ImageNet up
to its neck, 256 numbers, standardised by the source's mean and deviation. Each seed draws its own part of the source
and its own first weights.

skada's methods stand beside ours where it has them (extra `bench`), on the same features or the same network, with the
same optimizer, rates, batches and number of epochs; the rest is its own defaults.

Run alone: ``python benchmarks/adaptation.py``; needs ``$TLCORE_DATA``, or shared/data beside the repository.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import sklearn
import torch
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from torch import nn

from tlcore import training, transfer, weights, worlds, zoo

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
SEEDS = (0, 1, 2)
DIGITS, DIGIT_EPOCHS, DIGIT_LR = 10_000, 20, 0.05
PHOTOS, PHOTO_EPOCHS, PHOTO_LR = 0.8, 30, 0.01  # share of the source's photos; epochs of the deep methods on features
BATCH = 64
ARITHMETIC = training.Arithmetic()
Scores = dict[str, list[float]]
OPTIONS: dict[str, Any] = {"batch_size": BATCH, "arithmetic": ARITHMETIC, "progress": False}

try:
    import skada
    import skada.deep
    from skorch.callbacks import LRScheduler
except ImportError:
    skada = None


def digit_net() -> nn.Module:
    """Two convolutions and two linear layers, for 16x16; the neck has 100 features."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def photo_head() -> nn.Module:
    """A small network on the 256 features of MobileNet; the neck has 128."""
    return nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 7))


def accuracy(model: nn.Module, test: worlds.Dataset) -> float:
    return training.evaluate(model, test, arithmetic=ARITHMETIC)[1] or 0.0


def deep(
    make: Callable[[], nn.Module], source: worlds.Dataset, target: worlds.Dataset, test: worlds.Dataset, epochs: int,
    lr: float, seed: int, scores: Scores,
) -> nn.Module:  # fmt: skip
    """Source only and the three deep methods, all from the same first weights; the first network is returned."""
    methods: dict[str, Callable[..., Any]] = {
        "source only": lambda net, s, t, **o: transfer.adapt(net, s, t, transfer.coral_loss, weight=0.0, **o),
        "Deep CORAL": transfer.deep_coral,
        "DAN": transfer.dan,
        "DANN": transfer.dann,
    }
    first: nn.Module | None = None
    for name, method in methods.items():
        torch.manual_seed(seed)
        net = make()
        method(net, source, target.inputs, epochs=epochs, lr=lr, seed=seed, **OPTIONS)
        scores.setdefault(name, []).append(accuracy(net, test))
        first = first or net
    assert first is not None
    return first


class _Standardised(BaseEstimator):
    """Means and deviations only: what CORAL's covariances have to improve on."""

    def fit(self, xs: np.ndarray, ys: Any, xt: np.ndarray) -> _Standardised:
        self.numbers_ = {side: (x.mean(0), x.std(0) + 1e-6) for side, x in (("source", xs), ("target", xt))}
        return self

    def transform(self, x: np.ndarray, side: str = "target") -> np.ndarray:
        return (x - self.numbers_[side][0]) / self.numbers_[side][1]


def closed(source: tuple[Any, Any], target: Any, test: tuple[Any, Any], scores: Scores) -> None:
    """Closed forms, each with the same logistic regression behind it."""
    head = LogisticRegression(max_iter=2000)
    methods = {
        "logistic regression": None,
        "each domain standardised": transfer.Aligned(_Standardised(), head),
        "importance weights": transfer.ImportanceWeighting(head),
        "CORAL": transfer.Aligned(transfer.CORAL(), head),
        "subspace alignment": transfer.Aligned(transfer.SubspaceAlignment(50), head),
        "TCA": transfer.Aligned(transfer.TCA(50), head),
    }
    for name, method in methods.items():
        fitted = head.fit(*source) if method is None else method.fit(*source, target)
        scores.setdefault(name, []).append(float(np.mean(fitted.predict(test[0]) == test[1])))


def peers_closed(source: tuple[Any, Any], target: Any, test: tuple[Any, Any], scores: Scores) -> None:
    """The same by skada."""
    x = np.concatenate([source[0], target]).astype(np.float64)
    y = np.concatenate([source[1], np.full(len(target), -1)])  # skada's mark for hidden labels
    domain = np.concatenate([np.ones(len(source[0]), int), np.full(len(target), -2)])
    head = LogisticRegression(max_iter=2000).set_fit_request(sample_weight=True)
    methods = {
        "importance weights": lambda: skada.DiscriminatorReweight(head),
        "CORAL": lambda: skada.CORAL(head),
        "subspace alignment": lambda: skada.SubspaceAlignment(head, n_components=50),
        "TCA": lambda: skada.TransferComponentAnalysis(head, n_components=50),
    }
    for name, make in methods.items():
        found = float("nan")
        try:
            fitted = make().fit(x, y, sample_domain=domain)
            said = fitted.predict(test[0].astype(np.float64), sample_domain=np.full(len(test[0]), -2))
            found = float(np.mean(said == test[1]))
        except Exception as error:  # a peer's failure is a result of it, not of ours
            print(f"skada's {name}: {type(error).__name__}: {error}", file=sys.stderr)
        scores.setdefault(f"{name}, skada", []).append(found)


class _Peer(nn.Module):
    """A network as skada wants it: told of weights, and free not to look at them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor, sample_weight: torch.Tensor | None = None) -> torch.Tensor:
        return self.net(x)


def peers_deep(
    make: Callable[[], nn.Module], source: worlds.Dataset, target: worlds.Dataset, test: worlds.Dataset, epochs: int,
    lr: float, seed: int, layers: tuple[str, str], width: int, scores: Scores,
) -> None:  # fmt: skip
    """The three deep methods by skada: the same network, optimizer, batches and epochs, and its own defaults else."""
    x = torch.cat([source.inputs, target.inputs]).numpy()
    y = np.concatenate([source.targets.numpy(), np.full(len(target), -1)])
    domain = np.concatenate([np.ones(len(source), int), np.full(len(target), -2)])
    options: dict[str, Any] = {
        "max_epochs": epochs, "batch_size": 2 * BATCH, "lr": lr, "optimizer": torch.optim.SGD,
        "optimizer__momentum": 0.9, "optimizer__weight_decay": 5e-4, "optimizer__nesterov": True, "train_split": None,
        "verbose": 0,
    }  # fmt: skip
    steps = epochs * (max(len(source), len(target)) // BATCH)
    rates = LRScheduler(torch.optim.lr_scheduler.LambdaLR, lr_lambda=transfer.inverse_decay(steps), step_every="batch")
    options["callbacks"] = [rates]
    neck, logits = (f"net.{layer}" for layer in layers)
    methods = {
        "Deep CORAL": lambda net: skada.deep.DeepCoral(net, layer_name=logits, reg=1, **options),
        "DAN": lambda net: skada.deep.DAN(net, layer_name=neck, reg=1, **options),
        "DANN": lambda net: skada.deep.DANN(net, layer_name=neck, reg=1, num_features=width, **options),
    }
    for name, method in methods.items():
        found = float("nan")
        torch.manual_seed(seed)
        try:
            fitted = method(_Peer(make())).fit(x, y, sample_domain=domain)
            said = fitted.predict(test.inputs.numpy(), sample_domain=np.full(len(test), -2), allow_source=True)
            found = float(np.mean(said == test.targets.numpy()))
        except Exception as error:
            print(f"skada's {name}: {type(error).__name__}: {error}", file=sys.stderr)
        scores.setdefault(f"{name}, skada", []).append(found)


def digits() -> tuple[Scores, str]:
    """MNIST -> USPS."""
    mnist = worlds.load("mnist", root=DATA)
    usps, test = (_digits(worlds.load("usps", split=split, root=DATA)) for split in ("train", "test"))
    scores: Scores = {}
    for seed in SEEDS:
        source = _digits(mnist.subset(size=DIGITS, seed=seed))
        net = deep(digit_net, source, usps, test, DIGIT_EPOCHS, DIGIT_LR, seed, scores)
        neck = transfer.FeatureExtractor(net, "neck")
        features = [neck.transform(part) for part in (source, usps, test)]
        middle, spread = features[0].mean(0), features[0].std(0) + 1e-6
        known, new, asked = ((part - middle) / spread for part in features)
        pair = LogisticRegression(max_iter=2000), transfer.Aligned(transfer.CORAL(), LogisticRegression(max_iter=2000))
        y, truth = source.targets.numpy(), test.targets.numpy()
        scores.setdefault("logistic regression on the neck", []).append(
            float(pair[0].fit(known, y).score(asked, truth))
        )
        scores.setdefault("CORAL on the neck", []).append(float(pair[1].fit(known, y, new).score(asked, truth)))
        if skada is not None:
            peers_deep(digit_net, source, usps, test, DIGIT_EPOCHS, DIGIT_LR, seed, ("8", "9"), 100, scores)
    return scores, f"{DIGITS} of {mnist.origin}; {usps.origin}; tested on {test.origin}"


def _digits(data: worlds.Dataset) -> worlds.Dataset:
    """Shares of 255 at 16x16."""
    x = data.inputs.float() / 255
    if x.shape[-1] != 16:
        x = nn.functional.interpolate(x, (16, 16), mode="bilinear", antialias=True, align_corners=False)
    return worlds.Dataset(x, data.targets, data.classes, data.origin)


def photos() -> tuple[dict[str, Scores], dict[str, str]]:
    """PACS photo -> three other domains, on fixed features."""
    net = zoo.get_model("mobilenet_v1", width_multiplier=0.25, same_padding=True)
    zoo.load(net, zoo.translate(weights.read(DATA / "weights" / "mobilenet_v1_0.25_224.safetensors"), net), "of Google")
    reader = transfer.FeatureExtractor(net, "neck", size=160, batch_size=64, mean=0.5, std=0.5)

    def features(name: str, split: str) -> tuple[np.ndarray, np.ndarray, worlds.Dataset]:
        data = worlds.load(f"pacs-{name}", split=split, root=DATA)
        return reader.transform(data), data.targets.numpy(), data

    x, y, photo = features("photo", "train")
    found: dict[str, Scores] = {}
    origins = {}
    for name in ("art_painting", "cartoon", "sketch"):
        (new, _, train), (asked, truth, test) = features(name, "train"), features(name, "test")
        scores: Scores = {}
        for seed in SEEDS:
            some = np.random.default_rng(seed).permutation(len(x))[: round(PHOTOS * len(x))]
            middle, spread = x[some].mean(0), x[some].std(0) + 1e-6
            known, moved, question = ((part - middle) / spread for part in (x[some], new, asked))
            closed((known, y[some]), moved, (question, truth), scores)
            if skada is not None:
                peers_closed((known, y[some]), moved, (question, truth), scores)
            sides = [
                worlds.Dataset(torch.from_numpy(a), torch.from_numpy(b), photo.classes, origin)
                for a, b, origin in (
                    (known, y[some], photo.origin), (moved, np.zeros(len(moved), int), train.origin),
                    (question, truth, test.origin),
                )
            ]  # fmt: skip
            deep(photo_head, *sides, PHOTO_EPOCHS, PHOTO_LR, seed, scores)
            if skada is not None:
                peers_deep(photo_head, *sides, PHOTO_EPOCHS, PHOTO_LR, seed, ("1", "2"), 128, scores)
        found[f"PACS photo -> {name}"] = scores
        origins[f"PACS photo -> {name}"] = f"{PHOTOS:.0%} of {photo.origin}; {train.origin}; tested on {test.origin}"
    return found, origins


def told(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return "failed" if not np.isfinite(values).all() else f"{100 * mean(values):.1f}{spread}"


def main() -> None:
    if not DATA.is_dir():
        print(json.dumps({"origin": f"absent: {DATA}"}))
        return
    warnings.simplefilter("ignore")  # weights worth few rows, solvers that do not converge: the table tells more
    version = f", skada {skada.__version__}" if skada is not None else ""
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, "
          f"scikit-learn {sklearn.__version__}{version}")  # fmt: skip
    if skada is None:
        print("skada is not installed (extra `bench`): its columns are absent")
    torch.set_num_threads(1)  # such small networks gain nothing by more, and lose much where cores are shared
    start = time.perf_counter()
    tasks: dict[str, Scores] = {}
    tasks["MNIST -> USPS"], origin = digits()
    origins = {"MNIST -> USPS": origin}
    more, whence = photos()
    tasks, origins = tasks | more, origins | whence
    print(f"Accuracy on the target's test images in percent, mean ± deviation of {len(SEEDS)} seeds.\n")
    figures: dict[str, Any] = {}
    for task, scores in tasks.items():
        print(f"{task}: {origins[task]}\n")
        print("| method | tlcore | skada |\n| --- | ---: | ---: |")
        for name, values in scores.items():
            if name.endswith(", skada"):
                continue
            peer = scores.get(f"{name}, skada")
            print(f"| {name} | {told(values)} | {told(peer) if peer else '–'} |")
        print(flush=True)
        figures[task] = {
            name: {"mean": round(mean(v), 4), "std": round(stdev(v), 4)} if np.isfinite(v).all() else None
            for name, v in scores.items()
        } | {"origin": origins[task]}  # fmt: skip
    print(f"{time.perf_counter() - start:.0f} s in all\n")
    print(json.dumps(figures | {"origin": "; ".join(dict.fromkeys(origins.values())), "seeds": len(SEEDS)}))


if __name__ == "__main__":
    main()
