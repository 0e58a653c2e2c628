"""A run of the grader as a whole: killed and resumed, on a cluster, exported, graded again, with a class of two hundred."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor

import nbformat
import psutil
import pytest
from nbgrader.api import Gradebook

from tests.grading.conftest import LESSON
from tests.grading.test_attacks import left_over
from tests.grading.test_tidy import mutants
from tlcore.grading import grader
from tlcore.grading.answers import exercises, hand_in
from tlcore.grading.course import CourseError
from tlcore.grading.exports import export
from tlcore.grading.grader import grade
from tlcore.grading.report import write_report
from tlcore.grading.sandbox import probe
from tlcore.grading.scores import scores
from tlcore.grading.work import Done, Job, execute, no_longer_than
from tlcore.grading.workers import Workers

SANDBOXED = not probe()

ANSWERS = {
    "right": "def evens(numbers):\n    return sum(n % 2 == 0 for n in numbers)",
    "odd": "def evens(numbers):\n    return sum(n % 2 for n in numbers)",
    "constant": "def evens(numbers):\n    return 2",
    "broken": "def evens(numbers)\n    return 2",
}
DESERVED = {"right": 5, "odd": 3, "constant": 3, "broken": 2}


def hand_in_class(submit, size: int) -> dict[str, float]:
    kinds = list(ANSWERS)
    expected = {}
    for n in range(size):
        kind = kinds[n % len(kinds)]
        submit(f"student{n:03d}", evens=ANSWERS[kind])
        expected[f"student{n:03d}"] = DESERVED[kind]
    return expected


def start_grading(course) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tlcore", "grade", LESSON, "--workers", "2", "--resume"]
    if not SANDBOXED:
        command.append("--no-sandbox")
    return subprocess.Popen(
        command, cwd=course.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for one in family:
        try:
            one.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


def killed_and_resumed(course, expected: dict[str, float], kills: int, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(kills):
        process = start_grading(course)
        time.sleep(rng.uniform(1, 25))
        if process.poll() is None:
            kill_tree(process)
    process = start_grading(course)
    assert process.wait(timeout=600) == 0
    assert {s: found[LESSON][0] for s, found in scores(course).items()} == expected


def test_a_killed_run_resumes_to_the_same_gradebook(course, submit):
    killed_and_resumed(course, hand_in_class(submit, 8), kills=2, seed=1)


@pytest.mark.slow
def test_twenty_kills(course, submit):
    killed_and_resumed(course, hand_in_class(submit, 24), kills=20, seed=2)


def test_resuming_executes_nothing_again(course, submit):
    submit("one")
    assert [g.score for g in grade(course, [LESSON], sandboxed=SANDBOXED)] == [5]
    start = time.monotonic()
    assert [g.score for g in grade(course, [LESSON], sandboxed=SANDBOXED, resume=True)] == [5]
    assert time.monotonic() - start < 8
    submit("one", evens=ANSWERS["odd"])
    assert [g.score for g in grade(course, [LESSON], sandboxed=SANDBOXED, resume=True)] == [3]


def test_a_dask_cluster_gives_the_same_scores(course, submit):
    distributed = pytest.importorskip("distributed")
    expected = hand_in_class(submit, 4)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        found = {
            g.student: g.score
            for g in grade(course, [LESSON], sandboxed=SANDBOXED, scheduler=cluster.scheduler_address)
        }
    assert found == expected


def dies_for_the_culprit(job: Job) -> Done:
    """Stands for a worker that is killed: by the machine's lack of memory, say."""
    if job.student == "culprit":
        os._exit(1)
    return execute(job)


def test_a_worker_that_dies_costs_only_the_submission_it_held(course, submit, monkeypatch):
    monkeypatch.setattr(grader, "execute", dies_for_the_culprit)
    for student in ("aaa", "bbb", "culprit", "ddd", "eee"):
        submit(student)
    found = {g.student: (g.score, g.problem) for g in grade(course, [LESSON], sandboxed=SANDBOXED, workers=2)}
    assert found.pop("culprit") == (None, "the process that executed it died twice")
    assert found == dict.fromkeys(("aaa", "bbb", "ddd", "eee"), (5, ""))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system cannot bind processes to cores")
def test_workers_keep_to_their_own_cores():
    with Workers(2) as pool:
        seen = [future.result() for future in [pool.submit(cores_and_memory, n) for n in range(8)]]
    assert {len(cores) for cores, _ in seen} == {max(1, (os.cpu_count() or 1) // 2)}
    assert all(limit > 0 for _, limit in seen)


def cores_and_memory(n: int) -> tuple[set[int], int]:
    import resource

    time.sleep(0.2)
    return os.sched_getaffinity(0), resource.getrlimit(resource.RLIMIT_DATA)[0]


def test_a_worker_ends_when_its_time_is_up():
    with Workers(1) as pool, pytest.raises(BrokenExecutor):
        pool.submit(too_long).result(timeout=60)


def too_long() -> None:
    with no_longer_than(1):
        sum(n % 7 for n in range(10**10))


def test_a_missing_scheduler_gets_a_sentence(course, submit):
    submit("one")
    with pytest.raises(CourseError, match="no Dask scheduler answers at"):
        list(grade(course, [LESSON], sandboxed=SANDBOXED, scheduler="tcp://127.0.0.1:9"))


def test_manual_grades_and_comments_survive_regrading(course, submit):
    submit("one", evens=ANSWERS["odd"])
    list(grade(course, [LESSON], sandboxed=SANDBOXED))
    with Gradebook(course.db_url) as book:
        mark = book.find_grade("evens-check", LESSON, LESSON, "one")
        mark.manual_score = 2
        book.find_comment("evens", LESSON, LESSON, "one").manual_comment = "Well argued."
        book.db.commit()
    (again,) = grade(course, [LESSON], sandboxed=SANDBOXED)
    assert again.score == 4
    page = (course.feedback / "one" / LESSON / f"{LESSON}.html").read_text()
    assert "Well argued." in page


def test_late_penalties_are_nbgraders(course, submit):
    (submit("late").parent / "timestamp.txt").write_text("2030-01-02 00:00:00 UTC")
    config = course.root / "course" / "nbgrader_config.py"
    config.write_text(
        config.read_text()
        + '\nc.LateSubmissionPlugin.penalty_method = "zero"\nc.AssignLatePenalties.plugin_class = "nbgrader.plugins.latesubmission.LateSubmissionPlugin"\n'
    )
    list(grade(course, [LESSON], sandboxed=SANDBOXED))
    with Gradebook(course.db_url) as book:
        book.update_or_create_assignment(LESSON, duedate="2030-01-01 00:00:00 UTC")
    assert [g.score for g in grade(course, [LESSON], sandboxed=SANDBOXED)] == [0]


def test_exports_have_the_columns_their_importers_want(course, submit, tmp_path):
    hand_in_class(submit, 2)
    grades = list(grade(course, [LESSON], sandboxed=SANDBOXED))

    def table(kind: str) -> list[list[str]]:
        target = tmp_path / f"{kind}.csv"
        assert export(course, kind, target) == 2
        with target.open(newline="") as stream:
            return list(csv.reader(stream))

    canvas = table("canvas")
    assert canvas[0] == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", LESSON]
    assert canvas[1][0].strip() == "Points Possible" and canvas[1][5] == "5.0"
    assert {row[3]: row[5] for row in canvas[2:]} == {"student000": "5.0", "student001": "3.0"}
    moodle = table("moodle")
    assert moodle[0] == ["Username", "First name", "Last name", "Email address", LESSON]
    scope = table("gradescope")
    assert scope[0][:8] == [
        "Name",
        "SID",
        "Email",
        "Total Score",
        "Max Points",
        "Status",
        "Submission Time",
        "Lateness",
    ]
    assert f"{LESSON}: evens-check (2 pts)" in scope[0]
    assert {row[1]: row[3] for row in scope[1:]} == {"student000": "5.0", "student001": "3.0"}
    assert "student_id" in table("nbgrader")[0]
    with pytest.raises(CourseError, match="choose one of canvas"):
        export(course, "excel", tmp_path / "x.csv")
    page = write_report(course, LESSON, grades).read_text()
    assert "2 submissions graded" in page and "random lists, negative numbers too" in page


@pytest.mark.slow
def test_a_class_of_two_hundred_with_stable_memory(course, submit):
    expected = hand_in_class(submit, 200)
    me, sizes = psutil.Process(), []
    for number, one in enumerate(grade(course, [LESSON], sandboxed=SANDBOXED, workers=2)):
        assert one.score == expected[one.student]
        if number % 20 == 19:
            sizes.append(sum(p.memory_info().rss for p in [me, *me.children(recursive=True)] if p.name() != "bwrap"))
    assert max(sizes[5:]) < 1.3 * max(sizes[:5]), [s // 2**20 for s in sizes]
    assert not left_over() or os.getuid() != 0


def fuzzed(course, submit, solved, count: int, seed: int) -> None:
    """Grade mutants beside honest students: one line each, and the honest keep their score."""
    submit("aaa_honest")
    submit("zzz_honest")
    for n, data in enumerate(mutants(json.loads(nbformat.writes(solved)), count, seed)):
        submit(f"mutant{n:03d}", raw=data)
    found = {g.student: g for g in grade(course, [LESSON], sandboxed=SANDBOXED, workers=2)}
    assert len(found) == count + 2
    assert found["aaa_honest"].score == found["zzz_honest"].score == 5
    for one in found.values():
        assert "\n" not in one.problem and "\n" not in one.note
        assert (one.score is None) == bool(one.problem)


def test_a_few_mutants_through_a_whole_run(course, submit, source, release):
    fuzzed(course, submit, hand_in(release, exercises(source)), count=8, seed=3)


@pytest.mark.slow
def test_five_hundred_mutants_through_a_whole_run(course, submit, source, release):
    fuzzed(course, submit, hand_in(release, exercises(source)), count=500, seed=4)
