"""ULMFiT on real text: test error from few labels, with and without a language model read beforehand.

Claim: on TREC-6 (kinds of questions) and IMDb (kinds of reviews) a classifier that starts from the language model we
ship beats the same network from random weights at every number of labels, and more so if the language model has read
the target's texts, without their labels. Three ways with the same AWD-LSTM: **scratch**, with the recipe that suits
random weights best; **lm**, from the shipped model; **lm_fine_tuned**, all three stages. Then the rungs of the paper's
ablation on TREC-6, beside the paper's figures (Howard and Ruder 2018, table 7: validation errors, so ours are of a
tenth of the training questions, which is held back; the test error stands beside).

Fixed: reviews are cut to 200 tokens, 2 000 test reviews are drawn once (none is a training review as well); three
seeds draw labels, weights and order, one where IMDb has 5 000 labels; the language model of a task is fine-tuned once,
on all its training texts, also those whose labels are not used or held back.
Every rate, dropout and number of epochs was chosen on training texts that were held back (``--validate`` scores there),
never on the test set. Needs both in ``$TLCORE_DATA`` or ../shared/data.
``python benchmarks/ulmfit.py [--trials FILE …] [--only NAME …]``: the first file gets every run that is done, and runs
in any of the files, made with the same settings and weights, are taken from there; so a run that was stopped goes on.
``--only trec6 'imdb-*-scratch'`` does a part of the runs, whose names are TASK-LABELS-METHOD-SEED; a table is printed
when all are there.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from sklearn.model_selection import train_test_split

from tlcore import runtime, training, weights, worlds
from tlcore.text.ulmfit import LanguageModel, fine_tune_lm, train_classifier

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
WEIGHTS = "lm-english"
METHODS = ("scratch", "lm", "lm_fine_tuned")
SEEDS = {"trec6": {100: 3, 500: 3, 5452: 3}, "imdb": {100: 3, 500: 3, 5000: 1}}
EXTRA = {"trec6": {1000: 1}, "imdb": {1000: 1}}  # scratch with ten times the fewest labels
TESTS, HELD_BACK, MAX_LEN = 2000, {"trec6": 545, "imdb": 2000}, 200
BF16 = training.Arithmetic(bf16=True)  # 1.3 to 1.5 times as fast as float32 where the processor has it

# Stage 2, of fine_tune_lm.
READING: dict[str, dict[str, Any]] = {
    "trec6": {"epochs": 8, "lr": 1e-2, "dropout": 0.5, "batch_size": 16},
    "imdb": {"epochs": 2, "lr": 1e-2, "dropout": 0.2, "batch_size": 32},
}
# Stage 3, of train_classifier: what is common to a way, and what differs by the number of labels. A small network needs
# its lower layers to move more than 2.6 lets them; and where there are labels enough for reviews, all at once: on 500
# (two seeds, reviews held back) 34.6 errors in a hundred by gradual unfreezing, 28.9 by the recipe of scratch.
ALL_AT_ONCE = {"unfreeze": "full", "factor": 1.0, "schedule": "one_cycle"}
ALONE = {"pretrained": False, **ALL_AT_ONCE}
THAWED = {"unfreeze": "gradual", "factor": 1.5, "schedule": "stlr"}
RECIPES: dict[str, dict[int, dict[str, dict[str, Any]]]] = {
    "trec6": {
        100: {
            "scratch": {"epochs": 30, "batch_size": 16, "lr": 1e-2, "dropout": 0.3},
            "lm": {"epochs": 30, "batch_size": 16, "lr": 1e-2, "dropout": 0.5},
        },
        500: {
            "scratch": {"epochs": 25, "batch_size": 32, "lr": 1e-2, "dropout": 0.5},
            "lm": {"epochs": 25, "batch_size": 32, "lr": 1e-2, "dropout": 0.5},
        },
        1000: {"scratch": {"epochs": 25, "batch_size": 32, "lr": 1e-2, "dropout": 0.5}},
        5452: {
            "scratch": {"epochs": 15, "batch_size": 64, "lr": 1e-2, "dropout": 0.5},
            "lm": {"epochs": 10, "batch_size": 64, "lr": 1e-2, "dropout": 0.5},
        },
    },
    "imdb": {
        100: {
            "scratch": {"epochs": 20, "batch_size": 16, "lr": 5e-3, "dropout": 0.5},
            "lm": {"epochs": 20, "batch_size": 16, "lr": 1e-2, "dropout": 0.5},
        },
        500: {
            "scratch": {"epochs": 15, "batch_size": 16, "lr": 5e-3, "dropout": 0.3},
            "lm": {**ALL_AT_ONCE, "epochs": 15, "batch_size": 16, "lr": 5e-3, "dropout": 0.3},
        },
        1000: {"scratch": {"epochs": 12, "batch_size": 16, "lr": 5e-3, "dropout": 0.3}},
        5000: {
            "scratch": {"epochs": 8, "batch_size": 32, "lr": 5e-3, "dropout": 0.3},
            "lm": {**ALL_AT_ONCE, "epochs": 8, "batch_size": 32, "lr": 5e-3, "dropout": 0.3},
        },
    },
}
FLAT = {"factor": 1.0, "schedule": "constant", "lr": 3e-3}  # one rate for all layers and all steps
RUNGS: dict[str, tuple[float, dict[str, Any]]] = {  # the paper's validation error, and what a rung changes
    "scratch": (13.36, {}),
    "full": (6.86, {**FLAT, "unfreeze": "full"}),
    "last": (16.09, {**FLAT, "unfreeze": "last"}),
    "chain-thaw": (6.71, {**FLAT, "unfreeze": "chain-thaw"}),
    "freez": (6.86, {**FLAT, "unfreeze": "gradual"}),
    "freez+stlr": (6.02, {"factor": 1.0}),
    "freez+discr+stlr": (5.69, {"factor": 2.6}),
}
RUNG_SEEDS = 3


@dataclass(frozen=True)
class Run:
    """One training: a task, so many labels, a way or a rung, a seed."""

    task: str
    size: int
    method: str
    seed: int

    @property
    def name(self) -> str:
        """As `--only` names it."""
        return f"{self.task}-{self.size}-{self.method}-{self.seed}"

    @property
    def data(self) -> str:
        """The dataset; the rungs are trained on TREC-6."""
        return "trec6" if self.task == "ladder" else self.task

    @property
    def reads_on(self) -> bool:
        """The language model is fine-tuned before."""
        return self.method not in ("scratch", "lm")

    def settings(self) -> dict[str, Any]:
        """Options of `train_classifier`."""
        if self.task != "ladder":
            found = RECIPES[self.task][self.size]["scratch" if self.method == "scratch" else "lm"]
            return (ALONE if self.method == "scratch" else THAWED) | found
        whole = Run("trec6", 5452, "scratch" if self.method == "scratch" else "lm_fine_tuned", 0)
        return whole.settings() | RUNGS[self.method][1]


def everything() -> Iterator[Run]:
    """All runs of this benchmark."""
    for task, sizes in SEEDS.items():
        for size, seeds in sizes.items():
            yield from (Run(task, size, method, seed) for method in METHODS for seed in range(seeds))
        yield from (Run(task, size, "scratch", seed) for size, seeds in EXTRA[task].items() for seed in range(seeds))
    yield from (Run("ladder", 4907, rung, seed) for rung in RUNGS for seed in range(RUNG_SEEDS))


class Task:
    """A dataset: texts to learn from, a part of them held back, and the test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.train, self.test = (worlds.load(name, split=split, root=DATA) for split in ("train", "test"))
        if len(self.test) > TESTS:
            known = set(self.train.inputs)
            new = torch.tensor([n for n, text in enumerate(self.test.inputs) if text not in known])
            draws = torch.Generator().manual_seed(0)
            self.test = self.test[new[torch.randperm(len(new), generator=draws)[:TESTS]]]
        rows = list(range(len(self.train)))
        kept, held = train_test_split(
            rows, test_size=HELD_BACK[name], stratify=self.train.targets.tolist(), random_state=0
        )
        self.kept, self.held_back = self.train[torch.tensor(kept)], self.train[torch.tensor(held)]

    def part(self, size: int, seed: int, *, whole: bool) -> worlds.Dataset:
        """So many labelled texts, of all or of those that are not held back, classes in proportion."""
        pool = self.train if whole else self.kept
        if size >= len(pool):
            return pool
        rows, labels = list(range(len(pool))), pool.targets.tolist()
        drawn, _ = train_test_split(rows, train_size=size, stratify=labels, random_state=seed)
        return pool[torch.tensor(drawn)]


class Bench:
    """Runs what is asked for, keeps it, and knows what was kept."""

    def __init__(self, files: list[str], only: list[str], *, validate: bool) -> None:
        self.files, self.only, self.validate = [Path(file) for file in files], only, validate
        lines = [line for file in self.files if file.exists() for line in file.read_text().splitlines()]
        self.known = [json.loads(line) for line in lines]
        self.tasks: dict[str, Task] = {}
        self.lm = LanguageModel.load(WEIGHTS)
        self.tuned: dict[str, LanguageModel] = {}
        self.marks = {part: _mark(weights.FOLDER / f"{WEIGHTS}.{part}") for part in ("safetensors", "tokens.json")}

    def wanted(self, run: Run) -> bool:
        """Whether `--only` names it; a name stands for all that begin with it, and * for anything."""
        return not self.only or any(fnmatch(f"{run.name}-", f"{name}-*") for name in self.only)

    def task(self, name: str) -> Task:
        """A dataset, read once."""
        if name not in self.tasks:
            self.tasks[name] = Task(name)
        return self.tasks[name]

    def about(self, run: Run) -> dict[str, Any]:
        """All that a run depends on."""
        found = {
            "name": run.name,
            "valid": self.validate,
            "settings": run.settings(),
            "vocabulary": self.marks["tokens.json"],
        }
        if run.method != "scratch":
            found["weights"] = self.marks["safetensors"]
        if run.reads_on:
            found["reading"] = READING[run.data]
        return found

    def kept(self, run: Run) -> dict[str, Any] | None:
        """The figures of a run that was done with these settings."""
        about = self.about(run)
        return next((known for known in self.known if about.items() <= known.items()), None)

    def do(self, run: Run) -> None:
        """Train and test, unless that is known, and keep the figures."""
        if self.kept(run):
            return
        task, ladder = self.task(run.data), run.task == "ladder"
        lm = self.fine_tuned(run.data) if run.reads_on else self.lm
        part = task.part(run.size, run.seed, whole=not (ladder or self.validate))
        start = time.process_time()
        net = train_classifier(
            lm, list(part.inputs), part.targets, classes=part.classes, max_len=MAX_LEN, arithmetic=BF16, seed=run.seed,
            progress=False, **run.settings(),
        )  # fmt: skip
        seconds = time.process_time() - start
        with BF16.context(runtime.device()):
            errors = {
                name: 100 * (1 - net.score(list(on.inputs), on.targets))
                for name, on in {"error": task.test, "valid_error": task.held_back}.items()
                if name == ("valid_error" if self.validate else "error") or ladder
            }
        rounded = {name: round(error, 3) for name, error in errors.items()}
        losses = {"loss": round(net.histories[0].last.train_loss, 4)}
        self.keep(self.about(run) | rounded | losses | {"seconds": round(seconds, 1), "labels": len(part)})

    def fine_tuned(self, name: str) -> LanguageModel:
        """The language model after it has read a task's training texts, without labels; kept beside the first file."""
        reading = READING[name]
        about = json.dumps([name, reading, self.marks["safetensors"]])
        mark = hashlib.sha256(about.encode()).hexdigest()[:8]
        if mark not in self.tuned:
            with tempfile.TemporaryDirectory() as nowhere:
                place = Path(f"{self.files[0]}.{name}-{mark}") if self.files else Path(nowhere) / name
                if not place.exists():
                    start, task = time.process_time(), self.task(name)
                    made = fine_tune_lm(self.lm, list(task.train.inputs), progress=False, **reading)
                    rest = Path(f"{place}.part")
                    print(f"{name}: fine-tuned, {time.process_time() - start:.0f} s", file=sys.stderr, flush=True)
                    made.save(rest)
                    rest.rename(place)
                self.tuned[mark] = LanguageModel.load(place)  # in 16 bits, the same whether kept or just made
        return self.tuned[mark]

    def keep(self, row: dict[str, Any]) -> None:
        """Add a run's figures to what is known and to the first file."""
        self.known.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
        if self.files:
            with self.files[0].open("a") as file:
                file.write(json.dumps(row) + "\n")


def _mark(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def told(values: list[float]) -> str:
    """Mean and spread of errors."""
    spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{spread}"


def tables(found: dict[Run, dict[str, Any]]) -> dict[str, Any]:
    """Print what was found; the figures of the last line."""
    figures: dict[str, Any] = {"sd": {}, "count": {}, "ten_times": {}}
    for task, sizes in SEEDS.items():
        print(f"\n{task}: error in percent\n\n| labels | {' | '.join(METHODS)} | seeds |")
        print("| ---: | --- | --- | --- | ---: |")
        figures[task], figures["sd"][task], figures["count"][task] = {}, {}, {}
        for size, seeds in sizes.items():
            rows = {way: [found[Run(task, size, way, seed)]["error"] for seed in range(seeds)] for way in METHODS}
            print(f"| {size:,} | " + " | ".join(told(row) for row in rows.values()) + f" | {seeds} |")
            figures[task][str(size)] = {way: round(mean(row), 2) for way, row in rows.items()}
            figures["sd"][task][str(size)] = {w: round(stdev(row), 2) if seeds > 1 else None for w, row in rows.items()}
            figures["count"][task][str(size)] = seeds
        (more, seeds), least = next(iter(EXTRA[task].items())), min(sizes)
        scratch = mean(found[Run(task, more, "scratch", seed)]["error"] for seed in range(seeds))
        ours = figures[task][str(least)]["lm_fine_tuned"]
        print(f"\n{least} labels after all three stages: {ours:.1f}; from scratch with {more:,}: {scratch:.1f}")
        figures["ten_times"][task] = {"labels": more, "scratch": round(scratch, 2), "lm_fine_tuned": ours}
    return figures


def ladder(found: dict[Run, dict[str, Any]]) -> dict[str, Any]:
    """Print the ablation; its figures."""
    print("\n| rung, TREC-6 | validation error | the paper's | test error |\n| --- | --- | ---: | --- |")
    figures = {}
    for rung, (paper, _) in RUNGS.items():
        runs = [found[Run("ladder", 4907, rung, seed)] for seed in range(RUNG_SEEDS)]
        valid, test = ([run[name] for run in runs] for name in ("valid_error", "error"))
        print(f"| {rung} | {told(valid)} | {paper} | {told(test)} |")
        figures[rung] = {"valid": round(mean(valid), 2), "test": round(mean(test), 2), "paper_valid": paper}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", nargs="+", default=[], metavar="FILE")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument(
        "--validate", action="store_true", help="score on training texts held back, not on the test set"
    )
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    bench = Bench(options.trials, options.only, validate=options.validate)
    try:
        origins = [bench.task(name).train.origin for name in SEEDS]
    except ValueError as error:
        sys.exit(f"benchmarks/ulmfit.py: {error}")
    for run in everything():
        if bench.wanted(run):
            bench.do(run)
    found = {run: figures for run in everything() if (figures := bench.kept(run))}
    missing = [run.name for run in everything() if run not in found]
    if missing or options.validate:
        for run, figures in found.items():
            print(run.name, {key: figures[key] for key in ("error", "valid_error", "seconds") if key in figures})
        print(f"{len(found)} runs are there, {len(missing)} to do: {' '.join(missing)}")
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(
        f"{'; '.join(origins)}; language model {WEIGHTS}, {sum(p.numel() for p in bench.lm.net.parameters()):,} weights"
    )
    figures = tables(found)
    minutes = sum(run["seconds"] for run in found.values()) / 60
    print(f"\nTrainings of classifiers took {minutes:.0f} minutes of one core.")
    last = figures | {"ladder": ladder(found), "origin": "; ".join(origins), "weights": bench.marks["safetensors"]}
    print("\n" + json.dumps(last))


if __name__ == "__main__":
    main()
