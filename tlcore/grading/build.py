"""From a lesson's source to the notebook students get: jupytext, then nbgrader's own generate_assignment.

Everything is made in a throw-away folder and moved into place at the end, so a failure leaves the course as it was.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.converters import GenerateAssignment
from nbgrader.converters.base import BaseConverter
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import SaveCells

from tlcore.grading.course import Course, CourseError, needs_extra
from tlcore.grading.lesson import problems, read_lesson


def build(course: Course, names: Iterable[str], done: Callable[[str], None] = lambda name: None) -> list[Path]:
    """Make the source notebook and the release of each lesson; return the released notebooks.

    Raises
    ------
    CourseError
        If a lesson breaks the contract of its exercises; nothing is written then.
    """
    needs_extra()
    made = []
    with tempfile.TemporaryDirectory(prefix="tlcore-") as folder:
        scratch = Course(course.root, Path(folder))
        for name in names:
            _write_source(course, scratch, name)
            _generate(scratch, name, record=False)
            for part, goal in ((scratch.source, course.source), (scratch.release, course.release)):
                target = goal / name / f"{name}.ipynb"
                put(target, (part / name / f"{name}.ipynb").read_bytes())
            made.append(target)
            done(name)
    return made


def record(course: Course, name: str) -> None:
    """Tell the gradebook about a lesson's cells; the released notebooks are not touched.

    Raises
    ------
    CourseError
        If graded cells were added, removed or renamed while the gradebook already has submissions.
    """
    needs_extra()
    if not (course.source / name / f"{name}.ipynb").is_file():
        build(course, [name])
    with tempfile.TemporaryDirectory(prefix="tlcore-") as folder:
        _generate(course, name, record=True, release=Path(folder))


def _write_source(course: Course, scratch: Course, name: str) -> None:
    nb = read_lesson(course.solutions / f"{name}.py")
    if faults := problems(nb):
        raise CourseError("\n".join(f"{name}: {fault}" for fault in faults))
    target = scratch.source / name / f"{name}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, target)


def _generate(course: Course, name: str, *, record: bool, release: Path | None = None) -> None:
    config = course.config()
    config.CourseDirectory.assignment_id = name
    if release:
        config.CourseDirectory.release_directory = str(release)
    if not record:
        defaults = GenerateAssignment.preprocessors.default_args[0]  # type: ignore[attr-defined]
        config.GenerateAssignment.preprocessors = [p for p in defaults if p is not SaveCells]
    config.GenerateAssignment.no_database = not record
    convert(GenerateAssignment, config, f"{name} cannot be generated")


def convert(kind: type[BaseConverter], config: Any, failed: str) -> None:
    """Run one of nbgrader's converters; its failure becomes one sentence that begins with `failed`."""
    with nbgrader_log() as said:
        try:
            kind(coursedir=CourseDirectory(config=config), config=config).start()
        except (Exception, SystemExit) as error:
            raise CourseError(f"{failed}: {_reason(said) or first_line(error)}") from error


def put(target: Path, data: bytes) -> None:
    """Write beside `target`, then rename; a file that is the same already stays as it is."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file() and target.read_bytes() == data:
        return
    beside = target.with_name(f"{target.name}.new")
    beside.write_bytes(data)
    os.replace(beside, target)


def first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


class _Memory(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def nbgrader_log() -> Iterator[list[str]]:
    """Collect what nbgrader logs instead of printing it."""
    from traitlets.log import get_logger

    log: Any = get_logger()
    memory, before, passes = _Memory(), list(log.handlers), log.propagate
    log.handlers, log.propagate = [memory], False
    try:
        yield memory.lines
    finally:
        log.handlers, log.propagate = before, passes


def _reason(said: list[str]) -> str:
    """Last line of the traceback that nbgrader logged, which names the cause."""
    traces = [text for text in said if text.startswith("Traceback")]
    return traces[-1].strip().splitlines()[-1] if traces else ""
