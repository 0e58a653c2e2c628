"""What a worker does: execute one sanitised submission. Plain data in, plain data out, no gradebook.

Runs in a process of its own, on this machine or on another.
"""

from __future__ import annotations

import faulthandler
import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import setenv
from traitlets.config import Config

from tlcore.grading.build import nbgrader_log
from tlcore.grading.execute import JudgedExecute
from tlcore.grading.lesson import KERNEL
from tlcore.grading.sandbox import KERNELS, SPEC

_GRACE = 1.5  # of a notebook's time: what the judge itself may need on top


@dataclass(frozen=True)
class Job:
    """One submission to execute: the notebook as text, the files beside it, nbgrader's settings."""

    student: str
    lesson: str
    notebook: str
    files: dict[str, bytes]
    settings: Mapping[str, Mapping[str, Any]]
    sandboxed: bool = True
    threads: int = 1


@dataclass(frozen=True)
class Done:
    """The executed notebook as text, and how long it took."""

    notebook: str
    seconds: float


def execute(job: Job) -> Done:
    """Execute a job's notebook in a folder made for it."""
    start = time.monotonic()
    nb = nbformat.reads(job.notebook, as_version=4)
    config = Config({name: dict(values) for name, values in job.settings.items()})
    config.JudgedExecute.merge(config.Execute)
    if job.sandboxed:
        config.JudgedExecute.kernel_name = SPEC
    resources = {"nbgrader": {"student": job.student, "assignment": job.lesson, "notebook": job.lesson}}
    with tempfile.TemporaryDirectory(prefix="tlcore-") as folder, _surroundings(job.threads), nbgrader_log():
        for name, data in job.files.items():
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        notebook = JudgedExecute(config=config)
        with no_longer_than(_GRACE * notebook.notebook_seconds + 60):
            notebook.preprocess(nb, resources | {"metadata": {"path": folder}})
    nb.metadata = NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})  # not what the kernel says it is
    text = nbformat.writes(nb).encode("utf-8", "replace").decode()  # a lone surrogate cannot be written
    return Done(text, time.monotonic() - start)


@contextmanager
def no_longer_than(seconds: float) -> Iterator[None]:
    """End this process after so long, whatever it is doing: a reply may be made to keep a parser busy."""
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()


def _surroundings(threads: int) -> Any:
    paths = [str(KERNELS), *filter(None, [os.environ.get("JUPYTER_PATH")])]
    return setenv(NBGRADER_EXECUTION="autograde", JUPYTER_PATH=os.pathsep.join(paths), OMP_NUM_THREADS=str(threads))
