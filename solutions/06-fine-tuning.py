# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 06 · Which weights may move, when, and how fast?
#
# Somebody has trained a network, on other classes and other pictures than yours. Its features are good, but they were
# not made for you. Lesson 05 froze them and trained a new classifier on top: safe, but the features stay as they are.
# **Fine-tuning** lets the old weights move as well. Below, three networks learn four shapes from the same few labelled
# pictures. One starts from random weights, one keeps the old weights frozen below a new head, and one follows the
# procedure of this lesson. By the end you will have written that procedure in plain PyTorch, and for each of its steps
# you will have measured what happens without it.
#
# The lesson has eight exercises and 20 points. Running all its cells takes a little over a minute.

# %%
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the batches are too small to be shared out; read when torch is imported

import torch

from tlcore import plots, runtime, weights, worlds

plots.use_style()
photos = runtime.budget() == "full" and "TLCORE_DATA" in os.environ  # or True for photos, False for drawings
old = tuple(weights.card("resnet20-cifar10x" if photos else "resnet20-shapesx")["classes"])
new = ("automobile", "cat", "horse", "ship") if photos else ("crescent", "trapezoid", "L", "heart")

# %% [markdown]
# The old network is a ResNet-20 that comes with this course. It knows twelve shapes, seen in good light. Ours are
# four other shapes, seen by another camera, with a lot of grain. (For real photos the files of CIFAR-10 must lie in
# the folder `$TLCORE_DATA`. Then the old network knows six of its classes, and ours are the other four, seen by the
# same camera. What the text says about results is said of the drawings.)

# %%
from functools import cache

read, device = cache(worlds.load), runtime.device()
clear = worlds.Shapes(size=24)
grainy = clear.but(noise=0.2)


def pictures(world: worlds.Shapes, names: tuple[str, ...], count: int, seed: int) -> worlds.Dataset:
    """Labelled pictures (N, 3, H, W) of some classes, with values from 0 to 1; for photos the world does not count."""
    if not photos:
        return world.but(shapes=names).sample(count, seed=seed).to(device)
    data = read("cifar10", split="train" if seed == 1 else "test").subset(classes=names, size=count)
    return worlds.Dataset(data.inputs.float() / 255, data.targets, data.classes, data.origin).to(device)


# %%
labelled, val = pictures(grainy, new, runtime.scaled(quick=160, standard=400, full=1000), seed=1).split(0.6)
size = runtime.scaled(quick=140, standard=480, full=1200)
test, home = pictures(grainy, new, size, seed=2), pictures(clear, old, size // 2, seed=3)
labelled

# %%
from matplotlib.axes import Axes


def picture(ax: Axes, image: torch.Tensor, **texts: str) -> None:
    """One picture (C, H, W) without a frame."""
    ax.imshow(image.permute(1, 2, 0).cpu())
    ax.set(xticks=[], yticks=[], **texts)
    ax.spines[:].set_visible(False)


fig, axes = plots.figure(8, 2, width=1.1, height=1.3)
for ax, data, n in zip(axes, 8 * [home] + 8 * [labelled], 2 * [*range(8)]):
    row = int((data.targets == n % len(data.classes)).nonzero()[n // len(data.classes)])
    picture(ax, data.inputs[row], xlabel=data.classes[data.targets[row]])
axes[0].set_ylabel("source")
_ = axes[8].set_ylabel("target")

# %% [markdown]
# Above is what the old network was trained for, the source; below is what we want, the target. The task is another
# one (other names), and so is the domain (another camera). The three networks come from the course's package; later
# your own functions will do it.

# %%
from torch import nn

from tlcore import training, transfer, zoo


def pretrained() -> nn.Module:
    return zoo.get_model("resnet20", weights="cifar10x" if photos else "shapesx").to(device)


epochs = runtime.scaled(quick=5, standard=8, full=12)
options = {"epochs": epochs, "batch_size": 20, "num_classes": 4, "progress": False}
options["arithmetic"] = training.Arithmetic()  # plain float32: the same numbers on every machine

# %%
_ = runtime.seed_everything(0)
steps = transfer.procedure(head_epochs=2, lr=0.2)
ways = {
    "from random weights": (zoo.get_model("resnet20"), "full", 0.1),
    "frozen, with a new head": (pretrained(), "head_only", 0.05),
    "the procedure": (pretrained(), steps, 0.05),
}
opening = {
    name: transfer.fine_tune(body, labelled, val, plan, lr=lr, **options) for name, (body, plan, lr) in ways.items()
}


# %%
@torch.no_grad()
def right(net: nn.Module, data: worlds.Dataset, head: nn.Module | None = None) -> float:
    """Share of pictures that a network names correctly, if it ends in a given head."""
    net.eval()
    own, net.fc = net.fc, head or net.fc
    found = torch.cat([net(x).argmax(1) for x in data.inputs.split(40)])
    net.fc = own
    return float((found == data.targets).float().mean())


# %%
ax = plots.figure(width=5.5, height=3)[1][0]
for name, done in opening.items():
    ax.plot(range(1, epochs + 1), done.history.column("val_accuracy"), label=name)
ax.axhline(1 / 4, color="0.6", linewidth=1)
ax.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1), title=f"{len(labelled)} labelled pictures")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
ax.locator_params(axis="x", integer=True)
reached = {name: right(body, test) for name, (body, _, _) in ways.items()}

# %% [markdown]
# Random weights get nowhere in so short a time (the grey line is guessing). The frozen network rises first and then
# levels off: whatever its features do not show, no head can see. The third one begins like the second, and then its
# old weights may move.
#
# ## 1 · Bottom n layers
#
# "Bottom $n$ layers can be frozen or fine-tuned", says the lecture: frozen layers are not updated by backpropagation,
# fine-tuned ones are. So we need layers in order. A ResNet-20 falls into five groups, counted from the input: the
# first convolution, three stages at three resolutions, and the **head**, its last linear layer. All but the head is
# the **body**. What the head reads is called the **neck**: 64 numbers a picture.

# %%
transfer.group_plan(pretrained(), transfer.bottom_frozen(3), epochs=epochs, lr=0.01)

# %% [markdown]
# The first step of every recipe is to chop off the head, since it knows the wrong names, and to put a new one in its
# place. It takes one line; torch draws its weights at random. The groups are lists of modules.


# %%
def with_new_head(seed: int = 0) -> nn.Module:
    _ = runtime.seed_everything(seed)
    net = pretrained()
    net.fc = nn.Linear(net.fc.in_features, len(new))
    return net.to(device)


def five_groups(net: nn.Module) -> list[list[nn.Module]]:
    """The groups of a ResNet-20: the input's first, the head last."""
    return [[net.conv1, net.bn1], [net.layer1], [net.layer2], [net.layer3], [net.fc]]


net = with_new_head()
groups = five_groups(net)

# %% [markdown]
# ### Exercise 1 · Freeze (2.5 points)
#
# Freeze all parameters in the lowest $n$ groups and free those of all other groups, whatever they were before. A
# parameter is frozen when its `requires_grad` is False: it gets no gradient, and an optimizer skips what has none.
# With the groups `[[nn.Linear(1, 1)], [nn.Linear(1, 1)]]` and $n = 1$ the four parameters have the flags False,
# False, True, True.


# %% nbgrader={"grade": false, "grade_id": "freeze", "locked": false, "schema_version": 3, "solution": true, "task": false}
def freeze_below(groups: list[list[nn.Module]], n: int) -> None:
    """Freeze the lowest n groups of modules in place, and free the others."""
    ### BEGIN SOLUTION
    for number, group in enumerate(groups):
        for module in group:
            for parameter in module.parameters():
                parameter.requires_grad = number >= n
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "freeze-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["freeze_below"]
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 1 · Freeze", forbid=["tlcore.training.freeze_to", "tlcore.training.groups"])


def made():
    block = nn.Sequential(nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2))
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), block, nn.Flatten(), nn.Linear(2, 4))


def flags(freeze, net, counts):
    groups = [[net[0], net[1]], [net[2]], [net[4]]]
    for n in counts:
        freeze(groups, n)
    return [p.requires_grad for p in net.parameters()]


@checks("the lowest two groups are frozen, the head is free", points=1)
def _():
    wrong = {
        "a module has no requires_grad; its parameters do": 10 * [True],
        "freeze the lowest groups, not the highest": 4 * [True] + 6 * [False],
        "n is how many are frozen, not the number of the last one": 10 * [False],
        "modules may hold modules: parameters() finds them all": 4 * [False] + 6 * [True],
        "a group may hold several modules": 2 * [False] + 2 * [True] + 4 * [False] + 2 * [True],
        "biases and normalisation are parameters, too": [False, True, True, True] * 2 + [True, True],
    }
    checks.equal(remote(flags, freeze_below, made(), [2]), 8 * [False] + 2 * [True], mistakes=wrong)


@checks("what was frozen can be freed again", points=1)
def _():
    late = "what lies above the lowest n groups has to be freed"
    checks.equal(remote(flags, freeze_below, made(), [3, 2]), 8 * [False] + 2 * [True], mistakes={late: 10 * [False]})
    wrong = {late: 8 * [False] + 2 * [True]}
    checks.equal(remote(flags, freeze_below, made(), [2, 1]), 4 * [False] + 6 * [True], mistakes=wrong)
    checks.equal(remote(flags, freeze_below, made(), [3, 0]), 10 * [True], mistakes={late: 10 * [False]})


checks

# %% nbgrader={"grade": true, "grade_id": "freeze-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["freeze_below"]
# Another network, when your work is graded.
### BEGIN HIDDEN TESTS
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 1 · Another network", hidden=True, forbid=["tlcore.training.freeze_to", "tlcore.training.groups"]
)


def flags(freeze, net, counts):
    groups, found = [[block] for block in net], []
    for n in counts:
        freeze(groups, n)
        found.append([[p.requires_grad for p in block.parameters()] for block in net])
    return found


@checks("any number of groups, in any order", points=0.5)
def _():
    depth = int(checks.rng().integers(4, 8))
    net = nn.Sequential(*[nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.BatchNorm1d(2))) for _ in range(depth)])
    counts = [int(n) for n in checks.rng().permutation(depth + 1)]
    expected = [[4 * [k >= n] for k in range(depth)] for n in [*counts, depth, 1]]
    checks.equal(remote(flags, freeze_below, net, [*counts, depth, 1]), expected)


checks
### END HIDDEN TESTS

# %% [markdown]
# What is frozen needs no gradient of its own. If all that lies below it is frozen, too, backpropagation can stop there.
# Record a guess: with only the head free, how long does a training step take, as a share of a step that trains
# everything?

# %%
my_share = None  # between 0 and 1

# %%
import time

from torch.nn.functional import cross_entropy


def seconds_of_a_step(n: int, batch: int = 20) -> float:
    freeze_below(groups, n)
    start = time.perf_counter()
    loss = cross_entropy(net(labelled.inputs[:batch]), labelled.targets[:batch])
    loss.backward()
    _ = float(net.fc.bias.grad.sum())  # waits for a GPU
    return time.perf_counter() - start


rounds = [[seconds_of_a_step(n) for n in range(5)] for _ in range(runtime.scaled(quick=2, standard=8, full=20))]
seconds = [min(column) for column in zip(*rounds)]

# %%
rows = []
for n in range(5):
    freeze_below(groups, n)
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    rows.append([n, trained, f"{seconds[n] / seconds[0]:.0%}"])
print(f"you guessed {my_share}")
plots.table(rows, ["groups frozen", "parameters trained", "time of a step"])

# %% [markdown]
# With everything frozen but the head, what remains is nearly the forward pass alone. Even that can be saved: if the
# body never changes, its outputs for the pictures can be computed once and kept, and the head trained on them in no
# time. This is what Lesson 05 does. It is right only if the body *really* does not change, and that is the next
# question.
#
# > **A gradient that was left behind.** If you freeze in the middle of training, call `optimizer.zero_grad()` before
# > the next step. Otherwise frozen parameters still hold their last gradient, and the optimizer goes on using it.
#
# ## 2 · The frozen part that moves
#
# ResNets hold *batch normalisation*. In training mode such a layer subtracts the mean of the batch and divides by its
# standard deviation, and on the side it keeps running averages of both, which take their place in evaluation mode.
# These averages are no parameters. They have no gradient, no optimizer touches them, and `requires_grad` means
# nothing to them: every batch that passes in training mode moves them. Look at what one epoch does to a body whose
# parameters are all frozen.


# %%
def run(
    net: nn.Module, optimizer: torch.optim.Optimizer, epochs: int, data: worlds.Dataset = labelled, mode=None
) -> None:
    """Train for some epochs; `mode` puts the network into training mode."""
    for _ in range(epochs):
        (mode or training_mode)(net)
        for x, y in data.batches(20, shuffle=True, seed=int(torch.randint(10**6, ()))):
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()


# %%
from copy import deepcopy

net = with_new_head()
groups, before = five_groups(net), deepcopy(net.state_dict())
freeze_below(groups, 4)
sgd = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
run(net, sgd, 1, mode=nn.Module.train)
changed = [name for name, tensor in net.state_dict().items() if not torch.equal(tensor, before[name])]
print(len(changed), "tensors have changed:", ", ".join(changed[:4]), "…", ", ".join(changed[-2:]))

# %% [markdown]
# ### Exercise 2 · A training mode that respects what is frozen (2.5 points)
#
# Put the network into training mode, all but the batch normalisation whose own parameters are frozen: that goes into
# evaluation mode. Nothing else may differ from `net.train()`: dropout, for one, works as in training, wherever it
# stands. All our normalisation layers have a `weight`. `nn.BatchNorm1d`, `2d` and `3d` are all derived from
# `nn.modules.batchnorm._BatchNorm`, so one `isinstance` finds them.


# %% nbgrader={"grade": false, "grade_id": "mode", "locked": false, "schema_version": 3, "solution": true, "task": false}
def training_mode(net: nn.Module) -> None:
    """Put a network into training mode in place, its frozen batch normalisation into evaluation mode."""
    ### BEGIN SOLUTION
    net.train()
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not module.weight.requires_grad:
            module.eval()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "mode-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["training_mode"]
import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 2 · A training mode that respects what is frozen",
    forbid=["tlcore.training.training_mode", "tlcore.training.groups"],
)


def made(frozen):
    lower = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))
    net = nn.Sequential(
        lower, nn.Conv2d(4, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Flatten(), nn.Dropout(), nn.Linear(18, 2)
    )
    lower.requires_grad_(not frozen)
    return net.eval()


def modes(set_mode, net, again=False):
    found = []
    for _ in range(1 + again):
        set_mode(net)
        found.append([m.training for m in (net, net[0][0], net[0][1], net[0][2], net[2], net[4], net[5])])
        net.requires_grad_(True)
    return found


def statistics(set_mode, net, x):
    set_mode(net)
    net(x)
    return net[0][1].running_mean, net[2].running_mean, [bool(p.requires_grad) for p in net.parameters()]


@checks("only frozen batch normalisation is in evaluation mode", points=1)
def _():
    wrong = {
        "this is plain train(): frozen normalisation is still moving": 7 * [True],
        "normalisation that is free has to learn": [True, True, False, True, False, True, True],
        "dropout works as in training, even in a frozen part": [True, True, False, False, True, True, True],
        "only normalisation is treated in a special way": [True, False, False, False, True, True, True],
        "what has no parameters is not frozen": [True, False, False, False, True, False, True],
        "net.train() comes first": [False, False, False, False, False, False, False],
    }
    checks.equal(
        remote(modes, training_mode, made(True))[0], [True, True, False, True, True, True, True], mistakes=wrong
    )


@checks("frozen averages stay where they are, others move", points=0.5)
def _():
    lower, upper, free = remote(statistics, training_mode, made(True), torch.rand(8, 3, 3, 3))
    checks.equal(lower.tolist(), 4 * [0.0])
    assert float(abs(upper).max()) > 0, "The averages of the free layer should move."
    checks.equal(free, 4 * [False] + 6 * [True])


@checks("what is freed later learns again", points=0.5, hint="Call net.train() first, each time.")
def _():
    first, then = remote(modes, training_mode, made(True), True)
    checks.equal(first[2], False)
    checks.equal(then, 7 * [True])


checks

# %% nbgrader={"grade": true, "grade_id": "mode-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["training_mode"]
# Other kinds of normalisation, when your work is graded.
### BEGIN HIDDEN TESTS
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 2 · Other kinds", hidden=True, forbid=["tlcore.training.training_mode", "tlcore.training.groups"]
)


def modes(set_mode, net):
    set_mode(net)
    return [layer.training for layer in net[0]]


@checks("one, two and three dimensions, and other kinds", points=0.5)
def _():
    layers = [nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.BatchNorm3d(2), nn.GroupNorm(1, 2), nn.Dropout()]
    frozen = [bool(n) for n in checks.rng().permutation([1, 1, 0])]
    for layer, shut in zip(layers, frozen):
        layer.requires_grad_(not shut)
    found = remote(modes, training_mode, nn.Sequential(nn.Sequential(*layers)).eval())
    checks.equal(found, [not shut for shut in frozen] + [True, True])


checks
### END HIDDEN TESTS

# %% [markdown]
# What does it matter? We train a new head for five epochs, once with plain `train()` and once in your mode. Then we
# ask the body two questions: how well does it serve the new head, and how well does it still serve the *old* head, if
# that is put back? Guess the second: with plain `train()`, what becomes of the accuracy on the old classes?

# %%
my_old_accuracy = None  # between 0 and 1

# %%
old_head, drifted = pretrained().fc, {}
for name, mode in {"plain train()": nn.Module.train, "your mode": training_mode}.items():
    net = drifted[name] = with_new_head()
    freeze_below(five_groups(net), 4)
    run(net, torch.optim.SGD(net.fc.parameters(), lr=0.05, momentum=0.9), 5, mode=mode)

# %%
known = right(pretrained(), home)
print(f"The old network names {known:.0%} of the old classes; you guessed {my_old_accuracy} for what is left.")
kept = {name: right(net, home, old_head) for name, net in drifted.items()}
rows = [[name, f"{right(net, test):.0%}", f"{kept[name]:.0%}"] for name, net in drifted.items()]
plots.table(rows, ["body frozen, and", "target, new head", "source, old head"])

# %% [markdown]
# No weight of the body was trained, and yet with plain `train()` it is another network. Its averages have wandered to
# the grainy pictures, and some of what it knew about the old classes is lost. Features that were computed once and
# kept would no longer be its features. Frozen means frozen only in your mode.
#
# But look at the first column: in the *target* the wandering body is the better one! Averages that fit the grainy
# pictures are a remedy in a new domain, and it needs no labels (Li et al. 2016 call it adaptive batch normalisation).
# So decide on purpose. Keep the averages where old features must stay what they are, or where batches are too small
# for a good mean; let them go where the domain is new and you want them to follow.
#
# ## 3 · How fast?
#
# Low layers see edges and colours, which most tasks need; high layers see what the old classes are made of. So the
# lower a layer, the less it should have to change, and the lecture gives each group its own rate: each earlier
# group's learning rate is 3 to 10 times smaller than that of the next later one. Rates of this kind are called
# *differential* or *discriminative*. A rate of zero would be freezing, so they are something between frozen and free.
#
# ### Exercise 3 · Parameter groups (2.5 points)
#
# A torch optimizer takes a list of dictionaries, such as `[{"params": [...], "lr": 0.01}, ...]`, each with a rate of
# its own. Make one for each group of modules, in their order. The last group, the head, gets the rate `lr`, and every
# other group gets the rate of the next one divided by `factor`. Put *all* parameters in, frozen ones too: they are
# skipped while they have no gradient, and can be freed later. With three groups, `lr` 0.9 and `factor` 3, the rates
# are 0.1, 0.3 and 0.9.


# %% nbgrader={"grade": false, "grade_id": "rates", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rate_groups(groups: list[list[nn.Module]], lr: float, factor: float) -> list[dict]:
    """One dictionary with "params" and "lr" for each group of modules, input first."""
    ### BEGIN SOLUTION
    made = []
    for number, group in enumerate(groups):
        parameters = [parameter for module in group for parameter in module.parameters()]
        made.append({"params": parameters, "lr": lr / factor ** (len(groups) - 1 - number)})
    return made
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "rates-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["rate_groups"]
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 3 · Parameter groups", forbid=["tlcore.training.parameter_groups", "tlcore.training.groups"])


def made():
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(2, 4))
    net[0].requires_grad_(False)
    return net


def rates(make, net, lr, factor):
    import torch

    groups = [[net[0], net[1]], [net[2]], [net[4]]]
    optimizer = torch.optim.SGD(make(groups, lr, factor), lr=123.0)
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return [found.get(id(p), -1.0) for p in net.parameters()]  # -1: not there


def in_order(make, net):
    import torch

    groups = [[net[0], net[1]], [net[2]], [net[4]]]
    return [float(group["lr"]) for group in torch.optim.SGD(make(groups, 0.9, 3), lr=123.0).param_groups]


def each(low, middle, high):
    return 4 * [low] + 2 * [middle] + 2 * [high]


@checks("the rates of the text", points=1)
def _():
    wrong = {
        "the head learns fastest, the input slowest": each(0.9, 0.3, 0.1),
        "divide once more for every group further down": each(0.3, 0.3, 0.9),
        "rates are divided again and again, by 3, 9, 27, not by 3, 6, 9": each(0.15, 0.3, 0.9),
        "the head itself gets lr": each(0.9 / 27, 0.1, 0.3),
        "every group got the same rate": each(0.9, 0.9, 0.9),
        "you multiplied where the text divides": each(8.1, 2.7, 0.9),
        "the key of the rate is lr": each(123.0, 123.0, 123.0),
        "frozen parameters have to be in it, too, to be freed later": 2 * [-1.0] + [0.1, 0.1] + 2 * [0.3] + 2 * [0.9],
    }
    checks.close(remote(rates, rate_groups, made(), 0.9, 3), each(0.1, 0.3, 0.9), mistakes=wrong)


@checks("every parameter is in it, at any factor", points=0.5, hint="All modules of a group, all their parameters.")
def _():
    checks.close(remote(rates, rate_groups, made(), 0.01, 10), each(0.0001, 0.001, 0.01))
    checks.close(remote(rates, rate_groups, made(), 0.02, 1), 8 * [0.02])


@checks("one dictionary for each group, input first", points=0.5)
def _():
    found = remote(in_order, rate_groups, made())
    wrong = {"one for each group, not for each module": 4, "one for each group, not for each parameter": 8}
    checks.equal(len(found), 3, mistakes=wrong)
    checks.close(found, [0.1, 0.3, 0.9], mistakes={"keep the order of the groups": [0.9, 0.3, 0.1]})


checks

# %% nbgrader={"grade": true, "grade_id": "rates-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["rate_groups"]
# Another network, when your work is graded.
### BEGIN HIDDEN TESTS
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 3 · Another network", hidden=True, forbid=["tlcore.training.parameter_groups", "tlcore.training.groups"]
)


def rates(make, net, lr, factor):
    import torch

    optimizer = torch.optim.SGD(make([[layer] for layer in net], lr, factor), lr=123.0)
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    return [found.get(id(layer.weight), -1.0) for layer in net]


@checks("any number of groups", points=0.5)
def _():
    depth, factor = int(checks.rng().integers(4, 8)), float(checks.rng().uniform(1.5, 4))
    net = nn.Sequential(*[nn.Linear(2, 2) for _ in range(depth)])
    net[1].requires_grad_(False)
    expected = [0.5]
    for _ in range(depth - 1):
        expected.insert(0, expected[0] / factor)
    checks.close(remote(rates, rate_groups, net, 0.5, factor), expected)


checks
### END HIDDEN TESTS

# %% [markdown]
# To see what rates do, we need a number for how far a group of weights has gone. A change of 0.1 is much for small
# weights and little for large ones, so we measure it against the weights themselves.
#
# ### Exercise 4 · How far did it go? (1.5 points)
#
# Given the weights of a part of a network before and after, as two lists of tensors of the same shapes, take all
# numbers together as one long vector and return the length of the change, $\lVert w - w_0 \rVert$, divided by the
# length of the old vector, $\lVert w_0 \rVert$. From `[[3], [4]]` to `[[3], [14]]` it is 10 / 5 = 2.


# %% nbgrader={"grade": false, "grade_id": "moved", "locked": false, "schema_version": 3, "solution": true, "task": false}
def moved(before: list[torch.Tensor], after: list[torch.Tensor]) -> float:
    """Relative change of weights, all tensors taken together."""
    ### BEGIN SOLUTION
    change = sum(float((new - old).square().sum()) for old, new in zip(before, after))
    return (change / sum(float(old.square().sum()) for old in before)) ** 0.5
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "moved-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["moved"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 4 · How far did it go?")


@checks("the example of the text, and nothing moved", points=0.5)
def _():
    before, after = [torch.tensor([3.0]), torch.tensor([4.0])], [torch.tensor([3.0]), torch.tensor([14.0])]
    wrong = {
        "the root is missing": 4.0,
        "a mean over tensors is not the length of one long vector": 1.25,
        "compare with the old weights, not with the new ones": 10 / 205**0.5,
        "neither absolute values nor lengths of parts add up; squares do": 10 / 7,
        "this is the change of the length, not the length of the change": 205**0.5 / 5 - 1,
    }
    checks.close(float(moved(before, after)), 2.0, mistakes=wrong)
    checks.close(float(moved(after, after)), 0.0)


@checks("tensors of several shapes", points=0.5)
def _():
    before = [torch.tensor([[1.0, -2.0], [2.0, 0.0]]), torch.tensor([4.0])]
    after = [torch.tensor([[1.0, 4.0], [2.0, 0.0]]), torch.tensor([1.5])]
    wrong = {
        "the root is missing": 1.69,
        "take squares, not absolute values": 8.5 / 9,
        "lengths of parts do not add up; their squares do": 8.5 / 7,
        "a mean over tensors is not the length of one long vector": 1.3125,
    }
    checks.close(float(moved(before, after)), 1.3, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "moved-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["moved"]
# Random weights, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 4 · Random weights", hidden=True)


@checks("random tensors against one long vector", points=0.5)
def _():
    rng = checks.rng()
    shapes = [(3, 2, 4), (5,), (2, 6)]
    before, after = ([rng.normal(size=shape) for shape in shapes] for _ in range(2))
    old, new = (np.concatenate([t.ravel() for t in tensors]) for tensors in (before, after))
    found = moved([torch.tensor(t) for t in before], [torch.tensor(t) for t in after])
    checks.close(float(found), np.linalg.norm(new - old) / np.linalg.norm(old), rtol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# We fine-tune the whole network at three factors, each time for a few epochs, with the same rate for the head. Guess:
# with a factor of 3, how many times farther does the third stage go than the first convolution?

# %%
my_ratio = None  # such as 27

# %%
start = [[p.detach().cpu() for m in group for p in m.parameters()] for group in five_groups(pretrained())]


def travelled(net: nn.Module) -> list[float]:
    """How far each group of the body is from where it started."""
    now = [[p.detach().cpu() for m in group for p in m.parameters()] for group in five_groups(net)]
    return [float(moved(old_ones, new_ones)) for old_ones, new_ones in zip(start[:-1], now[:-1])]


def tuned_at(lr: float, factor: float, epochs: int) -> nn.Module:
    net = with_new_head()
    groups = five_groups(net)
    freeze_below(groups, 0)
    run(net, torch.optim.SGD(rate_groups(groups, lr, factor), lr=lr, momentum=0.9), epochs)
    return net


# %%
short = runtime.scaled(quick=2, standard=4, full=6)
by_factor = {factor: tuned_at(0.02, factor, short) for factor in (1, 3, 10)}
ways_gone = {factor: travelled(net) for factor, net in by_factor.items()}
ax = plots.figure(width=6, height=3)[1][0]
for n, (factor, distances) in enumerate(ways_gone.items()):
    ax.bar([k + 0.27 * (n - 1) for k in range(4)], distances, width=0.25, label=f"factor {factor}")
ax.set(ylabel="relative change", xticks=range(4), xticklabels=["first conv.", "stage 1", "stage 2", "stage 3"])
_ = ax.legend()

# %%
print(f"you guessed {my_ratio}, and it is {ways_gone[3][3] / ways_gone[3][0]:.1f}")
rows = [[f, f"{right(net, test):.0%}", f"{right(net, home, old_head):.0%}"] for f, net in by_factor.items()]
plots.table(rows, ["factor", "target", "source, old head"])

# %% [markdown]
# The rates of those two groups differ by a factor of $3^3 = 27$. With one rate for all, every part of the body goes a
# long way, and of the old knowledge least is left. With a factor of 3 or 10 the low layers nearly stand still. No
# factor is always the best for the target. Low layers are generic *within* a domain, but here the grain is new to them,
# and they have something to learn. With two epochs (the "quick" budget) the three are about equal. With four, the
# single rate has taken the body too far, and a factor holds it back.
#
# ## 4 · The procedure
#
# Two of the lectures give a procedure. One says: chop off the head, freeze the body, build a new head in its place,
# train the head only for several iterations, *un-freeze the body and train the full network*. The other has a list:
#
# 1. Freeze the convolutional base.
# 2. Train the new head, with the base kept as it is. This takes the head's weights away from random ones, and into a
#    regime of smaller gradients.
# 3. Unfreeze some *later* layers of the base.
# 4. Train base and head together, with a *very low* learning rate.
#
# > **Four or five?** On the slide the list is numbered to five, because the second step runs over two numbers. There
# > are four steps. The two lectures differ in how much to unfreeze in the end: some later layers, or all of them. We
# > leave that open, and measure it in Section 7.
#
# ### Exercise 5 · The procedure (4 points)
#
# Write these steps. The network already has its new head, the last of `groups`.
#
# - First only the head learns, at rate `lr`, for `head_epochs`.
# - Then all but the lowest `frozen` groups learn together for `epochs`. The head's rate is now `low`, and each
#   earlier group's is that of the next one divided by `factor`.
#
# `train(net, optimizer, epochs)` does the training; it is our `run` from above, and it calls your `training_mode`.
# Use your `freeze_below` and `rate_groups`. Use SGD with momentum 0.9. What an optimizer remembers of a parameter
# (its momentum) should survive the unfreezing, so make *one* optimizer and set the `"lr"` of each of its
# `param_groups` anew.


# %% nbgrader={"grade": false, "grade_id": "procedure", "locked": false, "schema_version": 3, "solution": true, "task": false}
def fine_tune(
    net: nn.Module, groups: list, train, lr: float, low: float,
    head_epochs: int, epochs: int, frozen: int = 0, factor: float = 1.0,
) -> None:  # fmt: skip
    """Train the head alone, then all but the lowest `frozen` groups, in place."""
    ### BEGIN SOLUTION
    freeze_below(groups, len(groups) - 1)
    optimizer = torch.optim.SGD(rate_groups(groups, lr, 1.0), lr=lr, momentum=0.9)
    train(net, optimizer, head_epochs)
    freeze_below(groups, frozen)
    for group, new_rates in zip(optimizer.param_groups, rate_groups(groups, low, factor)):
        group["lr"] = new_rates["lr"]
    train(net, optimizer, epochs)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "procedure-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} student_names=["fine_tune"]
import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 5 · The procedure",
    forbid=["tlcore.training.freeze_to", "tlcore.training.parameter_groups", "tlcore.training.groups"],
)
settings = {"lr": 0.5, "low": 0.08, "head_epochs": 3, "epochs": 7}


def made():
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))


def watched(fine_tune, net, settings):
    import torch

    x, seen, parameters = torch.rand(8, 3), [], list(net.parameters())

    def train(net, optimizer, epochs):
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        free = [rates.get(id(p), 0.0) if p.requires_grad else 0.0 for p in parameters]
        remembers = [bool(optimizer.state.get(p)) for p in parameters]
        momentum = [group.get("momentum", 0.0) for group in optimizer.param_groups]
        seen.append([epochs, free, remembers, momentum])
        for _ in range(2):
            optimizer.zero_grad()
            net(x).square().sum().mul(1e-3).backward()
            optimizer.step()

    fine_tune(net, [[net[0]], [net[2]], [net[4]]], train, **settings)
    return seen


@checks("first the head alone, at its rate", points=1)
def _():
    seen = remote(watched, fine_tune, made(), settings)
    assert len(seen) > 0, "train was never called."
    wrong = {"freeze the body before you train": 6 * [0.5], "first the head at lr, then all at low": 6 * [0.08]}
    checks.close(seen[0][1], 4 * [0.0] + 2 * [0.5], mistakes=wrong)
    checks.equal(seen[0][0], 3, mistakes={"the head alone takes head_epochs": 7})


@checks("then the full network, at the low rate", points=1)
def _():
    seen = remote(watched, fine_tune, made(), settings)
    checks.equal(len(seen), 2, mistakes={"there are two phases, with one call of train each": 1})
    wrong = {
        "the rates have to be set to low": 6 * [0.5],
        "the body has to be unfrozen, and its parameters have to be in the optimizer": 4 * [0.0] + 2 * [0.08],
        "in the second phase the body is free and in the optimizer, and rates are low": 4 * [0.0] + 2 * [0.5],
        "the head's rate is now low as well": 4 * [0.08] + 2 * [0.5],
    }
    checks.close(seen[1][1], 6 * [0.08], mistakes=wrong)
    checks.equal(seen[1][0], 7, mistakes={"the second phase takes epochs": 3})


@checks("its momentum survives", points=1, hint="One optimizer for both phases: only its rates change.")
def _():
    seen = remote(watched, fine_tune, made(), settings)
    checks.equal(len(seen), 2)
    assert min(seen[1][1]) > 0, "In the second phase all groups learn."
    wrong = {
        "a new optimizer has forgotten everything": 6 * [False],
        "a rate of 0 is not enough: freeze the body while the head learns": 6 * [True],
    }
    checks.equal(seen[1][2], 4 * [False] + 2 * [True], mistakes=wrong)
    for _, _, _, momentum in seen:
        checks.close(momentum, len(momentum) * [0.9], mistakes={"momentum is 0.9": len(momentum) * [0.0]})


checks

# %% nbgrader={"grade": true, "grade_id": "procedure-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["fine_tune"]
# Some groups stay frozen, when your work is graded.
### BEGIN HIDDEN TESTS
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 5 · Some groups stay frozen",
    hidden=True,
    forbid=["tlcore.training.freeze_to", "tlcore.training.parameter_groups", "tlcore.training.groups"],
)


def watched(fine_tune, net, settings):
    seen, parameters = [], [layer.weight for layer in net]
    was = [p.detach().clone() for p in net.parameters()]

    def train(net, optimizer, epochs):
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        seen.append([epochs, [rates.get(id(p), 0.0) if p.requires_grad else 0.0 for p in parameters]])

    fine_tune(net, [[layer] for layer in net], train, **settings)
    return seen, [bool((a == b).all()) for a, b in zip(was, net.parameters())]


@checks("frozen groups and rates of their own", points=1, hint="frozen and factor belong to the second phase.")
def _():
    rng = checks.rng()
    depth, frozen, factor = int(rng.integers(4, 7)), int(rng.integers(1, 3)), float(rng.uniform(2, 4))
    settings = {"lr": 0.3, "low": 0.05, "head_epochs": 2, "epochs": 5, "frozen": frozen, "factor": factor}
    seen, same = remote(watched, fine_tune, nn.Sequential(*[nn.Linear(2, 2) for _ in range(depth)]), settings)
    checks.equal([epochs for epochs, _ in seen], [2, 5])
    checks.close(seen[0][1], (depth - 1) * [0.0] + [0.3])
    rates = [0.05 / factor ** (depth - 1 - k) if k >= frozen else 0.0 for k in range(depth)]
    checks.close(seen[1][1], rates)
    checks.equal(same, 2 * depth * [True])


checks
### END HIDDEN TESTS

# %% [markdown]
# Here is your procedure at work. After every epoch we look at three things: what the network knows of the target,
# what it still knows of the source if its old head is put back, and how far each part of its body has gone. Guess how
# much of the old knowledge is left in the end.

# %%
my_left = None  # accuracy on the source with the old head, between 0 and 1


# %%
def followed(net: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    """Train like `run`, and write down after every epoch where the network is."""
    for _ in range(epochs):
        run(net, optimizer, 1)
        diary.append((right(net, val), right(net, home, old_head), travelled(net)))


diary, net, low = [], with_new_head(), runtime.scaled(quick=0.01, standard=0.005, full=0.005)
fine_tune(net, five_groups(net), followed, lr=0.05, low=low, head_epochs=2, epochs=epochs - 2)
mine = net

# %%
fig, (above, below) = plots.figure(2, width=4.2, height=3)
above.plot(range(1, epochs + 1), [entry[0] for entry in diary], label="target (validation)")
above.plot(range(1, epochs + 1), [entry[1] for entry in diary], label="source, old head")
above.set(xlabel="epoch", ylabel="accuracy", ylim=(0, 1))
above.legend()
for k, name in enumerate(["first conv.", "stage 1", "stage 2", "stage 3"]):
    below.plot(range(1, epochs + 1), [entry[2][k] for entry in diary], label=name)
below.set(xlabel="epoch", ylabel="relative change", ylim=(0, None))
below.legend()
for ax in (above, below):
    ax.axvline(2.5, color="0.6", linewidth=1)
    ax.locator_params(axis="x", integer=True)
print(f"target {right(mine, test):.0%} (test), source {diary[-1][1]:.0%}; you guessed {my_left}")

# %% [markdown]
# Left of the grey line only the head learns. The body stands still, and the old head could be put back as if nothing
# had happened. To the right of it everything moves, at one rate and here by similar shares, and the target gains what
# the frozen body could not give. (Weights and averages move here: compare with the averages alone, the first row in
# Section 2.) The old task pays for it. Nothing in the loss speaks of the old classes any more, so what served only them
# is overwritten. This is called *catastrophic forgetting* (McCloskey and Cohen 1989); if you still need the old task,
# keep a copy.
#
# ### What an optimizer remembers
#
# Why one optimizer for both phases? SGD with momentum remembers a speed. Adam remembers how large the gradients of
# each weight have been, and divides by that. As long as the body is frozen the head can be trained on features that
# were computed once, so the experiment takes no time: we train the head with Adam, then go on for a few steps, once
# with the same optimizer and once with a new one. Guess: what does the loss do in the first step of the new one?

# %%
my_jump = None  # "falls", "stays" or "rises"


# %%
@torch.no_grad()
def neck(net: nn.Module, data: worlds.Dataset) -> torch.Tensor:
    """Features (N, 64) that the head reads."""
    net, head = net.eval(), net.fc
    net.fc = nn.Identity()
    features = torch.cat([net(x) for x in data.inputs.split(40)])
    net.fc = head
    return features


@torch.no_grad()
def loss_on(data: worlds.Dataset, net: nn.Module) -> float:
    return float(cross_entropy(net.eval()(data.inputs), data.targets))


# %%
features = worlds.Dataset(neck(pretrained(), labelled), labelled.targets)
head = nn.Linear(64, 4).to(device)
adam = torch.optim.Adam(head.parameters(), lr=0.01)
run(head, adam, 30, features, mode=nn.Module.train)


# %%
def few_steps(state: dict | None, seed: int) -> list[float]:
    """Loss on all labelled pictures before and after each of a few steps."""
    copy = deepcopy(head)
    optimizer = torch.optim.Adam(copy.parameters(), lr=0.01)
    if state:
        optimizer.load_state_dict(state)
    losses = [loss_on(features, copy)]
    for _, (x, y) in zip(range(5), features.batches(20, shuffle=True, seed=seed)):
        optimizer.zero_grad()
        cross_entropy(copy(x), y).backward()
        optimizer.step()
        losses.append(loss_on(features, copy))
    return losses


# %%
ax = plots.figure(width=4.5, height=2.6)[1][0]
for name, state in {"the same optimizer": adam.state_dict(), "a new optimizer": None}.items():
    ax.plot(torch.tensor([few_steps(state, seed) for seed in range(10)]).mean(0), label=name)
ax.set(xlabel="step", ylabel="loss")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print("you guessed", my_jump)

# %% [markdown]
# The mean of ten orders of the pictures. A new Adam has seen one gradient. Divided by its own size, that leaves only
# its sign, so in the first step every weight moves by the full learning rate, however small its gradient was, and the
# loss goes up before it comes down again. The optimizer that has come along knows better. The bump is small here,
# where only a head moves; in a whole body there are a thousand times as many weights to be pushed about.
#
# ## 5 · What does the first step protect?
#
# Why train the head alone first? The argument of the lecture: a random head is wrong about everything, so its
# gradients are large, and they would tear through the body. Let us look. For a picture with the features $z$ a linear
# head says $p = \text{softmax}(Wz + b)$. The gradient that it sends down to the body is $W^\top (p - y)$, where $y$
# is 1 for the true class and 0 for the others. It is a product of two things: how *large* the head's weights are, and
# how *wrong* its answers. Training makes the answers less wrong. What does it do to the weights?
#
# We compare a fresh head as torch makes it (numbers between -1/8 and 1/8, because it has 64 inputs), a fresh head
# with large weights (a standard normal distribution, of which people have drawn first weights, too), and both after
# some epochs alone. Guess which of the four sends the smallest gradient into the body.

# %%
my_smallest = None  # "small", "large", "small, trained" or "large, trained"


# %%
def head_of(size: str) -> nn.Module:
    """A pretrained network with a fresh head, of small or large weights."""
    net = with_new_head()
    if size == "large":
        nn.init.normal_(net.fc.weight)
    return net


def body_gradient(net: nn.Module) -> float:
    """Norm of the gradient that forty labelled pictures send into the body."""
    body = [p.requires_grad_() for name, p in net.named_parameters() if not name.startswith("fc")]
    loss = cross_entropy(net.eval()(labelled.inputs[:40]), labelled.targets[:40])
    return float(sum(g.square().sum() for g in torch.autograd.grad(loss, body)) ** 0.5)


# %%
def trained_head(net: nn.Module, epochs: int) -> nn.Module:
    """The same network, its head trained alone."""
    groups = five_groups(net)
    freeze_below(groups, 4)
    run(net, torch.optim.SGD(rate_groups(groups, 0.05, 1.0), lr=0.05, momentum=0.9), epochs)
    return net


alone = runtime.scaled(quick=6, standard=10, full=10)
heads = {size: head_of(size) for size in ("small", "large")}
heads |= {f"{size}, trained": trained_head(head_of(size), epochs=alone) for size in ("small", "large")}

# %%
sent = {name: body_gradient(net) for name, net in heads.items()}
rows = []
for name, net in heads.items():
    rows.append([name, f"{net.fc.weight.norm():.1f}", f"{right(net, labelled):.0%}", f"{sent[name]:.1f}"])
print("you guessed", my_smallest)
plots.table(rows, ["head", "size of its weights", "right answers", "gradient in the body"])

# %% [markdown]
# The large fresh head sends by far the largest gradient. Training it first makes the gradient much smaller: this is
# the lecture's argument, and it is right. But the *small* fresh head, the one that torch makes, sends the smallest of
# all. It is wrong about most pictures, and so small that little of that gets through to the body. Training makes its
# gradient *larger*, because its weights grow and many answers stay wrong.
#
# And the consequences? From each of the four heads we train the whole network, at the same low rate and for the same
# number of epochs.

# %%
protected = {}
for name, net in heads.items():
    tuned = deepcopy(net)
    fine_tune(tuned, five_groups(tuned), run, lr=0.05, low=0.01, head_epochs=0, epochs=short)
    protected[name] = right(tuned, test), right(tuned, home, old_head), max(travelled(tuned))

# %%
rows = [[name, f"{there:.0%}", f"{back:.0%}", f"{far:.2f}"] for name, (there, back, far) in protected.items()]
plots.table(rows, ["head at the start", "target", "source, old head", "largest change of a group"])

# %% [markdown]
# The large random head does the damage of which the lecture warns: the body goes the farthest, the old knowledge is
# as good as gone, and the target suffers, too. If this head is trained first, the body goes less far and keeps more of
# what it knew. With torch's small head we find no damage to protect from. Trained first, it even sends the body
# *farther* than if all had started at once, as its larger gradients let us expect, and the old task pays for that.
#
# So step 2 is an insurance. You need it where a new head starts with large weights or large features, it costs little
# (the share of a step in the last row of Section 1's table, or next to nothing if features are kept), and after it the
# rate has to be *lowered*. Which brings us to the rate.
#
# ## 6 · How low is a very low rate?
#
# The lecture asks for a *very low learning rate* in the last step. We start from a trained head, give the head a fixed
# rate, and try several rates for the body, from none at all to a large one. Guess the best for the target, and
# whether the source has the same best.

# %%
my_rate = None  # such as 0.001

# %%
first = heads["small, trained"]
seven = (0, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1)
body_rates = runtime.scaled(quick=(0, 0.003, 0.1), standard=seven, full=seven)
sweep = []
for rate in body_rates:
    net = deepcopy(first)
    groups = five_groups(net)
    freeze_below(groups, 0 if rate else 4)
    optimizer = torch.optim.SGD(rate_groups(groups, 0.01, 1.0), lr=0.01, momentum=0.9)
    for group in optimizer.param_groups[:-1]:
        group["lr"] = rate
    run(net, optimizer, max(short, 4))
    sweep.append((right(net, test), right(net, home, old_head)))

# %%
ax = plots.figure(width=5, height=3)[1][0]
ax.plot(range(len(sweep)), [there for there, _ in sweep], "o-", label="target")
ax.plot(range(len(sweep)), [back for _, back in sweep], "s--", label="source, old head")
ax.set(xlabel="rate of the body (the head's is 0.01)", ylabel="accuracy", ylim=(0, 1))
ax.set_xticks(range(len(sweep)), [f"{rate:g}" for rate in body_rates])
ax.legend()
best_rate = max(zip(sweep, body_rates))[1]
print(f"best for the target: {best_rate:g}; you guessed {my_rate}")

# %% [markdown]
# At rate 0 the body is frozen, its averages too. At every other rate they follow the target, so much of the first rise
# may be theirs and not the rate's (Section 2). At the largest rate the body is wrecked, for the target as well as for
# the source: this is the last step of the procedure without its low rate. In between, the target gains. The source has
# no such optimum: the farther from the old weights, the worse. So "very low" has two meanings. Low enough not to wreck
# the body; and, if the old knowledge counts, as low as your patience allows. (The best rate was read off the test here,
# so its accuracy is a little flattered: Lesson 05. In earnest, choose by validation. The same holds for the best $n$
# and the best plan below.)
#
# ## 7 · How many to freeze?
#
# > Freeze if labels are scarce, to avoid overfitting. Fine-tune if labels are more plentiful.
#
# This is the lecture's rule, in our words. We try all $n$ with your procedure, with ten labelled pictures of each class
# and with all that we have (for fewer epochs, since each is longer); a third curve has ten clear pictures of each
# class. Guess the best $n$ for the first two.

# %%
my_n = None  # two numbers from 0 to 4, few labels first

# %%
few = labelled.subset(per_class=10)
easy = pictures(clear, new, 400, seed=5).subset(per_class=10), pictures(clear, new, size, seed=6)
numbers = runtime.scaled(quick=(0, 4), standard=(0, 1, 2, 3, 4), full=(0, 1, 2, 3, 4))


def frozen_below(n: int, data: worlds.Dataset, asked: worlds.Dataset, epochs: int) -> float:
    def train(net: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
        run(net, optimizer, epochs, data)

    net = with_new_head()
    fine_tune(net, five_groups(net), train, lr=0.05, low=low, head_epochs=epochs, epochs=epochs, frozen=n)
    return right(net, asked)


# %%
by_n = {f"{len(few)} pictures": [frozen_below(n, few, test, epochs) for n in numbers]}
by_n[f"{len(labelled)} pictures"] = [frozen_below(n, labelled, test, short) for n in numbers]
if not photos:
    by_n[f"{len(few)} pictures, clear"] = [frozen_below(n, *easy, epochs) for n in numbers]

# %%
ax = plots.figure(width=5, height=3)[1][0]
for (name, accuracies), marker in zip(by_n.items(), "os^"):
    ax.plot(numbers, accuracies, marker=marker, label=name)
ax.set(xlabel="groups frozen (4: all but the head)", ylabel="test accuracy", ylim=(0, 1), xticks=numbers)
ax.legend()
print("you guessed", my_n)

# %% [markdown]
# At the right end is the procedure without its last steps: the body is never un-frozen. With all grainy pictures this
# is the worst choice, and with few it is no better than the others: the overfitting against which the rule wants to
# protect us does not show, since the rate is low and training short. And where the pictures are clear, $n$ hardly
# matters: the old features are good enough, and the task is the only thing that is new. So the rule asks a good
# question, how many labels there are, and leaves out another, how far the target is from the source. Lesson 07 asks
# both.
#
# ## 8 · When to stop?
#
# "Until validation loss starts to increase", says one lecture; train "until we overfit and then step back some
# epochs", says another. Nobody knows at the time whether a loss that has risen once will fall again. So one waits for
# a number of epochs, the *patience*, keeps the weights of the best epoch so far, and steps back to them in the end.
# This is **early stopping**.
#
# ### Exercise 6 · Step back (3 points)
#
# Call `one_epoch()`, then `validate()`, which returns the validation loss, for at most `epochs` epochs. Stop as soon as
# `patience` epochs in a row have brought no loss below the least one before them (an equal one does not count). Put the
# network back to its state after the best epoch, and return the number of that epoch, counted from 1. With the losses
# 5, 3, 4, 3, 1 and a patience of 2, training stops after epoch 4 and goes back to epoch 2. Take the weights, and the
# averages of batch normalisation, from `net.state_dict()`; it holds the tensors themselves, and training goes on
# changing them.


# %% nbgrader={"grade": false, "grade_id": "back", "locked": false, "schema_version": 3, "solution": true, "task": false}
def step_back(net: nn.Module, one_epoch, validate, epochs: int, patience: int) -> int:
    """Train until the validation loss rises for good; leave the best epoch's weights in net, and return its number."""
    ### BEGIN SOLUTION
    best, least, kept = 0, float("inf"), deepcopy(net.state_dict())
    for epoch in range(1, epochs + 1):
        one_epoch()
        loss = validate()
        if loss < least:
            best, least, kept = epoch, loss, deepcopy(net.state_dict())
        elif epoch - best >= patience:
            break
    net.load_state_dict(kept)
    return best
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "back-check", "locked": true, "points": 2.5, "schema_version": 3, "solution": false, "task": false} student_names=["step_back"]
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 6 · Step back")


def made():
    return nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))


def played(step_back, net, losses, patience):
    """Each epoch adds 1 to the weight and to the running mean, so that both tell the epoch."""
    net[0].weight.data.zero_()
    epochs, told = [0], iter(losses)

    def one_epoch():
        epochs[0] += 1
        net[0].weight.data.add_(1)
        net[1].running_mean.add_(1)

    best = step_back(net, one_epoch, lambda: next(told), len(losses), patience)
    return int(best), epochs[0], float(net[0].weight.detach()), float(net[1].running_mean)


@checks("it stops in time, and not before", points=1)
def _():
    found = remote(played, step_back, made(), [5.0, 3.0, 4.0, 3.0, 4.0, 1.0], 2)
    wrong = {
        "only a loss below the least so far counts, not an equal one, nor one below the last": 6,
        "stop only after patience epochs": 3,
        "stop as soon as patience is used up": 5,
    }
    checks.equal(found[1], 4, mistakes=wrong)
    found = remote(played, step_back, made(), [5.0, 6.0, 4.0, 4.5, 3.0, 3.5, 3.1, 2.0], 3)
    wrong = {
        "patience begins anew with every best epoch": 6,
        "stop only after patience epochs": 2,
    }
    checks.equal(found[1], 8, mistakes=wrong)


@checks("it returns the best epoch", points=0.5)
def _():
    found = remote(played, step_back, made(), [5.0, 3.0, 4.0, 3.5, 1.0], 2)
    wrong = {
        "return the best epoch, not the last": 4,
        "epochs are counted from 1": 1,
        "step back to the best epoch, not to the last before it rose twice": 3,
    }
    checks.equal(found[0], 2, mistakes=wrong)
    checks.equal(remote(played, step_back, made(), [3.0, 2.0, 1.0], 2)[0], 3)


@checks("the network has the weights of that epoch", points=1)
def _():
    found = remote(played, step_back, made(), [5.0, 3.0, 4.0, 3.5, 1.0], 2)
    wrong = {
        "state_dict() holds the tensors themselves: copy them (and load them in the end)": 4.0,
        "training did not stop in time": 5.0,
    }
    checks.close(found[2], 2.0, mistakes=wrong)
    checks.close(found[3], 2.0, mistakes={"the averages of batch normalisation belong to the state": 4.0})


checks

# %% nbgrader={"grade": true, "grade_id": "back-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["step_back"]
# Random losses, when your work is graded.
### BEGIN HIDDEN TESTS
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 6 · Random losses", hidden=True)


def played(step_back, net, losses, patience):
    net[0].weight.data.zero_()
    epochs, told = [0], iter(losses)

    def one_epoch():
        epochs[0] += 1
        net[0].weight.data.add_(1)
        net[1].running_mean.add_(1)

    best = step_back(net, one_epoch, lambda: next(told), len(losses), patience)
    return [int(best), epochs[0], int(net[0].weight.detach()), int(net[1].running_mean)]


@checks("random losses and patience", points=0.5)
def _():
    rng = checks.rng()
    for _ in range(12):
        losses, patience = [float(n) for n in rng.integers(1, 6, 12)], int(rng.integers(1, 4))
        ends = [e for e in range(1, 13) if e - (losses.index(min(losses[:e])) + 1) >= patience]
        last = min([*ends, 12])
        best = losses.index(min(losses[:last])) + 1
        net = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
        checks.equal(remote(played, step_back, net, losses, patience), [best, last, best, best])


checks
### END HIDDEN TESTS

# %% [markdown]
# Your function on forty labelled pictures, all groups free from the start. Guess the epoch it goes back to.

# %%
my_epoch = None  # from 1 on

# %%
net, curves = with_new_head(), {"training loss": [], "validation loss": [], "validation accuracy": []}
groups = five_groups(net)
freeze_below(groups, 0)
sgd = torch.optim.SGD(rate_groups(groups, 0.01, 1.0), lr=0.01, momentum=0.9)


def one_epoch() -> None:
    run(net, sgd, 1, few)
    curves["training loss"].append(loss_on(few, net))
    curves["validation accuracy"].append(right(net, val))


def validate() -> float:
    curves["validation loss"].append(loss_on(val, net))
    return curves["validation loss"][-1]


# %%
back_to = step_back(net, one_epoch, validate, epochs=runtime.scaled(quick=10, standard=30, full=60), patience=6)
ax = plots.figure(width=5, height=3)[1][0]
for name, values in curves.items():
    ax.plot(range(1, len(values) + 1), values, label=name)
ax.axvline(back_to, color="0.6", linewidth=1)
ax.locator_params(axis="x", integer=True)
ax.set(xlabel="epoch", ylim=(0, None), title=f"stopped after {len(values)}, back to {back_to}")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print(f"you guessed epoch {my_epoch}")

# %% [markdown]
# The training loss goes to nearly zero: forty pictures can be learned by heart. Where the validation loss turns, your
# function waits as long as its patience lasts and then steps back by just as many epochs. (In a short run it may not
# turn at all.) Compare the loss with the accuracy. A loss can rise while the accuracy does not fall, because the
# network only gets surer of its mistakes. Validate by what you will be asked for.
#
# ## 9 · Does fine-tuning align the domains?
#
# Frozen features assume that $D_S = D_T$, says the lecture; fine-tuning, it goes on, "aligns $D_S$ with $D_T$". Can
# we see that? Lesson 08 builds measures of how far apart two samples are. Two of them will do here: the *maximum mean
# discrepancy*, a distance between two distributions, and the *proxy A-distance*, which is 0 if no linear classifier
# can tell the domains apart, and 2 if one always can.
#
# We take the same four shapes on both sides, seen clearly and with grain, so that only the domain differs, and compare
# the features (the neck) of both samples: in the pretrained body and in the one that you fine-tuned. In between stands
# the body of Section 2, whose averages have wandered while all its weights were frozen. Guess: are the samples closer
# together after fine-tuning, and how much of that do the averages do alone?

# %%
my_closer = None  # True or False, and "nothing", "some" or "most"


# %%
from tlcore import shift

source = home if photos else pictures(clear, new, len(test), seed=4)
bodies = {"before": pretrained(), "averages only": drifted["plain train()"], "after": mine}
clouds = {name: [neck(net, data).cpu() for data in (source, test)] for name, net in bodies.items()}
rows = [
    [name, f"{shift.mmd(a, b, permutations=0).statistic:.2f}", f"{shift.proxy_a_distance(a, b):.2f}"]
    for name, (a, b) in clouds.items()
]
print("you guessed", my_closer)
distances = rows
plots.table(rows, ["fine-tuning", "MMD² (0: the same)", "proxy A-distance (0 to 2)"])

# %%
fig, axes = plots.figure(3, width=3, height=2.8)
for ax, (name, (a, b)) in zip(axes, clouds.items()):
    both = torch.cat([a, b])
    flat = (both - both.mean(0)) @ torch.pca_lowrank(both, 2)[2]
    domains = torch.cat([torch.zeros(len(a)), torch.ones(len(b))])
    for k, (label, marker) in enumerate([("source", "o"), ("target", "x")]):
        ax.scatter(*flat[domains == k].T, s=9, marker=marker, linewidth=0.7, label=label)
    ax.set(title=name, xticks=[], yticks=[])
_ = axes[0].legend()

# %% [markdown]
# Both distances have shrunk. The picture shows the features' first two principal components. Before, the clear
# pictures form groups, their classes, and the grainy ones lie in a heap of their own. Afterwards they share one
# cloud. Nobody asked the network for this, and in fine-tuning it has not seen a single clear picture of these shapes.
#
# So the lecture is right. But look in the middle, before you say that the network has *learned* it. When the averages
# of batch normalisation have come from grainy pictures, most of the first distance is gone, and some of the second,
# although no weight of the body has learned anything. And aligned is not yet solved: in clear pictures nearly all of
# these shapes are named correctly (see Section 7), in grain far fewer. Nor is "aligns" a promise: a linear classifier
# can still tell the domains apart much better than by chance. Lesson 09 has methods that ask for alignment openly.
#
# ## 10 · The same trunk, another task
#
# A body is not bound to naming things. Cut before its global pooling it still has maps, and a map knows *where*. For
# *segmentation*, which says of every pixel whether it belongs to the shape, we need one answer a pixel in place of
# one a picture. A 1x1 convolution is a linear head that works at every position; then the coarse answer is enlarged.
#
# ### Exercise 7 · A head for pixels (2.5 points)
#
# Write a network that runs a `trunk`, which turns pictures (N, 3, H, W) into maps (N, C, h, w), then a 1x1 convolution
# (with a bias) that makes K maps of them and is stored as `self.head`, and enlarges these to the size of the pictures
# with `interpolate(..., size=..., mode="bilinear")`. Pictures need not be square.


# %% nbgrader={"grade": false, "grade_id": "pixels", "locked": false, "schema_version": 3, "solution": true, "task": false}
from torch.nn.functional import interpolate


class Segmenter(nn.Module):
    """A trunk and a head for pixels: (N, 3, H, W) -> (N, K, H, W)."""

    def __init__(self, trunk: nn.Module, channels: int, num_classes: int) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.trunk = trunk
        self.head = nn.Conv2d(channels, num_classes, 1)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        maps = self.head(self.trunk(x))  # (N, K, h, w)
        return interpolate(maps, size=x.shape[-2:], mode="bilinear")
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pixels-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["Segmenter"]
import torch
from torch import nn
from torch.nn.functional import interpolate

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 7 · A head for pixels",
    forbid=["tlcore.transfer.segment", "tlcore.transfer.segmenter", "tlcore.transfer.Segmenter"],
)
x, weight, bias = torch.rand(2, 3, 12, 8), torch.randn(4, 5), torch.randn(4)
trunk = nn.Sequential(nn.Conv2d(3, 5, 3, stride=4, padding=1), nn.Tanh())


def ran(make, trunk, x, weight, bias):
    net = make(trunk, weight.shape[1], weight.shape[0])
    shapes = [list(p.shape) for p in net.head.parameters()]
    if net.head.weight.numel() == weight.numel():
        net.head.weight.data.copy_(weight.reshape(net.head.weight.shape))
    net.head.bias.data.copy_(bias)
    return net(x).detach(), shapes, sum(p.numel() for p in net.parameters())


@checks("one answer a pixel", points=0.5)
def _():
    out = remote(ran, Segmenter, trunk, x, weight, bias)[0]
    wrong = {"enlarge the maps to the size of the picture": [2, 4, 3, 2], "height first, then width": [2, 4, 8, 12]}
    checks.equal(list(out.shape), [2, 4, 12, 8], mistakes=wrong)


@checks("the head is a 1x1 convolution, the trunk is part of the network", points=0.5)
def _():
    _, shapes, count = remote(ran, Segmenter, trunk, x, weight, bias)
    checks.equal(shapes, [[4, 5, 1, 1], [4]], mistakes={"one position at a time: a kernel of 1": [[4, 5, 3, 3], [4]]})
    checks.equal(count, 5 * 27 + 5 + 24, mistakes={"set self.trunk, so that its weights belong to the network": 24})


@checks("the answers of the trunk's maps, enlarged", points=1)
def _():
    coarse = torch.einsum("nchw,kc->nkhw", trunk(x), weight) + bias.view(1, -1, 1, 1)
    wrong = {
        "bilinear, not nearest": interpolate(coarse, x.shape[-2:]).detach(),
        "leave align_corners as it is": interpolate(coarse, x.shape[-2:], mode="bilinear", align_corners=True).detach(),
        "logits are what cross_entropy wants, not probabilities": interpolate(coarse, x.shape[-2:], mode="bilinear")
        .softmax(1)
        .detach(),
    }
    want = interpolate(coarse, x.shape[-2:], mode="bilinear").detach()
    checks.close(remote(ran, Segmenter, trunk, x, weight, bias)[0], want, rtol=1e-3, atol=1e-4, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "pixels-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["Segmenter"]
# Other sizes, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks(
    "Exercise 7 · Other sizes",
    hidden=True,
    forbid=["tlcore.transfer.segment", "tlcore.transfer.segmenter", "tlcore.transfer.Segmenter"],
)


def gradients(make, trunk, sizes, x):
    net = make(trunk, *sizes)
    out = net(x)
    out.square().sum().backward()
    reached = [float(p.grad.abs().sum()) > 0 for p in net.parameters()]
    return list(out.shape), reached, sum(p.numel() for p in net.head.parameters())


@checks("any picture, and gradients reach the trunk", points=0.5)
def _():
    channels, classes, height, width = (int(n) for n in checks.rng().integers(2, 20, 4))
    trunk = nn.Conv2d(3, channels, 3, stride=2, padding=1)
    shape, reached, count = remote(gradients, Segmenter, trunk, (channels, classes), torch.rand(3, 3, height, width))
    checks.equal(shape, [3, classes, height, width])
    checks.equal(reached, 4 * [True])
    checks.equal(count, (channels + 1) * classes)


checks
### END HIDDEN TESTS

# %% [markdown]
# Accuracy per pixel is a poor judge here: whoever calls every pixel background is right in most of them. The usual
# measure is the *intersection over union* of the shape: pixels that are called shape *and* are shape, divided by pixels
# that are one or the other.
#
# ### Exercise 8 · Intersection over union (1.5 points)
#
# Compute it from two masks of truth values (N, H, W), over all pictures together. For
# `[[[True, True, False, False]]]` predicted and `[[[False, True, True, False]]]` true it is 1/3.


# %% nbgrader={"grade": false, "grade_id": "iou", "locked": false, "schema_version": 3, "solution": true, "task": false}
def overlap(predicted: torch.Tensor, true: torch.Tensor) -> float:
    """Intersection over union of two masks of truth values (N, H, W)."""
    ### BEGIN SOLUTION
    return float((predicted & true).sum() / (predicted | true).sum())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "iou-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["overlap"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 8 · Intersection over union", forbid=["tlcore.transfer.intersection_over_union"])


@checks("the example of the text", points=0.5)
def _():
    wrong = {"divide by the union of both: this is accuracy, a Dice coefficient, or a share of one mask": 0.5}
    predicted, true = torch.tensor([[[True, True, False, False]]]), torch.tensor([[[False, True, True, False]]])
    checks.close(float(overlap(predicted, true)), 1 / 3, mistakes=wrong)


@checks("random masks, over all pictures together", points=1)
def _():
    rng = checks.rng()
    predicted, true = rng.random((4, 5, 6)) < [[[0.2]], [[0.9]], [[0.5]], [[0.1]]], rng.random((4, 5, 6)) < 0.4
    both, either = (predicted & true).sum((1, 2)), (predicted | true).sum((1, 2))
    wrong = {
        "count over all pictures before you divide": float((both / either).mean()),
        "this is accuracy": float((predicted == true).mean()),
        "this is the Dice coefficient": float(2 * both.sum() / (predicted.sum() + true.sum())),
        "divide by the union, not by the true pixels": float(both.sum() / true.sum()),
    }
    want = float(both.sum() / either.sum())
    checks.close(float(overlap(torch.tensor(predicted), torch.tensor(true))), want, mistakes=wrong)


checks

# %% [markdown]
# Drawn worlds know the mask of every picture, so a new task is one word. The pictures are clear ones this time: only
# the task is new. We cut the pretrained body after its second stage, where maps are half as wide as the pictures, and
# train on 40 masks: from random weights, with the trunk frozen, and with your procedure. (Photos have no masks, so
# here we draw in any case.) Guess which of the three wins, and whether a frozen trunk, made for naming shapes, knows
# where they are.

# %%
my_winner = None  # "random weights", "frozen trunk" or "the procedure"

# %%
shapes = ("crescent", "trapezoid", "L", "heart")
few_masks, many_masks = (clear.but(label="mask", shapes=shapes).sample(n, seed=n).to(device) for n in (40, size))
few_masks = worlds.Dataset(few_masks.inputs, few_masks.targets.long(), origin=few_masks.origin)


def train_masks(net: nn.Module, optimizer: torch.optim.Optimizer, epochs: int) -> None:
    run(net, optimizer, epochs, few_masks)


def segmenting(start_from: str | None, **options) -> nn.Module:
    """A body up to its second stage, fine-tuned for masks by your procedure."""
    _ = runtime.seed_everything(0)
    body = zoo.get_model("resnet20", weights=start_from)
    trunk = nn.Sequential(body.conv1, body.bn1, nn.ReLU(), body.layer1, body.layer2)  # (N, 32, H / 2, W / 2)
    net = Segmenter(trunk, 32, 2).to(device)
    groups = [[body.conv1, body.bn1], [body.layer1], [body.layer2], [net.head]]
    fine_tune(net, groups, train_masks, lr=0.2, **options)
    return net.eval()


# %%
long = runtime.scaled(quick=12, standard=25, full=50)
made_of = {
    "random weights": segmenting(None, low=0.1, head_epochs=0, epochs=long),
    "frozen trunk": segmenting("shapesx", low=0.2, head_epochs=0, epochs=long, frozen=3),
    "the procedure": segmenting("shapesx", low=0.02, head_epochs=5, epochs=long - 5),
}


@torch.no_grad()
def masks_of(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    return net(images).argmax(1) == 1


ious = {name: overlap(masks_of(net, many_masks.inputs), many_masks.targets.bool()) for name, net in made_of.items()}

# %%
lines = {"picture": many_masks.inputs[:8], "truth": many_masks.targets[:8]}
lines |= {f"{name}\n{ious[name]:.2f}": masks_of(net, many_masks.inputs[:8]) for name, net in made_of.items()}
fig, axes = plots.figure(8, len(lines), width=1.1, height=1.2)
for n, (name, images) in enumerate(lines.items()):
    for ax, image in zip(axes[8 * n :], images):
        ax.imshow((image.permute(1, 2, 0) if image.ndim == 3 else image).cpu(), vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
    axes[8 * n].set_ylabel(name, rotation=0, ha="right", va="center")
print("you guessed", my_winner)

# %% [markdown]
# The number is the intersection over union on new pictures. The procedure wins. Frozen, the trunk knows roughly where
# the shape is, which nobody ever asked it; but its maps were made for naming, and what a linear head can read there is
# limited. With enough epochs, random weights come close to that (in the "quick" budget they do not). Allowed to move,
# the trunk becomes good at its new task. Nothing in your procedure had to be changed for it.
#
# ## 11 · Other plans
#
# A third lecture names three variations: fine-tune all layers, only some higher-level portion, or all layers with
# different learning rates. Your function knows them all, by `frozen` and `factor`. The same lecture presents a fourth,
# which was made for texts: **gradual unfreezing** (Howard and Ruder 2018), one more group every epoch, from the head
# down. It has no second phase in which everything starts to move at once. With your functions it is a loop.


# %%
def gradually(net: nn.Module, lr: float, epochs: int) -> None:
    """Train with one more group every epoch, from the head down, and with all of them in what epochs are left."""
    groups = five_groups(net)
    optimizer = torch.optim.SGD(rate_groups(groups, lr, 1.0), lr=lr, momentum=0.9)
    for epoch in range(epochs):
        freeze_below(groups, max(len(groups) - 1 - epoch, 0))
        run(net, optimizer, 1)


net = with_new_head()
gradually(net, low, epochs)
left = [(name, body) for name, (body, _, _) in ways.items()][1:]
left += [("your procedure", mine), ("gradual, your functions", net)]

# %% [markdown]
# The package's `transfer.fine_tune` knows these plans by name. All of them learn from the same pictures, for as many
# epochs in all. Which is best for the target, and which for the source?

# %%
my_plan = None  # two names of plans, the target's first

# %%
plans = {transfer.top(2): 0.01, "discriminative": 0.02, "full": 0.01}
for plan, lr in list(plans.items())[: runtime.scaled(quick=1, standard=3, full=3)]:
    body = pretrained()
    done = transfer.fine_tune(body, labelled, val, plan, lr=lr, **options)
    left.append((done.history.settings["plan"], body))

# %%
rows = [[name, f"{right(body, test):.0%}", f"{right(body, home, old_head):.0%}"] for name, body in left]
print("you guessed", my_plan)
plots.table(rows, ["plan", "target", "source, old head"])

# %% [markdown]
# The plans that let the whole body move end close together. What counts is that the low layers may move (weights and
# averages), and at how low a rate; the order of steps matters less. The head and the last stage alone leave more of the
# source as it was, and gain less: grain is dealt with in low layers. (In the "quick" budget only one of the package's
# plans is run.) The package's rates fall along a cosine to zero; your `run` keeps them constant.
#
# ## What we saw
#
# The numbers below come from your run.


# %%
def shares(*values: float) -> str:
    return " / ".join(f"{value:.0%}" for value in values)


ends = {name: values[0] for name, values in protected.items()}
answers = {
    "random weights / frozen / the procedure": shares(*reached.values()),
    "your procedure: target / source": shares(right(mine, test), right(mine, home, old_head)),
    "time of a step with the head alone": f"{seconds[4] / seconds[0]:.0%}",
    "source after plain train() / your mode": shares(*kept.values()),
}

# %%
for size_of_head in ("small", "large"):
    fresh, trained = size_of_head, f"{size_of_head}, trained"
    answers[f"{fresh} head, fresh / trained: gradient"] = f"{sent[fresh]:.1f} / {sent[trained]:.1f}"
    answers[f"{fresh} head, fresh / trained: target"] = shares(ends[fresh], ends[trained])
answers |= {
    "body at rate 0 / at the best / at the largest: target": shares(sweep[0][0], max(sweep)[0], sweep[-1][0]),
    "MMD² of the domains before / averages only / after": " / ".join(row[1] for row in distances),
    "masks: random / frozen / the procedure": " / ".join(f"{iou:.2f}" for iou in ious.values()),
}
plots.table([list(pair) for pair in answers.items()], ["question", "answer"])

# %% [markdown]
# - Where the target lies in another domain, frozen features reach a limit that no head can pass. Un-freezing the body
#   passes it, in part by the averages of batch normalisation, in part by the weights. Where only the names are new,
#   frozen may be good enough.
# - Frozen parameters are not a frozen body: batch normalisation moves with every batch, unless it is in evaluation
#   mode.
# - What reaches the body is the size of the head times its errors. Train the head first where it starts large, and in
#   any case lower the rate before you free the body.
# - Rates are something between frozen and free. The source only loses by them; what the target gains, validation has
#   to tell.
# - Step back to the best epoch, with a true copy of its weights, and validate by what you will be asked for.
#
# ### What if?
#
# - What if you take Adam in the experiment of Section 5? The size of its steps does not depend on the size of the
#   gradient. Does a small head still protect the body?
# - You need both tasks in the end, the old one and the new one, in one network. What would you add to the loss, or to
#   the batches? (Lesson 09 has one answer, Lesson 12 another.)
# - What if the averages of batch normalisation may follow the target *before* the head is trained? How much of
#   fine-tuning's gain is left to be made?
