"""A lesson's one source, ``solutions/NN-slug.py``, read as a notebook and held to the contract of its checks."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import jupytext
from nbformat import NotebookNode
from nbgrader import utils

from tlcore.grading.course import CourseError
from tlcore.grading.forbid import free_names

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
BEGIN, END = "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"


def read_lesson(path: Path) -> NotebookNode:
    """Read a lesson in jupytext's percent format; the same text gives the same notebook, cell ids included."""
    try:
        nb = jupytext.read(path, fmt="py:percent")
    except (OSError, ValueError, SyntaxError) as error:
        raise CourseError(f"{path.name} cannot be read as a lesson: {error}") from error
    nb.nbformat, nb.nbformat_minor = 4, 5
    nb.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    for position, cell in enumerate(nb.cells):
        cell.metadata.pop("lines_to_next_cell", None)
        cell["id"] = cell.metadata.get("nbgrader", {}).get("grade_id") or f"cell-{position:03d}"
    return nb


def is_check(cell: NotebookNode) -> bool:
    """Tell whether a cell is graded by running it."""
    return bool(cell.cell_type == "code" and utils.is_grade(cell) and not utils.is_solution(cell))


def problems(nb: NotebookNode) -> list[str]:
    """List what breaks the contract of a lesson's exercises, one sentence each; empty when it is kept.

    An exercise ``x`` is a solution cell ``x``, a check cell ``x-check`` and at most one ``x-hidden``. A check cell
    imports all it uses, lists what the student defines in ``student_names``, ends with its `Checks`, and gives as
    many points as its metadata says.
    """
    found = []
    ids = [c.metadata.nbgrader.grade_id for c in nb.cells if "nbgrader" in c.metadata]
    found += [f"grade_id {i!r} appears twice" for i in sorted({i for i in ids if ids.count(i) > 1})]
    for cell in nb.cells:
        if utils.is_solution(cell) and not utils.is_grade(cell) and f"{cell.id}-check" not in ids:
            found.append(f"exercise {cell.id!r} has no check cell {cell.id + '-check'!r}")
        if is_check(cell):
            found += [f"check cell {cell.id!r} {fault}" for fault in _faults(cell, ids)]
    return found


def _faults(cell: NotebookNode, ids: list[str]) -> Iterator[str]:
    exercise, _, role = cell.id.rpartition("-")
    if role not in ("check", "hidden") or exercise not in ids:
        yield "should be named EXERCISE-check or EXERCISE-hidden, after the exercise's solution cell"
    try:
        tree = ast.parse(cell.source)
    except SyntaxError as error:
        yield f"is not valid Python: {error}"
        return
    listed, used = set(cell.metadata.get("student_names", [])), free_names(cell.source)
    if used != listed:
        yield (
            f"uses {sorted(used)} from outside but lists student_names={sorted(listed)}:"
            " import what is not the student's, list what is"
        )
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call)]
    names = {n.func.id for n in calls if isinstance(n.func, ast.Name)}
    for banned in sorted(names & {"isinstance", "issubclass"}):
        yield f"uses {banned}, which means nothing across a process boundary: compare values, or types by name"
    keywords = [k for call in calls for k in call.keywords]
    points = sum(ast.literal_eval(k.value) for k in keywords if k.arg == "points")
    if points != cell.metadata.nbgrader.points:
        yield f"gives {points:g} points, its metadata says {cell.metadata.nbgrader.points:g}"
    if not (tree.body and isinstance(tree.body[-1], ast.Expr) and isinstance(tree.body[-1].value, ast.Name)):
        yield "should end with its Checks, alone on the last line"
    hides = any(k.arg == "hidden" and getattr(k.value, "value", False) for k in keywords)
    if hides != (role == "hidden") or hides != (BEGIN in cell.source and END in cell.source):
        yield f"is hidden only in part: name -hidden, Checks(hidden=True) and {BEGIN} … {END} go together"
