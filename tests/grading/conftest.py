from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest

from tlcore.grading.answers import exercises, hand_in
from tlcore.grading.build import build
from tlcore.grading.course import Course

FIXTURE = Path(__file__).parent / "fixture"
LESSON = "01-counting"


@pytest.fixture
def course(tmp_path: Path) -> Course:
    """A fresh copy of the torch-free fixture course, built."""
    root = tmp_path / "course-root"
    shutil.copytree(FIXTURE, root)
    course = Course(root)
    build(course, [LESSON])
    return course


@pytest.fixture
def source(course: Course):
    return nbformat.read(course.source / LESSON / f"{LESSON}.ipynb", as_version=4)


@pytest.fixture
def release(course: Course):
    return nbformat.read(course.release / LESSON / f"{LESSON}.ipynb", as_version=4)


@pytest.fixture
def submit(course: Course, source, release) -> Callable[..., Path]:
    """Hand in for a student: solved, with some exercises replaced, or raw text under any file name."""

    def hand(
        student: str, *, raw: bytes | None = None, name: str = f"{LESSON}.ipynb", nb=None, **replaced: str
    ) -> Path:
        target = course.submitted / student / LESSON / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if raw is None:
            nbformat.write(nb or hand_in(release, exercises(source) | replaced), target)
        else:
            target.write_bytes(raw)
        return target

    return hand
