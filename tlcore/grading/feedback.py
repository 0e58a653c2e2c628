"""The page a student gets back: nbgrader's own feedback, with everything left out that could give a check away.

Kept are the student's text and code, the scores and comments, and of each check its name, whether it passed, the
hint, and the lines of their own code an error passed through. Left out are the source of hidden checks, and what the
student's cells printed: once a hidden check has run, their code has seen its inputs and could print them.
"""

from __future__ import annotations

from typing import Any

from nbconvert.preprocessors import CSSHTMLHeaderPreprocessor
from nbformat import NotebookNode
from nbgrader.converters import GenerateFeedback
from nbgrader.converters.base import NbGraderException
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import GetGrades, NbGraderPreprocessor

from tlcore.grading.build import nbgrader_log, reason
from tlcore.grading.course import Course, CourseError
from tlcore.grading.lesson import BEGIN, is_check


class Redact(NbGraderPreprocessor):
    """Take out of an autograded notebook what a student should not learn from it."""

    def preprocess(self, nb: NotebookNode, resources: dict[str, Any]) -> tuple[NotebookNode, dict[str, Any]]:
        seen_hidden = False
        for cell in nb.cells:
            if cell.cell_type != "code":
                continue
            if is_check(cell):
                hidden = BEGIN in cell.source
                seen_hidden = seen_hidden or hidden
                if hidden:
                    cell.source = cell.source.split(BEGIN)[0].strip() or "# hidden checks"
                cell.outputs = [_checks_only(o) for o in cell.outputs]
            else:
                cell.outputs = [_error_only(o, seen_hidden) for o in cell.outputs if o.output_type == "error"]
        return nb, resources


def _checks_only(output: NotebookNode) -> NotebookNode:
    if output.output_type == "execute_result":
        output.data = {k: v for k, v in output.data.items() if k in ("text/html", "text/plain")}
        return output
    return _error_only(output, terse=True)


def _error_only(output: NotebookNode, terse: bool) -> NotebookNode:
    """The kind of an error, and its message if the code cannot have seen a hidden input yet."""
    name = str(output.get("ename", "output"))[:80]
    text = name if terse else f"{name}: {str(output.get('evalue', ''))[:300]}"
    return NotebookNode(output_type="stream", name="stdout", text=text + "\n")


def write_feedback(course: Course, lesson: str, student: str) -> None:
    """Make a student's feedback page from their autograded notebook."""
    config = course.config()
    config.CourseDirectory.assignment_id, config.CourseDirectory.student_id = lesson, student
    config.GenerateFeedback.force = True
    config.HTMLExporter.sanitize_html = True  # a student's markdown may hold scripts
    config.GenerateFeedback.preprocessors = [GetGrades, Redact, CSSHTMLHeaderPreprocessor]
    with nbgrader_log() as said:
        try:
            GenerateFeedback(coursedir=CourseDirectory(config=config), config=config).start()
        except (NbGraderException, SystemExit) as error:
            raise CourseError(f"graded, but its feedback page failed: {reason(said) or error}") from error
