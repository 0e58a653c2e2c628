"""The command line: what it prints, what it exits with; and stock nbgrader's own commands on the same folders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.grading.conftest import LESSON, course, release, source, submit  # noqa: F401  (fixtures)
from tlcore.grading.answers import exercises, hand_in
from tlcore.grading.sandbox import probe
from tlcore.grading.scores import scores

SANDBOX = [] if not probe() else ["--no-sandbox"]


def run(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"COLUMNS": "200", "PATH": path}
    return subprocess.run(words, cwd=root, capture_output=True, text=True, env=environment, timeout=300)


def tlcore(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return run(root, sys.executable, "-m", "tlcore", *words)


def test_check_has_an_honest_exit_code(course, source, release):  # noqa: F811
    path = course.release / LESSON / f"{LESSON}.ipynb"
    untouched = tlcore(course.root, "check", "1")
    assert untouched.returncode == 1
    assert "Not written yet." in untouched.stdout and "0 of 4 points" in untouched.stdout
    before = path.read_bytes()
    nbformat.write(hand_in(release, exercises(source)), path)
    solved = tlcore(course.root, "check", str(path))
    assert solved.returncode == 0, solved.stdout + solved.stderr
    assert "4 of 4 points in the visible checks" in solved.stdout
    path.write_bytes(before)
    wrong = tlcore(course.root, "check", "9")
    assert wrong.returncode == 2 and f"no lesson '9'; there are: {LESSON}" in wrong.stderr


def test_build_grade_and_export(course, submit):  # noqa: F811
    (course.release / LESSON / f"{LESSON}.ipynb").unlink()
    assert tlcore(course.root, "build").returncode == 0
    assert (course.release / LESSON / f"{LESSON}.ipynb").is_file()
    nothing = tlcore(course.root, "grade", "1", *SANDBOX)
    assert nothing.returncode == 2 and "nothing to grade" in nothing.stderr
    submit("ada")
    submit("bob", raw=b"{")
    graded = tlcore(course.root, "grade", "1", *SANDBOX)
    assert graded.returncode == 1
    assert "5 / 5" in graded.stdout and "is not a notebook that can be read" in graded.stdout
    assert (course.feedback / f"{LESSON}.html").is_file()
    exported = tlcore(course.root, "export", "--format", "canvas", "-o", "out.csv")
    assert exported.returncode == 0 and "ada" in (course.root / "out.csv").read_text()
    assert tlcore(course.root, "export", "--format", "excel").returncode == 2


def test_grading_without_a_sandbox_has_to_be_asked_for_by_name(course, submit):  # noqa: F811
    submit("ada")
    environment = os.environ | {"PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, "-m", "tlcore", "grade", "1"]
    refused = subprocess.run(command, cwd=course.root, capture_output=True, text=True, env=environment, timeout=60)
    assert refused.returncode == 2
    assert "bwrap is not installed" in refused.stderr.replace("\n", " ")
    assert not course.gradebook.exists()


def test_outside_a_course_there_is_a_sentence(tmp_path):
    told = tlcore(tmp_path, "build")
    assert told.returncode == 2 and "is not inside a course" in told.stderr.replace("\n", " ")


def test_doctor_says_what_there_is(course):  # noqa: F811
    found = tlcore(course.root, "doctor")
    assert found.returncode == 0
    for word in ("Python", "torch", "GPU", "course tools", "sandbox", "real data", "weights"):
        assert word in found.stdout


def test_stock_commands_work_on_the_same_folders(course, submit, source, release):  # noqa: F811
    desk = course.root / "course"
    generated = (course.release / LESSON / f"{LESSON}.ipynb").read_bytes()
    again = run(desk, "nbgrader", "generate_assignment", LESSON, "--force")
    assert again.returncode == 0, again.stderr
    assert (course.release / LESSON / f"{LESSON}.ipynb").read_bytes() == generated
    solved = submit("ada")
    submit("bob", nb=release)
    valid = run(desk, "nbgrader", "validate", str(solved))
    assert "Success" in valid.stdout
    invalid = run(desk, "nbgrader", "validate", str(course.release / LESSON / f"{LESSON}.ipynb"))
    assert "FAILED ON" in invalid.stdout
    assert run(desk, "nbgrader", "autograde", LESSON).returncode == 0
    assert scores(course) == {"ada": {LESSON: [5.0, 5.0]}, "bob": {LESSON: [0.0, 5.0]}}
    assert run(desk, "nbgrader", "generate_feedback", LESSON).returncode == 0
    assert (course.feedback / "ada" / LESSON / f"{LESSON}.html").is_file()


@pytest.mark.slow
def test_the_demo_gives_each_student_what_they_deserve():
    root = Path(__file__).parent.parent
    done = tlcore(root, "demo", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    table = json.loads(done.stdout.strip().splitlines()[-1])
    assert table["perfect"]["02-receptive-fields"] == [20.0, 20.0]
    assert table["untouched"]["02-receptive-fields"] == [0.0, 20.0]
