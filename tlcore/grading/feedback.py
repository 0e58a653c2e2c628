"""The page a student gets back: nbgrader's own feedback, with everything left out that could give a check away.

Kept are the student's text and code, the scores and comments, and of each check its name, whether it passed, the
hint, and the lines of their own code an error passed through. Left out are the source of hidden checks, and what the
student's cells printed: once a hidden check has run, their code has seen its inputs and could print them.
"""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import Any

import bleach
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbformat import NotebookNode
from nbgrader.converters import GenerateFeedback
from nbgrader.preprocessors import GetGrades, NbGraderPreprocessor

from tlcore.grading.build import convert
from tlcore.grading.checks import STANDARD, Result, rendered
from tlcore.grading.course import Course
from tlcore.grading.judge import bundle
from tlcore.grading.lesson import BEGIN, is_check

_LONGEST = 20_000


class Redact(NbGraderPreprocessor):
    """Take out of an autograded notebook what a student should not learn from it."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        seen_hidden = False
        for cell in nb.cells:
            if len(cell.source) > _LONGEST:  # to render it would take minutes
                cell.source = cell.source[:_LONGEST] + "\n# … the rest of this cell is not shown"
            if cell.cell_type != "code":
                continue
            if is_check(cell):
                hidden = BEGIN in cell.source
                if hidden:
                    cell.source = cell.source.split(BEGIN)[0].strip() or "# hidden checks"
                cell.outputs = [_checks_only(o, seen_hidden and not hidden) for o in cell.outputs]
                seen_hidden = seen_hidden or hidden
            else:
                errors = [o for o in cell.outputs if o.output_type == "error"][:1]
                if seen_hidden:  # which error it was, or that there was one in a cell of their own, could tell an input
                    ours = "nbgrader" in cell.metadata
                    cell.outputs = [_said("This cell ended in an error.") for _ in errors if ours]
                else:
                    cell.outputs = [_error_only(o, terse=False) for o in errors]
        return nb, resources


def _checks_only(output: NotebookNode, terse: bool) -> NotebookNode:
    """What the checks said; without the student's own values once these could hold a hidden input."""
    if output.output_type == "execute_result":
        found = bundle([output])
        output.data = {k: v for k, v in output.data.items() if k in ("text/html", "text/plain")}
        if terse and found:
            output.data["text/html"] = rendered(found["title"], [_terse(Result(**r)) for r in found["results"]])
        return output
    return _error_only(output, terse=True)


def _terse(result: Result) -> Result:
    if result.passed or not (result.why or result.trace) or result.why in STANDARD:
        return result
    return replace(result, why="What your code answered is in your notebook: run this cell to see it.", trace="")


def _error_only(output: NotebookNode, terse: bool) -> NotebookNode:
    """The kind of an error, and its message if the code cannot have seen a hidden input yet."""
    name = str(output.get("ename", "output"))[:80]
    if terse and not hasattr(builtins, name):
        name = "an error"  # a name of the student's choosing could carry what their code has seen
    return _said(name if terse else f"{name}: {str(output.get('evalue', ''))[:300]}")


def _said(text: str) -> NotebookNode:
    return NotebookNode(output_type="stream", name="stdout", text=text + "\n")


_HEADS = {f"h{n}" for n in range(1, 7)}
_TABLES = {"table", "thead", "tbody", "tr", "th", "td"}
_TAGS = _HEADS | _TABLES | {"p", "br", "pre", "img", "hr", "span", "div", "del", "sub", "sup"}
_ATTRIBUTES = {"*": ["id", "class"], "a": ["href", "title"], "img": ["src", "alt", "title"]}


def without_scripts(source: str) -> str:
    """Render markdown, which students write, without anything that a browser would run."""
    tags = _TAGS | set(bleach.sanitizer.ALLOWED_TAGS)
    text = MarkdownWithMath(renderer=IPythonRenderer(escape=True)).render(source)
    return str(bleach.clean(text, tags=tags, attributes=_ATTRIBUTES, protocols={"http", "https", "mailto", "data"}))


def write_feedback(course: Course, lesson: str, student: str) -> None:
    """Make a student's feedback page from their autograded notebook."""
    config = course.config()
    config.CourseDirectory.assignment_id, config.CourseDirectory.student_id = lesson, student
    config.GenerateFeedback.force = True
    config.HTMLExporter.filters = {"markdown2html": without_scripts}
    config.GenerateFeedback.preprocessors = [GetGrades, Redact, CSSHTMLHeaderPreprocessor]
    convert(GenerateFeedback, config, "graded, but its feedback page failed")
