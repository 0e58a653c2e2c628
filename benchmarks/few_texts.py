"""Few labelled texts that are on every machine: a classifier from the language model we ship, beside from scratch.

Claim: on prose that people wrote and that needs no download, the docstrings of installed libraries, a classifier from
the shipped language model is trained in less than 90 seconds on two cores, and is right more often than the same
network from random weights. Two tasks: is a sentence in order, or are its words mixed up (*order*), and which of four
libraries is a paragraph from (*library*)? TF-IDF of words and pairs of words with logistic regression stands beside.
The first task asks what a language model has learned; the second asks for key words, which counting finds as well.

Fixed: each way has one setting for both tasks and all numbers of labels, close to those of `ulmfit.py` for few labels
and tried once on paragraphs of another seed, with no change after it. Three seeds draw paragraphs, labels and weights;
the test has 300 texts of each seed. ``python benchmarks/few_texts.py [--seed-of-texts N]``; about five minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import time
from statistics import mean, stdev
from typing import Any

import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from tlcore import training, worlds
from tlcore.text.ulmfit import LanguageModel, train_classifier

WEIGHTS, SEEDS, TEST = "lm-english", 3, 300
LABELS = (50, 200)  # of each class
LIBRARIES = ("matplotlib", "python", "sklearn", "torch")
ALONE = {"pretrained": False, "unfreeze": "full", "factor": 1.0, "schedule": "one_cycle", "lr": 1e-2, "dropout": 0.3}
THAWED = {"unfreeze": "gradual", "factor": 1.5, "schedule": "stlr", "lr": 1e-2, "dropout": 0.5}
WAYS: dict[str, dict[str, Any]] = {"scratch": ALONE, "lm": THAWED}
SHARED = {"epochs": 15, "batch_size": 16, "arithmetic": training.Arithmetic(bf16=True), "progress": False}


def library(seed: int) -> worlds.Dataset:
    """Paragraphs of 12 to 60 words; classes are libraries."""
    return worlds.docstrings(LIBRARIES, count=max(LABELS) + TEST // len(LIBRARIES) + 50, seed=seed)


def order(seed: int) -> worlds.Dataset:
    """Short paragraphs in lower case without signs; the words of every second one are mixed up."""
    count = (2 * max(LABELS) + TEST) // len(LIBRARIES) + 1
    prose = worlds.docstrings(LIBRARIES, count=count, words=(7, 18), seed=seed)
    draws, texts = random.Random(seed), []
    for number, text in enumerate(prose.inputs):
        words = re.findall("[a-z']+", text.lower())
        mixed = list(words)
        while number % 2 and len(set(words)) > 1 and mixed == words:
            draws.shuffle(mixed)
        texts.append(" ".join(mixed))
    return worlds.Dataset(texts, torch.arange(len(texts)) % 2, ("in order", "mixed up"), prose.origin)


TASKS = {"order": order, "library": library}


def counted(learn: worlds.Dataset, test: worlds.Dataset) -> float:
    """Accuracy of TF-IDF with logistic regression."""
    model = make_pipeline(TfidfVectorizer(ngram_range=(1, 2)), LogisticRegression(C=10, max_iter=1000))
    return float(model.fit(learn.inputs, learn.targets).score(test.inputs, test.targets))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed-of-texts", type=int, default=0, help="another one for trying settings")
    first = parser.parse_args().seed_of_texts
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    lm = LanguageModel.load(WEIGHTS, device="cpu")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores ({torch.get_num_threads()} threads), "
        f"torch {torch.__version__}\n\n| task | labels a class | scratch | lm | TF-IDF | seconds, lm | chance |\n"
        "| --- | ---: | --- | --- | --- | ---: | ---: |"
    )
    figures: dict[str, Any] = {}
    for task, make in TASKS.items():
        figures[task] = {}
        for count in LABELS:
            found: dict[str, list[float]] = {"scratch": [], "lm": [], "tfidf": [], "seconds": []}
            for seed in range(SEEDS):
                data = make(1000 * first + seed)
                test, rest = data[torch.arange(TEST)], data[torch.arange(TEST, len(data))]
                learn = rest.subset(per_class=count, seed=seed)
                for way, options in WAYS.items():
                    start = time.perf_counter()
                    net = train_classifier(
                        lm, learn.inputs, learn.targets, classes=learn.classes, seed=seed, device="cpu",
                        **SHARED, **options,
                    )  # fmt: skip
                    if way == "lm":
                        found["seconds"].append(time.perf_counter() - start)
                    found[way].append(100 * net.score(test.inputs, test.targets))
                found["tfidf"].append(100 * counted(learn, test))
            told = [f"{mean(found[way]):.1f} ± {stdev(found[way]):.1f}" for way in ("scratch", "lm", "tfidf")]
            chance = 100 / len(data.classes)
            print(f"| {task} | {count} | {' | '.join(told)} | {max(found['seconds']):.0f} | {chance:.0f} |", flush=True)
            figures[task][str(count)] = {way: round(mean(row), 2) for way, row in found.items() if way != "seconds"}
            figures[task][str(count)] |= {"seconds": round(max(found["seconds"]), 1), "chance": chance}
    print("\nRight in percent, mean and deviation over 3 seeds; seconds of the slowest training on this machine.\n")
    print(json.dumps(figures | {"origin": f"docstrings of installed libraries ({', '.join(LIBRARIES)})"}))


if __name__ == "__main__":
    main()
