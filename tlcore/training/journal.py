"""The lab's journal: rows of finished experiments in a file, so that a run that was stopped goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tlcore.training.experiment import Job


class Journal:
    """Rows of finished experiments in a file, one JSON object a line; other runs' rows in it are left alone."""

    def __init__(self, path: str | Path | None, job: Job) -> None:
        self.path = Path(path) if path else None
        self.rows: dict[str, dict[str, Any]] = {}
        if not self.path:
            return
        net = job.models([0])[0]
        text = json.dumps([job.steps, job.batch_size, str(job.dtype), str(net), _told(job.loss), len(job.sets)])
        key = hashlib.sha256(text.encode())
        for one in [*job.sets, *(job.checks or [])]:
            key.update(_bytes(one.inputs) + _bytes(one.targets))  # type: ignore[arg-type]
        for name, tensor in net.state_dict(keep_vars=True).items():
            key.update(f"{name}{tensor.requires_grad}".encode() + _bytes(tensor))
        self.key = key.hexdigest()[:16]
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    if entry["key"] == self.key:
                        self.rows[json.dumps(entry["plan"], sort_keys=True)] = entry["row"]
                except (ValueError, KeyError, TypeError):  # the last line of a run that was killed
                    continue

    def row(self, plan: Mapping[str, Any]) -> dict[str, Any] | None:
        return self.rows.get(json.dumps(plan, sort_keys=True, default=str))

    def keep(self, plan: Mapping[str, Any], row: Mapping[str, Any]) -> None:
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            torn = self.path.is_file() and not self.path.read_bytes().endswith(b"\n") and self.path.stat().st_size > 0
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write("\n" * torn + json.dumps({"key": self.key, "plan": plan, "row": row}, default=str) + "\n")


def _told(loss: Any) -> str:
    """A function by its name, a module or a partial function with its settings too."""
    inner = getattr(loss, "func", loss)
    settings = getattr(loss, "__dict__", {}) | getattr(loss, "keywords", {})
    plain = {key: value for key, value in sorted(settings.items()) if isinstance(value, (int, float, str))}
    return f"{getattr(inner, '__qualname__', type(inner).__qualname__)} {plain}"


def _bytes(tensor: torch.Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return f"{tensor.dtype}{tuple(tensor.shape)}".encode() + flat.view(torch.uint8).numpy().tobytes()
