"""Parameter transfer as a prior: weight decay towards the pre-trained weights instead of towards 0.

Source: Li, Grandvalet & Davoine 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks"
(arXiv:1802.01483).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore.transfer.heads import find_head

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class L2SP:
    """A loss for `fine_tune` or `training.fit`: the task's, plus a pull of the weights to where they started.

    >>> from tlcore import transfer, worlds, zoo
    >>> net = zoo.get_model("resnet20")  # in earnest with weights
    >>> data = worlds.Shapes(shapes=("circle", "star")).sample(32)
    >>> done = transfer.fine_tune(net, data, loss=L2SP(net, alpha=0.1, beta=0.01), num_classes=2, epochs=1,
    ...                           weight_decay=0, progress=False)
    >>> done.history.last.epoch
    1

    Setting: inductive (other labels). Knowledge: parameters. Labels: target; of the source only the trained network.

    Parameters
    ----------
    model
        Trained; its weights now are the starting point. Biases and normalisation are pulled as well, as in the paper.
    alpha
        Of the pull, alpha/2 |w - w0|², on all weights below the head; to be chosen by validation, as in the paper.
    beta
        Of the head's decay, beta/2 |w|²; the paper takes 0.01. The head may be replaced afterwards.
    loss
        Of the task.

    Raises
    ------
    ValueError
        For negative numbers, a network without a head, or one whose weights have other shapes than at the start.

    Notes
    -----
    Eq. 3. Set ``weight_decay=0``: the optimizer's own would pull to 0. The penalty counts in training only, so a
    validation loss is the task's.
    """

    def __init__(self, model: nn.Module, *, alpha: float = 0.1, beta: float = 0.01, loss: Loss = cross_entropy) -> None:
        for name, value in (("alpha", alpha), ("beta", beta)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"L2SP({name}={value!r}): from 0 on is accepted, such as 0.1")
        self.model, self.alpha, self.beta, self.loss = model, alpha, beta, loss
        self.head = find_head(model)
        self.start = {name: p.detach().clone() for name, p in model.named_parameters() if not self._in_head(name)}

    def __call__(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        value = self.loss(out, y)
        return value + self.penalty() if torch.is_grad_enabled() else value

    def penalty(self) -> torch.Tensor:
        """alpha/2 |w - w0|² below the head, and beta/2 |w|² of the head."""
        total = next(self.model.parameters()).new_zeros(())
        for name, parameter in self.model.named_parameters():
            if not parameter.requires_grad:
                continue  # frozen: it stays where it started
            if self._in_head(name):
                total = total + self.beta / 2 * parameter.square().sum()
            elif name not in self.start or self.start[name].shape != parameter.shape:
                was = tuple(self.start[name].shape) if name in self.start else "not there"
                raise ValueError(
                    f"L2SP: {name} is {tuple(parameter.shape)} and was {was} at first; only the head may be replaced"
                )
            else:
                start = self.start[name] = self.start[name].to(parameter.device)
                total = total + self.alpha / 2 * (parameter - start).square().sum()
        return total

    def distance(self) -> float:
        """How far the weights below the head are from their start, |w - w0|."""
        with torch.no_grad():
            now = dict(self.model.named_parameters())
            return float(sum((now[n] - s.to(now[n].device)).square().sum() for n, s in self.start.items()) ** 0.5)

    def _in_head(self, name: str) -> bool:
        return name == self.head or name.startswith(f"{self.head}.") or not self.head
