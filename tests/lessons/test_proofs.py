"""Four proofs per lesson, in both modes (stock nbgrader and judged) with equal scores per check.

The solution scores everything; the untouched lesson nothing; every known answer exactly the points it deserves;
and building the lesson again changes nothing.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.validator import Validator
from traitlets.config import Config

from tests.both_modes import both_modes, passed
from tests.stock import stock_autograde
from tlcore.grading.answers import Answer, exercises, hand_in, load_answers, points, points_of
from tlcore.grading.build import build
from tlcore.grading.course import Course, find_course
from tlcore.grading.flags import suspicious
from tlcore.grading.grader import check_results, grade
from tlcore.grading.lesson import is_check, read_lesson
from tlcore.grading.sandbox import probe

ROOT = find_course(Path(__file__).parent).root
LESSONS = find_course(ROOT).lessons()
SANDBOXED = not probe()
VALIDATED = LESSONS[:1]  # make test-slow takes them all


@pytest.fixture(scope="module", params=LESSONS)
def lesson(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def desk(lesson: str, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The lesson, built on a desk of its own."""
    desk = Course(ROOT, tmp_path_factory.mktemp(lesson))
    build(desk, [lesson])
    return desk


@pytest.fixture(scope="module")
def source(desk: Course, lesson: str) -> NotebookNode:
    return nbformat.read(desk.source / lesson / f"{lesson}.ipynb", as_version=4)


@pytest.fixture(scope="module")
def release(desk: Course, lesson: str) -> NotebookNode:
    return nbformat.read(desk.release / lesson / f"{lesson}.ipynb", as_version=4)


def submit(desk: Course, lesson: str, student: str, nb: NotebookNode) -> None:
    target = desk.submitted / student / lesson / f"{lesson}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, target)


def outcomes(desk: Course, lesson: str, student: str) -> dict[str, list[tuple[str, bool]]]:
    """Per check cell: the name of each check, and whether it passed."""
    results = check_results(desk.autograded / student / lesson / f"{lesson}.ipynb")
    return {cell: [(r["name"], r["passed"]) for r in found["results"]] for cell, found in results.items()}


def test_solution_scores_all_and_untouched_nothing_in_both_modes(lesson, desk, source, release):
    total = sum(points(source).values())
    submit(desk, lesson, "solution", hand_in(release, exercises(source)))
    submit(desk, lesson, "untouched", release)
    grades = {g.student: g for g in grade(desk, [lesson], sandboxed=SANDBOXED)}
    assert {s: (g.score, g.max_score, g.problem, g.flags) for s, g in grades.items()} == {
        "solution": (total, total, "", ()),
        "untouched": (0, total, "", ()),
    }
    judged = {s: outcomes(desk, lesson, s) for s in grades}
    assert set(judged["solution"]) == set(points(source))
    assert not _errors(desk.autograded / "solution" / lesson / f"{lesson}.ipynb")
    assert stock_autograde(desk, lesson) == {"solution": total, "untouched": 0}
    assert {s: outcomes(desk, lesson, s) for s in grades} == judged
    assert not _errors(desk.autograded / "solution" / lesson / f"{lesson}.ipynb")


def _errors(path: Path) -> list[str]:
    nb = nbformat.read(path, as_version=4)
    outputs = [o for c in nb.cells if c.cell_type == "code" for o in c.outputs]
    noise = [o.text for o in outputs if o.output_type == "stream" and o.name == "stderr"]
    return noise + [f"{o.ename}: {o.evalue}" for o in outputs if o.output_type == "error"]


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in VALIDATED else pytest.mark.slow) for n in LESSONS]
)
def test_stock_validate_tells_solved_from_untouched(name, tmp_path):
    desk = Course(ROOT, tmp_path)
    build(desk, [name])
    source, release = (nbformat.read(d / name / f"{name}.ipynb", as_version=4) for d in (desk.source, desk.release))
    for kind, nb, fine in (("solved", hand_in(release, exercises(source)), True), ("untouched", release, False)):
        path = tmp_path / f"{kind}.ipynb"
        nbformat.write(nb, path)
        config = Config()
        config.Execute.timeout = 60
        config.Execute.extra_arguments = ["--IPKernelApp.log_level=40"]
        config.Validator.ignore_checksums = not fine
        results = Validator(config=config).validate(str(path))
        assert (results == {}) is fine, results


def test_known_answers_score_what_they_deserve_in_both_modes(lesson, source):
    answers = load_answers(ROOT / "tests" / "lessons" / f"{lesson}.toml", source)
    cells = [c for c in source.cells if c.cell_type == "code"]
    checks = {c.id: c.source for c in cells if is_check(c)}
    wrong = []
    with both_modes(NBGRADER_EXECUTION="autograde", MPLBACKEND="agg") as modes:
        carried = False  # a right answer has already run what follows this exercise
        for cell in cells:
            if is_check(cell):
                continue
            if "nbgrader" in cell.metadata:
                carried = False
            if cell.id in exercises(source):
                for answer in (a for a in answers if a.exercise == cell.id):
                    modes.student(answer.code)
                    wrong += _judge_answer(modes, answer, checks, source)
                    if answer.expect == points_of(source, cell.id):
                        wrong += _carry_on(modes, answer, cells[cells.index(cell) + 1 :])
                        carried = True
                modes.student(cell.source)
            elif not carried:
                modes.student(cell.source)
    assert not wrong, "\n".join(wrong)


def _carry_on(modes, answer: Answer, cells: list[NotebookNode]) -> list[str]:
    """Run what follows a right answer, up to the next exercise: the lesson must go on with it."""
    faults = []
    for cell in (c for c in cells if not is_check(c)):
        if "nbgrader" in cell.metadata:
            break
        errors = [o for o in modes.student(cell.source) if o["output_type"] == "error"]
        faults += [f"{answer.name}: {o['ename']}: {o['evalue']} in {cell.source[:60]!r}" for o in errors]
    return faults


def _judge_answer(modes, answer: Answer, checks: dict[str, str], source: NotebookNode) -> list[str]:
    faults = []
    for cell, deserved in answer.expect.items():
        stock, judged = modes.stock(checks[cell]), modes.judged(checks[cell])
        scores = [float(next(o["data"]["text/plain"] for o in outs if "data" in o)) for outs in (stock, judged)]
        if passed(stock) != passed(judged) or scores != [deserved, deserved]:
            faults.append(f"{answer.name}: {cell} deserves {deserved:g}, got {scores}: {passed(judged)}")
    return faults


def test_known_answers_raise_no_flag(lesson, source):
    cells = [nbformat.v4.new_code_cell(a.code) for a in load_answers(ROOT / "tests" / "lessons" / f"{lesson}.toml", source)]
    cells += [c for c in source.cells if c.cell_type == "code"]
    assert list(suspicious(nbformat.v4.new_notebook(cells=cells))) == []


def test_there_are_three_wrong_answers_and_a_right_one_per_exercise(lesson, source):
    answers = load_answers(ROOT / "tests" / "lessons" / f"{lesson}.toml", source)
    for exercise in exercises(source):
        mine = [a for a in answers if a.exercise == exercise]
        right = [a for a in mine if a.expect == points_of(source, exercise)]
        assert len(mine) - len(right) >= 3 and right, exercise


def test_building_again_gives_no_diff(lesson, desk):
    committed = ROOT / "lessons" / lesson / f"{lesson}.ipynb"
    assert committed.read_bytes() == (desk.release / lesson / f"{lesson}.ipynb").read_bytes(), "run make lessons"


def test_exercises_are_worth_twenty_points(lesson):
    nb = read_lesson(ROOT / "solutions" / f"{lesson}.py")
    assert len(exercises(nb)) >= 5
    assert sum(points(nb).values()) == 20


def test_cells_are_short(lesson):
    nb = read_lesson(ROOT / "solutions" / f"{lesson}.py")
    shown = [c for c in nb.cells if c.cell_type == "code" and "nbgrader" not in c.metadata]
    long = [c.source for c in shown if len([line for line in c.source.splitlines() if line.strip()]) > 14]
    assert not long, long


def test_every_released_lesson_has_a_source():
    released = sorted(p.name for p in (ROOT / "lessons").iterdir() if p.is_dir())
    assert released == LESSONS
