"""A language model's training in one file, written every few minutes in the middle of epochs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from tlcore.text.awd_lstm import AWDLSTM, State


class Keeper:
    """Saves a run and brings it back: weights, optimizer, the state that is carried on, the place, and the draws.

    The file holds plain data and tensors only, and is read as such: a file from elsewhere cannot run code.

    Parameters
    ----------
    settings
        What makes it this run; another's file is refused.
    minutes
        Between two savings; 0 saves after every step.
    more
        Kept beside, such as the vocabulary.
    """

    def __init__(
        self, path: str | Path, settings: dict[str, Any], *, minutes: float = 3.0, more: dict[str, Any] | None = None
    ) -> None:
        self.path, self.settings, self.minutes, self.more = Path(path), settings, minutes, more or {}
        self.last = time.monotonic()

    def due(self) -> bool:
        """Whether it is time to save."""
        return time.monotonic() - self.last >= 60 * self.minutes

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
            raise ValueError(f"{self.path.name} is no whole checkpoint ({error}); remove it to start anew") from None
        other = {key: value for key, value in self.settings.items() if theirs.get(key) != value}
        if other:
            told = ", ".join(f"{key} {theirs.get(key)} there and {value} here" for key, value in other.items())
            raise ValueError(f"{self.path.name} is of another run: {told}; remove it to start anew")
        return saved

    def save(self, net: AWDLSTM, optimizer: torch.optim.Optimizer, state: State | None, place: dict[str, Any]) -> None:
        """Write beside and rename: a run that is killed meanwhile keeps the file before."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".part")
        draws = {"cpu": torch.get_rng_state()}
        if net.bias.is_cuda:
            draws["cuda"] = torch.cuda.get_rng_state(net.bias.device)
        torch.save(
            {
                "settings": self.settings,
                "net": net.state_dict(),
                "optimizer": optimizer.state_dict(),
                "state": state,
                "draws": draws,
            }
            | place
            | self.more,
            beside,
        )
        beside.replace(self.path)
        self.last = time.monotonic()

    def restore(
        self, saved: dict[str, Any], net: AWDLSTM, optimizer: torch.optim.Optimizer
    ) -> tuple[int, int, int, State | None, float]:
        """Put everything back; return step, epoch, place in the epoch, the carried state, and the seconds so far."""
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        device = net.bias.device
        state = saved["state"]
        if state is not None:
            state = [(h.to(device), c.to(device)) for h, c in state]
        torch.set_rng_state(saved["draws"]["cpu"])
        if net.bias.is_cuda and "cuda" in saved["draws"]:
            torch.cuda.set_rng_state(saved["draws"]["cuda"], device)
        return saved["step"], saved["epoch"], saved["position"], state, saved["seconds"]
