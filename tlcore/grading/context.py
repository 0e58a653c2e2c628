"""Where a check runs: inside the student's kernel, or in the judge outside it.

The same source of a check cell runs in both places. What differs is collected in a `Context`:
how a check is seeded and limited in time, and who calls `remote` functions.
"""

from __future__ import annotations

import contextlib
import contextvars
import io
import random
import signal
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

Answer = TypeVar("Answer")


class NoAnswer(BaseException):
    """The student's code gave no answer. Not an `Exception`, so that their ``except Exception`` cannot catch it."""


class TooSlow(NoAnswer):
    """A check, or a call into the student's code, took longer than it may."""


class KernelGone(NoAnswer):
    """The student's kernel died, or can no longer be stopped."""


@dataclass
class Context:
    """Surroundings of one check cell.

    Parameters
    ----------
    source
        The check cell itself; its free names are what the student defines.
    cells
        Sources of the code cells that ran before it, in order.
    broken
        Indices of those that are known to have ended in an error.
    submission
        Mixed into every seed, so that two submissions meet different random inputs.
    """

    source: str = ""
    cells: list[str] = field(default_factory=list)
    broken: set[int] = field(default_factory=set)
    submission: str = ""
    outside = False

    def limit(self, check: str, seconds: float) -> contextlib.AbstractContextManager[None]:
        """Seed the check and stop it after `seconds`."""
        return _inside(self.seed(check), seconds)

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run `fn` where the student's objects live."""
        return fn(*args, **kwargs)

    def seed(self, *parts: object) -> int:
        """Number between 0 and 2**32 that depends on the submission and `parts`, and on nothing else."""
        return zlib.crc32(":".join(map(str, (self.submission, *parts))).encode())


_current: contextvars.ContextVar[Context | None] = contextvars.ContextVar("tlcore_context", default=None)


def current() -> Context:
    """Context set by the judge, or else one read from the running notebook."""
    return _current.get() or _notebook()


@contextlib.contextmanager
def use(context: Context) -> Iterator[None]:
    """Make `context` the current one, as the judge does around a check cell."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def _notebook() -> Context:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    cells = list(shell.user_ns.get("In", [])) if shell else []
    return Context(source=cells[-1], cells=cells[:-1]) if cells else Context()


def remote(fn: Callable[..., Answer], *args: Any, **kwargs: Any) -> Answer:
    """Call `fn` in the process where the student's objects live, and bring back a snapshot.

    Needed for whatever must happen beside the student's objects: autograd through their module,
    an optimizer step, freezing in place. Under stock nbgrader it is a plain call.

    >>> from tlcore.grading import remote
    >>> remote(sorted, [3, 1, 2])
    [1, 2, 3]

    Parameters
    ----------
    fn
        An importable function, or one defined in the check cell that uses nothing but its own
        arguments, builtins and what it imports itself.

    Returns
    -------
    Plain data, arrays and tensors are copied; other objects come back as handles.
    """
    answer: Answer = current().call(fn, args, kwargs)
    return answer


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed Python, NumPy and torch (those already imported); put their states back afterwards."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    python_state = random.getstate()
    numpy_state = numpy.random.get_state() if numpy else None
    torch_state = torch.get_rng_state() if torch else None
    random.seed(seed)
    if numpy:
        numpy.random.seed(seed)
    if torch:
        torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        if numpy:
            numpy.random.set_state(numpy_state)
        if torch:
            torch.set_rng_state(torch_state)


class _Nowhere(io.TextIOBase):
    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Drop what is printed: nbgrader takes any text on stderr for a failure, and reads the first output."""
    with contextlib.redirect_stdout(_Nowhere()), contextlib.redirect_stderr(_Nowhere()):
        yield


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `TooSlow` in the main thread after `seconds`; elsewhere, and on Windows, no limit applies."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TooSlow(f"took longer than {seconds:g} s: does your code come to an end?")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _inside(seed: int, seconds: float) -> Iterator[None]:
    with quiet(), seeded(seed), _no_new_figures(), time_limit(seconds):
        yield


@contextlib.contextmanager
def _no_new_figures() -> Iterator[None]:
    pyplot = sys.modules.get("matplotlib.pyplot")
    before = set(pyplot.get_fignums()) if pyplot else set()
    try:
        yield
    finally:
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            for number in set(pyplot.get_fignums()) - before:
                pyplot.close(number)
