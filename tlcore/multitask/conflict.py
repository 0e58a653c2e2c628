"""Do the tasks pull the shared weights the same way? Cosines and norms of their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from tlcore import plots
from tlcore.anatomy.untouched import untouched
from tlcore.multitask.batches import Loss, TaskBatches, Tasks, check_heads, check_tasks, default_loss, outputs
from tlcore.multitask.gradients import task_gradients
from tlcore.multitask.matrix import TaskMatrix
from tlcore.multitask.model import MultiTask


@dataclass(frozen=True, repr=False)
class Conflict:
    """Cosines between the tasks' gradients, and their norms.

    `magnitude` is 2 |g_i| |g_j| / (|g_i|² + |g_j|²): 1 for equally long gradients (Yu et al. 2020, definition 2).
    """

    cosine: TaskMatrix
    magnitude: TaskMatrix
    norms: dict[str, float]

    @property
    def conflicts(self) -> list[tuple[str, str]]:
        """Pairs whose gradients point against each other: a cosine below 0 (definition 1)."""
        tasks = self.cosine.tasks
        pairs = [(a, b) for n, a in enumerate(tasks) for b in tasks[n + 1 :]]
        return [pair for pair in pairs if self.cosine[pair] < 0]

    def __repr__(self) -> str:
        norms = plots.table([[task, norm] for task, norm in self.norms.items()], ["task", "norm of the gradient"])
        return f"{self.cosine!r}\n\n{norms!r}"


def gradient_conflict(
    model: MultiTask,
    data: Tasks,
    *,
    batch_size: int = 256,
    losses: Mapping[str, Loss] | None = None,
    seed: int = 0,
) -> Conflict:
    """Cosines between the tasks' gradients at the shared parameters, on one batch of each task.

    >>> from torch import nn
    >>> from tlcore import worlds
    >>> from tlcore.multitask.model import MultiTaskModel
    >>> data = worlds.Shapes(size=8).sample(64)
    >>> trunk = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.ReLU())
    >>> model = MultiTaskModel(trunk, {"shape": 16, "colour": 8}, at="output")
    >>> found = gradient_conflict(model, {"shape": data, "colour": data.labelled_by("colour")})
    >>> found.cosine.values.shape, round(found.cosine["shape", "shape"], 4)
    (torch.Size([2, 2]), 1.0)

    The network runs in evaluation mode and is left as it was. Call it in `each_epoch` of `multitask.fit` to follow the
    conflict through a training.

    Raises
    ------
    ValueError, TypeError
        For data that `multitask.fit` would refuse, or a model that shares no parameters.
    """
    check_tasks(data, model, "gradient_conflict", "data")
    shared = [p for p in model.shared_parameters() if p.requires_grad]
    if not shared:
        raise ValueError(
            f"gradient_conflict: {type(model).__name__} shares no parameters, so no gradients can conflict"
        )
    where = shared[0].device
    batch = next(iter(TaskBatches(data, batch_size, seed=seed, device=where)))
    check_heads(model, batch, data, "gradient_conflict")
    measure = {task: (losses or {}).get(task, default_loss) for task in batch}
    with untouched(model):
        model.eval()
        made = outputs(model, batch)
        rows = task_gradients(torch.stack([measure[task](made[task], y) for task, (_, y) in batch.items()]), shared)
    norms = rows.norm(dim=1)  # (T,)
    lengths = (norms[:, None] * norms).clamp(min=1e-30)
    squares = (norms.square()[:, None] + norms.square()).clamp(min=1e-30)
    tasks = tuple(batch)
    return Conflict(
        TaskMatrix(tasks, (rows @ rows.T / lengths).cpu(), "cosine of the gradients"),
        TaskMatrix(tasks, (2 * lengths / squares).cpu(), "similarity of the gradients' lengths"),
        dict(zip(tasks, norms.tolist(), strict=True)),
    )
