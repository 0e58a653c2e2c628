"""Runs a check cell outside the student's process.

Tests inside the student's process can never be tamper-proof. So the check cell runs here, in the grader's
process; each name that the student defines is a `Handle` (or a copy, if it is plain data), and each call
through it is sent to the student's kernel and comes back as data (see `codec`, `agent`). Whatever the student's
code does to its own process, it cannot say "passed": it can only return a value, and the value is compared here.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import json
import pickle
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tlcore.grading import codec
from tlcore.grading.checks import Checks
from tlcore.grading.context import Context, KernelGone, NoAnswer, TooSlow, quiet, seeded, use
from tlcore.grading.forbid import free_names

_CELL_SECONDS = 60.0
_GRACE_SECONDS = 3.0


class Link:
    """One request at a time to the agent in a kernel.

    Parameters
    ----------
    client
        Blocking kernel client with a started shell channel.
    inbox, outbox
        Folders for large values, seen by both sides: requests, which the student's side should only be able to
        read, and replies.
    alive, interrupt
        Ask whether the kernel lives; interrupt what it runs.
    """

    def __init__(
        self, client: Any, inbox: Path, outbox: Path, *, alive: Callable[[], bool], interrupt: Callable[[], Any]
    ) -> None:
        self.client, self.inbox, self.outbox, self.alive, self.interrupt = client, inbox, outbox, alive, interrupt
        self.gone = ""

    def ask(
        self, op: str, *args: Any, seed: int, deadline: float, handle: Callable[[int, str], Any], **more: Any
    ) -> Any:
        """Send one operation; return its decoded answer or raise what the student's code raised.

        `handle` makes what stands here for an object there, from its number and type name.
        """

        def other(tree: dict[str, Any], decode: codec.Decoder) -> Any:
            if tree["t"] != "handle":
                raise codec.CodecError(f"unknown tag {tree['t']!r}")
            return handle(int(tree["i"]), str(tree["n"])[:80])

        encoder = codec.Encoder(_importable)
        message = {"op": op, "args": encoder(args), "seed": seed} | more
        text = codec.pack(message, encoder.blobs, self.inbox / "request")
        reply = self._exchange(text, deadline)
        try:
            answer, blobs = codec.unpack(reply, self.outbox / "reply")
            if "error" not in answer:
                return codec.Decoder(blobs, other)(answer["ok"])
            error = _exception(answer["error"])
        except Exception as problem:  # a reply may be anything at all
            raise AssertionError(f"your code's answer could not be read: {problem}") from None
        raise error

    def _exchange(self, text: str, deadline: float) -> str:
        if self.gone:
            raise KernelGone(self.gone)
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise TooSlow("took too long in all")
        serve = "__import__('tlcore.grading.agent', fromlist=['serve']).serve"
        expression = f"{serve}({text!r}, {str(self.inbox)!r}, {str(self.outbox)!r}, globals())"
        sent = self.client.execute(
            "", silent=True, store_history=False, allow_stdin=False, user_expressions={"r": expression}
        )
        content = self._reply(sent, deadline)
        if content is None:
            self.interrupt()
            if self._reply(sent, time.monotonic() + _GRACE_SECONDS) is None:
                self.gone = "your code could not be stopped"
            raise TooSlow(f"took longer than {seconds:.0f} s: does your code come to an end?")
        try:
            return str(content["user_expressions"]["r"]["data"]["text/plain"])
        except (KeyError, TypeError):
            raise AssertionError("your kernel gave no answer") from None

    def _reply(self, sent: str, deadline: float) -> dict[str, Any] | None:
        while (left := deadline - time.monotonic()) > 0:
            try:
                message = self.client.get_shell_msg(timeout=min(left, 1.0))
            except Exception as empty:  # queue.Empty, or a message that cannot be parsed
                if not self.alive():
                    self.gone = "your code ended the Python process it runs in"
                    raise KernelGone(self.gone) from empty
                continue
            with contextlib.suppress(Exception):  # a message may lack anything
                if message["parent_header"]["msg_id"] == sent:
                    return dict(message["content"])
        return None


class Judge(Context):
    """Runs check cells against the kernel behind `link`."""

    outside = True

    def __init__(self, link: Link, *, submission: str = "") -> None:
        super().__init__(submission=submission)
        self.link = link
        self._names: dict[str, Any] = {}
        self._check = "outside any check"
        self._calls = 0
        self._deadline = self._cell_deadline = 0.0

    def run(self, source: str, cells: list[str], broken: Iterable[int] = ()) -> Any:
        """Execute a check cell; return the value of its last line.

        `cells` are the student's cells that ran before it, `broken` the indices of those that ended in an error.
        """
        self.source, self.cells, self.broken = source, cells, set(broken)
        self._names = {"__name__": "tlcore_check", "__builtins__": builtins}
        self._deadline = self._cell_deadline = time.monotonic() + _CELL_SECONDS
        self._calls = 0
        tree = ast.parse(source, "<check>")
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        with use(self):
            try:
                self._refresh()
                exec(compile(tree, "<check>", "exec"), self._names)
                if isinstance(last, ast.Expr):
                    return eval(compile(ast.Expression(last.value), "<check>", "eval"), self._names)
                return None
            finally:
                with contextlib.suppress(Exception, NoAnswer):
                    self.ask("forget")

    def outputs(self, source: str, cells: list[str], broken: Iterable[int] = ()) -> list[dict[str, Any]]:
        """Like `run`, but as the outputs of a notebook cell."""
        try:
            value = self.run(source, cells, broken)
        except (Exception, NoAnswer) as error:
            shown = traceback.format_exception_only(error)
            return [_error(type(error).__name__, str(error), shown)]
        if value is None:
            return []
        data = value._repr_mimebundle_() if isinstance(value, Checks) else {"text/plain": repr(value)}
        result = {"output_type": "execute_result", "data": data, "metadata": {}, "execution_count": None}
        return [result]

    @contextlib.contextmanager
    def limit(self, check: str, seconds: float) -> Iterator[None]:
        self._check, self._calls = check, 0
        self._deadline = min(time.monotonic() + seconds, self._cell_deadline)
        try:
            with quiet(), seeded(self.seed(check)):
                self._refresh()
                yield
        finally:
            self._deadline = self._cell_deadline

    def call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self.ask("remote", args, kwargs, **self._locate(fn))

    def ask(self, op: str, *args: Any, **more: Any) -> Any:
        """Ask the agent, seeded by submission, check and call."""
        self._calls += 1
        seed = self.seed(self._check, self._calls)
        return self.link.ask(
            op,
            *args,
            seed=seed,
            deadline=self._deadline,
            handle=lambda i, kind: Handle(self, i, kind),
            **more,
        )

    def _refresh(self) -> None:
        """Bring the student's names up to date; a missing one is simply not defined."""
        wanted = sorted(free_names(self.source))
        for name in wanted:
            self._names.pop(name, None)
        found = self.ask("get", names=wanted) if wanted else {}
        if type(found) is dict:
            self._names.update({n: v for n, v in found.items() if n in wanted})

    def _locate(self, fn: Callable[..., Any]) -> dict[str, str]:
        """How the other side finds `fn`: by import, or by its source if it stands in the check cell."""
        module, name = getattr(fn, "__module__", None) or "builtins", getattr(fn, "__qualname__", "")
        with contextlib.suppress(ImportError, AttributeError):
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
            if found is fn:
                return {"module": module, "name": name}
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.FunctionDef) and node.name == name.split(".")[-1]:
                node.decorator_list = []
                alone = ast.unparse(node)
                if not (missing := sorted(free_names(alone))):
                    return {"source": alone, "name": node.name}
                raise TypeError(
                    f"remote({node.name}): it uses {', '.join(missing)} from outside; import or pass it instead"
                )
        raise TypeError(f"remote({fn!r}): pass an importable function, or one defined in the check cell")


class Handle:
    """Stands for an object in the student's kernel: call it, look up attributes and items, iterate, take its length.

    It compares equal to nothing and has no truth value: a check must get at plain data.
    """

    __slots__ = ("_judge", "_number", "_type")

    def __init__(self, judge: Judge, number: int, kind: str) -> None:
        object.__setattr__(self, "_judge", judge)
        object.__setattr__(self, "_number", number)
        object.__setattr__(self, "_type", kind)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._judge.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name not in ("__name__", "__doc__", "__dict__"):
            raise AttributeError(name)  # NumPy and copy look for protocols that a handle does not have
        return self._judge.ask("attribute", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise TypeError(f"cannot set {name!r} from outside the student's process; use remote(setattr, …)")

    def __getitem__(self, key: Any) -> Any:
        return self._judge.ask("item", self, key)

    def __len__(self) -> int:
        return _natural(self._judge.ask("length", self))

    def __iter__(self) -> Iterator[Any]:
        iterator = self._judge.ask("iterate", self)
        while True:
            values = self._judge.ask("next", iterator, 1)
            if type(values) is not list or not values:
                return
            yield values[0]

    def __eq__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        return hash(self._number)

    def __bool__(self) -> bool:
        raise TypeError(f"an object of type {self._type} is neither true nor false here; compare a value")

    def __repr__(self) -> str:
        return f"<student's {self._type}>"


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise TypeError("the length is not a number")
    return value


def _importable(value: Any, encode: codec.Encoder) -> Any:
    """Encode what goes in and is not plain: a handle by number, an importable object by pickle."""
    if type(value) is Handle:
        return {"t": "handle", "i": value._number}
    try:
        return {"t": "pickle", "b": encode.blob(pickle.dumps(value))}
    except Exception:
        raise TypeError(
            f"{value!r} cannot be sent to the student's process: send plain data, arrays, importable"
            " functions and objects (math.sin, torch.relu), or do the whole thing in one remote(…)"
        ) from None


def _exception(described: dict[str, Any]) -> BaseException:
    """Rebuild the student's exception as its nearest built-in kind."""
    text, trace = str(described["text"])[:1000], str(described["trace"])[:4000]
    for name in described["kinds"]:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            with contextlib.suppress(TypeError):
                error = kind(text)
                error.student_trace = trace  # type: ignore[attr-defined]
                return error
    error = RuntimeError(f"{str(described['name'])[:80]}: {text}")
    error.student_trace = trace  # type: ignore[attr-defined]
    return error


def _error(name: str, text: str, lines: list[str]) -> dict[str, Any]:
    return {
        "output_type": "error",
        "ename": name,
        "evalue": text[:1000],
        "traceback": [line[:2000] for line in lines],
    }


def bundle(outputs: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the results that a check cell left in its outputs, from either mode of running."""
    from tlcore.grading.checks import MIME

    for output in outputs:
        if output.get("output_type") == "execute_result" and MIME in output["data"]:
            found = output["data"][MIME]
            return dict(json.loads(found) if isinstance(found, str) else found)
    return None
