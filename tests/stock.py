"""Stock nbgrader, unchanged: its own Autograde with its own Execute, on a course's configuration."""

from __future__ import annotations

from nbgrader.converters import Autograde
from nbgrader.coursedir import CourseDirectory

from tlcore.grading.build import nbgrader_log, record
from tlcore.grading.course import Course
from tlcore.grading.scores import scores


def stock_autograde(course: Course, lesson: str) -> dict[str, float]:
    """Autograde all submissions of a lesson as `nbgrader autograde LESSON` does; return the scores."""
    record(course, lesson)
    config = course.config()
    config.CourseDirectory.assignment_id = lesson
    config.Autograde.force = True
    with nbgrader_log():
        Autograde(coursedir=CourseDirectory(config=config), config=config).start()
    return {student: found[lesson][0] for student, found in scores(course).items()}
