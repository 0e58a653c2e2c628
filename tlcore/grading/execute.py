"""nbgrader's Execute step with the judge in it: check cells run outside the student's kernel."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import run_sync
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute

from tlcore.grading.judge import Judge, Link
from tlcore.grading.lesson import is_check


@contextmanager
def linked(manager: Any) -> Iterator[Link]:
    """Open a `Link` to the kernel of a (sync or async) kernel manager."""
    client = BlockingKernelClient()
    client.load_connection_info(manager.get_connection_info())
    client.start_channels(shell=True, iopub=False, stdin=False, hb=False, control=False)
    folder = tempfile.mkdtemp(prefix="tlcore-")
    try:
        yield Link(
            client,
            Path(folder),
            alive=lambda: bool(run_sync(manager.is_alive)()),
            interrupt=lambda: run_sync(manager.interrupt_kernel)(),
        )
    finally:
        client.stop_channels()
        shutil.rmtree(folder, ignore_errors=True)


_SHORTEST = 5  # seconds


class JudgedExecute(Execute):
    """Execute a submission: its own cells in its kernel, the check cells in this process.

    `step` is told the index of each cell before it runs.
    """

    step: Callable[[int], None] = staticmethod(lambda index: None)

    def preprocess(
        self, nb: NotebookNode, resources: Any = None, km: Any = None
    ) -> tuple[NotebookNode, dict[str, Any]]:
        self._link: Any = None
        self._judge: Judge | None = None
        self._gone = ""
        self._cells: list[str] = []
        self._broken: set[int] = set()
        self._timeouts = 0
        try:
            return super().preprocess(nb, resources, km)  # type: ignore[no-any-return]
        finally:
            if self._link:
                self._link.__exit__(None, None, None)

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        self.step(index)
        if cell.cell_type != "code":
            return cell, resources
        if is_check(cell):
            judge = self._judge or self._open(resources)
            cell.outputs = [NotebookNode(o) for o in judge.outputs(cell.source, list(self._cells), self._broken)]
            self._gone = judge.link.gone
            return cell, resources
        self._cells.append(cell.source)
        if self._gone:
            cell.outputs = [_error("KernelGone", self._gone)]
            return cell, resources
        try:
            cell, resources = super().preprocess_cell(cell, resources, index)
            if any(o.output_type == "error" for o in cell.outputs):
                self._broken.add(len(self._cells) - 1)
            return cell, resources
        except DeadKernelError:
            self._gone = "this cell ended the Python process it runs in"
        except CellTimeoutError as error:
            self._gone = f"this cell could not be stopped: {error}"
        (self._judge or self._open(resources)).link.gone = self._gone
        cell.outputs = [*cell.get("outputs", []), _error("KernelGone", self._gone)]
        return cell, resources

    def _get_timeout(self, cell: NotebookNode | None) -> int | None:
        """Each cell that had to be stopped halves the time of those after it: they often run the same code."""
        seconds: int | None = super()._get_timeout(cell)
        return max(_SHORTEST, seconds // 2**self._timeouts) if seconds else seconds

    async def _async_handle_timeout(self, timeout: int, cell: NotebookNode | None = None) -> Any:
        self._timeouts += 1
        return await super()._async_handle_timeout(timeout, cell)

    def _open(self, resources: dict[str, Any]) -> Judge:
        self._link = linked(self.km)
        student = resources.get("nbgrader", {}).get("student", "")
        self._judge = Judge(self._link.__enter__(), submission=student)
        return self._judge


def _error(name: str, text: str) -> NotebookNode:
    return NotebookNode(output_type="error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
