# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · What changed?
#
# A classifier does well where it was trained. You take it somewhere else, and it does not. What changed? The
# lectures name six things that can. Below, a small network that tells four shapes apart meets all six: the first
# column is where it learned; in each other column we changed one thing on purpose. By the end of this lesson you
# will have made all six changes yourself, and you will know which of them can be seen without labels, which can be
# repaired, and which hardly matter.
#
# The lesson has eight exercises and 20 points. Running all its cells takes less than half a minute.

# %%
import torch

from tlcore import plots, runtime, worlds

plots.use_style()
torch.set_num_threads(1)  # these networks are too small to be shared out
names = ("circle", "ring", "square", "diamond")
world = worlds.Shapes(shapes=names, textures=("plain",), size=24)
train = world.sample(runtime.scaled(quick=1500, standard=3000, full=12000), seed=1)
train

# %%
from torch import nn

from tlcore import training


def block(channels_in: int, channels_out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2))


def adam(parameters: list) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.005)


# %%
_ = runtime.seed_everything(0)
net = nn.Sequential(block(3, 16), block(16, 32), block(32, 64), nn.Flatten(), nn.Linear(64 * 9, 4))
epochs = runtime.scaled(quick=6, standard=8, full=10)
history = training.fit(net, train, epochs=epochs, optimizer=adam, batch_size=64, schedule="one_cycle", progress=False)
_ = net.cpu()

# %% [markdown]
# The six places come from the course's package, which can move a world in each of the six ways. Later your own
# functions will.

# %%
from tlcore import shift

size = runtime.scaled(quick=300, standard=800, full=2000)


def elsewhere(change: shift.Shift) -> worlds.Dataset:
    return shift.pair(world, change, size=size, seed=3).target


home = world.sample(size, seed=2)
places = {
    "the source\n": home,
    "$X$\ngrey": elsewhere(shift.FeatureSpace(kind="grey")),
    "$P(X)$\nat night": elsewhere(shift.Marginal(0.9, kind="night")),
    "$Y$\nother names": world.but(shapes=("plus", "T", "star", "heart")).sample(size, seed=2),
    "$P(Y|X)$\nnew meanings": elsewhere(shift.Concept()),
    "$P(Y)$\nmore circles": elsewhere(shift.Prior(to=(0.85, 0.05, 0.05, 0.05))),
    "$P(X|Y)$\nown grounds": elsewhere(shift.Conditional(kind="background")),
}


# %%
@torch.no_grad()
def accuracy(images: torch.Tensor, labels: torch.Tensor) -> float:
    return float((net(images).argmax(1) == labels).float().mean())


def verdict(data: worlds.Dataset) -> str:
    if data.inputs.shape[1] != 3:
        return "does not fit"
    return f"{accuracy(data.inputs, data.targets):.0%} right" if data.classes == names else "no such names"


# %%
from matplotlib.axes import Axes


def picture(ax: Axes, image: torch.Tensor, **texts: str) -> None:
    """One picture (C, H, W) without a frame."""
    ax.imshow(image.permute(1, 2, 0).expand(-1, -1, 3))
    ax.set(xticks=[], yticks=[], **texts)
    ax.spines[:].set_visible(False)


# %%
fig, axes = plots.figure(7, 3, width=1.25, height=1.4)
for column, (heading, data) in enumerate(places.items()):
    for row in range(3):
        label = data.classes[data.targets[row]]
        picture(axes[7 * row + column], data.inputs[row], xlabel=label)
    axes[column].set_title(heading)
    axes[14 + column].set_xlabel(f"{label}\n\n{verdict(data)}")

# %% [markdown]
# Grey pictures do not even fit into the network, and for a heart it has no name. At night it often fails. Where a
# circle is called a ring, and a ring a square, it sees as well as ever and is nearly always wrong. In the last two
# columns the world has changed, too, and the network hardly notices. So "something changed" says little. We need
# words for *what* changed.
#
# ## 1 · Domains and tasks
#
# Sinno Pan and Qiang Yang gave the words in 2010. A **domain** $\mathcal{D} = \{\mathcal{X}, P(X)\}$ is a feature
# space and a distribution over it: which inputs are possible, and which are common. Given a domain, a **task**
# $\mathcal{T} = \{\mathcal{Y}, P(Y|X)\}$ is a label space and the probability of each label given the input: which
# answers are possible, and which is right. We learn on a *source* $S$ and want to be good on a *target* $T$, and
# domain, task or both may differ.
#
# > **One label per input?** The lecture also writes the task as $\{\mathcal{Y}, \eta\}$, with a function $\eta$ that
# > gives each input its label. This is the special case of classes that do not overlap. Where one and the same input
# > can belong to two classes, no function is always right, and $P(Y|X)$ is the exact notion. The difference will
# > matter soon.
#
# Let us see the four combinations. The old task is to name the shape; a new task on the *same* pictures is to say
# which pixels belong to it (segmentation). In our world, pictures carry everything that is known about them, so a new
# task is one line.

# %%
new_task = home.labelled_by("mask")
home.targets.shape, new_task.targets.shape

# %%
night = elsewhere(shift.Marginal(0.7, kind="night"))
fig, axes = plots.figure(6, 2, width=1.5, height=1.65)
for row, (domain, data) in enumerate({"old domain": home, "new domain": night}.items()):
    for n in range(3):
        left, right = axes[6 * row + n], axes[6 * row + 3 + n]
        picture(left, data.inputs[n], title=f"→ {names[data.targets[n]]}")
        picture(right, data.labelled_by("mask").targets[n][None].float(), title="→ mask")
    axes[6 * row].set_ylabel(domain)

# %% [markdown]
# In the upper row, on the left, is what we trained on: old domain, old task. On the right are the same pictures, so
# the same domain, with other answers, so another task. In the lower row the domain is new, because pictures taken at
# dusk have another distribution. The task on the left is the old one; on the right both have changed.
#
# Each of the two parts of a domain, and each of the two parts of a task, can differ:
# $\mathcal{X}_S \ne \mathcal{X}_T$, $P_S(X) \ne P_T(X)$, $\mathcal{Y}_S \ne \mathcal{Y}_T$, $P_S(Y|X) \ne P_T(Y|X)$.
# The lecture adds two more, $P_S(Y) \ne P_T(Y)$, its *probability shift*, and $P_S(X|Y) \ne P_T(X|Y)$, its
# *conditional shift*. These make six. Of the usual names we shall need a few: $P(Y)$ is the *prior*, and $P(Y|X)$ the
# *posterior*. A moved $P(X)$ is a *covariate shift*, a moved $P(Y|X)$ a *concept shift*, a moved $P(Y)$ a *prior
# shift*, and a moved $P(X|Y)$ a *conditional shift*.
#
# ## 2 · Four faces of one distribution
#
# Two of the six are about spaces. The other four are not independent of each other, because they are faces of one
# joint distribution:
#
# $$P(X, Y) = P(X)\,P(Y|X) = P(Y)\,P(X|Y).$$
#
# Whoever knows one pair of faces knows the joint, and so the other pair. The road from one pair to the other is
# Bayes' rule.
#
# ### Exercise 1 · There and back (3 points)
#
# Let $a$ and $b$ be any two things that take finitely many values. Given $P(a)$ and $P(b|a)$, return $P(b)$ and
# $P(a|b)$. Tables of conditional probabilities have one row for each value of the *condition*, and each row sums to
# 1. For $P(a) = (\tfrac14, \tfrac34)$ and $P(b|a)$ with the rows $(1, 0)$ and $(\tfrac13, \tfrac23)$ the answer is
# $P(b) = (\tfrac12, \tfrac12)$, and $P(a|b)$ with the rows $(\tfrac12, \tfrac12)$ and $(0, 1)$. Every $b$ will have a
# probability above 0.


# %% nbgrader={"grade": false, "grade_id": "bayes", "locked": false, "schema_version": 3, "solution": true, "task": false}
def bayes(p_a: torch.Tensor, p_b_given_a: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """P(a) (A,) and P(b|a) (A, B) -> P(b) (B,) and P(a|b) (B, A)."""
    ### BEGIN SOLUTION
    joint = p_a[:, None] * p_b_given_a  # (A, B)
    p_b = joint.sum(0)
    return p_b, (joint / p_b).T
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "bayes-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["bayes"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 1 · There and back", forbid=["tlcore.shift"], seconds=5)
p_a = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
given = torch.tensor([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]], dtype=torch.float64)
joint = p_a[:, None] * given


@checks("how often each b occurs", points=0.5, hint="Each row of P(b|a) counts as often as its a occurs.")
def _():
    p_b, _ = bayes(p_a.clone(), given.clone())
    wrong = {"not every a is equally frequent": given.mean(0), "the mean over a has the weights P(a)": joint.mean(0)}
    checks.close(p_b, [0.64, 0.36], mistakes=wrong)


@checks("P(a|b), one row for each b", points=1, hint="Joint probability over P(b).")
def _():
    _, p_a_given_b = bayes(p_a.clone(), given.clone())
    wrong = {
        "this is the joint probability; it still has to be divided by P(b)": joint.T,
        "the condition is b, so there is a row for each b": joint / joint.sum(0),
        "P(a) was left out, as if every a were equally frequent": (given / given.sum(0)).T,
        "this is P(b|a), turned over": given.T,
    }
    checks.close(p_a_given_b, (joint / joint.sum(0)).T, mistakes=wrong)


@checks("the example of the text", points=0.5)
def _():
    quarter = torch.tensor([0.25, 0.75], dtype=torch.float64)
    p_b, p_a_given_b = bayes(quarter, torch.tensor([[1.0, 0.0], [1 / 3, 2 / 3]], dtype=torch.float64))
    checks.close(p_b, [0.5, 0.5])
    checks.close(p_a_given_b, [[0.5, 0.5], [0.0, 1.0]])


checks

# %% nbgrader={"grade": true, "grade_id": "bayes-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["bayes"]
# Random tables, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 1 · Random tables", hidden=True, forbid=["tlcore.shift"], seconds=5)


@checks("a random table, summed one by one", points=0.5)
def _():
    rng = checks.rng()
    p_a, given = rng.dirichlet([1.0] * 4), rng.dirichlet([1.0] * 6, size=4)
    p_b, p_a_given_b = bayes(torch.tensor(p_a), torch.tensor(given))
    expected = [sum(p_a[a] * given[a, b] for a in range(4)) for b in range(6)]
    checks.close(p_b, expected)
    checks.close(p_a_given_b, [[p_a[a] * given[a, b] / expected[b] for a in range(4)] for b in range(6)])


@checks(
    "there and back again", points=0.5, hint="Applied to its own answer, the function gives back what it was given."
)
def _():
    rng = checks.rng()
    p_a, given = torch.tensor(rng.dirichlet([1.0] * 5)), torch.tensor(rng.dirichlet([1.0] * 3, size=5))
    p_b, p_a_given_b = (torch.tensor(np.asarray(part, dtype=float)) for part in bayes(p_a.clone(), given.clone()))
    first, second = bayes(p_b, p_a_given_b)
    checks.close(first, p_a)
    checks.close(second, given)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now a world small enough to hold in one hand: where does an animal stand, and is it a cow or a deer? Both may stand
# at the edge of the wood, so the place does not always settle the question: the classes *overlap*. Your function
# works in both directions, and that lets us move one face, hold its partner, and see what the other two do.

# %%
import numpy as np


def numbers(answer: object) -> torch.Tensor:
    """Whatever container an answer came in, as a tensor."""
    return torch.as_tensor(np.asarray(answer, dtype=np.float32))


def faces(*tables: object) -> dict[str, torch.Tensor]:
    return dict(zip(("P(X)", "P(Y|X)", "P(Y)", "P(X|Y)"), map(numbers, tables)))


def from_labels(p_y: list, p_x_given_y: list) -> dict[str, torch.Tensor]:
    return faces(*bayes(torch.tensor(p_y), torch.tensor(p_x_given_y)), p_y, p_x_given_y)


def from_inputs(p_x: list, p_y_given_x: list) -> dict[str, torch.Tensor]:
    return faces(p_x, p_y_given_x, *bayes(torch.tensor(p_x), torch.tensor(p_y_given_x)))


# %% [markdown]
# Five joint distributions: the source, and four targets in which we *choose* one new face and keep its partner.

# %%
half, cow_and_deer = [0.5, 0.5], [[0.6, 0.3, 0.1], [0.1, 0.3, 0.6]]  # meadow, edge, wood
source = from_labels(half, cow_and_deer)
overlapping = {
    "source": source,
    "P(Y)": from_labels([0.9, 0.1], cow_and_deer),
    "P(X|Y)": from_labels(half, [[0.4, 0.3, 0.3], [0.1, 0.3, 0.6]]),
    "P(X)": from_inputs([0.7, 0.2, 0.1], source["P(Y|X)"].tolist()),
    "P(Y|X)": from_inputs(source["P(X)"].tolist(), [[0.5, 0.5], [0.5, 0.5], [0.1, 0.9]]),
}

# %% [markdown]
# Record a guess: we make nine in ten animals cows, and cows and deer go on standing where they always stood. $P(Y)$
# is then moved by choice. Which of $P(X)$, $P(Y|X)$ and $P(X|Y)$ move with it?

# %%
my_moved = None  # such as ["P(X)"]


# %%
def moves(face: str, target: dict, source: dict) -> bool:
    return bool((target[face] - source[face]).abs().max() > 1e-4)


def draw(ax: Axes, table: torch.Tensor, moved: bool) -> None:
    """A table of probabilities as grey fields; a thick frame says that it has moved."""
    rows = table.reshape(-1, table.shape[-1])
    ax.imshow(rows, vmin=0, vmax=1, cmap="Greys", aspect="auto")
    for (y, x), p in np.ndenumerate(rows.numpy()):
        ax.text(x, y, f"{p:.2f}", ha="center", va="center", color="white" if p > 0.5 else "black")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=plots.RED if moved else "0.8", linewidth=4 if moved else 1)


# %%
fig, axes = plots.figure(4, 5, width=1.9, height=1.2)
for row, (cause, target) in enumerate(overlapping.items()):
    for ax, (face, table) in zip(axes[4 * row :], target.items()):
        draw(ax, table, moves(face, target, source))
        ax.set_title("" if row else face)
    axes[4 * row].set_ylabel(cause, rotation=0, ha="right", va="center")
for ax, face in zip(axes[16:], source):
    columns = ["meadow", "edge", "wood"] if face.startswith("P(X") else ["cow", "deer"]
    ax.set_xticks(range(len(columns)), columns)
print("your guess:", my_moved)

# %% [markdown]
# One row for each joint distribution, one column for each face; a thick frame means that the face differs from the
# source's. (A conditional table has a row for each condition: the three rows of $P(Y|X)$ are meadow, edge and wood.)
# The lower four distributions are named after the face that we chose to move, and each has three thick frames: the
# chosen face, and both faces of the *other* pair. Only the partner stays, because we held it.
#
# **No face ever moves alone.** The joint is the product of either pair. If it moves, then in *each* pair at least one
# face has moved.
#
# And if the classes do not overlap? Then the place settles what animal it is. We repeat the experiment with four
# places, two for cows only and two for deer only.

# %%
apart = [[0.7, 0.3, 0.0, 0.0], [0.0, 0.0, 0.4, 0.6]]
clear_source = from_labels(half, apart)
clear = {
    "P(Y)": from_labels([0.9, 0.1], apart),
    "P(X|Y)": from_labels(half, [[0.2, 0.8, 0.0, 0.0], [0.0, 0.0, 0.4, 0.6]]),
    "P(X)": from_inputs([0.1, 0.2, 0.3, 0.4], clear_source["P(Y|X)"].tolist()),
    "P(Y|X)": from_inputs(clear_source["P(X)"].tolist(), [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]),
}

# %%
title = {"P(Y)": "prior shift", "P(X|Y)": "conditional shift", "P(X)": "covariate shift", "P(Y|X)": "concept shift"}
rows = []
for cause, name in title.items():
    seen = [(moves(f, overlapping[cause], source), moves(f, clear[cause], clear_source)) for f in source]
    rows.append([name, cause, *[{(1, 1): "moves", (1, 0): "moves if they overlap"}.get(s, "stays") for s in seen]])
plots.table(rows, ["name", "moved by choice", *source])

# %% [markdown]
# This is the table to keep. ("Moves" means: in general. A concept shift that turns as many cows into deer as deer
# into cows leaves $P(Y)$ where it was.) Where classes do not overlap, another prior leaves $P(Y|X)$ alone, and so
# does a $P(X|Y)$ that moves within each class's own places: a meadow still means a cow.
#
# > **Unbalanced labels.** The lecture's scenario for $P_S(Y|X) \ne P_T(Y|X)$ is documents with unbalanced labels.
# > Look at the first row. Where each class looks as before and only the shares differ, this is another $P(Y)$, a *prior
# > shift*, or probability shift. $P(X)$ moves
# > with it. $P(Y|X)$ moves only where classes overlap, and then by Bayes' rule alone: no document has changed its
# > meaning. The difference matters, because a prior shift can be measured and repaired without labels from the target
# > (Section 7), and a concept shift cannot.

# %% [markdown]
# ## 3 · Other spaces
#
# Before any distribution can be compared, the spaces must be the same. Two ways in which they are not:
#
# - $\mathcal{X}_S \ne \mathcal{X}_T$: colour pictures here and grey ones there; English here and Nepali there.
# - $\mathcal{Y}_S \ne \mathcal{Y}_T$: farm animals here and forest animals there (other classes), or species here and
#   breeds there (another level of one hierarchy). Our circles and rings are *round*, our squares and diamonds are
#   *polygons*.
#
# ### Exercise 2 · Grey pictures, coarse labels (2 points)
#
# Write both. `grey` keeps the number of axes: from (N, 3, H, W) to (N, 1, H, W), and computes 0.299 red + 0.587
# green + 0.114 blue, since the eye takes green for brighter than blue. `coarse` gets probabilities of the fine
# classes, one row per input, and, for each class, which group it belongs to (groups are numbered 0, 1, … and none
# is empty). It returns the probability of each group. For one row $(0.4, 0.3, 0.3)$ and the groups `[0, 1, 1]` that
# is $(0.4, 0.6)$.


# %% nbgrader={"grade": false, "grade_id": "spaces", "locked": false, "schema_version": 3, "solution": true, "task": false}
def grey(images: torch.Tensor) -> torch.Tensor:
    """Brightness of colour pictures: (N, 3, H, W) -> (N, 1, H, W)."""
    ### BEGIN SOLUTION
    red, green, blue = images.split(1, dim=1)
    return 0.299 * red + 0.587 * green + 0.114 * blue
    ### END SOLUTION


def coarse(probabilities: torch.Tensor, group: list[int]) -> torch.Tensor:
    """Probabilities of classes (N, K) and the group of each class (K) -> probabilities of groups (N, G)."""
    ### BEGIN SOLUTION
    member = torch.tensor(group)[:, None] == torch.arange(max(group) + 1)  # (K, G)
    return probabilities @ member.to(probabilities.dtype)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "spaces-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["grey", "coarse"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 2 · Grey pictures, coarse labels", forbid=["tlcore.shift"], seconds=5)


@checks("brightness, with the channel's axis kept", points=0.5)
def _():
    images = torch.tensor([1.0, 0.5, 0.2]).view(1, 3, 1, 1) * torch.tensor([1.0, 0.4]).view(1, 1, 1, 2)
    bright = 0.6153 * torch.tensor([1.0, 0.4]).view(1, 1, 1, 2)
    wrong = {
        "this is the plain mean of the channels": images.mean(1, keepdim=True),
        "the axis of the channels is gone": bright[:, 0],
        "one channel is enough": bright.expand(-1, 3, -1, -1),
        "the shares of red and blue are swapped": (bright / 0.6153) * (0.114 + 0.587 * 0.5 + 0.299 * 0.2),
    }
    checks.close(grey(images), bright, mistakes=wrong)


@checks("a group is as probable as its members together", points=0.5)
def _():
    fine = torch.tensor([[0.4, 0.3, 0.3], [0.1, 0.2, 0.7]])
    wrong = {
        "probabilities of a group add up; this is their mean": [[0.4, 0.3], [0.1, 0.45]],
        "this is the most probable member only": [[0.4, 0.3], [0.1, 0.7]],
    }
    checks.close(coarse(fine, [0, 1, 1]), [[0.4, 0.6], [0.1, 0.9]], mistakes=wrong)


@checks("members need not be neighbours", points=0.5, hint="group[k] is the number of the group of class k.")
def _():
    fine = torch.tensor([[0.1, 0.2, 0.3, 0.4]])
    checks.close(coarse(fine, [2, 0, 1, 0]), [[0.6, 0.3, 0.1]])


checks

# %% nbgrader={"grade": true, "grade_id": "spaces-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["grey", "coarse"]
# Random pictures and groups, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 2 · Random pictures and groups", hidden=True, forbid=["tlcore.shift"], seconds=5)


@checks("several pictures that are not square, and nine classes in four groups", points=0.5)
def _():
    rng = checks.rng()
    images = rng.random((3, 3, 4, 6))
    expected = np.einsum("nchw,c->nhw", images, [0.299, 0.587, 0.114])[:, None]
    checks.close(grey(torch.tensor(images, dtype=torch.float32)), expected, atol=1e-5)
    group = [int(g) for g in rng.permutation([0, 1, 2, 3, 0, 1, 2, 3, 3])]
    fine = rng.dirichlet([1.0] * 9, size=5)
    summed = [[sum(row[k] for k in range(9) if group[k] == g) for g in range(4)] for row in fine]
    checks.close(coarse(torch.tensor(fine, dtype=torch.float32), list(group)), summed, atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# First your grey pictures. The network's first layer has weights for three channels and refuses one. We can give it
# the grey channel three times. Then the picture fits, but it is of a kind that the network has rarely met.

# %%
greyed = numbers(grey(home.inputs))
try:
    net(greyed)
except RuntimeError as error:
    print("the network says:", str(error)[:98], "…")
spaces = {
    "colour": accuracy(home.inputs, home.targets),
    "grey, three times": accuracy(greyed.expand(-1, 3, -1, -1), home.targets),
}
spaces

# %% [markdown]
# To fit is not to belong. The network has rarely met such pictures, and a shape that differed from its ground in
# colour only can no longer be seen. Now the labels. To ask "round or polygon?"
# we need no training at all. Your function adds up the network's probabilities. (Add first, then choose: with
# $(0.4, 0.3, 0.3)$ and the groups `[0, 1, 1]` the most probable class lies in the less probable group.) And what
# happens with classes that it never had? Guess: what will it call a T?

# %%
my_T = None  # one of the four names

# %%
with torch.no_grad():
    fine = net(home.inputs).softmax(1)
    letters = places["$Y$\nother names"]
    said = net(letters.inputs).argmax(1)
round_or_not = numbers(coarse(fine, [0, 0, 1, 1])).argmax(1)
spaces["coarse"] = float((round_or_not == (home.targets > 1).long()).float().mean())
counts = torch.stack([torch.bincount(said[letters.targets == n], minlength=4) for n in range(4)])
print(f"named right: {spaces['colour']:.0%}; round or polygon right: {spaces['coarse']:.0%}; your T: {my_T}")
plots.table(
    [[name, *[f"{share:.0%}" for share in (row / row.sum()).tolist()]] for name, row in zip(letters.classes, counts)],
    ["called", *names],
)

# %% [markdown]
# The coarse question is the easier one: to take a square for a diamond no longer costs anything. For the new shapes
# the network must choose among the names it has. It does not choose at random. What it has learned about outlines may
# still be of use, under a new last layer: that is the subject of lessons 05 and 06.
#
# ## 4 · Other distributions
#
# From here on source and target share both spaces, and distributions can be compared.
#
# ### $P(X)$: another sensor
#
# The lecture's scenario is two telescopes, one with a more sensitive sensor.
#
# > **A slip.** On that slide the task speaks of "topics in another target document", which belongs to the scenario
# > before it, documents in two languages (and there the slide speaks of phonemes). For telescopes the task would be,
# > say, to tell stars from galaxies in the pictures of the second one.
#
# ### Exercise 3 · A sensor of another gain (2 points)
#
# A sensor of gain $g$ reports $g$ times the light of every pixel, up to white, which is 1. Everything brighter is
# reported as 1, too. Each picture has a gain of its own. Change nothing in place. A pixel of 0.3 is reported as 0.6
# with gain 2 and as 1 with gain 4.


# %% nbgrader={"grade": false, "grade_id": "sensor", "locked": false, "schema_version": 3, "solution": true, "task": false}
def sensor(images: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    """What a sensor reports: pictures (N, C, H, W) with values from 0 to 1, gain (N,) one per picture."""
    ### BEGIN SOLUTION
    return (images * gain.view(-1, 1, 1, 1)).clamp(max=1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "sensor-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["sensor"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 3 · A sensor of another gain", forbid=["tlcore.shift"], seconds=5)


@checks("a dim picture becomes brighter, or dimmer", points=0.5)
def _():
    image = torch.tensor([[[[0.1, 0.3], [0.05, 0.2]]]])
    wrong = {"the gain multiplies": image + 2, "the gain multiplies, it is not added": torch.ones(1, 1, 2, 2)}
    wrong |= {"the gain itself, not a power of 2": 4 * image}
    checks.close(sensor(image.clone(), torch.tensor([2.0])), 2 * image, mistakes=wrong)
    checks.close(sensor(image.clone(), torch.tensor([0.5])), 0.5 * image)


@checks("no pixel is brighter than white", points=0.5)
def _():
    image = torch.tensor([[[[0.3, 0.6, 0.2]]]])
    wrong = {
        "the result is cut off at 1, the scale of the others stays": image / 0.6,
        "nothing is cut off": 4 * image,
        "too bright is white, it does not start again at black": (4 * image) % 1,
    }
    checks.close(sensor(image.clone(), torch.tensor([4.0])), [[[[1.0, 1.0, 0.8]]]], mistakes=wrong)


@checks("each picture has its own gain", points=0.5, hint="Of what shape must (N,) be to meet (N, C, H, W)?")
def _():
    images, gain = torch.rand(3, 3, 3, 3) / 2, torch.tensor([0.5, 1.0, 2.0])
    wrong = {
        "the gains went along the columns of the picture": images * gain,
        "the gains went to the channels": images * gain.view(1, 3, 1, 1),
        "all pictures got the first gain": images * 0.5,
    }
    checks.close(sensor(images.clone(), gain), images * gain.view(3, 1, 1, 1), mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "sensor-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["sensor"]
# Random pictures, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 3 · Random pictures", hidden=True, forbid=["tlcore.shift"], seconds=5)


def look(sensor, images, gain):
    before = images.clone(), gain.clone()
    seen = sensor(images, gain)
    return seen, float((images - before[0]).abs().max() + (gain - before[1]).abs().max())


@checks("random pictures and gains, and what came in stays as it was", points=0.5)
def _():
    rng = checks.rng()
    images, gain = rng.random((5, 2, 4, 3)).astype("float32"), (8 * rng.random(5)).astype("float32")
    seen, changed = remote(look, sensor, torch.tensor(images), torch.tensor(gain))
    checks.close(seen, np.minimum(1, np.einsum("nchw,n->nchw", images, gain)), atol=1e-5)
    checks.equal(changed, 0.0)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now all pictures get the same gain, from a sixteenth of the sensitivity to sixteen times as much. Guess first: which
# harms more, a picture that is too dim or one that is too bright?

# %%
my_side = None  # "dim" or "bright"


# %%
def seen_with(gain: float, images: torch.Tensor = home.inputs) -> torch.Tensor:
    return numbers(sensor(images, torch.full((len(images),), gain)))


gains = [2.0**stop for stop in range(-4, 5)]
by_gain = [accuracy(seen_with(gain), home.targets) for gain in gains]
fig, axes = plots.figure(2, width=4, height=2.8)
axes[0].semilogx(gains, by_gain, marker="o", base=2)
axes[0].axhline(0.25, color="0.6", linewidth=1)
axes[0].set(xlabel="gain", ylabel="accuracy", ylim=(0, 1), title="the grey line is chance")
strips = [torch.cat([*seen_with(gain)[:3]], 1) for gain in gains[::2]]  # three pictures, one above the other
picture(axes[1], torch.cat(strips, 2), xlabel="gain")
axes[1].set_xticks([12 + 24 * n for n in range(5)], ["1/16", "1/4", "1", "4", "16"])
print(f"gain 1/16: {by_gain[0]:.0%}, gain 16: {by_gain[-1]:.0%}; you guessed {my_side}")

# %% [markdown]
# Accuracy falls on both sides, and on the bright side to about chance. On the right are the same three pictures,
# nearly black at one end and nearly white at the other. But the two ends are not alike. A dim picture can be turned
# up again. A picture with white areas can be turned down, and what was cut off stays lost. Your sensor can do both.

# %%
there_and_back = {
    "untouched": home.inputs,
    "down to 1/8, up again": seen_with(8, seen_with(1 / 8)),
    "up to 8, down again": seen_with(1 / 8, seen_with(8)),
}
repaired = {name: accuracy(images, home.targets) for name, images in there_and_back.items()}
plots.table([[name, f"{share:.0%}"] for name, share in repaired.items()], ["pictures", "accuracy"])

# %% [markdown]
# After the first journey the accuracy is as before: the pictures only had to be brought back to where the network had
# learned to look. Such a shift can be repaired by a change of the *inputs*. After the second it cannot: what the
# sensor did not report is nowhere.
#
# > **Covariate shift, strictly.** $P(X)$ moves and $P(Y|X)$ stays. A map of the pictures keeps $P(Y|X)$ as long as a
# > picture of the target that could also occur in the source would mean the same there. Where the sensor reports
# > nothing but white, it no longer does.
#
# ### $P(X|Y)$: each class in its own way
#
# If the gain depends on the *class*, every class looks different from before in its own way, say because diamonds
# were always photographed at noon. One line, with your sensor: circles darker, diamonds brighter.

# %%
stops = torch.tensor([-1.5, -0.5, 0.5, 1.5])
by_class = numbers(sensor(home.inputs, 2 ** stops[home.targets]))
fig, axes = plots.figure(8, width=1.1, height=1.4)
for n, ax in enumerate(axes):
    row = int((home.targets == n // 2).nonzero()[n % 2])
    picture(ax, by_class[row], title=names[n // 2])
f"accuracy {accuracy(home.inputs, home.targets):.0%} before, {accuracy(by_class, home.targets):.0%} now"

# %% [markdown]
# A new danger comes with this shift. Whoever trains on such pictures finds that brightness is a good hint of the class,
# and may learn a shortcut that fails elsewhere.
#
# ### $P(Y)$: unbalanced labels
#
# To make a target with other class shares from source pictures, we draw pictures again, some classes more often. How
# often? Let us give each row of the data a weight.
#
# ### Exercise 4 · Importance weights (3 points)
#
# For each row return $P_T(y) / P_S(y)$, where $y$ is its label, $P_S(y)$ the share of that label among the rows and
# $P_T$ the new prior. For the labels 0, 0, 0, 1 and the prior $(\tfrac12, \tfrac12)$ the weights are
# $\tfrac23, \tfrac23, \tfrac23, 2$. A class that the data does not have will have the new share 0.


# %% nbgrader={"grade": false, "grade_id": "weights", "locked": false, "schema_version": 3, "solution": true, "task": false}
def prior_weights(labels: torch.Tensor, new_prior: list[float]) -> torch.Tensor:
    """P_T(y) / P_S(y) of each row; labels (N,) whole numbers from 0 to K - 1, new_prior K shares -> (N,)."""
    ### BEGIN SOLUTION
    old = torch.bincount(labels, minlength=len(new_prior)) / len(labels)  # (K,)
    return torch.tensor(new_prior)[labels] / old[labels]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "weights-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["prior_weights"]
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 4 · Importance weights", forbid=["tlcore.shift"], seconds=5)


@checks("the example of the text", points=1)
def _():
    wrong = {
        "the ratio is upside down": [1.5, 1.5, 1.5, 0.5],
        "this is the new prior; it has to be divided by the old": [0.5] * 4,
        "divide by the share of the class, not by its count": [1 / 6, 1 / 6, 1 / 6, 0.5],
        "one weight per row, not per class": [2 / 3, 2],
        "these are the old shares": [0.75, 0.75, 0.75, 0.25],
        "the old prior is counted, it is not taken to be uniform": [1.0] * 4,
    }
    checks.close(prior_weights(torch.tensor([0, 0, 0, 1]), [0.5, 0.5]), [2 / 3, 2 / 3, 2 / 3, 2], mistakes=wrong)


@checks("where nothing moves, every weight is 1", points=0.5)
def _():
    labels = torch.tensor([2, 0, 1, 2, 2, 2, 1, 2, 2, 2])
    checks.close(prior_weights(labels, [0.1, 0.2, 0.7]), [1.0] * 10)


@checks("weighted, the rows have the new prior", points=0.5)
def _():
    labels = np.array([0] * 11 + [1] * 5 + [2] * 34)[checks.rng().permutation(50)]
    weights = np.asarray(prior_weights(torch.tensor(labels), [0.6, 0.3, 0.1]), dtype=float)
    checks.equal(list(weights.shape), [50])
    checks.close([float(weights[labels == y].sum()) / 50 for y in range(3)], [0.6, 0.3, 0.1], atol=1e-5)


checks

# %% nbgrader={"grade": true, "grade_id": "weights-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["prior_weights"]
# Random labels, and a class that is not there, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 4 · Random labels", hidden=True, forbid=["tlcore.shift"], seconds=5)


@checks("random labels, counted one by one", points=0.5)
def _():
    rng = checks.rng()
    labels = [int(y) for y in rng.permutation([0, 1, 2, 3, 4, *rng.integers(0, 5, 60)])]
    prior = [float(p) for p in rng.dirichlet([2.0] * 5)]
    expected = [prior[y] / (sum(1 for other in labels if other == y) / len(labels)) for y in labels]
    checks.close(prior_weights(torch.tensor(labels), list(prior)), expected, rtol=1e-4)


@checks("a class that neither side has", points=0.5, hint="How many classes are there: in the data, or in the prior?")
def _():
    checks.close(prior_weights(torch.tensor([0, 0, 2]), [0.5, 0.0, 0.5]), [0.75, 0.75, 1.5])
    checks.close(prior_weights(torch.tensor([1, 0, 1]), [0.2, 0.8, 0.0]), [1.2, 0.6, 1.2])


checks
### END HIDDEN TESTS

# %% [markdown]
# Drawing rows with these weights gives the unbalanced target. This is the lecture's remedy of over- and undersampling
# in one: rows of the frequent class come several times, of the others some are left out. The same line serves to
# balance an unbalanced source. (The package has `shift.oversample` and `shift.undersample`.)


# %%
def redrawn(weights: torch.Tensor) -> torch.Tensor:
    """Numbers of rows, drawn again in proportion to their weights."""
    return torch.multinomial(weights, len(weights), replacement=True)


unbalanced = redrawn(numbers(prior_weights(home.targets, [0.7, 0.1, 0.1, 0.1])))
plots.table(
    [[name, int(n)] for name, n in zip(names, torch.bincount(home.targets[unbalanced], minlength=4))],
    ["class", "pictures"],
)

# %% [markdown]
# Weights can also depend on the *input*: then one of the two is a selected sample (the lecture's "sample selection
# bias"; usually it is the source, here the target). This is the second way to move $P(X)$. We select bright
# pictures. The label has no say in it, so what a picture means stays as it was: $P(Y|X)$ cannot move.

# %%
brightness = home.inputs.mean((1, 2, 3))
score = (brightness - brightness.mean()) / brightness.std()
selected = redrawn(torch.exp(1.5 * score))
rows = {"as they are": torch.arange(size), "mostly circles": unbalanced, "mostly bright": selected}
plots.table(
    [[k, f"{brightness[r].mean():.2f}", f"{accuracy(home.inputs[r], home.targets[r]):.0%}"] for k, r in rows.items()],
    ["pictures", "mean brightness", "accuracy"],
)

# %% [markdown]
# Under both, the accuracy moves by a few points. For the prior there is a reason. As $P(X|Y)$ stays, each class keeps
# the accuracy it had. Let us look.


# %%
def accuracy_of(shape: int, rows: torch.Tensor) -> str:
    of_it = rows[home.targets[rows] == shape]
    return f"{accuracy(home.inputs[of_it], home.targets[of_it]):.0%}"


draws = {name: rows[name] for name in ("as they are", "mostly circles")}
plots.table([[name, *[accuracy_of(n, r) for r in draws.values()]] for n, name in enumerate(names)], ["", *draws])

# %% [markdown]
# But for chance the columns agree, and another prior can only weigh these four numbers anew: the result lies between
# the best and the worst of them.
#
# ### $P(Y|X)$: new meanings
#
# Now the pictures stay, and their labels change: what was called a circle is now sometimes called something else. Let
# `change[i][j]` be the probability that a label $i$ becomes $j$.
#
# ### Exercise 5 · Concept shift (2 points)
#
# Write two functions. `new_labels` draws a new label for each row, independently. `new_posterior` gives $P_T(y|x)$
# exactly, from $P_S(y|x)$: add up all the ways to arrive at $y$. If class 0 stays and class 1 becomes 0 in half of
# the cases, the posterior $(0.2, 0.8)$ turns into $(0.6, 0.4)$. (`torch.multinomial` draws from the rows of a table.)


# %% nbgrader={"grade": false, "grade_id": "concept", "locked": false, "schema_version": 3, "solution": true, "task": false}
def new_labels(labels: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """A new label for each row; labels (N,) from 0 to K - 1, change (K, K) with rows P(new | old) -> (N,)."""
    ### BEGIN SOLUTION
    return torch.multinomial(change[labels], 1)[:, 0]
    ### END SOLUTION


def new_posterior(posterior: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """P_T(y|x) (N, K) from P_S(y|x) (N, K) and change (K, K) with rows P(new | old)."""
    ### BEGIN SOLUTION
    return posterior @ change
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "concept-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["new_labels", "new_posterior"]
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 5 · Concept shift", forbid=["tlcore.shift"], seconds=10)


@checks("the posterior adds up all ways to arrive at a label", points=0.5)
def _():
    change = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    posterior = torch.tensor([[0.2, 0.8], [1.0, 0.0]])
    wrong = {"the rows of change are the old labels, its columns the new": posterior @ change.T}
    checks.close(new_posterior(posterior, change), [[0.6, 0.4], [1.0, 0.0]], mistakes=wrong)


@checks("each class turns into the next", points=0.5)
def _():
    turn = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    labels = torch.tensor([0, 1, 2, 2, 0])
    wrong = {"the rows of change are the old labels, its columns the new": [2, 0, 1, 1, 2], "nothing changed": labels}
    checks.equal(np.asarray(new_labels(labels, turn)).astype(int).tolist(), [1, 2, 0, 0, 1], mistakes=wrong)


@checks("labels change as often as they should", points=0.5, hint="A change of 0.3 means three rows in ten.")
def _():
    change = torch.tensor([[0.7, 0.3], [0.1, 0.9]])
    labels = torch.arange(12000) % 2
    new = np.asarray(new_labels(labels, change)).astype(int)
    checks.equal(list(new.shape), [12000])
    shares = [float(new[y::2].mean()) for y in range(2)]
    wrong = {"every row took its most probable label": [0.0, 1.0], "P(new | old) depends on the old label": [0.6, 0.6]}
    checks.close(shares, [0.3, 0.9], atol=0.04, rtol=0, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "concept-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["new_labels", "new_posterior"]
# Random changes, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 5 · Random changes", hidden=True, forbid=["tlcore.shift"], seconds=10)


@checks("labels and posterior under a random change that keeps one class apart", points=0.5)
def _():
    rng = checks.rng()
    change = np.eye(4)
    change[:3, :3] = rng.dirichlet([1.0] * 3, size=3)
    posterior = rng.dirichlet([1.0] * 4, size=7)
    got = new_posterior(torch.tensor(posterior), torch.tensor(change))
    checks.close(got, np.einsum("ni,ij->nj", posterior, change))
    labels = np.arange(16000) % 4
    new = np.asarray(new_labels(torch.tensor(labels), torch.tensor(change))).astype(int)
    shares = np.stack([np.bincount(new[labels == y], minlength=4) / 4000 for y in range(4)])
    checks.close(shares, change, atol=0.05, rtol=0)
    checks.equal(int((new[labels == 3] != 3).sum()), 0)


checks
### END HIDDEN TESTS

# %% [markdown]
# ## 5 · What each shift does to a classifier
#
# Your functions make all four shifts of the distributions, at any severity from 0 to 1. Before you run the next
# cells: order the four by the harm you expect at severity 1.

# %%
my_order = None  # such as ["P(Y)", "P(X)", "P(X|Y)", "P(Y|X)"], least harm first


# %%
def target_at(severity: float) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Pictures and labels under each shift, made of the source's rows by your functions."""
    x, y, s = home.inputs, home.targets, severity
    circles = redrawn(numbers(prior_weights(y, [0.25 + 0.6 * s] + 3 * [0.25 - 0.2 * s])))
    change = (1 - s) * torch.eye(4) + s * torch.eye(4).roll(1, 1)
    return {
        "P(X)": (seen_with(2 ** (3 * s)), y),
        "P(X|Y)": (numbers(sensor(x, 2 ** (1.5 * s * stops[y]))), y),
        "P(Y)": (x[circles], y[circles]),
        "P(Y|X)": (x, numbers(new_labels(y, change)).long()),
    }


# %%
severities = torch.linspace(0, 1, 6).tolist()
_ = runtime.seed_everything(1)
harm = [{name: accuracy(*pair) for name, pair in target_at(s).items()} for s in severities]
ax = plots.figure(width=6.4, height=3)[1][0]
for name in harm[0]:
    ax.plot(severities, [found[name] for found in harm], marker="o", label=f"${name}$, {title[name]}")
ax.set(xlabel="severity", ylabel="accuracy in the target", ylim=(0, 1))
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print("least harm first:", sorted(harm[-1], key=harm[-1].get, reverse=True), "you guessed:", my_order)

# %% [markdown]
# The prior does little, for the reason above. The sensor, saturating more and more, does much. The concept shift
# takes nearly all: at severity 1 every label is another one, and only the old mistakes can be right.
#
# But how much of this *could* be avoided, by the best classifier of the target? For pictures nobody knows. So we turn
# to a world in which the answer has a closed form: two Gaussian clouds in 20 dimensions, whose means are two standard
# deviations apart. The best classifier of the source is right as often as a standard normal number stays below 1, and
# no more, because the clouds overlap. We take it along, unchanged, into three kinds of target: clouds moved sideways,
# at right angles to the line between their means ($P(X)$; what an input means depends only on its place along that
# line), other shares ($P(Y)$), and labels that flip ($P(Y|X)$; by your `new_posterior`, averaged over a large sample).

# %%
clouds = worlds.Gaussian(features=20, distance=2.0)
old = clouds.direction  # "plus" where old @ x > 0: the best of the source
posterior = clouds.sample(20000, seed=4).factors["posterior"]  # P_S(y|x), known exactly
choice = posterior.argmax(1)


def after_flips(share: float) -> tuple[float, float]:
    flipped = numbers(new_posterior(posterior, torch.tensor([[1 - share, share], [share, 1 - share]])))
    return float(flipped.gather(1, choice[:, None]).mean()), float(flipped.amax(1).mean())


# %%
def closed_form(target: worlds.Gaussian) -> tuple[float, float]:
    return target.accuracy_of(old), target.bayes_accuracy


finer = torch.linspace(0, 1, 11).tolist()
gaussian = {
    "$P(X)$: moved sideways by 3": [closed_form(clouds.but(shift=3 * s)) for s in finer],
    "$P(Y)$: up to 95% plus": [closed_form(clouds.but(prior=0.5 + 0.45 * s)) for s in finer],
    "$P(Y|X)$: up to all flipped": [after_flips(s) for s in finer],
}

# %%
fig, axes = plots.figure(3, width=3, height=2.8)
for ax, (name, pairs) in zip(axes, gaussian.items()):
    ax.plot(finer, [ours for ours, _ in pairs], color=plots.BLUE, label="best of the source")
    ax.plot(finer, [best for _, best in pairs], "--", color=plots.ORANGE, label="best possible there")
    ax.set(xlabel="severity", ylim=(0, 1), title=name)
axes[0].set_ylabel("accuracy")
_ = axes[0].legend(loc="lower left")

# %% [markdown]
# Three different stories.
#
# - *Covariate shift* costs nothing here. Whoever knows the true $P(Y|X)$ has nothing to adapt, for it has not moved.
#   Our network suffered even from dim pictures, which have lost nothing, because what it learned is *not* the true
#   $P(Y|X)$: for pictures unlike those it had seen, nothing told it what to say.
# - *Prior shift* costs nothing here, because this classifier is equally good at both classes, but a gain is missed:
#   the best classifier of the target knows what is frequent, and does better.
# - *Concept shift* first makes the answers noisier. As long as fewer than half of the labels flip, nobody can do
#   better than the old classifier. Beyond that the old answers are the wrong way round, and the dashed line climbs
#   back to where it began. With all labels flipped nothing is lost but the names.
#
# ## 6 · Seeing a shift without labels
#
# In the target we often have inputs and no labels. Can we tell that something has moved? We compare two samples:
# $x_1, \dots, x_n$ from the source, $y_1, \dots, y_m$ from the target. One good measure is the **maximum mean
# discrepancy** of Arthur Gretton and colleagues. Take as similarity of two inputs a Gaussian of their distance,
# $k(a, b) = e^{-|a - b|^2 / (2 w^2)}$. If both samples come from one distribution, an input is on average as similar
# to its own sample as to the other. MMD² is the mean similarity within the first sample, plus that within the second,
# minus twice that between them. (From here to the end of the section $y$ is a second sample of inputs, not a label.)


# %%
def similarity(a: torch.Tensor, b: torch.Tensor, width: float) -> float:
    return float(torch.exp(-((a - b) ** 2).sum() / (2 * width**2)))


def mmd_slow(x: torch.Tensor, y: torch.Tensor, width: float) -> float:
    """Mean similarity within x, plus that within y, minus twice that between them; x (N, D), y (M, D)."""
    n, m = len(x), len(y)
    within_x = sum(similarity(x[i], x[j], width) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within_y = sum(similarity(y[i], y[j], width) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(similarity(a, b, width) for a in x for b in y) / (n * m)
    return within_x + within_y - 2 * between


mmd_slow(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [2.0]]), width=1.0)

# %% [markdown]
# No input is compared with itself; this makes the measure *unbiased*, so that for equal distributions it is 0 on
# average, and sometimes below.
#
# ### Exercise 6 · MMD, fast, and what chance does (3 points)
#
# Compute the same number without loops over the inputs; `torch.cdist(x, y)` gives all distances at once. Then say how
# often chance finds as much. Put both samples into one pot, draw it into two samples of the old sizes at random, and
# compute MMD² again, `rounds` times. The **p-value** is $(1 + c) / (1 + \text{rounds})$, with $c$ the number of
# rounds that reach at least the MMD² of the true split. The ones stand for the true split, which is one of the
# possible ones. If no round reaches it in 99, the p-value is 0.01.


# %% nbgrader={"grade": false, "grade_id": "mmd", "locked": false, "schema_version": 3, "solution": true, "task": false}
def mmd(x: torch.Tensor, y: torch.Tensor, width: float) -> float:
    """Unbiased squared MMD of x (N, D) and y (M, D) with a Gaussian kernel."""
    ### BEGIN SOLUTION
    within_x, within_y, between = (
        torch.exp(-(torch.cdist(a, b) ** 2) / (2 * width**2)) for a, b in ((x, x), (y, y), (x, y))
    )
    n, m = len(x), len(y)
    own_x = (within_x.sum() - within_x.trace()) / (n * (n - 1))
    own_y = (within_y.sum() - within_y.trace()) / (m * (m - 1))
    return float(own_x + own_y - 2 * between.mean())
    ### END SOLUTION


def p_value(x: torch.Tensor, y: torch.Tensor, width: float, rounds: int) -> float:
    """How often a random split of the pooled sample has an MMD² that reaches that of x and y."""
    ### BEGIN SOLUTION
    seen, pool, reached = mmd(x, y, width), torch.cat([x, y]), 0
    for _ in range(rounds):
        mixed = pool[torch.randperm(len(pool))]
        reached += mmd(mixed[: len(x)], mixed[len(x) :], width) >= seen
    return (1 + reached) / (1 + rounds)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "mmd-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["mmd", "p_value"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · MMD, fast, and what chance does", forbid=["tlcore.shift", "mmd_slow"], seconds=5)


def kernel(a, b, width, power=2):
    return torch.exp(-(((a[:, None] - b[None]) ** 2).sum(2) ** (power / 2)) / (2 * width**2))


def expected(x, y, width, power=2, diagonal=False, twice=2):
    parts = [kernel(a, b, width, power) for a, b in ((x, x), (y, y), (x, y))]
    own = [p.mean() if diagonal else (p.sum() - len(p)) / (len(p) * (len(p) - 1)) for p in parts[:2]]
    return float(own[0] + own[1] - twice * parts[2].mean())


@checks("the number of the slow function", points=1)
def _():
    x, y = torch.randn(6, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64) + 1
    wrong = {
        "no input is compared with itself": expected(x, y, 1.5, diagonal=True),
        "the similarity between the samples counts twice": expected(x, y, 1.5, twice=1),
        "the distance in the exponent is squared": expected(x, y, 1.5, power=1),
        "the exponent is divided by 2 times the square of the width": expected(x, y, 1.5 / 2**0.5),
        "the root is not taken": abs(expected(x, y, 1.5)) ** 0.5,
    }
    checks.close(float(mmd(x, y, 1.5)), expected(x, y, 1.5), rtol=1e-3, mistakes=wrong)


@checks(
    "800 inputs on each side in a moment", points=0.5, hint="Loops over pairs of inputs are too slow: use torch.cdist."
)
def _():
    x, y = torch.randn(800, 10), torch.randn(800, 10) + 0.2
    checks.close(float(mmd(x, y, 3.0)), expected(x, y, 3.0), rtol=1e-2, atol=1e-5)


@checks("p-values of samples far apart, and of a sample and its copy", points=0.5)
def _():
    x, y = torch.randn(20, 2), torch.randn(15, 2) + 9
    wrong = {
        "the true split counts as one round": 0.0,
        "count the rounds that reach the true split, not the others": 1.0,
    }
    checks.close(float(p_value(x, y, 3.0, 99)), 0.01, mistakes=wrong)
    assert float(p_value(x, x.clone(), 1.0, 50)) > 0.9, "a sample and its copy should not look apart"


checks

# %% nbgrader={"grade": true, "grade_id": "mmd-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["mmd", "p_value"]
# Samples of other sizes, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · Other sizes", hidden=True, forbid=["tlcore.shift", "mmd_slow"], seconds=20)


def counted(x, y, width):
    def mean(a, b, skip):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (skip and i == j)]
        return sum(np.exp(-((a[i] - b[j]) ** 2).sum() / (2 * width**2)) for i, j in pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@checks("samples of different sizes", points=0.5)
def _():
    rng = checks.rng()
    for n, m, width in ((4, 13, 0.7), (13, 4, 2.0), (2, 7, 1.0)):
        x, y = rng.normal(size=(n, 2)), rng.normal(size=(m, 2)) + 0.5
        checks.close(float(mmd(torch.tensor(x), torch.tensor(y), width)), counted(x, y, width), rtol=1e-3, atol=1e-5)


@checks(
    "p-values as large as those of other random splits", points=0.5, hint="Both samples go into one pot; sizes stay."
)
def _():
    rng = checks.rng()
    for apart in (0.0, 0.45):
        x, y = rng.normal(size=(24, 2)), rng.normal(size=(16, 2)) + apart
        pool = np.concatenate([x, y])
        table = np.exp(-((pool[:, None] - pool[None]) ** 2).sum(2) / 2) * (1 - np.eye(40))
        splits = [np.arange(40) < 24] + [rng.permutation(40) < 24 for _ in range(400)]
        found = []
        for s in splits:
            own = table[s][:, s].sum() / (24 * 23) + table[~s][:, ~s].sum() / (16 * 15)
            found.append(own - 2 * table[s][:, ~s].mean())
        p = (1 + sum(f >= found[0] - 1e-12 for f in found[1:])) / 401
        checks.close(float(p_value(torch.tensor(x), torch.tensor(y), 1.0, 200)), p, atol=0.2, rtol=0)


checks
### END HIDDEN TESTS

# %% [markdown]
# We look at the source and at six targets: another sample from the same source, and five shifts made by your
# functions. And we look at them in two ways. *Pixels* are the mean colours of 16 fields, four rows of four.
# *Outputs* are the four numbers that our network gives. As width we take the median distance of two inputs. Record
# a guess: which of the five shifts will leave no trace?

# %%
my_invisible = None  # one of the names below

# %%
count = runtime.scaled(quick=200, standard=300, full=600)
here, pool = world.sample(count, seed=11), world.sample(8 * count, seed=12)
x, y = pool.inputs[:count], pool.targets[:count]
light = pool.inputs.mean((1, 2, 3))
bright = torch.multinomial(torch.exp(1.5 * (light - light.mean()) / light.std()), count)
circles = torch.multinomial(numbers(prior_weights(pool.targets, [0.7, 0.1, 0.1, 0.1])), count)

# %%
samples = {
    "nothing": (x, y),
    "P(X), sensor": (seen_with(2.0, x), y),
    "P(X), selection": (pool.inputs[bright], pool.targets[bright]),
    "P(X|Y)": (numbers(sensor(x, 2 ** stops[y])), y),
    "P(Y)": (pool.inputs[circles], pool.targets[circles]),
    "P(Y|X)": (pool.inputs[-count:], numbers(new_labels(pool.targets[-count:], torch.eye(4).roll(1, 1))).long()),
}


# %%
def pixels(images: torch.Tensor) -> torch.Tensor:
    return nn.functional.adaptive_avg_pool2d(images, 4).flatten(1)  # (N, 48)


@torch.no_grad()
def outputs(images: torch.Tensor) -> torch.Tensor:
    return net(images)  # (N, 4)


def compared(look: object, images: torch.Tensor, rounds: int) -> list[float]:
    """Your MMD² between the source and these pictures, and your p-value."""
    a, b = look(here.inputs), look(images)
    width = float(torch.pdist(torch.cat([a, b])).median())
    return [float(mmd(a, b, width)), float(p_value(a, b, width, rounds))]


# %%
rounds, evidence = runtime.scaled(quick=49, standard=99, full=199), {}
for name, (images, labels) in samples.items():
    evidence[name] = [accuracy(images, labels), *compared(pixels, images, rounds), *compared(outputs, images, rounds)]
print(f"the smallest possible p-value is {1 / (1 + rounds):g}; you guessed: {my_invisible}")
plots.table(
    [[name, f"{v[0]:.0%}", f"{v[1]:.4f}", v[2], f"{v[3]:.4f}", v[4]] for name, v in evidence.items()],
    ["moved", "accuracy", "pixels: MMD²", "p", "outputs: MMD²", "p"],
)

# %% [markdown]
# Three things to read off.
#
# - A concept shift changes no input. What the last row shows is chance, as in the first row, and no measure on inputs
#   will ever see more. Yet it does the most harm.
# - *Where you look* decides what you see. More circles leave a strong trace in the network's outputs, and little or
#   none in the pixel fields, which know next to nothing about shapes.
# - *A shift that is seen need not hurt.* The selection of bright pictures is plain to see in the pixels, and costs
#   little.
#
# MMD is one of a family. The package has others: CORAL's distance compares only covariances. The sliced Wasserstein
# distance says how far the one sample would have to be carried to become the other. The proxy A-distance trains a
# linear classifier to tell the two apart and gives $2(1 - 2\,\text{error})$, from 0 to 2. The classifier test does so
# with a nonlinear one; its figure is the accuracy, one half if they cannot be told apart.

# %%
measures = {
    "MMD²": lambda a, b: shift.mmd(a, b, permutations=0).statistic,
    "CORAL": shift.coral_distance,
    "sliced Wasserstein": shift.sliced_wasserstein,
    "proxy A": shift.proxy_a_distance,
    "classifier": lambda a, b: shift.classifier_test(a, b).statistic,
}
rows = []
for name, (images, _) in samples.items():
    a, b = pixels(here.inputs), pixels(images)
    rows.append([name, f"{evidence[name][1]:.3g}", *[f"{measure(a, b):.3g}" for measure in measures.values()]])
plots.table(rows, ["moved (pixels)", "your MMD²", *measures])

# %% [markdown]
# Your column and the package's agree to two digits or more (it takes the width from at most 1000 rows). The others
# have units of their own and mostly the same opinion: what moves the mean and the spread of the pixel fields is
# seen, what leaves them alone is not. (CORAL looks at the spread only.)
#
# ## 7 · Repairing a prior shift without labels
#
# If we may assume that $P(X|Y)$ has not moved, then a prior shift can not only be seen but measured. Take any
# classifier, good or bad; only the matrix $C$ below must be invertible. It calls an input of class $j$ by the name
# $i$ with a probability $C_{ij}$ that depends on $P(X|Y)$ and not on $P(Y)$. So $C$ is the same in the target, and
# the share of rows it calls $i$ there is
#
# $$P_T(\text{said} = i) = \sum_j C_{ij}\, P_T(y = j).$$
#
# The left side can be counted without labels, $C$ can be counted in labelled source data, and what remains is a
# system of linear equations. This is *black box shift estimation* (Zachary Lipton and colleagues, 2018). The worse the
# classifier, the more rows it takes.
#
# ### Exercise 7 · The prior behind the predictions (3 points)
#
# Return $P_T(y)$. Count $C$ from source rows the classifier has not learned from: what it `said` of each, and the
# true `labels`. Count what it said in the target. Solve. With few rows a share may come out below 0; set such shares
# to 0 and divide all by their sum. Example: of 10 rows of class 0 it calls 8 rightly, of 10 rows of class 1 only 6.
# In the target it calls 7 of 10 rows 0. From $0.8\,p + 0.4\,(1 - p) = 0.7$ follows $p = \tfrac34$.


# %% nbgrader={"grade": false, "grade_id": "prior", "locked": false, "schema_version": 3, "solution": true, "task": false}
def target_prior(said: torch.Tensor, labels: torch.Tensor, said_target: torch.Tensor, classes: int) -> torch.Tensor:
    """P_T(y) (K,), from names given and true labels in the source (N,), and names given in the target (M,)."""
    ### BEGIN SOLUTION
    confusion = torch.zeros(classes, classes)  # said, true
    for i, j in zip(said.tolist(), labels.tolist()):
        confusion[i, j] += 1
    confusion = confusion / confusion.sum(0)
    named = torch.bincount(said_target, minlength=classes) / len(said_target)
    prior = torch.linalg.solve(confusion, named).clamp(min=0)
    return prior / prior.sum()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "prior-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["target_prior"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 7 · The prior behind the predictions", forbid=["tlcore.shift"], seconds=5)
labels = torch.tensor([0] * 10 + [1] * 10)
said = torch.tensor([0] * 8 + [1] * 2 + [0] * 4 + [1] * 6)


@checks("the example of the text", points=1)
def _():
    wrong = {
        "these are the shares of what it said, not of what is there": [0.7, 0.3],
        "C[i][j] is what it says (i) of a true class (j), not the other way round": [1.0, 0.0],
        "C leads from what is there to what is said; to go back, solve": [0.68, 0.32],
        "P(true | said) depends on the prior and does not hold in the target": [13 / 24, 11 / 24],
        "this is the ratio of new to old shares": [1.5, 0.5],
    }
    seven = torch.tensor([0] * 21 + [1] * 9)
    checks.close(target_prior(said, labels, seven, 2), [0.75, 0.25], atol=1e-4, mistakes=wrong)


@checks("a source in which the classes are not equally frequent", points=0.5, hint="Each true class has its own share.")
def _():
    wrong = {"C holds shares of each true class, not of all rows": [0.1, 0.9]}
    wrong |= {"this is the ratio of new to old shares": [1 / 3, 3.0]}
    many, true = torch.cat([said[:10], said[:10], said]), torch.cat([labels[:10], labels[:10], labels])
    checks.close(target_prior(many, true, torch.tensor([0, 1] * 8), 2), [0.25, 0.75], atol=1e-4, mistakes=wrong)


@checks("no share is negative, and they sum to 1", points=0.5)
def _():
    wrong = {"a share below 0 becomes 0, then all are divided by their sum": [1.25, -0.25]}
    wrong |= {"shares sum to 1: divide after setting to 0": [1.25, 0.0]}
    nine = torch.tensor([0] * 9 + [1])
    checks.close(target_prior(said, labels, nine, 2), [1.0, 0.0], atol=1e-4, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "prior-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["target_prior"]
# Other classifiers, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 7 · Other classifiers", hidden=True, forbid=["tlcore.shift"], seconds=5)


def rows_of(table):
    """Rows (said, true) of which there are as many as the table (said, true) says."""
    pairs = [(i, j) for i in range(len(table)) for j in range(len(table)) for _ in range(int(table[i, j]))]
    return [torch.tensor(part) for part in zip(*pairs)]


@checks("four classes, each as frequent as it likes", points=0.5)
def _():
    rng = checks.rng()
    confusion = rng.integers(0, 4, (4, 4)) + 8 * np.eye(4, dtype=int)
    said, labels = rows_of(confusion)
    shares = confusion / confusion.sum(0)
    prior = rng.dirichlet([5.0] * 4)
    named = np.rint(4000 * shares @ prior).astype(int)
    order = torch.tensor(rng.permutation(len(said)))
    seen = torch.tensor(rng.permutation(np.repeat(np.arange(4), named)))
    checks.close(target_prior(said[order], labels[order], seen, 4), prior, atol=0.01, rtol=0)


@checks("a class that it does not name in the target", points=0.5, hint="There are `classes` classes, named or not.")
def _():
    said, labels = rows_of(np.array([[9, 3, 0], [1, 12, 0], [0, 0, 5]]))
    seen = torch.tensor([0] * 11 + [1] * 9)
    checks.close(target_prior(said, labels, seen, 3), [0.5, 0.5, 0.0], atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# We try it on the Gaussian clouds, where the truth is known. The source has as many plus as minus, the target one
# plus in ten. A logistic regression, a network of one linear layer, learns in the source. Guess: of the target's
# rows, how many will it call plus?

# %%
my_share = None  # between 0 and 1

# %%
rare = clouds.but(prior=0.1)
learned, held_out, target = clouds.sample(4000, seed=5), clouds.sample(20000, seed=6), rare.sample(20000, seed=7)
model = nn.Linear(20, 2)
_ = training.fit(model, learned, epochs=5, lr=0.05, progress=False)
with torch.no_grad():
    in_source, in_target = (model.cpu()(data.inputs).softmax(1) for data in (held_out, target))
said, said_target = in_source.argmax(1), in_target.argmax(1)
estimated = numbers(target_prior(said, held_out.targets, said_target, 2))
counted = float(said_target.float().mean())
print(f"plus: {counted:.1%} by counting, {float(estimated[1]):.1%} by your function, truly 10%; you guessed {my_share}")

# %% [markdown]
# It says "plus" far too often, because it learned to expect plus in half of the cases. Your equations correct for
# that. And now that the prior is known, the classifier can be corrected without any training, by the weights of
# Exercise 4: $P_T(y|x)$ is proportional to $P_S(y|x)\, P_T(y) / P_S(y)$.

# %%
old_prior = torch.bincount(learned.targets, minlength=2) / len(learned)
corrected = in_target * estimated / old_prior  # not scaled to sum 1: the largest stays the largest
repair = {
    "as it was": float((said_target == target.targets).float().mean()),
    "corrected": float((corrected.argmax(1) == target.targets).float().mean()),
    "the best possible there": rare.bayes_accuracy,
}
plots.table([[name, f"{share:.1%}"] for name, share in repair.items()], ["classifier", "accuracy in the target"])

# %% [markdown]
# Most of the gap that the middle panel of Section 5 shows is closed, and no label of the target was used. (It may
# even look better than the best possible: that figure is exact, and yours is counted in a sample.) Does it also work
# with the four shapes? And what if its assumption is broken, and the pictures come from another sensor as well?

# %%
lots = world.sample(runtime.scaled(quick=2000, standard=4000, full=8000), seed=13)
held, rest = lots.split(0.5)
mostly = torch.multinomial(numbers(prior_weights(rest.targets, [0.1, 0.2, 0.2, 0.5])), len(rest) // 3)
unlike = {"prior only": rest.inputs[mostly], "and another sensor": seen_with(8.0, rest.inputs[mostly])}
true_prior = torch.bincount(rest.targets[mostly], minlength=4) / len(mostly)
said_held, rows = outputs(held.inputs).argmax(1), [["truth", *[f"{share:.2f}" for share in true_prior]]]
for name, images in unlike.items():
    found = outputs(images).argmax(1)
    guess = numbers(target_prior(said_held, held.targets, found, 4))
    rows.append([f"{name}: counted", *[f"{n / len(found):.2f}" for n in torch.bincount(found, minlength=4)]])
    rows.append([f"{name}: your function", *[f"{share:.2f}" for share in guess]])
plots.table(rows, ["", *names])

# %% [markdown]
# With the prior alone, your function finds the shares of the four shapes to within a few hundredths. (So nearly does
# counting, since this network is seldom wrong; the worse the classifier, the more there is to repair.) With another
# sensor $P(X|Y)$ has moved too. The answer is wrong, and nothing in the method tells us so. An assumption has to be
# checked by other means, or argued for.
#
# ## 8 · A diagnosis
#
# The package puts such tests together. `shift.diagnose` gives one verdict for each of the six conditions, with its
# evidence. First we play somebody who has the pictures of the target and no labels. The target is the one under the
# concept shift. Guess: of how many of the six will it say more than "cannot be told"?

# %%
my_verdicts = None  # from 0 to 6

# %%
datasets = {name: worlds.Dataset(*pair, names) for name, pair in samples.items()}
print("you guessed:", my_verdicts)
shift.diagnose(here, datasets["P(Y|X)"], labelled=False)

# %% [markdown]
# The spaces can be compared, and so can $P(X)$. About the other three it says that they cannot be told, and this is
# the only honest answer: the same pictures could have had any labels. (What it adds about the prior holds under the
# assumption of Section 7. We, who made the target, know that here it does not.) Now with the labels of the target,
# for all six.

# %%
rows = []
for name, data in datasets.items():
    found = shift.diagnose(here, data).verdicts
    rows.append([name, *[found[face] for face in ("marginal", "concept", "prior", "conditional")]])
plots.table(rows, ["we moved", "P(X)", "P(Y|X)", "P(Y)", "P(X|Y)"])

# %% [markdown]
# Compare with the table of Section 2. Our classes do not overlap, except where a sensor has cut off what told them
# apart: a picture gone white may have been anything. Nor is it an error that $P(Y)$ stays in the first and the last
# rows. The table says "moves" in general; here the sensor keeps every label, and each class turns into another one of
# the same size. Any other difference is a test that erred: it missed something small, or raised a false alarm, as
# each test does about once in a hundred times when nothing has moved. Note the row of $P(Y)$. Even where the pictures
# alone do not show that $P(X)$ has moved, it follows from the labels by Bayes' rule: faces of one distribution are
# better judged together than one by one.
#
# ## 9 · Kinds of transfer
#
# What moved, and which labels we have, decides what can be done. Pan and Yang sort the settings:
#
# | | domains | tasks | labels in the source | labels in the target |
# | --- | --- | --- | --- | --- |
# | ordinary learning | the same | the same | | |
# | **inductive** transfer | the same or not | different | yes or no | yes |
# | **transductive** transfer | different | the same | yes | no |
# | **unsupervised** transfer | the same or not | different | no | no |
#
# In inductive transfer, labels of the target *induce* its new predictive function. In transductive transfer there are
# inputs of the target and no labels. The true answers are as before, but what was learned must be made to find them
# in a new domain (this is *domain adaptation*). Unsupervised transfer has no labels at all; think of finding clusters.
#
# > **Where the lecture differs.** It says of inductive and of unsupervised transfer that the *domains are the same*
# > (and, of the latter, one sentence later, that they are similar). The definitions of Pan and Yang ask only that the
# > *tasks* differ, whatever the domains, and so does our table. The lecture's example of inductive transfer, "the same
# > language, but unbalanced labels", is one only if classes overlap, because then $P(Y|X)$ moves, and if the target has
# > labels. Otherwise it is a new domain for an old task.
#
# ### Exercise 8 · Which kind is it? (2 points)
#
# Return "inductive", "transductive" or "unsupervised" as in the table, "no transfer" where domain and task are both
# the same, and "no name" for what the table leaves out, such as the same task in a new domain with labels on both
# sides.


# %% nbgrader={"grade": false, "grade_id": "kind", "locked": false, "schema_version": 3, "solution": true, "task": false}
def kind_of_transfer(same_domain: bool, same_task: bool, source_labels: bool, target_labels: bool) -> str:
    """ "inductive", "transductive", "unsupervised", "no transfer" or "no name"."""
    ### BEGIN SOLUTION
    if same_task:
        if same_domain:
            return "no transfer"
        return "transductive" if source_labels and not target_labels else "no name"
    if target_labels:
        return "inductive"
    return "no name" if source_labels else "unsupervised"
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "kind-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["kind_of_transfer"]
from tlcore.grading import Checks

checks = Checks("Exercise 8 · Which kind is it?", forbid=["tlcore.shift"], seconds=5)


@checks(
    "another task, with labels in the target", points=0.5, hint="Is anything asked of the domains, or of the source?"
)
def _():
    for same_domain in (True, False):
        for source_labels in (True, False):
            checks.equal(kind_of_transfer(same_domain, False, source_labels, True), "inductive")


@checks("the same task in another domain, labelled in the source only", points=0.5)
def _():
    wrong = {"inductive transfer needs labels in the target": "inductive"}
    checks.equal(kind_of_transfer(False, True, True, False), "transductive", mistakes=wrong)
    wrong = {"transductive transfer has no labels in the target": "transductive", "the task is the same": "inductive"}
    checks.equal(kind_of_transfer(False, True, True, True), "no name", mistakes=wrong)


@checks("no labels at all, and nothing new at all", points=0.5)
def _():
    checks.equal(kind_of_transfer(False, False, False, False), "unsupervised")
    wrong = {"nothing has to be transferred where nothing differs": "transductive"}
    checks.equal(kind_of_transfer(True, True, True, False), "no transfer", mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "kind-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["kind_of_transfer"]
# All sixteen cases, when your work is graded.
### BEGIN HIDDEN TESTS
import itertools

from tlcore.grading import Checks

checks = Checks("Exercise 8 · All sixteen cases", hidden=True, forbid=["tlcore.shift"], seconds=5)


@checks("all sixteen cases", points=0.5, hint="Go through the table line by line; what is in no line has no name.")
def _():
    for same_domain, same_task, source_labels, target_labels in itertools.product([True, False], repeat=4):
        fits = {
            "no transfer": same_domain and same_task,
            "inductive": not same_task and target_labels,
            "transductive": same_task and not same_domain and source_labels and not target_labels,
            "unsupervised": not (same_task or source_labels or target_labels),
        }
        expected = next((name for name, holds in fits.items() if holds), "no name")
        checks.equal(kind_of_transfer(same_domain, same_task, source_labels, target_labels), expected)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now we go through the cases that the lecture names. The package holds for each of them the shifts that make it, and
# for each pair it makes it knows which of the six conditions hold. Pictures stand in for bikes and telescopes, short
# texts for documents and speech. Your function then says which kind of transfer it is, without and with labels in the
# target. (Where spaces differ, distributions cannot be compared; we count the task as the same if its labels are.)
# Guess what it will say of unbalanced labels without labels in the target, which come last: once for classes that do
# not overlap, and once for classes that do.

# %%
my_unbalanced = None  # two kinds, such as ["inductive", "inductive"]

# %%
texts = worlds.Language(sentences=2)


def sorted_out(name: str, where: object, moves: object) -> list[str]:
    conditions = shift.pair(where, moves, size=200).truth.conditions
    same_domain = not (conditions["feature_space"] or conditions["marginal"])
    same_task = not (conditions["label_space"] or conditions["concept"])
    kinds = [kind_of_transfer(same_domain, same_task, True, labelled) for labelled in (False, True)]
    return [name, ", ".join(c for c in conditions if conditions[c]), *kinds]


# %%
cases = [
    sorted_out(case.case, texts if case.world == "texts" else world, case.shifts)
    for case in shift.APPLICATIONS.values()
    if case.name != "unbalanced"
]
cases.append(sorted_out("labels unbalanced, classes apart", world, shift.Prior()))
cases.append(sorted_out("labels unbalanced, classes overlap", clouds, shift.Prior(to=(0.9, 0.1))))
print("your guess:", my_unbalanced)
plots.table(cases, ["case", "moves", "no labels in the target", "labels there, too"])

# %% [markdown]
# Most of the lecture's cases are a new domain for an old task; without labels in the target that is transductive
# transfer. "No name" does not mean "not possible": with labels on both sides one simply has more to work with. New
# classes need labels of their own, unless they are unions of old ones, as in Exercise 2. And the last two rows show
# what the box above said: unbalanced labels change the domain, and the task only where classes overlap.
#
# What "another language" does to a feature space is easiest to see. The same two texts, written in English and in
# this course's invented language:

# %%
english, foreign = (texts.but(language=name).sample(2, seed=8).inputs for name in ("english", "invented"))
shared = set(" ".join(english).lower().split()) & set(" ".join(foreign).lower().split())
print(*english, "", *foreign, "", f"words in common: {len(shared)}", sep="\n")

# %% [markdown]
# A classifier whose features are words has no input left. (Telling the topics apart is the same task, though, and
# Lesson 10 shows how to carry it over.)
#
# Which kind of transfer it is does not yet say *what* to transfer: instances, as with the weights of Exercise 4,
# features, parameters or relations (Lesson 09). Nor does it say *when* it pays. Between a source and a target that
# have nothing in common transfer can even harm (Lesson 07).
#
# ## What we saw
#
# The numbers below come from your run.

# %%
verdicts = " / ".join(map(verdict, places.values()))
plots.table(
    [
        ["the source / grey / night / other names / new meanings / more circles / own grounds", verdicts],
        ["colour / grey / round or polygon", " / ".join(f"{share:.0%}" for share in spaces.values())],
        ["gain down and up again / up and down again", " / ".join(f"{s:.0%}" for s in list(repaired.values())[1:])],
        ["harm at severity 1, least first", ", ".join(sorted(harm[-1], key=harm[-1].get, reverse=True))],
        ["p-value of a concept shift, in pixels / outputs", " / ".join(f"{evidence['P(Y|X)'][n]:.2f}" for n in (2, 4))],
        ["p-value of a prior shift, in pixels / outputs", " / ".join(f"{evidence['P(Y)'][n]:.2f}" for n in (2, 4))],
        ["plus: counted / estimated / true", f"{counted:.1%} / {float(estimated[1]):.1%} / 10%"],
        ["prior shift: as it was / corrected / best", " / ".join(f"{share:.1%}" for share in repair.values())],
    ],
    ["question", "answer"],
)

# %% [markdown]
# - A domain is a feature space and $P(X)$, a task a label space and $P(Y|X)$. Six things can differ; say which.
# - No face of the joint distribution moves alone. When one is moved and its partner is held, both faces of the other
#   pair follow in general, except that without overlap $P(Y|X)$ may stay.
# - Unbalanced labels are a prior shift, as long as each class looks as before. Then they can be measured and repaired
#   without labels of the target.
# - How much a shift hurts depends on the classifier, and how well it is seen on where one looks. A shift may be plain
#   to see and harmless, or invisible and costly.
# - A concept shift leaves no trace in inputs. Only labels can show it.
#
# ### What if?
#
# - What if the target mixes two shifts, other shares *and* another sensor? What would you need in order to tell them
#   apart?
# - You hold a network and a thousand pictures from a new place, and you may ask for ten labels. Which ten would you
#   choose, to find out which of the six has happened?
# - With enough pictures even the smallest shift gets a small p-value. What would you measure, if you wanted to know
#   whether it *matters*?
