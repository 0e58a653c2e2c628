"""No attack earns a point it does not deserve or harms another submission, and each ends in bounded time."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import nbformat
import psutil
import pytest

from tests.grading.conftest import LESSON
from tlcore.grading.flags import suspicious
from tlcore.grading.grader import Grade, grade
from tlcore.grading.scores import scores

ATTACKS = sorted((Path(__file__).parent / "attacks").glob("*.py"))
SECONDS_EACH = 90
LEAKS = ("GRADEBOOK", "FOUND", "REACHED", "GOT ", "CANARY")


def hand_in_all(submit, attacks: list[Path]) -> None:
    submit("aaa_honest")
    submit("zzz_honest")
    for path in attacks:
        submit(path.stem, evens=path.read_text(), smallest="raise NotImplementedError")


def printed(course, student: str) -> str:
    nb = nbformat.read(course.autograded / student / LESSON / f"{LESSON}.ipynb", as_version=4)
    outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
    return "".join(str(o.get("text", "")) + str(o.get("evalue", "")) for o in outputs)


def left_over() -> list[psutil.Process]:
    """Processes of the users that sandboxes run as: ours, and those that nobody looks after (not other tests')."""
    me, found = psutil.Process(), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.uids().real >= 200_000:
                above = process.parents()
                if me in above or not any("pytest" in " ".join(p.cmdline()) for p in above):
                    found.append(process)
    return found


def run(course, submit, attacks: list[Path]) -> dict[str, Grade]:
    hand_in_all(submit, attacks)
    start = time.monotonic()
    found = {g.student: g for g in grade(course, [LESSON], sandboxed=True, workers=2)}
    assert time.monotonic() - start < SECONDS_EACH * (1 + len(attacks) / 2)
    return found


def verdicts(course, found: dict[str, Grade], attacks: list[Path]) -> list[str]:
    wrong = []
    for student in ("aaa_honest", "zzz_honest"):
        if found[student].score != 5:
            wrong.append(f"{student} was harmed: {found[student]}")
    for path in attacks:
        one = found[path.stem]
        if one.problem:
            wrong.append(f"{path.stem} was not graded: {one.problem}")
            continue
        if one.score != 0:
            wrong.append(f"{path.stem} earned {one.score}")
        wrong += [f"{path.stem} printed {leak}" for leak in LEAKS if leak in printed(course, path.stem)]
    return wrong


def test_there_are_more_than_thirty():
    assert len(ATTACKS) >= 30


@pytest.mark.slow
def test_all_attacks(course, submit, sandbox):
    found = run(course, submit, ATTACKS)
    assert verdicts(course, found, ATTACKS) == []
    assert scores(course)["zzz_honest"] == {LESSON: [5.0, 5.0]}
    assert not left_over()
    assert not list(Path("/tmp").glob("tk-*/s-*"))


SAMPLE = [
    "always_equal",
    "forged_agent",
    "gradebook_write",
    "fork_bomb_at_once",
    "network",
    "huge_reply",
    "stops_process",
    "nested_folders",
]


def test_a_sample_of_attacks(course, submit, sandbox):
    attacks = [p for p in ATTACKS if p.stem in SAMPLE]
    assert len(attacks) == len(SAMPLE)
    assert verdicts(course, run(course, submit, attacks), attacks) == []


def test_links_out_of_the_folder_are_not_followed(course, submit, sandbox):
    target = submit("honest")
    thief = course.submitted / "thief" / LESSON
    thief.mkdir(parents=True)
    (thief / f"{LESSON}.ipynb").symlink_to(target)
    curious = submit("curious", smallest="print(open('stolen').read())").parent
    (curious / "stolen").symlink_to(target)
    (course.submitted / "mirror").symlink_to(course.submitted / "honest")
    found = {g.student: g for g in grade(course, [LESSON], sandboxed=True)}
    assert set(found) == {"honest", "thief", "curious"}
    assert "no notebook was handed in" in found["thief"].problem
    assert "FileNotFoundError" in str(nbformat.read(course.autograded / "curious" / LESSON / f"{LESSON}.ipynb", 4))


def test_feedback_leaks_neither_hidden_inputs_nor_sources(course, submit, sandbox):
    spy = (
        "seen = []\ndef evens(numbers):\n    seen.append(list(numbers))\n"
        "    if len(seen) > 2: raise ValueError('SPY' + str(numbers))\n    return 7"
    )
    submit("spy", evens=spy, smallest="print('SPY', seen)\nraise ValueError('SPY' + str(seen))")
    late = "def smallest(numbers):\n    if numbers: return 'SPY' + str(seen)\n    raise KeyError('SPY' + str(seen))"
    submit("late_spy", evens=spy, smallest=late)
    assert [g.score for g in grade(course, [LESSON], sandboxed=True)] == [0, 0]
    later = (course.feedback / "late_spy" / LESSON / f"{LESSON}.html").read_text()
    assert (
        "SPY[" not in later.replace("&#39;", "") and "run this cell to see it" in later and "Raise ValueError" in later
    )
    page = (course.feedback / "spy" / LESSON / f"{LESSON}.html").read_text()
    assert "random lists, negative numbers too" in page
    assert "Do negative numbers work?" in page
    shown = page.replace("&#39;", "'").replace("'SPY' + str", "").replace("print('SPY'", "")
    assert "SPY[" not in shown and "rng()" not in shown and "integers(-50" not in shown


def test_a_long_cell_is_cut_in_the_page(course, submit, sandbox):
    submit("long", evens="def evens(numbers):\n    return 2\n" + "# \\begin{a}\n" * 9000)
    start = time.monotonic()
    (graded,) = grade(course, [LESSON], sandboxed=True)
    assert graded.score == 3 and time.monotonic() - start < 60
    assert "the rest of this cell is not shown" in (course.feedback / "long" / LESSON / f"{LESSON}.html").read_text()


HONEST = [
    "# the gradebook and /proc/cpuinfo, see ast_transformers\nx = 3  # os.kill",
    "data = open('../../data/digits.csv')",
    "text = 'a # b'\nprint(text)",
]
TAMPERING = [
    "x = 1; open('/proc/self/maps')",
    "open('../../submitted/other/x')",
    "import ctypes  # harmless",
    "x = [1,\n",
    "_ih[-1]",
]


def test_comments_and_data_folders_are_no_signs():
    cell = nbformat.v4.new_code_cell
    assert list(suspicious(nbformat.v4.new_notebook(cells=[cell(text) for text in HONEST]))) == []
    assert [f.cell for f in suspicious(nbformat.v4.new_notebook(cells=[cell(t) for t in TAMPERING]))] == [0, 1, 2, 4]


def test_flags_name_what_looks_like_tampering_and_spare_the_honest(course, submit, sandbox):
    attacks = [p for p in ATTACKS if p.stem in ("asserts_removed", "gradebook_write", "forged_reply")]
    found = run(course, submit, attacks)
    assert all(found[p.stem].flags for p in attacks)
    assert not found["aaa_honest"].flags
