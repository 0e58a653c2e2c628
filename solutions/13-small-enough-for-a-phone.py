# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 13 · How do you fit a large network into a phone?
#
# Over twelve lessons networks have grown. A phone has little memory, a slow processor and a battery. "That's
# simple!", says the lecture: train a smaller network, or use a remote server with GPUs, or perhaps float16 instead of
# float32. Then it asks whether we can do better, and names some ways: SVD, TensorTrain, Optimal Brain Damage, L1 on
# activations, soft targets, Net2net. Below are some answers for one network: the further up and to the left, the
# better. By the end of this lesson you will have written the heart of each method, and you will know which of them
# make a network *smaller*, which make it *faster*, and what each costs.
#
# The lesson has seven exercises and 20 points. Running all its cells takes about a minute.

# %%
import os

os.environ["OMP_NUM_THREADS"] = "1"  # the batches are too small to be shared out; read when torch is imported

import torch

from tlcore import plots, runtime, worlds

plots.use_style()
names = ("circle", "ring", "square", "diamond")
world = worlds.Shapes(shapes=names, textures=("plain",), size=24)
train = world.sample(runtime.scaled(quick=400, standard=1500, full=6000), seed=1)
test = world.sample(runtime.scaled(quick=120, standard=500, full=2000), seed=2)
test

# %% [markdown]
# The large network is the ResNet-20 that comes with this course. It knows twelve shapes. For our four we keep four
# rows of its last layer, so nothing needs to be trained. (It is large only beside what follows. For a network of 60
# million weights the methods are the same and the savings are not: measure there again.)

# %%
from torch import nn

from tlcore import weights, zoo

large = zoo.get_model("resnet20", weights="shapesx").eval()
known = weights.card("resnet20-shapesx")["classes"]
head = nn.Linear(64, 4)
with torch.no_grad():
    rows = [known.index(name) for name in names]
    head.weight.copy_(large.fc.weight[rows])
    head.bias.copy_(large.fc.bias[rows])
large.fc = head

# %% [markdown]
# One loop serves for all training in this lesson. Its loss gets the network's outputs for a batch, and the places of
# the batch's pictures in the training set (`some`); so it can look up labels, or anything else known about them.

# %%
from collections.abc import Callable

from torch.nn import functional as F


def learn(net: nn.Module, images: torch.Tensor, loss: Callable, epochs: int, lr: float = 0.01) -> nn.Module:
    """Train in place by Adam; loss(outputs, places of the pictures in images)."""
    batches = [torch.randperm(len(images))[: len(images) // 50 * 50].split(50) for _ in range(epochs)]
    optimizer = torch.optim.Adam(net.parameters(), lr)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=sum(map(len, batches)))
    net.train()
    for some in (batch for epoch in batches for batch in epoch):
        optimizer.zero_grad()
        loss(net(images[some]), some).backward()
        optimizer.step()
        rates.step()
    return net.eval()


# %%
def from_labels(out: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(out, train.targets[some])


# %% [markdown]
# The lecture's first answer is a smaller network. Ours has three plain convolutions, and we shall meet it again.


# %%
def small(width: int, classes: int = 4) -> nn.Sequential:
    """Three convolutions of width, 2 width and 4 width maps for pictures (N, 3, 24, 24)."""

    def block(channels_in: int, channels_out: int) -> list[nn.Module]:
        conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(channels_out), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(3, width), *block(width, 2 * width), *block(2 * width, 4 * width)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * 9, classes))


def seeded(make: Callable, *options: object, seed: int = 0) -> nn.Module:
    _ = runtime.seed_everything(seed)
    return make(*options)


# %%
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter


def logarithmic(ax: Axes) -> None:
    ax.set(xscale="log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())


# %%
from tlcore import compress


def trade_off(report: compress.Report) -> None:
    """Accuracy against bytes, and against time."""
    _, axes = plots.figure(2, width=4, height=3.4)
    for n, row in enumerate(report):
        reached = row.accuracy if row.recovered is None else row.recovered
        style = {"color": plots.COLOURS[n % 7], "marker": "oDs"[n // 7], "linestyle": "", "label": row.name}
        for ax, value in zip(axes, (row.bytes / 1000, 1000 * row.seconds[0])):
            ax.plot(value, reached, **style)
    axes[0].set(xlabel="kilobytes in a file", ylabel="accuracy")
    axes[1].set(xlabel="milliseconds for one picture")
    for ax in axes:
        logarithmic(ax)
    axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))


# %%
inner = [path for path, layer in large.named_modules() if isinstance(layer, nn.Conv2d) and path != "conv1"]
epochs = runtime.scaled(quick=8, standard=12, full=20)
alone = learn(seeded(small, 8), train.inputs, from_labels, epochs)
estimate = {"method": "fisher", "samples": runtime.scaled(quick=25, standard=50, full=100)}
cut = {"rows": runtime.scaled(quick=50, standard=200, full=500), "curvature": estimate, "device": "cpu"}
removed = compress.prune(large, train, sparsity=0.3, of="units", **cut).model
nets = {
    "float16": compress.half(large),
    "SVD": compress.svd(large, size=0.7, layers=inner),
    "units removed": removed,
    "small net": alone,
}
found = compress.report(large, nets, test, batches=(1,), runs=runtime.scaled(quick=8, standard=30, full=50))
trade_off(found)

# %%
found

# %% [markdown]
# Bytes are those of a file; milliseconds are those of one picture on your machine; "before" is the network as it was.
# Read the sentences below the table: they say "smaller but slower" when it is so, and "which may be chance" when a
# difference is no more than the pictures that we happen to judge on. No method is the best in every column, and to be
# smaller is one thing and to be faster is another.
#
# > **And the server?** Then the phone keeps nothing, and pays with its connection. A colour picture of 224 x 224
# > pixels is 150,528 bytes before it is packed, and every answer has to wait for the network in the other sense of
# > the word.
#
# ## 1 · Sixteen bits
#
# float32 has 24 significant bits (one of them, always 1, is not stored), float16 has 11. So in every power of two,
# from 1 to 2 or from 4 to 8, there are $2^{10}$ float16 numbers, equally spaced.
#
# ### Exercise 1 · Round to so many bits (2 points)
#
# Round every number to the nearest one with `bits` significant bits. If $2^e \le |x| < 2^{e+1}$, neighbours are a
# step of $2^{e - \text{bits} + 1}$ apart. Below $2^{\text{lowest}}$ the step stays as it is at $e$ = `lowest`, so
# that tiny numbers become 0; float16 has 11 bits and `lowest` = -14. Halfway between two, either will do. An example
# with 3 bits: from 4 to 8 the step is 1, so 5.3 becomes 5 and 7.8 becomes 8; from 1 to 2 it is a quarter, so 1.3
# becomes 1.25.


# %% nbgrader={"grade": false, "grade_id": "rounding", "locked": false, "schema_version": 3, "solution": true, "task": false}
def rounded(x: torch.Tensor, bits: int = 11, lowest: int = -14) -> torch.Tensor:
    """The nearest numbers with so many significant bits, of the same shape and type as x."""
    ### BEGIN SOLUTION
    exponent = torch.frexp(x).exponent - 1  # 2^e <= |x| < 2^(e + 1)
    step = 2.0 ** (exponent.clamp(min=lowest) - bits + 1)
    return torch.round(x / step) * step
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "rounding-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["rounded"]
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks(
    "Exercise 1 · Round to so many bits", forbid=["torch.float16", "torch.half", "tlcore.compress"], seconds=20
)


@checks("the example of the text, with either sign", points=0.5)
def _():
    x = torch.tensor([5.3, 7.8, 1.3, -5.3])
    wrong = {
        "the number was cut off; the nearest is asked for": [5.0, 7.0, 1.25, -5.0],
        "the first bit counts, too: a step of 2^(e - bits + 1)": [5.5, 8.0, 1.25, -5.5],
        "these are bits behind the point; significant bits begin at the first 1": [5.25, 7.75, 1.25, -5.25],
        "the sign was lost": [5.0, 8.0, 1.25, 5.0],
    }
    checks.close(rounded(x, 3), [5.0, 8.0, 1.25, -5.0], rtol=0, atol=1e-6, mistakes=wrong)


@checks("float16: large numbers lose their units", points=0.5, hint="From 2048 to 4096 the step of float16 is 2.")
def _():
    checks.close(rounded(torch.tensor([2050.6, 1 / 3, 1000.3])), [2050.0, 0.333251953125, 1000.5], rtol=0, atol=1e-7)


@checks("tiny numbers have a fixed step, and 0 is 0", points=0.5)
def _():
    x = torch.tensor([0.0, 1e-8, 2.0**-24, 3.6 * 2.0**-24])
    scaled = torch.as_tensor(np.asarray(rounded(x.clone()), dtype=float)) * 2.0**24
    wrong = {"below 2^lowest the step stops shrinking": (x * 2.0**24).tolist()}
    checks.close(scaled, [0.0, 0.0, 1.0, 4.0], rtol=0, atol=1e-3, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "rounding-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["rounded"]
# Random numbers, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

checks = Checks(
    "Exercise 1 · Random numbers", hidden=True, forbid=["torch.float16", "torch.half", "tlcore.compress"], seconds=20
)


@checks("as the machine rounds to float16 and to bfloat16, and with five bits", points=0.5)
def _():
    rng = checks.rng()
    x = torch.tensor(rng.normal(size=(20, 10)) * 10.0 ** rng.integers(-6, 4, (20, 10)), dtype=torch.float32)
    x = (x.view(torch.int32) | 1).view(torch.float32)  # the last bit is set, so nothing lies halfway
    checks.close(rounded(x.clone()), x.half().float(), rtol=1e-6, atol=1e-12)
    checks.close(rounded(x.clone(), 8, -126), x.bfloat16().float(), rtol=1e-6, atol=1e-12)
    five = [
        round(float(v) * 2.0**4 / 2.0 ** int(e)) * 2.0 ** int(e) / 2.0**4
        for v, e in zip(x[0], x[0].abs().log2().floor())
    ]
    checks.close(rounded(x[0].clone(), 5, -40), five, rtol=1e-6, atol=1e-12)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now all weights of the ResNet go through your function, with fewer and fewer bits. Guess: how many significant bits
# are enough for it to lose less than 2 points of accuracy?

# %%
my_bits = None  # from 1 to 11


# %%
import copy

import numpy as np


def numbers(answer: object) -> torch.Tensor:
    """Whatever container an answer came in, as a tensor of its own."""
    plain = answer.detach() if isinstance(answer, torch.Tensor) else answer
    return torch.as_tensor(np.asarray(plain, dtype=np.float32).copy())


# %%
@torch.no_grad()
def accuracy(net: nn.Module) -> float:
    outputs = torch.cat([net(images) for images in test.inputs.split(250)])
    return float((outputs.argmax(1) == test.targets).float().mean())


def with_bits(bits: int, net: nn.Module = large) -> nn.Module:
    net = copy.deepcopy(net)
    for parameter in net.parameters():
        parameter.data = numbers(rounded(parameter.data, bits))
    return net


# %%
by_bits = {bits: accuracy(with_bits(bits)) for bits in (11, 8, 6, 5, 4, 3, 2, 1)}
ax = plots.figure(width=5, height=2.8)[1][0]
ax.plot(list(by_bits), list(by_bits.values()), marker="o")
ax.axhline(0.25, color="0.6", linewidth=1)
ax.set(
    xlabel="significant bits of each weight", ylabel="accuracy", ylim=(0, 1.05), title="11 bits: float16, 8: bfloat16"
)
before = found["before"].accuracy
enough = min(bits for bits, share in by_bits.items() if share > before - 0.02)
print(f"before: {before:.1%}; {enough} bits are enough; your guess was {my_bits}")
print(f"small net, trained here in float32: {accuracy(alone):.1%}; with 11 bits {accuracy(with_bits(11, alone)):.1%}")

# %% [markdown]
# (The grey line is chance. With one bit every weight is 0 or a power of two, with either sign.) Weights came out of a
# noisy training, and their last bits tell little. The point at 11 bits is no test, though: this course ships its
# ResNets as float16 numbers, so there was nothing to round. The small net was trained here in float32; the last line
# says what 11 bits cost it. float16 halves the file, and is the first thing to do. Two warnings. What overflows is
# lost: float16 ends at 65,504. And on a processor without 16-bit arithmetic a network in float16 is smaller and not
# faster, because every weight is widened before it is used, which takes time, too.

# %% [markdown]
# ## 2 · Decomposition
#
# The lecture's *decomposition trick*: a matrix $W$ of shape $m \times n$ as a product of two thin ones, $m \times r$
# and $r \times n$. A dense layer becomes two, with nothing between them. A convolution's kernel is first flattened to
# a matrix: (out, in, $k$, $k$) becomes $(\text{out}, \text{in} \cdot k \cdot k)$. The thin matrices then are a $k
# \times k$ convolution to $r$ maps and a $1 \times 1$ convolution to all of them. The lecture's examples are a dense
# layer of 4096 x 4096 and a kernel of 512 x 256 x 3 x 3 (VGG-16 has both).
#
# ### Exercise 2 · At which rank does it pay? (2 points)
#
# Return the largest rank at which the two thin layers hold *fewer* numbers than the one they replace (biases aside),
# and 0 if there is none. For a 4 x 6 matrix, 24 numbers, ranks 1, 2 and 3 take 10, 20 and 30 numbers, so the answer
# is 2.


# %% nbgrader={"grade": false, "grade_id": "pays", "locked": false, "schema_version": 3, "solution": true, "task": false}
def pays(shape: tuple[int, ...]) -> int:
    """Largest rank at which two thin layers are smaller than a weight of shape (out, in) or (out, in, k, k)."""
    ### BEGIN SOLUTION
    rows, columns = shape[0], 1
    for size in shape[1:]:
        columns *= size
    return (rows * columns - 1) // (rows + columns)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "pays-check", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["pays"]
from tlcore.grading import Checks

checks = Checks("Exercise 2 · At which rank does it pay?", forbid=["tlcore.compress"], seconds=20)


@checks("the example of the text, and the lecture's dense layer", points=0.5)
def _():
    checks.equal(pays((4, 6)), 2, mistakes={"half of the smaller side is not it": 3, "this is the full rank": 4})
    checks.equal(pays((4096, 4096)), 2047, mistakes={"at this rank it is as large, not smaller": 2048})


@checks("the lecture's kernel", points=0.5, hint="Flattened, it is 512 x 2304.")
def _():
    wrong = {
        "the 3 x 3 places of the kernel belong to the matrix": 170,
        "flattened the other way round, (out k k, in): the second layer would have the places": 242,
        "half of the smaller side is not it": 256,
        "this is the full rank": 512,
    }
    checks.equal(pays((512, 256, 3, 3)), 418, mistakes=wrong)


@checks("fewer, not as many", points=0.5, hint="And where even rank 1 takes as many numbers, the answer is 0.")
def _():
    checks.equal(pays((6, 3)), 1, mistakes={"at this rank it is as large, not smaller": 2})
    checks.equal(pays((2, 2)), 0, mistakes={"at this rank it is as large, not smaller": 1})
    checks.equal(pays((1, 9)), 0, mistakes={"even rank 1 is larger here": 1})


checks

# %% nbgrader={"grade": true, "grade_id": "pays-hidden", "locked": true, "points": 0.5, "schema_version": 3, "solution": false, "task": false} student_names=["pays"]
# Random shapes, when your work is graded.
### BEGIN HIDDEN TESTS
from tlcore.grading import Checks

checks = Checks("Exercise 2 · Random shapes", hidden=True, forbid=["tlcore.compress"], seconds=20)


@checks("random shapes, one rank at a time", points=0.5)
def _():
    rng = checks.rng()
    for shape in ((12, 4), *[tuple(int(n) for n in rng.integers(2, 12, axes)) for axes in (2, 4, 4, 2)]):
        axes = len(shape)
        columns = shape[1] if axes == 2 else shape[1] * shape[2] * shape[3]
        smaller = [r for r in range(1, 200) if r * (shape[0] + columns) < shape[0] * columns]
        checks.equal(pays(shape), max(smaller, default=0))


checks
### END HIDDEN TESTS

# %% [markdown]
# For the dense layer it pays below half of the full rank of 4096, for the kernel up to four fifths of its 512.
# Multiplications go with the numbers here: at every position each number is used once, so a smaller layer also
# computes less. Is it faster? We time both examples for one input at several ranks. Guess: at the largest rank that
# pays, how long do the two thin layers take, as a share of the one they replace?

# %%
my_time = None  # such as 0.9

# %%
shapes = {"dense, 4096 x 4096": (4096, 4096), "kernel, 512 x 256 x 3 x 3": (512, 256, 3, 3)}
dense = nn.utils.skip_init(nn.Linear, 4096, 4096, bias=False)
convolution = nn.utils.skip_init(nn.Conv2d, 256, 512, 3, padding=1, bias=False)


def thin_pair(layer: nn.Module, rank: int) -> nn.Sequential:
    """Two thin layers of the right shapes; to be timed, not to be used."""
    if isinstance(layer, nn.Linear):
        first, second = (layer.in_features, rank), (rank, layer.out_features)
        return nn.Sequential(*[nn.utils.skip_init(nn.Linear, *sizes, bias=False) for sizes in (first, second)])
    first = nn.utils.skip_init(nn.Conv2d, layer.in_channels, rank, 3, padding=1, bias=False)
    return nn.Sequential(first, nn.utils.skip_init(nn.Conv2d, rank, layer.out_channels, 1, bias=False))


def fill(net: nn.Module) -> nn.Module:
    for weight in net.parameters():
        weight.data.fill_(0.01)
    return net


# %%
inputs = {"dense, 4096 x 4096": torch.ones(1, 4096), "kernel, 512 x 256 x 3 x 3": torch.ones(1, 256, 14, 14)}
shares, ratios = (0.1, 0.4, 0.7, 1.0), {}
for (name, shape), layer in zip(shapes.items(), (dense, convolution)):
    several = [fill(layer), *[fill(thin_pair(layer, int(share * pays(shape)))) for share in shares]]
    calls = [lambda net=net, x=inputs[name]: net(x) for net in several]
    times = compress.latencies(calls, runs=runtime.scaled(quick=5, standard=20, full=50), warm_up=1)
    ratios[name] = [compress.paired_ratio(times[0], other).median for other in times[1:]]

# %%
ax = plots.figure(width=5, height=2.8)[1][0]
for name, measured in ratios.items():
    ax.plot(shares, measured, marker="o", label=name)
ax.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle=":")
ax.axhline(1, color="0.6", linewidth=1)
ax.set(xlabel="rank, as a share of the largest that pays", ylabel="time / time before", ylim=(0, None))
ax.legend()
print("at the largest rank that pays:", {n: round(r[-1], 2) for n, r in ratios.items()}, "your guess:", my_time)

# %% [markdown]
# If time went with the numbers, the points would lie on the dotted line. Where they lie depends on your machine: a
# dense layer with one input has to fetch every weight from memory, so there fewer numbers mean less time; a
# convolution computes more than it fetches, and two layers start twice.
#
# Now the thin layers themselves. By the theorem of Eckart and Young (1936) the best matrix of rank $r$ comes from the
# **singular value decomposition** $W = U S V^\top$ with everything cut off after the $r$ largest singular values. The
# sum of the squares of those that are cut off is the squared error.
#
# ### Exercise 3 · Two thin layers (3 points)
#
# Write it, for a dense layer's weight as well as for a convolution's. `first` has the shape of `weight`, but with
# `rank` in place of out; `second` has the shape (out, rank). Their product, `second @ first` for matrices, is the
# best approximation of that rank. How you share the singular values out between the two is your choice. In loops:
# `weight[o, i, y, x]` is about the sum over `r` of `second[o, r] * first[r, i, y, x]`.


# %% nbgrader={"grade": false, "grade_id": "thin", "locked": false, "schema_version": 3, "solution": true, "task": false}
def thin(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in) or (out, in, k, k) -> first (rank, in) or (rank, in, k, k), and second (out, rank)."""
    ### BEGIN SOLUTION
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    root = values[:rank].sqrt()  # half to each side, so that both have entries of one size
    first = (root[:, None] * right[:rank]).reshape(rank, *weight.shape[1:])
    return first, left[:, :rank] * root
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "thin-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["thin"]
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 3 · Two thin layers", forbid=["tlcore.compress", "torch.svd_lowrank"], seconds=20)
draws = torch.Generator().manual_seed(4)
matrix = torch.randn(5, 7, generator=draws, dtype=torch.float64)
kernel = torch.randn(6, 4, 3, 3, generator=draws, dtype=torch.float64)


def product(parts):
    first, second = (torch.as_tensor(np.asarray(part, dtype=float).copy()) for part in parts)
    return torch.einsum("or,r...->o...", second, first)


def wrong_ones(weight, rank):
    left, values, right = torch.linalg.svd(weight.flatten(1), full_matrices=False)
    cut = {
        "the singular values were left out": left[:, :rank] @ right[:rank],
        "both sides got the singular values in full; their roots, or only one side": (left * values**2)[:, :rank]
        @ right[:rank],
        "these are the smallest singular values": (left * values)[:, -rank:] @ right[-rank:],
    }
    return {name: value.view_as(weight) for name, value in cut.items()}


@checks("a matrix that has rank 2", points=0.5, hint="Where the rank suffices, nothing is lost.")
def _():
    low = matrix[:, :2] @ matrix[:2]
    parts = thin(low.clone(), 2)
    checks.equal([tuple(part.shape) for part in parts], [(2, 7), (5, 2)])
    checks.close(product(parts), low, atol=1e-5, mistakes=wrong_ones(low, 2))


@checks("the best approximation of a matrix", points=0.5)
def _():
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    best = (left[:, :3] * values[:3]) @ right[:3]
    checks.close(product(thin(matrix.clone(), 3)), best, atol=1e-5, mistakes=wrong_ones(matrix, 3))


@checks("the best approximation of a kernel", points=1, hint="Flatten everything but the first axis, and undo it.")
def _():
    left, values, right = torch.linalg.svd(kernel.flatten(1), full_matrices=False)
    best = ((left[:, :2] * values[:2]) @ right[:2]).view_as(kernel)
    parts = thin(kernel.clone(), 2)
    checks.equal([tuple(part.shape) for part in parts], [(2, 4, 3, 3), (6, 2)])
    checks.close(product(parts), best, atol=1e-5, mistakes=wrong_ones(kernel, 2))


checks

# %% nbgrader={"grade": true, "grade_id": "thin-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["thin"]
# Random weights, as layers, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch
from torch.nn import functional as F

from tlcore.grading import Checks

checks = Checks("Exercise 3 · Random weights", hidden=True, forbid=["tlcore.compress"], seconds=20)


@checks("the error is what was cut off", points=0.5)
def _():
    rng = checks.rng()
    for shape in ((9, 5), (4, 11), (6, 3, 3, 3)):
        weight = torch.tensor(rng.normal(size=shape))
        parts = thin(weight.clone(), 3)
        first, second = (torch.as_tensor(np.asarray(part, dtype=float).copy()) for part in parts)
        cut = torch.linalg.svdvals(weight.flatten(1))[3:]
        gap = weight - torch.einsum("or,r...->o...", second, first)
        checks.close(float(gap.square().sum()), float(cut.square().sum()), rtol=1e-4, atol=1e-8)


@checks("two convolutions do what one of rank 2 did", points=0.5)
def _():
    rng = checks.rng()
    weight = torch.tensor(rng.normal(size=(4, 2)) @ rng.normal(size=(2, 27))).view(4, 3, 3, 3)  # of rank 2
    x = torch.tensor(rng.normal(size=(2, 3, 8, 8)))
    parts = thin(weight.clone(), 2)
    first, second = (torch.as_tensor(np.asarray(part, dtype=float).copy()) for part in parts)
    two = F.conv2d(F.conv2d(x, first, padding=1), second.view(4, 2, 1, 1))
    checks.close(two, F.conv2d(x, weight, padding=1), atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# Your function on all 3 x 3 kernels of the ResNet behind the first: each is replaced by two convolutions that hold a
# given share of its numbers. Guess: how right is it with half of the numbers, without any training?

# %%
my_half = None  # accuracy, between 0 and 1


# %%
@torch.no_grad()
def two_convolutions(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    first, second = thin(conv.weight.data, rank)
    into = nn.Conv2d(conv.in_channels, rank, 3, conv.stride, 1, bias=False)
    out = nn.Conv2d(rank, conv.out_channels, 1, bias=False)
    into.weight.copy_(numbers(first))
    out.weight.copy_(numbers(second)[:, :, None, None])
    return nn.Sequential(into, out)


# %%
def low_rank(share: float) -> nn.Module:
    net = copy.deepcopy(large)
    for path in inner:
        conv = net.get_submodule(path)
        out, columns = conv.weight.flatten(1).shape
        net.set_submodule(path, two_convolutions(conv, int(share * out * columns / (out + columns))))
    return net


# %%
ours = {share: low_rank(share) for share in (0.9, 0.7, 0.5)}
by_share = {share: accuracy(net) for share, net in ours.items()}
print(f"before: {before:.1%}; your guess for half: {my_half}")
plots.table(
    [[f"{share:.0%}", compress.parameters(ours[share]), f"{by_share[share]:.1%}"] for share in ours],
    ["share of the numbers", "parameters", "accuracy"],
)

# %% [markdown]
# (The first layer, with its three channels, is left alone: it holds few numbers, and all others build on it.) A
# little less costs little. Further down the losses grow fast, because nobody asked these kernels to be of low rank
# while they were trained. What is lost, some training afterwards can bring back, in part.
#
# ### More than two axes
#
# A matrix has two axes, a kernel four. A **tensor train** (Oseledets, 2011) gives every axis a *core* of its own:
#
# $$T[i_1, \dots, i_d] \approx G_1[i_1]\, G_2[i_2] \cdots G_d[i_d],$$
#
# a product of small matrices: core $k$ has the shape $(r_{k-1}, n_k, r_k)$ with $r_0 = r_d = 1$, and $G_k[i_k]$ is
# its slice of shape $r_{k-1} \times r_k$. It is found from left to right, by one SVD after another. Begin with $r_0 =
# 1$ and the whole tensor as the rest. For every axis but the last: reshape the rest to a matrix with $r_{k-1} n_k$
# rows; take its SVD and keep the `rank` largest singular values, or all of them if there are fewer (those that are 0
# count, too): $r_k$ is how many you keep. The left part, reshaped, is the core; singular values *times* the right part
# is the new rest. The last rest is the last core.
#
# ### Exercise 4 · A train of cores (3 points)
#
# Write it. This function multiplies a train out again and shows what the cores must be like:


# %%
def multiplied_out(cores: list[torch.Tensor]) -> torch.Tensor:
    """Cores (1, n_1, r_1), (r_1, n_2, r_2), ..., (r, n_d, 1) -> tensor (n_1, ..., n_d)."""
    whole = cores[0]
    for core in cores[1:]:
        whole = torch.tensordot(whole, core, dims=1)  # the last axis of one with the first of the next
    return whole.reshape([core.shape[1] for core in cores])


# %% nbgrader={"grade": false, "grade_id": "train", "locked": false, "schema_version": 3, "solution": true, "task": false}
def train_of(tensor: torch.Tensor, rank: int) -> list[torch.Tensor]:
    """Tensor (n_1, ..., n_d) -> d cores (r_{k-1}, n_k, r_k), with r_0 = r_d = 1 and no rank above `rank`."""
    ### BEGIN SOLUTION
    cores, rest, before = [], tensor, 1
    for size in tensor.shape[:-1]:
        left, values, right = torch.linalg.svd(rest.reshape(before * size, -1), full_matrices=False)
        kept = min(rank, len(values))
        cores.append(left[:, :kept].reshape(before, size, kept))
        rest, before = values[:kept, None] * right[:kept], kept
    return [*cores, rest.reshape(before, tensor.shape[-1], 1)]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "train-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["train_of"]
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 4 · A train of cores", forbid=["tlcore.compress", "tensorly"], seconds=20)
i, j, k = torch.meshgrid(*[torch.arange(n, dtype=torch.float64) for n in (4, 5, 6)], indexing="ij")
total = i + 2 * j + 3 * k + 1


def whole(cores):
    cores = [torch.as_tensor(np.asarray(core, dtype=float).copy()) for core in cores]
    product = cores[0]
    for core in cores[1:]:
        product = torch.tensordot(product, core, dims=1)
    return product.reshape([core.shape[1] for core in cores])


@checks(
    "the shapes of the cores", points=0.5, hint="There are never more singular values than the shorter side is long."
)
def _():
    shapes = [tuple(core.shape) for core in train_of(total.clone(), 2)]
    wrong = {
        "the cores of the ends have three axes, too": [(4, 2), (2, 5, 2), (2, 6)],
        "the axis of the tensor stands in the middle": [(4, 1, 2), (5, 2, 2), (6, 2, 1)],
    }
    checks.equal(shapes, [(1, 4, 2), (2, 5, 2), (2, 6, 1)], mistakes=wrong)
    shapes = [tuple(core.shape) for core in train_of(total.clone(), 100)]
    checks.equal(shapes, [(1, 4, 4), (4, 5, 6), (6, 6, 1)])


@checks("with all ranks nothing is lost", points=0.5)
def _():
    checks.close(whole(train_of(total.clone(), 30)), total, atol=1e-6)


@checks("a sum i + 2j + 3k needs ranks of only 2", points=1, hint="Do the singular values go on with the rest?")
def _():
    checks.close(whole(train_of(total.clone(), 2)), total, atol=1e-6)


checks

# %% nbgrader={"grade": true, "grade_id": "train-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["train_of"]
# Random tensors, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.compress import tt_svd, tt_tensor
from tlcore.grading import Checks

checks = Checks("Exercise 4 · Random tensors", hidden=True, forbid=["tlcore.compress", "tensorly"], seconds=20)


@checks("four random axes, two ranks", points=0.5)
def _():
    rng = checks.rng()
    tensor = torch.tensor(rng.normal(size=(4, 3, 5, 4)))
    for rank in (2, 5):
        cores = [torch.as_tensor(np.asarray(core, dtype=float).copy()) for core in train_of(tensor.clone(), rank)]
        checks.close(tt_tensor(cores), tt_tensor(tt_svd(tensor, rank=rank)), atol=1e-5)


@checks("a matrix is a train of two, and its best approximation", points=0.5)
def _():
    rng = checks.rng()
    matrix = torch.tensor(rng.normal(size=(6, 8)))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    cores = [torch.as_tensor(np.asarray(core, dtype=float).copy()) for core in train_of(matrix.clone(), 3)]
    checks.equal([tuple(core.shape) for core in cores], [(1, 6, 3), (3, 8, 1)])
    checks.close(tt_tensor(cores), (left[:, :3] * values[:3]) @ right[:3], atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# A kernel as a train over (in, height, width, out) is a chain of four small convolutions. Which keeps more of a
# kernel with the same count of numbers, your two thin layers or your train? We take one kernel of each stage of the
# ResNet.


# %%
def count(parts: list[torch.Tensor]) -> int:
    return sum(part.numel() for part in parts)


def error(weight: torch.Tensor, other: torch.Tensor) -> float:
    return float((weight - other).norm() / weight.norm())


# %%
table = []
for path in ("layer1.2.conv2", "layer2.2.conv2", "layer3.2.conv2"):
    weight = large.get_submodule(path).weight.data
    tensor = weight.movedim(0, -1)  # (in, height, width, out)
    cores = [list(map(numbers, train_of(tensor, rank))) for rank in range(8, 48)]
    fitting = [parts for parts in cores if count(parts) <= weight.numel() / 2][-1]
    first, second = map(numbers, thin(weight, weight.numel() // 2 // sum(weight.flatten(1).shape)))
    pair = torch.einsum("or,r...->o...", second, first)
    trained = multiplied_out(fitting).movedim(-1, 0)
    held = [f"{count(parts):,}" for parts in ([weight], [first, second], fitting)]
    table.append([path, *held, f"{error(weight, pair):.2f}", f"{error(weight, trained):.2f}"])
plots.table(table, ["kernel", "numbers", "in two layers", "in a train", "error of two layers", "error of the train"])

# %% [markdown]
# The error is the norm of what is missing, as a share of the kernel's own: 1 is the error of a kernel of zeros, and at
# 0.6 still 64% of the sum of squares is there. With half of the numbers the two layers keep a little more of all three
# kernels than the train does. A dense matrix can become a train as well, after its sides are split:
# 4096 = 8 x 8 x 8 x 8, so 4096 x 4096 becomes a tensor with four axes of 64 numbers each. For the lecture's two
# examples, in numbers and in multiply-adds (for the kernel, at one position):

# %%
table = []
for name, shape in shapes.items():
    plain = compress.cost_of(shape, 1, method="svd")
    whole = torch.Size(shape).numel()
    for method in ("svd", "tensor_train"):
        limit = compress.break_even(shape, method=method)
        cost = compress.cost_of(shape, 64, method=method)
        each = [f"{cost.params / whole:.1%}", f"{cost.macs / whole:.1%}"]
        table.append([name, method, *each, limit.params, limit.macs])
plots.table(
    table, ["weight", "method", "numbers at rank 64", "MACs at rank 64", "smaller up to rank", "fewer MACs up to"]
)

# %% [markdown]
# Look at the train of the dense layer. It is *smaller up to rank 2,046, and computes more from rank 16 on*: its cores
# are used again and again, at every combination of the other indices. At rank 64 it holds 3% of the numbers and takes
# 16 times as many multiply-adds. Two thin layers do not have this problem, and a kernel's train does not either: at one
# position each of their numbers is used once.

# %% [markdown]
# ## 3 · Optimal Brain Damage
#
# Which weights can go? LeCun, Denker and Solla (1990) asked by how much the loss $L$ would rise. Near a minimum the
# gradient is 0, so the second order decides. If we also neglect that removals influence each other, taking weight
# $a_k$ to 0 costs
#
# $$s_k = \tfrac12 H_{kk}\, a_k^2, \qquad H_{kk} = \frac{\partial^2 L}{\partial a_k^2},$$
#
# its **saliency**. A large weight may matter little, where the loss is flat, and a small one much.
#
# > **Weight or neuron?** The lecture calls this a neuron's saliency (and its fraction has lost a square: the
# > derivative is the second one by $a_k$). In the paper the $a_k$ are weights. The idea works for neurons as well, if
# > each is multiplied by a *gate* $a_k = 1$: to remove the neuron is to take its gate to 0. We shall do both.
#
# ### Exercise 5 · Saliency (4 points)
#
# Return the saliency of every number of one parameter of a network, with the mean cross-entropy over the rows given
# as the loss. `net.get_parameter(name)` is the parameter. Differentiate twice: `torch.autograd.grad(loss, w,
# create_graph=True)` gives a gradient that can be differentiated again, one entry at a time. Only the *diagonal* of
# the Hessian is asked for, and no approximation of it. For one weight $a$ and the loss $3a^2$ at $a = 2$, $H = 6$ and
# the saliency is 12: just what removing it would change, because a parabola has no higher orders.


# %% nbgrader={"grade": false, "grade_id": "saliency", "locked": false, "schema_version": 3, "solution": true, "task": false}
def saliency(net: nn.Module, name: str, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """H_kk a_k^2 / 2 of a parameter's numbers, in its shape; x (N, ...) inputs, y (N,) classes."""
    ### BEGIN SOLUTION
    weight = net.get_parameter(name)
    loss = F.cross_entropy(net(x), y)
    (gradient,) = torch.autograd.grad(loss, weight, create_graph=True)
    second = [
        torch.autograd.grad(entry, weight, retain_graph=True)[0].flatten()[k]
        for k, entry in enumerate(gradient.flatten())
    ]
    return torch.stack(second).view_as(weight) * weight.detach() ** 2 / 2
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "saliency-check", "locked": true, "points": 2.5, "schema_version": 3, "solution": false, "task": false} student_names=["saliency"]
import torch
from torch import nn
from torch.nn import functional as F

from tlcore.grading import Checks

checks = Checks("Exercise 5 · Saliency", forbid=["tlcore.compress"], seconds=20)
draws = torch.Generator().manual_seed(5)
net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3)).double()
for parameter in net.parameters():
    parameter.data = torch.randn(parameter.shape, generator=draws, dtype=torch.float64)
six, classes = torch.randn(6, 3, generator=draws, dtype=torch.float64), torch.tensor([0, 1, 2, 0, 1, 1])


def wrong_ones(name, x, y):
    """The right answer, and what some misconceptions lead to."""
    weight = net.get_parameter(name).detach()

    def loss(w):
        return F.cross_entropy(torch.func.functional_call(net, {name: w.view_as(weight)}, (x,)), y)

    flat = weight.flatten()
    hessian, gradient = torch.func.hessian(loss)(flat), torch.func.grad(loss)(flat)
    right = hessian.diagonal() * flat**2 / 2
    wrong = {
        "the half is missing": 2 * right,
        "the weight has to be squared": hessian.diagonal() * flat / 2,
        "this is H_kk; the weight's own square belongs to it": hessian.diagonal(),
        "this is H_kk / 2, for a weight of 1": hessian.diagonal() / 2,
        "rows of the Hessian were summed up; only the diagonal is asked for": hessian.sum(1) * flat**2 / 2,
        "this is the square of the gradient, not the second derivative": gradient**2 * flat**2 / 2,
        "the loss is the mean over rows, not their sum": len(y) * right,
        "a saliency may be below 0, where the loss bends down": right.abs(),
    }
    return right.view_as(weight), {name: value.view_as(weight) for name, value in wrong.items()}


@checks("the weights of the first layer", points=1.5, hint="Differentiate each entry of the gradient again.")
def _():
    right, wrong = wrong_ones("0.weight", six, classes)
    got = saliency(net, "0.weight", six.clone(), classes.clone())
    checks.close(got, right, rtol=1e-4, atol=1e-8, mistakes=wrong)


@checks("a bias, and the last layer", points=1)
def _():
    for name in ("0.bias", "2.weight"):
        right, wrong = wrong_ones(name, six, classes)
        got = saliency(net, name, six.clone(), classes.clone())
        checks.close(got, right, rtol=1e-4, atol=1e-8, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "saliency-hidden", "locked": true, "points": 1.5, "schema_version": 3, "solution": false, "task": false} student_names=["saliency"]
# Random networks against finite differences, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch import nn
from torch.nn import functional as F

from tlcore.grading import Checks

checks = Checks("Exercise 5 · Random networks", hidden=True, forbid=["tlcore.compress"], seconds=20)


@checks("a random network, nudged one weight at a time", points=1)
def _():
    rng = checks.rng()
    net = nn.Sequential(nn.Linear(3, 3), nn.Softplus(), nn.Linear(3, 4)).double()
    for parameter in net.parameters():
        parameter.data = torch.tensor(rng.normal(size=tuple(parameter.shape)))
    x, y = torch.tensor(rng.normal(size=(5, 3))), torch.tensor(rng.integers(0, 4, 5))
    weight, expected, h = net[0].weight.data, [], 1e-4
    for k in range(weight.numel()):
        values = []
        for step in (-h, 0.0, h):
            weight.view(-1)[k] += step
            values.append(float(F.cross_entropy(net(x), y).detach()))
            weight.view(-1)[k] -= step
        expected.append((values[0] - 2 * values[1] + values[2]) / h**2 * float(weight.view(-1)[k]) ** 2 / 2)
    got = saliency(net, "0.weight", x.clone(), y.clone())
    checks.close(got, torch.tensor(expected).view_as(weight), rtol=1e-3, atol=1e-5)


@checks("a convolution", points=0.5, hint="Any shape of the parameter will do.")
def _():
    rng = checks.rng()
    net = nn.Sequential(nn.Conv2d(1, 2, 2), nn.Flatten(), nn.Linear(8, 2)).double()
    for parameter in net.parameters():
        parameter.data = torch.tensor(rng.normal(size=tuple(parameter.shape)))
    x, y = torch.tensor(rng.normal(size=(4, 1, 3, 3))), torch.tensor(rng.integers(0, 2, 4))
    shape = net[0].weight.shape

    def loss(w):
        return F.cross_entropy(torch.func.functional_call(net, {"0.weight": w.view(shape)}, (x,)), y)

    flat = net[0].weight.detach().flatten()
    expected = torch.func.hessian(loss)(flat).diagonal() * flat**2 / 2
    checks.close(saliency(net, "0.weight", x.clone(), y.clone()), expected.view(shape), rtol=1e-4, atol=1e-8)


checks
### END HIDDEN TESTS

# %% [markdown]
# An exact diagonal costs one backward pass for each weight, so we need a network that is tiny: scikit-learn's digits,
# 8 x 8 pixels, and twelve hidden neurons, trained until its loss is nearly flat.

# %%
digits = worlds.load("digits", split="train", fallback="digits")
x, y = digits.inputs.flatten(1).float() / 255, digits.targets
new_digits = worlds.load("digits", split="test", fallback="digits")
x_new, y_new = new_digits.inputs.flatten(1).float() / 255, new_digits.targets
few = slice(0, runtime.scaled(quick=150, standard=600, full=1000))


# %%
def perceptron(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))


def digit_labels(out: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(out, y[some])


# %%
@torch.no_grad()
def rise(net: nn.Module) -> float:
    """How far a network's loss lies above that of the tiny one, on the rows of the saliency."""
    return float(F.cross_entropy(net(x[few]), y[few]) - F.cross_entropy(tiny(x[few]), y[few]))


@torch.no_grad()
def right_digits(net: nn.Module) -> float:
    return float((net(x_new).argmax(1) == y_new).float().mean())


# %%
tiny = learn(seeded(perceptron, 12), x, digit_labels, runtime.scaled(quick=12, standard=30, full=60), lr=0.02)
hidden = numbers(saliency(tiny, "0.weight", x[few], y[few]))
last = numbers(saliency(tiny, "2.weight", x[few], y[few]))
print(
    f"digits right: {right_digits(tiny):.1%}; saliencies of {hidden.numel() + last.numel()} weights, on {digits.origin}"
)
print(f"pixels that are black in all rows used: {int((x[few].amax(0) == 0).sum())} of 64, with 12 weights each")

# %% [markdown]
# Is the formula right? Take the weights one by one to 0, measure the rise of the loss, and compare.


# %%
def without(layer: str, k: int) -> nn.Module:
    net = copy.deepcopy(tiny)
    net.get_parameter(layer).data.view(-1)[k] = 0
    return net


# %%
some = torch.randperm(last.numel())[:60]
measured = torch.tensor([rise(without("2.weight", int(k))) for k in some])
predicted = last.flatten()[some]
ax = plots.figure(width=4, height=3)[1][0]
ax.scatter(predicted, measured, s=14)
end = float(torch.maximum(predicted, measured).max())
ax.plot([0, end], [0, end], color="0.6", linewidth=1)
_ = ax.set(xlabel="saliency", ylabel="measured rise of the loss", title="weights of the last layer, one by one")
both_orders = torch.stack([values.argsort().argsort().float() for values in (predicted, measured)])
print(f"correlation of places: {float(torch.corrcoef(both_orders)[0, 1]):.2f} (1: the same order)")
print(f"the loss rose more than predicted for {float((measured > predicted).float().mean()):.0%} of the weights")

# %% [markdown]
# On the line the prediction would be exact. Pruning needs only the order; the first number says how right it is. The
# size is less right: most points lie off the line, on the side that the second number tells. The formula is a
# statement about *small* steps near a minimum, and to remove a large weight is no small step.
#
# Now many at once. We remove the least salient weights, or the smallest in size (*magnitude pruning*, which needs no
# derivatives at all), or any. Guess: which share can OBD take before the network loses 2 points of accuracy?

# %%
my_sparsity = None  # between 0 and 1


# %%
@torch.no_grad()
def pruned(scores: dict[str, torch.Tensor], share: float) -> nn.Module:
    """A copy of the tiny network without the given share of its weights, the lowest scores first."""
    net = copy.deepcopy(tiny)
    limit = torch.cat([score.flatten() for score in scores.values()]).quantile(share)
    for name, score in scores.items():
        net.get_parameter(name)[score <= limit] = 0
    return net


sizes = {name: tiny.get_parameter(name).detach().abs() for name in ("0.weight", "2.weight")}
draws = {name: torch.rand(size.shape) for name, size in sizes.items()}
criteria = {"OBD": {"0.weight": hidden, "2.weight": last}, "magnitude": sizes, "random": draws}

# %%
taken = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
pruning = {name: [right_digits(pruned(scores, share)) for share in taken] for name, scores in criteria.items()}
ax = plots.figure(width=5, height=2.8)[1][0]
for name, shares_right in pruning.items():
    ax.plot(taken, shares_right, marker="o", label=name)
ax.axhline(right_digits(tiny), color="0.6", linewidth=1)
ax.set(xlabel="share of weights removed, no training after it", ylabel="digits right", ylim=(0, 1))
_ = ax.legend()

# %%
at = taken.index(0.5)
by_criterion = {name: curve[at] for name, curve in pruning.items()}
spared = [share for share, right in zip(taken, pruning["OBD"]) if right > right_digits(tiny) - 0.02]
print("with half of the weights:", ", ".join(f"{name} {share:.1%}" for name, share in by_criterion.items()))
print(f"OBD loses less than 2 points up to {max(spared, default=0):.0%}; your guess: {my_sparsity}")

# %% [markdown]
# Weights chosen at random cost accuracy much sooner than those chosen well. (The first to go by saliency are those at
# pixels that are always black, counted above: their saliency is exactly 0, whatever their size.) Between saliency and
# magnitude the race is close here, and with another seed it may end differently; look at your own curves before you
# pay for second derivatives. The lecture's steps are: remove, "???", profit. In the paper the question marks are
# training of what is left, and then the same again.
#
# ### Neurons
#
# A weight set to 0 is still a number in the file, and a multiplication. Whole neurons can really be taken out. Your
# function finds their saliencies if we put the gates into the network.


# %%
class Gates(nn.Module):
    """Multiplies each neuron by a number of its own, at first 1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.open = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.open


gated = nn.Sequential(tiny[0], tiny[1], Gates(12), tiny[2])
by_neuron = numbers(saliency(gated, "2.open", x[few], y[few]))


# %%
def closed(k: int) -> nn.Module:
    net = copy.deepcopy(gated)
    net.get_parameter("2.open").data[k] = 0
    return net


# %%
rises = torch.tensor([rise(closed(k)) for k in range(12)])
norms = (tiny[0].weight.norm(dim=1) * tiny[2].weight.norm(dim=0)).detach()
ranks = {"saliency": by_neuron, "size of its weights": norms}
places = [score.argsort().argsort().float() for score in (rises, *ranks.values())]
agreement = dict(zip(ranks, torch.corrcoef(torch.stack(places))[0, 1:].tolist()))
order = rises.argsort()
ax = plots.figure(width=5, height=2.8)[1][0]
ax.plot(rises[order], marker="o", label="measured rise of the loss")
ax.plot(by_neuron[order], marker="s", label="saliency")
ax.set(xlabel="neurons, the most dispensable first", ylabel="loss")
ax.legend()
print("correlation of places with the truth:", {name: round(value, 2) for name, value in agreement.items()})

# %% [markdown]
# Again the saliency is too small, since closing a gate is a long way from 1 to 0, and again the order is good.
#
# Now a whole network, the ResNet. What leaves a residual block is added to what came in, so these channels have to
# stay. Those between the two convolutions of a block can go: 336 of all 688. We remove 30% of the 336 in each way,
# without training. For 336 gates the exact diagonal could be had; for the 268,000 weights of section 7 it could not.
# The package estimates both in one way, from a few dozen random backward passes, and leaves out the terms in which
# the network itself bends (the *Gauss-Newton* diagonal, which is never below 0).


# %%
def channels(criterion: str) -> nn.Module:
    return compress.prune(large, train, sparsity=0.3, of="units", criterion=criterion, **cut).model


without_channels = {"obd": removed, "magnitude": channels("magnitude"), "random": channels("random")}
by_channel = {name: accuracy(net) for name, net in without_channels.items()}
plots.table([[name, f"{share:.1%}"] for name, share in by_channel.items()], ["removed by", "accuracy"])

# %% [markdown]
# This is where saliency earns its keep. The size of a channel's weights says little, since the batch normalisation
# behind it scales it anyway; the gate stands behind both.
#
# ### L1 on activations
#
# The lecture's similar idea: add to the loss the mean size of every activation, times some factor, and prune what has
# become 0. We train a perceptron of 32 neurons with and without it and count the neurons that give 0 for every digit.


# %%
def quiet(factor: float) -> tuple[nn.Module, compress.Pruned]:
    net = seeded(perceptron, 32)
    with compress.ActivationL1(net, weight=factor) as penalty:
        _ = learn(net, x, lambda out, some: digit_labels(out, some) + penalty.penalty(), 12, lr=0.02)
    return net, compress.prune_silent(net, x)


# %%
silence = {factor: quiet(factor) for factor in (0.0, 0.01, 0.03)}
l1_rows = []
for factor, (net, done) in silence.items():
    shares_right = [f"{right_digits(one):.1%}" for one in (net, done.model)]
    l1_rows.append([factor, f"{done.sparsity:.0%}", compress.parameters(done.model), *shares_right])
plots.table(l1_rows, ["factor", "silent neurons", "parameters left", "right before", "right after removal"])

# %% [markdown]
# On the training digits the removal itself costs nothing: a neuron that is 0 for all of them adds nothing. (For a new
# digit it might have fired; compare the last two columns.) What costs is the penalty, and the factor is yours to
# choose.

# %% [markdown]
# ## 4 · Soft targets
#
# Take a large network, or an ensemble, predict probabilities for the training pictures, and train the small one on
# these. Hinton, Vinyals and Dean (2015) soften them first: logits are divided by a **temperature** $T$ before the
# softmax, for the teacher and the student alike.
#
# $$L = \alpha\, T^2\, \mathrm{KL}(p^{\text{teacher}}_T \| p^{\text{student}}_T) +
# (1 - \alpha)\,\mathrm{CE}(\text{labels}), \qquad \mathrm{KL}(p \| q) = \sum_k p_k \log\frac{p_k}{q_k}.$$
#
# Both parts are means over rows; the labels meet the student's logits as they are, at temperature 1. The gradient of
# the soft part shrinks as $1/T^2$. The factor $T^2$ makes up for it, so that $\alpha$ means the same at every
# temperature.
#
# ### Exercise 6 · The distillation loss (3 points)
#
# Write it. A tiny example: one row, two classes, $T = 1$, $\alpha = 1$. The teacher says $(\tfrac12, \tfrac12)$ and
# the student $(\tfrac14, \tfrac34)$: the loss is $\tfrac12 \log 2 + \tfrac12 \log \tfrac23 \approx 0.144$.


# %% nbgrader={"grade": false, "grade_id": "distillation", "locked": false, "schema_version": 3, "solution": true, "task": false}
def distillation_loss(
    logits: torch.Tensor, teacher_logits: torch.Tensor, labels: torch.Tensor, temperature: float, alpha: float
) -> torch.Tensor:
    """Logits (N, K) of student and teacher, labels (N,) -> the loss, one number."""
    ### BEGIN SOLUTION
    student = F.log_softmax(logits / temperature, 1)
    teacher = F.log_softmax(teacher_logits / temperature, 1)
    soft = (teacher.exp() * (teacher - student)).sum(1).mean()
    return alpha * temperature**2 * soft + (1 - alpha) * F.cross_entropy(logits, labels)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "distillation-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["distillation_loss"]
import torch
from torch.nn import functional as F

from tlcore.grading import Checks

checks = Checks("Exercise 6 · The distillation loss", forbid=["tlcore.compress"], seconds=20)
logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0]])
teacher = torch.tensor([[1.0, 1.0, -2.0], [0.0, 3.0, 1.0]])
labels = torch.tensor([0, 1])


def soft(temperature, power=2, own=None):
    p, q = (teacher / temperature).log_softmax(1), (logits / (own or temperature)).log_softmax(1)
    return float((p.exp() * (p - q)).sum(1).mean()) * temperature**power


@checks("the example of the text: temperature 1, no labels", points=0.5)
def _():
    same, quarter = torch.zeros(1, 2), torch.log(torch.tensor([[0.25, 0.75]]))
    wrong = {
        "teacher and student are the other way round in the divergence": 0.1308,
        "this is the cross-entropy; KL is less by the teacher's own entropy": 0.8370,
        "classes are summed up; only over rows it is the mean": 0.0719,
    }
    got = distillation_loss(quarter, same, torch.tensor([0]), 1.0, 1.0)
    checks.close(got, 0.14384, rtol=0, atol=2e-4, mistakes=wrong)


@checks(
    "a higher temperature", points=1, hint="Both logits are divided by T, and the soft part is multiplied by T squared."
)
def _():
    wrong = {
        "T squared is missing": soft(3.0, power=0),
        "the factor is T squared, not T": soft(3.0, power=1),
        "the student's logits are divided by T, too": soft(3.0, own=1.0),
        "the mean is over rows; classes are summed up": soft(3.0) / 3,
        "this is the sum over rows, not their mean": soft(3.0) * 2,
    }
    got = distillation_loss(logits.clone(), teacher.clone(), labels.clone(), 3.0, 1.0)
    checks.close(got, soft(3.0), rtol=1e-4, atol=1e-5, mistakes=wrong)


@checks("the labels' share", points=0.5, hint="Labels meet the logits as they are, at temperature 1.")
def _():
    plain, warm = (float(F.cross_entropy(logits / t, labels)) for t in (1.0, 3.0))
    wrong = {
        "the labels meet the logits at temperature 1": 0.7 * soft(3.0) + 0.3 * warm,
        "alpha is the soft part's share": 0.3 * soft(3.0) + 0.7 * plain,
        "T squared belongs to the soft part only": 0.7 * soft(3.0) + 0.3 * plain * 9,
    }
    got = distillation_loss(logits.clone(), teacher.clone(), labels.clone(), 3.0, 0.7)
    checks.close(got, 0.7 * soft(3.0) + 0.3 * plain, rtol=1e-4, atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "distillation-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["distillation_loss"]
# Random logits, and what the gradient is, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch.nn import functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 6 · Random logits", hidden=True, forbid=["tlcore.compress"], seconds=20)


def gradient(loss, logits, teacher, labels, temperature, alpha):
    logits.requires_grad_()
    loss(logits, teacher, labels, temperature, alpha).backward()
    return logits.grad


@checks("random logits, large ones too", points=0.5, hint="Take log_softmax, not the logarithm of a softmax.")
def _():
    rng = checks.rng()
    for scale in (1.0, 200.0):
        logits, teacher = (torch.tensor(scale * rng.normal(size=(4, 5)), dtype=torch.float32) for _ in range(2))
        labels = torch.tensor(rng.integers(0, 5, 4))
        p, q = (teacher / 2).log_softmax(1), (logits / 2).log_softmax(1)
        expected = 0.6 * 4 * (p.exp() * (p - q)).sum(1).mean() + 0.4 * F.cross_entropy(logits, labels)
        checks.close(distillation_loss(logits, teacher, labels, 2.0, 0.6), float(expected), rtol=1e-3, atol=1e-4)


@checks("the gradient leads the student to the teacher", points=0.5)
def _():
    rng = checks.rng()
    logits, teacher = (torch.tensor(rng.normal(size=(3, 4))) for _ in range(2))
    got = remote(gradient, distillation_loss, logits, teacher, torch.tensor([0, 1, 2]), 4.0, 1.0)
    expected = 4.0 * ((logits / 4).softmax(1) - (teacher / 4).softmax(1)) / 3
    checks.close(got, expected, rtol=1e-4, atol=1e-6)


checks
### END HIDDEN TESTS

# %% [markdown]
# The lecture's intuition: *if an image is truly ambiguous, this way you will be able to handle that*. In our world we
# can test it, because we can make ambiguity. Two pictures, a ring and a square with the same place, colours and
# light, are blended: $\lambda$ of the square. Its label is drawn: "square" with probability $\lambda$. So the true
# posterior of every picture is known, and it is $\lambda$ (if the share can be read off the picture, which noise and
# a low contrast make harder).


# %%
def blends(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures (N, 3, 24, 24), the share of the square in each (N,), and a label that is drawn (N,)."""
    ring, square = (world.but(shapes=(name,)).sample(count, seed=seed).inputs for name in ("ring", "square"))
    draws = torch.Generator().manual_seed(seed + 100)
    share = torch.rand(count, generator=draws)
    label = (torch.rand(count, generator=draws) < share).long()
    return torch.lerp(ring, square, share.view(-1, 1, 1, 1)), share, label


doubt, posterior, drawn = blends(runtime.scaled(quick=800, standard=2000, full=5000), seed=8)
new_doubt, new_posterior, _ = blends(400, seed=9)

# %%
fig, axes = plots.figure(6, width=1.3, height=1.6)
for ax, n in zip(axes, posterior[:100].argsort()[::19]):
    ax.imshow(doubt[n].permute(1, 2, 0))
    ax.set(xticks=[], yticks=[], title=f"$\\lambda$ = {posterior[n]:.2f}", xlabel=("ring", "square")[drawn[n]])

# %% [markdown]
# Above each picture stands the truth, below it what a labeller said. The ResNet has never been in doubt, since in its
# training every picture was one thing. So our teacher keeps its body (the features of lesson 05) and gets a new last
# layer, trained on all these pictures with their drawn labels. The student has *fewer* pictures. Look first at what
# two teachers say: the ResNet as it was, asked only about ring and square, and the one with the new layer.

# %%
body = copy.deepcopy(large)
body.fc = nn.Identity()
with torch.no_grad():
    seen, unseen = (torch.cat([body(part) for part in images.split(250)]) for images in (doubt, new_doubt))
teacher = seeded(nn.Linear, 64, 2)
scale = seen.std()
teacher = learn(teacher, seen / scale, lambda out, some: F.cross_entropy(out, drawn[some]), 20)
with torch.no_grad():
    teacher_logits = teacher(seen / scale)
    sure_logits = large.fc(seen)[:, 1:3]  # of its four classes the second and third: ring, square
    says = {"never in doubt": large.fc(unseen)[:, 1:3], "taught with drawn labels": teacher(unseen / scale)}

# %%
fig, axes = plots.figure(2, width=3.4, height=2.8)
for ax, (name, logits) in zip(axes, says.items()):
    ax.scatter(new_posterior, logits.softmax(1)[:, 1], s=5)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    ax.set(title=name, xlabel="true posterior of a square", ylabel="what it says")

# %% [markdown]
# The first is sure where nobody can be, and its soft targets are hardly soft (this is what the temperature is for).
# The second has learned to doubt, from labels each of which was sure. Now four students, equal but for their targets:
# drawn labels; your loss with the second teacher; the true posterior, which only a made-up world can give; and your
# loss with the first teacher, at the same temperature of 4. Guess: which part of the way from the first student to
# the third will the second one go?

# %%
my_way = None  # between 0 and 1

# %%
several = slice(0, runtime.scaled(quick=250, standard=500, full=2000))
exact = torch.stack([1 - posterior, posterior], 1)
targets = {
    "drawn labels": lambda out, some: F.cross_entropy(out, drawn[some]),
    "soft targets": lambda out, some: distillation_loss(out, teacher_logits[some], drawn[some], 4.0, 1.0),
    "true posterior": lambda out, some: F.cross_entropy(out, exact[some]),
    "teacher never in doubt": lambda out, some: distillation_loss(out, sure_logits[some], drawn[some], 4.0, 1.0),
}
students = {name: learn(seeded(small, 6, 2), doubt[several], loss, epochs + 2) for name, loss in targets.items()}

# %%
with torch.no_grad():
    replies = {name: net(new_doubt).softmax(1)[:, 1] for name, net in students.items()}
truth = torch.stack([1 - new_posterior, new_posterior], 1).clamp(1e-6)
divergence = {
    name: float((truth * (truth / torch.stack([1 - q, q], 1).clamp(1e-6)).log()).sum(1).mean())
    for name, q in replies.items()
}
gap = divergence["drawn labels"] - divergence["true posterior"]
way = (divergence["drawn labels"] - divergence["soft targets"]) / gap

# %%
fig, axes = plots.figure(4, width=2.4, height=2.7)
for ax, (name, reply) in zip(axes, replies.items()):
    ax.scatter(new_posterior, reply, s=5)
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    ax.set(title=f"{name}\ndivergence {divergence[name]:.3f}", xlabel="true posterior")
_ = axes[0].set(ylabel="what the student says")
print(f"the soft targets went {way:.0%} of the way; your guess: {my_way}")

# %% [markdown]
# Divergence is the mean $\mathrm{KL}$ from the truth, on new pictures; 0 would be perfect. The labels tell the
# student of each picture that it is wholly a ring or wholly a square, and with few pictures it believes it: its
# answers scatter widely. The teacher has averaged over more pictures than the student ever sees, and hands on
# what it found. The fourth student was told by a teacher without doubts, and is farther from the truth than the one
# with drawn labels. So the lecture's intuition holds, under a condition that it does not mention: *the teacher itself
# must know the doubt*; a temperature alone does not make it.

# %% [markdown]
# ## 5 · Net2net: the same, but expanding
#
# All methods so far go from large to small. The lecture's last one goes the other way (Chen, Goodfellow, Shlens,
# 2016): train a small network, *extend it without changing what it computes*, and go on.
#
# - **Net2WiderNet.** New neurons are copies of old ones, with the weights into them and their bias. Whoever reads a
#   neuron that now exists $c$ times divides its weight by $c$.
# - **Net2DeeperNet.** A new layer begins as the identity (the lecture's picture). Behind a ReLU nothing changes then,
#   because $\mathrm{relu}(\mathrm{relu}(x)) = \mathrm{relu}(x)$; behind a sigmoid it would.
#
# ### Exercise 7 · Wider and deeper (3 points)
#
# For `wider`, `source[j]` tells which old neuron new neuron $j$ is a copy of; it need not be sorted, and every old
# neuron occurs. With `source` = (0, 1, 1), the weights (2, 6) that read two neurons become (2, 3, 3). For
# `identity_kernel`, return the weight of a convolution with $k \times k$ taps, $k$ odd, that (with padding $k // 2$)
# gives back its input.


# %% nbgrader={"grade": false, "grade_id": "grow", "locked": false, "schema_version": 3, "solution": true, "task": false}
def wider(
    weight: torch.Tensor, bias: torch.Tensor, reader: torch.Tensor, source: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Weight (h, in), bias (h,), the next layer's weight (out, h), source (H,) -> (H, in), (H,), (out, H)."""
    ### BEGIN SOLUTION
    copies = torch.bincount(source, minlength=len(weight))
    return weight[source], bias[source], (reader / copies)[:, source]
    ### END SOLUTION


def identity_kernel(channels: int, k: int) -> torch.Tensor:
    """Weight (channels, channels, k, k) of a convolution that changes nothing."""
    ### BEGIN SOLUTION
    weight = torch.zeros(channels, channels, k, k)
    weight[range(channels), range(channels), k // 2, k // 2] = 1
    return weight
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "grow-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["wider", "identity_kernel"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 7 · Wider and deeper", forbid=["tlcore.compress"], seconds=20)
weight, bias = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0.5, -0.5])
reader, source = torch.tensor([[2.0, 6.0], [1.0, 3.0]]), torch.tensor([0, 1, 1])


@checks("new neurons are copies, with their bias", points=0.5)
def _():
    into, shift, _ = wider(weight.clone(), bias.clone(), reader.clone(), source.clone())
    wrong = {"who reads a copy divides; what goes into it stays": [[1.0, 2.0], [1.5, 2.0], [1.5, 2.0]]}
    checks.close(into, [[1.0, 2.0], [3.0, 4.0], [3.0, 4.0]], mistakes=wrong)
    checks.close(shift, [0.5, -0.5, -0.5], mistakes={"a copy has the same bias": [0.5, -0.25, -0.25]})


@checks("whoever reads them divides by their number", points=1)
def _():
    wrong = {
        "two copies would count twice: divide": [[2.0, 6.0, 6.0], [1.0, 3.0, 3.0]],
        "only neurons that were copied are divided": [[1.0, 3.0, 3.0], [0.5, 1.5, 1.5]],
        "the old neuron's own weight is divided, too": [[2.0, 6.0, 3.0], [1.0, 3.0, 1.5]],
        "a copy that nobody reads changes nothing, but it will not learn either": [[2.0, 6.0, 0.0], [1.0, 3.0, 0.0]],
    }
    checks.close(
        wider(weight.clone(), bias.clone(), reader.clone(), source.clone())[2],
        [[2.0, 3.0, 3.0], [1.0, 1.5, 1.5]],
        mistakes=wrong,
    )


@checks("a convolution that changes nothing", points=0.5, hint="Each map reads itself only, and only at the middle.")
def _():
    right = torch.zeros(2, 2, 3, 3)
    right[0, 0, 1, 1] = right[1, 1, 1, 1] = 1
    corner = torch.zeros(2, 2, 3, 3)
    corner[0, 0, 0, 0] = corner[1, 1, 0, 0] = 1
    mixed = torch.zeros(2, 2, 3, 3)
    mixed[:, :, 1, 1] = 1
    wrong = {"this reads the corner of the window": corner, "every map reads all maps here": mixed}
    wrong |= {"an identity matrix at every channel is another thing": torch.eye(3).expand(2, 2, 3, 3)}
    checks.close(identity_kernel(2, 3), right, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "grow-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["wider", "identity_kernel"]
# Random networks, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch
from torch.nn import functional as F

from tlcore.grading import Checks

checks = Checks("Exercise 7 · Random networks", hidden=True, forbid=["tlcore.compress"], seconds=20)


@checks(
    "the wider network computes the same", points=0.5, hint="A neuron may occur once, twice or more often, anywhere."
)
def _():
    rng = checks.rng()
    weight, bias, reader, x = (torch.tensor(rng.normal(size=shape)) for shape in ((4, 3), (4,), (2, 4), (6, 3)))
    source = torch.tensor(rng.permutation(np.concatenate([np.arange(4), rng.integers(0, 4, 5)])))
    parts = wider(weight.clone(), bias.clone(), reader.clone(), source.clone())
    into, shift, out = (torch.as_tensor(np.asarray(part, dtype=float)) for part in parts)
    checks.equal([tuple(into.shape), tuple(shift.shape), tuple(out.shape)], [(9, 3), (9,), (2, 9)])
    checks.close(F.relu(x @ into.T + shift) @ out.T, F.relu(x @ weight.T + bias) @ reader.T, atol=1e-5)
    checks.close(into, weight[source], atol=1e-6)


@checks("an identity of five channels and 1, 3 or 5 taps", points=0.5)
def _():
    rng = checks.rng()
    x = torch.tensor(rng.normal(size=(2, 5, 6, 7)))
    for k in (1, 3, 5):
        kernel = torch.as_tensor(identity_kernel(5, k), dtype=torch.float64)
        checks.close(F.conv2d(x, kernel, padding=k // 2), x, atol=1e-6)


checks
### END HIDDEN TESTS

# %% [markdown]
# The digits' perceptron grows from 12 to 24 neurons by your function, and goes on learning for a few epochs. Beside
# it, a network of 24 neurons that starts from nothing gets the same few epochs. (A little noise goes on the new
# weights: without it, copies would get equal gradients and stay copies for ever.)


# %%
@torch.no_grad()
def grown(noise: float) -> nn.Module:
    source = torch.cat([torch.arange(12), torch.arange(12)])
    net = seeded(perceptron, 24)
    parts = wider(tiny[0].weight.data, tiny[0].bias.data, tiny[2].weight.data, source)
    for place, values in zip((net[0].weight, net[0].bias, net[2].weight), parts):
        place.copy_(numbers(values))
    net[2].bias.copy_(tiny[2].bias)
    net[0].weight[12:] += noise * torch.randn(12, 64)
    return net


with torch.no_grad():
    change = float((grown(0.0)(x_new) - tiny(x_new)).abs().max())
print(f"largest change of an output: {change:.1e}")

# %%
steps = 3
starts = {"grown": grown(0.01), "from nothing": seeded(perceptron, 24)}
growth = {}
for name, net in starts.items():
    growth[name] = [right_digits(net)]
    for _ in range(steps):
        growth[name].append(right_digits(learn(net, x, digit_labels, 1, lr=0.005)))
plots.table(
    [[name, *[f"{share:.1%}" for share in curve]] for name, curve in growth.items()],
    ["digits right", "at once", *[f"epoch {n}" for n in range(1, steps + 1)]],
)

# %% [markdown]
# The one that has grown starts where the small one ended. The other has to learn first what the small one knew. Time
# is saved when the small network was there anyway; otherwise its own training has to be counted, too.
#
# And deeper: your kernel, as a new layer behind a ReLU of the small network for shapes.

# %%
identity = nn.Conv2d(8, 8, 3, padding=1, bias=False)
identity.weight.data = numbers(identity_kernel(8, 3))
deep = nn.Sequential(*alone[:3], identity, nn.ReLU(), *alone[3:]).eval()
with torch.no_grad():
    change_deep = float((deep(test.inputs) - alone(test.inputs)).abs().max())
print(f"largest change of an output: {change_deep:.1e}")

# %% [markdown]
# ## 6 · Out of the workshop
#
# A phone has no Python. What is delivered is an *exported* file that holds the whole computation: `torch.export`
# writes one that other runtimes lower for phones; ONNX is another format, read by programs on phones and servers
# alike. Whichever it is, one thing must be checked: that the file computes what the network computes. (Quick runs
# export nothing.)

# %%
import tempfile
from pathlib import Path

folder = Path(tempfile.mkdtemp())
chosen = {} if runtime.budget() == "quick" else {"small net": alone, "before": large}
files = {name: compress.export(net, folder / f"{name}.pt2", test.inputs[:8]) for name, net in chosen.items()}
plots.table(
    [
        [name, f"{file.bytes:,}", f"{compress.saved_bytes(chosen[name]):,}", f"{file.difference.relative:.0e}"]
        for name, file in files.items()
    ],
    ["exported", "bytes of the file", "bytes of the weights", "relative difference of outputs"],
)

# %% [markdown]
# An exported file also holds the program, so for a small network it is larger than the weights. If the packages for
# ONNX are installed, the same call with a name that ends in `.onnx` writes that format.

# %%
try:
    onnx = runtime.budget() != "quick" and compress.export(alone, folder / "small.onnx", test.inputs[:8])
    print(onnx or "not in quick runs")
except ImportError as missing:
    print("no ONNX here:", missing)

# %% [markdown]
# ## 7 · The whole picture
#
# All methods on one network, one task, the same pictures. Some of the harmed networks are trained on for a little (in
# quick runs none). First the low-rank networks: your two thin layers (70% of the numbers), and trains with half of
# them.


# %%
def recover(net: nn.Module) -> nn.Module:
    """A copy, trained on for a little."""
    return learn(copy.deepcopy(net), train.inputs, from_labels, runtime.scaled(quick=1, standard=2, full=4), lr=0.001)


every = {
    "float16": compress.half(large),
    "SVD": ours[0.7],
    "tensor train": compress.tensor_train(large, size=0.5, layers=inner),
    "units by OBD": removed,
}
harmed = () if runtime.budget() == "quick" else ("SVD", "tensor train", "units by OBD")
again = {name: recover(every[name]) for name in harmed}

# %% [markdown]
# Single weights: 70% of them set to 0, by saliency, by size and by lot, without training.

# %%
for criterion in ("obd", "magnitude", "random"):
    every[f"weights, {criterion}"] = compress.prune(large, train, sparsity=0.7, criterion=criterion, **cut).model

# %% [markdown]
# Small networks, all of the same architecture: alone; on the ResNet's soft targets by your loss; a narrower one, grown
# and trained on; and the first, trained on with L1 on activations, without the channels that then never exceed 0.05.

# %%
with torch.no_grad():
    told = torch.cat([large(images) for images in train.inputs.split(250)])
every["alone"] = alone
every["soft targets"] = learn(
    seeded(small, 8),
    train.inputs,
    lambda out, some: distillation_loss(out, told[some], train.targets[some], 4.0, 0.9),
    epochs,
)
narrow = learn(seeded(small, 4), train.inputs, from_labels, epochs // 2)
every["Net2Net"] = learn(compress.net2net(narrow, wider=2.0, noise=0.1).model, train.inputs, from_labels, epochs // 2)

# %%
silent = copy.deepcopy(alone)
with compress.ActivationL1(silent, weight=0.05) as penalty:
    _ = learn(silent, train.inputs, lambda out, some: from_labels(out, some) + penalty.penalty(), epochs // 2)
done = compress.prune_silent(silent, train.inputs, tolerance=0.05)
every["L1, silent removed"] = done.model
print(f"silent channels: {done.sparsity:.0%}")

# %% [markdown]
# (Batch normalisation gives a channel its mean and its spread anew, however small the weights before it are. Behind
# the ReLU it is silent only once its learned shift lies far below 0, which takes more than these few epochs. In the
# perceptron, without batch normalisation, L1 had an easier task.)

# %% [markdown]
# Guess before you look: which of them will be *smaller but slower* than the network before, for one picture?

# %%
my_slow = None  # names, such as ["float16"]

# %%
at_once = runtime.scaled(quick=(1,), standard=(1, 32), full=(1, 32))
runs = runtime.scaled(quick=8, standard=20, full=50)
summary = compress.report(large, every, test, recovered=again or None, batches=at_once, runs=runs)
trade_off(summary)

# %%
print("your guess:", my_slow)
summary

# %% [markdown]
# Read the picture in four groups. *float16* takes half of the bytes. The *small networks* lie at the left: nothing
# beats not having the weights at all, and what they lose in accuracy is the price. (Compare them with care. Net2Net had
# as many epochs as "alone" and "soft targets", half of them as a narrow network; the one with L1 went on from "alone"
# and had half as many again.) The *low-rank networks and those without some channels* stay near the
# large one; how near depends on how much is taken and on the training afterwards. (Trained on, some may even pass it.
# The ResNet was borrowed from another task and has not been trained on this one, so this is no feat of compression.)
# The *pruned weights* have not moved to the left at all: zeros are stored and multiplied like any other numbers,
# unless the file or the processor has a format for them. Among these, size may well beat saliency. Where a network is
# sure of every picture its loss is nearly flat, and what is left of the curvature says little about 70% at once. A
# packed file, as zip makes them, knows zeros. (Those inside a weight, too: the weights "before" are float16 numbers,
# and written as float32 they end in 13 bits that are 0.)

# %%
import zlib

from safetensors.torch import save

packed = {
    name: len(zlib.compress(save(net.state_dict())))
    for name, net in (("before", large), ("weights, obd", every["weights, obd"]))
}
print(", ".join(f"{name}: {size:,} bytes packed" for name, size in packed.items()))

# %% [markdown]
# ## What we saw
#
# The numbers below come from your run.


# %%
def reached(name: str) -> float:
    row = summary[name]
    return row.accuracy if row.recovered is None else row.recovered


def percent(shares: object) -> str:
    return " / ".join(f"{share:.0%}" for share in shares)


# %%
slower = [line.split(":")[0] for line in summary.sentences if "smaller but slower" in line]
small_nets = ("alone", "soft targets", "Net2Net", "L1, silent removed")
both = ("obd", "magnitude")
answers = {
    "bits that are enough / accuracy with 11": f"{enough} / {by_bits[11]:.1%}",
    "largest rank that pays, dense / kernel": f"{pays((4096, 4096)):,} / {pays((512, 256, 3, 3)):,}",
    f"accuracy with {percent(by_share)} of the numbers": percent(by_share.values()),
    "tiny network, half of the weights gone: " + " / ".join(by_criterion): percent(by_criterion.values()),
    "ResNet, 70% of the weights gone: " + " / ".join(both): percent(reached(f"weights, {name}") for name in both),
    "ResNet, 30% of the inner channels gone: " + " / ".join(by_channel): percent(by_channel.values()),
}

# %%
answers |= {
    "divergence: " + " / ".join(divergence): " / ".join(f"{value:.3f}" for value in divergence.values()),
    "growing changed outputs by, wider / deeper": f"{change:.0e} / {change_deep:.0e}",
    "small nets: " + " / ".join(small_nets): percent(map(reached, small_nets)),
    "smaller but slower here": ", ".join(slower) or "none",
}
plots.table([[question, answer] for question, answer in answers.items()], ["question", "answer"])

# %% [markdown]
# - float16 halves the file and costs hardly any accuracy. Do it first. Whether it is faster depends on the processor.
# - Fewer numbers make a smaller file. Whether they make a faster network depends on how they are used, and on the
#   machine: measure.
# - A low-rank layer pays below $mn/(m+n)$. A tensor train can be far smaller and compute far more.
# - Saliency estimates how far the loss would rise. For whole channels it did much better than size. For single
#   weights it depends: compare the two rows of your own run, the exact saliency in a tiny network and the estimated
#   one in the
#   ResNet.
# - Zeros are not savings. Remove units, or use a format that knows zeros.
# - Soft targets hand on what a teacher knows about doubt. A teacher that has never doubted has nothing of that kind
#   to hand on, and where pictures are clear, soft targets and labels may end up equal.
# - Net2net preserves the function, so a larger network need not start from nothing.
#
# ### What if?
#
# - What if you combined them: a student by soft targets, in float16, with its units pruned? Would the savings
#   multiply, and the losses add?
# - Whose accuracy is lost? Two networks may be right equally often and on different pictures. How would you find out
#   whether compression hurts rare classes more?
# - Your phone's processor multiplies only 8-bit whole numbers. How would you have to change Exercise 1, and would a
#   step of $2^{e - \text{bits} + 1}$ still make sense?
