# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 04 · What if you have only a few pictures?
#
# CIFAR-10 has 60,000 photos of 32 by 32 pixels, in ten classes. Now suppose that your classes are others, say transport
# and military aircraft, and that somebody has labelled 5,000 photos and will not label more. What do you do? Below, the
# same network learns four classes from a few pictures, twice, for the same number of epochs. Once it starts from random
# weights, and once from weights that somebody else had trained, on *other* classes. By the end of this lesson you will
# have tried what else can be done, written the recipe, and looked at where the two networks went.
#
# The lesson has seven exercises and 20 points. Running all its cells takes about a minute on one core.

# %%
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the batches are too small to be shared out; read when torch is imported

import torch

from tlcore import plots, runtime, worlds

plots.use_style()
photos = runtime.budget() == "full" and "TLCORE_DATA" in os.environ  # or True for photos, False for drawings
new = ("automobile", "cat", "horse", "ship") if photos else ("crescent", "trapezoid", "L", "heart")

# %% [markdown]
# Real photos need the files of CIFAR-10 in the folder `$TLCORE_DATA`, and time: set `TLCORE_BUDGET=full` as well, or
# set `photos = True` above. Otherwise we draw: pictures of shapes, made by the course's package. To be done in a minute
# we scale everything down: a hundred labelled pictures or fewer stand for the 5,000. Each dataset says where it comes
# from. `probe` is a small part of the test pictures, for what we measure again and again.

# %%
from functools import cache

read = cache(worlds.load)


def pictures(names: tuple[str, ...], count: int, part: str = "train") -> worlds.Dataset:
    """Labelled pictures (N, 3, 32, 32) of some classes, with values from 0 to 1."""
    if not photos:
        return worlds.Shapes(shapes=names).sample(count, seed=1 if part == "train" else 2)
    data = read("cifar10", split=part).subset(classes=names, size=count)
    return worlds.Dataset(data.inputs.float() / 255, data.targets, data.classes, data.origin)


# %%
pool = pictures(new, runtime.scaled(quick=400, standard=1600, full=12_000))
test = pictures(new, runtime.scaled(quick=150, standard=400, full=2000), "test")
probe = test[: runtime.scaled(quick=50, standard=100, full=200)]
few = pool.subset(per_class=runtime.scaled(quick=6, standard=25, full=1250 if photos else 100))
few

# %% [markdown]
# Every network of this lesson learns in the same way. We keep a copy of it after each epoch, since we want to follow
# its path.

# %%
from copy import deepcopy

from torch import nn

from tlcore import training

epochs, batch = runtime.scaled(quick=4, standard=12, full=30), max(10, min(128, len(few) // 5))


def learn(net: nn.Module, data, lr: float, rounds: int = epochs, decay: float = 0.01, **options) -> list[nn.Module]:
    """Train a network in place; copies of it, from before the first epoch to after the last."""
    path, options = [deepcopy(net)], {"batch_size": batch, "arithmetic": arithmetic, "progress": False} | options
    options["optimizer"] = lambda parameters: torch.optim.AdamW(parameters, lr, weight_decay=decay)
    training.fit(net, data, epochs=rounds, each_epoch=lambda epoch: path.append(deepcopy(net)), **options)
    return [copy.to(memory_format=torch.contiguous_format) for copy in path]


def right(net: nn.Module, data: worlds.Dataset = test) -> float:
    return training.evaluate(net, data)[1]


# %%
from tlcore import transfer, zoo

weights = "cifar10x" if photos else "shapesx"


def fresh(seed: int = 0) -> nn.Module:
    _ = runtime.seed_everything(seed)
    return zoo.get_model("resnet20", num_classes=4)


# full or half precision, whichever is faster here; learn() uses it
arithmetic = training.fastest(fresh().to(runtime.device()), few.inputs[:batch].to(runtime.device()))
scratch = learn(fresh(), few, lr=0.003)
opening = learn(transfer.replace_head(zoo.get_model("resnet20", weights=weights), 4), few, lr=0.001)

# %%
from matplotlib.axes import Axes


def picture(ax: Axes, image: torch.Tensor, **texts: str) -> None:
    """One picture (C, H, W) without a frame."""
    ax.imshow(image.permute(1, 2, 0))
    ax.set(xticks=[], yticks=[], **texts)
    ax.spines[:].set_visible(False)


fig, axes = plots.figure(8, 1, width=1.1, height=1.4)
for n, ax in enumerate(axes):
    row = int((few.targets == n // 2).nonzero()[n % 2])
    picture(ax, few.inputs[row], xlabel=new[n // 2])

# %%
ax, seen = plots.figure(width=5, height=2.8)[1][0], sorted({*range(0, epochs, 3), epochs})
ax.plot(seen, [right(opening[n], probe) for n in seen], "x-", label="pre-trained on other classes")
ax.plot(seen, [right(scratch[n], probe) for n in seen], "o--", label="from scratch")
ax.axhline(0.25, color="0.6", linewidth=1)
ax.set(xlabel="epochs", ylabel="accuracy", ylim=(0, 1), title=f"{len(few)} labelled pictures; grey: chance")
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# The pictures are some of the labelled ones. The network is ResNet-20, one of the family of Lesson 03. From the weights
# that somebody had trained it is soon far ahead, though it had never been shown one of these four classes. Is that the
# end of the question? Not quite. There are older remedies for too few pictures, and we should try them before we praise
# a new one. The comparison may be unfair. And a picture of where networks go, which the lecture draws, says less than
# it seems to say.
#
# ## 1 · What a network is told
#
# Training makes a number small, so let us write that number down first. A network gives each picture one *logit* per
# class, $z_1, \dots, z_K$. Softmax makes them probabilities, and the **cross-entropy** is minus the logarithm of the
# probability that the right class $y$ got:
#
# $$-\log \frac{e^{z_y}}{\sum_k e^{z_k}} \;=\; \log \sum_k e^{z_k} - z_y .$$
#
# ### Exercise 1 · Cross-entropy by hand (3 points)
#
# Return its mean over the pictures. Write it with tensor operations, since training needs its gradient. Two logits that
# are equal give log 2 = 0.693, whatever the label. A logit of 1000 is allowed, although $e^{1000}$ is too large for a
# computer: take the largest logit $m$ of a picture out of the sum, $\log \sum_k e^{z_k} = m + \log \sum_k e^{z_k - m}$.
# Torch's `cross_entropy` and `nll_loss` are off limits.


# %% nbgrader={"grade": false, "grade_id": "entropy", "locked": false, "schema_version": 3, "solution": true, "task": false}
def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean over N pictures of -log softmax(logits)[label]: logits (N, K), labels (N,) -> one number."""
    ### BEGIN SOLUTION
    largest = logits.max(1, keepdim=True).values  # (N, 1)
    log_sum = largest[:, 0] + (logits - largest).exp().sum(1).log()  # (N,)
    return (log_sum - logits[torch.arange(len(labels)), labels]).mean()
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "entropy-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["cross_entropy"]
import math

import torch

from tlcore.grading import Checks

ready_made = [f"torch.nn.functional.{name}" for name in ("cross_entropy", "nll_loss")]
ready_made += ["torch.nn.CrossEntropyLoss", "torch.nn.NLLLoss"]
checks = Checks("Exercise 1 · Cross-entropy by hand", forbid=ready_made, seconds=20)


@checks("whoever knows nothing pays log K", points=0.5)
def _():
    wrong = {
        "this is the sum over the pictures, not their mean": 3 * math.log(4),
        "the logarithm is the natural one": 2.0,
        "one class counts per picture: do not average over the classes as well": math.log(4) / 4,
        "the sign is turned": -math.log(4),
        "this is a probability; its logarithm is missing": 0.25,
    }
    checks.close(cross_entropy(torch.zeros(3, 4), torch.tensor([0, 3, 1])), math.log(4), mistakes=wrong)


@checks("the label says which class counts", points=0.5)
def _():
    logits, labels = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.5, 0.0]]), torch.tensor([0, 2])
    logs = logits.log_softmax(1)
    picked = logs[[0, 1], labels]
    wrong = {
        "this is the sum over the pictures, not their mean": -picked.sum(),
        "average the logarithms, not the probabilities": -picked.exp().mean().log(),
        "softmax was applied twice": -logs.exp().log_softmax(1)[[0, 1], labels].mean(),
        "the softmax of a picture goes over its classes, dimension 1": -logits.log_softmax(0)[[0, 1], labels].mean(),
        "every class was taken for the right one": -logs.mean(),
        "the sign is turned": picked.mean(),
    }
    checks.close(cross_entropy(logits.clone(), labels), -picked.mean(), atol=1e-5, mistakes=wrong)


@checks("huge logits", points=1, hint="Take the largest logit of each picture out of the sum.")
def _():
    logits = torch.tensor([[1000.0, 0.0], [-1000.0, -1001.0]])
    checks.close(cross_entropy(logits.clone(), torch.tensor([0, 0])), math.log(1 + math.exp(-1)) / 2, atol=1e-4)
    checks.close(cross_entropy(logits.clone(), torch.tensor([1, 0])), 500 + math.log(1 + math.exp(-1)) / 2, atol=1e-2)


checks

# %% nbgrader={"grade": true, "grade_id": "entropy-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["cross_entropy"]
# Random logits and their gradient, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote

ready_made = [f"torch.nn.functional.{name}" for name in ("cross_entropy", "nll_loss")]
ready_made += ["torch.nn.CrossEntropyLoss", "torch.nn.NLLLoss"]
checks = Checks("Exercise 1 · Random logits", hidden=True, forbid=ready_made, seconds=20)


def gradient(cross_entropy, logits, labels):
    logits = logits.requires_grad_(True)
    cross_entropy(logits, labels).backward()
    return logits.grad


@checks("random logits", points=0.5)
def _():
    rng = checks.rng()
    logits, labels = torch.tensor(4 * rng.normal(size=(9, 5))), torch.tensor(rng.integers(0, 5, 9))
    expected = torch.nn.functional.cross_entropy(logits, labels)
    checks.close(cross_entropy(logits.clone(), labels), expected, rtol=1e-4)


@checks("its gradient: softmax minus one at the label, over N", points=0.5, hint="Use tensor operations throughout.")
def _():
    rng = checks.rng()
    logits, labels = torch.tensor(rng.normal(size=(6, 4))), torch.tensor(rng.integers(0, 4, 6))
    found = remote(gradient, cross_entropy, logits.clone(), labels)
    checks.close(found, (logits.softmax(1) - torch.eye(4)[labels]) / 6, rtol=1e-4, atol=1e-6)


checks
### END HIDDEN TESTS

# %% [markdown]
# From here on every network of this lesson trains with your function. First we repeat the opening's training from
# scratch, three times as long, and let your function follow it on the labelled pictures and on those of the test.
# Guess: when training ends, will it be right about more than half of the test pictures?

# %%
my_half = None  # "yes" or "no"


# %%
def loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits.float(), labels)


longer = learn(fresh(), few, lr=0.003, rounds=3 * epochs, loss=loss)

# %%
import math

seen, ax = list(range(0, 3 * epochs + 1, 3)), plots.figure(width=5, height=2.8)[1][0]
on_few, on_probe = ([training.evaluate(longer[n], d, loss=loss)[0] for n in seen] for d in (few, probe))
ax.plot(seen, on_probe, "o--", label="test pictures")
ax.plot(seen, on_few, "s-", label="labelled pictures")
ax.axhline(math.log(4), color="0.6", linewidth=1)
ax.set(xlabel="epochs", ylabel="your cross-entropy", yscale="log", title="grey: log 4, the price of knowing nothing")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print(
    f"right: {right(longer[-1], few):.0%} of the labelled, {right(longer[-1]):.0%} of the test; you guessed {my_half}"
)

# %% [markdown]
# The network starts not far from the grey line, since it knows nothing. Where the squares go on falling and the circles
# stay or rise, it learns what is true of the labelled pictures only: it *overfits*. A loss above the grey line is worse
# than to say "I do not know". With 270 thousand weights and a few pictures there are many ways to be right about the
# few for the wrong reasons.
#
# ## 2 · The regular remedies
#
# What does one do against overfitting? The lecture's list: regularise *really* hard; take a super small network; change
# the pictures a little each time they are shown (*data augmentation*); "whatever". We try them one by one.
#
# ### Exercise 2 · Shifted copies (2 points)
#
# A heart that is moved by two pixels is still a heart. Move each picture of a batch by its own whole number of pixels,
# down and to the right (negative numbers: up, to the left). What leaves the frame is lost, and what comes in is black,
# which is 0. No shift is as large as the picture. Change nothing in place. Here is what to compute, in plain loops. A
# loop over the pictures is fine, but one over all pixels takes far too long.


# %%
def slow_shift(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    out = torch.zeros_like(images)
    count, _, height, width = images.shape
    for n in range(count):
        for y in range(height):
            for x in range(width):
                if 0 <= y - down[n] < height and 0 <= x - right[n] < width:
                    out[n, :, y, x] = images[n, :, y - down[n], x - right[n]]
    return out


slow_shift(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([1]), torch.tensor([0]))


# %% nbgrader={"grade": false, "grade_id": "shift", "locked": false, "schema_version": 3, "solution": true, "task": false}
def shifted(images: torch.Tensor, down: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Each picture of (N, C, H, W) moved by its own number of pixels; down and right (N,) whole numbers."""
    ### BEGIN SOLUTION
    height, width = images.shape[2:]
    out = torch.zeros_like(images)
    for n, (dy, dx) in enumerate(zip(down.tolist(), right.tolist())):
        rows, columns = slice(max(0, dy), height + min(0, dy)), slice(max(0, dx), width + min(0, dx))
        out[n, :, rows, columns] = images[n, :, max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
    return out
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "shift-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["shifted"]
import torch
import torch.nn.functional as F

from tlcore.grading import Checks

off_limits = ["slow_shift", "tlcore.worlds", "torchvision"]
checks = Checks("Exercise 2 · Shifted copies", forbid=off_limits, seconds=20)


def moved(images, down, right):
    height, width, most = *images.shape[2:], max(images.shape[2:])
    wide = F.pad(images, (most,) * 4)
    parts = [
        wide[n : n + 1, :, most - dy : most - dy + height, most - dx : most - dx + width]
        for n, (dy, dx) in enumerate(zip(down, right))
    ]
    return torch.cat(parts)


@checks("one step down, and black comes in at the top", points=0.5)
def _():
    image = torch.arange(1.0, 13.0).view(1, 1, 3, 4)
    wrong = {
        "what leaves the frame does not come back on the other side": image.roll(1, 2),
        "it went up": moved(image, [-1], [0]),
        "it went to the right: down is along the rows, dimension 2": moved(image, [0], [1]),
        "what comes in is black; the border was repeated": image[:, :, [0, 0, 1]],
    }
    checks.close(shifted(image.clone(), torch.tensor([1]), torch.tensor([0])), moved(image, [1], [0]), mistakes=wrong)


@checks("each picture by its own shift, in both directions", points=1, hint="Row n moves by down[n] and right[n].")
def _():
    images, down, right = torch.rand(4, 2, 5, 6) + 1, [2, -1, 0, -4], [-1, 3, 0, -5]
    rolled = [images[n : n + 1].roll((down[n], right[n]), (2, 3)) for n in range(4)]
    wrong = {
        "what leaves the frame does not come back on the other side": torch.cat(rolled),
        "all pictures went along with the first": moved(images, [2] * 4, [-1] * 4),
        "everything went the other way": moved(images, [-n for n in down], [-n for n in right]),
        "rows and columns are swapped": moved(images, right, down),
    }
    found = shifted(images.clone(), torch.tensor(down), torch.tensor(right))
    checks.close(found, moved(images, down, right), mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "shift-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["shifted"]
# Random shifts, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks, remote

off_limits = ["slow_shift", "tlcore.worlds", "torchvision"]
checks = Checks("Exercise 2 · Random shifts", hidden=True, forbid=off_limits, seconds=20)


def look(shifted, images, down, right):
    before = images.clone()
    found = shifted(images, down, right)
    return found, float((images - before).abs().max())


@checks("random shifts, and the pictures that came in stay as they were", points=0.5)
def _():
    rng = checks.rng()
    images, down, right = rng.random((6, 3, 5, 4)) + 1, rng.integers(-4, 5, 6), rng.integers(-3, 4, 6)
    expected = np.zeros_like(images)
    for n, y, x in np.ndindex(6, 5, 4):
        row, column = y + down[n], x + right[n]
        if 0 <= row < 5 and 0 <= column < 4:
            expected[n, :, row, column] = images[n, :, y, x]
    found, changed = remote(look, shifted, torch.tensor(images), torch.tensor(down), torch.tensor(right))
    checks.close(found, expected)
    checks.equal(changed, 0.0)


checks
### END HIDDEN TESTS


# %% [markdown]
# Your shifts, drawn anew for every batch. Then the super small network: three convolutions in place of nineteen.


# %%
class Moving:
    """Batches of a dataset; each time a picture is shown it is moved by up to four pixels."""

    def __init__(self, data: worlds.Dataset) -> None:
        self.batches = worlds.Loader(data, batch)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        for images, labels in self.batches:
            down, right = torch.randint(-4, 5, (2, len(images)))
            yield torch.as_tensor(shifted(images, down, right)), labels


# %%
class SmallNet(nn.Module):
    """Three convolutions, each of which halves the picture: (N, 3, 32, 32) -> (N, num_classes)."""

    def __init__(self, num_classes: int, width: int = 16) -> None:
        super().__init__()
        layers, channels = [], 3
        for maps in (width, 2 * width, 4 * width):
            conv = nn.Conv2d(channels, maps, 3, padding=1, bias=False)
            layers, channels = [*layers, conv, nn.BatchNorm2d(maps), nn.ReLU(), nn.MaxPool2d(2)], maps
        self.body, self.fc = nn.Sequential(*layers, nn.Flatten()), nn.Linear(16 * channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(x))


_ = runtime.seed_everything(0)
small, large = SmallNet(4), fresh()
[sum(p.numel() for p in net.parameters()) for net in (large, small)]

# %% [markdown]
# To regularise we use *weight decay*: each step also makes all weights a little smaller, so that only what the pictures
# keep asking for stays large. "Whatever" is three times as many epochs, and the last line takes everything together;
# all others train for as many epochs as the opening did. Which will help most? Guess before you run the cell.

# %%
my_remedy = None  # one of the names in the next cell

# %%
moving, hard = Moving(few), {"lr": 0.003, "decay": 5.0, "loss": loss}
remedies = {
    "none": scratch[-1],
    "strong weight decay": learn(fresh(), few, **hard)[-1],
    "small network": learn(deepcopy(small), few, lr=0.003, loss=loss)[-1],
    "shifted copies": learn(fresh(), moving, lr=0.003, loss=loss)[-1],
    "three times as long": longer[-1],
    "small, decay and shifts, three times as long": learn(deepcopy(small), moving, rounds=3 * epochs, **hard)[-1],
}
scores = {name: right(net) for name, net in remedies.items()}
error = (0.5 / len(test)) ** 0.5  # the standard error of the difference of two shares near one half

# %%
rows = [[name, f"{right(net, few):.0%}", f"{scores[name]:.0%}"] for name, net in remedies.items()]
rows.append(["pre-trained on other classes", f"{right(opening[-1], few):.0%}", f"{right(opening[-1]):.0%}"])
print(f"chance is 25%; differences below {2 * error:.0%} mean little; you guessed {my_remedy}")
plots.table(rows, ["remedy", "labelled pictures", "test"])

# %% [markdown]
# The last line is the opening's network, for comparison; none of the remedies reaches it. Which of them helps most
# depends on the task, and small differences mean nothing, all the less as each remedy ran with one seed and one
# strength. What a remedy does is to exclude solutions: smooth ones only, few weights only, only those that do not care
# where the shape is. That can help, but it brings no new knowledge about the world. More labelled pictures would. We
# have none, for *these* classes.
#
# ## 3 · Pre-training, in four steps
#
# But for other classes there are plenty. The lecture calls the large set "CIFAR X" and ours "CIFAR Y", and its recipe
# is:
#
# 1. Train a large network on the large set X.
# 2. Take some intermediate layer.
# 3. Build a model on top of it.
# 4. Train that model for your objective, on Y.
#
# > **CIFAR, ten and a hundred.** The slide counts ten classes and lists "aquatic mammals: beaver, dolphin, …" next to
# > them. That list belongs to CIFAR-100, the sister of CIFAR-10: as many photos, in 100 classes that form 20
# > superclasses. A set like this, or some classes of it, makes a good X.
#
# Step 1 takes long, so it was done before. This is what the card of the weights says:

# %%
from tlcore.weights import card

about = card(f"resnet20-{weights}")
recipe, steps_before = about["recipe"], about["images"] * about["recipe"]["epochs"]
plots.table(
    [
        ["X", ", ".join(about["classes"])],
        ["pictures of X", about["images"]],
        ["epochs", recipe["epochs"]],
        ["right about X, on a test", "; ".join(f"{share:.1%} ({name})" for name, share in about["accuracy"].items())],
        ["our classes among them", sum(name in about["classes"] for name in new)],
        ["command", about["command"]],
    ],
    ["", ""],
)

# %% [markdown]
# Steps 2 and 3 need a place to cut. The layer most people take is the *neck*, the last one before the classes. Here is
# all that our network does, line by line:
#
# ```python
# x = self.relu(self.bn1(self.conv1(x)))               # (N, 16, 32, 32)
# x = self.layer3(self.layer2(self.layer1(x)))         # (N, 64, 8, 8)
# return self.fc(self.avgpool(x).flatten(1))           # (N, 64) -> (N, num_classes)
# ```
#
# ### Exercise 3 · Cut at the neck (3 points)
#
# Return what goes into `net.fc`. The features of a picture must not depend on the other pictures of its batch, so the
# network has to be in evaluation mode. Leave the network in the mode in which you found it, with nothing about it
# changed, and return numbers without a gradient. The network may be any one with these names for its layers.
# `tlcore.transfer` and `tlcore.anatomy` are off limits.


# %% nbgrader={"grade": false, "grade_id": "neck", "locked": false, "schema_version": 3, "solution": true, "task": false}
def neck(net: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """What a CIFAR ResNet feeds into net.fc: images (N, C, H, W) -> features (N, 64)."""
    ### BEGIN SOLUTION
    was_training = net.training
    net.eval()
    with torch.no_grad():
        x = net.relu(net.bn1(net.conv1(images)))
        x = net.layer3(net.layer2(net.layer1(x)))
        features = net.avgpool(x).flatten(1)
    net.train(was_training)
    return features
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "neck-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["neck"]
from copy import deepcopy

import torch

from tlcore import zoo
from tlcore.grading import Checks, remote

off_limits = ["tlcore.transfer", "tlcore.anatomy", "torchvision"]
checks = Checks("Exercise 3 · Cut at the neck", forbid=off_limits, seconds=30)
net = zoo.get_model("resnet20")
for module in net.modules():
    if hasattr(module, "running_mean"):
        torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
images = torch.rand(6, 3, 16, 16)


def maps(net, images):
    with torch.no_grad():
        return net.layer3(net.layer2(net.layer1(net.relu(net.bn1(net.conv1(images))))))


def around(neck, net, images):
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    features, modes = neck(net.train(), images), [bool(net.training)]
    neck(net.eval(), images)
    after = net.state_dict()
    same = all(bool((after[name] == tensor).all()) for name, tensor in before.items())
    return bool(features.requires_grad), [*modes, bool(net.training)], same and len(after) == len(before)


@checks("the 64 numbers that go into fc", points=1)
def _():
    found = maps(net.eval(), images)
    wrong = {
        "these are the classes' logits; the neck comes before fc": net(images).detach(),
        "the maps still have places: average over them": found.flatten(1),
        "the mean over the places is wanted, not the largest value": found.amax((2, 3)),
        "the network was not in evaluation mode": maps(deepcopy(net).train(), images).mean((2, 3)),
    }
    checks.close(neck(deepcopy(net).eval(), images), found.mean((2, 3)), atol=1e-5, mistakes=wrong)


@checks("in evaluation mode, whatever mode the network is in", points=0.5, hint="net.eval(), and then back.")
def _():
    wrong = {"a picture's features depend on its batch": maps(deepcopy(net).train(), images).mean((2, 3))}
    checks.close(neck(deepcopy(net).train(), images), maps(net.eval(), images).mean((2, 3)), atol=1e-5, mistakes=wrong)


@checks("the network stays as it was", points=0.5, hint="Its mode, its weights and what batch norm has counted.")
def _():
    gradient, modes, same = remote(around, neck, deepcopy(net), images)
    checks.equal(gradient, False)
    checks.equal(modes, [True, False], mistakes={"put it back into training mode, if it was in it": [False, False]})
    checks.equal(same, True)


checks

# %% nbgrader={"grade": true, "grade_id": "neck-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["neck"]
# Another network, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote
from tlcore.zoo.cifar import CifarResNet

off_limits = ["tlcore.transfer", "tlcore.anatomy", "torchvision"]
checks = Checks("Exercise 3 · Another network", hidden=True, forbid=off_limits, seconds=30)


def twice(neck, net, images):
    together = neck(net, images)
    alone = neck(net, images[:1])
    return together, alone, bool(net.fc.weight.requires_grad), net(images).detach()


@checks(
    "another depth, one channel, another size, one picture alone",
    points=1,
    hint="One picture gives one row. And is anything left of a first call?",
)
def _():
    net, images = CifarResNet(14, in_channels=1, num_classes=3).eval(), torch.rand(5, 1, 20, 12)
    with torch.no_grad():
        found = net.layer3(net.layer2(net.layer1(net.relu(net.bn1(net.conv1(images)))))).mean((2, 3))
        logits = net(images)
    together, alone, trainable, after = remote(twice, neck, net, images)
    checks.close(together, found, atol=1e-5)
    checks.close(alone, found[:1], atol=1e-5)
    checks.equal(trainable, True)
    checks.close(after, logits, atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# What does the neck know about classes that the network has never seen? We take the features of test pictures from two
# networks, the pre-trained one and an untrained one, and draw their two main directions. The true classes give the
# colours; no network was told them.

# %%
from sklearn.decomposition import PCA

pretrained = zoo.get_model("resnet20", weights=weights)
bodies = {"untrained": fresh(), "pre-trained": pretrained}
fig, axes = plots.figure(2, width=3.4, height=3)
for ax, (name, net) in zip(axes, bodies.items()):
    flat = PCA(2).fit_transform(neck(net, probe.inputs))
    for n, marker in enumerate("os^D"):
        ax.plot(*flat[probe.targets == n].T, marker, label=new[n], markersize=4)
    ax.set(title=name, xticks=[], yticks=[])
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# With the random weights the classes lie on top of each other. With the pre-trained ones they begin to part, although
# nobody has named them. A network that had to tell many things apart must measure what makes things differ, and much of
# that serves other things as well. So a simple model on top may do: logistic regression on 64 numbers, which is the
# cross-entropy above with one linear layer and nothing below it to train.

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def on_features(net: nn.Module, data: worlds.Dataset) -> float:
    """Accuracy on the test of a logistic regression that learned from the neck's features of data."""
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    x, x_test = (torch.cat([torch.as_tensor(neck(net, part)) for part in d.inputs.split(500)]) for d in (data, test))
    return model.fit(x, data.targets).score(x_test, test.targets)


frozen = {name: on_features(net, few) for name, net in bodies.items()}
plots.table([[name, f"{share:.0%}"] for name, share in frozen.items()], ["features", "logistic regression"])

# %% [markdown]
# Now the whole recipe as code: the new model keeps what lies below the cut, and all of it is trained.
#
# ### Exercise 4 · The four steps (4 points)
#
# `on_top` does steps 2 and 3: it returns a *copy* of a network with a new last layer `fc` for so many classes, drawn at
# random, whatever the old one was. The network that it was given stays as it is. `four_steps` does them all, given a
# function `train(net, data)` that trains a network in place. It returns the network for the target. The number of a
# dataset's classes is `len(data.classes)`; `net.fc.in_features` is the size of the neck. `tlcore.transfer`, which the
# opening used, is off limits: write it yourself.


# %% nbgrader={"grade": false, "grade_id": "steps", "locked": false, "schema_version": 3, "solution": true, "task": false}
def on_top(net: nn.Module, num_classes: int) -> nn.Module:
    """A copy of net, whose last layer net.fc is a new nn.Linear with num_classes outputs."""
    ### BEGIN SOLUTION
    model = deepcopy(net)
    model.fc = nn.Linear(net.fc.in_features, num_classes)
    return model
    ### END SOLUTION


def four_steps(net: nn.Module, train, source: worlds.Dataset, target: worlds.Dataset) -> nn.Module:
    """Pre-train net (made for the source's classes) and return the network trained for the target."""
    ### BEGIN SOLUTION
    train(net, source)
    model = on_top(net, len(target.classes))
    train(model, target)
    return model
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "steps-check", "locked": true, "points": 2.5, "schema_version": 3, "solution": false, "task": false} student_names=["on_top", "four_steps"]
from tlcore.grading import Checks, remote

off_limits = ["tlcore.transfer"]
checks = Checks("Exercise 4 · The four steps", forbid=off_limits, seconds=30)


def built(on_top, old, new):
    import torch

    from tlcore.zoo.cifar import CifarResNet

    net = CifarResNet(8, num_classes=old)
    head = net.fc.weight.detach().clone()
    model = on_top(net, new)
    body = [bool(torch.equal(t, net.state_dict()[n])) for n, t in model.state_dict().items() if n[:3] != "fc."]
    fresh_head = [list(model.fc.weight.shape), bool(torch.equal(model.fc.weight[:1], head[:1]))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
    kept = bool(torch.equal(net.fc.weight, head)) and float(net.conv1.weight.std()) > 0
    return all(body), fresh_head, kept


def trained(four_steps, source_classes, target_classes):
    import torch

    from tlcore import worlds
    from tlcore.zoo.cifar import CifarResNet

    def data(count):
        return worlds.Dataset(torch.zeros(count, 3, 8, 8), torch.arange(count), tuple(map(str, range(count))))

    def train(net, data):
        log.append([len(data.classes), net.fc.out_features])
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(1)

    net, log = CifarResNet(8, num_classes=source_classes), []
    start = net.conv1.weight.detach().clone()
    model = four_steps(net, train, data(source_classes), data(target_classes))
    return log, round(float((model.conv1.weight - start).mean()), 4), model.fc.out_features


@checks("the body is kept and the head is new", points=0.5)
def _():
    body, head, _ = remote(built, on_top, 12, 4)
    checks.equal(body, True, mistakes={"the body has other weights: it was made anew, not copied": False})
    wrong = {
        "the old head is still there": [[12, 64], True],
        "some rows of the old head are still there": [[4, 64], True],
    }
    checks.equal(head, [[4, 64], False], mistakes=wrong)


@checks("the old network stays as it is", points=0.5, hint="Copy first; two networks must not share their weights.")
def _():
    checks.equal(remote(built, on_top, 12, 4)[2], True)


@checks("first the source with its classes, then the target with its own", points=1)
def _():
    log, _, outputs = remote(trained, four_steps, 12, 4)
    wrong = {
        "nothing was pre-trained": [[4, 4]],
        "the model on top was not trained": [[12, 12]],
        "the head of the source was still on when the target came": [[12, 12], [4, 12]],
        "the source comes first": [[4, 4], [12, 12]],
        "pre-training needs the head of the source": [[12, 4], [4, 4]],
    }
    checks.equal(log, [[12, 12], [4, 4]], mistakes=wrong)
    checks.equal(outputs, 4, mistakes={"this is the network of the source": 12})


@checks("what was learned from the source is kept", points=0.5, hint="The network for the target starts where?")
def _():
    _, moved, _ = remote(trained, four_steps, 5, 3)
    wrong = {"build on the network after it was trained on the source": 1.0}
    checks.close(moved, 2.0, atol=1e-3, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "steps-hidden", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["on_top", "four_steps"]
# Other networks and numbers of classes, when your work is graded.
### BEGIN HIDDEN TESTS
from tlcore.grading import Checks, remote

off_limits = ["tlcore.transfer"]
checks = Checks("Exercise 4 · Other networks", hidden=True, forbid=off_limits, seconds=30)


def heads(on_top):
    import torch

    from tlcore.zoo.cifar import WideResNet

    net = WideResNet(10, 2, num_classes=6)
    one, two = on_top(net, 6), on_top(net, 9)
    out = [list(model(torch.zeros(2, 3, 8, 8)).shape) for model in (one, two)]
    fresh = not torch.equal(one.fc.weight, net.fc.weight)
    free = [all(p.requires_grad for p in model.parameters()) for model in (one, two)]
    return out, fresh, free


def learned(four_steps, source_classes, target_classes):
    import torch

    from tlcore import worlds
    from tlcore.zoo.cifar import CifarResNet

    def data(count):
        return worlds.Dataset(torch.zeros(count, 3, 8, 8), torch.arange(count), tuple(map(str, range(count))))

    def train(net, data):
        log.append([len(data.classes), net.fc.out_features])
        with torch.no_grad():
            net.conv1.weight.add_(len(data.classes))
            net.fc.weight.add_(len(data.classes))

    net, log = CifarResNet(8, num_classes=source_classes), []
    start = net.conv1.weight.detach().clone()
    model = four_steps(net, train, data(source_classes), data(target_classes))
    body, head = float((model.conv1.weight - start).mean()), float(model.fc.weight.mean())
    return log, [round(body), round(head)]


@checks("a wider neck, and a new head even for as many classes as before", points=0.5)
def _():
    out, fresh, free = remote(heads, on_top)
    checks.equal(out, [[2, 6], [2, 9]])
    checks.equal(fresh, True, mistakes={"the old head is still there": False})
    checks.equal(free, [True, True], mistakes={"step 4 trains all of the model": [False, False]})


@checks("a target with as many classes as the source, and one with more", points=1)
def _():
    for source, target in ((7, 7), (3, 8)):
        log, (body, head) = remote(learned, four_steps, source, target)
        checks.equal(log, [[source, source], [target, target]])
        checks.equal(body, source + target)
        checks.equal(head, target, mistakes={"the head of the source is still there": source + target})


checks
### END HIDDEN TESTS

# %% [markdown]
# All four steps in small, so that we can watch step 1, too: your function with the small network, and some pictures of
# the classes of X. They are more than ours, but far fewer than those on the card. Guess: will it beat the small network
# that saw only our pictures?

# %%
my_small = None  # "yes" or "no"

# %%
other = pictures(tuple(about["classes"]), runtime.scaled(quick=1600, standard=2400, full=20_000))


def train(net: nn.Module, data: worlds.Dataset) -> None:
    if data is other:
        learn(net, data, lr=0.003, rounds=6, batch_size=32, loss=loss)
    else:
        learn(net, data, lr=0.003, rounds=3 * epochs, loss=loss)


# %%
_ = runtime.seed_everything(0)
alone, steps_small = SmallNet(4), four_steps(SmallNet(len(other.classes)), train, other, few)
train(alone, few)
in_small = {"from scratch": right(alone), "in four steps": right(steps_small)}
print(other, f"you guessed: {my_small}", sep="\n")
plots.table([[name, f"{share:.0%}"] for name, share in in_small.items()], ["small network", "test"])

# %% [markdown]
# On drawings even this little pre-training shows; photos need more of it. Now steps 2 to 4 with the large network and
# all that it has seen. We train the whole model at a low rate. (How to do this with care, layer by layer, is the
# subject of Lesson 06.)


# %%
def tuned(net: nn.Module, seed: int = 0) -> list[nn.Module]:
    """Steps 3 and 4 on a pre-trained network; the path of the model."""
    _ = runtime.seed_everything(seed)
    return learn(on_top(net, 4), few, lr=0.001, loss=loss, seed=seed)


crosses = {"pre-trained 0": tuned(pretrained), "pre-trained 1": tuned(pretrained, 1)}
reached = [right(path[-1]) for path in crosses.values()]
[f"{share:.0%}" for share in reached]

# %% [markdown]
# ## 4 · Was that fair?
#
# Three objections. First, we counted epochs on *our* pictures only, but step 1 was work as well. Somebody had to do it,
# once, for everybody:

# %%
ours = len(few) * epochs
plots.table(
    [["our own training", ours], ["pre-training", steps_before], ["ratio", f"{steps_before / ours:,.0f}"]],
    ["training", "pictures shown"],
)

# %% [markdown]
# Second, a network from random weights needs longer. What that brings is in the table of remedies, in the lines with
# three times the epochs: a gap remains. Once a network knows its labelled pictures by heart, further epochs teach it
# little. (The learning rates differ, too: 0.003 from scratch, 0.001 after pre-training, which should not be shaken.)
# Third, with *more labels* the advantage should shrink. Let us give the small network more and more labelled pictures,
# always for the same number of steps, and compare it with the logistic regression on frozen features. Where will the
# curves meet?

# %%
my_meeting = None  # a number of labelled pictures, or "they do not"

# %%
sizes = runtime.scaled(quick=(20, 400), standard=(20, 100, 400, 1600), full=(20, 100, 400, 1600, 6400))
steps, curve = runtime.scaled(quick=90, standard=300, full=3000), {"from scratch": [], "frozen features": []}
for size in sizes:
    _, part = runtime.seed_everything(0), pool[:size]
    path = learn(SmallNet(4), part, lr=0.003, rounds=steps // math.ceil(size / 32), batch_size=32, loss=loss)
    curve["from scratch"].append(right(path[-1]))
    curve["frozen features"].append(on_features(pretrained, part))

# %%
ax = plots.figure(width=5, height=2.8)[1][0]
for (name, shares), marker in zip(curve.items(), ("o--", "x-")):
    ax.semilogx(sizes, shares, marker, label=name)
ax.axhline(0.25, color="0.6", linewidth=1)
ax.set(xlabel="labelled pictures", ylabel="accuracy", ylim=(0, 1.02), xticks=sizes, xticklabels=sizes)
ax.minorticks_off()
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
gaps = [b - a for a, b in zip(*curve.values())]
level = next((f"level with {size} pictures" for size, gap in zip(sizes, gaps) if gap <= 0), "never level here")
print(f"ahead by {gaps[0]:.0%} with {sizes[0]}, by {gaps[-1]:.0%} with {sizes[-1]}; {level}; you guessed {my_meeting}")

# %% [markdown]
# Labels are worth most where there are few. The curve of the frozen features begins high and has little left to gain;
# the other one climbs, given time and labels. Labels can do much of what pre-training does. With photos, 100 labels
# after pre-training were worth about 500 without, and 5,000 about 10,000 (`benchmarks/results/few_images.md`). So it
# saves labels, and it saves *you* the training. (The two curves also differ in their network.) How much it saves
# depends on how similar X and Y are, and ours are very similar: Lesson 07 asks when it pays.
#
# ## 5 · Where do the networks go?
#
# The lecture ends this part with a figure: "t-SNE of network weights". Each mark is a network at some epoch of its
# training. Crosses had pre-training, rounds had none, and the colour is the epoch. The comment is "No overlap!". We
# shall draw it, and then ask what it shows.
#
# A network is a point in a space of as many dimensions as it has weights. t-SNE draws points of a high-dimensional
# space in the plane so that *near neighbours* stay near; it does not keep large distances. Its main knob is the
# *perplexity*, roughly how many neighbours each point looks at. It must be smaller than the number of points.
#
# ### Exercise 5 · Networks on a map (3 points)
#
# `weights_of` returns all parameters of a network in one row, in the order of `net.parameters()`; a snapshot, which
# does not change when the network goes on training, and without a gradient. `embed` places the rows of a table in the
# plane with `sklearn.manifold.TSNE`. Its perplexity is 30, or a third of (number of rows - 1) if that is less. The same
# table must give the same map each time: `random_state=0`.


# %% nbgrader={"grade": false, "grade_id": "embed", "locked": false, "schema_version": 3, "solution": true, "task": false}
def weights_of(net: nn.Module) -> torch.Tensor:
    """All parameters of a network in one row (D,)."""
    ### BEGIN SOLUTION
    return torch.cat([p.detach().flatten() for p in net.parameters()])
    ### END SOLUTION


def embed(points: torch.Tensor):
    """Places in the plane (n, 2) for the rows of points (n, D), by t-SNE."""
    ### BEGIN SOLUTION
    from sklearn.manifold import TSNE

    return TSNE(perplexity=min(30, (len(points) - 1) / 3), random_state=0).fit_transform(points.numpy())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "embed-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["weights_of", "embed"]
import numpy as np
import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · Networks on a map", seconds=60)
net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def snapshot(weights_of, net):
    import torch

    row = weights_of(net)
    before, gradient = row.clone(), bool(row.requires_grad)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(1)
    return before, gradient, bool(torch.equal(before, row))


@checks("every parameter, in one row", points=0.5)
def _():
    expected = torch.cat([p.detach().flatten() for p in net.parameters()])
    tensors = [t.float().flatten() for t in net.state_dict().values()]
    wrong = {
        "the counters and averages of batch norm are no parameters": torch.cat(tensors),
        "biases are parameters, too": torch.cat([p.detach().flatten() for p in net.parameters() if p.ndim > 1]),
    }
    checks.close(weights_of(net), expected, mistakes=wrong)


@checks("a snapshot, without a gradient", points=0.5)
def _():
    _, gradient, kept = remote(snapshot, weights_of, net)
    checks.equal(gradient, False)
    checks.equal(kept, True, mistakes={"the row changes when the network is trained on": False})


@checks("a place for each row, even for a dozen rows", points=0.5, hint="What is a third of 11?")
def _():
    rng = checks.rng()
    checks.equal(list(np.shape(embed(torch.tensor(rng.normal(size=(12, 40)), dtype=torch.float32)))), [12, 2])


@checks("neighbours stay neighbours", points=0.5)
def _():
    rng = checks.rng()
    group = np.repeat(np.arange(12), 5)  # twelve groups, each as far from every other one
    points = 50 * np.eye(12, 60)[group] + 3 * rng.normal(size=(60, 60))
    flat = np.asarray(embed(torch.tensor(points, dtype=torch.float32)), dtype=float)
    apart = ((flat[:, None] - flat[None]) ** 2).sum(2) + np.diag(np.full(60, np.inf))
    strangers = int((group[apart.argmin(1)] != group).sum())
    assert strangers <= 1, f"{strangers} of 60 points have a neighbour from a group that was far away"


checks

# %% nbgrader={"grade": true, "grade_id": "embed-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["weights_of", "embed"]
# Another network and other points, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · Other points", hidden=True, seconds=60)


@checks("another network", points=0.5)
def _():
    net = nn.Sequential(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), nn.Linear(4, 2, bias=False))
    checks.close(weights_of(net), [*net[0][0].weight.flatten(), *net[0][0].bias, *net[1].weight.flatten()])


def knob(embed, points):
    from sklearn.manifold import TSNE

    seen, whole = [], TSNE.fit_transform

    def watched(self, *data, **more):
        seen.append(float(self.perplexity))
        return whole(self, *data, **more)

    TSNE.fit_transform = watched
    try:
        embed(points)
    finally:
        TSNE.fit_transform = whole
    return seen


@checks("the perplexity, and the same map twice", points=0.5, hint="A third of (rows - 1), at most 30; random_state=0.")
def _():
    rng = checks.rng()
    points = torch.tensor(rng.normal(size=(100, 8)), dtype=torch.float32)
    checks.close([remote(knob, embed, points[:n])[0] for n in (7, 31, 100)], [2.0, 10.0, 30.0])
    checks.equal(list(np.shape(embed(points[:6]))), [6, 2])
    once, again = (np.asarray(embed(points), dtype=float) for _ in range(2))
    checks.close(once, again, atol=1e-3)


checks
### END HIDDEN TESTS

# %% [markdown]
# The paths for the map: two networks with pre-training (we have them) and two without, each with two seeds. The seed
# decides about random weights and about the order of the pictures.

# %%
rounds = {"scratch 0": scratch, "scratch 1": learn(fresh(1), few, lr=0.003, loss=loss, seed=1)}


def stacked(row_of, paths: dict) -> torch.Tensor:
    """One row for each network of all paths, one path after the other."""
    return torch.stack([torch.as_tensor(row_of(net)).cpu() for path in paths.values() for net in path])


paths = crosses | rounds
run_of = [name for name, path in paths.items() for _ in path]
epoch_of = [epoch for path in paths.values() for epoch in range(len(path))]
in_weights = stacked(weights_of, paths)
in_weights.shape


# %%
def draw(ax: Axes, points: torch.Tensor, names: list[str], at: list[int], title: str) -> None:
    """The lecture's figure: crosses with pre-training, rounds without; the colour is the epoch."""
    flat, at = torch.as_tensor(embed(points)), torch.tensor(at)
    for name in dict.fromkeys(names):
        mine = torch.tensor([name == other for other in names])
        ax.plot(*flat[mine].T, color="0.85", linestyle="-", zorder=0)
        marker = "o" if "scratch" in name else "X"
        ax.scatter(*flat[mine].T, c=at[mine], marker=marker, s=36, linewidths=0.4, edgecolors="w")
        text = {"fontsize": 8, "xytext": (4, -10 if "dis" in name else 4), "textcoords": "offset points"}
        ax.annotate(name, flat[mine][-1], **text)
    ax.set(title=title, xticks=[], yticks=[])
    ax.margins(0.15)


# %%
fig, (ax,) = plots.figure(width=6, height=3.6)
draw(ax, in_weights, run_of, epoch_of, "t-SNE of network weights; the darker, the earlier")

# %% [markdown]
# This is the lecture's figure. Crosses and rounds lie apart, and no epoch brings them together. It is tempting to say:
# pre-training leads to another place, so it finds another solution. But what about the two runs from scratch, which
# differ in nothing but the seed?
#
# Maps invite to see things. "Overlap" can be a number: how many points have a nearest neighbour of the other kind?
#
# ### Exercise 6 · Overlap as a number (2 points)
#
# Return the share of points whose nearest *other* point belongs to another group. Distances are Euclidean, and no two
# of them are equal. For the points 0, 1, 3 and 3.5 on a line, in the groups a, a, b, a, it is a half: 3 and 3.5 are
# each other's neighbours and belong to different groups.


# %% nbgrader={"grade": false, "grade_id": "overlap", "locked": false, "schema_version": 3, "solution": true, "task": false}
def overlap(points: torch.Tensor, groups: list[str]) -> float:
    """Share of the points (n, D) whose nearest other point has another group; groups (n)."""
    ### BEGIN SOLUTION
    apart = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")  # (n, n)
    apart.fill_diagonal_(torch.inf)
    nearest = apart.argmin(1).tolist()
    return sum(groups[n] != groups[other] for n, other in enumerate(nearest)) / len(groups)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "overlap-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["overlap"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · Overlap as a number", seconds=20)


@checks("the example of the text", points=0.5)
def _():
    wrong = {
        "a point is not its own neighbour": 0.0,
        "this is a number of points; a share is wanted": 2,
    }
    checks.close(overlap(torch.tensor([[0.0], [1.0], [3.0], [3.5]]), ["a", "a", "b", "a"]), 0.5, mistakes=wrong)


@checks("two groups apart, and two that are mixed", points=0.5)
def _():
    apart = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 9.0], [9.0, 7.5], [0.5, 2.5]])
    wrong = {"this is the share of those with a neighbour of their own group": 1.0}
    checks.close(overlap(apart, ["x", "x", "o", "o", "x"]), 0.0, mistakes=wrong)
    checks.close(overlap(apart, ["x", "o", "x", "o", "x"]), 1.0)


@checks("all dimensions count, and neighbours need not be mutual", points=0.5)
def _():
    points = torch.tensor([[0.0, 0.0, 0.0], [0.1, 9.0, 0.0], [3.0, 0.2, 0.0], [5.0, 0.0, 0.1]])
    wrong = {"not only the first coordinate counts": 0.5, "nearest, not farthest": 1.0}
    checks.close(overlap(points, ["a", "b", "a", "a"]), 0.25, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "overlap-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["overlap"]
# Random points, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · Random points", hidden=True, seconds=20)


@checks("random points in three groups, counted one by one", points=0.5)
def _():
    rng = checks.rng()
    for count in (25, 31, 37, 43, 49):
        points, groups = rng.normal(size=(count, 4)), [str(g) for g in rng.choice(["one", "two", "three"], count)]
        far = 0
        for n in range(count):
            _, nearest = min((float(np.sum((points[n] - points[m]) ** 2)), m) for m in range(count) if m != n)
            far += groups[n] != groups[nearest]
        checks.close(overlap(torch.tensor(points, dtype=torch.float32), groups), far / count)


checks
### END HIDDEN TESTS

# %% [markdown]
# Your number in the space of the weights itself, without any map: once for crosses and rounds, and once, as a control,
# for the two runs from scratch. Guess the second one before you run the cell.

# %%
my_control = None  # a share from 0 to 1


# %%
def of_runs(points: torch.Tensor, *names: str) -> float:
    """Overlap of some runs with each other."""
    mine = [n for n, name in enumerate(run_of) if name in names]
    return float(overlap(points[mine], [run_of[n] for n in mine]))


no_overlap = {
    "crosses and rounds": float(overlap(in_weights, ["scratch" in name for name in run_of])),
    "from scratch, two seeds": of_runs(in_weights, *rounds),
}
print("your guess for the control:", my_control)
plots.table([[name, f"{share:.0%}"] for name, share in no_overlap.items()], ["in the space of weights", "overlap"])

# %% [markdown]
# No overlap, and no overlap in the control either. In a space of so many dimensions, an epoch takes a network a short
# way only, and two random starting points are far apart. So the map shows *where networks started*. Of what they
# learned it need not say anything.
#
# ## 6 · One network in disguise
#
# It gets worse: two networks can be far apart in weights and still be *the same function*. The channels inside of a
# block have no names. If we put the outputs of its first convolution into another order, and tell the second one about
# it, nothing changes for anybody outside.
#
# ### Exercise 7 · Another order (3 points)
#
# A block of our ResNet computes `conv2(relu(bn1(conv1(x))))`, and then more. Change the block in place, so that channel
# number n after `conv1` is the one that was number `order[n]` before, and the block computes what it always did. A
# convolution's weight has the shape (out, in, height, width), and there are no biases. Batch normalisation keeps four
# numbers per channel: `weight`, `bias`, `running_mean` and `running_var`.


# %% nbgrader={"grade": false, "grade_id": "disguise", "locked": false, "schema_version": 3, "solution": true, "task": false}
def reorder(block: nn.Module, order: torch.Tensor) -> None:
    """Put the channels between block.conv1 and block.conv2 into another order (M,), in place."""
    ### BEGIN SOLUTION
    bn = block.bn1
    with torch.no_grad():
        for tensor in (block.conv1.weight, bn.weight, bn.bias, bn.running_mean, bn.running_var):
            tensor.copy_(tensor[order])
        block.conv2.weight.copy_(block.conv2.weight[:, order])
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "disguise-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["reorder"]
import torch

from tlcore.grading import Checks, remote
from tlcore.zoo.cifar import CifarBlock

checks = Checks("Exercise 7 · Another order", seconds=20)
block, order, x = CifarBlock(6, 6, True).eval(), torch.tensor([2, 0, 1, 5, 3, 4]), torch.rand(3, 6, 5, 5)
for tensor in (block.bn1.weight, block.bn1.bias, block.bn1.running_mean, block.bn1.running_var):
    torch.nn.init.uniform_(tensor, 0.2, 2.0)


def reordered(reorder, block, order, x):
    from copy import deepcopy

    block = deepcopy(block)
    reorder(block, order)
    inside = block.bn1(block.conv1(x)).detach()
    return inside, block(x).detach(), block.conv1.weight.detach()


@checks("the channels of conv1 are in the new order", points=0.5)
def _():
    old = block.conv1.weight.detach()
    back = {"new channel n is old channel order[n], not the other way round": old[order.argsort()]}
    wrong = back | {"nothing has moved": old, "the inputs of conv1 moved; its outputs should": old[:, order]}
    checks.close(remote(reordered, reorder, block, order, x)[2], old[order], mistakes=wrong)


@checks("batch normalisation moves along, all of it", points=0.5, hint="Four numbers per channel.")
def _():
    expected = block.bn1(block.conv1(x)).detach()[:, order]
    wrong = {"new channel n is old channel order[n]": block.bn1(block.conv1(x)).detach()[:, order.argsort()]}
    checks.close(remote(reordered, reorder, block, order, x)[0], expected, atol=1e-4, mistakes=wrong)


@checks("the block computes what it did", points=1, hint="conv2 reads the channels in their new order.")
def _():
    _, out, first = remote(reordered, reorder, block, order, x)
    old = block.conv1.weight.detach()
    wrong = {"new channel n is old channel order[n]": old[order.argsort()], "nothing has moved": old}
    checks.close(first, old[order], mistakes=wrong)
    checks.close(out, block(x).detach(), atol=1e-4)


checks

# %% nbgrader={"grade": true, "grade_id": "disguise-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["reorder"]
# Another block, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote
from tlcore.zoo.cifar import CifarBlock

checks = Checks("Exercise 7 · Another block", hidden=True, seconds=20)


def learns(reorder, block, order, x):
    from copy import deepcopy

    new = deepcopy(block)
    reorder(new, order)
    out = new(x)
    out.square().sum().backward()
    return out.detach(), [p.grad is not None for p in new.parameters()], new.conv1.weight.grad


@checks("a block that halves the map, in a random order, and it can still be trained", points=1)
def _():
    rng = checks.rng()
    block, x = CifarBlock(4, 8, True).eval(), torch.tensor(rng.random((2, 4, 6, 6)), dtype=torch.float32)
    for tensor in (block.bn1.weight, block.bn1.bias, block.bn1.running_mean, block.bn1.running_var):
        tensor.data.copy_(torch.tensor(0.2 + rng.random(8)))
    order = torch.tensor(rng.permutation(8))
    out, trained, gradient = remote(learns, reorder, block, order, x)
    expected = block(x)
    expected.square().sum().backward()
    checks.close(out, expected.detach(), atol=1e-4)
    checks.equal(trained, [True] * len(list(block.parameters())))
    checks.close(gradient, block.conv1.weight.grad[order], rtol=1e-2, atol=1e-3)


checks
### END HIDDEN TESTS

# %% [markdown]
# The pre-trained network in disguise: every block in a random order of its own. We first see whether it is still the
# same network, and then train it on our pictures exactly as before, with seed 0.

# %%
disguised, ways = deepcopy(pretrained), 1
for block in [*disguised.layer1, *disguised.layer2, *disguised.layer3]:
    channels = len(block.bn1.weight)
    reorder(block, torch.randperm(channels))
    ways *= math.factorial(channels)

# %%
change = (neck(disguised, probe.inputs) - neck(pretrained, probe.inputs)).abs().max()
far = (weights_of(disguised) - weights_of(pretrained)).norm() / weights_of(pretrained).norm()
about_it = {
    "largest change of a feature": f"{change:.0e}",
    "change of the weights, as a share of their length": f"{far:.0%}",
    "such disguises": f"about 10 to the power of {math.log10(ways):.0f}",
}
plots.table(list(about_it.items()), ["", ""])

# %% [markdown]
# The function is the same up to rounding, and the weights have moved by about as much as they are long. There are more
# such disguises than atoms in the universe, for each network.
#
# So let us also embed what networks *do*. The figure goes back to Erhan and others (2010), and they embedded
# **outputs**: the network's answers to a fixed set of pictures, in one row. Two networks are then close if they give
# similar answers. Below are both maps, with the disguised network as a fifth run. Guess: where will its path be on each
# of them?

# %%
my_places = None  # two places, such as ["with seed 0", "alone"]

# %%
disguise = "disguised"
everyone = paths | {disguise: tuned(disguised)}
run_of = [name for name, path in everyone.items() for _ in path]
epoch_of = [epoch for path in everyone.values() for epoch in range(len(path))]


@torch.no_grad()
def outputs_of(net: nn.Module) -> torch.Tensor:
    """Probabilities that a network gives to the probe's pictures, in one row."""
    images = probe.inputs.to(next(net.parameters()).device)
    return net.eval()(images).softmax(1).flatten().cpu()


# %%
in_weights, in_outputs = stacked(weights_of, everyone), stacked(outputs_of, everyone)
fig, (left, right_ax) = plots.figure(2, width=5, height=3.8)
draw(left, in_weights, run_of, epoch_of, "weights")
draw(right_ax, in_outputs, run_of, epoch_of, "outputs")
print("your guess:", my_places)

# %% [markdown]
# Left, in weights, every network that started somewhere else is somewhere else: the disguised one is alone, although it
# does what seed 0 does. Right, in outputs, its path and that of seed 0 are one, and the pre-trained networks end
# together, from wherever they set out. (Before training, when the new head answers at random, a cross may lie among the
# rounds.) And the numbers, again without a map:

# %%
pairs = {
    "crosses and rounds": None,
    "from scratch, two seeds": list(rounds),
    "pre-trained, two seeds": list(crosses),
    "pre-trained and in disguise": [next(iter(crosses)), disguise],
}
kinds, both = ["scratch" in name for name in run_of], {}
for name, runs in pairs.items():
    both[name] = [of_runs(p, *runs) if runs else float(overlap(p, kinds)) for p in (in_weights, in_outputs)]
plots.table(
    [[name, *[f"{share:.0%}" for share in two]] for name, two in both.items()], ["overlap", "weights", "outputs"]
)

# %% [markdown]
# Among weights all lines read alike: no overlap, or next to none. (The two pre-trained runs start from one body, so
# their first networks may be neighbours.) Among outputs the lines differ, as they should. The network in disguise lies
# on top of itself, and two seeds of one kind overlap more than crosses and rounds do. (The nearest neighbour of a
# network is often its own next step, which keeps the shares low.) So *here* the distance between crosses and rounds
# says something.
#
# How far apart are the networks at the end? For each pair: the share of some test pictures to which they give the same
# answer, whether right or wrong.

# %%
answers = {name: in_outputs[[n for n, run in enumerate(run_of) if run == name][-1]] for name in everyone}
answers = {name: row.view(-1, 4).argmax(1) for name, row in answers.items()}
agree = {(a, b): float((answers[a] == answers[b]).float().mean()) for a in answers for b in answers}
plots.table([[a, *[f"{agree[a, b]:.0%}" for b in answers]] for a in answers], ["", *answers])

# %% [markdown]
# The pre-trained networks agree with each other, mostly because they are right, and much less with those from scratch.
# *That* is what pre-training changes, and it is seen in what networks do, not in where their weights lie.
#
# > **"No overlap!"** The lecture's figure is right, and so is its message that pre-training decides where training
# > goes. But the weights alone do not prove it: two seeds without pre-training do not overlap either, and neither does
# > a network with itself in disguise. A control like these belongs next to every such figure.
#
# ## What we saw
#
# The numbers below come from your run.

# %%
best = max(scores, key=scores.get)
plots.table(
    [
        ["labelled pictures, and from where", f"{len(few)}: {few.origin}"],
        ["from scratch / best remedy", f"{scores['none']:.0%} / {scores[best]:.0%} ({best})"],
        ["untrained / pre-trained features, frozen", " / ".join(f"{share:.0%}" for share in frozen.values())],
        ["four steps with the large network, two seeds", " / ".join(f"{share:.0%}" for share in reached)],
        ["small network: from scratch / in four steps", " / ".join(f"{share:.0%}" for share in in_small.values())],
        [f"lead with {sizes[0]} / {sizes[-1]} labels", f"{gaps[0]:.0%} / {gaps[-1]:.0%}"],
        ["pictures shown before, for each of our own", f"{steps_before / ours:,.0f}"],
        *[[f"overlap in weights / outputs: {name}", " / ".join(f"{s:.0%}" for s in two)] for name, two in both.items()],
    ],
    ["question", "answer"],
)

# %% [markdown]
# - Cross-entropy is what training sees. Low on the labelled pictures and high on others: that is overfitting.
# - Regular remedies exclude wrong solutions. They bring no knowledge; pre-training brings some from elsewhere.
# - Four steps: train on X, take a layer, build on it, train on Y. Frozen features with a simple model are a strong
#   start.
# - The comparison depends on what is counted: epochs on Y, all the work, or labels. The lead is largest where labels
#   are few.
# - "No overlap" in weights also holds for two seeds, and for a network and itself in disguise. Compare what networks
#   do, and draw the controls.
#
# ### What if?
#
# - What if X were much less like Y: textures in place of shapes, or photos of food for a task about aircraft?
# - You may have 1,000 labelled pictures more, of Y or of X. Which do you take, and on what does it depend?
# - Two networks do the same and lie far apart in weights. Could you find the disguise that brings them as close as
#   possible? What would the path between them look like then?
