"""The student's own look: run a lesson's visible checks on their notebook, judged as when it is graded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from traitlets.config import Config

from tlcore.grading.course import CourseError, needs_extra
from tlcore.grading.execute import JudgedExecute
from tlcore.grading.judge import bundle
from tlcore.grading.lesson import is_check


@dataclass(frozen=True)
class Checked:
    """One check cell: what its checks said, or in `error` why none could run."""

    exercise: str
    results: list[dict[str, Any]]
    points: float
    error: str = ""

    @property
    def score(self) -> float:
        return float(sum(r["points"] for r in self.results if r["passed"]))


def check_notebook(
    path: Path, config: Config | None = None, step: Callable[[int, int], None] = lambda done, of: None
) -> list[Checked]:
    """Run a notebook from top to bottom and report every visible check cell; the file is not changed.

    Parameters
    ----------
    step
        Told after each cell how many of how many are done.
    """
    needs_extra()
    try:
        nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except FileNotFoundError:
        raise CourseError(f"there is no notebook {path}") from None
    except Exception as error:
        raise CourseError(f"{path} is not a notebook that can be read: {error}") from None
    checks = [c for c in nb.cells if is_check(c) and "Checks(" in c.source]
    if not checks:
        raise CourseError(f"{path.name} has no check cells: it is not a copy of a released lesson")
    execute = JudgedExecute(config=config or Config())
    execute.step = lambda index: step(index + 1, len(nb.cells))
    execute.preprocess(nb, {"metadata": {"path": str(path.parent)}})
    return [_checked(cell) for cell in checks]


def _checked(cell: Any) -> Checked:
    meta, found = cell.metadata.nbgrader, bundle(cell.outputs)
    error = next((f"{o.ename}: {o.evalue}" for o in cell.outputs if o.output_type == "error"), "")
    exercise = meta.grade_id.rpartition("-")[0]
    return Checked(exercise, found["results"] if found else [], float(meta.points), error)
