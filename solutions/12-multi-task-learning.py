# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · One network for several tasks, or one for each?
#
# A self-driving car has to find pedestrians, signs and lanes in the same picture. It could run three networks, or one
# network with three answers. Training one network on several tasks at once is **multi-task learning**. The lecture
# names three conditions under which it makes sense: the tasks could profit from **shared low-level features**, each has
# a **similar amount of data**, and the network is **big enough** to do well on all of them. Below, each condition is a
# knob, and we turn it. By the end of this lesson you will have built the network, the judge and the remedies yourself,
# and you will know which of the three conditions is the one that matters most.
#
# The lesson has seven exercises and 20 points. Running all its cells takes about a minute.

# %%
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the batches are too small to be shared out; read when torch is imported

import torch

from tlcore import multitask, plots, runtime, worlds

plots.use_style()
torch.set_num_threads(1)
teacher = worlds.TeacherStudent(features=30, hidden=3)
teacher.sample(1000)

# %% [markdown]
# We look for the answer in a world of plain numbers, because there we can say exactly how similar two tasks are. An
# input is 30 random numbers. A *teacher*, a random network with three hidden units, answers yes or no. Each of
# its units looks at the input along one direction. Another teacher may look along nearly the same directions (their
# cosine is a number we choose): we call the two **relatives**. At cosine 0 they are **strangers**.

# %%
from collections.abc import Callable

Question = Callable[[torch.Tensor], torch.Tensor]  # inputs (N, 30) -> answers 0 or 1 (N,)


def asks(seed: int, cosine: float = 1.0) -> Question:
    world = teacher.but(world_seed=1000 * seed, rho=cosine)
    return lambda x: (world.score(x) > 0).float()


def pair(seed: int, cosine: float) -> list[Question]:
    return [asks(seed), asks(seed, cosine)]


# %% [markdown]
# Each task brings inputs of its own, so most rows have an answer to one question only. We write -1 for "nobody knows",
# and the loss leaves such entries out: it is the sum over tasks of the mean over the rows that have an answer.


# %%
def answered(questions: list[Question], counts: list[int], seed: int) -> worlds.Dataset:
    """So many rows for each question; targets (N, T), with -1 where a row has no answer."""
    inputs, targets = [], []
    for column, (ask, count) in enumerate(zip(questions, counts)):
        draws = torch.Generator().manual_seed(10 * seed + column)
        x, y = torch.randn(count, 30, generator=draws), torch.full((count, len(questions)), -1.0)
        y[:, column] = ask(x)
        inputs.append(x)
        targets.append(y)
    return worlds.Dataset(torch.cat(inputs), torch.cat(targets), (), "teacher-student world, generated")


# %%
from torch.nn.functional import binary_cross_entropy_with_logits


def known_loss(out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Logits and targets (N, T) -> sum over tasks of the mean loss over the rows that have an answer."""
    known = (y >= 0).float()
    each = binary_cross_entropy_with_logits(out, y.clamp(min=0), reduction="none") * known
    return (each.sum(0) / known.sum(0).clamp(min=1)).sum()


# %% [markdown]
# `trained` trains many small networks at the same time, with the package's `training.Lab`. It needs to be told how to
# `build` a network from a trunk and from heads. For now the package builds it; after Exercise 1 you will.

# %%
from torch import nn

from tlcore import training


class Columns(nn.Module):
    """The answers of a network for several tasks, side by side (N, T)."""

    def __init__(self, net: nn.Module, tasks: str) -> None:
        super().__init__()
        self.net, self.tasks = net, tasks

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answers = self.net(x)
        return torch.cat([answers[task] for task in self.tasks], 1)


# %%
steps = runtime.scaled(quick=80, standard=200, full=300)


def trained(build: Callable, width: int, tasks: str, sets: list, seeds: list[int], batch: int = 64) -> list[nn.Module]:
    """A network of so many hidden units for each dataset, with one output for each task."""

    def make() -> nn.Module:
        trunk = nn.Sequential(nn.Linear(30, width), nn.ReLU())
        return Columns(build(trunk, width, dict.fromkeys(tasks, 1)), tasks)

    plans = [{"seed": s, "data": n, "momentum": 0.9, "weight_decay": 0.01} for n, s in enumerate(seeds)]
    lab = training.Lab(make, loss=known_loss, backend="vmap", device="cpu")
    return [loaded(make(), state) for state in lab.run(plans, sets, steps=steps, batch_size=batch).states]


# %%
def loaded(net: nn.Module, state: dict) -> nn.Module:
    net.load_state_dict(state)
    return net.eval()


@torch.no_grad()
def right(net: nn.Module, questions: list[Question], seed: int) -> torch.Tensor:
    """Accuracy (T,) on a thousand new inputs."""
    x = torch.randn(1000, 30, generator=torch.Generator().manual_seed(10_000 + seed))
    truth = torch.stack([ask(x) for ask in questions], 1)
    return ((net(x) > 0) == (truth > 0)).float().mean(0)


# %% [markdown]
# The comparison must be fair. The opponents of one network with `width` hidden units for $T$ tasks are $T$ networks
# with `width` / $T$ units each: together they have about as many weights. Each of them sees its own task's rows, in the
# same batches and for the same number of steps. A `Case` is a list of questions, the number of rows of each, and a
# seed.

# %%
Case = tuple[list[Question], list[int], int]


def compared(build: Callable, width: int, cases: list[Case]) -> tuple[torch.Tensor, torch.Tensor]:
    """Accuracies (cases, T): one network for all tasks, and small ones for one task each."""
    sets, seeds, T = [answered(*case) for case in cases], [case[2] for case in cases], len(cases[0][0])
    shared = trained(build, width, "ABCD"[:T], sets, seeds)
    columns = [worlds.Dataset(d.inputs, d.targets[:, [n]]) for n in range(T) for d in sets]
    single = trained(build, max(1, width // T), "A", columns, seeds * T)
    together = torch.stack([right(net, case[0], case[2]) for net, case in zip(shared, cases)])
    alone = [right(single[n * len(cases) + k], [c[0][n]], c[2]) for k, c in enumerate(cases) for n in range(T)]
    return together, torch.cat(alone).view(len(cases), T)


# %% [markdown]
# The three knobs. Each gives, for every line of its picture and every setting, two lists of accuracies: together and
# alone, seed by seed.

# %%
rhos = runtime.scaled(quick=[0.0, 0.6, 1.0], standard=[0.0, 0.3, 0.6, 0.8, 1.0], full=[0.0, 0.3, 0.6, 0.8, 0.9, 1.0])
Found = dict[str, dict[float, tuple[list[float], list[float]]]]


def by_setting(settings: list, ours: torch.Tensor, theirs: torch.Tensor) -> dict:
    pairs = zip(ours.view(len(settings), -1).tolist(), theirs.view(len(settings), -1).tolist())
    return dict(zip(settings, pairs))


def by_similarity(build: Callable, seeds: range) -> Found:
    cases = [(pair(seed, cosine), [150, 150], seed) for cosine in rhos for seed in seeds]
    ours, theirs = compared(build, 32, cases)
    return {"mean of two tasks": by_setting(rhos, ours.mean(1), theirs.mean(1))}


# %%
shares = runtime.scaled(quick=[0.5, 0.2, 0.05], standard=[0.5, 0.25, 0.1, 0.05], full=[0.5, 0.25, 0.1, 0.05])
kinds = {"relatives": 0.95, "strangers": 0.0}


def by_share(build: Callable, seeds: range) -> Found:
    """300 rows in all, of which task A has a share."""
    parts = [[round(300 * share), 300 - round(300 * share)] for share in shares]
    cases = [(pair(s, cosine), counts, s) for cosine in kinds.values() for counts in parts for s in seeds]
    ours, theirs = (found.view(2, -1, 2) for found in compared(build, 32, cases))  # (kind, share and seed, task)
    return {
        "A, with a relative": by_setting(shares, ours[0, :, 0], theirs[0, :, 0]),
        "the relative, with A": by_setting(shares, ours[0, :, 1], theirs[0, :, 1]),
        "A, with a stranger": by_setting(shares, ours[1, :, 0], theirs[1, :, 0]),
    }


# %%
widths = runtime.scaled(quick=[2, 8, 32], standard=[2, 4, 8, 16, 64], full=[2, 4, 8, 16, 64, 128])


def by_width(build: Callable, seeds: range) -> Found:
    """Four tasks: two pairs of relatives, or four strangers."""
    found = {kind: {} for kind in kinds}
    cases = [([*pair(s, c), *pair(s + 500, c)], [150] * 4, s) for c in kinds.values() for s in seeds]
    for width in widths:
        ours, theirs = (one.mean(1).view(2, -1).tolist() for one in compared(build, width, cases))
        for kind, lists in zip(kinds, zip(ours, theirs)):
            found[kind][width] = lists
    return found


# %% [markdown]
# A point in the picture is the mean over seeds of "together minus alone", with its 95% interval. If the interval
# contains 0, nothing is decided: it is a **tie**, drawn as a hollow mark.

# %%
from matplotlib.axes import Axes

Judge = Callable[[list[float], list[float]], tuple[float, float, str]]  # difference, half of the interval, verdict


def draw(ax: Axes, found: Found, judge: Judge) -> None:
    for (line, points), marker in zip(found.items(), "os^"):
        judged = [judge(*accuracies) for accuracies in points.values()]
        middles, halves = ([100 * float(one[n]) for one in judged] for n in (0, 1))
        drawn = ax.errorbar(range(len(points)), middles, halves, marker=marker, capsize=3, label=line)
        ties = [n for n, one in enumerate(judged) if one[2] == "tie"]
        ax.plot(ties, [middles[n] for n in ties], marker, color=drawn[0].get_color(), mfc="white", zorder=5)
    ax.axhline(0, color="0.6", linewidth=1)
    ax.set_xticks(range(len(points)), list(points))


# %%
titles = {
    "Similar tasks?": ("cosine between the two teachers", by_similarity),
    "Similar amounts of data?": ("A's share of the data", by_share),
    "A big enough network?": ("hidden units for four tasks", by_width),
}


def three_pictures(build: Callable, judge: Judge, seeds: range) -> dict[str, Found]:
    maps = {title: by_knob(build, seeds) for title, (_, by_knob) in titles.items()}
    _, axes = plots.figure(3, width=3.4, height=3.2)
    for ax, (title, (label, _)) in zip(axes, titles.items()):
        draw(ax, maps[title], judge)
        ax.set(title=title, xlabel=label)
        ax.legend(fontsize=8)
    axes[0].set_ylabel("points together minus alone")
    return maps


# %%
def by_package(ours: list[float], theirs: list[float]) -> tuple[float, float, str]:
    found = multitask.Paired(tuple(ours), tuple(theirs))
    return found.difference, found.interval[1] - found.difference, found.verdict


def built_by_package(trunk: nn.Module, width: int, heads: dict[str, int]) -> nn.Module:
    return multitask.MultiTaskModel(trunk, heads, at="output", width=width)


seeds = range(runtime.scaled(quick=5, standard=8, full=20))
opening = three_pictures(built_by_package, by_package, seeds)

# %% [markdown]
# Above the grey line one network for all tasks is better, below it one for each. Left: tasks that need the same
# features help each other; strangers do not. Middle: with a relative, the less data a task has (to the right), the more
# it gains, while the relative, which has all the rest, gains less and less. The third line has a stranger in the
# relative's place. Right: four tasks, either two pairs of relatives or four strangers. Strangers in a narrow network
# are in each other's way, and room makes peace between them. (The leftmost marks there are not quite fair; Section 3
# says why.) Where a mark is hollow, our seeds do not decide.
#
# We shall come back to this picture with a network and a judge of your own.
#
# ## 1 · One trunk, several heads
#
# The oldest way to share, by Rich Caruana in the 1990s, is still the most used one: **hard parameter sharing**. All
# tasks have the lower layers in common, the *trunk*, which turns an input into features. Each task has a small layer of
# its own on top, its *head*. In the earlier lessons, too, a network was a body with a head. What is new is that several
# heads are trained at the same time, and that all their losses reach the trunk.
#
# ### Exercise 1 · The network (4 points)
#
# Write hard sharing as a module. `trunk` turns a batch into features (N, width); it is to be used as it is, not copied,
# and kept under the name `self.trunk`. For each entry of `heads`, a task's name and its number of outputs, make a
# linear layer. Calling the network returns a dict from task to outputs (N, outputs), for the tasks that are asked for,
# or for all. The trunk must run **once**, however many tasks are asked for. `tlcore.multitask` is off limits, here and
# in the other exercises.


# %% nbgrader={"grade": false, "grade_id": "sharing", "locked": false, "schema_version": 3, "solution": true, "task": false}
class HardSharing(nn.Module):
    """One trunk for all tasks, and a linear head for each."""

    def __init__(self, trunk: nn.Module, width: int, heads: dict[str, int]) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.trunk = trunk
        self.heads = nn.ModuleDict({task: nn.Linear(width, outputs) for task, outputs in heads.items()})
        ### END SOLUTION

    def forward(self, x: torch.Tensor, tasks: list[str] | None = None) -> dict[str, torch.Tensor]:
        """Batch (N, ...) -> {task: (N, outputs)}."""
        ### BEGIN SOLUTION
        features = self.trunk(x)
        return {task: self.heads[task](features) for task in (self.heads if tasks is None else tasks)}
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sharing-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} student_names=["HardSharing"]
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 1 · The network", forbid=["tlcore.multitask"], seconds=20)


def answers(HardSharing, tasks):
    import torch
    from torch import nn

    calls = []

    class Counting(nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    net = HardSharing(Counting(5, 4), 4, {"a": 3, "b": 2, "c": 1})
    made = net(torch.randn(7, 5), tasks) if tasks else net(torch.randn(7, 5))
    return {task: list(out.shape) for task, out in made.items()}, calls


def weights(HardSharing):
    import torch
    from torch import nn

    trunk = nn.Linear(5, 4)
    net = HardSharing(trunk, 4, {"a": 3, "b": 2})
    numbers = sum(p.numel() for p in net.parameters())
    x = torch.randn(7, 5)
    reached = []
    for task in ("a", "b"):
        net.zero_grad(set_to_none=True)
        net(x)[task].sum().backward()
        reached.append(sum(p.numel() for p in net.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)))
    return numbers, reached, net.trunk is trunk


def line(HardSharing):
    import torch
    from torch import nn

    net = HardSharing(nn.Identity(), 4, {"a": 3, "b": 3})
    x = torch.randn(6, 4)
    with torch.no_grad():
        out, zero, twice = net(x), net(0 * x), net(2 * x)
    bent = max(float((twice[t] - 2 * out[t] + zero[t]).abs().max()) for t in "ab")
    return bent < 1e-4, bool((out["a"] - out["b"]).abs().max() > 1e-3)


@checks("an answer for each task", points=0.5, hint="A dict from the task's name to a tensor (N, outputs).")
def _():
    shapes, _ = remote(answers, HardSharing, None)
    checks.equal(shapes, {"a": [7, 3], "b": [7, 2], "c": [7, 1]})


@checks("only the tasks that are asked for", points=0.5)
def _():
    shapes, _ = remote(answers, HardSharing, ["c", "a"])
    wrong = {"answer only what was asked": {"a": [7, 3], "b": [7, 2], "c": [7, 1]}}
    checks.equal(shapes, {"a": [7, 3], "c": [7, 1]}, mistakes=wrong)


@checks("the trunk runs once", points=1, hint="Compute the features first, then hand them to every head.")
def _():
    _, calls = remote(answers, HardSharing, None)
    wrong = {"the trunk ran once for each task": [7, 7, 7], "the trunk that was given did not run at all": []}
    checks.equal(calls, [7], mistakes=wrong)


@checks("trunk and heads are all there to be trained", points=0.5, hint="24 in the trunk, 15 and 10 in the heads.")
def _():
    numbers, reached, same = remote(weights, HardSharing)
    wrong = {
        "the heads are not registered; a plain dict or list hides them: nn.ModuleDict does not": 24,
        "the trunk was copied": 73,
    }
    checks.equal(numbers, 49, mistakes=wrong)
    wrong = {
        "a detach or no_grad keeps the losses from the trunk": [15, 10],
        "there is one layer for all tasks; make one for each": [49, 49],
    }
    checks.equal(reached, [39, 34], mistakes=wrong)  # a task's loss reaches the trunk and its own head
    checks.equal(same, True, mistakes={"the trunk was copied; keep the one that is given": False})


@checks("each head is a linear layer of its own", points=0.5)
def _():
    straight, different = remote(line, HardSharing)
    checks.equal(straight, True)
    checks.equal(different, True)


checks

# %% nbgrader={"grade": true, "grade_id": "sharing-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["HardSharing"]
# A convolutional trunk and other heads, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 1 · Other trunks and heads", hidden=True, forbid=["tlcore.multitask"], seconds=20)


def learns(HardSharing, outputs, seed):
    import torch
    from torch import nn

    torch.manual_seed(seed)
    trunk = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = HardSharing(trunk, 6, outputs)
    x = torch.randn(5, 2, 6, 6)
    first = next(iter(outputs))
    before = {task: out.detach().clone() for task, out in net(x).items()}
    torch.optim.SGD(net.parameters(), 0.5).zero_grad()
    net(x)[first].sum().backward()
    torch.optim.SGD(net.parameters(), 0.5).step()
    moved = [bool((net(x)[task] - before[task]).abs().max() > 1e-6) for task in outputs]
    numbers = sum(p.numel() for p in net.parameters()), len(net.state_dict())
    return {task: list(out.shape) for task, out in before.items()}, moved, numbers


@checks("a step for one task moves the answers of all", points=0.5, hint="All heads see the same features.")
def _():
    names, rng = ["x", "y", "z"], checks.rng()
    outputs = {name: int(rng.integers(1, 6)) for name in names}
    shapes, moved, _ = remote(learns, HardSharing, outputs, int(rng.integers(1000)))
    checks.equal(shapes, {name: [5, count] for name, count in outputs.items()})
    checks.equal(moved, [True, True, True])


@checks("as many weights as it should have", points=0.5)
def _():
    rng = checks.rng()
    outputs = {name: int(rng.integers(1, 6)) for name in "pqrs"}
    _, _, (numbers, tensors) = remote(learns, HardSharing, outputs, 0)
    checks.equal(numbers, 2 * 6 * 9 + 6 + sum(7 * count for count in outputs.values()))
    checks.equal(tensors, 2 + 2 * len(outputs))


checks
### END HIDDEN TESTS

# %% [markdown]
# Your network on pictures. The course's shapes world knows everything about its pictures, so we can ask four questions
# about each: which shape, which texture, which colour, and which ground?

# %%
subjects = ("shape", "texture", "colour", "background")
surfaces = ("plain", "stripes", "checks")
known = {"shapes": ("square", "ring", "star", "heart"), "colours": ("red", "green", "blue", "white")}
pictures = worlds.Shapes(**known, textures=surfaces, backgrounds=surfaces, size=16, scale=(0.6, 0.9), clutter=0.4)
classes = {subject: pictures.but(label=subject).classes for subject in subjects}
shown = pictures.sample(runtime.scaled(quick=600, standard=1500, full=6000), seed=1)
unseen = pictures.sample(1000, seed=2)

# %%
fig, axes = plots.figure(6, width=1.5, height=1.9)
for n, ax in enumerate(axes):
    ax.imshow(unseen.inputs[n].permute(1, 2, 0))
    names = [classes[subject][unseen.factors[subject][n]] for subject in subjects]
    ax.set(xticks=[], yticks=[], xlabel="\n".join(names))

# %%
from torch.nn.functional import cross_entropy


def step(net: nn.Module, optimizer: torch.optim.Optimizer, tasks: list[str], rows: torch.Tensor) -> None:
    """One step on the sum of the tasks' losses."""
    made = net(shown.inputs[rows])
    optimizer.zero_grad()
    sum(cross_entropy(made[task], shown.factors[task][rows]) for task in tasks).backward()
    optimizer.step()


# %%
def fitted(tasks: list[str], width: int) -> nn.Module:
    """Hard sharing of a small convolutional trunk, trained with a falling rate."""
    _ = runtime.seed_everything(0)
    trunk = nn.Sequential(multitask.small_trunk(width), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net = HardSharing(trunk, 4 * width, {task: len(classes[task]) for task in tasks})
    optimizer, epochs = torch.optim.Adam(net.parameters(), 0.02), runtime.scaled(quick=4, standard=10, full=20)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - epoch / epochs)
        for rows in torch.randperm(len(shown)).split(60):
            step(net, optimizer, tasks, rows)
    return net.eval()


# %% [markdown]
# One network for all four questions; four networks with the same trunk, for one question each; and one network that is
# twice as wide, which has about four times as many weights. Guess first: how many times as long as the first does the
# training of the four take?

# %%
my_factor = None  # such as 1.5

# %%
import time


def timed(groups: list[list[str]], width: int) -> tuple[dict[str, float], int, float]:
    """Accuracy of each task, number of weights and seconds of the processor, of one network for each group."""
    start, accuracies, weights = time.process_time(), {}, 0
    for tasks in groups:
        net = fitted(tasks, width)
        weights += sum(p.numel() for p in net.parameters())
        with torch.no_grad():
            made = net(unseen.inputs, tasks)
        accuracies |= {t: float((made[t].argmax(1) == unseen.factors[t]).float().mean()) for t in tasks}
    return accuracies, weights, time.process_time() - start


# %%
all_four, each = [list(subjects)], [[subject] for subject in subjects]
_ = fitted(["shape"], 1)  # the very first training takes longer than the others
ways = {"one network": timed(all_four, 6), "four networks": timed(each, 6), "one, twice as wide": timed(all_four, 12)}
factor = ways["four networks"][2] / ways["one network"][2]
print(f"four networks took {factor:.1f} times as long; you guessed {my_factor}")
rows = [
    [name, *[f"{a[s]:.0%}" for s in subjects], weights, f"{spent:.2f}"] for name, (a, weights, spent) in ways.items()
]
plots.table(rows, ["", *subjects, "weights", "seconds"])

# %% [markdown]
# One network answers all four questions, for about the price of one, in weights and in time: the heads cost next to
# nothing. On a phone, or in a car, this alone can decide the matter. But is it as *good*? The first two rows have the
# same trunk, and the last two about the same number of weights. It is tempting to compare them entry by entry and to
# explain each difference. Resist: this was one run, and another seed gives other differences. We need a judge.

# %% [markdown]
#
# ## 2 · The judge
#
# We repeat the comparison with several seeds: other data, other first weights. What is compared under one seed has the
# same data, so the difference within a seed says more than the two accuracies. From $n$ differences $d_1, …, d_n$ with
# mean $\bar d$ and standard deviation $s$ (with $n - 1$ in the denominator), Student's t gives an interval that covers
# the true mean in 95% of such experiments, if the differences are roughly normally distributed:
#
# $$\bar d \pm t_{n-1}\, \frac{s}{\sqrt n}$$
#
# where $t_{n-1}$ is the number below which 97.5% of Student's distribution with $n - 1$ degrees of freedom lie, so that
# 2.5% are left out at either end. SciPy knows it, as `stdtrit(n - 1, 0.975)`. It is large for few seeds, and tends to
# the 1.96 of the normal distribution. Here it is for 2, 3, 5, 10 and 100 seeds:

# %%
import numpy as np
from scipy.special import stdtrit

{n: round(float(stdtrit(n - 1, 0.975)), 2) for n in (2, 3, 5, 10, 100)}

# %% [markdown]
# ### Exercise 2 · Gains, tie or loses? (3 points)
#
# From the accuracies of two methods, seed by seed, return the mean of ours minus theirs, half of the width of its
# interval, and a verdict: "gains" if the interval lies above 0, "loses" if it lies below, else "tie". There are at
# least two seeds. For ours (0.80, 0.82, 0.81) and theirs (0.75, 0.76, 0.77), the differences are 0.05, 0.06 and 0.04,
# and the answer is (0.05, 0.0248…, "gains"). SciPy's own tests (`ttest_rel`, `ttest_1samp`) and the opening's
# `by_package` are off limits; a table of t is not.


# %% nbgrader={"grade": false, "grade_id": "judge", "locked": false, "schema_version": 3, "solution": true, "task": false}
def judged(ours: list[float], theirs: list[float]) -> tuple[float, float, str]:
    """Accuracies (n,) and (n,), by seed -> mean difference, half of its interval's width, verdict."""
    ### BEGIN SOLUTION
    d = np.subtract(ours, theirs)
    half = stdtrit(len(d) - 1, 0.975) * d.std(ddof=1) / len(d) ** 0.5
    verdict = "gains" if d.mean() - half > 0 else "loses" if d.mean() + half < 0 else "tie"
    return float(d.mean()), float(half), verdict
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "judge-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["judged"]
from tlcore.grading import Checks

off_limits = ["tlcore.multitask", "by_package", "scipy.stats.ttest_rel", "scipy.stats.ttest_1samp"]
checks = Checks("Exercise 2 · Gains, tie or loses?", forbid=off_limits, seconds=20)
ours, theirs = [0.80, 0.82, 0.81], [0.75, 0.76, 0.77]


@checks("the example of the text", points=1)
def _():
    difference, half, verdict = judged(list(ours), list(theirs))
    checks.close(difference, 0.05, mistakes={"ours minus theirs, not the other way round": -0.05})
    wrong = {
        "this is the width of the whole interval; half of it is wanted": 0.0496828,
        "the deviation has n - 1 in the denominator": 0.0202829,
        "divide by the square root of n": 0.0430266,
        "1.96 is for very many seeds; with few, t is larger": 0.0113161,
        "this is t with n degrees of freedom; take n - 1": 0.0183741,
        "this is the standard error, without t": 0.0057735,
        "leave out 2.5% at either end: the point of t is 0.975, not 0.95": 0.0168585,
        "what is compared has the same seed: take the deviation of the differences": 0.0226672,
    }
    checks.close(half, 0.0248414, rtol=1e-3, mistakes=wrong)
    checks.equal(verdict, "gains")


@checks("a loss and a tie", points=0.5)
def _():
    checks.equal(judged(list(theirs), list(ours))[2], "loses")
    wrong = {"the mean is above 0, but its interval contains 0": "gains"}
    checks.equal(judged([0.80, 0.82, 0.81], [0.80, 0.83, 0.78])[2], "tie", mistakes=wrong)


@checks("the order of the seeds matters", points=0.5, hint="Subtract within each seed first.")
def _():
    same, mixed = [0.70, 0.80, 0.90], [0.90, 0.70, 0.80]
    checks.equal(judged([0.71, 0.81, 0.912], same)[2], "gains")
    checks.equal(judged([0.71, 0.81, 0.912], mixed)[2], "tie")


checks

# %% nbgrader={"grade": true, "grade_id": "judge-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["judged"]
# Random accuracies, when your work is graded.
### BEGIN HIDDEN TESTS
import math
from statistics import mean, stdev

from scipy.special import stdtrit

from tlcore.grading import Checks

off_limits = ["tlcore.multitask", "by_package", "scipy.stats.ttest_rel", "scipy.stats.ttest_1samp"]
checks = Checks("Exercise 2 · Random accuracies", hidden=True, forbid=off_limits, seconds=20)


@checks("any number of seeds", points=1)
def _():
    rng = checks.rng()
    for count, shift in ((2, 0.3), (5, 0.2), (9, -0.2), (6, 0.0)):
        theirs = rng.uniform(0.4, 0.6, count)
        noise = rng.normal(size=count)
        ours = theirs + shift + 0.003 * (noise - noise.mean())
        d = [float(a - b) for a, b in zip(ours, theirs)]
        half = float(stdtrit(count - 1, 0.975)) * stdev(d) / math.sqrt(count)
        difference, found, verdict = judged(ours.tolist(), theirs.tolist())
        checks.close(difference, mean(d), atol=1e-6)
        checks.close(found, half, rtol=1e-4, atol=1e-6)
        checks.equal(verdict, "gains" if mean(d) > half else "loses" if mean(d) < -half else "tie")


checks
### END HIDDEN TESTS

# %% [markdown]
# Your judge on the four questions about pictures would need more patience than we have here. In the world of teachers
# many networks train side by side, so let us go back there.
#
# ## 3 · When does it make sense?
#
# We draw the picture of the opening again, with your network and your judge, and with teachers that the opening has not
# seen. Before you run it, guess. A task has 15 labelled rows, a stranger has 285. Does the small task gain, lose, or is
# it a tie? And what if the other task is a relative? (15 of 300 is the share 0.05, at the right of the second picture.)

# %%
my_small = None  # two words: with a stranger, with a relative

# %%
mine = three_pictures(HardSharing, judged, range(100, 100 + len(seeds)))
print("your guess:", my_small)

# %% [markdown]
# The lecture's three conditions, one by one, in the numbers of your run.


# %%
def told(ours: list[float], theirs: list[float]) -> str:
    difference, half, verdict = judged(ours, theirs)
    return f"{100 * float(difference):+.1f} ± {100 * float(half):.1f} {verdict}"


def ends(title: str) -> list[list[str]]:
    """The points at the least and at the greatest value of the knob."""
    lines = mine[title].items()
    return [[title, line, told(*points[min(points)]), told(*points[max(points)])] for line, points in lines]


plots.table(
    [row for title in titles for row in ends(title)],
    ["condition", "task", "at the least value", "at the greatest value"],
)

# %% [markdown]
# **Shared low-level features.** This condition decides the sign. At cosine 1 both tasks ask the same question about
# different inputs, so each gets the other's rows as a present. At cosine 0 the features that one needs are clutter to
# the other.
#
# **Similar amounts of data.** Look closely here, because the lecture's sentence can be misread. With a relative, the
# small task gains *more* the smaller it is; what fades is the gain of the large one. So similar amounts make the
# bargain *mutual*. Where amounts differ much, it is a gift from the large task to the small one: transfer learning by
# another road than that of Lesson 06. A stranger's gift is worth nothing, however large.
#
# **A big enough network.** Four strangers in two hidden units lose many points, though not for want of room alone (see
# the box). With room for everybody the loss shrinks towards a tie, though nothing is gained. Relatives, here two pairs,
# need less room, since they use the same features. So this condition keeps multi-task learning from doing harm, and the
# first one makes it pay.
#
# > **The smallest network** of the third picture has two hidden units for four tasks. Its opponents cannot have half a
# > unit each, so they have one, and together almost twice as many weights as the shared network. That point speaks
# > against sharing more than it should. From four units on both sides have about as many: judge the condition there.
#
# ## 4 · Who helps whom?
#
# In practice nobody tells us the cosine between two tasks. But we can train every task alone and every pair together,
# and write down what each did for the other: the **transfer matrix**. Here are five tasks. `A` is a teacher's question.
# A *relative* asks nearly the same. The *opposite* is answered yes exactly where `A` is answered no. A *stranger* looks
# elsewhere, and *noise* tosses a coin.

# %%
from itertools import combinations

tasks = ("A", "relative", "opposite", "stranger", "noise")


def five(seed: int) -> dict[str, Question]:
    first = asks(seed)
    coin = torch.Generator().manual_seed(seed)
    return {
        "A": first,
        "relative": asks(seed, 0.95),
        "opposite": lambda x: 1 - first(x),
        "stranger": asks(seed, 0.0),
        "noise": lambda x: torch.randint(0, 2, (len(x),), generator=coin).float(),
    }


# %%
group_seeds = range(200, 200 + runtime.scaled(quick=5, standard=10, full=20))


def groups_of(size: int) -> dict[tuple[str, ...], dict[str, list[float]]]:
    """Accuracies, by seed, of the tasks of each group of so many that were trained together."""
    groups = list(combinations(tasks, size))
    rows = [[150 * (task in group) for task in tasks] for group in groups]
    cases = [(list(five(s).values()), counts, s) for counts in rows for s in group_seeds]
    sets, case_seeds = [answered(*case) for case in cases], [case[2] for case in cases]
    nets = trained(HardSharing, 32, "ABCDE", sets, case_seeds, batch=32 * size)
    found = torch.stack([right(net, case[0], case[2]) for net, case in zip(nets, cases)])
    by_group = dict(zip(groups, found.view(len(groups), -1, 5)))
    return {group: {t: by_group[group][:, tasks.index(t)].tolist() for t in group} for group in groups}


runs = groups_of(1) | groups_of(2)
{name: round(sum(accuracies) / len(accuracies), 3) for name, accuracies in runs["A", "stranger"].items()}

# %% [markdown]
# `runs` holds, for each group of tasks that were trained together, the accuracies of each of them, seed by seed. Here
# the trunk is the same alone and together: we ask what the company does, not what it saves. Guess before you go on:
# does the opposite help `A`, harm it, or neither?

# %%
my_opposite = None  # "gains", "tie" or "loses"

# %% [markdown]
# ### Exercise 3 · The transfer matrix (3 points)
#
# Return the matrix $M$ whose entry $M_{ij}$ says what training with task $i$ does for task $j$: the mean accuracy of
# $j$ when it was trained together with $i$, minus its mean accuracy alone. The diagonal is 0. A pair stands in `runs`
# once, in either order. For
#
# `{("a",): {"a": [0.6, 0.8]}, ("b",): {"b": [0.5, 0.5]}, ("b", "a"): {"b": [0.7, 0.9], "a": [0.6, 0.6]}}`
#
# and the tasks `["a", "b"]` the answer is $M_{ab} = 0.8 - 0.5 = 0.3$ and $M_{ba} = 0.6 - 0.7 = -0.1$.


# %% nbgrader={"grade": false, "grade_id": "matrix", "locked": false, "schema_version": 3, "solution": true, "task": false}
Runs = dict[tuple[str, ...], dict[str, list[float]]]


def transfer_matrix(tasks: list[str], runs: Runs) -> torch.Tensor:
    """Accuracies by group, task and seed -> (T, T): what the task of the row does for the task of the column."""
    ### BEGIN SOLUTION
    matrix = torch.zeros(len(tasks), len(tasks))
    for i, helper in enumerate(tasks):
        for j, task in enumerate(tasks):
            if i != j:
                together = runs[helper, task] if (helper, task) in runs else runs[task, helper]
                alone = runs[(task,)]
                matrix[i, j] = np.mean(together[task]) - np.mean(alone[task])
    return matrix
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "matrix-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["transfer_matrix"]
from tlcore.grading import Checks

checks = Checks("Exercise 3 · The transfer matrix", forbid=["tlcore.multitask"], seconds=20)
small = {("a",): {"a": [0.6, 0.8]}, ("b",): {"b": [0.5, 0.5]}, ("b", "a"): {"b": [0.7, 0.9], "a": [0.6, 0.6]}}
three = small | {
    ("c",): {"c": [0.4, 0.2]},
    ("a", "c"): {"a": [0.9, 0.9], "c": [0.3, 0.5]},
    ("c", "b"): {"c": [0.2, 0.2], "b": [0.6, 0.5]},
}


@checks("the example of the text", points=1)
def _():
    wrong = {
        "the row is the task that helps, the column the task that is helped": [[0, -0.1], [0.3, 0]],
        "this is the accuracy together; take the accuracy alone off": [[0, 0.8], [0.6, 0]],
        "this is what it costs to be together; the sign is the other way round": [[0, -0.3], [0.1, 0]],
        "the helped task's own accuracies are wanted, on both sides": [[0, 0.1], [0.1, 0]],
    }
    found = transfer_matrix(["a", "b"], {k: dict(v) for k, v in small.items()})
    checks.close(found, [[0.0, 0.3], [-0.1, 0.0]], atol=1e-5, mistakes=wrong)


@checks("three tasks, pairs in either order", points=1)
def _():
    found = transfer_matrix(["a", "b", "c"], {k: dict(v) for k, v in three.items()})
    want = [[0.0, 0.3, 0.1], [-0.1, 0.0, -0.1], [0.2, 0.05, 0.0]]
    wrong = {"the row is the task that helps": [[want[j][i] for j in range(3)] for i in range(3)]}
    checks.close(found, want, atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "matrix-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["transfer_matrix"]
# Random runs, when your work is graded.
### BEGIN HIDDEN TESTS
from itertools import combinations
from statistics import mean

from tlcore.grading import Checks

checks = Checks("Exercise 3 · Random runs", hidden=True, forbid=["tlcore.multitask"], seconds=20)


@checks("random runs", points=1)
def _():
    rng = checks.rng()
    names = [f"t{n}" for n in rng.permutation(5)]
    groups = [(name,) for name in names] + [pair[:: 1 if rng.random() < 0.5 else -1] for pair in combinations(names, 2)]
    made = {group: {task: rng.uniform(size=4).tolist() for task in group} for group in groups}
    want = [[0.0] * 5 for _ in names]
    for group in groups[5:]:
        for i, j in (group, group[::-1]):
            want[names.index(i)][names.index(j)] = mean(made[group][j]) - mean(made[(j,)][j])
    order = list(made)
    mixed = {order[n]: made[order[n]] for n in rng.permutation(len(order))}
    checks.close(transfer_matrix(names, mixed), want, atol=1e-5)


checks
### END HIDDEN TESTS

# %%
matrix = torch.as_tensor(np.asarray(transfer_matrix(list(tasks), runs), dtype=np.float32))


def verdicts_of(i: str, j: str) -> str:
    together = runs[i, j] if (i, j) in runs else runs[j, i]
    return judged(together[j], runs[(j,)][j])[2]


# %%
ax = plots.figure(width=6, height=3.8)[1][0]
most = float(matrix.abs().max())
ax.imshow(matrix, cmap="PuOr_r", vmin=-most, vmax=most)
for i, j in np.ndindex(5, 5):
    if i != j:
        word = verdicts_of(tasks[i], tasks[j])
        shade = "white" if abs(matrix[i, j]) > 0.7 * most else "black"
        ax.text(j, i, f"{100 * matrix[i, j]:+.1f}\n{word}", ha="center", va="center", fontsize=8, color=shade)
ax.set_xticks(range(5), tasks)
ax.set_yticks(range(5), tasks)
ax.set(xlabel="what it does for this task (points)", ylabel="trained with")
print("the opposite on A:", verdicts_of("opposite", "A"), "; your guess:", my_opposite)

# %% [markdown]
# Each entry is a gain or a loss in points, with your judge's verdict below. Read it by rows. `A` and its relative are
# good company. So is the **opposite**, though its answer is always the contrary (single entries may be ties): it needs
# the same features, and whether they speak for yes or for no is the business of its head. What counts is not whether
# two tasks *agree*, but whether they look at the same things. A stranger and noise help nobody.
#
# > **Twenty verdicts at 95%.** Where there is no difference in truth, about one verdict in twenty still says "gains" or
# > "loses", by chance. Nobody can learn noise from or with anything, so a verdict other than "tie" in the last column
# > is such a false alarm. With many tasks, a matrix
# > is a map for a search, not twenty discoveries. It is also dear: $T$ tasks take $T + T(T-1)/2$ trainings, each with
# > several seeds.
#
# ## 5 · What happens in the trunk?
#
# Each task sends a gradient into the trunk, and the trunk follows their sum. If two gradients point the same way, a
# step for one task is a step for the other. If they point against each other, a step for one undoes some of the other's
# progress: the tasks are in **conflict**. The cosine between the gradients tells which it is, at any step, without
# training to the end.
#
# ### Exercise 4 · The probe (3 points)
#
# `task_gradients` returns the gradient of each loss by the given parameters, laid out in one row for each loss, in the
# order of the parameters. A parameter that a loss does not reach has the gradient 0. Nothing may be left in `.grad`,
# and the losses must still be good for a backward pass afterwards. `cosines` turns the rows into the matrix of their
# cosines; with a row of zeros the cosine is 0. For the losses $w_1 + w_2$ and $w_1^2 + w_2^2$ at $w = (1, 2)$ the
# gradients are $(1, 1)$ and $(2, 4)$, and their cosine is $6 / \sqrt{2 \cdot 20} = 0.9487$.


# %% nbgrader={"grade": false, "grade_id": "probe", "locked": false, "schema_version": 3, "solution": true, "task": false}
def task_gradients(losses: list[torch.Tensor], parameters: list[torch.Tensor]) -> torch.Tensor:
    """T losses and the parameters, P numbers in all -> gradients (T, P)."""
    ### BEGIN SOLUTION
    rows = []
    for loss in losses:
        found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found)]
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)
    ### END SOLUTION


def cosines(gradients: torch.Tensor) -> torch.Tensor:
    """Gradients (T, P) -> cosines (T, T)."""
    ### BEGIN SOLUTION
    lengths = gradients.norm(dim=1, keepdim=True)
    unit = gradients / lengths.clamp(min=1e-30)
    return unit @ unit.T
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "probe-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["task_gradients", "cosines"]
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 4 · The probe", forbid=["tlcore.multitask"], seconds=20)


def example(task_gradients):
    import torch

    w = torch.tensor([1.0, 2.0], requires_grad=True)
    v = torch.tensor([[3.0], [4.0]], requires_grad=True)
    losses = [w.sum(), (w * w).sum() + v[0, 0] * v[1, 0]]
    found = torch.as_tensor(task_gradients(losses, [w, v])).detach().tolist()
    left = w.grad is not None or v.grad is not None
    try:
        sum(losses).backward()
        again = w.grad.tolist()
    except RuntimeError:
        again = None
    return found, left, again


@checks("one row for each loss", points=0.5, hint="torch.autograd.grad, and flatten each part.")
def _():
    found, _, _ = remote(example, task_gradients)
    wrong = {
        "the gradients of earlier losses were added": [[1, 1, 0, 0], [3, 5, 4, 3]],
        "one row for each loss": [[1, 2], [1, 4], [0, 4], [0, 3]],
    }
    checks.close(found, [[1.0, 1.0, 0.0, 0.0], [2.0, 4.0, 4.0, 3.0]], mistakes=wrong)


@checks("nothing is left behind, and the losses live on", points=0.5, hint="retain_graph=True keeps the graph.")
def _():
    _, left, again = remote(example, task_gradients)
    checks.equal(left, False, mistakes={"backward() leaves gradients in .grad; autograd.grad does not": True})
    checks.equal(again, [3.0, 5.0], mistakes={"the graph was thrown away: keep it, with retain_graph": None})


@checks("cosines", points=1)
def _():
    rows = torch.tensor([[1.0, 1.0, 0.0], [2.0, 4.0, 0.0], [-3.0, 0.0, 0.0]])
    a, b, c = 6 / 40**0.5, -1 / 2**0.5, -2 / 20**0.5
    wrong = {
        "these are the inner products; divide by both lengths": (rows @ rows.T).tolist(),
        "divide by the lengths, not by their squares": (rows @ rows.T / rows.square().sum(1)).tolist(),
        "divide by both lengths, the row's and the column's": (rows @ rows.T / rows.norm(dim=1)).tolist(),
        "a cosine has a sign, and the sign is what we are after": [[1, a, -b], [a, 1, -c], [-b, -c, 1]],
    }
    checks.close(cosines(rows.clone()), [[1, a, b], [a, 1, c], [b, c, 1]], atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "probe-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["task_gradients", "cosines"]
# A network, and a gradient of zero, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 4 · A network", hidden=True, forbid=["tlcore.multitask"], seconds=20)


def network(task_gradients, seed):
    import torch
    from torch import nn

    torch.manual_seed(seed)
    trunk, heads = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), [nn.Linear(3, 1) for _ in range(3)]
    x, shared = torch.randn(9, 4), list(trunk.parameters())
    losses = [(head(trunk(x)) - n).square().mean() for n, head in enumerate(heads)]
    want = []
    for loss in losses:
        trunk.zero_grad(set_to_none=True)
        loss.backward(retain_graph=True)
        want.append([float(number) for p in shared for number in p.grad.flatten()])
    trunk.zero_grad(set_to_none=True)
    return torch.as_tensor(task_gradients(losses, shared)).detach().tolist(), want


@checks("three losses of a network", points=0.5)
def _():
    found, want = remote(network, task_gradients, int(checks.rng().integers(1000)))
    checks.close(found, want, atol=1e-5)


@checks("random rows, and one of zeros", points=0.5, hint="With a row of zeros the cosine is 0, not nan.")
def _():
    rows = checks.rng().normal(size=(4, 7))
    rows[2] = 0
    lengths = [max(float(np.sqrt((row**2).sum())), 1e-30) for row in rows]
    want = [[float(rows[i] @ rows[j]) / (lengths[i] * lengths[j]) for j in range(4)] for i in range(4)]
    found = np.asarray(cosines(torch.tensor(rows, dtype=torch.float32)), dtype=float)
    off = ~np.eye(4, dtype=bool)
    checks.close(found[off], np.array(want)[off], atol=1e-4)
    checks.close(found.diagonal()[[0, 1, 3]], np.ones(3), atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# We follow the cosine between the gradients of `A` and of each other task in the trunk while a network trains on both.
# All tasks are asked about the same inputs here. One more company is added: the opposite again, but now *without* a
# head of its own, so that the same output must say yes and no. Guess: what will the cosine of `A` and the opposite be
# at the end, with two heads, and with one?

# %%
my_cosines = None  # two numbers from -1 to 1


# %%
def two_heads(width: int, seed: int) -> nn.Module:
    _ = runtime.seed_everything(seed)
    return HardSharing(nn.Sequential(nn.Linear(30, width), nn.ReLU()), width, {"A": 1, "B": 1})


def pair_losses(net: nn.Module, x: torch.Tensor, answers: list[torch.Tensor], one_head: bool) -> list[torch.Tensor]:
    made = net(x)
    outs = [made["A"][:, 0], made["A" if one_head else "B"][:, 0]]
    return [binary_cross_entropy_with_logits(out, y) for out, y in zip(outs, answers)]


# %%
def trunk_cosine(losses: list[torch.Tensor], trunk: torch.nn.Module) -> float:
    """What your two functions say of two tasks, as a number."""
    found = torch.as_tensor(task_gradients(losses, list(trunk.parameters())), dtype=torch.float32)
    return float(np.asarray(cosines(found.detach()))[0, 1])


# %%
def followed(partner: str, seed: int, one_head: bool = False) -> list[float]:
    """Cosine between the two tasks' gradients in the trunk, at every fifth step."""
    net = two_heads(32, seed)
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
    x, questions, path = torch.randn(200, 30), five(seed), []
    answers = [questions["A"](x), questions[partner](x)]
    for number in range(81):
        losses = pair_losses(net, x, answers, one_head)
        if number % 5 == 0:
            path.append(trunk_cosine(losses, net.trunk))
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
    return path


# %%
follow_seeds = range(300, 300 + runtime.scaled(quick=2, standard=6, full=20))
paths = {partner: np.mean([followed(partner, s) for s in follow_seeds], 0) for partner in tasks[1:]}
paths["opposite, one head"] = np.mean([followed("opposite", s, one_head=True) for s in follow_seeds], 0)
ax = plots.figure(width=5, height=3)[1][0]
for (partner, path), marker in zip(paths.items(), "os^vD"):
    ax.plot(range(0, 81, 5), path, marker=marker, markersize=4, label=partner)
ax.axhline(0, color="0.6", linewidth=1)
ax.set(xlabel="step", ylabel="cosine with the gradient of A", ylim=(-1.1, 1.1))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print(f"opposite: {paths['opposite'][-1]:.2f}, with one head {paths['opposite, one head'][-1]:.2f}; you: {my_cosines}")

# %% [markdown]
# Before training, two random heads pull in unrelated directions. Soon the opposite's head has turned round, and from
# then on the two tasks agree about the trunk. With a single head there is nothing to turn, and the tasks undo each
# other at every step. This is the whole reason for heads.
#
# The relative soon becomes a friend as well, but its cosine then *falls*, below 0 even. Has it become bad company? No.
# Training goes downhill on the sum of the losses, and where a sum is least its gradient is 0: there the gradients of
# the two tasks are exactly opposite. So late in a training everybody drifts into conflict, except tasks that are solved
# by the very same weights, such as the opposite. If you want to know who is good company, look early, but not at the
# very first step.
#
# Does the probe, which costs twenty steps, foretell what the matrix measured in many trainings?

# %%
early = {partner: float(np.mean(path[1:5])) for partner, path in paths.items() if partner in tasks}
rows = [
    [partner, f"{cosine:+.2f}", f"{100 * matrix[tasks.index(partner), 0]:+.1f}", verdicts_of(partner, "A")]
    for partner, cosine in early.items()
]
plots.table(rows, ["trained with A", "cosine, steps 5 to 20", "points for A", "verdict"])

# %% [markdown]
# Here it does: good company has a cosine well above 0 early on, and bad company has none to speak of. It is a cheap
# first look, not a proof. These tasks are clear-cut, and the probe depends, as you saw, on when you look.
#
# ## 6 · Balancing
#
# If gradients disagree, or if one loss is much larger than the others, is the plain sum of the losses still the right
# thing to follow? Dozens of rules have been proposed. We write three that stand for three ideas: mend the *directions*,
# learn the *weights*, or watch the *speed*.
#
# ### Exercise 5 · PCGrad: mend the directions (3 points)
#
# PCGrad (Yu and others, 2020) takes each task's gradient $g_i$ and goes through the other tasks $j$. Wherever what is
# left of $g_i$ still points against $g_j$, that is, where $g_i \cdot g_j < 0$, it takes the part along $g_j$ away:
#
# $$g_i \leftarrow g_i - \frac{g_i \cdot g_j}{g_j \cdot g_j}\, g_j.$$
#
# Always against the *original* $g_j$. The result is the sum of what is left of all of them. The paper goes through the
# others in a random order; take them in the order of the rows. `gradients` itself must not be changed. For $(1, 0)$ and
# $(-1, 1)$ the first becomes $(\tfrac12, \tfrac12)$, the second $(0, 1)$, and their sum is $(\tfrac12, \tfrac32)$.


# %% nbgrader={"grade": false, "grade_id": "pcgrad", "locked": false, "schema_version": 3, "solution": true, "task": false}
def projected(gradients: torch.Tensor) -> torch.Tensor:
    """Gradients (T, P) -> sum (P,) of what is left of each after its conflicts."""
    ### BEGIN SOLUTION
    total = torch.zeros_like(gradients[0])
    for i, mine in enumerate(gradients):
        for j, other in enumerate(gradients):
            along = mine @ other
            if i != j and along < 0:
                mine = mine - along / (other @ other) * other
        total = total + mine
    return total
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pcgrad-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["projected"]
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · PCGrad", forbid=["tlcore.multitask"], seconds=20)


def three_tasks(projected):
    import torch

    given = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 1.0, 1.0]])
    found = torch.as_tensor(projected(given)).detach().tolist()
    return found, given.tolist()


@checks("the example of the text", points=1)
def _():
    rows = torch.tensor([[1.0, 0.0], [-1.0, 1.0]])
    wrong = {
        "this is the plain sum; these gradients are in conflict": [0.0, 1.0],
        "sum what is left, do not average it": [0.25, 0.75],
        "the second was projected against what was left of the first; take the original": [-0.5, 1.5],
        "divide by the square of the other's length": [0.0, 2.0],
        "divide by the square of the other's length, not by the length": [1 - 0.5**0.5, 1 + 0.5**0.5],
        "divide by the square of the other's length, not of one's own": [-0.5, 2.0],
        "subtract the part along the other": [-0.5, 0.5],
    }
    checks.close(projected(rows.clone()), [0.5, 1.5], mistakes=wrong)


@checks("without a conflict, the plain sum", points=0.5)
def _():
    wrong = {"only where the inner product is below 0": [0.5, 0.5], "sum, do not average": [1.0, 0.5]}
    checks.close(projected(torch.tensor([[1.0, 0.0], [1.0, 1.0]])), [2.0, 1.0], mistakes=wrong)


@checks("three tasks, and the gradients stay as they were", points=0.5, hint="Check each conflict with what is left.")
def _():
    found, after = remote(three_tasks, projected)
    wrong = {
        "whether there is a conflict is asked of what is left of the gradient": [1 / 6, 17 / 6, 4 / 3],
        "this is the plain sum": [-1.0, 2.0, 1.0],
    }
    checks.close(found, [0.5, 2.5, 1.0], atol=1e-4, mistakes=wrong)
    wrong = {"the gradients that came in were changed; work on a copy": [[0.5, 0.5, 0], [0, 1, 0], [0, 1, 1]]}
    checks.close(after, [[1.0, 0.0, 0.0], [-1.0, 1.0, 0.0], [-1.0, 1.0, 1.0]], mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "pcgrad-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["projected"]
# Random gradients, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 5 · Random gradients", hidden=True, forbid=["tlcore.multitask"], seconds=20)


@checks("random gradients of several tasks", points=1)
def _():
    rng = checks.rng()
    for tasks in (2, 3, 5):
        rows, want = rng.normal(size=(tasks, 6)), np.zeros(6)
        for i in range(tasks):
            mine = rows[i].copy()
            for j in range(tasks):
                if j != i and mine @ rows[j] < 0:
                    mine -= (mine @ rows[j]) / (rows[j] @ rows[j]) * rows[j]
            want += mine
        checks.close(projected(torch.tensor(rows, dtype=torch.float32)), want, rtol=1e-3, atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# Two gradients and what PCGrad makes of them. On the left they are at odds, on the right they are not.

# %%
fig, axes = plots.figure(2, width=3, height=2.6)
for ax, second in zip(axes, ([-1.0, 0.7], [0.4, 1.0])):
    rows = torch.tensor([[1.0, 0.2], second])
    arrows = {"task A": rows[0], "task B": rows[1], "sum": rows.sum(0), "PCGrad": projected(rows.clone())}
    for (name, (x, y)), colour in zip(arrows.items(), (plots.BLUE, plots.ORANGE, "0.6", plots.BLACK)):
        ax.annotate("", (float(x), float(y)), (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "linewidth": 2})
        ax.plot([], [], "-", color=colour, label=name)
    ax.set(xlim=(-1.2, 1.6), ylim=(-0.2, 1.6), aspect="equal", title="conflict" if second[0] < 0 else "no conflict")
_ = axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# PCGrad's arrow leans to neither task's harm: it has no part that points against the one or the other. Without a
# conflict it is the sum (the black arrow covers the grey one).
#
# ### Exercise 6 · Uncertainty: learn the weights (2 points)
#
# Kendall, Gal and Cipolla (2018) give each task a noise $\sigma_i$ of its own that is learned with the network. With
# $s_i = \log \sigma_i^2$, which may be any number, they minimise
#
# $$\sum_i e^{-s_i} L_i + \tfrac12 s_i.$$
#
# (For a squared error the derivation puts a ½ before $L_i$. We keep one form for all.) A noisy task gets a large $s_i$
# and so a small weight $e^{-s_i}$, and the second term keeps $s_i$ from growing for ever. Return this loss, in a form
# through which gradients flow. Then find out where it leads: `best_log_variance` returns the $s_i$ at which the loss is
# least for given $L_i$.


# %% nbgrader={"grade": false, "grade_id": "uncertainty", "locked": false, "schema_version": 3, "solution": true, "task": false}
def uncertainty_loss(losses: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """Losses (T,) and their s (T,) -> one number."""
    ### BEGIN SOLUTION
    return (torch.exp(-log_variance) * losses + log_variance / 2).sum()
    ### END SOLUTION


def best_log_variance(losses: torch.Tensor) -> torch.Tensor:
    """Losses (T,), above 0 -> the s (T,) at which the loss above is least."""
    ### BEGIN SOLUTION
    return torch.log(2 * losses)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "uncertainty-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["uncertainty_loss", "best_log_variance"]
import math

import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 6 · Uncertainty", forbid=["tlcore.multitask"], seconds=20)


def slopes(uncertainty_loss):
    import torch

    losses, s = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([0.0, 1.0], requires_grad=True)
    uncertainty_loss(losses, s).backward()
    return losses.grad.tolist(), s.grad.tolist()


@checks("the loss", points=0.5)
def _():
    losses, s = torch.tensor([0.5, 2.0]), torch.tensor([0.0, 2.0])
    wrong = {
        "the weight is exp(-s), so that a noisy task counts less": 0.5 + 2 * math.exp(2) + 1,
        "half of s is added": 0.5 + 2 * math.exp(-2) + 2,
        "without s / 2, every s would grow for ever": 0.5 + 2 * math.exp(-2),
        "sum over the tasks": (0.5 + 2 * math.exp(-2) + 1) / 2,
    }
    checks.close(uncertainty_loss(losses, s), 0.5 + 2 * math.exp(-2) + 1, mistakes=wrong)


@checks("gradients flow, to the network and to s", points=0.5, hint="Stay in torch: no float(), detach() or NumPy.")
def _():
    by_loss, by_s = remote(slopes, uncertainty_loss)
    checks.close(by_loss, [1.0, math.exp(-1)])
    checks.close(by_s, [-0.5, 0.5 - 2 * math.exp(-1)])


@checks("where it leads", points=0.5, hint="Set the derivative by s to 0.")
def _():
    wrong = {
        "the derivative of s / 2 is one half, not 1": [math.log(0.5), math.log(2.0)],
        "this is the weight exp(-s), not s": [1.0, 0.25],
        "this is the variance, exp(s), not s": [1.0, 4.0],
        "the sign: exp(s) grows with the loss": [0.0, -math.log(4.0)],
    }
    checks.close(best_log_variance(torch.tensor([0.5, 2.0])), [0.0, math.log(4.0)], mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "uncertainty-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["uncertainty_loss", "best_log_variance"]
# Random losses, when your work is graded.
### BEGIN HIDDEN TESTS
import math

import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · Random losses", hidden=True, forbid=["tlcore.multitask"], seconds=20)


@checks("random losses", points=0.5)
def _():
    rng = checks.rng()
    losses, s = rng.uniform(0.1, 5.0, 4), rng.normal(size=4)
    want = sum(loss * math.exp(-noise) + noise / 2 for loss, noise in zip(losses, s))
    given, noises = (torch.tensor(one, dtype=torch.float32) for one in (losses, s))
    checks.close(uncertainty_loss(given, noises), want, atol=1e-4)
    checks.close(best_log_variance(given), [math.log(2 * loss) for loss in losses], atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# So at its best point each weight is $e^{-s_i} = 1 / (2 L_i)$. The rule makes all weighted losses equal, whatever their
# units. Put these $s_i$ into the loss: what is left is $\tfrac12 \sum_i \log L_i$ and a constant. So behind the noise
# stands a simple idea: count by how many *percent* a loss falls, not by how much.
#
# ### Exercise 7 · Dynamic averaging: watch the speed (2 points)
#
# Liu, Johns and Davison (2019) give more weight to a task whose loss has fallen little. With $r_i$ the mean loss of the
# last epoch divided by that of the epoch before, and a temperature $\tau$, the weights of $T$ tasks are
#
# $$w_i = T\, \frac{e^{r_i / \tau}}{\sum_j e^{r_j / \tau}}.$$
#
# They sum to $T$, and are 1 as long as there are not two epochs to compare. For the losses $(4,1,1)$ and
# $(1,1,\tfrac12)$ in two epochs, with $\tau = 2$, the $r_i$ are $(\tfrac14,1,\tfrac12)$ and the weights, rounded,
# $(0.84,1.22,0.95)$: the second task has stood still.


# %% nbgrader={"grade": false, "grade_id": "dynamic", "locked": false, "schema_version": 3, "solution": true, "task": false}
def dynamic_weights(losses: torch.Tensor, temperature: float = 2.0) -> torch.Tensor:
    """Mean losses (E, T) of the epochs so far, oldest first, E from 0 on -> weights (T,)."""
    ### BEGIN SOLUTION
    count = losses.shape[1]
    if len(losses) < 2:
        return torch.ones(count)
    return count * torch.softmax(losses[-1] / losses[-2] / temperature, 0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "dynamic-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["dynamic_weights"]
import math

import torch

from tlcore.grading import Checks

checks = Checks("Exercise 7 · Dynamic averaging", forbid=["tlcore.multitask"], seconds=20)
two = torch.tensor([[4.0, 1.0, 1.0], [1.0, 1.0, 0.5]])


def weighed(ratios, scale):
    parts = [math.exp(ratio / scale) for ratio in ratios]
    return [3 * part / sum(parts) for part in parts]


@checks("the example of the text", points=1)
def _():
    want = weighed([0.25, 1.0, 0.5], 2)
    wrong = {
        "the last epoch divided by the one before, not the other way round": weighed([4, 1, 2], 2),
        "divide by the temperature": weighed([0.25, 1.0, 0.5], 1),
        "divide by the temperature, do not multiply": weighed([0.25, 1.0, 0.5], 0.5),
        "the weights sum to T": [weight / 3 for weight in want],
        "what counts is the ratio of two epochs, not the loss": weighed([1.0, 1.0, 0.5], 2),
    }
    checks.close(dynamic_weights(two.clone()), want, mistakes=wrong)


@checks("too early to tell", points=0.5, hint="One row, or none at all: ones.")
def _():
    checks.close(dynamic_weights(two[:1].clone()), [1.0, 1.0, 1.0])
    checks.close(dynamic_weights(torch.zeros(0, 3)), [1.0, 1.0, 1.0])


checks

# %% nbgrader={"grade": true, "grade_id": "dynamic-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["dynamic_weights"]
# More epochs, when your work is graded.
### BEGIN HIDDEN TESTS
import math

import torch

from tlcore.grading import Checks

checks = Checks("Exercise 7 · More epochs", hidden=True, forbid=["tlcore.multitask"], seconds=20)


@checks("only the last two epochs count", points=0.5)
def _():
    rng = checks.rng()
    losses, temperature = rng.uniform(0.2, 3.0, (5, 4)), float(rng.uniform(0.5, 4))
    parts = [math.exp(a / b / temperature) for a, b in zip(losses[-1], losses[-2])]
    found = dynamic_weights(torch.tensor(losses, dtype=torch.float32), temperature)
    checks.close(found, [4 * part / sum(parts) for part in parts], rtol=1e-4, atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now all of them side by side, on two strangers that share a trunk of 16 units. Task `A` is a question with yes and no.
# Task `B` is to *predict the number* that the other teacher computes, with a squared error. Both are asked about the
# same inputs. And now the trick: we measure the error of `B` once in its natural unit, and once in a unit twenty times
# as small, so that all errors are twenty times, and squared errors four hundred times, as large. Think of metres, and
# of pieces of five centimetres. Nothing else changes. This is what each rule does in a step:


# %%
def gradients_by(rule: str, losses: torch.Tensor, net: nn.Module, s: torch.Tensor, weights: torch.Tensor) -> None:
    """Leave in .grad what the rule makes of the losses (T,)."""
    if rule == "PCGrad":
        shared = list(net.trunk.parameters())
        found = torch.as_tensor(task_gradients(list(losses), shared), dtype=torch.float32).detach()
        mended = torch.as_tensor(projected(found), dtype=torch.float32)
        losses.sum().backward()
        for parameter, part in zip(shared, mended.split([p.numel() for p in shared])):
            parameter.grad = part.view_as(parameter).clone()
    elif rule == "uncertainty":
        uncertainty_loss(losses, s).backward()
    else:
        (weights * losses).sum().backward()


# %% [markdown]
# In a training ten steps count as an epoch. All rules get the same weight decay, and Adam, which adapts to the scale of
# the gradients, so that large numbers alone do not make the training diverge. The uncertainty rule's $s$ start where
# your `best_log_variance` puts them for the first losses, and have a rate of their own.


# %%
def problem(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """1200 inputs, answers to A, and numbers for B."""
    x = torch.randn(1200, 30, generator=torch.Generator().manual_seed(seed))
    other = teacher.but(world_seed=1000 * seed, rho=0.0)
    return x, asks(seed)(x), other.score(x)


def both_losses(net: nn.Module, unit: float, x: torch.Tensor, yes: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    made = net(x)
    error = (unit * (made["B"][:, 0] - number)).square().mean()
    return torch.stack([binary_cross_entropy_with_logits(made["A"][:, 0], yes), error])


# %%
def rows_of(data: list[torch.Tensor]) -> list[torch.Tensor]:
    rows = torch.randint(len(data[0]), (50,))
    return [part[rows] for part in data]


def start_of_s(losses: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(np.asarray(best_log_variance(losses.detach()), dtype=np.float32)).requires_grad_()


def by_epochs(seen: list[torch.Tensor]) -> torch.Tensor:
    """Your dynamic weights, from the losses of all steps so far; ten steps are an epoch."""
    whole = torch.stack(seen)[: len(seen) // 10 * 10] if seen else torch.zeros(0, 2)
    return torch.as_tensor(np.asarray(dynamic_weights(whole.view(-1, 10, 2).mean(1)), dtype=np.float32))


# %%
def balanced(rule: str, unit: float, seed: int) -> nn.Module:
    net = two_heads(16, seed)
    data, weights, seen = [part[:200] for part in problem(seed)], torch.ones(2), []
    s = start_of_s(both_losses(net, unit, *data))
    optimizer = torch.optim.Adam([{"params": net.parameters(), "weight_decay": 0.01}, {"params": [s], "lr": 0.1}], 0.01)
    for _ in range(runtime.scaled(quick=80, standard=200, full=300)):
        losses = both_losses(net, unit, *rows_of(data))
        optimizer.zero_grad()
        gradients_by(rule, losses, net, s, weights)
        optimizer.step()
        seen.append(losses.detach())
        weights = by_epochs(seen) if rule == "dynamic" else weights
    return net


# %%
@torch.no_grad()
def marks(net: nn.Module, seed: int) -> tuple[float, float]:
    """Accuracy of A, and for B the explained share of the variance, on a thousand new inputs."""
    x, yes, number = (part[200:] for part in problem(seed))
    made = net(x)
    error = (made["B"][:, 0] - number).square().mean()
    return float(((made["A"][:, 0] > 0) == (yes > 0)).float().mean()), float(1 - error / number.var(unbiased=False))


# %% [markdown]
# The table will show the accuracy of `A` and, for `B`, the share of the variance of its numbers that the predictions
# explain (as in Lesson 01), both in percent: 100 is perfect, 0 no better than to say the mean every time.
#
# Guess first: in the small unit, which of the four rules still learn `A` as well as the plain sum does in the natural
# unit? And in the natural unit, which rules beat the plain sum, if any?

# %%
my_rules = None  # two lists, either may be empty, out of "sum", "PCGrad", "uncertainty" and "dynamic"

# %%
rules = ("sum", "PCGrad", "uncertainty", "dynamic")
rule_seeds = range(400, 400 + runtime.scaled(quick=4, standard=8, full=20))
scores, spent = {}, {}
for unit in (1.0, 20.0):
    for rule in rules:
        start = time.process_time()
        nets = [balanced(rule, unit, seed) for seed in rule_seeds]
        spent[unit, rule] = time.process_time() - start
        scores[unit, rule] = [marks(net, seed) for net, seed in zip(nets, rule_seeds)]


# %%
def beside(unit: float, rule: str, n: int) -> str:
    """Mark n (0: A, 1: B), and your judge's word on it beside the plain sum in the natural unit."""
    ours, theirs = ([100 * both[n] for both in scores[key]] for key in ((unit, rule), (1.0, "sum")))
    difference, half, verdict = judged(ours, theirs)
    word = "" if (unit, rule) == (1.0, "sum") else f" ({float(difference):+.1f} ± {float(half):.1f} {verdict})"
    return f"{np.mean(ours):.1f}{word}"


units = {1.0: "natural", 20.0: "20 times smaller"}
rows = [
    [units[unit], rule, beside(unit, rule, 0), beside(unit, rule, 1), f"{spent[unit, rule] / spent[1.0, 'sum']:.1f}"]
    for unit, rule in scores
]
print("your guess:", my_rules)
plots.Table(rows, ["unit of B", "rule", "A: accuracy, %", "B: explained, %", "time (sum: 1)"], left=2)

# %% [markdown]
# In brackets: points more or less than the plain sum in the natural unit, and your judge's verdict. The time is a
# multiple of what that sum takes. First the upper half. The rules came to about the same as the plain sum. Where your
# judge says something else than "tie", look at the other task as well: a rule may have moved weight from one task to
# the other, and a fixed weight could have done that, too.
#
# Then the lower half. With the error of `B` in the small unit the plain sum hears little but `B`, and `A` loses many
# points. PCGrad repairs a part of it at most: it guards each task from the direction of the other, not from its size.
# Dynamic averaging repairs nothing: it looks at ratios, and a unit cancels out of a ratio. Uncertainty weighting gives
# the same marks in both units: it does not care, as Exercise 6 promised.
#
# But look at the very first row again. There the plain sum learned the *same data*, with the error in a sensible unit:
# in their natural unit the numbers of `B` happen to have a variance of about 1. For any other unit, to divide a squared
# error by the variance of its targets is one line, and needs no rule.
#
# This is the state of knowledge beyond our small world, too. Kurin and others (2022) compared the special optimisers
# with the plain sum, which they call *unitary scalarisation*, on well-known problems. With the regularisation and
# stabilisation that are usual for single tasks, the plain sum matched the special ones or did better, at a lower cost.
# So: bring all losses to one scale, use weight decay, tune the sum first, and demand of any rule that it beats *that*,
# judged over seeds.
#
# ## What we saw
#
# The numbers below come from your run. Unless the row says something else, they are points together minus alone.


# %%
def at(which: Callable, title: str, *lines: str) -> str:
    """The judge's words at the least (min) or greatest (max) value of a knob."""
    return " / ".join(told(*mine[title][line][which(mine[title][line])]) for line in lines)


# %%
similar, share, room = titles
plots.table(
    [
        ["two strangers", at(min, similar, "mean of two tasks")],
        ["twice the same question", at(max, similar, "mean of two tasks")],
        ["15 rows, with a relative / a stranger", at(min, share, "A, with a relative", "A, with a stranger")],
        ["four strangers, narrowest fair network", at(lambda widths: sorted(widths)[1], room, "strangers")],
        ["four strangers, widest network", at(max, room, "strangers")],
        ["A, with its opposite", told(runs["A", "opposite"]["A"], runs[("A",)]["A"])],
        ["accuracy of A, B in a small unit: sum (beside the natural unit)", beside(20.0, "sum", 0)],
        ["the same by uncertainty (beside the sum in the natural unit)", beside(20.0, "uncertainty", 0)],
    ],
    ["question", "answer"],
)

# %% [markdown]
# - Hard sharing is one trunk and a head for each task. It saves time and memory for certain, and gains accuracy under
#   conditions.
# - Tasks help each other if they need the same features. Of the three conditions this one matters most: without it
#   neither data nor room makes sharing pay. Such tasks may give contrary answers; heads take care of that.
# - Between relatives with unequal amounts of data, the small task gains much and the large one little. With equal
#   amounts the gain is mutual.
# - The network must have room for all. Room prevents harm; it does not make strangers helpful.
# - A difference without an interval over seeds is an anecdote, and a tie is a result.
# - Bring the losses to one scale and start from the plain sum. A balancing rule has to prove itself against that.
#
# There are softer ways to share. In `tlcore.multitask`, `SoftSharing` gives each task a network of its own and pulls
# their weights towards each other, and `CrossStitch` lets each network mix in the others' maps, by as much as it learns
# to want. Both cost as much as a network for each task.
#
# ### What if?
#
# - What if you keep the plain sum and give the tasks more of a trunk of their own, by letting the heads begin one layer
#   earlier? What would the third picture of Section 3 look like?
# - You have one task that matters and fifty that are free. How would you pick its company without training hundreds of
#   networks?
# - A relative with much more data gave the small task a present. Would pre-training on the relative and fine-tuning
#   (Lesson 06) have given more? What would a fair comparison look like?
