"""From source to release: deterministic, held to its contract, never half written."""

from __future__ import annotations

import pytest

from tests.grading.conftest import LESSON
from tlcore.grading.build import build
from tlcore.grading.course import Course, CourseError, find_course
from tlcore.grading.lesson import problems, read_lesson


def test_building_twice_gives_the_same_bytes(course: Course):
    target = course.release / LESSON / f"{LESSON}.ipynb"
    first = target.read_bytes()
    target.unlink()
    build(course, [LESSON])
    assert target.read_bytes() == first


def test_release_has_neither_solutions_nor_hidden_tests(course: Course):
    text = (course.release / LESSON / f"{LESSON}.ipynb").read_text()
    assert "n % 2 == 0 for n" not in text
    assert "random lists" not in text
    assert "More lists, when your work is graded." in text


BROKEN = {
    "an import is missing": (
        'from tlcore.grading import Checks\n\nchecks = Checks("The',
        'checks = Checks("The',
        "import",
    ),
    "a name is not listed": ('student_names=["smallest"]', "student_names=[]", "lists student_names"),
    "points disagree": (
        '"points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["smallest"]',
        '"points": 3, "schema_version": 3, "solution": false, "task": false} student_names=["smallest"]',
        "gives 2 points",
    ),
    "isinstance is used": (
        "checks.equal(smallest([3, 1, 2]), 1,",
        "assert isinstance(1, int)\n    checks.equal(smallest([3, 1, 2]), 1,",
        "isinstance",
    ),
    "half hidden": ("hidden=True, ", "", "hidden only in part"),
    "a check cell is missing": (
        '"grade_id": "smallest-check"',
        '"grade_id": "tiniest-check"',
        "no check cell",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_contract_is_named_and_nothing_is_written(course: Course, name: str):
    old, new, sentence = BROKEN[name]
    path = course.solutions / f"{LESSON}.py"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    before = (course.release / LESSON / f"{LESSON}.ipynb").read_bytes()
    with pytest.raises(CourseError, match=sentence):
        build(course, [LESSON])
    assert (course.release / LESSON / f"{LESSON}.ipynb").read_bytes() == before


def test_the_fixture_keeps_the_contract(course: Course):
    assert problems(read_lesson(course.solutions / f"{LESSON}.py")) == []


def test_lessons_are_found_by_number_and_part(course: Course):
    assert course.find("1") == course.find("01") == course.find("count") == LESSON
    with pytest.raises(CourseError, match=f"no lesson '7'; there are: {LESSON}"):
        course.find("7")


def test_outside_a_course_there_is_a_sentence(tmp_path):
    with pytest.raises(CourseError, match="not inside a course"):
        find_course(tmp_path)
