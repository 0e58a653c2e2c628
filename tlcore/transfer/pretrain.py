"""Pre-training for real: a network, a dataset, a recipe; what comes out is weights, a log and a card.

From the command line: ``tlcore pretrain cifar10``, or ``torchrun --nproc-per-node 8 -m tlcore pretrain imagenet``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn

from tlcore import runtime, training, weights, zoo
from tlcore.training.distributed import gathered, rank, world
from tlcore.transfer.sources import Source, source

ARITHMETIC = {
    "float32": training.Arithmetic(channels_last=True),
    "bfloat16": training.Arithmetic(bf16=True, channels_last=True),
}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a pre-training run gives; it is kept in the card.

    Parameters
    ----------
    data
        cifar10, shapes, imagenet (folders train/CLASS/ and val/CLASS/), or any other set of images of `worlds.load`.
    classes
        Train on these classes only; default all.
    size
        Images drawn from a generated world.
    arithmetic
        "auto" takes the fastest here; "float32" and "bfloat16" fix it, for runs that are to be compared bit by bit.
    lr
        Largest rate; None takes 0.1 for a batch of 128, and in proportion for others (Goyal et al. 2017).
    """

    data: str = "cifar10"
    model: str = "resnet20"
    classes: tuple[str, ...] = ()
    epochs: int = 40
    batch_size: int = 128
    lr: float | None = None
    weight_decay: float = 5e-4
    schedule: str = "one_cycle"
    size: int = 40_000
    seed: int = 0
    arithmetic: str = "auto"

    @property
    def rate(self) -> float:
        return 0.1 * self.batch_size * world() / 128 if self.lr is None else self.lr


def pretrain(
    recipe: Recipe,
    out: str | Path,
    *,
    name: str | None = None,
    root: str | Path | None = None,
    device: torch.device | str | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Train a network from scratch; write its weights (float16), its card and its log to the folder `out`.

    >>> import tempfile
    >>> recipe = Recipe("shapes", "resnet20", classes=("circle", "star"), epochs=1, size=128)
    >>> card = pretrain(recipe, tempfile.mkdtemp(), device="cpu")
    >>> card["name"], card["classes"], sorted(card["accuracy"])
    ('resnet20-shapes', ['circle', 'star'], ['shapes, 2 classes'])

    A run that was stopped goes on from its last whole epoch when it is started again with the same recipe and folder.
    Under ``torchrun`` the processes share the work.

    Parameters
    ----------
    name
        Of the weights; default model-data.
    root
        Where the data lies; default as `worlds.load`.
    command
        For the card: what a reader would type.

    Raises
    ------
    ValueError
        For unknown data, classes or networks; a network that takes other images; a checkpoint of another run.
    """
    where = _join(device)
    torch.manual_seed(recipe.seed)
    found = source(recipe.data, root, recipe.classes, recipe.size, recipe.batch_size, recipe.seed, where)
    net = zoo.get_model(recipe.model, num_classes=len(found.classes), in_channels=found.channels).to(where)
    if recipe.arithmetic not in (*ARITHMETIC, "auto"):
        raise ValueError(f"Recipe(arithmetic={recipe.arithmetic!r}): accepted are {', '.join(ARITHMETIC)} and auto")
    arithmetic = ARITHMETIC.get(recipe.arithmetic) or gathered(training.fastest(net, found.probe.to(where)))[0]
    model: nn.Module = arithmetic.model(net)
    if world() > 1:
        model = nn.parallel.DistributedDataParallel(net, device_ids=[where] if where.type == "cuda" else None)
    name, folder = name or f"{recipe.model}-{recipe.data}", Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    log, checkpoint = folder / f"{name}.log.jsonl", folder / f"{name}.checkpoint"
    history = training.fit(
        model,
        found.train,
        epochs=recipe.epochs,
        lr=recipe.rate,
        weight_decay=recipe.weight_decay,
        schedule=recipe.schedule,
        batch_size=recipe.batch_size,
        arithmetic=arithmetic,
        device=where,
        seed=recipe.seed,
        checkpoint=checkpoint,
        each_epoch=lambda epoch: _log(log, epoch),
    )
    if world() > 1:  # the statistics of batch normalisation are each process's own
        for tensor in net.state_dict().values():
            distributed.broadcast(tensor, 0)
    short = {key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in net.state_dict().items()}
    net.load_state_dict(short)  # what is measured is what is shipped
    accuracy = {
        test: round(training.evaluate(net, data, device=where, shared=True)[1] or 0.0, 4)
        for test, data in found.tests()
    }
    card = _card(name, recipe, found, net, history, accuracy, command)
    if rank() == 0:
        weights.write(folder / f"{name}.safetensors", short, card)
    return card


def _card(
    name: str,
    recipe: Recipe,
    found: Source,
    net: nn.Module,
    history: training.History,
    accuracy: dict[str, float],
    command: str,
) -> dict[str, Any]:
    return {
        "name": name,
        "model": recipe.model,
        "classes": list(found.classes),
        "data": found.origin,
        "images": found.count,
        "inputs": f"float images (N, {found.channels}, H, W) with values in [0, 1], not normalised any further",
        "accuracy": accuracy,
        "recipe": asdict(replace(recipe, lr=recipe.rate)) | {"augmentation": list(found.augment)},
        "command": command,
        "seconds": round(sum(history.column("seconds"))),
        "last train accuracy": round(history.last.train_accuracy or 0.0, 4),
        "device": str(history.settings["device"]),
        "processes": world(),
        "arithmetic": str(history.settings["arithmetic"]),
        "parameters": sum(p.numel() for p in net.parameters()),
        "torch": torch.__version__,
    }


def _log(path: Path, epoch: training.Epoch) -> None:
    """One line an epoch; an epoch that was killed after its line and is done again replaces it."""
    if rank() == 0:
        lines = path.read_text(encoding="utf-8").splitlines()[: epoch.epoch - 1] if path.is_file() else []
        path.write_text("\n".join([*lines, json.dumps(epoch._asdict())]) + "\n", encoding="utf-8")


def _join(device: torch.device | str | None) -> torch.device:
    """The device of this process; under torchrun it joins the others first."""
    if "LOCAL_RANK" in os.environ:
        number = int(os.environ["LOCAL_RANK"])
        if torch.cuda.is_available() and str(device or "cuda").startswith("cuda"):
            torch.cuda.set_device(number)
            device = torch.device("cuda", number)
        if not distributed.is_initialized():
            distributed.init_process_group("nccl" if torch.device(device or "cpu").type == "cuda" else "gloo")
        return torch.device(device or "cpu")
    return runtime.device() if device is None else torch.device(device)


def parse_classes(given: Sequence[str] | str | None) -> tuple[str, ...]:
    """Class names from a list with commas.

    >>> parse_classes("cat, dog")
    ('cat', 'dog')
    """
    parts = given.split(",") if isinstance(given, str) else given or ()
    return tuple(part.strip() for part in parts if part.strip())
