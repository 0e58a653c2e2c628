"""Few labelled photos: a network pre-trained on other classes, beside one trained from scratch.

Claim: with 100, 500 and 5 000 labelled photos of four classes of CIFAR-10, a ResNet-20 pre-trained on the other six
gains over the same network from scratch with the best of the regular remedies, at equal epochs and at convergence. The
remedies are crops and flips; these with colour and cutout; a ResNet-8: the one that is best *on
the test set* counts, which favours scratch. The target classes are never in the pre-training (its card lists them).
Then: how many labels does scratch need to draw level? Needs CIFAR-10 in ``$TLCORE_DATA`` or ../shared/data.
Run alone: ``python benchmarks/few_images.py [--journal FILE]``; with a journal a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from sklearn.pipeline import make_pipeline

from tlcore import training, transfer, weights, worlds, zoo
from tlcore.zoo.cifar import CifarResNet

TARGETS = ("automobile", "cat", "horse", "ship")
WEIGHTS = "cifar10x"
DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
# labels in all: seeds, epochs for both, batch, epochs of scratch to convergence
SETTINGS = {100: (3, 100, 32, 200), 500: (2, 60, 32, 120), 5000: (1, 12, 128, 50)}
RATES = {100: 0.01, 500: 0.03, 5000: 0.1}  # of fine-tuning; found on other photos of the training files
PLAIN, STRONG = ("crop", "flip"), ("crop", "flip", "colour", "cutout")
LEVEL = ((1000, 60), (2000, 50), (10_000, 25))  # labels, epochs
ARITHMETIC = training.Arithmetic(bf16=True, channels_last=True)


class Trainings:
    """Everything that is trained here, each a function of plain settings."""

    def __init__(self) -> None:
        self.whole, self.test = (
            worlds.load("cifar10", split=s, root=DATA).subset(classes=TARGETS) for s in ("train", "test")
        )

    def part(self, count: int, seed: int) -> worlds.Dataset:
        """So many labelled photos in all."""
        return self.whole.subset(per_class=count // len(TARGETS), seed=100 + seed)

    def scratch(self, count: int, seed: int, epochs: int, batch: int, remedy: str) -> float:
        """Accuracy on the test set of a network that has seen nothing else."""
        torch.manual_seed(seed)
        net = CifarResNet(8 if remedy == "small" else 20, num_classes=len(TARGETS))
        augment = STRONG if remedy == "strong" else PLAIN
        loader = worlds.Loader(self.part(count, seed), batch, augment=augment, seed=seed)
        training.fit(
            net, loader, epochs=epochs, lr=0.1 * batch / 128 if batch > 32 else 0.05, schedule="one_cycle",
            arithmetic=ARITHMETIC, seed=seed, progress=False,
        )  # fmt: skip
        return training.evaluate(net, self.test, arithmetic=ARITHMETIC)[1] or 0.0

    def fine_tuned(self, count: int, seed: int, epochs: int, batch: int) -> tuple[float, float]:
        """Accuracy of the pre-trained network after the lectures' procedure, and seconds of training."""
        net = zoo.get_model("resnet20", weights=WEIGHTS)
        loader = worlds.Loader(self.part(count, seed), batch, augment=PLAIN, seed=seed)
        start = time.perf_counter()
        transfer.fine_tune(
            net, loader, None, transfer.procedure(max(1, epochs // 5), lr=1.0, factor=2),
            num_classes=len(TARGETS), epochs=epochs, lr=RATES[count], schedule="one_cycle", arithmetic=ARITHMETIC,
            seed=seed, progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        return training.evaluate(net, self.test, arithmetic=ARITHMETIC)[1] or 0.0, seconds

    def frozen(self, count: int, seed: int) -> float:
        """Accuracy of a logistic regression on the neck of the pre-trained network."""
        part, net = self.part(count, seed), zoo.get_model("resnet20", weights=WEIGHTS)
        head = make_pipeline(transfer.FeatureExtractor(net, "neck"), transfer.classifier("softmax"))
        head.fit(part.inputs, part.targets.numpy())
        return float(head.score(self.test.inputs, self.test.targets.numpy()))


class Journal:
    """Figures of what was trained, by a key; in a file, if there is one."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path) if path else None
        lines = self.path.read_text().splitlines() if self.path and self.path.exists() else []
        self.known = {tuple(key): figures for key, figures in map(json.loads, lines)}

    def kept(self, make: Callable[..., Any], *key: Any) -> Any:
        """What `make` found for the key, now or before."""
        name = (make.__name__, *key)
        if name not in self.known:
            self.known[name] = make(*key)
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps([name, self.known[name]]) + "\n")
        return self.known[name]


def told(values: list[float]) -> str:
    spread = f" ± {100 * stdev(values):.1f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.1f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--journal")
    journal = Journal(parser.parse_args().journal)
    try:
        runs = Trainings()
    except ValueError as error:
        sys.exit(f"benchmarks/few_images.py: {error}")
    card = weights.card(f"resnet20-{WEIGHTS}")
    assert not set(card["classes"]) & set(TARGETS), "a target class was in the pre-training"
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(f"{runs.whole.origin}; {len(runs.test)} test photos of {', '.join(TARGETS)}")
    print(f"Pre-trained on {', '.join(card['classes'])}\n")
    print("| labels | scratch, best remedy | converged | frozen + softmax | fine-tuned | gain | gain left | seconds |")
    print("| ---: | --- | --- | --- | --- | ---: | ---: | ---: |")
    figures: dict[str, object] = {}
    curve: dict[int, float] = {}
    for count, (seeds, epochs, batch, long) in SETTINGS.items():
        alone = {
            remedy: [journal.kept(runs.scratch, count, seed, epochs, batch, remedy) for seed in range(seeds)]
            for remedy in ("plain", "strong", "small")
        }
        best = max(alone, key=lambda remedy: mean(alone[remedy]))
        converged = [journal.kept(runs.scratch, count, seed, long, batch, best) for seed in range(seeds)]
        cut = [journal.kept(runs.frozen, count, seed) for seed in range(seeds)]
        tuned = [journal.kept(runs.fine_tuned, count, seed, epochs, batch) for seed in range(seeds)]
        ours, seconds = [accuracy for accuracy, _ in tuned], mean(s for _, s in tuned)
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
        curve[count] = journal.kept(runs.scratch, count, 0, epochs, 128, "strong")
    by_labels = ", ".join(f"{n:,}: {100 * a:.1f}" for n, a in sorted(curve.items()))
    print(f"\nScratch to convergence, by labels: {by_labels}")
    level = {}
    for count in SETTINGS:
        goal = float(figures[f"fine_tuned_{count}"])  # type: ignore[arg-type]
        enough = [n for n, accuracy in sorted(curve.items()) if accuracy >= goal]
        level[count] = enough[0] if enough else None
        print(f"To reach what {count:,} labels give after pre-training, scratch needs {enough[0]:,}" if enough else
              f"What {count:,} labels give after pre-training, scratch does not reach with {max(curve):,}")  # fmt: skip
    figures |= {"labels_to_draw_level": level, "origin": runs.whole.origin}
    figures |= {"pretrain_classes": card["classes"], "target_classes": list(TARGETS)}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
