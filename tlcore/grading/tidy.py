"""A submitted notebook, made whole: whatever came, out comes the lesson's structure with the student's code in it.

The file is read as data, not trusted as a notebook. From each cell we keep its kind, its text and, on answer cells,
which exercise it answers. Check cells come from the lesson's source, so a check that was edited, retyped, duplicated or
deleted is as it was; so do points and locks. Everything else a student added to the file (tags, metadata, outputs) is
dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell
from nbgrader import utils

from tlcore.grading.course import CourseError
from tlcore.grading.lesson import KERNEL, is_check

_MAKERS = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
MAX_CELLS = 2000
MAX_CELL = 200_000
MAX_BYTES = 64 * 2**20


@dataclass
class Tidied:
    """A clean notebook, and one phrase for each thing that had to be mended."""

    notebook: NotebookNode
    mended: list[str] = field(default_factory=list)


def tidy(data: bytes, source: NotebookNode, name: str = "the notebook") -> Tidied:
    """Rebuild a submission along the lesson's `source`.

    Raises
    ------
    CourseError
        One sentence, if the bytes are no notebook, or one of another lesson.
    """
    if len(data) > 4 * MAX_BYTES:
        raise CourseError(f"{name} is larger than {4 * MAX_BYTES // 2**20} MB")
    cells = _cells(data, name)
    wanted = {c.metadata.nbgrader.grade_id: c for c in source.cells if "nbgrader" in c.metadata}
    if (longest := max((len(text) for _, text, _ in cells), default=0)) > MAX_CELL:
        raise CourseError(f"{name} has a cell of {longest:,} characters; {MAX_CELL:,} can be graded")
    found = [grade_id for _, _, grade_id in cells if grade_id]
    if not found:
        raise CourseError(f"{name} has no graded cells: it is not a copy of the released lesson")
    if not set(found) & set(wanted):
        raise CourseError(f"{name} belongs to another lesson")
    mended: list[str] = []
    checks = {i: c for i, c in wanted.items() if is_check(c)}
    kept = _answers(cells, {i: c for i, c in wanted.items() if i not in checks}, checks, mended)
    _insert_checks(kept, checks, {g: n for n, (_, _, g) in enumerate(cells) if g}, mended)
    notebook = new_notebook(cells=[cell for _, cell in kept], metadata={"kernelspec": KERNEL})
    for position, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{position:04d}"
    return Tidied(notebook, mended)


def _cells(data: bytes, name: str) -> list[tuple[str, str, str]]:
    """(kind, text, grade_id or "") of every cell, in any version of the format."""
    try:
        tree = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise CourseError(f"{name} is not a notebook that can be read: {str(error).splitlines()[0][:120]}") from None
    if type(tree) is not dict:
        raise CourseError(f"{name} is not a notebook that can be read: it holds no cells")
    raw = tree.get("cells")
    if raw is None and type(tree.get("worksheets")) is list:  # before version 4
        raw = [c for sheet in tree["worksheets"] if type(sheet) is dict for c in _list(sheet.get("cells"))]
    if type(raw) is not list or not raw:
        raise CourseError(f"{name} is not a notebook that can be read: it holds no cells")
    if len(raw) > MAX_CELLS:
        raise CourseError(f"{name} has {len(raw)} cells; {MAX_CELLS} can be graded")
    return [_cell(c) for c in raw if type(c) is dict]


def _cell(raw: dict[str, Any]) -> tuple[str, str, str]:
    kind = raw.get("cell_type")
    text = raw.get("source", raw.get("input", ""))
    lines = [line for line in _list(text) if type(line) is str]
    source = text if type(text) is str else "".join(lines)
    meta = raw.get("metadata")
    own = meta.get("nbgrader") if type(meta) is dict else None
    grade_id = own.get("grade_id") if type(own) is dict else None
    source = source.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be written
    return kind if kind in ("code", "markdown") else "raw", source, grade_id if type(grade_id) is str else ""


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []


def _answers(
    cells: list[tuple[str, str, str]],
    wanted: dict[str, NotebookNode],
    checks: dict[str, NotebookNode],
    mended: list[str],
) -> list[tuple[int, NotebookNode]]:
    """The student's cells with their number in the file; only the last of several answers keeps its name."""
    last = {g: n for n, (_, _, g) in enumerate(cells) if g in wanted}
    kept = []
    for n, (kind, text, grade_id) in enumerate(cells):
        if grade_id in checks:
            continue
        if grade_id in wanted and n == last[grade_id]:
            model = wanted[grade_id]
            if kind != model.cell_type:
                mended.append(f"cell {grade_id!r} had become {kind}")
            source = model.source if utils.is_locked(model) else text
            kept.append(
                (n, _MAKERS[model.cell_type](source=source, metadata={"nbgrader": dict(model.metadata.nbgrader)}))
            )
            continue
        if grade_id in wanted:
            mended.append(f"cell {grade_id!r} was there more than once")
            kind = wanted[grade_id].cell_type
        kept.append((n, _MAKERS[kind](source=text)))
    for grade_id in wanted.keys() - last.keys():
        mended.append(f"cell {grade_id!r} was missing")
    return kept


def _insert_checks(
    kept: list[tuple[int, NotebookNode]],
    checks: dict[str, NotebookNode],
    places: dict[str, int],
    mended: list[str],
) -> None:
    """Put each check cell where the student's copy stood, but never before the answer it checks."""
    end = 1 + max((n for n, _ in kept), default=0)
    targets = []
    for order, (grade_id, model) in enumerate(checks.items()):
        answer = grade_id.rpartition("-")[0]
        if grade_id not in places:
            mended.append(f"check {grade_id!r} was missing")
        place = max(places.get(grade_id, -1), places.get(answer, -1))
        targets.append((place if place >= 0 else end, order, model))
    fresh = [
        (place, order, new_code_cell(source=m.source, metadata={"nbgrader": dict(m.metadata.nbgrader)}))
        for place, order, m in targets
    ]
    both = [(n, -1, cell) for n, cell in kept] + fresh
    kept[:] = [(n, cell) for n, _, cell in sorted(both, key=lambda item: item[:2])]
