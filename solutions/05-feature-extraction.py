# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · A classifier in a minute, from a handful of pictures?
#
# One of the lectures asks for an image classifier that learns on a CPU, in minutes, from very little data. Another one
# has a recipe: chop off the *head* of a trained network, use the *neck* as a feature extractor, and train **any**
# classifier on it, "even random forest will do". Below is the answer in one picture. By the end of this lesson you will
# have written every part of it yourself, and you will know which layer to take, what is lost there, and how such
# experiments fool the people who run them.
#
# The lesson has seven exercises and 20 points. Running all its cells takes about half a minute.

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
# The trained network is the ResNet-20 that comes with this course. It knows twelve shapes, among which ours are not,
# and it has never seen pictures as grainy as ours. (For real photos the files of CIFAR-10 must lie in the folder
# `$TLCORE_DATA`. Then the network knows six classes of CIFAR-10, and ours are the other four.)

# %%
from functools import cache

read = cache(worlds.load)
surfaces = {"colours": ("red", "green", "blue", "white"), "textures": ("plain", "stripes", "checks", "dots")}
world = worlds.Shapes(noise=0.06, scale=(0.5, 0.9), **surfaces)


def pictures(names: tuple[str, ...], count: int, part: str = "train") -> worlds.Dataset:
    """Labelled pictures (N, 3, 32, 32) of some classes, with values from 0 to 1."""
    if not photos:
        return world.but(shapes=names).sample(count, seed=1 if part == "train" else 2)
    data = read("cifar10", split=part).subset(classes=names, size=count)
    return worlds.Dataset(data.inputs.float() / 255, data.targets, data.classes, data.origin)


# %%
pool = pictures(new, runtime.scaled(quick=200, standard=400, full=2000))
test = pictures(new, runtime.scaled(quick=200, standard=400, full=2000), "test")
y, y_test = pool.targets.numpy(), test.targets.numpy()
pool

# %%
from matplotlib.axes import Axes


def picture(ax: Axes, image: torch.Tensor, **texts: str) -> None:
    """One picture (C, H, W) without a frame."""
    ax.imshow(image.permute(1, 2, 0))
    ax.set(xticks=[], yticks=[], **texts)
    ax.spines[:].set_visible(False)


fig, axes = plots.figure(8, width=1.1, height=1.4)
for n, ax in enumerate(axes):
    picture(ax, pool.inputs[(pool.targets == n // 2).nonzero()[n % 2, 0]], xlabel=new[n // 2])

# %% [markdown]
# Three kinds of numbers about each picture: what the trained network has in its neck, what the same network has there
# before any training, and the pixels themselves. A simple classifier learns from a few labelled pictures of each class.

# %%
import numpy as np

from tlcore import transfer, zoo

_ = runtime.seed_everything(0)
pretrained = zoo.get_model("resnet20", weights="cifar10x" if photos else "shapesx")
untrained = zoo.get_model("resnet20")
necks = {"trained neck": pretrained, "untrained neck": untrained}
inputs = {
    name: [transfer.FeatureExtractor(net, "neck").transform(d) for d in (pool, test)] for name, net in necks.items()
}
inputs["pixels"] = [d.inputs.flatten(1).numpy() for d in (pool, test)]


# %%
def few(y: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of so many pictures of each class, drawn at random."""
    draws = np.random.default_rng(seed)
    return np.concatenate([draws.choice(np.flatnonzero(y == k), count, replace=False) for k in np.unique(y)])


# %%
counts, draws = runtime.scaled(quick=[1, 5, 20], standard=[1, 2, 5, 10, 20], full=[1, 2, 5, 10, 20]), range(3)
opening = {name: [] for name in inputs}
for name, (X, X_test) in inputs.items():
    for count in counts:
        rows = [few(y, count, seed) for seed in draws]
        found = [transfer.classifier("softmax").fit(X[r], y[r]).score(X_test, y_test) for r in rows]
        opening[name].append(np.mean(found))

# %%
ax = plots.figure(width=5, height=2.8)[1][0]
for (name, shares), marker in zip(opening.items(), "os^"):
    ax.plot(counts, shares, marker=marker, label=name)
ax.axhline(1 / 4, color="0.6", linewidth=1)
ax.set(xscale="log", xlabel="labelled pictures of each class", ylabel="accuracy", ylim=(0, 1))
ax.set_xticks(counts, counts, minor=False)
ax.minorticks_off()
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# With the trained neck, a few pictures of each class go a long way, although nobody ever showed these four classes to
# the network. With pixels, or with the neck of a network that has not learned anything, the same classifier hardly does
# better than guessing (the grey line). So it is not the classifier, and not the architecture. It is what the network
# has learned elsewhere.
#
# ## 1 · Chop off the head
#
# In Lesson 04 you cut a network by writing its forward pass down again, up to the cut. That works for one network and
# one cut. Another way is to leave the network whole and to listen: PyTorch calls a **forward hook** each time a module
# has computed its output.


# %%
def listen(module: torch.nn.Module, inputs: tuple, output: torch.Tensor) -> None:
    print(f"{type(module).__name__}: {tuple(inputs[0].shape)} -> {tuple(output.shape)}")


handle = pretrained.get_submodule("layer1.0.conv2").register_forward_hook(listen)
_ = pretrained(pool.inputs[:5])
handle.remove()  # or it would listen for ever

# %% [markdown]
# ### Exercise 1 · The extractor (4 points)
#
# Return what each of the named modules puts out, for all images, by name. Run the network once per batch, on at most
# `batch_size` images, however many layers are asked for, and return tensors without a gradient. What a picture gives
# must not depend on the others in its batch, so everything has to be in evaluation mode. Leave the network as you find
# it: each of its parts in the mode it was in, and without hooks (a copy of the network is the easiest way to that). Two
# things to look out for. Later layers may work *in place* and so write over what you caught, as ReLU often does. And a
# module that is used several times in one pass calls its hook several times; the last call counts. `tlcore.transfer`,
# which the opening used, `tlcore.anatomy` and torchvision are off limits, here and in the exercises below: write it
# yourself.


# %% nbgrader={"grade": false, "grade_id": "extract", "locked": false, "schema_version": 3, "solution": true, "task": false}
from copy import deepcopy


def features(
    net: torch.nn.Module, layers: list[str], images: torch.Tensor, batch_size: int = 64
) -> dict[str, torch.Tensor]:
    """Outputs (N, ...) of the modules net.get_submodule(name), for images (N, C, H, W), by name."""
    ### BEGIN SOLUTION
    body, last, parts = deepcopy(net).eval(), {}, {name: [] for name in layers}
    for name in layers:

        def keep(module, inputs, output, name=name):
            last[name] = output.clone()

        body.get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        for batch in images.split(batch_size):
            body(batch)
            for name in layers:
                parts[name].append(last[name])
    return {name: torch.cat(pieces) for name, pieces in parts.items()}
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "extract-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false} student_names=["features"]
from copy import deepcopy

import torch

from tlcore import zoo
from tlcore.grading import Checks, remote

off_limits = ["tlcore.transfer", "tlcore.anatomy", "torchvision"]
checks = Checks("Exercise 1 · The extractor", forbid=off_limits, seconds=30)
net = zoo.get_model("resnet20")
for module in net.modules():
    if hasattr(module, "running_mean"):
        torch.nn.init.uniform_(module.running_mean, -0.3, 0.3)
images = torch.rand(10, 3, 16, 16)


def expected(net, images):
    net = deepcopy(net)
    with torch.no_grad():
        bn1 = net.bn1(net.conv1(images))
        layer1 = net.layer1(bn1.relu())
        avgpool = net.avgpool(net.layer3(net.layer2(layer1)))
    return {"bn1": bn1, "layer1": layer1, "avgpool": avgpool}


def around(features, net, images):
    net.train()
    net.layer2.eval()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    modes = [module.training for module in net.modules()]
    found = features(net, ["layer1"], images)["layer1"]
    after = net.state_dict()
    same = len(after) == len(before) and all(bool((after[name] == t).all()) for name, t in before.items())
    hooks = sum(len(module._forward_hooks) for module in net.modules())
    gradients = all(p.requires_grad for p in net.parameters())
    stayed = same and gradients and modes == [module.training for module in net.modules()]
    return bool(getattr(found, "requires_grad", False)), stayed, hooks


def sizes(features, images, batch_size):
    import torch

    seen = []

    class Noting(torch.nn.Sequential):
        def __deepcopy__(self, memo):
            return self

        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    features(Noting(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU()), ["0", "1"], images, batch_size)
    return seen


@checks("two layers, four images at a time", points=1, hint="A function made in a loop sees the loop's last name.")
def _():
    found = features(deepcopy(net).eval(), ["avgpool", "layer1"], images, 4)
    want = expected(net.eval(), images)
    checks.equal(sorted(found), ["avgpool", "layer1"])
    for name in ("layer1", "avgpool"):
        wrong = {"these are the first batch's images only": want[name][:4], "only the last batch": want[name][8:]}
        wrong["return what the module puts out, not means over it"] = want[name].mean((2, 3))
        checks.close(found[name], want[name], atol=1e-4, mistakes=wrong)


@checks("in evaluation mode, whatever mode the network is in", points=0.5, hint="Batch norm asks for the mode.")
def _():
    found = features(deepcopy(net).train(), ["layer1"], images)["layer1"]
    wrong = {"a picture's features depend on its batch": expected(deepcopy(net).train(), images)["layer1"]}
    checks.close(found, expected(net.eval(), images)["layer1"], atol=1e-4, mistakes=wrong)


@checks("what later layers do in place changes nothing", points=0.5, hint="Keep a copy of the output.")
def _():
    want = expected(net.eval(), images)["bn1"]
    wrong = {"the ReLU after this layer worked in place, on the very numbers that you had caught": want.relu()}
    checks.close(features(deepcopy(net).eval(), ["bn1"], images)["bn1"], want, atol=1e-4, mistakes=wrong)


@checks("no gradient, and the network stays as it was", points=0.5, hint="Its modes, its weights, and no hook left.")
def _():
    gradient, stayed, hooks = remote(around, features, deepcopy(net), images)
    checks.equal(gradient, False)
    checks.equal(stayed, True)
    checks.equal(hooks, 0)


@checks("one pass for both layers, in small batches", points=0.5, hint="Ten images, four at most: three batches.")
def _():
    seen = remote(sizes, features, images, 4)
    wrong = {
        "the network saw every image once for each layer": [6, 20, True],
        "use batch_size": [1, 10, False],
        "one pass for each layer, and all images at once": [2, 20, False],
    }
    checks.equal([len(seen), sum(seen), max(seen, default=0) <= 4], [3, 10, True], mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "extract-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["features"]
# Other networks, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch import nn

from tlcore.grading import Checks

off_limits = ["tlcore.transfer", "tlcore.anatomy", "torchvision"]
checks = Checks("Exercise 1 · Other networks", hidden=True, forbid=off_limits, seconds=30)


@checks("a network without images, any batch size", points=0.5)
def _():
    rng = checks.rng()
    net = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3))
    x, size = torch.tensor(rng.normal(size=(int(rng.integers(7, 12)), 5)), dtype=torch.float32), int(rng.integers(1, 6))
    found = features(net, ["3", "1"], x, size)
    hidden = net[0](x).tanh().detach()
    checks.close(found["1"], hidden, atol=1e-5)
    checks.close(found["3"], net[3](hidden).detach(), atol=1e-5)


@checks("a module that is used three times", points=0.5, hint="The last call counts.")
def _():
    again = nn.Linear(4, 4)
    net, x = nn.Sequential(again, nn.Tanh(), again, nn.Tanh(), again), torch.rand(9, 4)
    want = net(x).detach()
    wrong = {"all calls were kept, not the last one": [again(x).detach()]}
    checks.close(features(net, ["0"], x, 4)["0"], want, atol=1e-5, mistakes=wrong)


checks
### END HIDDEN TESTS

# %% [markdown]
# Your extractor on the network's main layers, for five pictures. What goes into the head `fc` is the output of
# `avgpool`: the **neck**. What comes out of it are the **logits** of the old classes.

# %%
stages = ["relu", "layer1", "layer2", "layer3", "avgpool", "fc"]
caught = features(pretrained, stages, pool.inputs[:5])
plots.table([[name, " x ".join(str(n) for n in caught[name].shape)] for name in stages], ["layer", "output"])

# %% [markdown]
# What if one forgets evaluation mode? In training mode, batch normalisation takes mean and variance from the batch at
# hand. We chop off the head in the shortest way there is, put both modes side by side, and train the classifier on
# features that were computed in one large batch. Then the test pictures come: all at once, one class after the other,
# or one at a time, as they would in use. Guess the accuracy in training mode when they come one at a time.

# %%
my_single = None  # a share from 0 to 1

# %%
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def softmax() -> object:
    """Logistic regression on scaled features: the linear layer and softmax of Lesson 04, made by scikit-learn."""
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


# %%
few_test = test[: runtime.scaled(quick=60, standard=100, full=200)]
by_class = [(few_test.targets == k).nonzero()[:, 0] for k in range(4)]
in_order = torch.arange(len(few_test))
arrivals = {"all at once": [in_order], "by class": by_class, "one at a time": in_order.split(1)}


@torch.no_grad()
def arriving(training: bool, how: list[torch.Tensor]) -> float:
    """Accuracy on test pictures that come in these batches, when features are taken in one mode."""
    body = deepcopy(pretrained).train(training)
    body.fc = torch.nn.Identity()
    head = softmax().fit(body(pool.inputs[:120]), y[:120])
    found = np.concatenate([head.predict(body(few_test.inputs[rows])) for rows in how])
    return float((found == few_test.targets[torch.cat(list(how))].numpy()).mean())


# %%
modes = {how: [arriving(mode, batches) for mode in (False, True)] for how, batches in arrivals.items()}
print("your guess:", my_single)
plots.table([[how, *[f"{s:.0%}" for s in two]] for how, two in modes.items()], ["test pictures come", "eval", "train"])

# %% [markdown]
# In evaluation mode the answer to a picture is the same, whatever comes with it. In training mode all is well as long
# as the test comes in a large mixed batch, which is how the mistake survives until the network meets its first user.
# With a single picture, or pictures of one class, what they have in common *is* the mean, and it is subtracted.
#
# ## 2 · From maps to vectors
#
# Classifiers want a vector per picture, and most layers give a map: so many channels at so many places. Averaging over
# all places (as `avgpool` does) forgets where things are. A compromise is to average over the cells of a coarse grid.
#
# ### Exercise 2 · Pooling to a grid (2 points)
#
# Cut each map into `grid` x `grid` equal cells and return the mean of every cell, as one vector a picture. Height and
# width are multiples of `grid`. The order is: all cells of the first channel, row by row, then those of the second.
# Here is what to compute, in loops that would take far too long.


# %%
def slow_pooled(maps: torch.Tensor, grid: int) -> list[list[float]]:
    high, wide = maps.shape[2] // grid, maps.shape[3] // grid
    out = [[] for _ in maps]
    for n in range(len(maps)):
        for channel in range(maps.shape[1]):
            for i in range(grid):
                for j in range(grid):
                    cell = maps[n, channel, i * high : (i + 1) * high, j * wide : (j + 1) * wide]
                    out[n].append(float(cell.mean()))
    return out


slow_pooled(torch.arange(16.0).view(1, 1, 4, 4), grid=2)


# %% nbgrader={"grade": false, "grade_id": "pool", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pooled(maps: torch.Tensor, grid: int = 1) -> torch.Tensor:
    """Means over the cells of a grid: maps (N, C, H, W) -> vectors (N, C * grid * grid)."""
    ### BEGIN SOLUTION
    count, channels, height, width = maps.shape
    cells = maps.reshape(count, channels, grid, height // grid, grid, width // grid)
    return cells.mean((3, 5)).flatten(1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pool-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["pooled"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 2 · Pooling to a grid", forbid=["slow_pooled", "tlcore.transfer"], seconds=10)
maps = torch.rand(3, 2, 4, 6) - 0.3
cells = maps.view(3, 2, 2, 2, 2, 3)  # (N, C, row of the grid, row in the cell, column of the grid, column in the cell)


@checks("one cell: the mean over all places", points=0.5)
def _():
    wrong = {
        "take the mean, not the largest value": maps.amax((2, 3)),
        "this is the sum": maps.sum((2, 3)),
        "the channels were averaged; average over the places": maps.mean(1).flatten(1),
    }
    checks.close(pooled(maps.clone()), maps.mean((2, 3)), atol=1e-5, mistakes=wrong)


@checks("four cells, channel by channel", points=1, hint="Rows of the grid come before its columns.")
def _():
    means = cells.mean((3, 5))
    wrong = {
        "the order is channel by channel, not cell by cell": means.permute(0, 2, 3, 1).flatten(1),
        "the cells of a channel go row by row": means.transpose(2, 3).flatten(1),
        "every second place was taken; a cell is a block of neighbours": cells.mean((2, 4)).flatten(1),
        "take the mean, not the largest value": cells.amax((3, 5)).flatten(1),
        "a vector is wanted for each picture": means,
    }
    checks.close(pooled(maps.clone(), 2), means.flatten(1), atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "pool-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["pooled"]
# Other grids, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 2 · Other grids", hidden=True, forbid=["slow_pooled", "tlcore.transfer"], seconds=10)


@checks("random grids, cell by cell", points=0.5)
def _():
    rng = checks.rng()
    for grid in (1, 3, 4):
        high, wide = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        maps = torch.tensor(rng.normal(size=(2, 3, grid * high, grid * wide)))
        expected = [
            [
                float(maps[n, c, i * high : (i + 1) * high, j * wide : (j + 1) * wide].mean())
                for c, i, j in np.ndindex(3, grid, grid)
            ]
            for n in range(2)
        ]
        checks.close(pooled(maps, grid), expected)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now we can ask: logits, neck or map? One lecture advises to take the convolutional part and to throw away what comes
# after it, because the head has no notion of space and is less generic. And since ImageNet has cats and dogs, it says,
# one could *get away* with the head, too, if cats and dogs are what one wants. Let us look at all of this. How well are
# four classes told apart after a single labelled picture of each, once our new classes, once four classes that the
# network was trained for? And, in a second table, can one read from the features on which side of the picture the shape
# is, and what colour it has? (There the classifier learns from all training pictures, with these labels.)


# %%
Cuts = dict[str, tuple[str, int]]  # a name, a layer, and the grid to which its maps are pooled


def vectors(cuts: Cuts, images: torch.Tensor, net: torch.nn.Module = pretrained) -> dict[str, np.ndarray]:
    """Features (N, F) at several cuts, in one pass."""
    where = runtime.device()
    layers = list(dict.fromkeys(layer for layer, _ in cuts.values()))
    found = features(deepcopy(net).to(where), layers, images.to(where))
    outputs = {layer: torch.as_tensor(out).cpu() for layer, out in found.items()}
    return {
        name: np.asarray(pooled(outputs[layer], grid) if outputs[layer].ndim == 4 else outputs[layer])
        for name, (layer, grid) in cuts.items()
    }


# %%
def neck_of(images: torch.Tensor, net: torch.nn.Module = pretrained) -> np.ndarray:
    return vectors({"neck": ("avgpool", 1)}, images, net)["neck"]


def right(train: np.ndarray, y: np.ndarray, test: np.ndarray, y_test: np.ndarray) -> float:
    return float(softmax().fit(train, y).score(test, y_test))


# %%
known = [pictures(old[:4], len(data), part) for data, part in ((pool, "train"), (test, "test"))]
tasks = {"new classes": (pool, test), "old classes": tuple(known)}
cuts = {"logits": ("fc", 1), "neck": ("avgpool", 1), "map, 2 x 2": ("layer3", 2), "map, 4 x 4": ("layer3", 4)}
at_cut = {task: [vectors(cuts, data.inputs) for data in both] for task, both in tasks.items()}

# %% [markdown]
# Guess first. From one picture of each class: for which classes will the logits do clearly worse than the neck?

# %%
my_logits = None  # "new", "old", "both" or "neither"

# %%
levels = {cut: [] for cut in cuts}
for task, (learned, asked) in tasks.items():
    a, b = learned.targets.numpy(), asked.targets.numpy()
    for cut in cuts:
        X, X_test = (found[cut] for found in at_cut[task])
        shares = [right(X[rows], a[rows], X_test, b) for rows in (few(a, 1, seed) for seed in range(20))]
        levels[cut].append(float(np.mean(shares)))
print("your guess:", my_logits)
plots.table([[cut, *[f"{s:.0%}" for s in shares]] for cut, shares in levels.items()], ["features", *tasks])

# %%
factors = {}
if not photos:
    factors["side"] = [(data.factors["x"] > 0).numpy() for data in (pool, test)]
    factors["colour"] = [data.factors["colour"].numpy() for data in (pool, test)]
X, X_test = at_cut["new classes"]
beside = [[cut, *[f"{right(X[cut], a, X_test[cut], b):.0%}" for a, b in factors.values()]] for cut in cuts]
plots.table(beside, ["features", *factors]) if factors else "photos come without these labels"

# %% [markdown]
# For the old classes it hardly matters: there one does get away with the logits. For the new ones they are worse,
# because of 64 numbers only the answers to another question are left. (With photos, which the network is less sure
# about, the neck is better for the old classes, too.) Where the shape is (chance is 50%) has mostly gone at the neck,
# where the mean over all places is taken, and comes back with a map of four cells. Its colour (chance is 25%) is not
# needed to name a shape, and the further up, the less of it is left. More numbers are not better as such: with one
# label a class the longest vectors are not the best.
#
# > **"No notion of space."** In the networks the lecture has in mind, fully connected layers read a whole map. In
# > ResNets the neck is already an average over all places, so the notion of space is lost one layer before the head.
#
# ## 3 · Any classifier
#
# The features are computed once. What is left is a small table of numbers, and any classifier can learn from it.
#
# ### Exercise 3 · Compare heads (3 points)
#
# Train each head, put behind a `StandardScaler`, on the training features and return its accuracy on the test, by
# name. A scaler subtracts means and divides by standard deviations. It belongs to the head: it may learn from the
# *training* features only, and is applied to both. The classifiers you are given must stay untrained, so train a copy
# of each (`sklearn.base.clone`).


# %% nbgrader={"grade": false, "grade_id": "heads", "locked": false, "schema_version": 3, "solution": true, "task": false}
def compare(
    heads: dict[str, object], train: np.ndarray, y: np.ndarray, test: np.ndarray, y_test: np.ndarray
) -> dict[str, float]:
    """Test accuracy by name; heads are scikit-learn classifiers, features (N, F) and (M, F), labels (N,) and (M,)."""
    ### BEGIN SOLUTION
    from sklearn.base import clone

    return {
        name: float(make_pipeline(StandardScaler(), clone(head)).fit(train, y).score(test, y_test))
        for name, head in heads.items()
    }
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "heads-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["compare"]
import numpy as np
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from tlcore.grading import Checks, remote

checks = Checks("Exercise 3 · Compare heads", forbid=["tlcore.transfer"], seconds=20)
generator = np.random.default_rng(5)
labels_a, labels_b = np.arange(60) % 3, np.arange(90) % 3
part_a = np.stack([labels_a + 0.25 * generator.normal(size=60), 500 * generator.normal(size=60)], 1)
part_b = np.stack([labels_b + 0.25 * generator.normal(size=90) + 0.4, 500 * generator.normal(size=90) + 300], 1)


def accuracy(part_a, part_b, on=None):
    return float((KNeighborsClassifier(1).fit(part_a, labels_a).predict(part_b) == labels_b).mean())


def scaled(X, by):
    return (X - by.mean(0)) / by.std(0)


both = np.concatenate([part_a, part_b])
nearest = accuracy(scaled(part_a, part_a), scaled(part_b, part_a))
wrong = {
    "nothing was scaled, and the large feature drowns the small one": accuracy(part_a, part_b),
    "the test was scaled by itself; use what the scaler learned from the training features": accuracy(
        scaled(part_a, part_a), scaled(part_b, part_b)
    ),
    "the scaler has seen the test": accuracy(scaled(part_a, both), scaled(part_b, both)),
    "the means were not subtracted alike": accuracy(scaled(part_a, part_a), part_b),
    "this is the accuracy on the training features": 1.0,
}
assert nearest not in wrong.values() and len(set(wrong.values())) == len(wrong)


@checks("one nearest neighbour", points=1, hint="make_pipeline(StandardScaler(), clone(head))")
def _():
    found = compare({"nearest": KNeighborsClassifier(1)}, part_a.copy(), labels_a, part_b.copy(), labels_b)
    checks.equal(list(found), ["nearest"])
    checks.close(found["nearest"], nearest, mistakes=wrong)


@checks("several heads, by name", points=0.5)
def _():
    heads = {"bayes": GaussianNB(), "three": KNeighborsClassifier(3)}
    one, other = scaled(part_a, part_a), scaled(part_b, part_a)
    want = {name: float((head.fit(one, labels_a).predict(other) == labels_b).mean()) for name, head in heads.items()}
    found = compare(
        {"bayes": GaussianNB(), "three": KNeighborsClassifier(3)}, part_a.copy(), labels_a, part_b.copy(), labels_b
    )
    checks.equal(sorted(found), sorted(want))
    for name in want:
        checks.close(found[name], want[name])


def trained(compare, part_a, labels_a, part_b, labels_b):
    from sklearn.neighbors import KNeighborsClassifier

    head, before = KNeighborsClassifier(1), part_a.copy()
    compare({"head": head}, part_a, labels_a, part_b, labels_b)
    return hasattr(head, "classes_"), bool((before == part_a).all())


@checks("what came in stays as it was", points=0.5, hint="Train clones; scale copies.")
def _():
    touched, same = remote(trained, compare, part_a.copy(), labels_a, part_b.copy(), labels_b)
    checks.equal(touched, False, mistakes={"the classifier you were given has been trained": True})
    checks.equal(same, True)


checks

# %% nbgrader={"grade": true, "grade_id": "heads-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["compare"]
# Random features, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from tlcore.grading import Checks

checks = Checks("Exercise 3 · Random features", hidden=True, forbid=["tlcore.transfer"], seconds=20)


@checks("random features, one of them constant, one huge", points=1)
def _():
    rng = checks.rng()
    y, y_test = rng.permutation(np.arange(40) % 4), rng.integers(0, 4, 75)
    parts = []
    for labels in (y, y_test):
        noise = rng.normal(size=(len(labels), 2))
        columns = [labels + 0.4 * noise[:, 0], 1e4 * noise[:, 1], np.full(len(labels), 7.0)]
        parts.append(np.stack(columns, 1) + (0 if labels is y else [0.3, 0, 0]))
    train, test = parts
    mean, std = train.mean(0), train.std(0)
    std[2] = 1
    for k in (1, 5):
        head = KNeighborsClassifier(k).fit((train - mean) / std, y)
        want = float((head.predict((test - mean) / std) == y_test).mean())
        checks.close(compare({"k": KNeighborsClassifier(k)}, train.copy(), y, test.copy(), y_test)["k"], want)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now the lectures' three. Softmax you know. A **linear SVM** is a linear layer, too, trained to keep the classes apart
# by a margin. A **random forest** lets many *decision trees* vote, each a series of questions such as "is feature 7
# above 0.3?". And two that are simpler still. One looks for the nearest labelled picture, the other one for the nearest
# mean of a class. They learn from the neck, and the first three also from pixels, which is the "SVM without transfer
# learning" of one lecture. Guess: on the neck, with five pictures of each class, how far apart are the best and the
# worst of the five?

# %%
my_spread = None  # a difference, such as 0.3

# %%
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.svm import LinearSVC

heads = {
    "linear SVM": LinearSVC(C=0.01, max_iter=10_000, random_state=0),
    "softmax": LogisticRegression(C=0.1, max_iter=2000),
    "random forest": RandomForestClassifier(runtime.scaled(quick=50, standard=100, full=200), random_state=0),
    "nearest neighbour": KNeighborsClassifier(1),
    "nearest class mean": NearestCentroid(),
}

# %%
neck = {part: neck_of(data.inputs) for part, data in (("train", pool), ("test", test))}
pixels = {part: data.inputs.flatten(1).numpy() for part, data in (("train", pool), ("test", test))}


def mean_accuracies(heads: dict, X: dict, count: int) -> dict[str, float]:
    """Means over three draws of so many labelled pictures a class."""
    rows = [few(y, count, seed) for seed in draws]
    with np.errstate(invalid="ignore"):  # a spread around a mean of one picture, which nobody needs
        found = [compare(heads, X["train"][r], y[r], X["test"], y_test) for r in rows]
    return {name: float(np.mean([one[name] for one in found])) for name in heads}


# %%
lectures = {name: heads[name] for name in list(heads)[:3]}
on_neck = {count: mean_accuracies(heads, neck, count) for count in (1, 5, 20)}
on_pixels = {count: mean_accuracies(lectures, pixels, count) for count in (1, 5, 20)}
rows = [[f"{name}, neck", *[f"{on_neck[count][name]:.0%}" for count in on_neck]] for name in heads]
rows += [[f"{name}, pixels", *[f"{on_pixels[count][name]:.0%}" for count in on_pixels]] for name in lectures]
spread = max(on_neck[5].values()) - min(on_neck[5].values())
print(f"best and worst head on the neck, five a class: {spread:.2f} apart; your guess was {my_spread}")
plots.table(rows, ["head, features", *[f"{count} a class" for count in on_neck]])

# %% [markdown]
# The features matter far more than the head. Even random forest will do, indeed, once there are a few pictures of each
# class. Without transfer, all of them stay far below (with drawings, close to guessing).
#
# And the scaler, was it worth the trouble? Most heads look at the numbers only, whatever their units. We put 48 more
# features beside the neck, the mean colours of a 4 x 4 grid of the picture in the units of an image file, 0 to 255.
# Guess: without a scaler, will that help, harm, or make no difference?

# %%
my_bytes = None  # "help", "harm" or "no difference"

# %%
wide = {
    part: np.concatenate([neck[part], 255 * np.asarray(pooled(data.inputs, 4))], 1)
    for part, data in (("train", pool), ("test", test))
}
rows_20, units = few(y, 20, seed=0), {}


# %%
import warnings

from sklearn.exceptions import ConvergenceWarning

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # unscaled, some of them do not come to an end
    for name, head in heads.items():
        for kind, X in (("neck", neck), ("neck and colours", wide)):
            bare = clone(head).fit(X["train"][rows_20], y[rows_20]).score(X["test"], y_test)
            units[name, kind] = bare, compare({name: head}, X["train"][rows_20], y[rows_20], X["test"], y_test)[name]

# %%
print("your guess:", my_bytes)
plots.table(
    [[name, *[f"{s:.0%}" for kind in ("neck", "neck and colours") for s in units[name, kind]]] for name in heads],
    ["head", "neck", "scaled", "neck and colours", "scaled"],
)

# %% [markdown]
# Within the neck all numbers are of about the same size, and the scaler changes little. Beside the colours it decides:
# unscaled, large numbers drown small ones, whatever they are worth. Only the forest does not care, since a tree asks of
# one feature at a time whether it is above a threshold. Scaling is cheap and seldom harms much, so it is a good habit.
#
# ## 4 · Sew it back on
#
# A pipeline of two programs is awkward on a telephone. But scaling only multiplies and adds, and so does softmax's
# linear layer, and one after the other they are again a single linear layer. With weights $W$ and bias $b$ learned on
# scaled features, the logits are $W\,\frac{x - \mu}{\sigma} + b$, where $\mu$ and $\sigma$ are the scaler's means and
# standard deviations, one of each for every feature.
#
# ### Exercise 4 · One linear layer (2 points)
#
# Return the weights $W'$ and the bias $b'$ with which $W' x + b'$ gives the same logits from features that were *not*
# scaled. For one feature and one class, with $\mu = 3$, $\sigma = 2$, $W = 4$ and $b = 1$, they are 2 and -5.


# %% nbgrader={"grade": false, "grade_id": "fold", "locked": false, "schema_version": 3, "solution": true, "task": false}
def folded(
    mean: torch.Tensor, std: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scaler mean (F,) and std (F,), head weight (K, F) and bias (K,) -> weight (K, F) and bias (K,) of both in one."""
    ### BEGIN SOLUTION
    weight = weight / std
    return weight, bias - weight @ mean
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "fold-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["folded"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 4 · One linear layer", seconds=10)
mean, std = torch.tensor([3.0, -1.0, 0.5]), torch.tensor([2.0, 0.5, 4.0])
weight, bias = torch.tensor([[4.0, 1.0, -2.0], [0.0, 3.0, 8.0]]), torch.tensor([1.0, -2.0])


@checks("the weights", points=0.5, hint="How much does the logit move when x moves by one?")
def _():
    wrong = {"multiply by 1 / std, not by std": weight * std, "nothing was scaled": weight}
    checks.close(folded(mean, std, weight.clone(), bias.clone())[0], weight / std, mistakes=wrong)


@checks("the bias", points=0.5, hint="What is the logit at x = 0?")
def _():
    wrong = {
        "the bias takes up the means as well": bias,
        "the means have to be divided by std": bias - weight @ mean,
        "the means are subtracted, so their share of the bias is, too": bias + weight @ (mean / std),
        "std divides the weights, not the bias": bias - (weight / std**2) @ mean,
        "there is one bias for each class: the means count with their own class's weights": bias - (mean / std).sum(),
    }
    checks.close(folded(mean, std, weight.clone(), bias.clone())[1], bias - weight @ (mean / std), mistakes=wrong)


@checks("the example of the text", points=0.5)
def _():
    three, two, four, one = (torch.tensor(n) for n in ([3.0], [2.0], [[4.0]], [1.0]))
    new_weight, new_bias = folded(three, two, four, one)
    checks.close(new_weight, [[2.0]])
    checks.close(new_bias, [-5.0])


checks

# %% nbgrader={"grade": true, "grade_id": "fold-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["folded"]
# Against scikit-learn's own pipeline, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tlcore.grading import Checks

checks = Checks("Exercise 4 · Against the pipeline", hidden=True, seconds=20)


@checks("the same logits as the pipeline's", points=0.5)
def _():
    rng = checks.rng()
    y = np.arange(60) % 3
    X = rng.normal(size=(60, 5)) * [1, 10, 0.1, 3, 1] + y[:, None] + [0, 50, 1, 0, -4]
    scaler = StandardScaler().fit(X)
    head = LogisticRegression().fit(scaler.transform(X), y)
    learned = [torch.tensor(a) for a in (scaler.mean_, scaler.scale_, head.coef_, head.intercept_)]
    weight, bias = (torch.tensor(np.asarray(part, dtype=float)) for part in folded(*learned))
    checks.close(X @ weight.numpy().T + bias.numpy(), head.decision_function(scaler.transform(X)), atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# We take the time of the whole thing: the features of twenty labelled pictures of each class, the head, and your
# function, which makes it a network of four classes.

# %%
import time

labelled = pool[rows_20]
start = time.perf_counter()
head = softmax().fit(neck_of(labelled.inputs), labelled.targets)
scaler, linear = head[0], head[1]
learned = [scaler.mean_, scaler.scale_, linear.coef_, linear.intercept_]
weight, bias = folded(*[torch.tensor(part, dtype=torch.float32) for part in learned])

# %%
whole = deepcopy(pretrained).eval()
whole.fc = torch.nn.Linear(64, 4)
with torch.no_grad():
    whole.fc.weight.copy_(torch.as_tensor(weight))
    whole.fc.bias.copy_(torch.as_tensor(bias))
seconds = time.perf_counter() - start
with torch.no_grad():
    said = torch.cat([whole(x).argmax(1) for x in test.inputs.split(100)])
alike = float(np.mean(said.numpy() == head.predict(neck["test"])))
print(f"network and pipeline agree on {alike:.0%} of the test pictures; made in {seconds:.1f} seconds")

# %% [markdown]
# And the same network from random weights, on the same pictures, for longer? Guess its accuracy.

# %%
my_scratch = None  # a share from 0 to 1

# %%
from tlcore import training

_ = runtime.seed_everything(0)
scratch, start = zoo.get_model("resnet20", num_classes=4), time.perf_counter()
epochs = runtime.scaled(quick=3, standard=12, full=60)
training.fit(scratch, labelled, epochs=epochs, lr=0.1, batch_size=20, progress=False)
longer = time.perf_counter() - start
minute = {
    "frozen body, new head": (seconds, float((said == test.targets).float().mean())),
    "from scratch": (longer, training.evaluate(scratch, test)[1]),
}
print("your guess:", my_scratch)
plots.table([[name, f"{t:.1f}", f"{share:.0%}"] for name, (t, share) in minute.items()], ["", "seconds", "accuracy"])

# %% [markdown]
# That is the answer to the lecture's question. Each picture goes through the network once, forwards only, and what is
# learned is one layer. Training goes forwards *and* backwards through everything, in each epoch anew, and from a few
# pictures it does not get far. (It would have more to gain from more pictures: Lessons 04 and 07.)
#
# There is a condition, and a lecture names it: feature extraction "assumes that $D_S = D_T$". A *domain* is, roughly,
# what the inputs look like: in the source S, where the body has learned, and in the target T, where it is used. Ours
# differ a little (our drawings are grainier and larger). We add grain, to the labelled pictures and to the test. So the
# head learns in the domain in which it is asked, and only the frozen features come from another one.


# %%
def grainy(images: torch.Tensor, grain: float) -> torch.Tensor:
    draws = torch.Generator().manual_seed(len(images))  # labelled and test pictures must not share their grain
    return (images + grain * torch.randn(images.shape, generator=draws)).clamp(0, 1)


grains, asked = [0.0, 0.05, 0.1, 0.2], test[:200]
there = [[neck_of(grainy(data.inputs, g)) for data in (labelled, asked)] for g in grains]
far = [right(a, labelled.targets.numpy(), b, asked.targets.numpy()) for a, b in there]

# %%
fig, axes = plots.figure(4, width=1.5, height=1.9)
for ax, grain, share in zip(axes, grains, far):
    picture(ax, grainy(labelled.inputs[:1], grain)[0], title=f"grain + {grain}", xlabel=f"{share:.0%} right")

# %% [markdown]
# A small gap between the domains costs little, a large one a lot. We can still tell the shape, but it does not show
# in this neck, which never had to learn to look through so much grain. A new head cannot repair that. Either the body
# has to learn as well, by fine-tuning (Lesson 06), or features have to be made alike in both domains (Lesson 09).
#
# > **An ImageNet neck.** If torchvision's weights of ResNet-18 are on your machine, the next cell tries that neck, too:
# > 1.3 million photos and a thousand classes instead of ours. It does not fetch them, and it is left out when work is
# > graded.

# %%
from pathlib import Path

found = list(Path(torch.hub.get_dir(), "checkpoints").glob("resnet18-*.pth")) if runtime.budget() != "quick" else []


def photo_like(images: torch.Tensor) -> torch.Tensor:
    """Pictures in the size and the units in which that network saw ImageNet's photos."""
    large = torch.nn.functional.interpolate(images, size=128, mode="bilinear", align_corners=False)
    mean, std = (torch.tensor(n).view(3, 1, 1) for n in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (large - mean) / std


# %%
if found:
    imagenet = zoo.get_model("resnet18", weights="imagenet")
    a, b = (neck_of(photo_like(data.inputs), imagenet) for data in (labelled, asked))
    print(f"ImageNet's neck: {right(a, labelled.targets.numpy(), b, asked.targets.numpy()):.0%}; ours: {far[0]:.0%}")
else:
    print("no ImageNet neck used; ours:", f"{far[0]:.0%}")

# %% [markdown]
# ## 5 · Which layer?
#
# A lecture draws a pile of layers: pixels at the bottom, then "edges", "object parts", "objects". Another one says that
# early layers hold edges, colours and textures. Such claims can be measured. Take the features of one layer, train a
# simple classifier to read a property from them, and see how well it does. This is called a **probe**.
#
# ### Exercise 5 · The layer curve (3 points)
#
# For every property, return the test accuracies of a head at each layer, in the order of `layers`. Take the features
# of all layers at once, for the training and for the test images. Maps become vectors by their mean over all places,
# outputs that are vectors already stay as they are, and the head stands behind a scaler. `labels` and `test_labels`
# hold an array for each property. Your functions of the first three exercises do most of the work.


# %% nbgrader={"grade": false, "grade_id": "curve", "locked": false, "schema_version": 3, "solution": true, "task": false}
def layer_curve(
    net: torch.nn.Module,
    layers: list[str],
    head: object,
    train: torch.Tensor,
    labels: dict[str, np.ndarray],
    test: torch.Tensor,
    test_labels: dict[str, np.ndarray],
) -> dict[str, list[float]]:
    """Accuracies by property, one for each layer: images (N, C, H, W) and (M, C, H, W), labels (N,) and (M,)."""
    ### BEGIN SOLUTION
    at_train, at_test = (
        {name: np.asarray(pooled(out) if out.ndim == 4 else out) for name, out in features(net, layers, images).items()}
        for images in (train, test)
    )
    return {
        name: [
            compare({"head": head}, at_train[layer], labels[name], at_test[layer], test_labels[name])["head"]
            for layer in layers
        ]
        for name in labels
    }
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "curve-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["layer_curve"]
import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · The layer curve", forbid=["tlcore.transfer"], seconds=30)
_ = torch.manual_seed(3)
net = nn.Sequential(
    nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.Tanh(), nn.AdaptiveAvgPool2d(2),
    nn.Flatten(), nn.Linear(32, 5),
)  # fmt: skip
tinted, labels = torch.rand(90, 3, 9, 9), {"hue": np.arange(90) % 3, "light": np.arange(90) // 3 % 2}
tinted += 0.15 * torch.nn.functional.one_hot(torch.arange(90) % 3)[:, :, None, None]
tinted *= 1 + 0.3 * torch.tensor(labels["light"])[:, None, None, None]
first, rest = {k: v[:50] for k, v in labels.items()}, {k: v[50:] for k, v in labels.items()}


def reference(layer, name, scale=True, pool=True, same=False):
    with torch.no_grad():
        out = net.eval()[: int(layer) + 1](tinted)
    X = (out.mean((2, 3)) if pool and out.ndim == 4 else out.flatten(1)).double().numpy()
    X = StandardScaler().fit(X[:50]).transform(X) if scale else X
    head = KNeighborsClassifier(1).fit(X[:50], first[name])
    return float((head.predict(X[:50]) == first[name]).mean() if same else (head.predict(X[50:]) == rest[name]).mean())


def curve(layers, name, **options):
    return [reference(layer, name, **options) for layer in layers]


def wrong_curves(layers, name):
    return {
        "maps become vectors by their mean over all places": curve(layers, name, pool=False),
        "the head stands behind a scaler": curve(layers, name, scale=False),
        "these are accuracies on the training images": curve(layers, name, same=True),
    }


def measured(layers):
    head = KNeighborsClassifier(1)
    return layer_curve(net, layers, head, tinted[:50].clone(), first, tinted[50:].clone(), rest)


@checks("one property at two maps", points=0.5)
def _():
    layers = ["2", "0"]
    turned = {"the order is that of the layers asked for": curve(["0", "2"], "hue")}
    checks.close(
        measured(layers)["hue"], curve(layers, "hue"), atol=0.026, mistakes=wrong_curves(layers, "hue") | turned
    )


@checks("two properties, at maps and vectors", points=1, hint="Outputs of two axes are vectors already.")
def _():
    layers = ["0", "4", "7"]
    curves = measured(layers)
    checks.equal(sorted(curves), ["hue", "light"])
    for name in ("hue", "light"):
        checks.close(curves[name], curve(layers, name), atol=0.026, mistakes=wrong_curves(layers, name))


def passes(layer_curve, tinted, labels):
    import torch
    from sklearn.neighbors import KNeighborsClassifier

    seen = []

    class Noting(torch.nn.Sequential):
        def __deepcopy__(self, memo):
            return self

        def forward(self, x):
            seen.append(len(x))
            return super().forward(x)

    net = Noting(torch.nn.Conv2d(3, 2, 3), torch.nn.ReLU(), torch.nn.Conv2d(2, 2, 3)).eval()
    layer_curve(net, ["0", "1", "2"], KNeighborsClassifier(1), tinted, labels, tinted, labels)
    return sum(seen)


@checks("every image goes through the network once", points=0.5, hint="Take all layers and all properties together.")
def _():
    wrong = {"once per layer": 300, "once per property": 200, "once per layer and property": 600}
    checks.equal(remote(passes, layer_curve, tinted[:50].clone(), first), 100, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "curve-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["layer_curve"]
# A network that has learned, against the course's own extractor, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from tlcore import transfer, worlds, zoo
from tlcore.grading import Checks

checks = Checks("Exercise 5 · A trained network", hidden=True, forbid=["tlcore.transfer"], seconds=60)


@checks("shape and colour, at four layers", points=1)
def _():
    seed = int(checks.rng().integers(1000))
    world = worlds.Shapes(shapes=("star", "heart", "L"), colours=("red", "blue"), noise=0.1, size=24)
    train, test = world.sample(60, seed=seed), world.sample(60, seed=seed + 1)
    net, layers = zoo.get_model("resnet20", weights="shapesx"), ["relu", "layer2", "avgpool", "fc"]
    labels, test_labels = ({n: d.factors[n].numpy() for n in ("shape", "colour")} for d in (train, test))
    found = layer_curve(net, layers, NearestCentroid(), train.inputs, labels, test.inputs, test_labels)
    for name in labels:
        want = []
        for layer in layers:
            X, X_test = (transfer.FeatureExtractor(net, layer, device="cpu").transform(d) for d in (train, test))
            scaler = StandardScaler().fit(X)
            head = NearestCentroid().fit(scaler.transform(X), labels[name])
            want.append(float(np.mean(head.predict(scaler.transform(X_test)) == test_labels[name])))
        checks.close(found[name], want, atol=0.02)


checks
### END HIDDEN TESTS

# %% [markdown]
# Our pictures come with more labels than the class. They also have a colour and a texture, four of each, so chance is
# 25% for all three. (Photos have only their class.) Guess where each will be read best: at `relu`, the first layer's
# output; after one of the nine blocks, `layer1.0`, `layer1.1`, `layer1` (what the third block of the stage gives is the
# stage's output), and so on to `layer3`; or at `fc`, the logits.

# %%
my_peaks = None  # three layers: for colour, texture and shape, such as ["relu", "relu", "relu"]

# %%
blocks = [f"layer{stage}{block}" for stage in (1, 2, 3) for block in (".0", ".1", "")]
layers = ["relu", *blocks, "fc"]
asked_for = ["class"] if photos else ["colour", "texture", "shape"]
size = runtime.scaled(quick=200, standard=400, full=500)
probed = [data[:size] for data in (pool, test)]
properties = [{n: d.factors.get(n, d.targets).numpy() for n in asked_for} for d in probed]
inputs_and_labels = [part for d, found in zip(probed, properties) for part in (d.inputs, found)]
curves = layer_curve(pretrained, layers, LogisticRegression(C=0.1, max_iter=2000), *inputs_and_labels)

# %%
ax = plots.figure(width=6, height=3)[1][0]
for (name, shares), marker in zip(curves.items(), "os^"):
    ax.plot(range(len(layers)), shares, marker=marker, label=name)
ax.axhline(1 / 4, color="0.6", linewidth=1)
ax.set_xticks(range(len(layers)), layers, rotation=45, ha="right")
ax.set(xlabel="layer, from input to output", ylabel="accuracy of a probe", ylim=(0, 1), title="grey: chance")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
peaks = {name: layers[int(np.argmax(shares))] for name, shares in curves.items()}
print("read best at:", peaks, "; your guess:", my_peaks)

# %% [markdown]
# From left to right, from the input to the output: colour is there early, texture a little (on these means it is hard
# to read anywhere), and both fade towards the end. Shape is the other way round. The network was paid for shapes only,
# and on its way up it gives up what does not serve that. So "the best layer" depends on what you want. The nearer your
# task is to the old one, the higher you can cut. For colours, cut low.
#
# > **A probe shows what can be read with ease.** It does not show what is there (the pixels hold everything), nor what
# > the network uses. And it depends on how maps were pooled: try a grid of cells.
#
# ## 6 · Choosing without fooling yourself
#
# Layers, grids and heads make many candidates. If we try all of them on the test and report the best, we report partly
# luck: among many candidates of about equal quality, one happens to suit those test pictures. The choice has to be
# made with *labelled training pictures* alone. They are few, so one uses **cross-validation**: cut them into folds,
# leave out one fold at a time, train on the others, and score on the one left out.
#
# ### Exercise 6 · Pick by cross-validation (3 points)
#
# Return the name of the candidate with the highest mean accuracy in cross-validation with `folds` folds; the first of
# them, if several are equally good. Candidates are features of the same labelled pictures, and the head stands behind
# a scaler that, in each round, learns from the training folds only. Labels may come sorted by class, so each fold must
# get its share of every class. scikit-learn's `cross_val_score` knows how.


# %% nbgrader={"grade": false, "grade_id": "pick", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pick(candidates: dict[str, np.ndarray], y: np.ndarray, head: object, folds: int = 5) -> str:
    """Name of the features (N, F) from which the head learns best, judged on the labelled pictures (N,) alone."""
    ### BEGIN SOLUTION
    from sklearn.model_selection import cross_val_score

    whole = make_pipeline(StandardScaler(), head)
    scores = {name: cross_val_score(whole, X, y, cv=folds).mean() for name, X in candidates.items()}
    return max(scores, key=scores.get)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pick-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["pick"]
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

from tlcore.grading import Checks, remote

checks = Checks("Exercise 6 · Pick by cross-validation", forbid=["tlcore.transfer"], seconds=20)
generator = np.random.default_rng(1)
sorted_labels = np.arange(40) // 10  # sorted by class
noise, clear = generator.normal(size=(40, 8)), np.eye(4)[sorted_labels] + 0.1 * generator.normal(size=(40, 4))
some = np.eye(4)[sorted_labels] + 0.7 * generator.normal(size=(40, 4))
drowned = np.concatenate([clear, 1000 * generator.normal(size=(40, 1))], 1)


def picked(candidates, labels=sorted_labels, folds=5):
    candidates = {name: X.copy() for name, X in candidates.items()}
    return pick(candidates, labels.copy(), KNeighborsClassifier(1), folds)


def rounds(pick, X, labels):
    import numpy as np
    from sklearn.neighbors import KNeighborsClassifier

    even, centred = [], []

    class Noting(KNeighborsClassifier):
        def fit(self, X, y):
            even.append(len(set(np.bincount(y, minlength=4).tolist())) == 1)
            centred.append(bool(np.abs(np.asarray(X).mean(0)).max() < 1e-4))
            return super().fit(X, y)

    pick({"one": X, "other": X.copy()}, labels, Noting(1), 5)
    return all(even), all(centred)


@checks("not by the accuracy on what was learned", points=1)
def _():
    wrong = {"a nearest neighbour remembers all it was trained on: that says nothing": "noise"}
    checks.equal(picked({"noise": noise, "clear": clear, "some": some}), "clear", mistakes=wrong)
    checks.equal(picked({"some": some, "noise": noise}), "some", mistakes={"this one scores least": "noise"})


@checks(
    "folds with all classes", points=0.5, hint="Labels come sorted: a fold cut off in order has classes of its own."
)
def _():
    wrong = {"were all scores 0? In sorted labels, a fold can hold a class that training has never seen": "noise"}
    checks.equal(picked({"noise": noise, "clear": clear}, folds=4), "clear", mistakes=wrong)
    share = remote(rounds, pick, some.copy(), sorted_labels.copy())[0]
    wrong = {"a fold has more of one class than of another: cut them class by class": False}
    checks.equal(share, True, mistakes=wrong)


@checks("each candidate behind a scaler", points=0.5)
def _():
    wrong = {"unscaled, the large feature drowns the others": "some"}
    checks.equal(picked({"some": some, "drowned": drowned}), "drowned", mistakes=wrong)
    own = remote(rounds, pick, some.copy(), sorted_labels.copy())[1]
    wrong = {"the scaler has seen the fold that was left out: put it into the pipeline": False}
    checks.equal(own, True, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "pick-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["pick"]
# More candidates, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier

from tlcore.grading import Checks

checks = Checks("Exercise 6 · More candidates", hidden=True, forbid=["tlcore.transfer"], seconds=20)


@checks("the clearest of six", points=0.5)
def _():
    rng = checks.rng()
    y = rng.permutation(np.arange(60) % 3)
    order = [f"layer {n}" for n in rng.permutation(6)]
    spreads = dict(zip(order, [3.0, 2.0, 0.1, 2.5, 4.0, 5.0]))
    candidates = {name: np.eye(3)[y] + spread * rng.normal(size=(60, 3)) for name, spread in spreads.items()}
    for head in (KNeighborsClassifier(1), GaussianNB()):
        checks.equal(pick(dict(candidates), y, head), min(spreads, key=spreads.get))


@checks("the first of equals", points=0.5)
def _():
    rng = checks.rng()
    y = np.arange(30) % 3
    X = np.eye(3)[y] + 0.1 * rng.normal(size=(30, 3))
    checks.equal(pick({"b": X, "a": X.copy(), "c": X.copy()}, y, KNeighborsClassifier(1), 3), "b")


checks
### END HIDDEN TESTS

# %% [markdown]
# The experiment: five labelled pictures of each class, a test of twenty pictures, and ten candidates (one of them three
# layers side by side; a lecture speaks of the outputs of "one or more layers"). One student picks the candidate that
# does best on the test and reports that number. Another picks with your function, and looks at the test only for the
# one that was picked. We repeat it with other pictures, and since we have many more of them, we know how good the
# picked ones *really* are on new ones. By how much will the first one report too much?

# %%
my_optimism = None  # a difference, such as 0.02

# %%
grids = [("layer2", 1), ("layer2", 2), ("layer3.0", 1), ("layer3.0", 2), ("layer3.1", 1)]
grids += [("layer3.1", 2), ("layer3", 1), ("layer3", 2), ("fc", 1)]
everything, answers = torch.cat([pool.inputs, test.inputs])[:800], np.concatenate([y, y_test])[:800]
candidates = vectors({f"{layer}, {grid} x {grid}": (layer, grid) for layer, grid in grids}, everything)
candidates["three layers"] = np.concatenate([candidates[f"{layer}, 1 x 1"] for layer in blocks[6:]], 1)
mean_head = NearestCentroid()


# %%
def reported(seed: int) -> list[float]:
    """Of one draw: what the first student reports and really has, then what the second one reports and really has."""
    rows = few(answers, 5, seed)
    rest = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(len(answers)), rows))
    scores = {}
    for name, X in candidates.items():
        head = make_pipeline(StandardScaler(), NearestCentroid()).fit(X[rows], answers[rows])
        scores[name] = [head.score(X[part], answers[part]) for part in (rest[:20], rest[20:])]
    peeked = max(scores, key=lambda name: scores[name][0])
    honest = pick({name: X[rows] for name, X in candidates.items()}, answers[rows], mean_head)
    return scores[peeked] + scores[honest]


# %%
repeats = np.array([reported(seed) for seed in range(runtime.scaled(quick=8, standard=24, full=60))])
said_peek, real_peek, said_pick, real_pick = repeats.mean(0)

# %%
too_much, error = said_peek - real_peek, (repeats[:, 0] - repeats[:, 1]).std() / len(repeats) ** 0.5
print(f"too much: {too_much:.1%} (standard error {error:.1%}); your guess was {my_optimism}")
plots.table(
    [
        ["best on the test", f"{said_peek:.1%}", f"{real_peek:.1%}"],
        ["your pick", f"{said_pick:.1%}", f"{real_pick:.1%}"],
    ],
    ["chosen by", "reported", "on new pictures"],
)

# %% [markdown]
# Whoever chooses on the test reports too much: the score was chosen *because* it was high. The second report is right
# on average, up to chance, because those twenty pictures had no say in the choice. (The first student need not choose
# badly, having used twenty labels more. It is the report that is wrong.) The same holds for whatever else is chosen:
# the head, its constants, the seed, the epoch at which to stop.
#
# ## 7 · What does a channel look for?
#
# The curve says at which layer shapes can be read. But what does a channel of that layer like to see? Ask it: run many
# pictures through the network, find the places where the channel is most active, and cut out what it sees there. That
# piece of the picture is its receptive field from Lesson 02. Zeiler and Fergus drew such pictures in 2013.
#
# ### Exercise 7 · Favourite patches (3 points)
#
# `strongest` returns the places where a channel is most active, as (image, row, column) in its maps, the strongest
# first, at most one of each image. `patch` cuts out of an image what one position of a layer sees. The layers
# below it are given as (kernel, stride, padding), as in Lesson 02: position $t$ reads the positions $ts - p$ to
# $ts - p + k - 1$ one layer below, along both axes. What lies outside the picture is left out. For the layers
# `[(3, 1, 1), (3, 2, 1)]`, position 0 reads from -2 to 2, and of these only 0 to 2 exist.


# %% nbgrader={"grade": false, "grade_id": "patch", "locked": false, "schema_version": 3, "solution": true, "task": false}
def strongest(maps: torch.Tensor, channel: int, count: int) -> list[tuple[int, int, int]]:
    """The count highest peaks of a channel, at most one per image: maps (N, C, H, W) -> (image, row, column)."""
    ### BEGIN SOLUTION
    peaks, places = maps[:, channel].flatten(1).max(1)
    best = peaks.argsort(descending=True)[:count].tolist()
    return [(n, *divmod(int(places[n]), maps.shape[3])) for n in best]
    ### END SOLUTION


def patch(image: torch.Tensor, layers: list[tuple[int, int, int]], row: int, column: int) -> torch.Tensor:
    """What a position sees of an image (C, H, W); layers are (kernel, stride, padding), first layer first."""
    ### BEGIN SOLUTION
    spans = []
    for t, side in ((row, image.shape[1]), (column, image.shape[2])):
        first = last = t
        for kernel, stride, padding in reversed(layers):
            first, last = first * stride - padding, last * stride - padding + kernel - 1
        spans.append(slice(max(first, 0), min(last + 1, side)))
    return image[:, spans[0], spans[1]]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "patch-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["strongest", "patch"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 7 · Favourite patches", forbid=["tlcore.transfer", "tlcore.anatomy"], seconds=10)
image = torch.arange(2 * 20 * 24.0).view(2, 20, 24)


@checks("the highest peaks, one of each image", points=1)
def _():
    maps = torch.zeros(4, 2, 3, 5)
    maps[2, 1, 1, 4], maps[0, 1, 2, 0], maps[3, 1, 0, 3] = 9.0, 7.0, 5.0
    maps[2, 1, 0, 0], maps[1, 0, 1, 1] = 8.0, 20.0
    wrong = {
        "at most one place of each image": [(2, 1, 4), (2, 0, 0), (0, 2, 0)],
        "the strongest comes first": [(3, 0, 3), (0, 2, 0), (2, 1, 4)],
        "rows come before columns": [(2, 4, 1), (0, 0, 2), (3, 3, 0)],
        "that is another channel": [(1, 1, 1), (0, 0, 0), (2, 0, 0)],
    }
    checks.equal(strongest(maps, 1, 3), [(2, 1, 4), (0, 2, 0), (3, 0, 3)], mistakes=wrong)


@checks("what a position in the middle sees", points=0.5)
def _():
    layers = [(3, 1, 1), (3, 2, 1)]
    wrong = {
        "the padding was left out": image[:, 8:13, 12:17],
        "rows come before columns": image[:, 10:15, 6:11],
        "the last pixel is missing: slices end before their end": image[:, 6:10, 10:14],
        "you walked from the first layer to the last": image[:, 5:12, 9:16],
    }
    checks.close(patch(image, layers, 4, 6), image[:, 6:11, 10:15], mistakes=wrong)


@checks("what a position at the border sees", points=0.5, hint="A slice from -2 starts at the other end.")
def _():
    layers = [(5, 1, 2), (3, 2, 1), (3, 2, 1)]
    checks.close(patch(image, layers, 0, 0), image[:, :6, :6])
    checks.close(patch(image, layers, 4, 5), image[:, 11:, 15:])


checks

# %% nbgrader={"grade": true, "grade_id": "patch-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["strongest", "patch"]
# Random maps, and what a gradient says, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 7 · Random maps", hidden=True, forbid=["tlcore.transfer", "tlcore.anatomy"], seconds=20)


@checks("random maps, all of them below zero", points=0.5)
def _():
    maps = -checks.rng().random((7, 3, 4, 6)) - 1
    peaks = sorted(range(7), key=lambda n: -maps[n, 2].max())[:5]
    want = [(n, *(int(i) for i in np.unravel_index(maps[n, 2].argmax(), (4, 6)))) for n in peaks]
    checks.equal(strongest(torch.tensor(maps), 2, 5), want)


@checks("the pixels that have a gradient", points=0.5)
def _():
    rng = checks.rng()
    # Without padding a step of two may leave the last position below unread, and a walk of the ends cannot know that.
    layers = [(int(rng.choice([3, 5])), int(rng.integers(1, 3)), int(rng.integers(min(n, 1), 3))) for n in range(3)]
    image = torch.tensor(rng.random((1, 31, 37)), requires_grad=True)
    out = image[None]
    for k, s, p in layers:
        out = torch.nn.functional.conv2d(out, torch.ones(1, 1, k, k, dtype=out.dtype), stride=s, padding=p)
    for row, column in ((0, 0), (out.shape[2] // 2, out.shape[3] // 2), (out.shape[2] - 1, out.shape[3] - 1)):
        (gradient,) = torch.autograd.grad(out[0, 0, row, column], image, retain_graph=True)
        rows, columns = gradient[0].nonzero().unbind(1)
        want = image.detach()[:, int(rows.min()) : int(rows.max()) + 1, int(columns.min()) : int(columns.max()) + 1]
        checks.close(patch(image.detach().clone(), layers, row, column), want)


checks
### END HIDDEN TESTS

# %% [markdown]
# The layers of our ResNet-20 as a stack, up to each of four cuts, as in Lesson 02: the longest path goes through both
# convolutions of every block, and the first block of the second and third stage takes a step of two. Of each layer we
# show three channels, with their six favourites: those whose peaks stand out most, and whose first favourites are of
# different classes. That is a flattering choice, to be remembered below.

# %%
step, plain = (3, 2, 1), (3, 1, 1)
stack = [plain] + 6 * [plain] + [step] + 5 * [plain] + [step] + 5 * [plain]
depth = {"layer1.0": 3, "layer1": 7, "layer2.0": 9, "layer3": 19}
gallery = pool[: runtime.scaled(quick=120, standard=400, full=1000)]
seen = {name: torch.as_tensor(maps) for name, maps in features(pretrained, list(depth), gallery.inputs).items()}


# %%
def standing_out(maps: torch.Tensor) -> list[int]:
    """Three channels whose peaks rise most above what they usually give, with favourites of different classes."""
    values, chosen = maps.transpose(0, 1).flatten(1), {}  # (C, N H W)
    rise = (values.amax(1) - values.mean(1)) / (values.std(1) + 1e-6)
    for channel in rise.argsort(descending=True).tolist():
        favourite = strongest(maps, channel, 1)[0][0]
        chosen.setdefault(int(gallery.targets[favourite]), channel)
    return list(chosen.values())[:3]


# %%
fig, axes = plots.figure(18, 4, width=0.56, height=0.75)
for ax in axes:
    ax.axis("off")
for row, (name, maps) in enumerate(seen.items()):
    for number, channel in enumerate(standing_out(maps)):
        for place, (n, i, j) in enumerate(strongest(maps, channel, 6)):
            ax = axes[18 * row + 6 * number + place]
            ax.axis("on")
            picture(ax, torch.as_tensor(patch(gallery.inputs[n], stack[: depth[name]], i, j)))
        axes[18 * row + 6 * number].set_title(f"channel {channel}", fontsize=8)
    axes[18 * row].set_ylabel(name, fontsize=8)

# %% [markdown]
# Look along the rows, six patches for each of three channels. In the first layers a patch is a few pixels: a piece of
# an edge, a step from one colour to another. Further up the patches grow to corners, tips and arcs, parts of a shape,
# less and less bound to a colour. At the top one patch is the whole picture, and six favourites tend to be of one shape
# or of shapes that have a part in common. "Edges, object parts, objects": here they are.
#
# Pictures like these are easily over-read, so let us count. Of a channel's twenty favourite pictures, how many share
# the most frequent shape, and how many the most frequent colour? For comparison there are channels that give random
# numbers.

# %%
my_favourites = None  # which one grows with depth: "shape", "colour" or "both"


# %%
def in_common(maps: torch.Tensor, values: torch.Tensor) -> float:
    """Mean over the channels: the largest share of one value among the twenty favourite pictures."""
    shares = []
    for channel in range(maps.shape[1]):
        rows = [n for n, _, _ in strongest(maps, channel, 20)]
        shares.append(float(torch.bincount(values[rows]).max()) / 20)
    return sum(shares) / len(shares)


# %%
chance = {"random": torch.rand(len(gallery), 200, 1, 1)}
common = {
    prop: [in_common(maps, gallery.factors.get(prop, gallery.targets)) for maps in (chance | seen).values()]
    for prop in (["class"] if photos else ["shape", "colour"])
}
print("your guess:", my_favourites)
plots.table([[n, *[f"{s:.0%}" for s in shares]] for n, shares in common.items()], ["favourites share", *chance, *depth])

# %% [markdown]
# The favourites of low channels often have a colour in common, those of high ones a shape. It is the same story as the
# curve's, told by single channels instead of probes.
#
# ## What we saw
#
# The numbers below come from your run.


# %%
def side_by_side(shares: list[float]) -> str:
    return " / ".join(f"{share:.0%}" for share in shares)


new_classes, old_classes = zip(*levels.values())
best_and_worst = max(on_neck[5].values()), min(on_neck[5].values())
rows = [
    ["pictures", pool.origin],
    [f"trained / untrained neck / pixels, {counts[-1]} a class", side_by_side(v[-1] for v in opening.values())],
    ["training mode: all at once / by class / one at a time", side_by_side(two[1] for two in modes.values())],
    ["one a class, new classes: logits / neck / map 2 x 2 / map 4 x 4", side_by_side(new_classes)],
    ["one a class, old classes: logits / neck / map 2 x 2 / map 4 x 4", side_by_side(old_classes)],
    ["best / worst head, 5 a class", side_by_side(best_and_worst)],
]

# %%
rows += [
    ["SVM, neck and colours: bare / scaled", side_by_side(units["linear SVM", "neck and colours"])],
    ["new head / from scratch", " / ".join(f"{share:.0%} in {t:.1f} s" for t, share in minute.values())],
    [f"grain of {' / '.join(map(str, grains))} added", side_by_side(far)],
    ["read best at", ", ".join(f"{name}: {layer}" for name, layer in peaks.items())],
    ["chosen on the test: reported / real", f"{said_peek:.1%} / {real_peek:.1%}"],
    ["chosen by cross-validation: reported / real", f"{said_pick:.1%} / {real_pick:.1%}"],
]
plots.table(rows, ["question", "answer"])

# %% [markdown]
# - Chop off the head, keep the neck, train any classifier: seconds of work, and a few labels are enough, if the old
#   task is near the new one.
# - Evaluation mode, no gradients, and a copy of what the hook caught. In training mode features depend on the batch.
# - Logits serve the old classes. The neck serves new ones, and a map also knows where things are.
# - Scale features, with what the *training* pictures say. Choose layers and heads without the test.
# - Colours are read best from low layers, what the network was trained to name from high ones.
# - A new head cannot see what the features do not show. The further the domain moves, the less frozen features are
#   worth.
#
# ### What if?
#
# - You put the features of *all* layers side by side, and let the classifier choose. What do you expect with four
#   labelled pictures, and with four thousand?
# - The network was trained to name shapes and forgot textures. What would you train it for, so that its neck is good
#   for as many later tasks as possible?
# - Two people use the same twenty test pictures for a year, each choosing honestly by cross-validation and reporting
#   every result. Is the best of all their reports still honest?
