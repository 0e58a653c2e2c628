# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · What did each famous network add, and what does it cost?
#
# From 2010 to 2017 teams competed every year in telling what a photo shows. The contest, ILSVRC, took its photos from
# ImageNet. The *top-5 error* is the share of photos whose true class is not among a network's five best guesses. Below are
# the best entries, two of them for 2014, and the number of parameters of the network behind each. By the end of this lesson
# you will have built the idea behind every one of them, and counted its price with an instrument of your own.
#
# The lesson has eight exercises and 20 points. Running all its cells takes about half a minute.

# %%
from tlcore import plots, zoo

plots.use_style()
entries = [
    ("2010", 28.2, None), ("2011", 25.8, None), ("2012 AlexNet", 15.3, "alexnet"), ("2013 Clarifai", 11.7, "zfnet"),
    ("2014 VGG", 7.3, "vgg_e"), ("2014 GoogLeNet", 6.7, "googlenet"), ("2015 ResNet", 3.6, "resnet152"),
    ("2016 Trimps-Soushen", 3.0, None), ("2017 SENet", 2.3, "senet154"),
]  # fmt: skip
names, errors, networks = zip(*entries)
params = [zoo.card(network).params / 1e6 if network else 0 for network in networks]

# %%
fig, (left, right) = plots.figure(2, width=4.4, height=3.2)
left.barh(names, errors, color=plots.BLUE)
left.axvline(5.1, color="0.7", linewidth=1, zorder=0)
right.barh(names, params, color=plots.ORANGE)
right.set(title="million parameters of the network", yticks=[])
left.set(title="top-5 error (%)")
for ax in (left, right):
    ax.invert_yaxis()
    ax.bar_label(ax.containers[0], [f"{w:.1f}" if w else "" for w in ax.containers[0].datavalues], padding=2)

# %% [markdown]
# The error falls, past the 5.1% (grey line) of a person who had practised. The number of parameters does not rise with it.
# GoogLeNet has the fewest, and beat VGG, which has twenty times as many. What changed from year to year is how the layers are
# put together.
#
# > **About the bars.** The first two entries were no deep networks. The errors of the others are those of ensembles, several
# > networks averaged. The winner of 2013 was not published; we show ZFNet, by the same makers, in its place (the lectures
# > call ZFNet itself the winner). The entry of 2016 mixed known networks. AlexNet's 15.3% averaged seven networks, and two of
# > them were *pre-trained* on a larger part of ImageNet and then fine-tuned: transfer learning, the subject of this course,
# > was there from the start.
#
# The contest had two main data sets. DET asks for boxes around all objects, with classes as broad as "bird". CLS-LOC has one
# class per photo, as fine as cock, quail or partridge. The lectures give the totals; here is what they are made of.

# %%
cls_loc = {"training": 1_281_167, "validation": 50_000, "test": 100_000}
plots.table(
    [["DET", 200, 456_567, "training set alone"], ["CLS-LOC", 1000, sum(cls_loc.values()), " + ".join(cls_loc)]],
    ["data", "classes", "images", "which images"],
)

# %% [markdown]
# So the two totals are not of the same kind. When people say that a network was trained on ImageNet, they mean the 1.28
# million training images of CLS-LOC.
#
# ## 1 · The price of a network
#
# Parameters are easy to count, since a network holds them all. We build our networks on the *meta* device, as in lesson 02:
# shapes without numbers.

# %%
import torch
from torch import nn


def on_paper(name: str, **variant) -> nn.Module:
    """A network of the zoo as shapes only."""
    with torch.device("meta"):
        return zoo.get_model(name, **variant).eval()


def count_params(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# %%
rows = [
    ["LeNet-5, as in 1998", "60 thousand", count_params(on_paper("lenet5_1998"))],
    ["LeNet-5, as built today", "60 thousand", count_params(on_paper("lenet5"))],
    ["AlexNet, two groups", "60 million", count_params(on_paper("alexnet"))],
    ["AlexNet, one group", "60 million", count_params(on_paper("alexnet_ungrouped"))],
    ["VGG-16", "138 million", count_params(on_paper("vgg_d"))],
    ["VGG-16 with two outputs", "134,268,737", count_params(on_paper("vgg_d", num_classes=2))],
]
plots.table(rows, ["network", "in the lectures", "parameters"])

# %% [markdown]
# The first lines are two versions of each network. In LeNet of 1998 a layer reads only some of the maps below it. AlexNet was
# split over two graphics cards, and three of its five convolutions read only the maps on their own card. These savings are
# part of the numbers everyone quotes. And the figure that the lectures give for two outputs is one parameter short.
#
# Multiply-adds depend on the sizes of the maps, so the network has to run. torch calls a function of ours whenever a layer
# has run, if we register it as a *forward hook*. The following helper collects what they see.


# %%
def run_through(net: nn.Module, x: torch.Tensor) -> list[tuple[str, nn.Module, tuple[int, ...]]]:
    """Name, layer and shape of the output of every layer that runs in net(x), in order."""
    ran, hooks = [], []
    for name, layer in net.named_modules():
        if not list(layer.children()):  # a layer, not a box of layers

            def keep(layer, inputs, output, name=name):
                ran.append((name, layer, tuple(output.shape)))

            hooks.append(layer.register_forward_hook(keep))
    net(x)
    for hook in hooks:
        hook.remove()
    return ran


# %% [markdown]
# A first use: AlexNet's figure says how many neurons its layers have. Is that so? A neuron is one number of a layer's output.

# %%
import math

photo = torch.zeros(1, 3, 227, 227, device="meta")
caption = [253_440, 186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
layers = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
seen = [shape for _, layer, shape in run_through(on_paper("alexnet"), photo) if hasattr(layer, "weight")]
rows = [[n, "x".join(map(str, s[1:])), math.prod(s), c] for n, s, c in zip(layers, seen, caption)]
plots.table(
    [*rows, ["sum", "", sum(r[2] for r in rows), sum(caption)]], ["layer", "output", "neurons", "in the caption"]
)

# %% [markdown]
# All but the first agree. The paper's abstract speaks of 650,000 neurons, which is our sum, not the caption's. (The caption
# also starts from photos of 224 pixels, 150,528 numbers. These would give maps of 54 x 54, so everybody now feeds the network
# 227.)
#
# ### Exercise 1 · A counter of multiply-adds (3 points)
#
# Return the multiply-adds (MACs for short) of every `nn.Conv2d` and every `nn.Linear` that runs in `net(x)`, as a dictionary
# from its name to its number; leave out all other layers. Each number of an output costs one multiply-add per weight that it
# uses, and biases are free. Keep in mind that a convolution with several groups reads, for each output, the channels of one
# group only: its `weight` has the shape (out, in / groups, height, width). A layer may run more than once; then its work adds
# up. `x` holds one picture. For a 3x3 convolution named `"0"`, from 1 to 2 channels, on a 4 x 4 picture without padding, the
# answer is `{"0": 72}`.


# %% nbgrader={"grade": false, "grade_id": "count", "locked": false, "schema_version": 3, "solution": true, "task": false}
def count_macs(net: nn.Module, x: torch.Tensor) -> dict[str, int]:
    """Multiply-adds of each convolution and linear layer in net(x), by name; x (1, C, H, W)."""
    ### BEGIN SOLUTION
    macs: dict[str, int] = {}
    for name, layer, shape in run_through(net, x):
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            macs[name] = macs.get(name, 0) + math.prod(shape) * layer.weight[0].numel()
    return macs
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "count-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["count_macs"]
import torch
from torch import nn

from tlcore.grading import Checks

off_limits = ["tlcore.zoo", "tlcore.anatomy", "torch.utils.flop_counter"]
checks = Checks("Exercise 1 · Multiply-adds", forbid=off_limits)


def work(net, x):
    return {name: int(number) for name, number in dict(count_macs(net, x)).items() if number}


@checks("a convolution: numbers in the output times weights used by each", points=0.5)
def _():
    wrong = {
        "biases are free": {"0": 912},
        "the size of the output counts, not that of the input": {"0": 1944},
        "this is the work of one position only": {"0": 54},
        "each output reads all channels of the input": {"0": 432},
        "a multiplication and its addition count as one": {"0": 1728},
    }
    checks.equal(work(nn.Sequential(nn.Conv2d(2, 3, 3)), torch.zeros(1, 2, 6, 6)), {"0": 864}, mistakes=wrong)


@checks("with groups, each output reads the channels of its own group", points=0.5)
def _():
    net = nn.Sequential(nn.Conv2d(6, 4, 3, stride=2, padding=1, groups=2))
    wrong = {
        "you let each output read the channels of all groups": {"0": 3456},
        "divide by the groups once": {"0": 864},
    }
    checks.equal(work(net, torch.zeros(1, 6, 8, 8)), {"0": 1728}, mistakes=wrong)


@checks("linear layers count, too, and layers may lie inside of others", points=1, hint="Nothing else multiplies.")
def _():
    inner = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.BatchNorm2d(2), nn.ReLU())
    net = nn.Sequential(inner, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 5)).eval()
    wrong = {
        "biases are free": {"0.0": 320, "3": 45},
        "look into the boxes: named_modules() visits every layer": {"3": 40},
        "linear layers are missing": {"0.0": 288},
    }
    checks.equal(work(net, torch.zeros(1, 1, 4, 4)), {"0.0": 288, "3": 40}, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "count-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["count_macs"]
# Random networks against torch's own counter, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from tlcore.grading import Checks, remote

off_limits = ["tlcore.zoo", "tlcore.anatomy", "torch.utils.flop_counter"]
checks = Checks("Exercise 1 · Against torch's counter", hidden=True, forbid=off_limits, seconds=30)


@checks("random networks", points=0.5)
def _():
    rng = checks.rng()
    for _ in range(3):
        a, b, c = (6 * int(n) for n in rng.integers(1, 4, 3))
        kernel = (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        net = nn.Sequential(
            nn.Conv2d(2, a, kernel, stride=int(rng.integers(1, 3)), bias=False),
            nn.Sequential(nn.ReLU(), nn.Conv2d(a, b, 3, padding=1, groups=int(rng.choice([2, 3, 6])))),
            nn.Conv2d(b, b, 3, padding=2, dilation=2, groups=b),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(4 * b, c),
        )
        x = torch.zeros(1, 2, 11, 14)
        with FlopCounterMode(display=False) as counter:
            net(x)
        got = dict(count_macs(net, x))
        checks.equal(sorted(name for name, number in got.items() if number), ["0", "1.1", "2", "5"])
        checks.equal(int(sum(got.values())), counter.get_total_flops() // 2)


def twice(count, net, x):
    return [{name: int(number) for name, number in count(net, x).items() if number} for _ in range(2)]


@checks("a layer that runs three times, counted twice", points=0.5, hint="Does the second count remember the first?")
def _():
    shared = nn.Conv2d(2, 2, 3, padding=1)
    net = nn.Sequential(shared, nn.ReLU(), shared, shared)
    first, second = remote(twice, count_macs, net, torch.zeros(1, 2, 5, 4))
    checks.equal(first, {"0": 3 * 20 * 36})
    checks.equal(second, {"0": 3 * 20 * 36})


checks
### END HIDDEN TESTS

# %% [markdown]
# From here on, `cost` gives both prices of a network at once, for one picture of a given size. The multiply-adds are yours.


# %%
def cost(net: nn.Module, *size: int) -> tuple[int, int]:
    """Parameters and multiply-adds of a network, for one picture (C, H, W)."""
    net = nn.Sequential(net).to("meta")
    return count_params(net), int(sum(count_macs(net, torch.zeros(1, *size, device="meta")).values()))


# %% [markdown]
# Your instrument on AlexNet. Record a guess first: how much of its work, in percent, is done by its three fully connected
# layers?

# %%
my_guess = None  # percent

# %%
alexnet = on_paper("alexnet")
found, ran = count_macs(alexnet, photo), [r for r in run_through(alexnet, photo) if hasattr(r[1], "weight")]
work, weights = [int(found[name]) for name, _, _ in ran], [layer.weight.numel() for _, layer, _ in ran]
fig, (left, right) = plots.figure(2, width=3.8, height=2.4)
for ax, numbers, title in ((left, weights, "million weights"), (right, work, "million multiply-adds")):
    ax.barh(layers, [n / 1e6 for n in numbers], color=[plots.BLUE] * 5 + [plots.ORANGE] * 3)
    ax.set_title(title)
    ax.invert_yaxis()
connected = {"work": sum(work[5:]) / sum(work), "weights": sum(weights[5:]) / sum(weights)}
print(f"fully connected: {connected['work']:.0%} of the work; your guess was {my_guess}")

# %% [markdown]
# The convolutions (blue) do most of the work with few weights, because each weight is used at every position. The fully
# connected layers (orange) hold nearly all weights and use each of them once. So "small" can mean two different things.
#
# What did AlexNet's two groups save? Its cousin with one group has the same maps everywhere.

# %%
found = count_macs(on_paper("alexnet_ungrouped"), photo)
whole = [int(found[name]) for name, _, _ in ran]
rows = [[name, a / 1e6, b / 1e6, f"x {b / a:.0f}"] for name, a, b in zip(layers[:5], work, whole)]
growth = sum(whole) / sum(work)
plots.table(
    [*rows, ["all eight", sum(work) / 1e6, round(sum(whole) / 1e6), f"x {growth:.2f}"]],
    ["layer", "two groups", "one group", "grows"],
)

# %% [markdown]
# These are million multiply-adds. With one group, layers 2, 4 and 5 cost exactly twice as much: each output reads twice as
# many maps.
#
# The next two networks changed the layers, not the plan. ZFNet made AlexNet's first kernel smaller, 7x7 with steps of 2 in
# place of 11x11 with steps of 4. VGG uses nothing but 3x3 kernels (column C also has some 1x1), "same" padding and 2x2
# pooling with steps of 2, and its columns A to E grow from 11 to 19 layers with weights.

# %%
rows = []
for name in ("alexnet", "zfnet", "zfnet_wide", "vgg_a", "vgg_b", "vgg_c", "vgg_d", "vgg_e"):
    net, card = on_paper(name), zoo.card(name)
    params, macs = cost(net, *card.input_size)
    depth = sum(hasattr(layer, "weight") for layer in net.modules())
    rows.append([name, depth, params / 1e6, f"{4 * params / 1e6:.1f}", round(macs / 1e6), round(card.macs / 1e6)])
plots.table(rows, ["network", "layers", "million params", "MB as float32", "your million MACs", "the zoo's"])

# %% [markdown]
# Your counter and the zoo agree. The lectures say that AlexNet takes 255 MB and VGG-16 522 MB; at four bytes a parameter it
# is 244 and 553. They call ZFNet's layers wider than AlexNet's. In the network of that name they are not; the paper also
# tried wider ones, the third line. And they say that VGG-16 has "16 channels": 16 is the number of its layers with weights.
#
# From column A to E the work grows to more than twice as much, the parameters by a twelfth. Most of them sit in the first
# fully connected layer, as in AlexNet.
#
# ## 2 · Side by side
#
# In photos an object may fill the picture or only a corner of it. Which kernel size fits? The inception module of GoogLeNet
# does not choose. It runs 1x1, 3x3 and 5x5 convolutions and a max pooling *side by side* on the same input, and puts their
# maps one behind the other.
#
# ### Exercise 2 · The naive module (2 points)
#
# Complete the module. Its branches are a 1x1, a 3x3 and a 5x5 convolution with `one`, `three` and `five` maps, and a 3x3 max
# pooling with stride 1. All keep the size of the map. The convolutions have a bias, and each is followed by ReLU. The output
# has the maps of the branches in this order, along dimension 1.


# %% nbgrader={"grade": false, "grade_id": "naive", "locked": false, "schema_version": 3, "solution": true, "task": false}
class NaiveInception(nn.Module):
    """Three convolutions and a pooling side by side: (N, C, H, W) -> (N, one + three + five + C, H, W)."""

    def __init__(self, in_channels: int, one: int, three: int, five: int) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.one = nn.Conv2d(in_channels, one, 1)
        self.three = nn.Conv2d(in_channels, three, 3, padding=1)
        self.five = nn.Conv2d(in_channels, five, 5, padding=2)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        maps = [torch.relu(conv(x)) for conv in (self.one, self.three, self.five)]
        return torch.cat([*maps, self.pool(x)], 1)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "naive-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["NaiveInception"]
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 2 · The naive module", forbid=["tlcore.zoo", "torchvision"])
sizes, x = (3, 2, 4, 5), torch.rand(2, 3, 7, 6)


class Weights(dict):
    def __missing__(self, shape):
        raise AssertionError(f"No weights of shape {shape}; there are {sorted(self)}.")


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


@checks("all branches are there, with their parameters", points=0.5, hint="padding = k // 2 keeps the size of a map.")
def _():
    out, parameters = remote(run, NaiveInception, sizes, x)
    wrong = {"the pooled maps are missing": [2, 11, 7, 6], "maps stand one behind the other": [2, 3, 7, 6]}
    checks.equal(list(out.shape), [2, 14, 7, 6], mistakes=wrong)
    found = "layers in a plain list are not registered: torch does not find their parameters"
    wrong = {found: 0, "the convolutions have a bias": 489, "every branch reads the input itself": 589}
    checks.equal(sum(p.numel() for p in parameters), 500, mistakes=wrong)


@checks("each branch computes what it should, in the right order", points=0.5)
def _():
    out, parameters = remote(run, NaiveInception, sizes, x)
    by_shape = Weights({tuple(p.shape): p for p in parameters})
    raw = [F.conv2d(x, by_shape[n, 3, k, k], by_shape[n,], padding=k // 2) for n, k in ((2, 1), (4, 3), (5, 5))]
    maps, pooled = [r.relu() for r in raw], F.max_pool2d(x, 3, 1, 1)
    wrong = {
        "the ReLU is missing": torch.cat([*raw, pooled], 1),
        "the pooled maps come last": torch.cat([pooled, *maps], 1),
        "the maps come in the order 1x1, 3x3, 5x5": torch.cat([*maps[::-1], pooled], 1),
        "the pooling takes the maximum": torch.cat([*maps, F.avg_pool2d(x, 3, 1, 1)], 1),
        "the branch passes on the pooled maps, not the input": torch.cat([*maps, x], 1),
    }
    checks.close(out, torch.cat([*maps, pooled], 1), atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "naive-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["NaiveInception"]
# Other widths, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 2 · Other widths", hidden=True, forbid=["tlcore.zoo", "torchvision"])


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


@checks("random widths, on maps of other sizes", points=1)
def _():
    for height, width in ((5, 9), (8, 8)):
        c, one, three, five = (int(n) for n in checks.rng().permutation(8)[:4] + 1)
        x = torch.rand(2, c, height, width)
        out, parameters = remote(run, NaiveInception, (c, one, three, five), x)
        by_shape = {tuple(p.shape): p for p in parameters}
        maps = [
            F.conv2d(x, by_shape[n, c, k, k], by_shape[n,], padding=k // 2).relu()
            for n, k in ((one, 1), (three, 3), (five, 5))
        ]
        checks.close(out, torch.cat([*maps, F.max_pool2d(x, 3, 1, 1)], 1), atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# What would it cost? GoogLeNet's first module reads 192 maps of 28 x 28 and has 64, 128 and 32 maps in its convolutions. By
# hand, for the 5x5 branch: 28 · 28 positions, times 32 maps, times 5 · 5 · 192 weights, makes 120 million. Your counter does
# all branches (the names in the table are the ones you gave). Below it, what happens if we stack three such modules.

# %%
naive, maps = NaiveInception(192, 64, 128, 32).to("meta"), torch.zeros(1, 192, 28, 28, device="meta")
rows = [[name, int(macs) / 1e6] for name, macs in count_macs(naive, maps).items()]
plots.table([*rows, ["all", cost(naive, 192, 28, 28)[1] / 1e6]], ["layer", "million multiply-adds"])

# %%
channels, rows = 192, []
for module in ("first", "second", "third"):
    macs = cost(NaiveInception(channels, 64, 128, 32), channels, 28, 28)[1]
    rows.append([module, channels, channels + 64 + 128 + 32, round(macs / 1e6)])
    channels += 64 + 128 + 32
plots.table(rows, ["module", "maps in", "maps out", "million multiply-adds"])

# %% [markdown]
# Nearly all of the work is in the two large kernels. And the pooling hands on every map it gets, so a stack of such modules
# can only grow: the third module costs more than three times as much as the first.
#
# GoogLeNet's answer is the 1x1 convolution as a **bottleneck**. It mixes maps at one position, so it can make few maps out of
# many. Put before a large kernel, it makes that kernel cheap. Put after the pooling, it stops the growth.
#
# ### Exercise 3 · The reduced module (3 points)
#
# Complete the module. A 1x1 convolution to `reduce3` maps comes before the 3x3, one to `reduce5` maps before the 5x5, and one
# to `pooled` maps after the pooling. The first branch stays as it was. Every convolution has a bias and is followed by ReLU,
# the new ones included. The order of the maps stays: 1x1, 3x3, 5x5, pooling.


# %% nbgrader={"grade": false, "grade_id": "reduced", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Inception(nn.Module):
    """Figure 2b of the paper: (N, C, H, W) -> (N, one + three + five + pooled, H, W)."""

    def __init__(
        self, in_channels: int, one: int, reduce3: int, three: int, reduce5: int, five: int, pooled: int
    ) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.one = nn.Sequential(nn.Conv2d(in_channels, one, 1), nn.ReLU())
        self.three = nn.Sequential(
            nn.Conv2d(in_channels, reduce3, 1), nn.ReLU(), nn.Conv2d(reduce3, three, 3, padding=1), nn.ReLU()
        )
        self.five = nn.Sequential(
            nn.Conv2d(in_channels, reduce5, 1), nn.ReLU(), nn.Conv2d(reduce5, five, 5, padding=2), nn.ReLU()
        )
        self.pooled = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(in_channels, pooled, 1), nn.ReLU())
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pooled(x)], 1)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "reduced-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["Inception"]
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 3 · The reduced module", forbid=["tlcore.zoo", "torchvision"])
sizes, x = (6, 2, 3, 4, 5, 7, 8), torch.rand(2, 6, 7, 5)


class Weights(dict):
    def __missing__(self, shape):
        raise AssertionError(f"No weights of shape {shape}; there are {sorted(self)}.")


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


def layer(x, by_shape, maps, kernel, relu=True):
    y = F.conv2d(x, by_shape[maps, x.shape[1], kernel, kernel], by_shape[maps,], padding=kernel // 2)
    return y.relu() if relu else y


@checks("as many maps and parameters as the sizes say", points=0.5)
def _():
    out, parameters = remote(run, Inception, sizes, x)
    checks.equal(
        list(out.shape), [2, 21, 7, 5], mistakes={"the pooled maps have their own 1x1 after them": [2, 19, 7, 5]}
    )
    wrong = {
        "the convolutions have a bias": 1091,
        "the 1x1 before the 3x3 and the 5x5 are missing": 1347,
        "the 1x1 comes before the large kernel, not after it": 1048,
    }
    checks.equal(sum(p.numel() for p in parameters), 1120, mistakes=wrong)


@checks("the 1x1 and the pooled branch, first and last", points=0.5)
def _():
    out, parameters = remote(run, Inception, sizes, x)
    by_shape = Weights({tuple(p.shape): p for p in parameters})
    checks.close(out[:, :2], layer(x, by_shape, 2, 1), atol=1e-5)
    pooled = layer(F.max_pool2d(x, 3, 1, 1), by_shape, 8, 1)
    wrong = {
        "the 1x1 comes after the pooling": F.max_pool2d(layer(x, by_shape, 8, 1), 3, 1, 1),
        "the 1x1 after the pooling needs its ReLU": layer(F.max_pool2d(x, 3, 1, 1), by_shape, 8, 1, relu=False),
        "the pooling itself is missing": layer(x, by_shape, 8, 1),
    }
    checks.close(out[:, 13:], pooled, atol=1e-5, mistakes=wrong)


@checks("the 3x3 and the 5x5 on their reduced maps", points=1)
def _():
    out, parameters = remote(run, Inception, sizes, x)
    by_shape = Weights({tuple(p.shape): p for p in parameters})
    for maps, small, kernel, got in ((4, 3, 3, out[:, 2:6]), (7, 5, 5, out[:, 6:13])):
        without = layer(layer(x, by_shape, small, 1, relu=False), by_shape, maps, kernel)
        wrong = {"the 1x1 before it needs a ReLU": without}
        checks.close(got, layer(layer(x, by_shape, small, 1), by_shape, maps, kernel), atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "reduced-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["Inception"]
# Other widths, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 3 · Other widths", hidden=True, forbid=["tlcore.zoo", "torchvision"])


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


def layer(x, by_shape, maps, kernel):
    return F.conv2d(x, by_shape[maps, x.shape[1], kernel, kernel], by_shape[maps,], padding=kernel // 2).relu()


@checks("random widths, on maps of other sizes", points=1, hint="A width may be larger or smaller than the one before.")
def _():
    for height, width in ((5, 9), (8, 8)):
        c, one, small3, three, small5, five, pooled = (int(n) for n in checks.rng().permutation(12)[:7] + 1)
        x = torch.rand(2, c, height, width)
        out, parameters = remote(run, Inception, (c, one, small3, three, small5, five, pooled), x)
        p = {tuple(p.shape): p for p in parameters}
        want = [
            layer(x, p, one, 1),
            layer(layer(x, p, small3, 1), p, three, 3),
            layer(layer(x, p, small5, 1), p, five, 5),
            layer(F.max_pool2d(x, 3, 1, 1), p, pooled, 1),
        ]
        checks.close(out, torch.cat(want, 1), atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# The same module with the paper's bottlenecks: 96 maps before the 3x3, 16 before the 5x5, 32 after the pooling.

# %%
rows = []
for name, module in (("naive", naive), ("reduced", Inception(192, 64, 96, 128, 16, 32, 32).to("meta"))):
    weights = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    rows.append([name, module(maps).shape[1], weights, cost(module, 192, 28, 28)[1] / 1e6])
price = rows[0][3] / rows[1][3]
plots.table(rows, ["module", "maps out", "weights", "million multiply-adds"])

# %% [markdown]
# Less than half the work and the weights, although three layers were added. Nine such modules and a short stem make
# GoogLeNet. Here is its table: for each module the six widths, in the order of your arguments.

# %%
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}  # fmt: skip


def conv(maps_in: int, maps_out: int, k: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(maps_in, maps_out, k, stride, k // 2), nn.ReLU())


def halve() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


# %% [markdown]
# We keep the network in three parts, for a reason that will come soon.


# %%
def your_googlenet() -> nn.ModuleDict:
    """GoogLeNet from your modules: up to 4a, up to 4d, and the rest."""
    net, channels = {"stem": nn.Sequential(conv(3, 64, 7, 2), halve(), conv(64, 64, 1), conv(64, 192, 3), halve())}, 192
    for name, widths in TABLE.items():
        net[name] = Inception(channels, *widths)
        channels = widths[0] + widths[2] + widths[4] + widths[5]
    low = nn.Sequential(net["stem"], net["3a"], net["3b"], halve(), net["4a"])
    middle = nn.Sequential(net["4b"], net["4c"], net["4d"])
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000)]
    high = nn.Sequential(net["4e"], halve(), net["5a"], net["5b"], *end)
    return nn.ModuleDict({"low": low, "middle": middle, "high": high})


# %%
yours, card = nn.Sequential(*your_googlenet().values()), zoo.card("googlenet")
rows = [["built from your modules", *cost(yours, 3, 224, 224)], ["the zoo's card", card.params, card.macs]]
plots.table(rows, ["GoogLeNet", "parameters", "multiply-adds"])

# %% [markdown]
# Your modules make the network of the paper, to the last parameter: 7 million, not the 5 or 4 million that the lectures
# quote. One of their tables gives it 19 layers; on the path from photo to classes lie 22 with weights. Its successors, as the
# lectures list them and as they are:

# %%
lectures = {
    "googlenet": (5, 69.8, 89.9), "bn_inception": (11.2, 74.8, 92.2), "inception_v3": (23.8, 78.8, 94.4),
    "inception_v4": (55.8, 80.1, 95.1), "inception_resnet_v2": (55.8, 80.1, 95.1),
}  # fmt: skip
rows = []
for name, (said, top1, top5) in lectures.items():
    card = zoo.card(name)
    scores = f"{card.top1:.1f} / {card.top5:.1f} ({card.evaluated_by})"
    rows.append([name, str(card.year), f"{said}M", f"{card.params / 1e6:.2f}M", f"{top1} / {top5}", scores])
plots.table(rows, ["network", "year", "said", "has", "top-1 / top-5, said", "evaluated"])

# %% [markdown]
# BN-Inception is version 2: normalisation, and two 3x3 layers in place of each 5x5. Version 3 factorises further (lesson 02).
# Version 4 has shortcuts only in its Inception-ResNet variants. The lectures give one line for both, and its size is that of
# Inception-ResNet-v2. Scores of the same network differ with the trained weights and with how a photo is cropped, so we name
# whose they are.
#
# ### Does it help with objects of any size?
#
# The lectures argue: objects vary in size and place, a small kernel fits small ones and a large kernel large ones, so have
# both. Let us try. A picture shows one striped blob in noise, and the class is the direction of its stripes, one of six. All
# blobs carry the same energy. Their sizes are 3, 4, 6 or 9 pixels, and they may lie anywhere.

# %%
from tlcore import runtime

SIZES = (3, 4, 6, 9)


def blobs(count: int, noise: float = 1, side: int = 18) -> tuple[torch.Tensor, ...]:
    """Pictures (N, 1, 18, 18), directions (N,), sizes (N,), and places (N, 2) from 0 to 1."""
    size = torch.tensor(SIZES)[torch.arange(count) % 4].float()
    direction, place = torch.randint(6, (count,)), torch.rand(count, 2)
    centre = size[:, None] / 2 + place * (side - size)[:, None]
    down, right = (2 * (torch.arange(side) + 0.5 - centre[:, [axis]]) / size[:, None] for axis in (0, 1))
    u, v, angle = down[:, :, None], right[:, None, :], math.pi / 6 * direction[:, None, None]
    clean = torch.cos(math.pi * (u * angle.cos() + v * angle.sin())) * torch.exp(-2 * (u**2 + v**2))
    clean = 8 * clean / clean.flatten(1).norm(dim=1)[:, None, None]
    return (clean + noise * torch.randn(count, side, side))[:, None], direction, size, place


# %%
_ = runtime.seed_everything(0)
clean, noisy = blobs(4, noise=0)[0], blobs(4)[0]
fig, axes = plots.figure(8, width=1.2, height=1.5)
for ax, image, size in zip(axes, [*clean, *noisy], 2 * SIZES):
    ax.imshow(image[0])
    ax.set(xticks=[], yticks=[], title=f"{size} pixels")

# %% [markdown]
# On the left four blobs without noise, on the right four others as the networks see them. Each network has one layer only, so
# that depth cannot help: a single kernel size, or your naive module. Then comes the maximum of each map, which forgets the
# place, and a linear layer. We chose the widths so that all have about 350 parameters.


# %%
def competitors() -> dict[str, nn.Sequential]:
    bodies = {
        "3x3": (conv(1, 22, 3), 22), "5x5": (conv(1, 11, 5), 11), "7x7": (conv(1, 6, 7), 6),
        "side by side": (NaiveInception(1, 1, 8, 6), 1 + 8 + 6 + 1),
    }  # fmt: skip
    end = [nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    return {name: nn.Sequential(body, *end, nn.Linear(width, 6)) for name, (body, width) in bodies.items()}


# %% [markdown]
# Which will be best on average: "3x3", "5x5", "7x7" or "side by side"?

# %%
my_design = None

# %% [markdown]
# All networks see the same pictures, in the same order. (One thread is enough for such small layers.)


# %%
def compete(steps: int) -> dict[str, nn.Sequential]:
    nets = competitors()
    rate = torch.optim.lr_scheduler.OneCycleLR
    optimisers = [torch.optim.Adam(net.parameters()) for net in nets.values()]
    schedules = [rate(optimiser, 0.02, total_steps=steps) for optimiser in optimisers]
    for _ in range(steps):
        x, y = blobs(128)[:2]
        for net, optimiser, schedule in zip(nets.values(), optimisers, schedules):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimiser.step()
            schedule.step()
    return nets


# %%
_ = runtime.seed_everything(99)
pictures, directions, size, place = blobs(8000)  # to test on
threads, correct = torch.get_num_threads(), {}
torch.set_num_threads(1)
for seed in range(runtime.scaled(quick=1, standard=2, full=5)):
    runtime.seed_everything(seed)
    trained = compete(runtime.scaled(quick=150, standard=400, full=1000))
    for name, net in trained.items():
        with torch.no_grad():
            correct.setdefault(name, []).append((net(pictures).argmax(1) == directions).float())
torch.set_num_threads(threads)
correct = {name: torch.stack(each).mean(0) for name, each in correct.items()}  # averaged over the seeds

# %%
border = (place - 0.5).abs().amax(1) > 0.5**1.5  # the outer half of all places
by_size, rows = {name: [float(r[size == s].mean()) for s in SIZES] for name, r in correct.items()}, []
for name, r in correct.items():
    shown = [*by_size[name], float(r.mean()), float(r[~border].mean()), float(r[border].mean())]
    rows.append([name, count_params(trained[name]), *[f"{share:.1%}" for share in shown]])
best = max(correct, key=lambda name: correct[name].mean())
print(f"best on average: {best}; your guess was {my_design}")
plots.table(rows, ["layer", "params", *[f"{s} pixels" for s in SIZES], "all", "inside", "near the border"])

# %%
ax = plots.figure(width=5.2, height=2.8)[1][0]
for name, marker in zip(by_size, "os^D"):
    ax.plot(SIZES, by_size[name], marker=marker, label=name)
ax.set(xlabel="size of the blob (pixels)", ylabel="accuracy", xticks=SIZES)
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# One half of the argument holds. The 3x3 kernels are the best for the smallest blobs and fall far behind on the largest; the
# 7x7 kernels are the worst on the smallest. The module is never the worst. But it does not beat the 5x5 kernels, which suit
# these four sizes as well: on average the two are within about a point. What the module saves is the choice. And the *place*
# of a blob matters little to any of them, because a convolution looks everywhere with the same kernel.
#
# Depth is another way to several sizes, since each layer sees further than the one below it. VGG has only 3x3 kernels, and in
# 2014 it came second, right behind GoogLeNet.
#
# ### Outputs half-way up
#
# GoogLeNet has two more classifiers, on the maps of modules 4a and 4d. In training their losses are added to the main one,
# times 0.3. Afterwards they are thrown away. The lectures call them a way to regularise; the paper also wanted them for the
# gradient. We look at the gradient first. Your network starts with torch's default weights, which are rather small.


# %%
def classifier(maps: int) -> nn.Sequential:
    """An auxiliary output: 4 x 4 means, a 1x1 convolution, two linear layers."""
    linear = [nn.Linear(2048, 1024), nn.ReLU(), nn.Dropout(0.7), nn.Linear(1024, 1000)]
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), conv(maps, 128, 1), nn.Flatten(), *linear)


_ = runtime.seed_everything(0)
parts, helpers = your_googlenet(), nn.ModuleDict({"4a": classifier(512), "4d": classifier(528)})
rows = [
    ["without", count_params(parts), zoo.card("googlenet").params],
    ["with both", count_params(parts) + count_params(helpers), count_params(on_paper("googlenet", aux_logits=True))],
]
plots.table(rows, ["auxiliary outputs", "yours", "the zoo's"])

# %% [markdown]
# The helpers almost double the network while it trains. By what factor do they raise the gradient in the stem, before the
# first step?

# %%
my_factor = None

# %%
x, y = torch.randn(4, 3, 64, 64), torch.tensor([3, 14, 159, 265])
low = parts["low"](x)
middle = parts["middle"](low)
outputs = parts["high"](middle), helpers["4a"](low), helpers["4d"](middle)
main, *extra = [nn.functional.cross_entropy(logits, y) for logits in outputs]
totals = {"main loss alone": main, "with both auxiliary losses": main + 0.3 * sum(extra)}


# %%
def gradient_norms(loss: torch.Tensor, modules: list[nn.Module]) -> list[float]:
    """Norm of the gradient of a loss with respect to the parameters of each module."""
    groups = [list(module.parameters()) for module in modules]
    found = iter(torch.autograd.grad(loss, [p for group in groups for p in group], retain_graph=True))
    return [float(sum(next(found).square().sum() for _ in group).sqrt()) for group in groups]


low, middle, high = (list(parts[part]) for part in ("low", "middle", "high"))
modules = [low[0], low[1], low[2], low[4], *middle, high[0], high[2], high[3]]
norms = {name: gradient_norms(loss, modules) for name, loss in totals.items()}

# %%
ax = plots.figure(width=6, height=3)[1][0]
for (name, found), marker in zip(norms.items(), "os"):
    ax.semilogy(["stem", *TABLE], found, marker=marker, label=name)
ax.set(xlabel="place in the network", ylabel="norm of the gradient")
ax.legend()
factor = norms["with both auxiliary losses"][0] / norms["main loss alone"][0]
print(f"the stem's gradient grows by a factor of {factor:.0f}; your guess was {my_factor}")

# %% [markdown]
# Without help the gradient shrinks from module to module on its way down, the disease of lesson 01. Each auxiliary output
# injects a fresh one, at 4d and at 4a. Lesson 01 also had a cure: scale the first weights to the
# size of the layer. The zoo's GoogLeNet starts that way. Does it still need help?

# %%
_ = runtime.seed_everything(0)
scaled = zoo.get_model("googlenet", aux_logits=True).train()
main, *extra = [nn.functional.cross_entropy(logits, y) for logits in scaled(x)]
helped, alone = (gradient_norms(loss, [scaled.stem])[0] for loss in (main + 0.3 * sum(extra), main))
scaled_factor = helped / alone
plots.table(
    [["torch's default", f"x {factor:.0f}"], ["scaled to the layer", f"x {scaled_factor:.2f}"]],
    ["weights at the start", "auxiliary losses change the stem's gradient"],
)

# %% [markdown]
# Hardly. With scaled weights the gradient arrives by itself. This fits what the authors found a year later, in the paper on
# version 3: their auxiliary classifiers did not speed up the start of training, and helped only at its end. So there they,
# too, call them a regulariser.
#
# ## 3 · Around
#
# A residual block adds its input to its output (lesson 01). ResNet-50 and its deeper sisters combine this with the 1x1
# bottleneck: 1x1 down, 3x3 on few maps, 1x1 up again.
#
# ### Exercise 4 · The residual bottleneck (3 points)
#
# Complete the block. $F$ is a 1x1 convolution to `inner` maps, a 3x3 convolution that keeps their number and size, and a 1x1
# back to `channels` maps. None has a bias. Batch normalisation (`nn.BatchNorm2d`) follows each of the three, and a ReLU
# follows the first two normalisations. The output is $\text{relu}(F(x) + x)$. Do not change `x` in place.


# %% nbgrader={"grade": false, "grade_id": "bottleneck", "locked": false, "schema_version": 3, "solution": true, "task": false}
class Bottleneck(nn.Module):
    """relu(F(x) + x), F narrow in the middle: (N, channels, H, W) -> (N, channels, H, W)."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.branch = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        return torch.relu(self.branch(x) + x)
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "bottleneck-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["Bottleneck"]
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 4 · The residual bottleneck", forbid=["tlcore.zoo", "torchvision"])
x = torch.randn(4, 6, 5, 7)


class Weights(dict):
    def __missing__(self, shape):
        raise AssertionError(f"No weights of shape {shape}; there are {sorted(self)}.")


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


def silenced(make, sizes, x):
    built = make(*sizes)
    for p in built.parameters():
        p.data.zero_()
    return built(x.clone()).detach()


@checks("the right number of parameters", points=0.5)
def _():
    out, parameters = remote(run, Bottleneck, (6, 2), x)
    checks.equal(list(out.shape), [4, 6, 5, 7])
    wrong = {
        "no convolution has a bias": 90,
        "the normalisations are missing": 60,
        "the last normalisation is missing": 68,
    }
    checks.equal(sum(p.numel() for p in parameters), 80, mistakes=wrong)


@checks("if F gives zero, the block gives relu(x)", points=0.5)
def _():
    wrong = {"the shortcut is missing": torch.zeros_like(x), "the ReLU after the sum is missing": x}
    checks.close(remote(silenced, Bottleneck, (6, 2), x), x.relu(), mistakes=wrong)


@checks("the three layers, with normalisation and ReLU between them", points=1)
def _():
    out, parameters = remote(run, Bottleneck, (6, 2), x)
    weights = Weights({tuple(p.shape): p for p in parameters})

    def branch(relu=torch.relu, norm=lambda y: F.batch_norm(y, None, None, training=True)):
        y = relu(norm(F.conv2d(x, weights[2, 6, 1, 1])))
        y = relu(norm(F.conv2d(y, weights[2, 2, 3, 3], padding=1)))
        return norm(F.conv2d(y, weights[6, 2, 1, 1]))

    wrong = {
        "the ReLUs inside of F are missing": (branch(relu=lambda y: y) + x).relu(),
        "the normalisations are missing": (branch(norm=lambda y: y) + x).relu(),
        "the ReLU comes after the sum": branch().relu() + x,
        "no ReLU between F and the sum": (branch().relu() + x).relu(),
        "the shortcut is missing": branch().relu(),
    }
    checks.close(out, (branch() + x).relu(), rtol=1e-3, atol=1e-4, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "bottleneck-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["Bottleneck"]
# Other widths, in training and after it, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 4 · Other widths", hidden=True, forbid=["tlcore.zoo", "torchvision"])


def run(make, sizes, x, training):
    built = make(*sizes).train(training)
    before = x.clone()
    out = built(before).detach()
    return out, [p.detach() for p in built.parameters()], float((before - x).abs().max())


def want(x, parameters, channels, inner, norm):
    weights = {tuple(p.shape): p for p in parameters}
    y = norm(F.conv2d(x, weights[inner, channels, 1, 1])).relu()
    y = norm(F.conv2d(y, weights[inner, inner, 3, 3], padding=1)).relu()
    return (norm(F.conv2d(y, weights[channels, inner, 1, 1])) + x).relu()


@checks("random widths; x stays as it was", points=0.5)
def _():
    inner, channels = 1 + checks.rng().permutation(8)[:2]
    x = torch.randn(5, int(channels), 6, 4)
    out, parameters, changed = remote(run, Bottleneck, (int(channels), int(inner)), x, True)
    norm = lambda y: F.batch_norm(y, None, None, training=True)  # noqa: E731
    checks.close(out, want(x, parameters, channels, inner, norm), rtol=1e-3, atol=1e-4)
    checks.equal(changed, 0.0)


@checks("after training, normalised by the running statistics", points=0.5, hint="Use nn.BatchNorm2d three times.")
def _():
    x = torch.randn(5, 8, 6, 4)
    out, parameters, _ = remote(run, Bottleneck, (8, 3), x, False)
    checks.close(out, want(x, parameters, 8, 3, lambda y: y / (1 + 1e-5) ** 0.5), rtol=1e-3, atol=1e-4)
    checks.equal(sum(p.numel() for p in parameters), 2 * 24 + 81 + 2 * (3 + 3 + 8))


checks
### END HIDDEN TESTS

# %% [markdown]
# The paper's figure 5 shows two blocks side by side: two 3x3 layers on 64 maps, as in ResNet-18 and 34, and the bottleneck on
# 256 maps. By hand, the bottleneck on maps of 56 x 56 costs 56 · 56 · (256 · 64 + 9 · 64 · 64 + 64 · 256), or 218 million. We
# add what two 3x3 layers on 256 maps would cost.


# %%
def pair(channels: int) -> nn.Sequential:
    """F of a basic block: two normalised 3x3 layers."""
    layers = [nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)]
    return nn.Sequential(*layers, nn.ReLU(), *layers)


blocks = {"3x3, 3x3": (pair(64), 64), "bottleneck": (Bottleneck(256, 64), 256), "3x3, 3x3 ": (pair(256), 256)}
rows = [[name, maps, cost(block, maps, 56, 56)[1] / 1e6] for name, (block, maps) in blocks.items()]
plots.table(rows, ["layers of the block", "maps in and out", "million multiply-adds"])

# %% [markdown]
# The bottleneck carries four times as many maps for about the price of the basic block, and for one seventeenth of the price
# of the wide one. (Look at `pair`: it runs the same two layers twice, and your counter adds up both runs.)
#
# ### The lectures' table of ResNets
#
# | layers | 18 | 34 | 50 | 101 | 152 |
# | --- | --- | --- | --- | --- | --- |
# | parameters, as printed | 11.174M | 21.282M | 23.521M | 42.513M | 58.157M |
#
# None of these is a network of the paper. Let us try a guess: the same blocks for small pictures, with a 3x3 layer in place
# of the 7x7 and the pooling, and with ten classes.

# %%
rows = []
for depth in (18, 34, 50, 101, 152):
    small, card = cost(on_paper(f"resnet{depth}", stem="cifar", num_classes=10), 3, 32, 32), zoo.card(f"resnet{depth}")
    rows.append([depth, *[f"{n / 1e6:,.3f}" for n in (*small, card.params, card.macs)]])
plots.table(rows, ["layers", "3x3 stem, 10 classes: params", "MACs", "ImageNet: params", "MACs, in millions"])

# %% [markdown]
# The second column is the lectures' table, digit for digit. What the small networks lack is, above all, 990 of the 1,000
# outputs; in the three deep ones these are two million parameters. They are not the ResNets that the paper trained on
# CIFAR-10 either: its ResNet-20 has 0.27 million.
#
# Networks also come with recipes. Here are those of AlexNet and ResNet, from their papers.

# %%
recipes = [zoo.card(name).recipe.split("; ") for name in ("alexnet", "resnet50")]
topics = "momentum, batches, learning rate, weight decay, dropout, initialisation, normalisation, augmentation"
rows = []
for topic in topics.split(", "):
    rows.append([topic, *[next((part for part in parts if topic in part), None) for parts in recipes]])
plots.table(rows, ["", "AlexNet", "ResNet"])

# %% [markdown]
# A slide of the lectures gives ResNet a weight decay of 1e-5; the paper has 1e-4. Another calls AlexNet the first use of
# ReLU, which is older. AlexNet also normalised the *responses* of two layers, which is out of use.
#
# Two descendants of ResNet keep the plan and change the widths. A Wide ResNet doubles the inner maps. ResNeXt doubles them as
# well and splits the 3x3 into 32 groups: AlexNet's groups are back, as a way to save.

# %%
rows = []
for name in ("resnet50", "wide_resnet50_2", "resnext50_32x4d"):
    params, macs = cost(on_paper(name), 3, 224, 224)
    rows.append([name, f"{params / 1e6:.1f}", round(macs / 1e6), f"{zoo.card(name).top1:.1f}"])
plots.table(rows, ["network", "million params", "million MACs", "top-1"])

# %% [markdown]
# Both are better than ResNet-50, by about two points. The wide one pays with nearly three times the work and the parameters,
# ResNeXt with almost nothing.
#
# ## 4 · Turning maps up and down
#
# All layers so far look at a neighbourhood. The squeeze-and-excitation block (SE) of the winner of 2017 looks at the whole of
# each map, and then decides how loud that map should be. It can stand behind any layer.
#
# ### Exercise 5 · Squeeze and excitation (3 points)
#
# Complete the block. *Squeeze*: the mean of each map, C numbers per picture. *Excite*: a linear layer to C / `reduction`
# numbers, ReLU, a linear layer back to C numbers, and a sigmoid. Both layers have a bias. *Scale*: multiply each map of the
# picture by its number.


# %% nbgrader={"grade": false, "grade_id": "squeeze", "locked": false, "schema_version": 3, "solution": true, "task": false}
class SqueezeExcite(nn.Module):
    """Weigh each map by what the means of all maps say: (N, C, H, W) -> (N, C, H, W)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.down = nn.Linear(channels, channels // reduction)
        self.up = nn.Linear(channels // reduction, channels)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        means = x.mean((2, 3))  # (N, C)
        loudness = torch.sigmoid(self.up(torch.relu(self.down(means))))  # (N, C)
        return x * loudness[:, :, None, None]
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "squeeze-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["SqueezeExcite"]
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · Squeeze and excitation", forbid=["tlcore.zoo", "torchvision"])
x = torch.randn(3, 24, 4, 5) + 3 * torch.randn(3, 24, 1, 1)


class Weights(dict):
    def __missing__(self, shape):
        raise AssertionError(f"No weights of shape {shape}; there are {sorted(self)}.")


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


def silenced(make, sizes, x):
    built = make(*sizes)
    for p in built.parameters():
        p.data.zero_()
    return built(x.clone()).detach()


@checks("two small layers with biases", points=0.5)
def _():
    out, parameters = remote(run, SqueezeExcite, (24, 2), x)
    checks.equal(list(out.shape), [3, 24, 4, 5])
    wrong = {
        "both layers have a bias": 576,
        "in the middle there are C / reduction numbers": 122,
        "the middle is narrow": 1200,
    }
    checks.equal(sum(p.numel() for p in parameters), 612, mistakes=wrong)


@checks("a block that knows nothing halves every map", points=0.5, hint="The sigmoid of 0 is one half.")
def _():
    wrong = {
        "the sigmoid is missing": 0 * x,
        "each map has a number of its own: a sigmoid, not a softmax": x / 24,
        "there is no shortcut here": 1.5 * x,
        "the sigmoid's output multiplies the maps; it is not added": x + 0.5,
    }
    checks.close(remote(silenced, SqueezeExcite, (24, 2), x), x / 2, mistakes=wrong)


@checks("each map of each picture gets its own number", points=1)
def _():
    out, parameters = remote(run, SqueezeExcite, (24, 2), x)
    flat = [p.flatten(1) if p.ndim > 1 else p for p in parameters]
    p = Weights({tuple(p.shape): p for p in flat})

    def scaled(means, relu=torch.relu, gate=torch.sigmoid):
        inner = relu(means @ p[12, 24].T + p[12,])
        return x * gate(inner @ p[24, 12].T + p[24,])[:, :, None, None]

    wrong = {
        "squeeze by the mean, not the sum": scaled(x.sum((2, 3))),
        "squeeze by the mean, not the maximum": scaled(x.amax((2, 3))),
        "the ReLU is missing": scaled(x.mean((2, 3)), relu=lambda y: y),
        "the sigmoid is missing": scaled(x.mean((2, 3)), gate=lambda y: y),
        "each picture has numbers of its own": scaled(x.mean((0, 2, 3))[None].expand(3, 24)),
    }
    checks.close(out, scaled(x.mean((2, 3))), rtol=1e-4, atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "squeeze-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["SqueezeExcite"]
# Other widths and reductions, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · Other widths", hidden=True, forbid=["tlcore.zoo", "torchvision"])


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


def want(x, parameters, channels, inner):
    p = {tuple(p.flatten(1).shape if p.ndim > 1 else p.shape): p.flatten(1) if p.ndim > 1 else p for p in parameters}
    hidden = (x.mean((2, 3)) @ p[inner, channels].T + p[inner,]).relu()
    return x * (hidden @ p[channels, inner].T + p[channels,]).sigmoid()[:, :, None, None]


@checks("random widths and reductions", points=0.5)
def _():
    for reduction in (2, 5):
        inner = int(checks.rng().integers(8, 13))
        x = torch.randn(4, inner * reduction, 3, 6) + 3 * torch.randn(4, inner * reduction, 1, 1)
        out, parameters = remote(run, SqueezeExcite, (inner * reduction, reduction), x)
        checks.close(out, want(x, parameters, inner * reduction, inner), rtol=1e-4, atol=1e-5)


@checks("one picture alone, with 16 for the reduction if none is given", points=0.5)
def _():
    x = torch.randn(1, 192, 5, 2) + 3 * torch.randn(1, 192, 1, 1)
    out, parameters = remote(run, SqueezeExcite, (192,), x)
    checks.close(out, want(x, parameters, 192, 12), rtol=1e-4, atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# SE-ResNet-50 is ResNet-50 with your block at the end of $F$ in each of its 16 bottlenecks. By hand, a block costs $2 C^2 /
# 16$ multiply-adds. How much does that add to the work of ResNet-50, in percent?

# %%
my_extra = None  # percent

# %%
rows, total = [], [0, 0]
for maps, side, count in ((256, 56, 3), (512, 28, 4), (1024, 14, 6), (2048, 7, 3)):
    stage = [count * n for n in cost(SqueezeExcite(maps), maps, side, side)]
    rows.append([f"{count} on {maps} maps", *stage])
    total = [a + b for a, b in zip(total, stage)]
plain, squeezed = zoo.card("resnet50"), zoo.card("se_resnet50")
added = total[0] / plain.params, total[1] / plain.macs
print(f"{added[1]:.2%} more work; your guess was {my_extra}")
rows += [["all", *total], ["SE-ResNet-50 minus ResNet-50", squeezed.params - plain.params, None]]
plots.table(rows, ["your blocks", "parameters", "multiply-adds"])

# %% [markdown]
# A tenth more parameters, and hardly any work: the two layers run once per picture, not once per position. (We compare no
# multiply-adds in the last line, since the two ResNets of the zoo also differ in the layer that takes the step of two.) The
# means and the scaling are work as well, but no multiply-adds of a layer, so no counter of this kind sees them.
#
# ## 5 · Keeping everything
#
# A residual block adds. A dense block keeps: each layer reads the maps of *all* layers before it, side by side, and appends a
# few of its own. Nothing has to be learned twice, and every layer has a direct line to the first and to the last.
#
# ### Exercise 6 · A dense block (2 points)
#
# Complete the block of `depth` layers. Each layer is batch normalisation, ReLU and a 3x3 convolution without bias that keeps
# the size, in this order. It reads all maps so far, the input's included, and makes `growth` new ones. The output has all
# maps in the order in which they came: the input, then the maps of layer 1, layer 2, and so on.


# %% nbgrader={"grade": false, "grade_id": "dense", "locked": false, "schema_version": 3, "solution": true, "task": false}
class DenseBlock(nn.Module):
    """Layers that append to what they read: (N, C, H, W) -> (N, C + depth * growth, H, W)."""

    def __init__(self, in_channels: int, growth: int, depth: int) -> None:
        super().__init__()
        ### BEGIN SOLUTION
        self.layers = nn.ModuleList()
        for channels in range(in_channels, in_channels + depth * growth, growth):
            conv = nn.Conv2d(channels, growth, 3, padding=1, bias=False)
            self.layers.append(nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), conv))
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "dense-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["DenseBlock"]
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 6 · A dense block", forbid=["tlcore.zoo", "torchvision"])
x = torch.randn(3, 4, 6, 5)


class Weights(dict):
    def __missing__(self, shape):
        raise AssertionError(f"No weights of shape {shape}; there are {sorted(self)}.")


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


@checks("every layer reads all maps so far", points=0.5)
def _():
    out, parameters = remote(run, DenseBlock, (4, 3, 3), x)
    wrong = {"the input belongs to the output": [3, 9, 6, 5], "maps are appended, not added": [3, 4, 6, 5]}
    checks.equal(list(out.shape), [3, 13, 6, 5], mistakes=wrong)
    wrong = {
        "each layer reads all maps so far, not only those of the layer below": 290,
        "each layer reads all maps so far, not only the input": 348,
        "the convolutions have no bias": 618,
        "the normalisations are missing": 567,
        "the normalisation comes before the convolution": 585,
    }
    checks.equal(sum(p.numel() for p in parameters), 609, mistakes=wrong)


@checks("normalisation, ReLU, convolution; old maps first", points=0.5)
def _():
    out, parameters = remote(run, DenseBlock, (4, 3, 3), x)
    weights = Weights({tuple(p.shape): p for p in parameters})

    def block(front=False, norm=lambda y: F.batch_norm(y, None, None, training=True), relu=torch.relu):
        y = x
        for _ in range(3):
            new = F.conv2d(relu(norm(y)), weights[3, y.shape[1], 3, 3], padding=1)
            y = torch.cat([new, y] if front else [y, new], 1)
        return y

    wrong = {
        "new maps go to the end": block(front=True),
        "the ReLU is missing": block(relu=lambda y: y),
        "the normalisation is missing": block(norm=lambda y: y),
    }
    checks.close(out, block(), rtol=1e-3, atol=1e-4, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "dense-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["DenseBlock"]
# Other widths and depths, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 6 · Other widths and depths", hidden=True, forbid=["tlcore.zoo", "torchvision"])


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


@checks("random widths and depths", points=1)
def _():
    for depth in (1, 5):
        c, growth = (int(n) for n in checks.rng().integers(2, 6, 2))
        x = torch.randn(4, c, 5, 7)
        out, parameters = remote(run, DenseBlock, (c, growth, depth), x)
        weights, y = {tuple(p.shape): p for p in parameters}, x
        for _ in range(depth):
            active = F.batch_norm(y, None, None, training=True).relu()
            y = torch.cat([y, F.conv2d(active, weights[growth, y.shape[1], 3, 3], padding=1)], 1)
        checks.close(out, y, rtol=1e-3, atol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# Because everything is kept, each layer can be narrow: the lectures' example has 12 maps. DenseNet-40 has three blocks of 12
# such layers. Between two blocks stands a transition: a 1x1 convolution mixes all maps, and the size is halved. So "every
# layer is connected with every other" holds within a block. We build it from yours.


# %%
def mix(channels: int) -> nn.Sequential:
    """Transition between two dense blocks."""
    conv = nn.Conv2d(channels, channels, 1, bias=False)
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), conv, nn.AvgPool2d(2))


blocks = [DenseBlock(16, 12, 12), mix(160), DenseBlock(160, 12, 12), mix(304), DenseBlock(304, 12, 12)]
end = [nn.BatchNorm2d(448), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(448, 10)]
densenet = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), *blocks, *end).to("meta")

# %%
card, other = zoo.card("densenet40_k12"), zoo.card("resnet110")
rows = [
    ["DenseNet-40, from your blocks", *cost(densenet, 3, 32, 32)],
    ["DenseNet-40, the zoo's card", card.params, card.macs],
    ["ResNet-110, the zoo's card", other.params, other.macs],
]
plots.table(rows, ["network", "parameters", "multiply-adds"])

# %% [markdown]
# It has fewer parameters than ResNet-110 and does slightly more work. Where does the work come from? From reading: a layer's
# price grows with the maps before it. Here is the number of maps that each of the 36 layers reads.

# %%
kernels = [m.weight for m in densenet.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
read = [weight.shape[1] for weight in kernels[1:]]  # (maps made, maps read, 3, 3); the first is the stem
ax = plots.figure(width=6, height=2.4)[1][0]
ax.bar(range(1, len(read) + 1), read)
ax.axhline(12, color=plots.ORANGE)
_ = ax.set(xlabel="3x3 layer", ylabel="maps", title="maps read (bars) and maps made (line)")

# %% [markdown]
# The last layer reads 36 times as many maps as it makes. ImageNet's DenseNets therefore put a 1x1 bottleneck before each 3x3
# layer, and their transitions keep only half of the maps.
#
# ## 6 · Look, then mix
#
# An ordinary convolution does two things at once: it looks at a neighbourhood, and it mixes maps. MobileNet takes them apart.
# A **depthwise** convolution looks: each map has one kernel of its own. A **pointwise** one, 1x1, mixes. In the language of
# groups, depthwise means as many groups as maps: AlexNet had 2, ResNeXt 32, MobileNet all of them.
#
# ### Exercise 7 · A separable convolution (2 points)
#
# Return a module that runs a depthwise convolution with a square kernel and the given padding, and then a pointwise one to
# `out_channels` maps. No biases, and nothing in between. (MobileNet normalises and applies ReLU after each. We leave that
# out, so that the result can be compared with an ordinary convolution.)


# %% nbgrader={"grade": false, "grade_id": "separable", "locked": false, "schema_version": 3, "solution": true, "task": false}
def separable(in_channels: int, out_channels: int, kernel: int, padding: int = 0) -> nn.Module:
    """Depthwise, then pointwise: (N, in_channels, H, W) -> (N, out_channels, H', W')."""
    ### BEGIN SOLUTION
    depthwise = nn.Conv2d(in_channels, in_channels, kernel, padding=padding, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, nn.Conv2d(in_channels, out_channels, 1, bias=False))
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "separable-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["separable"]
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 7 · A separable convolution", forbid=["tlcore.zoo", "torchvision"])
x = torch.randn(2, 3, 6, 7)


class Weights(dict):
    def __missing__(self, shape):
        raise AssertionError(f"No weights of shape {shape}; there are {sorted(self)}.")


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


@checks("one kernel per map, one number per pair of maps", points=0.5)
def _():
    out, parameters = remote(run, separable, (3, 5, 3, 1), x)
    checks.equal(list(out.shape), [2, 5, 6, 7], mistakes={"the padding was left out": [2, 5, 4, 5]})
    wrong = {
        "there are no biases": 50,
        "a single, ordinary convolution": 135,
        "the pointwise layer comes second": 60,
        "the first layer has as many groups as maps": 96,
    }
    checks.equal(sum(p.numel() for p in parameters), 42, mistakes=wrong)


@checks("together they are an ordinary convolution with a product of kernels", points=0.5)
def _():
    out, parameters = remote(run, separable, (3, 5, 3, 1), x)
    weights = Weights({tuple(p.shape): p for p in parameters})
    look, mix = weights[3, 1, 3, 3], weights[5, 3, 1, 1]
    between = F.conv2d(F.conv2d(x, look, padding=1, groups=3).relu(), mix)
    wrong = {"there is nothing between the two layers": between, "there is no ReLU at the end": between.relu()}
    checks.close(out, F.conv2d(x, mix * look[:, 0], padding=1), atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "separable-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["separable"]
# Other kernels, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
import torch.nn.functional as F

from tlcore.grading import Checks, remote

checks = Checks("Exercise 7 · Other kernels", hidden=True, forbid=["tlcore.zoo", "torchvision"])


def run(make, sizes, x):
    built = make(*sizes)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters()]


@checks("random widths, kernels and paddings", points=1)
def _():
    for sizes in ((5,), (2, 0), (5, 2), (3, 2)):
        a, b = (int(n) for n in 2 + checks.rng().permutation(6)[:2])
        x, kernel, padding = torch.randn(2, a, 9, 8), sizes[0], sum(sizes[1:])
        out, parameters = remote(run, separable, (a, b, *sizes), x)
        weights = {tuple(p.shape): p for p in parameters}
        look, mix = weights[a, 1, kernel, kernel], weights[b, a, 1, 1]
        checks.close(out, F.conv2d(x, mix * look[:, 0], padding=padding), atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# The lectures' example is a 5x5 convolution from 3 to 256 maps on a picture of 12 x 12. By what factor is the separable one
# cheaper?

# %%
my_saving = None

# %%
rows = []
for name, padding in (("same", 2), ("none", 0)):
    ordinary = cost(nn.Conv2d(3, 256, 5, padding=padding), 3, 12, 12)[1]
    split = cost(separable(3, 256, 5, padding), 3, 12, 12)[1]
    rows.append([name, ordinary, split, f"{ordinary / split:.1f}"])
saving = rows[0][3]
print(f"the separable one is {saving} times cheaper; your guess was {my_saving}")
plots.table(
    [*rows, ["in the lectures", "2.8 million", "60 thousand", "46"]], ["padding", "ordinary", "separable", "factor"]
)

# %% [markdown]
# The lectures mix the two rows. Their 2.8 million use padding. Their 60 thousand take the depthwise layer on 12 x 12
# positions, with padding, and the pointwise one on 8 x 8, without. Within a row the factor is 22.8 both times. (Their 20 and
# 1 thousand parameters are right: 19,456 and 1,102, with biases.) In general, with $M$ maps in, $N$ maps out and a kernel of
# side $k$, the share of the work that is left is
#
# $$\frac{k^2 M + M N}{k^2 M N} = \frac{1}{N} + \frac{1}{k^2}.$$
#
# For $N = 256$ and $k = 5$ it is 1/256 + 1/25, or 1/22.8. In a real network $N$ is large, and with 3x3 kernels the saving
# comes close to nine.
#
# MobileNet is a 3x3 layer, 13 separable ones, and a classifier. Your counter tells where its work is.


# %%
def kind_of(layer: nn.Module) -> str:
    if not isinstance(layer, nn.Conv2d):
        return "classifier"
    return "depthwise" if layer.groups > 1 else "pointwise" if layer.kernel_size == (1, 1) else "first layer"


mobilenet, photo224 = on_paper("mobilenet_v1"), torch.zeros(1, 3, 224, 224, device="meta")
found = count_macs(mobilenet, photo224)
ran = [(int(found[name]), layer, shape) for name, layer, shape in run_through(mobilenet, photo224) if name in found]

# %%
rows, all_macs, all_weights = [], sum(macs for macs, _, _ in ran), sum(layer.weight.numel() for _, layer, _ in ran)
for kind in ("first layer", "depthwise", "pointwise", "classifier"):
    mine = [(macs, layer.weight.numel()) for macs, layer, _ in ran if kind_of(layer) == kind]
    rows.append([kind, f"{sum(m for m, _ in mine) / all_macs:.1%}", f"{sum(w for _, w in mine) / all_weights:.1%}"])
plots.table(rows, ["layers", "share of the work", "share of the weights"])

# %% [markdown]
# Looking is nearly free; mixing is what costs. Here are the layers behind these shares, as in the lectures' table of the
# network. The last number of a kernel is the number of maps that it reads.

# %%
rows = []
for _, layer, shape in ran[:-1]:
    kernel = f"{layer.kernel_size[0]}x{layer.kernel_size[1]}x{layer.weight.shape[1]}"
    rows.append([kind_of(layer), kernel, layer.stride[0], "x".join(map(str, shape[1:]))])
plots.table([*rows[:7], 4 * ["..."], *rows[-4:]], ["layer", "kernel", "stride", "output"])

# %% [markdown]
# In the lectures' table the last depthwise layer has a stride of 2. With it the last two lines would have 4 x 4 positions;
# the sizes printed beside it, and the authors' code, have 7 x 7.
#
# ## 7 · A cell that nobody drew
#
# All blocks so far were invented by people. NASNet's were searched for: a program proposed cells, each was trained for a
# while on CIFAR-10, and the results steered the next proposals. The best cells were then stacked to a network for ImageNet.
# That, too, is transfer: not of weights, but of an architecture.
#
# A cell is data. It starts with two states, numbered 0 and 1: the outputs of the cell before the last one, and of the last
# one. Each step picks two states and an operation for each, adds the two results, and appends the sum as a new state. In the
# end some of the states are put one behind the other.
#
# ### Exercise 8 · Reading a cell (2 points)
#
# Run a cell. A step is (operation, number of a state, operation, number of a state), and an operation is any function of a
# tensor. Return the states with the numbers in `output`, in this order, concatenated along dimension 1. With `steps =
# [(torch.neg, 1, torch.exp, 0)]` and `output = [2]` the result is `-current + previous.exp()`.


# %% nbgrader={"grade": false, "grade_id": "cell", "locked": false, "schema_version": 3, "solution": true, "task": false}
def run_cell(steps: list[tuple], output: list[int], previous: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
    """Output of a cell; both inputs (N, C, H, W), result (N, C * len(output), H, W)."""
    ### BEGIN SOLUTION
    states = [previous, current]
    for left, i, right, j in steps:
        states.append(left(states[i]) + right(states[j]))
    return torch.cat([states[n] for n in output], 1)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "cell-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["run_cell"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 8 · Reading a cell", forbid=["tlcore.zoo"])
previous, current = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)


@checks("one step", points=0.5)
def _():
    got = run_cell([(torch.sin, 1, torch.exp, 0)], [2], previous, current)
    wrong = {
        "state 0 is the previous output, state 1 the current one": previous.sin() + current.exp(),
        "the two results are added": current.sin() * previous.exp(),
        "the second operation has a state of its own": current.sin() + current.exp(),
    }
    checks.close(got, current.sin() + previous.exp(), mistakes=wrong)


@checks("a step may read an earlier one; the output lists its states", points=0.5)
def _():
    steps = [(torch.sin, 0, torch.cos, 1), (torch.exp, 2, torch.neg, 0)]
    first = previous.sin() + current.cos()
    second = first.exp() - previous
    got = run_cell(list(steps), [3, 0], previous, current)
    wrong = {
        "the states come in the order of the list `output`": torch.cat([previous, second], 1),
        "only the states in `output` leave the cell": torch.cat([previous, current, first, second], 1),
        "the numbers in `output` count the two inputs, too": torch.cat([second, first], 1),
    }
    checks.close(got, torch.cat([second, previous], 1), atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "cell-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["run_cell"]
# Random cells, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 8 · Random cells", hidden=True, forbid=["tlcore.zoo"])


@checks("random cells of five steps", points=1)
def _():
    rng, operations = checks.rng(), [torch.sin, torch.cos, torch.tanh, torch.neg, torch.abs]
    for _ in range(5):
        pick = lambda states: (operations[int(rng.integers(5))], int(rng.integers(states)))  # noqa: E731
        steps = [(*pick(n), *pick(n)) for n in range(2, 7)]
        output = [int(n) for n in rng.permutation(7)[:4]]
        previous, current = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
        states = [previous, current]
        for left, i, right, j in steps:
            states.append(left(states[i]) + right(states[j]))
        got = run_cell(list(steps), list(output), previous, current)
        checks.close(got, torch.cat([states[n] for n in output], 1), atol=1e-5)


checks
### END HIDDEN TESTS

# %% [markdown]
# This is the "normal cell" of NASNet-A. Its operations are averaging, doing nothing, and separable convolutions, each of them
# applied twice, with ReLU before and normalisation after. We take yours.


# %%
def twice(width: int, kernel: int) -> nn.Sequential:
    """ReLU, your separable convolution, normalisation; and the same again."""
    layers = [(nn.ReLU(), separable(width, width, kernel, kernel // 2), nn.BatchNorm2d(width)) for _ in range(2)]
    return nn.Sequential(*layers[0], *layers[1])


def normal_cell(width: int) -> list[tuple]:
    same = nn.Identity()
    five, three, average = (lambda: twice(width, 5)), (lambda: twice(width, 3)), nn.AvgPool2d(3, 1, 1)
    return [
        (five(), 1, three(), 0), (five(), 0, three(), 0), (average, 1, same, 0), (average, 0, average, 0),
        (three(), 1, same, 1),
    ]  # fmt: skip


# %%
def in_words(operation: nn.Module) -> str:
    if isinstance(operation, nn.Sequential):
        k = max(m.kernel_size[0] for m in operation.modules() if isinstance(m, nn.Conv2d))
        return f"separable {k}x{k}, twice, of "
    return {"Identity": "", "AvgPool2d": "average 3x3 of "}[type(operation).__name__]


inputs, rows = ["the cell before the last", "the last cell"], []
for state, (left, i, right, j) in enumerate(normal_cell(44), 2):
    rows.append([state, f"{in_words(left)}{inputs[i]}", f"{in_words(right)}{inputs[j]}"])
plots.table(rows, ["state", "one summand", "the other"])

# %% [markdown]
# Who would have drawn this? State 5 adds an average to itself. No step reads an earlier step, although all were allowed to.
# The output consists of state 0 and the five sums. (The network also has a "reduction cell", found in the same way, that
# halves the size.) On 44 maps of 28 x 28, the first stage of the small NASNet, your reader runs the cell and your counter
# watches. Beside it stands one ordinary 3x3 layer with as many maps in and out.


# %%
class Cell(nn.Module):
    """Your reader as a module, so that the counter finds its layers."""

    def __init__(self, steps: list[tuple], output: list[int]) -> None:
        super().__init__()
        self.steps, self.output = steps, output
        self.operations = nn.ModuleList([op for left, _, right, _ in steps for op in (left, right)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run_cell(self.steps, self.output, x, x)


# %%
cell = Cell(normal_cell(44), [0, 2, 3, 4, 5, 6]).eval()
rows = []
for name, net in (("the cell", cell), ("one 3x3 layer", nn.Conv2d(44, 6 * 44, 3, padding=1, bias=False))):
    params, macs = cost(net, 44, 28, 28)
    rows.append([name, sum(isinstance(m, nn.Conv2d) for m in net.modules()), params, macs / 1e6])
plots.table(rows, ["44 maps in, 264 out", "convolutions", "parameters", "million multiply-adds"])

# %% [markdown]
# Twenty convolutions for a quarter of the price of one. Ordinary 3x3 convolutions were on offer as well; the search did not
# take them.
#
# ## 8 · The whole zoo
#
# First, the lectures' closing table, and what the zoo knows about the same networks. We count the layers with weights on the
# longest path.

# %%
said = [
    ("LeNet", "lenet5_1998", "8", "", "60 thousand"), ("AlexNet", "alexnet", "7", "15.3%", "60 million"),
    ("ZFNet", "zfnet", "", "14.8%", ""), ("GoogLeNet", "googlenet", "19", "6.67%", "4 million"),
    ("VGG Net", "vgg_d", "16", "7.3%", "138 million"), ("ResNet", "resnet152", "152", "3.6%", ""),
]  # fmt: skip

# %%
layers_of = {"lenet5_1998": 7, "alexnet": 8, "zfnet": 8, "googlenet": 22, "vgg_d": 16, "resnet152": 152}
rows = []
for name, network, depth, error, parameters in said:
    card = zoo.card(network)
    single = f"{100 - card.top5:.1f}% ({card.evaluated_by})" if card.top5 else ""
    rows.append([name, depth, layers_of[network], parameters, f"{card.params / 1e6:,.2f} million", error, single])
plots.table(rows, ["", "layers, said", "layers", "params, said", "params", "top-5 error, said", "one net, one crop"])

# %% [markdown]
# The errors in the lectures are those of ensembles; one network alone makes more. (Some slides count poolings as layers, too:
# AlexNet has 7, 8 or 12, depending on the slide.) For each network the zoo keeps what the lectures say, and how far it is
# exact:

# %%
names = ("lenet5", "alexnet", "vgg_d", "googlenet", "inception_v4", "resnet50", "mobilenet_v1", "efficientnet_l2")
plots.table([[n, zoo.card(n).lecture, zoo.card(n).exact] for n in names], ["network", "in the lectures", "exact"])

# %% [markdown]
# The last line is the lectures' "best result": 480 million parameters, and 300 million more images to learn from.
#
# And now the picture that all these numbers lead to. What goes along with accuracy: more parameters, or more multiply-adds?
# Place your bet, "params" or "macs".

# %%
my_bet = None

# %% [markdown]
# Your counter runs through one family after the other, for networks whose top-1 accuracy on ImageNet we know. (We leave out
# those that were trained on more data or by a much later recipe, and AlexNet's own figure, which is for another year's test
# set.) The families are named after our sections. EfficientNet-B0, which we did not meet, is made of separable convolutions
# and SE blocks, and its layout was searched for.

# %%
families = {
    "one after another": ["alexnet_torchvision", "vgg_a", "vgg_b", "vgg_d", "vgg_e"],
    "side by side": ["googlenet", "bn_inception", "inception_v3", "inception_v4"],
    "around": ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"],
    "around, wider": ["resnext50_32x4d", "wide_resnet50_2", "resnext101_32x8d", "wide_resnet101_2"],
    "keeping everything": ["densenet121", "densenet169", "densenet201", "densenet161"],
    "look, then mix": ["mobilenet_v1", "efficientnet_b0"],
    "searched": ["nasnet_a_mobile", "nasnet_a_large"],
}

# %%
figures = {}
for network in [network for family in families.values() for network in family]:
    params, macs = cost(on_paper(network), *zoo.card(network).input_size)
    figures[network] = params / 1e6, macs / 1e6, zoo.card(network).top1
ranks = torch.tensor(list(figures.values())).argsort(0).argsort(0).float()  # (networks, 3)
with_params, with_macs = torch.corrcoef(ranks.T)[2, :2].tolist()
print(f"rank correlation with top-1: params {with_params:.2f}, macs {with_macs:.2f}; your bet was {my_bet}")

# %%
labels = {"vgg_d": "VGG-16", "googlenet": "GoogLeNet", "resnet50": "ResNet-50", "mobilenet_v1": "MobileNet"}
fig, axes = plots.figure(2, width=4.6, height=3.8)
for column, (ax, unit) in enumerate(zip(axes, ("million parameters", "million multiply-adds"))):
    for (family, networks), marker in zip(families.items(), "osD^vP*"):
        points = sorted((figures[n][column], figures[n][2]) for n in networks)
        ax.semilogx(*zip(*points), marker=marker, linewidth=1, label=family)
    for network, text in labels.items():
        place = figures[network][column], figures[network][2]
        ax.annotate(text, place, (7, 4 if network == "mobilenet_v1" else -12), textcoords="offset points", fontsize=8)
    ax.set(xlabel=unit, ylabel="" if column else "top-1 accuracy (%)")
_ = axes[1].legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# Across families the number of parameters says almost nothing about accuracy, and the multiply-adds say only a little more.
# Within most families both rise together with it. The families differ in where they begin. GoogLeNet comes within two points
# of VGG-16 with a twentieth of its parameters and a tenth of its work, and MobileNet within one point with still less of
# both. This is what the ideas of this lesson bought.
#
# Do not read too much into a point or two. These networks were trained in different years by different recipes, and a later
# recipe alone lifts the same ResNet-50 above 80%.
#
# ## What we saw
#
# The numbers below come from your run.

# %%
average = " / ".join(f"{float(r.mean()):.0%}" for r in correct.values())
plots.table(
    [
        ["AlexNet, fully connected: work / weights", f"{connected['work']:.0%} / {connected['weights']:.0%}"],
        ["AlexNet with one group instead of two", f"x {growth:.2f} work"],
        ["the naive inception module beside the reduced one", f"x {price:.1f} work"],
        ["blobs: 3x3 / 5x5 / 7x7 / side by side", average],
        ["auxiliary losses, stem's gradient: default / scaled weights", f"x {factor:.0f} / x {scaled_factor:.2f}"],
        ["squeeze and excitation: parameters / work", f"+{added[0]:.1%} / +{added[1]:.2%}"],
        ["a separable 5x5, from 3 to 256 maps", f"1 / {saving} of the work"],
        ["rank correlation with top-1: parameters / work", f"{with_params:.2f} / {with_macs:.2f}"],
    ],
    ["question", "answer"],
)

# %% [markdown]
# - Weights are stored once and used at every position. Count both, parameters and multiply-adds: they are two different
#   prices.
# - A 1x1 convolution mixes maps. Before a large kernel it is a bottleneck (inception, ResNet-50), after a depthwise one it
#   does the mixing (MobileNet).
# - Kernels side by side save the choice of a size. On our blobs they did not beat a single kernel that fits.
# - Shortcuts add, dense blocks append, squeeze-and-excitation multiplies.
# - A name is not a network: groups, stems, classes, strides and auxiliary outputs all change the count. Read the network.
#
# ### What if?
#
# - What if each competitor had two layers? How far would two 3x3 layers see, and at which sizes would they catch up?
# - A separable convolution has a kernel for each map. What can an ordinary convolution do that it cannot? Lesson 02 asked the
#   same about columns and rows.
# - Multiply-adds are not seconds. Which of your blocks would you expect to be slower than its count says, and how would you
#   measure it?
