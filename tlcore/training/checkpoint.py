"""Everything a training run needs to go on where it was stopped, in one file, written after every epoch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tlcore.training.distributed import gathered, inner, rank, world
from tlcore.training.history import Epoch, History
from tlcore.training.precision import Arithmetic


class Checkpoint:
    """Saves a run and brings it back: weights, optimizer, schedule, averages, history, and every process's draws.

    The file holds plain data and tensors only, and is read as such: a file from elsewhere cannot run code.
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]) -> None:
        self.path, self.settings = Path(path), settings | {"processes": world()}

    def read(self) -> dict[str, Any] | None:
        """What was saved, or None where nothing was.

        Raises
        ------
        ValueError
            If the file is no checkpoint, or one of a run with other settings.
        """
        if not self.path.is_file():
            return None
        try:
            saved: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
            theirs = saved["settings"]
        except Exception as error:
            raise ValueError(f"fit(checkpoint=…): {self.path.name} is no whole checkpoint ({error})") from None
        other = {key: value for key, value in self.settings.items() if theirs.get(key) != value}
        if other:
            told = ", ".join(f"{key} {theirs.get(key)} there and {value} here" for key, value in other.items())
            raise ValueError(f"fit(checkpoint=…): {self.path.name} is of another run: {told}; remove it to start anew")
        return saved

    def save(
        self, model: nn.Module, average: nn.Module | None, kept: Any, history: History, batches: Any, **states: Any
    ) -> None:
        """Write beside and rename: a run that is killed meanwhile keeps the epoch before."""
        draws = {"torch": torch.get_rng_state()}
        if hasattr(batches, "state_dict"):
            draws["batches"] = batches.state_dict()
        everyones = gathered(draws)
        if rank() > 0:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".part")
        torch.save(
            {
                "settings": self.settings,
                "arithmetic": asdict(history.settings["arithmetic"]),
                "epochs": [tuple(epoch) for epoch in history.epochs],
                "model": inner(model).state_dict(),
                "average": average.state_dict() if average is not None else None,
                "kept": kept,
                "draws": everyones,
            }
            | {name: part.state_dict() for name, part in states.items()},
            beside,
        )
        beside.replace(self.path)

    def restore(
        self,
        saved: dict[str, Any],
        model: nn.Module,
        average: nn.Module | None,
        history: History,
        batches: Any,
        **states: Any,
    ) -> dict[str, torch.Tensor] | None:
        """Put everything back, and return the weights of the best epoch so far.

        Raises
        ------
        ValueError
            If the checkpoint is of another architecture, with the tensors that do not fit.
        """
        from tlcore import zoo

        zoo.load(inner(model), saved["model"], f"of the checkpoint {self.path.name}")
        inner(model).load_state_dict(saved["model"])
        if average is not None:
            average.load_state_dict(saved["average"])
        for name, part in states.items():
            part.load_state_dict(saved[name])
        history.epochs[:] = [Epoch(*epoch) for epoch in saved["epochs"]]
        mine = saved["draws"][rank()]
        torch.set_rng_state(mine["torch"])
        if hasattr(batches, "load_state_dict"):
            batches.load_state_dict(mine["batches"])
        kept: dict[str, torch.Tensor] | None = saved["kept"]
        return kept


def arithmetic_of(saved: dict[str, Any]) -> Arithmetic:
    """How the run computed; a run that goes on must not choose anew."""
    return Arithmetic(**saved["arithmetic"])
