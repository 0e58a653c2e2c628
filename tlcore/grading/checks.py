"""Named checks with points: what a check cell in a lesson consists of.

A check cell makes one `Checks`, adds functions to it and ends with it. Its ``repr`` is the score, the number
nbgrader reads as partial credit; its HTML is the explanation the student reads.
"""

from __future__ import annotations

import contextlib
import html
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tlcore.grading import compare, context
from tlcore.grading.compare import Mismatch
from tlcore.grading.forbid import free_names, violation

_MOST_TIMEOUTS = 2
MIME = "application/vnd.tlcore.checks+json"
_NOT_WRITTEN, _NOT_RUN = "Not written yet.", "Not run: the checks before it did not come to an end."
STANDARD = (_NOT_WRITTEN, _NOT_RUN)


@dataclass(frozen=True)
class Result:
    """Outcome of one check: `why` says what went wrong, `trace` where in the student's code."""

    name: str
    points: float
    passed: bool
    hint: str = ""
    why: str = ""
    trace: str = ""


class Checks:
    """Named checks of one exercise, run one by one; a failure does not stop the others.

    >>> checks = Checks("doubling")
    >>> def double(x): return x + x
    >>> @checks("three doubled is six", points=1, hint="add the number to itself")
    ... def _():
    ...     checks.equal(double(3), 6)
    >>> @checks("text is refused", points=1)
    ... def _():
    ...     with checks.raises(TypeError):
    ...         double("ab")
    >>> checks
    1

    Parameters
    ----------
    title
        Name of the exercise; part of every seed.
    hidden
        The check runs only when work is graded: its reasons are then kept from the student, who sees
        the names, the hints and the named misconceptions.
    forbid
        Dotted paths that the student's definitions may not use, such as ``"tlcore.anatomy"``.
    seconds
        Time limit of one check.
    """

    def __init__(self, title: str, *, hidden: bool = False, forbid: Sequence[str] = (), seconds: float = 10.0) -> None:
        self.title, self.hidden, self.seconds = title, hidden, seconds
        self.results: list[Result] = []
        self._context = context.current()
        self._draws = self._timeouts = 0
        names = free_names(self._context.source) if self._context.source else set()
        where = self._context
        self._forbidden = violation(forbid, names, where.cells, where.broken) if forbid else None

    def __call__(
        self, name: str, *, points: float, hint: str = "", seconds: float | None = None
    ) -> Callable[[Callable[[], None]], Callable[[], None]]:
        """Decorate a function without arguments: it runs now and passes unless it raises."""

        def run(check: Callable[[], None]) -> Callable[[], None]:
            self.results.append(self._run(check, name, points, hint, seconds or self.seconds))
            return check

        return run

    @property
    def score(self) -> float:
        """Points of the checks that passed."""
        return sum(r.points for r in self.results if r.passed)

    @property
    def max_score(self) -> float:
        """Points of all checks."""
        return sum(r.points for r in self.results)

    def rng(self) -> Any:
        """NumPy random generator that differs between submissions and is the same on every run.

        >>> Checks("a").rng().integers(10) == Checks("a").rng().integers(10)
        np.True_
        """
        import numpy as np

        self._draws += 1
        return np.random.default_rng(self._context.seed(self.title, len(self.results), self._draws))

    def equal(self, got: Any, want: Any, *, mistakes: Mapping[str, Any] | None = None) -> None:
        """Require the same value; `mistakes` maps a named misconception to the answer it leads to."""
        self._compare(lambda expected: compare.equal(got, expected), want, mistakes)

    def close(
        self,
        got: Any,
        want: Any,
        *,
        rtol: float = 1e-5,
        atol: float = 1e-6,
        mistakes: Mapping[str, Any] | None = None,
    ) -> None:
        """Require the same shape, and every number within ``atol + rtol * |want|``."""
        self._compare(lambda expected: compare.close(got, expected, rtol, atol), want, mistakes)

    @contextlib.contextmanager
    def raises(self, *kinds: type[BaseException]) -> Iterator[None]:
        """Require that the block raises one of `kinds`."""
        try:
            yield
        except kinds:
            return
        raise Mismatch(f"expected {' or '.join(k.__name__ for k in kinds)}, but nothing was raised")

    def _compare(self, check: Callable[[Any], None], want: Any, mistakes: Mapping[str, Any] | None) -> None:
        try:
            check(want)
        except Mismatch as mismatch:
            mismatch.mistake = next((m for m, wrong in (mistakes or {}).items() if _holds(check, wrong)), "")
            raise

    def _run(self, check: Callable[[], None], name: str, points: float, hint: str, seconds: float) -> Result:
        if self._forbidden:
            why = f"This exercise is about writing it yourself, so {self._forbidden} is off limits here."
            return Result(name, points, False, why)
        if self._timeouts == _MOST_TIMEOUTS:
            return Result(name, points, False, hint, _NOT_RUN)
        try:
            with self._context.limit(f"{self.title}:{name}", seconds):
                check()
        except BaseException as error:  # student code may raise anything, SystemExit included
            if self._context.outside and isinstance(error, KeyboardInterrupt):
                raise
            self._timeouts += isinstance(error, context.TooSlow)
            mistake = getattr(error, "mistake", "")
            hint = f"It looks like this: {mistake}." if mistake else hint
            why = _why_hidden(error) if self.hidden else _why(error, self._context)
            trace = "" if self.hidden else _trace(error, check)
            return Result(name, points, False, hint, why, trace)
        return Result(name, points, True)

    def __repr__(self) -> str:
        return f"{self.score:g}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """What a notebook shows: the number, the explanation, and the results as data."""
        return {
            "text/plain": repr(self),
            "text/html": self._repr_html_(),
            MIME: {"title": self.title, "results": [asdict(r) for r in self.results]},
        }

    def _repr_html_(self) -> str:
        return rendered(self.title, self.results)


def _holds(check: Callable[[Any], None], expected: Any) -> bool:
    try:
        check(expected)
    except Mismatch:
        return False
    return True


def rendered(title: str, results: Sequence[Result]) -> str:
    """Results of one exercise as HTML."""
    score, most = sum(r.points for r in results if r.passed), sum(r.points for r in results)
    head = f"<strong>{html.escape(title)}</strong>: {score:g} of {most:g} points"
    return f'<div class="tlcore-checks">{head}<ul>{"".join(map(_row, results))}</ul></div>'


def _row(result: Result) -> str:
    mark, word = ("&#10003;", "passed") if result.passed else ("&#10007;", "not yet")
    text = f"{mark} {html.escape(result.name)} <em>({word}, {result.points:g})</em>"
    if not result.passed:
        parts = [html.escape(t) for t in (result.why, result.hint) if t]
        text += "".join(f"<br>{p}" for p in parts)
        if result.trace:
            text += f"<pre>{html.escape(result.trace)}</pre>"
    return f'<li style="list-style:none">{text}</li>'


def _why(error: BaseException, where: context.Context) -> str:
    message = str(error).strip()
    if isinstance(error, NotImplementedError):
        return _NOT_WRITTEN
    if isinstance(error, (Mismatch, context.NoAnswer)):
        return message[:1].upper() + message[1:] + ("" if message.endswith("?") else ".")
    if isinstance(error, AssertionError):
        return message[:1000] or _failed_line(error, where)
    return f"{type(error).__name__}: {message}"[:500]


def _why_hidden(error: BaseException) -> str:
    """The kind of error only: its message may hold the hidden input, or what was expected."""
    if isinstance(error, (NotImplementedError, context.NoAnswer)):
        return _why(error, context.Context())
    return "" if isinstance(error, AssertionError) else f"Your code raised {type(error).__name__}."


def _failed_line(error: BaseException, where: context.Context) -> str:
    """Text of the bare ``assert`` in the check cell that failed."""
    lines = where.source.splitlines()
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.line and frame.line.lstrip().startswith("assert"):
            return frame.line.strip()
        if where.outside and frame.lineno and 0 < frame.lineno <= len(lines):
            return lines[frame.lineno - 1].strip()
    return ""


def _trace(error: BaseException, check: Callable[[], None]) -> str:
    """Lines of the student's own cells that the error passed through, innermost last."""
    if isinstance(error, NotImplementedError):
        return ""
    if hasattr(error, "student_trace"):
        return str(error.student_trace)
    own = check.__code__.co_filename
    return student_frames(error, skip=own)


def student_frames(error: BaseException, skip: str = "") -> str:
    """Format the frames of `error` that lie in notebook cells, other than the file `skip`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "ipykernel_" in f.filename and f.filename != skip]
    return "\n".join(f"line {f.lineno}, in {f.name[:80]}: {(f.line or '').strip()[:200]}" for f in own[-4:])
