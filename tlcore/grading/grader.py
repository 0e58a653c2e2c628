"""Grades submissions: nbgrader's autograde with the judge in place of its Execute, one submission at a time.

A submission that cannot be graded gets one line that says why; the others are graded all the same.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde, GenerateFeedback
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import Execute

from tlcore.grading.build import nbgrader_log, reason, record
from tlcore.grading.course import Course, CourseError, needs_extra
from tlcore.grading.execute import JudgedExecute
from tlcore.grading.judge import bundle
from tlcore.grading.lesson import is_check


@dataclass(frozen=True)
class Grade:
    """One submission: its score, or in `problem` the sentence that says why it has none; `note` says what we mended."""

    student: str
    lesson: str
    score: float | None
    max_score: float
    problem: str = ""
    note: str = ""


def submissions(course: Course, lesson: str) -> list[str]:
    """Students who handed in something for `lesson`."""
    return sorted(p.parent.name for p in course.submitted.glob(f"*/{lesson}") if p.is_dir())


def grade(
    course: Course, lessons: Iterable[str], *, judged: bool = True, students: Iterable[str] | None = None
) -> Iterator[Grade]:
    """Grade every submission of `lessons`, yielding each result as it is known.

    Parameters
    ----------
    judged
        Run check cells outside the student's process. False is nbgrader's own way.
    students
        Only these; default all who handed in.
    """
    needs_extra()
    for lesson in lessons:
        record(course, lesson)
        chosen = submissions(course, lesson) if students is None else list(students)
        for student in chosen:
            yield grade_one(course, lesson, student, judged=judged)


def grade_one(course: Course, lesson: str, student: str, *, judged: bool = True) -> Grade:
    """Autograde one submission from a cleaned copy, and write its feedback."""
    with tempfile.TemporaryDirectory(prefix="tlcore-") as folder:
        try:
            note = _stage(course, lesson, student, Path(folder))
            _autograde(course, lesson, student, Path(folder), judged)
        except CourseError as problem:
            return Grade(student, lesson, None, _max_score(course, lesson), str(problem))
    _feedback(course, lesson, student)
    with Gradebook(course.db_url) as book:
        found = book.find_submission(lesson, student)
        return Grade(student, lesson, found.score, found.max_score, note=note)


def _stage(course: Course, lesson: str, student: str, stage: Path) -> str:
    """Copy a submission to where it will be graded, under its right name; raise a sentence if that cannot be."""
    origin = course.submitted / student / lesson
    wanted = f"{lesson}.ipynb"
    notebooks = sorted(p for p in origin.glob("*.ipynb") if p.is_file())
    right = [p for p in notebooks if p.name == wanted]
    if not notebooks:
        raise CourseError(f"no notebook was handed in; {wanted} is expected")
    if not right and len(notebooks) > 1:
        names = ", ".join(p.name for p in notebooks)
        raise CourseError(f"cannot tell which notebook to grade: {names}; {wanted} is expected")
    chosen = (right or notebooks)[0]
    _inspect(chosen, course, lesson)
    target = stage / student / lesson
    shutil.copytree(origin, target, ignore=shutil.ignore_patterns("*.ipynb", ".ipynb_checkpoints"))
    shutil.copyfile(chosen, target / wanted)
    return "" if right else f"{chosen.name} was graded as {wanted}"


def _inspect(path: Path, course: Course, lesson: str) -> None:
    try:
        nb = nbformat.reads(path.read_text(encoding="utf-8"), as_version=4)
    except (ValueError, KeyError, AttributeError, TypeError, OSError, nbformat.reader.NotJSONError) as error:
        raise CourseError(f"{path.name} is not a notebook that can be read: {_first_line(error)}") from None
    here = {c.metadata.get("nbgrader", {}).get("grade_id") for c in nb.cells} - {None}
    if not here:
        raise CourseError(f"{path.name} has no graded cells: it is not a copy of the released lesson")
    if not here & _grade_ids(course, lesson):
        raise CourseError(f"{path.name} belongs to another lesson, not to {lesson}")


def _autograde(course: Course, lesson: str, student: str, stage: Path, judged: bool) -> None:
    config = course.config()
    config.CourseDirectory.assignment_id, config.CourseDirectory.student_id = lesson, student
    config.CourseDirectory.submitted_directory = str(stage)
    config.Autograde.force = True
    if judged:
        default = Autograde.autograde_preprocessors.default_args[0]  # type: ignore[attr-defined]
        config.JudgedExecute.merge(config.Execute)
        config.Autograde.autograde_preprocessors = [JudgedExecute if p is Execute else p for p in default]
    with nbgrader_log() as said:
        try:
            Autograde(coursedir=CourseDirectory(config=config), config=config).start()
        except (Exception, SystemExit) as error:
            raise CourseError(f"could not be graded: {reason(said) or _first_line(error)}") from error


def _feedback(course: Course, lesson: str, student: str) -> None:
    config = course.config()
    config.CourseDirectory.assignment_id, config.CourseDirectory.student_id = lesson, student
    config.GenerateFeedback.force = True
    with nbgrader_log():
        GenerateFeedback(coursedir=CourseDirectory(config=config), config=config).start()


def scores(course: Course) -> dict[str, dict[str, list[float]]]:
    """The gradebook as ``{student: {lesson: [score, max score]}}``."""
    with Gradebook(course.db_url) as book:
        table: dict[str, dict[str, list[float]]] = {}
        for assignment in book.assignments:
            for found in book.assignment_submissions(assignment.name):
                table.setdefault(found.student.id, {})[assignment.name] = [found.score, found.max_score]
        return table


def check_results(notebook: Path) -> dict[str, dict[str, Any]]:
    """Per check cell of an autograded notebook: title and results, as the checks reported them."""
    nb = nbformat.read(notebook, as_version=4)
    found = {c.metadata.nbgrader.grade_id: bundle(c.outputs) for c in nb.cells if is_check(c)}
    return {name: result for name, result in found.items() if result}


def _grade_ids(course: Course, lesson: str) -> set[str]:
    source = json.loads((course.source / lesson / f"{lesson}.ipynb").read_text(encoding="utf-8"))
    return {c["metadata"]["nbgrader"]["grade_id"] for c in source["cells"] if "nbgrader" in c["metadata"]}


def _max_score(course: Course, lesson: str) -> float:
    with Gradebook(course.db_url) as book:
        try:
            return float(book.find_assignment(lesson).max_score)
        except MissingEntry:
            return 0.0


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
