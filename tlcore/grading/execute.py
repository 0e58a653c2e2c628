"""nbgrader's Execute step with the judge in it: check cells run outside the student's kernel."""

from __future__ import annotations

import copy
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.blocking.client import BlockingKernelClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbclient.util import ensure_async, run_sync
from nbformat import NotebookNode
from nbgrader.preprocessors import Execute
from traitlets import Int, default

from tlcore.grading.judge import Judge, Link
from tlcore.grading.lesson import is_check

_SHORTEST = 5  # seconds a cell gets at least
_MOST_OUTPUT = 2**20  # characters a cell may put out
_SHOWN = ("text/plain", "image/png", "image/jpeg")  # kinds of output that no browser runs
_EACH_OUTPUT = 200  # what each output counts beside its own length
_MOST_MESSAGE = 64 * 2**20  # bytes of one message from a kernel
_MOST_WAITING = 8  # messages that may wait here to be read


@contextmanager
def linked(manager: Any) -> Iterator[Link]:
    """Open a `Link` to the kernel of a (sync or async) kernel manager."""
    client = BlockingKernelClient()
    _bound(client.context)
    client.load_connection_info(manager.get_connection_info())
    client.start_channels(shell=True, iopub=False, stdin=False, hb=False, control=False)
    own = getattr(manager.provisioner, "exchange", None)  # a sandboxed kernel brings folders that both sides see
    folder = Path(tempfile.mkdtemp(prefix="tlcore-"))
    try:
        yield Link(
            client,
            *(own or (folder, folder)),
            alive=lambda: bool(_now(manager.is_alive)),
            interrupt=lambda: _now(manager.interrupt_kernel),
        )
    finally:
        client.stop_channels()
        shutil.rmtree(folder, ignore_errors=True)


def _bound(context: Any) -> None:
    """Limit what sockets made from now on take in before it is read."""
    context.setsockopt(zmq.MAXMSGSIZE, _MOST_MESSAGE)
    context.setsockopt(zmq.RCVHWM, _MOST_WAITING)


def _now(call: Callable[[], Any]) -> Any:
    """Result of a method of a kernel manager, whether it is an async one or not."""

    async def wait() -> Any:
        return await ensure_async(call())

    return run_sync(wait)()


class JudgedExecute(Execute):
    """Execute a submission: its own cells in its kernel, the check cells in this process.

    A cell that ends the kernel fails; the cells after it go on in a fresh kernel in which the sound cells before it
    have been run again. `step` is told the index of each cell before it runs.
    """

    notebook_seconds = Int(900, help="Wall time of one notebook.").tag(config=True)
    restarts = Int(2, help="How often a fresh kernel is started when one has died.").tag(config=True)

    step: Callable[[int], None] = staticmethod(lambda index: None)

    @default("shutdown_kernel")  # type: ignore[untyped-decorator]
    def _end_at_once(self) -> str:
        return "immediate"  # a kernel that is asked to leave takes two seconds over it, or never goes

    def preprocess(
        self, nb: NotebookNode, resources: Any = None, km: Any = None
    ) -> tuple[NotebookNode, dict[str, Any]]:
        self._judge: Judge | None = None
        self._gone = ""
        self._sound: list[tuple[int, NotebookNode]] = []
        self._cells: list[str] = []
        self._broken: set[int] = set()
        self._timeouts = self._deaths = 0
        self._deadline = time.monotonic() + self.notebook_seconds
        with ExitStack() as self._links:
            return super().preprocess(nb, resources, km)  # type: ignore[no-any-return]

    def preprocess_cell(
        self, cell: NotebookNode, resources: dict[str, Any], index: int
    ) -> tuple[NotebookNode, dict[str, Any]]:
        self.step(index)
        if cell.cell_type != "code":
            return cell, resources
        if not is_check(cell):
            self._cells.append(cell.source)
        if time.monotonic() > self._deadline:
            self._gone, self._deaths = f"the notebook took longer than {self.notebook_seconds} s", self.restarts
        if self._gone and not self._fresh_kernel(resources):
            cell.outputs = [_error("KernelGone", self._gone)]
        elif is_check(cell):
            judge = self._judge or self._open(resources)
            cell.outputs = [NotebookNode(o) for o in judge.outputs(cell.source, list(self._cells), self._broken)]
            self._gone = self._reason(judge.link.gone) if judge.link.gone else ""
        else:
            self._run(cell, resources, index)
        return cell, resources

    def _run(self, cell: NotebookNode, resources: dict[str, Any], index: int) -> None:
        try:
            super().preprocess_cell(cell, resources, index)
        except DeadKernelError:
            self._gone = self._reason("this cell ended the Python process it runs in")
        except CellTimeoutError:
            self._gone = "this cell could not be stopped"
        except Exception as error:  # a kernel whose messages have been tampered with
            self._gone = f"this cell made the Python process it runs in unusable: {type(error).__name__}"
        if self._gone:
            cell.outputs = [*cell.get("outputs", []), _error("KernelGone", self._gone)]
        if any(o.output_type == "error" for o in cell.outputs):
            self._broken.add(len(self._cells) - 1)
        else:
            self._sound.append((index, cell))

    def _reason(self, otherwise: str) -> str:
        ended = getattr(self.km.provisioner, "ended", "")
        return f"your code was stopped: it {ended}" if ended else otherwise

    def _fresh_kernel(self, resources: dict[str, Any]) -> bool:
        """Start over with the cells that ran through before; False if there have been enough deaths."""
        if self._deaths >= self.restarts:
            return False
        self._deaths += 1
        self._links.close()
        self._judge = None
        self._cleanup_kernel()
        self.km = self.create_kernel_manager()
        self.start_new_kernel()
        self.start_new_kernel_client()
        gone, self._gone = self._gone, ""
        for index, cell in self._sound:
            if time.monotonic() > self._deadline:
                self._gone, self._deaths = gone, self.restarts
                return False
            try:
                super().preprocess_cell(copy.deepcopy(cell), resources, index)
            except (DeadKernelError, CellTimeoutError):
                self._gone, self._deaths = gone, self.restarts
                return False
            finally:
                self.nb.cells[index] = cell  # what it put out the first time stays
        return True

    def execute_cell(self, cell: NotebookNode, cell_index: int, **kwargs: Any) -> NotebookNode:
        cell.metadata.pop("tags", None)  # nbclient's own tags could skip a cell
        self._room, self._full = _MOST_OUTPUT, False
        return super().execute_cell(cell, cell_index, **kwargs)

    def create_kernel_manager(self) -> Any:
        manager = super().create_kernel_manager()
        _bound(manager.context)
        return manager

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """As nbclient, but without widgets, whose state a kernel may pile up as it likes."""
        return None if msg["msg_type"].startswith("comm") else super().process_message(msg, cell, cell_index)

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str | None, cell_index: int) -> Any:
        """Keep a cell's outputs up to a size, and say once that the rest was cut."""
        content = msg["content"]
        if isinstance(content.get("data"), dict):  # a page of the instructor's shows outputs as they are
            content["data"] = {kind: value for kind, value in content["data"].items() if kind in _SHOWN}
        if msg["msg_type"] == "error":
            if any(o.output_type == "error" for o in outs):
                return None
            lines = [str(line)[:2000] for line in list(content.get("traceback") or [])[-20:]]
            content |= {
                "ename": str(content.get("ename"))[:80],
                "evalue": str(content.get("evalue"))[:1000],
                "traceback": lines,
            }
        shown = [content.get("text", ""), content.get("metadata", ""), *content.get("data", {}).values()]
        self._room -= _EACH_OUTPUT + sum(len(str(part)) for part in shown)
        if self._room >= 0 or msg["msg_type"] == "error":
            return super().output(outs, msg, display_id, cell_index)
        if not self._full:
            self._full = True
            outs.append(NotebookNode(output_type="stream", name="stdout", text="… the rest of this output was cut\n"))
        return None

    def _update_display_id(self, display_id: str, msg: dict[str, Any]) -> None:
        """Outputs stay as they were first shown."""

    def _get_timeout(self, cell: NotebookNode | None) -> int | None:
        """Each cell that had to be stopped halves the time of those after it: they often run the same code."""
        seconds: int | None = super()._get_timeout(cell)
        left = max(_SHORTEST, int(self._deadline - time.monotonic()))
        return min(left, max(_SHORTEST, seconds // 2**self._timeouts)) if seconds else left

    async def _async_handle_timeout(self, timeout: int, cell: NotebookNode | None = None) -> Any:
        self._timeouts += 1
        return await super()._async_handle_timeout(timeout, cell)

    def _open(self, resources: dict[str, Any]) -> Judge:
        link = self._links.enter_context(linked(self.km))
        student = resources.get("nbgrader", {}).get("student", "")
        self._judge = Judge(link, submission=student)
        return self._judge


def _error(name: str, text: str) -> NotebookNode:
    return NotebookNode(output_type="error", ename=name, evalue=text, traceback=[f"{name}: {text}"])
