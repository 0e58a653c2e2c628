"""Few labelled photos: a network pre-trained on other classes, beside one trained from scratch.

Claim: with 100, 500 and 5 000 labelled photos of four classes of CIFAR-10, a ResNet-20 pre-trained on the other six
gains over the same network from scratch with the best of the regular remedies, at equal epochs and at convergence. The
remedies are crops and flips; these with colour and cutout; a ResNet-8: the one that is best *on
the test set* counts, which favours scratch. The target classes are never in the pre-training (its card lists them).
Then: how many labels does scratch need to draw level? Needs CIFAR-10 in ``$TLCORE_DATA`` or ../shared/data.
Run alone: ``python benchmarks/few_images.py``.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from pathlib import Path
from statistics import mean, stdev

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tlcore import training, transfer, weights, worlds, zoo
from tlcore.zoo.cifar import CifarResNet

TARGETS = ("automobile", "cat", "horse", "ship")
WEIGHTS = "cifar10x"
DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
# labels in all: seeds, epochs for both, batch, epochs of scratch to convergence
SETTINGS = {100: (3, 100, 32, 200), 500: (2, 60, 32, 120), 5000: (1, 12, 128, 50)}
PLAIN, STRONG = ("crop", "flip"), ("crop", "flip", "colour", "cutout")
LEVEL = ((1000, 60), (2000, 50), (10_000, 25))  # labels, epochs
ARITHMETIC = training.Arithmetic(bf16=True, channels_last=True)


def scratch(train: worlds.Dataset, test: worlds.Dataset, epochs: int, batch: int, seed: int, remedy: str) -> float:
    """Accuracy on the test set of a network that has seen nothing else."""
    torch.manual_seed(seed)
    net = CifarResNet(8 if remedy == "small" else 20, num_classes=len(TARGETS))
    loader = worlds.Loader(train, batch, augment=STRONG if remedy == "strong" else PLAIN, seed=seed)
    training.fit(
        net, loader, epochs=epochs, lr=0.1 * batch / 128 if batch > 32 else 0.05, schedule="one_cycle",
        arithmetic=ARITHMETIC, seed=seed, progress=False,
    )  # fmt: skip
    return training.evaluate(net, test, arithmetic=ARITHMETIC)[1] or 0.0


def fine_tuned(train: worlds.Dataset, test: worlds.Dataset, epochs: int, batch: int, seed: int) -> tuple[float, float]:
    """Accuracy of the pre-trained network after the lectures' procedure, and seconds of training."""
    net = zoo.get_model("resnet20", weights=WEIGHTS)
    loader = worlds.Loader(train, batch, augment=PLAIN, seed=seed)
    start = time.perf_counter()
    transfer.fine_tune(
        net, loader, None, transfer.procedure(max(1, epochs // 5), lr=0.5), num_classes=len(TARGETS), epochs=epochs,
        lr=0.05, schedule="one_cycle", arithmetic=ARITHMETIC, seed=seed, progress=False,
    )  # fmt: skip
    seconds = time.perf_counter() - start
    return training.evaluate(net, test, arithmetic=ARITHMETIC)[1] or 0.0, seconds


def frozen(train: worlds.Dataset, test: worlds.Dataset) -> tuple[float, float]:
    """Accuracy of a logistic regression on the neck of the pre-trained network, and seconds in all."""
    net, start = zoo.get_model("resnet20", weights=WEIGHTS), time.perf_counter()
    head = make_pipeline(
        transfer.FeatureExtractor(net, "neck"), StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)
    )
    head.fit(train.inputs, train.targets.numpy())
    seconds = time.perf_counter() - start
    return float(head.score(test.inputs, test.targets.numpy())), seconds


def told(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def main() -> None:
    try:
        whole, test = (worlds.load("cifar10", split=s, root=DATA).subset(classes=TARGETS) for s in ("train", "test"))
    except ValueError as error:
        sys.exit(f"benchmarks/few_images.py: {error}")
    card = weights.card(f"resnet20-{WEIGHTS}")
    assert not set(card["classes"]) & set(TARGETS), "a target class was in the pre-training"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{whole.origin}; {len(test)} test photos of {', '.join(TARGETS)}")
    print(f"Pre-trained on {', '.join(card['classes'])}\n")
    print("| labels | scratch, best remedy | converged | frozen + softmax | fine-tuned | gain | gain left | seconds |")
    print("| ---: | --- | --- | --- | --- | ---: | ---: | ---: |")
    figures: dict[str, object] = {}
    curve: dict[int, float] = {}
    for count, (seeds, epochs, batch, long) in SETTINGS.items():
        parts = [whole.subset(per_class=count // len(TARGETS), seed=100 + s) for s in range(seeds)]
        alone = {
            remedy: [scratch(part, test, epochs, batch, s, remedy) for s, part in enumerate(parts)]
            for remedy in ("plain", "strong", "small")
        }
        best = max(alone, key=lambda remedy: mean(alone[remedy]))
        converged = [scratch(part, test, long, batch, s, best) for s, part in enumerate(parts)]
        cut = [frozen(part, test)[0] for part in parts]
        runs = [fine_tuned(part, test, epochs, batch, s) for s, part in enumerate(parts)]
        ours, seconds = [accuracy for accuracy, _ in runs], mean(s for _, s in runs)
        curve[count] = max(mean(converged), mean(alone[best]))
        gain, left = 100 * (mean(ours) - mean(alone[best])), 100 * (mean(ours) - curve[count])
        figures |= {f"gain_{count}": round(gain, 2), f"gain_left_{count}": round(left, 2)}
        figures |= {f"seconds_{count}": round(seconds, 1), f"fine_tuned_{count}": round(mean(ours), 4)}
        figures |= {f"scratch_{count}": {r: round(mean(v), 4) for r, v in alone.items()}}
        print(
            f"| {count:,} | {told(alone[best])} ({best}, {epochs} epochs) | {told(converged)} ({long} epochs) | "
            f"{told(cut)} | {told(ours)} | {gain:+.1f} | {left:+.1f} | {seconds:.0f} |",
            flush=True,
        )
    for count, epochs in LEVEL:
        curve[count] = scratch(whole.subset(per_class=count // 4, seed=100), test, epochs, 128, 0, "plain")
    by_labels = ", ".join(f"{n:,}: {100 * a:.1f}" for n, a in sorted(curve.items()))
    print(f"\nScratch to convergence, by labels: {by_labels}")
    level = {}
    for count in SETTINGS:
        goal = float(figures[f"fine_tuned_{count}"])  # type: ignore[arg-type]
        enough = [n for n, accuracy in sorted(curve.items()) if accuracy >= goal]
        level[count] = enough[0] if enough else None
        print(f"To reach what {count:,} labels give after pre-training, scratch needs {enough[0]:,}" if enough else
              f"What {count:,} labels give after pre-training, scratch does not reach with {max(curve):,}")  # fmt: skip
    figures |= {"labels_to_draw_level": level, "origin": whole.origin}
    figures |= {"pretrain_classes": card["classes"], "target_classes": list(TARGETS)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
