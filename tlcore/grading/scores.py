"""What the gradebook says a student has, late penalties taken off, as nbgrader's own exporter does."""

from __future__ import annotations

from typing import Any

from nbgrader.api import Gradebook

from tlcore.grading.course import Course


def final_score(submission: Any) -> float:
    """Score of a submitted assignment less its late penalty, never below 0."""
    return max(0.0, float(submission.score) - float(submission.late_submission_penalty or 0))


def scores(course: Course) -> dict[str, dict[str, list[float]]]:
    """The gradebook as ``{student: {lesson: [score, max score]}}``."""
    with Gradebook(course.db_url) as book:
        table: dict[str, dict[str, list[float]]] = {}
        for assignment in book.assignments:
            for found in book.assignment_submissions(assignment.name):
                table.setdefault(found.student.id, {})[assignment.name] = [final_score(found), found.max_score]
        return table
