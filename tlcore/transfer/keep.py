"""Which epoch's weights to keep: the last, the best (early stopping), or some epochs before the loss began to rise."""

from __future__ import annotations

import torch
from torch import nn

from tlcore.training import History

Weights = dict[str, torch.Tensor]


class Keeper:
    """Holds the weights that going back may need, and no others.

    Parameters
    ----------
    step_back
        How many epochs to go back from the one in which the validation loss began to rise; None for none.
    """

    def __init__(self, model: nn.Module, step_back: int | None) -> None:
        self.model, self.step_back = model, step_back
        self.held: dict[int, Weights] = {0: self._weights()} if step_back else {}
        self.best: int | None = None

    def note(self, history: History) -> None:
        """Tell that an epoch is over, whose weights the network has now."""
        if self.step_back:
            now, goal = history.last.epoch, self._goal(history)
            self.held[now] = self._weights()
            self.held = {n: w for n, w in self.held.items() if n == goal or n > now - self.step_back}

    def phase_over(self, history: History, *, early: bool) -> None:
        """Tell that a phase is over; with early stopping the network now has the weights of the phase's best epoch."""
        if early and not self.step_back and history.best.epoch != self.best:
            self.best, self.held = history.best.epoch, {history.best.epoch: self._weights()}

    def go_back(self, history: History) -> int:
        """Give the network the weights to keep, and return their epoch."""
        last = history.last.epoch
        goal = self._goal(history) if self.step_back else last if self.best is None else self.best
        if self.step_back and history.best.epoch == last:
            goal = last
        if self.step_back:
            rose = f"the validation loss rose after epoch {history.best.epoch}: back to epoch {goal}"
            told = "the validation loss did not rise: no step back" if goal == last else rose
            history.stopped = "; ".join(filter(None, (history.stopped, told)))
        if goal in self.held:
            self.model.load_state_dict(self.held[goal])
        return goal

    def _goal(self, history: History) -> int:
        return max(0, history.best.epoch + 1 - (self.step_back or 1))

    def _weights(self) -> Weights:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
