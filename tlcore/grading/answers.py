"""Answers to a lesson's exercises, right and wrong: what the proofs and the demo class hand in.

A lesson's known answers are one TOML file. Each names the misconception it shows and the points it deserves:

    [[answer]]
    exercise = "stack"
    name = "adds k instead of k - 1"
    expect = { stack-check = 1, stack-hidden = 0 }
    code = '''…'''

An answer with ``right = true`` is a correct one written differently and deserves all points.
"""

from __future__ import annotations

import ast
import copy
import tomllib
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbgrader import utils

from tlcore.grading.course import CourseError
from tlcore.grading.lesson import is_check


@dataclass(frozen=True)
class Answer:
    """One answer to one exercise and the points it deserves in each of its check cells."""

    exercise: str
    name: str
    code: str
    expect: dict[str, float]


def exercises(source: NotebookNode) -> dict[str, str]:
    """The model solution of each exercise, in order."""
    return {c.id: c.source for c in source.cells if utils.is_solution(c) and not utils.is_grade(c)}


def points(source: NotebookNode) -> dict[str, float]:
    """Points of each check cell, in order."""
    return {c.id: float(c.metadata.nbgrader.points) for c in source.cells if is_check(c)}


def points_of(source: NotebookNode, exercise: str) -> dict[str, float]:
    """Points of the check cells of one exercise."""
    return {cell: p for cell, p in points(source).items() if cell.rpartition("-")[0] == exercise}


def load_answers(path: Path, source: NotebookNode) -> list[Answer]:
    """Read a lesson's known answers and hold them to its exercises."""
    known, answers = exercises(source), []
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("answer", []):
        if entry["exercise"] not in known:
            raise CourseError(f"{path.name}: no exercise {entry['exercise']!r}; there are {', '.join(known)}")
        full = points_of(source, entry["exercise"])
        expect = full if entry.get("right") else {k: float(v) for k, v in entry["expect"].items()}
        if expect.keys() != full.keys():
            raise CourseError(f"{path.name}: {entry['name']!r} should expect points for {', '.join(full)}")
        answers.append(Answer(entry["exercise"], entry["name"], entry["code"].strip() + "\n", expect))
    return answers


def hand_in(release: NotebookNode, answered: dict[str, str]) -> NotebookNode:
    """Copy of a released lesson in which the named exercises are answered."""
    nb = copy.deepcopy(release)
    for cell in nb.cells:
        if utils.is_solution(cell) and cell.metadata.nbgrader.grade_id in answered:
            cell.source = answered[cell.metadata.nbgrader.grade_id]
    return nb


def endless(code: str) -> str:
    """The same functions with bodies that never end."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = ast.parse("while True: pass").body
    return ast.unparse(tree)
