"""Runs check cells on one kernel in both modes: as stock nbgrader does, and judged from outside."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from jupyter_client.manager import start_new_kernel

from tlcore.grading.execute import linked
from tlcore.grading.judge import Judge, bundle


class BothModes:
    """A kernel that plays the student; remembers the cells it ran."""

    def __init__(self, manager: Any, client: Any, judge: Judge) -> None:
        self.manager, self.client, self.judge = manager, client, judge
        self.cells: list[str] = []

    def student(self, code: str) -> list[dict[str, Any]]:
        """Run a student's cell."""
        self.cells.append(code)
        return self._execute(code)

    def stock(self, check: str) -> list[dict[str, Any]]:
        """Outputs of a check cell run inside the kernel."""
        return self._execute(check)

    def judged(self, check: str) -> list[dict[str, Any]]:
        """Outputs of a check cell run outside of it."""
        return self.judge.outputs(check, list(self.cells))

    def _execute(self, code: str) -> list[dict[str, Any]]:
        outputs: list[dict[str, Any]] = []

        def keep(message: dict[str, Any]) -> None:
            kind, content = message["header"]["msg_type"], message["content"]
            if kind in ("execute_result", "display_data", "error", "stream"):
                outputs.append({"output_type": kind, **content})

        self.client.execute_interactive(code, output_hook=keep, timeout=120, allow_stdin=False)
        return outputs


@contextmanager
def both_modes(**environment: str) -> Iterator[BothModes]:
    """Start a kernel with the agent's link beside it."""
    import os

    manager, client = start_new_kernel(
        kernel_name="python3", env=os.environ | environment, extra_arguments=["--IPKernelApp.log_level=40"]
    )
    try:
        with linked(manager) as link:
            yield BothModes(manager, client, Judge(link, submission="a"))
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


def passed(outputs: list[dict[str, Any]]) -> dict[str, bool]:
    """Name of each check -> passed, as the outputs of a check cell report them."""
    found = bundle(outputs)
    assert found is not None, outputs
    return {r["name"]: r["passed"] for r in found["results"]}
