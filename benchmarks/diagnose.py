"""Does `shift.diagnose` say what is so? Every verdict against the truth, over a grid that was not used to build it.

The worlds, severities, seeds and combinations here are others than those that the tests were chosen on. Each condition
counts by itself and strictly: "cannot be told" is wrong wherever the truth is yes or no. False alarms are counted on
pairs that do not differ. Without the target's labels the right answer to three of the six is "cannot be told".
"""

from __future__ import annotations

import json
import os
from collections import Counter

import torch

from tlcore import plots, runtime, shift, worlds

WORLDS = {
    "gaussian, 12 features": worlds.Gaussian(features=12, distance=2.5, world_seed=31),
    "gaussian, 30 features": worlds.Gaussian(features=30, distance=1.5, world_seed=47),
    "teacher, linear": worlds.TeacherStudent(features=16, flips=0.15, world_seed=23),
    "teacher, 6 hidden": worlds.TeacherStudent(features=8, hidden=6, flips=0.1, world_seed=61),
    "shapes, 5 of them": worlds.Shapes(shapes=("square", "ring", "arrow", "ellipse", "crescent")),
    "shapes, textures": worlds.Shapes(label="texture", blur=(0.0, 0.5)),
    "shapes, colours": worlds.Shapes(label="colour", colours=("red", "yellow", "purple", "grey"), noise=0.08),
    "language, topics": worlds.Language(topics=("weather", "sea", "music", "health"), sentences=4),
    "scikit-learn's digits": worlds.load("digits"),
}
SIZE, SMALL, SEEDS = 500, 150, (101, 102)


def grid(name: str) -> dict[str, list[shift.Shift]]:
    """The shifts that this world is put through."""
    kind = "texts" if "language" in name else "pictures" if "shapes" in name or "digits" in name else "vectors"
    space = {"texts": "language", "pictures": "resolution", "vectors": "projection"}[kind]
    sensors = {"texts": ["words"], "pictures": ["gain", "blur", "offset"], "vectors": ["gain", "noise", "offset"]}[kind]
    own = {"texts": "words", "pictures": "offset", "vectors": "offset"}[kind]
    by: str | int = 5 if kind == "vectors" else "brightness"
    tilted = (0.2, 0.8) if kind == "vectors" else None
    made: dict[str, list[shift.Shift]] = {}
    for severity in (0.5, 0.9):
        made[f"feature_space {severity}"] = [shift.FeatureSpace(severity, kind=space)]
        for sensor in sensors:
            made[f"marginal, {sensor} {severity}"] = [shift.Marginal(severity, kind=sensor)]
        made[f"marginal, selection {severity}"] = [shift.Selection(severity, by=by)]
        made[f"label_space {severity}"] = [shift.LabelSpace(severity)]
        made[f"concept {severity}"] = [shift.Concept(severity)]
        made[f"prior {severity}"] = [shift.Prior(severity, to=tilted)]
        made[f"conditional {severity}"] = [shift.Conditional(severity, kind=own)]
    made["prior and marginal"] = [shift.Prior(0.9, to=tilted), shift.Marginal(0.5, kind=sensors[0])]
    made["concept and prior"] = [shift.Concept(0.7), shift.Prior(0.9, to=tilted)]
    return made


def main() -> None:
    right: Counter[tuple[str, str]] = Counter()
    asked: Counter[tuple[str, str]] = Counter()
    table: Counter[tuple[str, str, str]] = Counter()
    unlabelled: Counter[tuple[str, str]] = Counter()
    skipped = 0
    cells = [(world, name) for world in WORLDS for name in grid(world)]
    for world, name in runtime.progress(cells, "grid"):
        size = SMALL if "digits" in world else SIZE
        for seed in SEEDS:
            try:
                apart = shift.pair(WORLDS[world], grid(world)[name], size=size, seed=seed)
            except ValueError as error:
                if "too few" not in str(error):
                    raise
                skipped += 1
                continue
            found = shift.diagnose(apart.source, apart.target, seed=seed)
            for condition, fine in found.agrees(apart.truth.conditions).items():
                for row in (world, name.rpartition(" ")[0] if name[-1].isdigit() else name):
                    right[row, condition] += fine
                    asked[row, condition] += 1
                told = {True: "yes", False: "no", None: "not comparable"}[apart.truth.conditions[condition]]
                table[condition, told, found.verdicts[condition]] += 1
            blind = shift.diagnose(apart.source, apart.target, labelled=False, seed=seed)
            for condition in ("prior", "conditional", "concept"):
                unlabelled[condition, blind.verdicts[condition]] += 1
    alarms = checks = 0
    for world in WORLDS:
        size = SMALL if "digits" in world else SIZE
        for seed in range(200, 212):
            apart = shift.pair(WORLDS[world], size=size, seed=seed)
            verdicts = shift.diagnose(apart.source, apart.target, seed=seed).verdicts
            alarms, checks = alarms + list(verdicts.values()).count("moved"), checks + 4  # four of the six are tested

    def share(row: str, condition: str) -> str:
        return f"{right[row, condition] / asked[row, condition]:.0%}" if asked[row, condition] else "–"

    print(f"{os.cpu_count()} cores, torch {torch.__version__}; {SIZE} rows a domain (digits: {SMALL})\n")
    rows = list(dict.fromkeys(row for row, _ in asked))
    print("Verdicts that are right, by world and by shift\n")
    print(
        plots.table([[row, *(share(row, name) for name in shift.CONDITIONS)] for row in rows], ["", *shift.CONDITIONS])
    )
    verdicts = ["moved", "same", "cannot be told", "not comparable"]
    print("\nConfusion: what is so, and how often each verdict was given\n")
    counts = [
        [condition, told, *(table[condition, told, verdict] for verdict in verdicts)]
        for condition in shift.CONDITIONS
        for told in ("yes", "no", "not comparable")
        if any(table[condition, told, verdict] for verdict in verdicts)
    ]
    print(plots.table(counts, ["condition", "true?", *verdicts]))
    honest = sum(count for (_, verdict), count in unlabelled.items() if verdict in ("cannot be told", "not comparable"))
    print(f"\nWithout the target's labels: {honest} of {sum(unlabelled.values())} verdicts on the three that need them")
    print("are 'cannot be told' or 'not comparable'.")
    print(f"Identical domains: {alarms} of {checks} tested conditions called moved.")
    if skipped:
        print(f"{skipped} pairs were not made: the digits are too few for that shift.")
    worlds_only = [row for row in rows if row in WORLDS]
    total = sum(asked[row, condition] for row in worlds_only for condition in shift.CONDITIONS)
    good = sum(right[row, condition] for row in worlds_only for condition in shift.CONDITIONS)
    figures = {"accuracy": round(good / total, 4), "false_alarm": round(alarms / checks, 4), "verdicts": total}
    print(json.dumps(figures | {"origin": "generated worlds, scikit-learn's digits"}))


if __name__ == "__main__":
    main()
