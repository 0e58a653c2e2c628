"""Where things lie: the course root, and the desk on which submissions are graded."""

from __future__ import annotations

import os
import re
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from traitlets.config import Config

_DESK_TIMEOUT = 20  # seconds: what is graded on a desk of its own are our lessons, whose cells keep to this
LESSON = re.compile(r"\d\d-[a-z0-9]+(-[a-z0-9]+)*")


class CourseError(Exception):
    """Something about the course's files is wrong; the message is one sentence for the instructor."""


@dataclass(frozen=True)
class Course:
    """A course: its lessons under `root`, and the folders nbgrader works in.

    `desk` is None for the course's own folders; a folder makes every step of nbgrader work in there, with a
    gradebook of its own (throw-away builds, the demo class).
    """

    root: Path
    desk: Path | None = None

    @property
    def solutions(self) -> Path:
        return self.root / "solutions"

    @property
    def source(self) -> Path:
        return self.desk / "source" if self.desk else self.root / "course" / "source"

    @property
    def release(self) -> Path:
        return self.desk / "release" if self.desk else self.root / "lessons"

    @property
    def submitted(self) -> Path:
        return self._step("submitted")

    @property
    def autograded(self) -> Path:
        return self._step("autograded")

    @property
    def feedback(self) -> Path:
        return self._step("feedback")

    @property
    def gradebook(self) -> Path:
        return self._step("gradebook.db")

    @property
    def journal(self) -> Path:
        """Executed submissions, kept until the next run so that one that was stopped can be resumed."""
        return self._step("journal")

    @property
    def db_url(self) -> str:
        return f"sqlite:///{self.gradebook}"

    def _step(self, name: str) -> Path:
        return (self.desk or self.root / "course") / name

    def config(self) -> Config:
        """Configuration of nbgrader: the course's own file, with the desk's folders in place of its own."""
        from traitlets.config import PyFileConfigLoader

        config = PyFileConfigLoader("nbgrader_config.py", path=str(self.root / "course")).load_config()
        if self.desk:
            for step in ("source", "release", "submitted", "autograded", "feedback"):
                config.CourseDirectory[f"{step}_directory"] = step
            config.CourseDirectory.root = str(self.desk)
            config.CourseDirectory.db_url = self.db_url
            config.Execute.timeout = min(config.Execute.timeout, _DESK_TIMEOUT)
        return config

    def lessons(self) -> list[str]:
        """Names of all lessons, in order: those with a source, or (on a student's machine) those released."""
        sources = [p.stem for p in self.solutions.glob("*.py")]
        found = sources or [p.stem for p in self.release.glob("*/*.ipynb") if p.stem == p.parent.name]
        return sorted(name for name in found if LESSON.fullmatch(name))

    def find(self, given: str) -> str:
        """Resolve ``2``, ``02`` or a part of a name to a lesson."""
        names = self.lessons()
        number = f"{int(given):02d}-" if given.isdigit() else None
        hits = [n for n in names if n == given or (number and n.startswith(number))]
        hits = hits or [n for n in names if given in n]
        if len(hits) != 1:
            raise CourseError(f"no lesson {given!r}; there are: {', '.join(names) or 'none'}")
        return hits[0]


def find_course(start: Path | None = None) -> Course:
    """Look upward from `start` (default: here) for the folder that holds ``course/nbgrader_config.py``."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "course" / "nbgrader_config.py").is_file():
            return Course(folder)
    raise CourseError(f"{here} is not inside a course: no course/nbgrader_config.py here or in any folder above")


def needs_extra() -> None:
    """Raise a sentence if nbgrader or jupytext is not installed; put their commands on the PATH."""
    try:
        import jupytext  # noqa: F401
        import nbgrader  # noqa: F401
    except ImportError as missing:
        raise CourseError(f"this command needs {missing.name}: pip install 'tlcore[course]'") from None
    warnings.filterwarnings("ignore", message="Object of type .* not in session")  # nbgrader's own, on every record
    beside = str(Path(sys.executable).parent)
    if beside not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([beside, os.environ.get("PATH", "")])  # nbgrader calls `alembic`
