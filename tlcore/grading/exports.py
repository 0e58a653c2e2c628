"""The gradebook as a table for a learning management system, column for column as its importer wants it.

| format | columns |
| --- | --- |
| ``canvas`` | Student, ID, SIS User ID, SIS Login ID, Section, one per lesson; first row: points possible |
| ``moodle`` | Username, First name, Last name, Email address, one per lesson |
| ``gradescope`` | Name, SID, Email, Total Score, Max Points, Status, Submission Time, Lateness, one per exercise |
| ``nbgrader`` | what ``nbgrader export`` writes |
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook
from nbgrader.plugins import CsvExportPlugin

from tlcore.grading.course import Course, CourseError, needs_extra
from tlcore.grading.scores import final_score

FORMATS = ("canvas", "moodle", "gradescope", "nbgrader")
Row = list[object]


def export(course: Course, kind: str, target: Path, lessons: list[str] | None = None) -> int:
    """Write the grades of `lessons` (default: all in the gradebook) to `target`; return the number of rows.

    Raises
    ------
    CourseError
        If the format is not known, or the gradebook holds no grades of these lessons.
    """
    needs_extra()
    if kind not in FORMATS:
        raise CourseError(f"export format {kind!r}: choose one of {', '.join(FORMATS)}")
    if not course.gradebook.is_file():
        raise CourseError(f"there is no gradebook {course.gradebook.name} yet: grade something first")
    beside = target.with_name(target.name + ".new")
    with Gradebook(course.db_url) as book:
        known = [a.name for a in book.assignments]
        wanted = known if lessons is None else [name for name in lessons if name in known]
        if not wanted:
            raise CourseError(f"the gradebook holds no grades of {', '.join(lessons or ['any lesson'])}")
        if kind == "nbgrader":
            CsvExportPlugin(to=str(beside), assignment=wanted).export(book)
            count = len(beside.read_text(encoding="utf-8").splitlines()) - 1
        else:
            rows = list({"canvas": _canvas, "moodle": _moodle, "gradescope": _gradescope}[kind](book, wanted))
            with beside.open("w", newline="", encoding="utf-8") as stream:
                csv.writer(stream).writerows(rows)
            count = len(rows) - (2 if kind == "canvas" else 1)
    os.replace(beside, target)
    return count


def _canvas(book: Gradebook, lessons: list[str]) -> Iterator[Row]:
    yield ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", *lessons]
    points = [float(book.find_assignment(name).max_score) for name in lessons]
    yield ["    Points Possible", "", "", "", "", *points]
    for student in book.students:
        name = ", ".join(filter(None, [student.last_name, student.first_name])) or student.id
        yield [name, student.lms_user_id or "", student.id, student.id, "", *_scores(book, student.id, lessons)]


def _moodle(book: Gradebook, lessons: list[str]) -> Iterator[Row]:
    yield ["Username", "First name", "Last name", "Email address", *lessons]
    for s in book.students:
        names = [s.id, s.first_name or "", s.last_name or "", s.email or ""]
        yield [*names, *_scores(book, s.id, lessons)]


def _gradescope(book: Gradebook, lessons: list[str]) -> Iterator[Row]:
    cells = [(lesson, c) for lesson in lessons for n in book.find_assignment(lesson).notebooks for c in n.grade_cells]
    titles = [f"{lesson}: {c.name} ({c.max_score:g} pts)" for lesson, c in cells]
    yield ["Name", "SID", "Email", "Total Score", "Max Points", "Status", "Submission Time", "Lateness", *titles]
    total = sum(float(book.find_assignment(name).max_score) for name in lessons)
    for s in book.students:
        found = {a.assignment.name: a for a in s.submissions if a.assignment.name in lessons}
        grades = {(a, g.cell.name): g.score for a, sub in found.items() for n in sub.notebooks for g in n.grades}
        name = " ".join(filter(None, [s.first_name, s.last_name])) or s.id
        times = [sub.timestamp for sub in found.values() if sub.timestamp]
        late = int(sum(sub.total_seconds_late for sub in found.values()))
        status = "Graded" if found else "Missing"
        score: object = sum(map(final_score, found.values())) if found else ""
        lateness = f"{late // 3600:02d}:{late // 60 % 60:02d}:{late % 60:02d}"
        own: Row = [grades.get((lesson, c.name), "") for lesson, c in cells]
        yield [name, s.id, s.email or "", score, total, status, max(times, default=""), lateness, *own]


def _scores(book: Gradebook, student: str, lessons: list[str]) -> list[Any]:
    found = {a.assignment.name: final_score(a) for a in book.find_student(student).submissions}
    return [found.get(name, "") for name in lessons]
