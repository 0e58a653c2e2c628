"""The loop that trains a language model: chunk after chunk of a stream, stopped and gone on with at any step."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from tlcore import runtime
from tlcore.runtime import same_draws_after
from tlcore.text.awd_lstm import AWDLSTM, State, detached, slowness
from tlcore.text.batches import Chunk, Stream
from tlcore.text.keep import Keeper
from tlcore.text.softmax import IGNORED, linear_cross_entropy
from tlcore.training.schedules import SCHEDULES, Schedule

ARITHMETIC = ("auto", "float32", "bfloat16")


@dataclass
class Reading:
    """How the training went: a row now and then, and at the end of each epoch.

    A row tells epoch, step, mean loss (in nats) and tokens since the row before, rate, seconds since the start, and
    tokens a second.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    arithmetic: str = "float32"
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        """The loss of the last row."""
        return float(self.rows[-1]["loss"]) if self.rows else float("nan")


@dataclass
class _Since:
    """What happened since the last row."""

    loss: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


def read(
    net: AWDLSTM,
    stream: Stream,
    optimizer: torch.optim.Optimizer,
    *,
    epochs: int,
    schedule: str | Callable[[int], Schedule] = "stlr",
    clip: float | None = 0.5,
    activation: float = 0.0,
    temporal: float = 0.0,
    arithmetic: str = "float32",
    checkpoint: Keeper | None = None,
    log: Path | None = None,
    row_seconds: float = 30.0,
    each_epoch: Callable[[int], dict[str, Any]] = lambda number: {},
    progress: bool = True,
) -> Reading:
    """Train `net` in place on every chunk of the stream.

    Each group of the optimizer keeps its own rate; a step multiplies it by the schedule and by the chunk's length.

    Parameters
    ----------
    activation, temporal
        Weights of AR and TAR (`awd_lstm.slowness`); Merity et al. take 2 and 1.
    arithmetic
        float32, bfloat16, or auto: one step is timed in each.
    checkpoint
        Keeps the run, by time, in the middle of epochs; if there is a file, the run goes on from it.
    log
        File that gets every row as a line of JSON.
    each_epoch
        Told the epoch when it is over; what it returns is added to that row.

    Raises
    ------
    ValueError
        If an option is out of range, the loss is no number any more, or the checkpoint is of another run.
    """
    _check(epochs, arithmetic, schedule, clip)
    device, started = net.bias.device, time.perf_counter()
    saved = checkpoint.read() if checkpoint else None
    done = Reading()
    first = next(stream.epoch(1, device=device))
    done.arithmetic = saved["arithmetic"] if saved else _quicker(net, first) if arithmetic == "auto" else arithmetic
    bf16, context = done.arithmetic == "bfloat16", _context(done.arithmetic, device)
    steps = stream.steps(epochs)
    make = SCHEDULES[schedule] if isinstance(schedule, str) else schedule
    factor, base = make(steps), [group["lr"] for group in optimizer.param_groups]
    step, epoch, position = 0, 1, 0
    state: State | None = None
    since, before = _Since(), 0.0
    if checkpoint and saved:
        step, epoch, position, state, before = checkpoint.restore(saved, net, optimizer)
        done.rows, since = saved["rows"], _Since(*saved["since"])
    if log:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(json.dumps(row) + "\n" for row in done.rows), encoding="utf-8")

    def elapsed() -> float:
        return before + time.perf_counter() - started

    def row(**more: Any) -> None:
        rate = since.tokens / max(1e-9, elapsed() - since.seconds)
        found = {"epoch": epoch, "step": step, "of": steps, "loss": round(since.loss / max(1, since.tokens), 5)}
        found |= {"tokens": since.tokens, "lr": base[-1] * factor(step - 1), "seconds": round(elapsed(), 1)}
        done.rows.append(found | {"tokens_per_second": round(rate), **more})
        since.loss, since.tokens, since.seconds = 0.0, 0, elapsed()
        if log:
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done.rows[-1]) + "\n")

    def keep() -> None:
        if checkpoint:
            where = {"step": step, "epoch": epoch, "position": position, "seconds": elapsed()}
            about = {"rows": done.rows, "since": [since.loss, since.tokens, since.seconds]}
            checkpoint.save(net, optimizer, state, where | about | {"arithmetic": done.arithmetic})

    bar = iter(runtime.progress(range(step, steps), "reading", steps - step)) if progress else iter(range(step, steps))
    net.train()
    while epoch <= epochs:
        for chunk in stream.epoch(epoch, position, device):
            next(bar)
            for group, rate in zip(optimizer.param_groups, base):
                group["lr"] = rate * factor(step) * chunk.scale
            optimizer.zero_grad(set_to_none=True)
            loss, state = _loss(net, chunk, state, context, bf16, activation, temporal)
            value = float(loss[0])
            step, position = step + 1, position + 1
            if not torch.isfinite(loss[1]):
                rate = max(group["lr"] for group in optimizer.param_groups)
                raise ValueError(
                    f"the loss is {value} in epoch {epoch}, step {step} of {steps}; try a smaller lr than {rate:g}, a "
                    "smaller clip, or arithmetic float32"
                )
            loss[1].backward()
            if clip:
                torch.nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
            count = int((chunk.y != IGNORED).sum())
            since.loss, since.tokens = since.loss + value * count, since.tokens + count
            if elapsed() - since.seconds >= row_seconds:
                row()
            if checkpoint and checkpoint.due():
                keep()
        row(**each_epoch(epoch))
        epoch, position, state = epoch + 1, 0, None
        net.train()
        keep()
    next(bar, None)
    net.eval()
    done.seconds = elapsed()
    return done


def _loss(
    net: AWDLSTM,
    chunk: Chunk,
    state: State | None,
    context: AbstractContextManager[Any],
    bf16: bool,
    activation: float,
    temporal: float,
) -> tuple[tuple[torch.Tensor, torch.Tensor], State]:
    """The mean loss of a chunk, the same with penalties, and the state after it."""
    with context:
        encoded = net.encode(chunk.x, state)
    h = encoded.out.flatten(0, 1)  # (T * N, E)
    plain = linear_cross_entropy(h, net.embedding.weight, net.bias, chunk.y.flatten(), bf16=bf16)
    return (plain.detach(), plain + slowness(encoded, activation, temporal)), detached(encoded.state)


def _context(arithmetic: str, device: torch.device) -> AbstractContextManager[Any]:
    return torch.autocast(device.type, torch.bfloat16) if arithmetic == "bfloat16" else nullcontext()


def _quicker(net: AWDLSTM, chunk: Chunk) -> str:
    """Take two steps in each arithmetic on a copy; the second tells.

    On CUDA automatic mixed precision computes LSTMs in float16, without the scaling that it needs: not by itself.
    """
    if chunk.x.is_cuda:
        return "float32"
    times = {}
    with same_draws_after(chunk.x.device):
        for name in ("float32", "bfloat16"):
            trial = copy.deepcopy(net).train()
            for _ in range(2):
                start = time.perf_counter()
                loss, _ = _loss(trial, chunk, None, _context(name, chunk.x.device), name == "bfloat16", 0, 0)
                loss[1].backward()
                float(trial.bias.grad.sum())  # type: ignore[union-attr]  # waits for the device
                times[name] = time.perf_counter() - start
    return "bfloat16" if times["bfloat16"] < 0.9 * times["float32"] else "float32"


def _check(epochs: int, arithmetic: str, schedule: Any, clip: float | None) -> None:
    if epochs < 1:
        raise ValueError(f"epochs={epochs}: from 1 on is accepted")
    if arithmetic not in ARITHMETIC:
        raise ValueError(f"arithmetic={arithmetic!r}: accepted are {', '.join(ARITHMETIC)}")
    if isinstance(schedule, str) and schedule not in SCHEDULES:
        raise ValueError(f"schedule={schedule!r}: accepted are {', '.join(SCHEDULES)}")
    if clip is not None and clip <= 0:
        raise ValueError(f"clip={clip}: a norm above 0 is accepted")
