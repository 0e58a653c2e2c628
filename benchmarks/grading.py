"""Grading a class: ours, sandboxed and judged with two workers, beside stock ``nbgrader autograde``.

Claim: safe grading takes at most 0.6 of the time of stock nbgrader, and gives honest work the same scores. Sixty
submissions of lesson 02 (solutions, half-solved, untouched, and the lesson's known answers) are graded in batches that
alternate between the two; the last batch is graded once more without the sandbox, for what the sandbox costs.
Run alone: ``python benchmarks/grading.py [--size 60]``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import torch

from tlcore.grading.answers import exercises, hand_in, load_answers
from tlcore.grading.build import build, record
from tlcore.grading.course import Course, find_course
from tlcore.grading.sandbox import probe
from tlcore.grading.scores import scores

LESSON = "02-receptive-fields"


def course_in(folder: Path, origin: Course) -> Course:
    """A course of its own with the same lesson."""
    shutil.copytree(origin.solutions, folder / "solutions")
    (folder / "course").mkdir()
    shutil.copy(origin.root / "course" / "nbgrader_config.py", folder / "course")
    course = Course(folder)
    build(course, [LESSON])
    record(course, LESSON)
    return course


def submissions(course: Course, origin: Course, size: int) -> dict[str, nbformat.NotebookNode]:
    """A class: of ten students three solve all, three half, one nothing, and three give a known answer somewhere."""
    source = nbformat.read(course.source / LESSON / f"{LESSON}.ipynb", as_version=4)
    release = nbformat.read(course.release / LESSON / f"{LESSON}.ipynb", as_version=4)
    solved = exercises(source)
    half = dict(itertools.islice(solved.items(), len(solved) // 2))
    known = itertools.cycle(load_answers(origin.root / "tests" / "lessons" / f"{LESSON}.toml", source))
    made = {}
    for n in range(size):
        kind = n % 10
        if kind < 7:
            answered = solved if kind < 3 else half if kind < 6 else {}
        else:
            answer = next(known)
            answered = solved | {answer.exercise: answer.code}
        made[f"student{n:03d}"] = hand_in(release, answered)
    return made


def hand_over(course: Course, batch: dict[str, nbformat.NotebookNode]) -> None:
    shutil.rmtree(course.submitted, ignore_errors=True)
    for student, nb in batch.items():
        target = course.submitted / student / LESSON / f"{LESSON}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(nb, target)


def stock(course: Course) -> float:
    """Seconds of ``nbgrader autograde``."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    start = time.perf_counter()
    command = ["nbgrader", "autograde", LESSON, "--force"]
    subprocess.run(
        command, cwd=course.root / "course", env=os.environ | {"PATH": path}, check=True, capture_output=True
    )
    return time.perf_counter() - start


def ours(course: Course, sandboxed: bool) -> float:
    """Seconds of grading with two workers."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "tlcore", "grade", LESSON, "--workers", "2"]
    command += [] if sandboxed else ["--no-sandbox"]
    subprocess.run(command, cwd=course.root, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=60)
    size = parser.parse_args().size
    if obstacle := probe():
        raise SystemExit(f"this benchmark needs the sandbox: {obstacle}")
    origin = find_course(Path(__file__).parent)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "stock").mkdir()
        (Path(folder) / "ours").mkdir()
        theirs, mine = (course_in(Path(folder) / name, origin) for name in ("stock", "ours"))
        class_ = list(submissions(mine, origin, size).items())
        third = -(-size // 3)
        batches = [dict(class_[i : i + third]) for i in range(0, size, third)]
        rows = []
        for batch in batches:
            hand_over(theirs, batch)
            hand_over(mine, batch)
            rows.append((len(batch), stock(theirs), ours(mine, True)))
        equal = scores(theirs) == scores(mine)
        plain = ours(mine, False)
    print(f"# Grading {size} submissions of lesson 02\n")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}. Seconds.\n"
    )
    print("| batch | submissions | nbgrader autograde | tlcore grade, sandboxed, judged, 2 workers | ratio |")
    print("|---|---|---|---|---|")
    for n, (count, slow, fast) in enumerate(rows, 1):
        print(f"| {n} | {count} | {slow:.1f} | {fast:.1f} | {fast / slow:.2f} |")
    slow, fast = sum(r[1] for r in rows), sum(r[2] for r in rows)
    print(f"| all | {size} | {slow:.1f} | {fast:.1f} | {fast / slow:.2f} |\n")
    print(
        f"The last batch without the sandbox: {plain:.1f} s; the sandbox costs a factor of {rows[-1][2] / plain:.2f}."
    )
    print(f"Scores equal: {'yes' if equal else 'NO'}.\n")
    figures = {
        "wall_ratio": round(fast / slow, 3),
        "sandbox_ratio": round(rows[-1][2] / plain, 3),
        "scores_equal": equal,
        "sandboxed": True,
        "judged": True,
        "submissions": size,
        "origin": "lesson 02, its solutions and known answers",
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
