"""Grades submissions: sanitise one by one, execute in a pool, record by one writer.

The steps are nbgrader's own, taken apart: its Autograde sanitises and records here, where the gradebook is; its
Execute (with the judge in it) runs in workers that need no gradebook. A submission that cannot be graded gets one line
that says why; the others are graded all the same. Executed notebooks are kept in a journal, so a run that was killed
can go on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbgrader.api import Gradebook, MissingEntry
from nbgrader.converters import Autograde
from nbgrader.converters.base import BaseConverter
from nbgrader.preprocessors import Execute

from tlcore import __version__
from tlcore.grading.build import convert, first_line, put, record
from tlcore.grading.course import Course, CourseError, needs_extra
from tlcore.grading.feedback import write_feedback
from tlcore.grading.flags import Flag, suspicious
from tlcore.grading.judge import bundle
from tlcore.grading.lesson import is_check
from tlcore.grading.sandbox import sweep
from tlcore.grading.scores import final_score
from tlcore.grading.tidy import tidy
from tlcore.grading.work import Done, Job, execute
from tlcore.grading.workers import Workers

_MOST_FILES = 200
_MOST_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Grade:
    """One submission: its score, or in `problem` the sentence that says why it has none.

    `note` says what had to be mended in the file; `flags` what looks like tampering, for a person to review.
    """

    student: str
    lesson: str
    score: float | None
    max_score: float
    problem: str = ""
    note: str = ""
    flags: tuple[Flag, ...] = ()


@dataclass
class _Prepared:
    """A sanitised submission on its way: `folder` is the scratch root that holds it."""

    student: str
    lesson: str
    folder: Path
    job: Job
    key: str
    note: str
    flags: tuple[Flag, ...]


def submissions(course: Course, lesson: str) -> list[str]:
    """Students who handed in something for `lesson`."""
    found = course.submitted.glob(f"*/{lesson}")
    return sorted(p.parent.name for p in found if p.is_dir() and not p.is_symlink() and not p.parent.is_symlink())


def grade(
    course: Course,
    lessons: Iterable[str],
    *,
    sandboxed: bool,
    workers: int | None = None,
    scheduler: str | None = None,
    resume: bool = False,
    students: Iterable[str] | None = None,
) -> Iterator[Grade]:
    """Grade every submission of `lessons`, yielding each result as it is known.

    Parameters
    ----------
    sandboxed
        Run the students' code in the sandbox; False runs it with your rights.
    workers
        Processes that execute; default one per core.
    scheduler
        Address of a Dask scheduler whose workers execute instead.
    resume
        Take what an earlier run has executed from the journal, if nothing about it changed.
    students
        Only these; default all who handed in.
    """
    needs_extra()
    sweep()
    only = None if students is None else list(students)
    count = workers or os.cpu_count() or 1
    with Workers(count, scheduler) as pool, tempfile.TemporaryDirectory(prefix="tlcore-") as scratch:
        for lesson in lessons:
            record(course, lesson)
            if not resume:
                shutil.rmtree(course.journal / lesson, ignore_errors=True)
            run = _Run(course, lesson, Path(scratch), pool, sandboxed)
            yield from run.all(only if only is not None else submissions(course, lesson))


class _Run:
    """Grading of one lesson."""

    def __init__(self, course: Course, lesson: str, scratch: Path, pool: Workers, sandboxed: bool) -> None:
        self.course, self.lesson, self.scratch, self.pool = course, lesson, scratch, pool
        self.sandboxed = sandboxed
        self.source = nbformat.read(course.source / lesson / f"{lesson}.ipynb", as_version=4)
        config = course.config()
        self.settings = {
            name: dict(config[name]) for name in ("Execute", "JudgedExecute", "SandboxProvisioner") if name in config
        }

    def all(self, students: Iterable[str]) -> Iterator[Grade]:
        waiting: dict[Future[Done], _Prepared] = {}
        for student in students:
            while len(waiting) >= 2 * self.pool.count:
                yield from self._collect(waiting)
            try:
                prepared = self._prepare(student)
            except CourseError as problem:
                yield self._problem(student, str(problem))
                continue
            except Exception as error:  # whatever a submission does, the others are graded
                yield self._problem(student, f"could not be graded: {first_line(error)}")
                continue
            kept = self._from_journal(prepared)
            if kept is not None:
                yield self._finish(prepared, kept)
                continue
            try:
                future = self.pool.submit(execute, prepared.job)
            except BrokenExecutor:  # a worker has died since we last looked
                while waiting:
                    yield from self._collect(waiting)
                self.pool.renew()
                future = self.pool.submit(execute, prepared.job)
            waiting[future] = prepared
        while waiting:
            yield from self._collect(waiting)

    def _collect(self, waiting: dict[Future[Done], _Prepared]) -> Iterator[Grade]:
        suspects = []
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            prepared = waiting.pop(future)
            if _broken(future):
                suspects.append(prepared)
            else:
                yield self._outcome(prepared, future)
        if suspects:  # a worker's death takes the whole pool with it: who of them it was shows when each runs alone
            for future in wait(waiting).done:
                prepared = waiting.pop(future)
                if _broken(future):
                    suspects.append(prepared)
                else:
                    yield self._outcome(prepared, future)
            self.pool.renew()
            for prepared in suspects:
                yield self._outcome(prepared, self.pool.submit(execute, prepared.job))

    def _outcome(self, prepared: _Prepared, future: Future[Done]) -> Grade:
        try:
            done = future.result()
        except BrokenExecutor:
            self.pool.renew()
            return self._problem(prepared.student, "the process that executed it died twice")
        except Exception as error:
            return self._problem(prepared.student, f"could not be executed: {first_line(error)}")
        return self._finish(prepared, done.notebook, fresh=True)

    def _prepare(self, student: str) -> _Prepared:
        """Clean a submission, have nbgrader sanitise it, and pack it for a worker."""
        root = Path(tempfile.mkdtemp(dir=self.scratch))
        note, flags = self._stage(student, root / "staged")
        config = self._config(student, root / "staged", root / "sanitised")
        convert(Sanitise, config, "could not be graded")
        folder = root / "sanitised" / student / self.lesson
        notebook = (folder / f"{self.lesson}.ipynb").read_text(encoding="utf-8")
        job = Job(student, self.lesson, notebook, _files(folder), self.settings, self.sandboxed, self.pool.threads)
        text = json.dumps([__version__, job.notebook, self.settings, self.sandboxed], sort_keys=True)
        files = b"".join(os.fsencode(name) + data for name, data in sorted(job.files.items()))
        key = hashlib.sha256(text.encode() + files).hexdigest()
        return _Prepared(student, self.lesson, root, job, key, note, flags)

    def _stage(self, student: str, stage: Path) -> tuple[str, tuple[Flag, ...]]:
        """Copy a submission to where it will be graded, tidied and under its right name."""
        origin, wanted = self.course.submitted / student / self.lesson, f"{self.lesson}.ipynb"
        chosen = _choose(origin, wanted)
        data = b"" if chosen.stat().st_size > 2**28 else chosen.read_bytes()
        if not data:
            raise CourseError(f"{chosen.name} is empty, or larger than 256 MB")
        tidied = tidy(data, self.source, chosen.name)
        target = stage / student / self.lesson
        copy_plain(origin, target)
        nbformat.write(tidied.notebook, target / wanted)
        notes = tidied.mended if chosen.name == wanted else [f"{chosen.name} was graded as {wanted}", *tidied.mended]
        return "; ".join(notes), tuple(suspicious(tidied.notebook))

    def _finish(self, prepared: _Prepared, executed: str, fresh: bool = False) -> Grade:
        """Record an executed notebook in the gradebook and write its feedback; keep a fresh one in the journal."""
        student = prepared.student
        folder = prepared.folder / "sanitised"
        try:
            if fresh:
                self._to_journal(prepared, executed)
            (folder / student / self.lesson / f"{self.lesson}.ipynb").chmod(0o644)
            (folder / student / self.lesson / f"{self.lesson}.ipynb").write_text(executed, encoding="utf-8")
            config = self._config(student, folder, self.course.autograded)
            default = Autograde.autograde_preprocessors.default_args[0]  # type: ignore[attr-defined]
            config.Record.autograde_preprocessors = [p for p in default if p is not Execute]
            convert(Record, config, "could not be graded")
            write_feedback(self.course, self.lesson, student)
        except CourseError as problem:
            return self._problem(student, str(problem))
        except Exception as error:
            return self._problem(student, f"could not be recorded: {first_line(error)}")
        finally:
            shutil.rmtree(prepared.folder, ignore_errors=True)
        with Gradebook(self.course.db_url) as book:
            found = book.find_submission(self.lesson, student)
            return Grade(student, self.lesson, final_score(found), found.max_score, "", prepared.note, prepared.flags)

    def _problem(self, student: str, sentence: str) -> Grade:
        return Grade(student, self.lesson, None, _max_score(self.course, self.lesson), sentence)

    def _config(self, student: str, come: Path, go: Path) -> Any:
        config = self.course.config()
        config.CourseDirectory.assignment_id, config.CourseDirectory.student_id = self.lesson, student
        config.CourseDirectory.submitted_directory = str(come)
        config.CourseDirectory.autograded_directory = str(go)
        config.Autograde.force = True
        return config

    def _from_journal(self, prepared: _Prepared) -> str | None:
        try:
            entry = json.loads((self.course.journal / self.lesson / f"{prepared.student}.json").read_text("utf-8"))
            return str(entry["notebook"]) if entry["key"] == prepared.key else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _to_journal(self, prepared: _Prepared, executed: str) -> None:
        entry = json.dumps({"key": prepared.key, "notebook": executed})
        put(self.course.journal / self.lesson / f"{prepared.student}.json", entry.encode())


class Sanitise(Autograde):
    """The first half of nbgrader's Autograde: make the submission known and put its cells in order."""

    def convert_single_notebook(self, notebook_filename: str) -> None:
        self._sanitizing = True
        self._init_preprocessors()
        BaseConverter.convert_single_notebook(self, notebook_filename)


class Record(Autograde):
    """The second half, without executing: save the grades of an executed notebook."""

    _sanitizing = True  # so that it reads from the folder it is told to

    def init_assignment(self, assignment_id: str, student_id: str) -> None:
        BaseConverter.init_assignment(self, assignment_id, student_id)

    def convert_single_notebook(self, notebook_filename: str) -> None:
        self.exporter._preprocessors = []
        for preprocessor in self.autograde_preprocessors:
            self.exporter.register_preprocessor(preprocessor)
        BaseConverter.convert_single_notebook(self, notebook_filename)


def _choose(origin: Path, wanted: str) -> Path:
    """The notebook to grade; a link is not followed, since it may lead to somebody else's work."""
    notebooks = sorted(p for p in origin.glob("*.ipynb") if p.is_file() and not p.is_symlink())
    right = [p for p in notebooks if p.name == wanted]
    if not notebooks:
        raise CourseError(f"no notebook was handed in; {wanted} is expected")
    if not right and len(notebooks) > 1:
        names = ", ".join(p.name for p in notebooks)
        raise CourseError(f"cannot tell which notebook to grade: {names}; {wanted} is expected")
    return (right or notebooks)[0]


def copy_plain(origin: Path, target: Path) -> None:
    """Copy what lies beside the notebook: plain files only, no links, and not more than a submission may hold."""
    target.mkdir(parents=True, exist_ok=True)
    room, count = _MOST_BYTES, _MOST_FILES
    for folder, names, files in os.walk(origin):
        names[:] = [
            n for n in names if not n.startswith(".") and not n.endswith(".ipynb") and not Path(folder, n).is_symlink()
        ]
        for name in files:
            path = Path(folder, name)
            if path.suffix == ".ipynb" or path.is_symlink() or not path.is_file():
                continue
            room, count = room - path.stat().st_size, count - 1
            if room < 0 or count < 0:
                raise CourseError(f"more than {_MOST_FILES} files or {_MOST_BYTES // 2**20} MB were handed in")
            goal = target / path.relative_to(origin)
            goal.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, goal)


def _files(folder: Path) -> dict[str, bytes]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.suffix != ".ipynb")
    return {str(p.relative_to(folder)): p.read_bytes() for p in found}


def check_results(notebook: Path) -> dict[str, dict[str, Any]]:
    """Per check cell of an autograded notebook: title and results, as the checks reported them."""
    nb = nbformat.read(notebook, as_version=4)
    found = {c.metadata.nbgrader.grade_id: bundle(c.outputs) for c in nb.cells if is_check(c)}
    return {name: result for name, result in found.items() if result}


def _broken(future: Future[Done]) -> bool:
    return not future.cancelled() and isinstance(future.exception(), BrokenExecutor)


def _max_score(course: Course, lesson: str) -> float:
    with Gradebook(course.db_url) as book:
        try:
            return float(book.find_assignment(lesson).max_score)
        except MissingEntry:
            return 0.0
