"""Grading a folder of submissions: what is right gets its points, what is broken gets its sentence."""

from __future__ import annotations

import json
import os

import nbformat
import pytest

from tests.grading.conftest import LESSON
from tests.stock import stock_autograde
from tlcore.grading.answers import hand_in, load_answers
from tlcore.grading.course import CourseError
from tlcore.grading.grader import check_results, grade
from tlcore.grading.sandbox import probe
from tlcore.grading.scores import scores

SANDBOXED = not probe()


def graded(course, **options):
    options.setdefault("sandboxed", SANDBOXED)
    return {g.student: g for g in grade(course, [LESSON], **options)}


def test_scores_are_the_ones_deserved_in_both_modes(course, submit, source, release):
    (wrong,) = load_answers(course.root / "answers.toml", source)
    submit("perfect")
    submit("untouched", nb=release)
    submit(
        "half",
        nb=hand_in(release, {"evens": "def evens(numbers):\n    return sum(n % 2 == 0 for n in numbers)"}),
    )
    submit("wrong", evens=wrong.code)
    expected = {"perfect": 5, "untouched": 0, "half": 3, "wrong": 3}
    results = []
    for scored in (lambda: {s: g.score for s, g in graded(course).items()}, lambda: stock_autograde(course, LESSON)):
        assert scored() == expected
        results.append({s: check_results(course.autograded / s / LESSON / f"{LESSON}.ipynb") for s in expected})
    outcome = [
        {s: {c: [(r["name"], r["passed"]) for r in v["results"]] for c, v in cells.items()} for s, cells in r.items()}
        for r in results
    ]
    assert outcome[0] == outcome[1]
    assert scores(course)["wrong"] == {LESSON: [3.0, 5.0]}
    assert (course.feedback / "perfect" / LESSON / f"{LESSON}.html").is_file()


def test_broken_submissions_get_a_sentence_and_the_rest_is_graded(course, submit, release):
    submit("good")
    (course.submitted / "no_notebook" / LESSON).mkdir(parents=True)
    submit("not_json", raw=b"{not json")
    submit("not_text", raw=b"\xff\xfe\x00\x80")
    submit("not_a_notebook", raw=b"[1, 2]")
    plain = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1")])
    submit("no_cells", nb=plain)
    other = json.loads(nbformat.writes(release).replace("evens", "odds").replace("smallest", "largest"))
    submit("other_lesson", nb=nbformat.from_dict(other))
    submit("renamed", name="my homework.ipynb")
    submit("two", name="a.ipynb")
    submit("two", name="b.ipynb")
    submit("surrogate", evens="def evens(numbers): raise ValueError('bad \\ud800')")
    (submit("odd_file").parent / os.fsdecode(b"bad\xff.txt")).write_text("x")
    unknown = nbformat.from_dict(json.loads(nbformat.writes(release)))
    unknown.metadata.kernelspec.name = "no-such-kernel"
    submit("unknown_kernel", nb=unknown)
    found = graded(course)
    says = {s: g.problem for s, g in found.items()}
    assert found["surrogate"].score == 2 and found["odd_file"].score == 5
    assert found["good"].score == 5 and says["good"] == ""
    assert found["renamed"].score == 5 and "my homework.ipynb was graded" in found["renamed"].note
    assert found["unknown_kernel"].score == 0 and says["unknown_kernel"] == ""
    assert "no notebook was handed in" in says["no_notebook"]
    for broken in ("not_json", "not_text", "not_a_notebook"):
        assert "cannot be read" in says[broken] or "not a notebook that can be read" in says[broken], says[broken]
    assert "no graded cells" in says["no_cells"]
    assert "another lesson" in says["other_lesson"]
    assert "cannot tell which notebook" in says["two"]
    assert all("\n" not in sentence for sentence in says.values())


def test_syntax_error_and_endless_loop_cost_only_their_exercise(course, submit):
    submit("syntax_error", evens="def evens(numbers)\n    return 1")
    submit("endless_loop", smallest="def smallest(numbers):\n    while True: pass")
    submit("endless_cell", smallest="while True: pass")
    submit("dead_kernel", smallest="import os\nos._exit(0)")
    submit("dead_later", smallest="import os\ndef smallest(numbers):\n    os._exit(0)")
    found = graded(course)
    assert {s: (g.score, g.problem) for s, g in found.items()} == {
        "syntax_error": (2, ""),
        "endless_loop": (3, ""),
        "endless_cell": (3, ""),
        "dead_kernel": (3, ""),
        "dead_later": (3, ""),
    }


CHEATS = {
    "always equal": "class Any(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\n"
    "def evens(numbers): return Any(7)\nsmallest = evens",
    "asserts removed": "import ast\nclass T(ast.NodeTransformer):\n    def visit_Assert(self, n): return ast.Pass()\n"
    "get_ipython().ast_transformers.append(T())\ndef evens(numbers): return 7\nsmallest = evens",
    "library patched": "from tlcore.grading import checks, compare\nchecks.Checks.score = 3\n"
    "compare.equal = lambda *a: None\nchecks.Checks.__repr__ = lambda s: '2'\n"
    "def evens(numbers): return 7\nsmallest = evens",
    "display hook": "import sys\nsys.displayhook = lambda v: print(2)\ndef evens(numbers): return 7\nsmallest = evens",
}


@pytest.mark.parametrize("cheat", CHEATS)
def test_judged_work_cannot_be_talked_into_points(course, submit, cheat):
    submit("cheat", evens=CHEATS[cheat], smallest="pass")
    assert graded(course)["cheat"].score == 0


def test_skip_tag_on_a_check_cell_earns_nothing(course, submit, release):
    for cell in release.cells:
        cell.metadata["tags"] = ["skip-execution"]
    submit("skipper", nb=release)
    assert graded(course)["skipper"].score == 0


def test_renaming_a_graded_cell_after_submissions_is_refused_and_loses_nothing(course, submit):
    submit("good")
    graded(course)
    lesson = course.solutions / f"{LESSON}.py"
    before = (course.release / LESSON / f"{LESSON}.ipynb").read_bytes()
    lesson.write_text(lesson.read_text().replace("evens-hidden", "evens-hidden".replace("evens", "smallest")))
    (course.source / LESSON / f"{LESSON}.ipynb").unlink()
    with pytest.raises(CourseError, match="Cannot add or remove cells"):
        graded(course)
    assert (course.release / LESSON / f"{LESSON}.ipynb").exists() and before
    assert scores(course) == {"good": {LESSON: [5.0, 5.0]}}
