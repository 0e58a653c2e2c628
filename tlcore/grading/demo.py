"""A small class that hands in every kind of work, graded in a root and gradebook of its own."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import nbformat

from tlcore.grading.answers import endless, exercises, hand_in, load_answers, points, points_of
from tlcore.grading.build import build
from tlcore.grading.course import Course, CourseError
from tlcore.grading.grader import Grade, grade

LESSON = "02-receptive-fields"


@dataclass(frozen=True)
class Student:
    """Member of the demo class: the answers handed in, and the score they must get (None: whatever it is)."""

    name: str
    answered: dict[str, str]
    expected: float | None


def demo_course(course: Course) -> Course:
    """The same lessons on a fresh desk, ``course/demo``."""
    desk = course.root / "course" / "demo"
    if desk.exists():
        for path in desk.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # nbgrader leaves read-only files behind
        shutil.rmtree(desk)
    desk.mkdir(parents=True)
    return Course(course.root, desk)


def students(course: Course, lesson: str) -> list[Student]:
    """The demo class for a built lesson."""
    source = nbformat.read(course.source / lesson / f"{lesson}.ipynb", as_version=4)
    solved, total = exercises(source), sum(points(source).values())
    names = list(solved)
    first, half = names[0], names[: (len(names) + 1) // 2]
    worth = {e: sum(points_of(source, e).values()) for e in names}
    answers = load_answers(course.root / "tests" / "lessons" / f"{lesson}.toml", source)
    wrong = next((a for a in answers if sum(a.expect.values()) < worth[a.exercise]), None)
    if wrong is None:
        raise CourseError(f"tests/lessons/{lesson}.toml has no wrong answer to show")
    off = total - worth[wrong.exercise] + sum(wrong.expect.values())
    return [
        Student("perfect", solved, total),
        Student("untouched", {}, 0),
        Student("partial", {e: solved[e] for e in half}, sum(worth[e] for e in half)),
        Student("off_by_one", solved | {wrong.exercise: wrong.code}, off),
        Student("syntax_error", solved | {first: solved[first].replace(":", "", 1)}, total - worth[first]),
        Student("endless_loop", solved | {first: endless(solved[first])}, total - worth[first]),
    ]


def run_demo(course: Course, lesson: str = LESSON, *, sandboxed: bool) -> Iterator[tuple[Student, Grade]]:
    """Build, hand in and grade; `course` comes from `demo_course`."""
    build(course, [lesson])
    released = nbformat.read(course.release / lesson / f"{lesson}.ipynb", as_version=4)
    members = students(course, lesson)
    for student in members:
        target = course.submitted / student.name / lesson / f"{lesson}.ipynb"
        target.parent.mkdir(parents=True)
        nbformat.write(hand_in(released, student.answered), target)
    by_name = {student.name: student for student in members}
    longest_first = sorted(by_name, key=lambda name: name != "endless_loop")
    for one in grade(course, [lesson], sandboxed=sandboxed, students=longest_first):
        yield by_name[one.student], one
