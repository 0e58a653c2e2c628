"""When does multi-task learning make sense? The lectures' three conditions as knobs of the shapes world.

1. "Training on a set of tasks that could benefit from having shared lower level features": `similarity`, a partner
   task that needs the same features, others, or none.
2. "Amount of data you have for each task is quite similar": `imbalance`, the share of all images that one task has.
3. "Can train a big enough neural network to do well on all the tasks": `width`, of the shared trunk, four tasks on it.

Each compares one network for all tasks with a network for each. The single networks either cost as much together, in
multiply-adds, or have the same trunk each, so that they cost as many times as much as there are tasks. All are trained
for the same number of steps with as many images of each task in a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from tlcore import runtime
from tlcore.multitask.batches import TaskBatches
from tlcore.multitask.condition_map import ConditionMap, Trial
from tlcore.multitask.fit import evaluate, fit
from tlcore.multitask.model import MultiTaskModel
from tlcore.multitask.trunks import equal_cost_width, small_trunk
from tlcore.runtime import nearest
from tlcore.worlds import Dataset, Shapes

OURS = ("square", "diamond", "triangle", "trapezoid", "L", "T")
OTHERS = ("circle", "star", "heart", "plus", "Z", "arrow")
PARTNERS = ("same task", "other shapes", "textures", "colours", "random labels")
FACTORS = ("shape", "texture", "colour", "background")


@dataclass(frozen=True)
class Setup:
    """Sizes that all trials of a map share.

    >>> Setup(width=6).but(width=8).width
    8

    Parameters
    ----------
    size
        Height and width of the images.
    width
        Of the trunk for all tasks; see `small_trunk`.
    images
        For training, of each task.
    test
        For testing, of each task.
    steps, batch_size, lr
        Of stochastic gradient descent with momentum 0.9 and a cosine schedule; `batch_size` images of each task in a
        step.
    rule
        How the losses are balanced.
    """

    size: int = 16
    width: float = 12
    images: int = 500
    test: int = 1000
    steps: int = 480
    batch_size: int = 32
    lr: float = 0.1
    rule: str = "sum"

    def but(self, **changes: Any) -> Setup:
        """The same with some numbers changed."""
        return Setup(**{**vars(self), **changes})

    @property
    def world(self) -> Shapes:
        """Images of six shapes."""
        return Shapes(size=self.size, shapes=OURS, scale=(0.5, 0.9))


Tasks = dict[str, tuple[Dataset, Dataset]]  # training and test data


def similarity_tasks(partner: str, seed: int, setup: Setup) -> Tasks:
    """Six shapes, and a partner with as many images of its own; only the first task is looked at.

    >>> tasks = similarity_tasks("colours", 0, Setup(images=20, test=10))
    >>> [(task, len(train), len(train.classes)) for task, (train, _) in tasks.items()]
    [('shape', 20, 6), ('partner', 20, 6)]
    """
    six = Shapes().colours[:6]
    worlds = {
        "same task": setup.world,
        "other shapes": setup.world.but(shapes=OTHERS),
        "textures": setup.world.but(label="texture"),
        "colours": setup.world.but(label="colour", colours=six),
        "random labels": setup.world,
    }
    if partner not in worlds:
        raise ValueError(f"similarity_tasks({partner!r}): {nearest(str(partner), worlds)}")
    train, test = (worlds[partner].sample(n, seed=_seed(seed, k)) for n, k in ((setup.images, 2), (setup.test, 3)))
    if partner == "random labels":
        draws = torch.Generator().manual_seed(seed)
        train, test = (
            Dataset(d.inputs, torch.randint(6, (len(d),), generator=draws), d.classes, f"{d.origin}, labels at random")
            for d in (train, test)
        )
    return {"shape": _pair(setup.world, setup.images, setup.test, seed), "partner": (train, test)}


def imbalance_tasks(share: float, seed: int, setup: Setup) -> Tasks:
    """Six shapes and six others, with twice `images` in all, of which the first task has a share.

    >>> {task: len(train) for task, (train, _) in imbalance_tasks(0.1, 0, Setup(test=10, images=300)).items()}
    {'few': 60, 'many': 540}
    """
    few = round(2 * setup.images * share)
    if not 0 < share <= 0.5 or few < 1:
        raise ValueError(f"imbalance_tasks({share!r}): a share above 0, up to one half, of {2 * setup.images} images")
    others = setup.world.but(shapes=OTHERS)
    return {
        "few": _pair(setup.world, few, setup.test, seed),
        "many": _pair(others, 2 * setup.images - few, setup.test, seed + 500),
    }


def width_tasks(width: float, seed: int, setup: Setup) -> Tasks:
    """Four questions about the same images: shape, texture, colour and background.

    >>> list(width_tasks(8, 0, Setup(images=20, test=10)))
    ['shape', 'texture', 'colour', 'background']
    """
    train, test = _pair(setup.world, setup.images, setup.test, seed)
    names = {factor: setup.world.but(label=factor).classes for factor in FACTORS}
    return {factor: tuple(d.labelled_by(factor, names[factor]) for d in (train, test)) for factor in FACTORS}  # type: ignore[misc]


KNOBS: Mapping[str, tuple[Callable[[Any, int, Setup], Tasks], Sequence[Any], tuple[str, ...]]] = {
    "similarity": (similarity_tasks, PARTNERS, ("shape",)),
    "imbalance": (imbalance_tasks, (0.5, 0.25, 0.1, 0.04), ("few", "many")),
    "width": (width_tasks, (2, 4, 8, 16), FACTORS),
}


def trial(knob: str, value: Any, seed: int, setup: Setup) -> list[Trial]:
    """One network for all tasks, and both kinds of single networks, with one seed.

    >>> found = trial("similarity", "colours", 0, Setup(images=32, test=32, steps=2))
    >>> [(one.task, one.knob, one.value) for one in found]
    [('shape', 'similarity', 'colours')]
    """
    if knob not in KNOBS:
        raise ValueError(f"trial(knob={knob!r}): {nearest(str(knob), KNOBS)}")
    make, _, asked = KNOBS[knob]
    setup = setup.but(width=value) if knob == "width" else setup
    tasks = make(value, seed, setup)
    classes = {task: len(train.classes) for task, (train, _) in tasks.items()}
    narrow, share = equal_cost_width(setup.width, list(classes.values()), setup.size)
    together = _accuracies(tasks, setup.width, seed, setup)
    found = []
    for task in asked:
        # a single network of the similarity knob does not depend on the partner
        key = (knob, None if knob == "similarity" else value, seed, setup)
        single = {width: _alone(*key, task, width) for width in {narrow, setup.width}}
        three = [round(accuracy, 4) for accuracy in (together[task], single[narrow], single[setup.width])]
        found.append(Trial(knob, value, task, seed, three[0], three[1], three[2], round(share, 3)))
    return found


def condition_map(
    knob: str, *, values: Sequence[Any] | None = None, seeds: Iterable[int] = range(5), setup: Setup | None = None
) -> ConditionMap:
    """Accuracy of one network for all tasks beside single networks, over a knob: "similarity", "imbalance", "width".

    >>> condition_map("similarity", values=["colours"], seeds=(0, 1), setup=Setup(images=32, test=32, steps=2)).knob
    'similarity'

    Parameters
    ----------
    values
        Of the knob: names of partners, shares up to 0.5, or widths; default those in `KNOBS`.
    seeds
        Of images, weights and batches; what is compared has the same.

    Raises
    ------
    ValueError
        For an unknown knob or value, with what is accepted, or no seeds.
    """
    if knob not in KNOBS:
        raise ValueError(f"condition_map({knob!r}): {nearest(str(knob), KNOBS)}")
    chosen, seeds = KNOBS[knob][1] if values is None else values, list(seeds)
    if not chosen or not seeds:
        raise ValueError(f"condition_map({knob!r}): at least one value and one seed are needed")
    runs = [(value, seed) for value in chosen for seed in seeds]
    found = [trial(knob, value, seed, setup or Setup()) for value, seed in runtime.progress(runs, knob, len(runs))]
    return ConditionMap([one for part in found for one in part])


@lru_cache(maxsize=512)
def _alone(knob: str, value: Any, seed: int, setup: Setup, task: str, width: float) -> float:
    """Accuracy of a network for one task."""
    tasks = KNOBS[knob][0](PARTNERS[0] if value is None else value, seed, setup)
    return _accuracies({task: tasks[task]}, width, seed, setup)[task]


def _accuracies(tasks: Tasks, width: float, seed: int, setup: Setup) -> dict[str, float]:
    train, test = ({task: pair[n] for task, pair in tasks.items()} for n in (0, 1))
    with runtime.same_draws_after(runtime.device()):
        torch.manual_seed(seed)
        heads = {task: len(data.classes) for task, data in train.items()}
        model = MultiTaskModel(small_trunk(width), heads, at="output", seed=seed)
        epochs = max(1, round(setup.steps / len(TaskBatches(train, setup.batch_size))))
        fit(
            model, train, epochs=epochs, lr=setup.lr, rule=setup.rule, batch_size=setup.batch_size, seed=seed,
            progress=False,
        )  # fmt: skip
    return {task: accuracy or 0.0 for task, (_, accuracy) in evaluate(model, test).items()}


def _pair(world: Shapes, images: int, test: int, seed: int) -> tuple[Dataset, Dataset]:
    return world.sample(images, seed=_seed(seed, 0)), world.sample(test, seed=_seed(seed, 1))


def _seed(seed: int, part: int) -> int:
    """Seeds of parts of the data that never meet."""
    return 1000 * seed + part
