# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Why did deep networks fail?
#
# Pixels form edges, edges form strokes, strokes form characters, characters form words. A network with a layer for
# each step should read better than one that leaps from pixels to words. Yet for a long time more layers made networks
# *worse*. Below, three networks learn to read the same handwritten digits, in the same number of steps. One has 4
# layers and one has 34. The third has the same 34 layers and a *shortcut* around every two of them. By the end of
# this lesson you will have measured what stopped the second network, and built the third from your own parts.
#
# The lesson has seven exercises and 20 points. Running all its cells takes less than a minute.

# %%
import torch
from sklearn.datasets import load_digits

from tlcore import plots, runtime

plots.use_style()
torch.set_num_threads(1)  # these networks are too small to be shared out
_ = runtime.seed_everything(0)
digits = load_digits()  # 1,797 pictures of 8 x 8 pixels, bundled with scikit-learn
pixels, labels = torch.tensor(digits.data, dtype=torch.float32), torch.tensor(digits.target)
pixels = (pixels - pixels.mean(0)) / (pixels.std(0) + 1)  # plus 1: some pixels are always empty
order = torch.randperm(len(pixels))
x_train, y_train = pixels[order[:1297]], labels[order[:1297]]
x_test, y_test = pixels[order[1297:]], labels[order[1297:]]

# %% [markdown]
# All networks of this lesson train in the same way: gradient descent with momentum, with 128 random pictures per
# step. The loss we watch is the one on the *whole training set*.

# %%
from torch import nn
from torch.nn.functional import cross_entropy


@torch.no_grad()
def training_loss(net: nn.Module) -> float:
    return float(cross_entropy(net(x_train), y_train))


# %%
def train(net: nn.Module, steps: int, lr: float = 0.03) -> list[float]:
    """Train; return the training loss at the start and after every 20 steps."""
    optimiser, losses = torch.optim.SGD(net.parameters(), lr=lr, momentum=0.9), [training_loss(net)]
    for step in range(1, steps + 1):
        batch = torch.randint(len(x_train), (128,))
        loss = cross_entropy(net(x_train[batch]), y_train[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step % 20 == 0:
            losses.append(training_loss(net))
    return losses


# %%
class Opening(nn.Module):
    """A first layer, pairs of layers with or without a shortcut around each pair, a last layer."""

    def __init__(self, pairs: int, shortcut: bool) -> None:
        super().__init__()
        layers = [[nn.Linear(32, 32), nn.BatchNorm1d(32)] for _ in range(2 * pairs)]
        two = [nn.Sequential(*a, nn.ReLU(), *b) for a, b in zip(layers[::2], layers[1::2])]
        self.pairs, self.shortcut = nn.ModuleList(two), shortcut
        self.first, self.last = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.first(x))
        for pair in self.pairs:
            x = torch.relu(pair(x) + x if self.shortcut else pair(x))
        return self.last(x)


# %%
steps = runtime.scaled(quick=60, standard=200, full=400)
ax = plots.figure(width=6.4, height=3)[1][0]
for name, pairs, shortcut in (("4 layers", 1, False), ("34 layers", 16, False), ("34 with shortcuts", 16, True)):
    losses = train(Opening(pairs, shortcut), steps)
    ax.plot(range(0, steps + 1, 20), losses, label=name)
    print(f"{name}: training loss {losses[-1]:.3f}")
ax.set(xlabel="step", ylabel="training loss", ylim=(0, 2.8))
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# The 4 layers learn the training set in a few dozen steps. After as many steps the 34 layers are
# still far above them, although they have room for much more. And this is the *training* loss, so they do not overfit: they hardly
# learn. With shortcuts the
# same 34 layers learn as they should. (Their curve starts above the frame, since at first each block adds to the signal.)
#
# The lectures list what makes deep learning hard: it needs much data, it overfits, gradients vanish or explode, the
# learning rate must fit, distributions shift, and training must work at all. Later lessons treat the first two. This
# one takes the others in turn.
#
# ## 1 · Who is to blame?
#
# A unit computes $z = \sum_i w_i a_i$ from the activations $a_i$ below it and passes on $y = \sigma(z)$. Write
# $\delta = \partial\, \text{loss} / \partial z$ for the message that comes back to it: how the loss changes when its
# $z$ changes. The gradient of a weight is the product
#
# $$\frac{\partial\, \text{loss}}{\partial w_i} = a_i \cdot \delta.$$
#
# So a unit learns from two sources, what comes up from *below* and what comes down from *above*. This is the **credit
# assignment problem**. How should a unit in layer 2 know what to do, as long as the layers above it make no sense of
# what it says? How should a unit in layer 4, as long as the layers below feed it noise? At the start both are random,
# and in a deep network most units have many layers on both sides.
#
# On its way down the message of a unit is the sum of those of the units above it, each times the weight between
# them, and all of it times the slope $\sigma'(z)$ of the
# activation. We start with the slopes.
#
# ### Exercise 1 · Slopes (3 points)
#
# Return the derivative of an activation at each number in `z`. Two of the formulas need only the *output* $y$: for
# the logistic function $y = 1 / (1 + e^{-z})$ the slope is $y (1 - y)$, for $y = \tanh z$ it is $(1 + y)(1 - y)$. For
# ReLU, $y = \max(0, z)$, it is 0 where $z \le 0$ and 1 elsewhere. At $z = 0$ the three slopes are 0.25, 1 and 0. The function must also work far from zero, at
# 200 say; `torch.sigmoid` and `torch.tanh` do.


# %% nbgrader={"grade": false, "grade_id": "slope", "locked": false, "schema_version": 3, "solution": true, "task": false}
def slope(activation: str, z: torch.Tensor) -> torch.Tensor:
    """Derivative of "logistic", "tanh" or "relu" at each number in z; same shape as z."""
    ### BEGIN SOLUTION
    if activation == "logistic":
        y = torch.sigmoid(z)
        return y * (1 - y)
    if activation == "tanh":
        y = torch.tanh(z)
        return (1 + y) * (1 - y)
    return (z > 0).to(z.dtype)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "slope-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["slope"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 1 · Slopes", seconds=5)
z = torch.tensor([-2.0, 0.5, 3.0])


@checks("the logistic function", points=0.5)
def _():
    y = torch.sigmoid(z)
    wrong = {"y is the output of the function, not its input": z * (1 - z), "this is the function itself": y}
    checks.close(slope("logistic", z.clone()), y * (1 - y), mistakes=wrong)


@checks("tanh", points=0.5)
def _():
    y = torch.tanh(z)
    wrong = {
        "y is the output of the function, not its input": (1 + z) * (1 - z),
        "y (1 - y) belongs to the logistic function": y * (1 - y),
        "the slope is 1 minus the square of y": 1 - y,
    }
    checks.close(slope("tanh", z.clone()), (1 + y) * (1 - y), mistakes=wrong)


@checks("ReLU is flat on the left and has slope 1 on the right", points=0.5)
def _():
    wrong = {"this is the function, not its slope": [0.0, 0.5, 3.0]}
    checks.close(slope("relu", z.clone()), [0.0, 1.0, 1.0], mistakes=wrong)


@checks("at zero", points=0.5, hint="The text above gives all three values.")
def _():
    zero = torch.zeros(1)
    checks.close(slope("relu", zero), [0.0], mistakes={"at 0 itself we take the slope of the flat side": [1.0]})
    checks.close(slope("logistic", zero), [0.25])
    checks.close(slope("tanh", zero), [1.0])


checks

# %% nbgrader={"grade": true, "grade_id": "slope-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["slope"]
# Other numbers, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 1 · Other numbers", hidden=True, seconds=5)
functions = {"logistic": torch.sigmoid, "tanh": torch.tanh, "relu": torch.relu}


@checks("a random table of numbers, against torch's own gradient", points=0.5)
def _():
    for name, function in functions.items():
        z = torch.tensor(checks.rng().normal(size=(4, 5)), dtype=torch.float32, requires_grad=True)
        function(z).sum().backward()
        checks.close(slope(name, z.detach()), z.grad, atol=1e-5)


@checks("far from zero every slope is 0 or 1", points=0.5, hint="What does your formula give at z = 200?")
def _():
    far = torch.tensor([-200.0, 200.0])
    checks.close(slope("logistic", far), [0.0, 0.0])
    checks.close(slope("tanh", far), [0.0, 0.0])
    checks.close(slope("relu", far), [0.0, 1.0])


checks
### END HIDDEN TESTS

# %% [markdown]
# Here are your slopes. Before you go on, record a guess: in a chain of 20 layers with one logistic unit
# each, a message is multiplied by 20 slopes. How much of a message of size 1 is left at best, if all weights are 1?

# %%
my_guess = None  # a number between 0 and 1

# %%
z = torch.linspace(-5, 5, 201)
ax = plots.figure(width=6.4, height=2.8)[1][0]
for name in ("logistic", "tanh", "relu"):
    ax.plot(z, torch.as_tensor(slope(name, z)), label=name)
ax.set(xlabel="z", ylabel="slope")
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %%
z, rows = torch.randn(100_000), []
for name in ("logistic", "tanh", "relu"):
    slopes = torch.as_tensor(slope(name, z)).float()
    largest, typical = float(slopes.max()), float(slopes.square().mean().sqrt())
    rows.append([name, largest, typical, f"{largest**20:.1e}", f"{typical**20:.1e}"])
print(f"20 logistic layers leave at best {rows[0][3]}; your guess was {my_guess}")
plots.table(rows, ["activation", "largest slope", "typical slope", "20 layers, at best", "20 layers, typical"])

# %% [markdown]
# A logistic unit passes on a quarter of its message at most. Twenty of them leave less than a millionth of a
# millionth. Tanh and ReLU can pass on everything, but only with the right inputs: the typical slope, its root mean
# square when $z$ has mean 0 and variance 1, is below 1 for all three. So the weights must make up for the loss, and
# they must do it exactly, because whatever is left over is multiplied at every layer.
#
# ## 2 · Vanishing and exploding
#
# ### Exercise 2 · A probe for gradients (3 points)
#
# Write an instrument that we can hold against any network. Compute the cross-entropy between the network's outputs
# for `x` and the classes `y`, and its gradient. Return the norm (root of the sum of squares) of the gradient of the
# *weight matrix* of each `nn.Linear`, first layer first. Leave out the biases. The layers may be nested;
# `net.modules()` visits all of them, in order. The probe must show the same numbers when it is used twice, and leave the
# network in the mode it is in.


# %% nbgrader={"grade": false, "grade_id": "probe", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gradient_norms(net: nn.Module, x: torch.Tensor, y: torch.Tensor) -> list[float]:
    """Norm of the loss's gradient for each linear layer's weights; x (N, D) inputs, y (N,) classes."""
    ### BEGIN SOLUTION
    weights = [layer.weight for layer in net.modules() if isinstance(layer, nn.Linear)]
    gradients = torch.autograd.grad(cross_entropy(net(x), y), weights)
    return [float(gradient.norm()) for gradient in gradients]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "probe-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["gradient_norms"]
from copy import deepcopy

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore.grading import Checks, remote

checks = Checks("Exercise 2 · A probe for gradients", forbid=["tlcore.anatomy"])
net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
x, y = torch.randn(20, 6), torch.arange(20) % 3
weights = [net[0].weight, net[2].weight, net[4].weight]
gradients = torch.autograd.grad(cross_entropy(net(x), y), weights)
expected = [float(g.norm()) for g in gradients]


@checks("one number per linear layer", points=0.5)
def _():
    wrong = {"leave out the biases": 6, "layers without weights do not count": 5, "the last layer counts, too": 2}
    checks.equal(len(list(gradient_norms(deepcopy(net), x, y))), 3, mistakes=wrong)


@checks("each is the norm of a gradient, first layer first", points=1)
def _():
    wrong = {
        "you started with the last layer": expected[::-1],
        "the root is missing": [e**2 for e in expected],
        "this is the norm of the weights, not of their gradient": [float(w.detach().norm()) for w in weights],
        "cross-entropy is the mean over the pictures, not their sum": [20 * e for e in expected],
        "this is a mean of absolute values": [float(g.abs().mean()) for g in gradients],
    }
    checks.close(list(gradient_norms(deepcopy(net), x, y)), expected, rtol=1e-3, mistakes=wrong)


def twice(probe, net, x, y):
    first = [float(n) for n in probe(net, x, y)]
    return first, [float(n) for n in probe(net, x, y)]


@checks("it shows the same when used twice", points=0.5)
def _():
    first, second = remote(twice, gradient_norms, deepcopy(net), x, y)
    checks.equal(len(first), 3)
    checks.close(first, [float(n) for n in gradient_norms(deepcopy(net), x, y)], rtol=1e-3)
    wrong = {"backward() adds to the gradients that are already there": [2 * n for n in first]}
    checks.close(second, first, rtol=1e-3, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "probe-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["gradient_norms"]
# A nested network, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore.grading import Checks

checks = Checks("Exercise 2 · A nested network", hidden=True, forbid=["tlcore.anatomy"])


@checks("layers inside of blocks are found, in order", points=1, hint="net.modules() looks into every block.")
def _():
    width = int(checks.rng().integers(4, 9))
    block = nn.Sequential(nn.Linear(width, 7, bias=False), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, width))
    net = nn.Sequential(nn.Linear(6, width), nn.Sequential(block, nn.Tanh()), nn.Linear(width, 4)).double()
    x, y = torch.randn(12, 6, dtype=torch.float64), torch.arange(12) % 4
    weights = [net[0].weight, block[0].weight, block[3].weight, net[2].weight]
    gradients = torch.autograd.grad(cross_entropy(net(x), y), weights)
    checks.close(list(gradient_norms(net, x, y)), [float(g.norm()) for g in gradients], rtol=1e-4)


checks
### END HIDDEN TESTS

# %% [markdown]
# We hold your probe against networks of 2 to 100 layers, before any training. All biases are 0. The weights are
# random with standard deviation $g / \sqrt n$, where $n$ is the number of inputs of the layer (its *fan-in*), and $g$
# sets their size. Four kinds of network take part: logistic, tanh and ReLU units with $g = 1$, and ReLU units once
# more with $g = 2$. We compute in double precision.


# %%
def stack(depth: int, activation: type[nn.Module], gain: float) -> nn.Sequential:
    """Layers of 64 units in double precision, without biases; 10 outputs."""
    layers = []
    for fan_out in (depth - 1) * [64] + [10]:
        layer = nn.Linear(64, fan_out, bias=False, dtype=torch.float64)
        nn.init.normal_(layer.weight, std=gain / 64**0.5)
        layers += [layer, activation()]
    return nn.Sequential(*layers[:-1])


x256, y256 = x_train[:256], y_train[:256]

# %% [markdown]
# Which of the four will have the smallest gradient in its first layer at 100 layers, and roughly which power of ten
# will it be?

# %%
my_smallest = None  # a name and a power of ten, such as ("tanh", -3)

# %%
depths = [2, 10, 20, 40, 60, 80, 100]
cases = {
    "logistic": (nn.Sigmoid, 1), "tanh": (nn.Tanh, 1),
    "ReLU, g = 1": (nn.ReLU, 1), "ReLU, g = 2": (nn.ReLU, 2),
}  # fmt: skip
first = {}
for name, case in cases.items():
    first[name] = [float(gradient_norms(stack(d, *case), x256.double(), y256)[0]) for d in depths]

# %%
ax = plots.figure(width=6.8, height=3.2)[1][0]
for name, norms in first.items():
    ax.semilogy(depths, norms, marker="o", label=name)
ax.minorticks_off()
ax.set(xlabel="layers", ylabel="gradient of the first layer", xticks=depths, yticks=[1e-60, 1e-40, 1e-20, 1, 1e20])
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print(f"at 100 layers: {', '.join(f'{n} {v[-1]:.0e}' for n, v in first.items())}; you guessed {my_smallest}")
print("logistic, 100 layers, in single precision:", float(torch.tensor(first["logistic"][-1], dtype=torch.float32)))

# %% [markdown]
# This is the **vanishing gradient problem**, and at the top the **exploding gradient problem**. On this scale a
# factor that is the same for every layer gives a straight line, and the logistic and the ReLU curves are nearly
# straight. The logistic network loses so much that single precision, in which networks usually compute, rounds its
# gradient to exactly zero: at 100 layers its first layer cannot learn at all. Tanh with these weights loses slowly: its signal has
# shrunk towards 0, where the slope is nearly 1.
# ReLU vanishes or explodes, and apart from the random draw its two curves
# differ by a factor of 2 in the weights.
#
# > **When does it explode?** The lecture says: with linear or ReLU units, where $\partial y / \partial x$ is 0 or
# > $w_{yx}$, it can happen when $|\sum_y \partial y / \partial x| > 1$. This is exact when all units above send the
# > same message. Messages differ, so in general each $w_{yx}$ must be weighted with its own. For independent random
# > weights with mean 0 the two views meet: the typical size of that sum is
# > $\sqrt{\sum_y (\partial y / \partial x)^2}$, and this is the factor by which a layer multiplies the size of random
# > messages.
#
# ReLU itself is older than its fame. One lecture calls AlexNet (2012) its first use. AlexNet made it famous; networks
# had used it before.
#
# ## 3 · The right size of weights
#
# A sum of $n$ products $w_i a_i$, with independent weights of mean 0 and variance $v$, has the variance $n\,v$ times
# the mean of $a_i^2$. To keep the size of the signal we need
#
# - $v = 1/n$ if the activation passes the size on as it is: linear units, and tanh near 0, where its slope is 1;
# - $v = 2/n$ for ReLU, which sets half of the values to 0 and so halves their mean square.
#
# The same holds for the messages on the way down, with the number of units above in the place of $n$. In layers of
# equal width both agree.
#
# ### Exercise 3 · Scaled weights (3 points)
#
# Return random weights for a layer: independent numbers of mean 0 whose *variance* follows the rule above, with $n$
# the fan-in. The shape is the one that `nn.Linear` uses, one row per output. For 8 inputs and ReLU the standard
# deviation is 0.5. New weights at every call, please. torch's initialisers with a built-in rule (Kaiming, Xavier) are off limits.


# %% nbgrader={"grade": false, "grade_id": "scaled", "locked": false, "schema_version": 3, "solution": true, "task": false}
def scaled_weight(fan_in: int, fan_out: int, activation: str) -> torch.Tensor:
    """Random weights (fan_out, fan_in) that keep the size of the signal; "linear", "tanh" or "relu"."""
    ### BEGIN SOLUTION
    variance = (2 if activation == "relu" else 1) / fan_in
    return torch.randn(fan_out, fan_in) * variance**0.5
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "scaled-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["scaled_weight"]
import torch

from tlcore.grading import Checks

library = ["kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_"]
checks = Checks("Exercise 3 · Scaled weights", forbid=[f"torch.nn.init.{name}" for name in library])


@checks("one row per output, one column per input", points=0.5)
def _():
    wrong = {"nn.Linear keeps one row per output": [400, 300]}
    checks.equal(list(scaled_weight(400, 300, "relu").shape), [300, 400], mistakes=wrong)


@checks("mean 0 and the right spread for ReLU", points=1)
def _():
    weight = torch.as_tensor(scaled_weight(400, 300, "relu")).detach()
    checks.close(float(weight.mean()), 0.0, atol=0.002, mistakes={"the numbers should be of both signs": 0.5})
    wrong = {
        "the rule gives the variance; the standard deviation is its root": 2 / 400,
        "n is the number of inputs": (2 / 300) ** 0.5,
        "ReLU needs twice the variance": (1 / 400) ** 0.5,
        "twice the variance is not twice the standard deviation": 2 / 20,
    }
    checks.close(float(weight.std()), (2 / 400) ** 0.5, rtol=0.03, mistakes=wrong)


@checks("the right spread for tanh", points=0.5)
def _():
    weight = torch.as_tensor(scaled_weight(400, 300, "tanh")).detach()
    wrong = {"only ReLU halves the mean square": (2 / 400) ** 0.5, "n is the number of inputs": (1 / 300) ** 0.5}
    checks.close(float(weight.std()), 0.05, rtol=0.03, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "scaled-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["scaled_weight"]
# Many layers, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

library = ["kaiming_normal_", "kaiming_uniform_", "xavier_normal_", "xavier_uniform_"]
checks = Checks("Exercise 3 · Many layers", hidden=True, forbid=[f"torch.nn.init.{name}" for name in library])


@checks("layers of other sizes", points=0.5, hint="Which activation needs the 2, and which fan counts?")
def _():
    rng = checks.rng()
    for activation, factor in (("relu", 2), ("tanh", 1), ("linear", 1)):
        fan_in, fan_out = int(rng.integers(100, 200)), int(rng.integers(400, 500))
        weight = torch.as_tensor(scaled_weight(fan_in, fan_out, activation)).detach()
        checks.equal(list(weight.shape), [fan_out, fan_in])
        checks.close(float(weight.mean()), 0.0, atol=0.005)
        checks.close(float(weight.square().mean()), factor / fan_in, rtol=0.05)


@checks("new weights at every call, no two rows alike", points=0.5)
def _():
    one, two = (torch.as_tensor(scaled_weight(60, 40, "relu")).detach() for _ in range(2))
    assert float((one - two).abs().mean()) > 0.05
    checks.equal(int(torch.linalg.matrix_rank(one.double())), 40)


checks
### END HIDDEN TESTS

# %% [markdown]
# Xavier Glorot and Yoshua Bengio derived such a rule in 2010 (with the mean of fan-in and fan-out as $n$); Kaiming He
# and colleagues added the 2 for ReLU in 2015. One lecture's recipe for ResNets says "Xavier/2, from He et al." and
# means this rule.
#
# How exact must it be? We give 50 ReLU layers three variances: $1/n$, your $2/n$, and $4/n$. Record a guess: how many
# times larger will the gradients be with $4/n$ than with $1/n$?

# %%
my_factor = None  # a number


# %%
def dense(fan_in: int, fan_out: int, activation: str = "relu") -> nn.Linear:
    """A linear layer with your weights and biases of 0."""
    layer = nn.Linear(fan_in, fan_out)
    with torch.no_grad():
        layer.weight.copy_(torch.as_tensor(scaled_weight(fan_in, fan_out, activation)))
        layer.bias.zero_()
    return layer


# %%
medians, ax = {}, plots.figure(width=6.4, height=3)[1][0]
for name, activation, factor in (("1/n", "linear", 1), ("2/n", "relu", 1), ("4/n", "relu", 2**0.5)):
    runtime.seed_everything(0)  # the same random numbers each time
    layers = [dense(64, fan_out, activation) for fan_out in 49 * [64] + [10]]
    for layer in layers:
        layer.weight.data *= factor
    net = nn.Sequential(layers[0], *[m for layer in layers[1:] for m in (nn.ReLU(), layer)])
    norms = [float(n) for n in gradient_norms(net, x256, y256)]
    medians[name] = sorted(norms)[25]
    ax.semilogy(range(1, 51), norms, label=f"variance {name}")
ax.set(xlabel="layer", ylabel="norm of its gradient")
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print(f"4/n against 1/n: {medians['4/n'] / medians['1/n']:.0e} times; your guess was {my_factor}")

# %% [markdown]
# A factor of 2 in the variance is a factor of $\sqrt 2$ per layer in the signal, and $\sqrt{2}^{\,49}$ is 24 million.
# From $1/n$ to $4/n$ it is a factor of 2 per layer, and the 49 other layers make $2^{49}$, about $6 \cdot 10^{14}$. (The
# last step, from the outputs to the cross-entropy, adds about a factor of ten.) Only the middle curve leaves gradients of a size to learn from. Why are the curves nearly
# flat? A calculator of this course shows signal and message apart, for the last of the three networks.

# %%
from tlcore import anatomy

linear = [name for name, layer in net.named_modules() if isinstance(layer, nn.Linear)]
seen = anatomy.signal(net, x256, lambda outputs: cross_entropy(outputs, y256), layers=linear)
ax = seen.plot()
_ = ax.set(ylabel="size (root mean square)", title="Variance 4/n: outputs of the layers, and messages to them")

# %% [markdown]
# On the way up the signal grows, and on the way down the message does, by the same factor per layer. A weight's
# gradient is the product $a_i \cdot \delta$ of Section 1, so it is about as large in the first layer as in the last.
# (For logistic units it is not so. Their signal stays near one half while the message vanishes on its way down, so
# their first layers suffer most.)
#
# And does it train? Here are 10 ReLU layers with the weights that `nn.Linear` starts with (their variance is
# $1/(3n)$), and 10 with yours.

# %%
steps = runtime.scaled(quick=60, standard=200, full=400)
after = {}
for name, layer in (("default", nn.Linear), ("yours", dense)):
    layers = [nn.Sequential(layer(64 if i == 0 else 32, 32), nn.ReLU()) for i in range(9)]
    after[name] = train(nn.Sequential(*layers, layer(32, 10)), steps)
plots.table([[name, losses[0], losses[-1]] for name, losses in after.items()], ["weights", "loss before", "loss after"])

# %% [markdown]
# Guessing among ten classes gives a loss of $\ln 10 = 2.30$, and there the first network stays. Yours learns. The
# same layers, the same steps: only the initial weights, and biases of 0, are
# different.

# %% [markdown]
# ## 4 · The right learning rate, and normalisation
#
# The weights are right only at the start. Training changes them, and with every step the layers in the middle receive
# other numbers than before. Sergey Ioffe and Christian Szegedy called this **internal covariate shift** in 2015.
# (*Covariate shift* without "internal" is a change of the input data; Lesson 08 is about it.) Their remedy is to set
# the size of the signal again at every layer, in every step, from the batch at hand.
#
# ### Exercise 4 · Batch normalisation (2 points)
#
# For each feature (each column of `x`) subtract its mean over the batch and divide by
# $\sqrt{\text{variance} + \text{eps}}$. The variance is the mean of the squared deviations, divided by $N$ and not by
# $N - 1$. Then multiply by `scale` and add `shift`. The column (1, 3) becomes (-1, 1) with scale 1 and shift 0. Stay with torch's elementary operations, such as
# `mean` and `sqrt`, so that gradients pass through; its own batch normalisation is off limits.


# %% nbgrader={"grade": false, "grade_id": "norm", "locked": false, "schema_version": 3, "solution": true, "task": false}
def batch_norm(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Normalise each feature over the batch; x (N, D), scale (D,), shift (D,) -> (N, D)."""
    ### BEGIN SOLUTION
    centred = x - x.mean(0)
    variance = centred.square().mean(0)
    return centred / (variance + eps).sqrt() * scale + shift
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "norm-check", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["batch_norm"]
import torch

from tlcore.grading import Checks

library = ["torch.nn.BatchNorm1d", "torch.nn.functional.batch_norm", "torch.batch_norm", "torch.native_batch_norm"]
checks = Checks("Exercise 4 · Batch normalisation", forbid=library)


@checks("every feature gets mean 0 and variance 1", points=0.5)
def _():
    x = torch.tensor([[1.0, 0.0, 5.0], [3.0, 10.0, 5.5], [2.0, 40.0, 7.0], [4.0, 30.0, 6.0]])
    centred, spread = x - x.mean(0), x.std(0, correction=0)
    rows = (x - x.mean(1, keepdim=True)) / x.std(1, correction=0, keepdim=True)
    wrong = {
        "divide by N, not by N - 1": centred / x.std(0),
        "divide by the root of the variance": centred / spread**2,
        "mean and variance belong to a feature, not to a picture": rows,
        "the mean was not subtracted": x / spread,
    }
    checks.close(batch_norm(x, torch.ones(3), torch.zeros(3)), centred / spread, atol=1e-3, mistakes=wrong)


@checks("scale and shift come last", points=0.5)
def _():
    x, scale, shift = torch.tensor([[1.0, 6.0], [5.0, 12.0]]), torch.tensor([2.0, 3.0]), torch.tensor([10.0, 20.0])
    wrong = {
        "first the scale, then the shift": [[18.0, 57.0], [22.0, 63.0]],
        "the scale is missing": [[9.0, 19.0], [11.0, 21.0]],
        "the shift is missing": [[-2.0, -3.0], [2.0, 3.0]],
    }
    checks.close(batch_norm(x, scale, shift), [[8.0, 17.0], [12.0, 23.0]], atol=1e-3, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "norm-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["batch_norm"]
# Gradients and a feature that never changes, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks, remote

library = ["torch.nn.BatchNorm1d", "torch.nn.functional.batch_norm", "torch.batch_norm", "torch.native_batch_norm"]
checks = Checks("Exercise 4 · Gradients", hidden=True, forbid=library)


def gradients(norm, x, scale, shift, weight):
    inputs = [t.detach().clone().requires_grad_(True) for t in (x, scale, shift)]
    (norm(*inputs) * weight).sum().backward()
    return [t.grad for t in inputs]


@checks("gradients pass through mean and variance, too", points=0.5, hint="Is there a detach, .data or no_grad?")
def _():
    x, weight = torch.randn(9, 4, dtype=torch.float64), torch.randn(9, 4, dtype=torch.float64)
    scale, shift = torch.rand(4, dtype=torch.float64) + 1, torch.randn(4, dtype=torch.float64)
    found = remote(gradients, batch_norm, x, scale, shift, weight)
    leaves = [t.clone().requires_grad_(True) for t in (x, scale, shift)]
    out = torch.nn.functional.batch_norm(leaves[0], None, None, leaves[1], leaves[2], training=True)
    (out * weight).sum().backward()
    checks.equal(len(found), 3)
    for got, leaf in zip(found, leaves, strict=True):
        checks.close(got, leaf.grad, rtol=1e-4, atol=1e-5)


@checks("a feature that never changes becomes its shift", points=0.5, hint="What is eps for, and where does it go?")
def _():
    x = torch.tensor([[7.0, 0.00], [7.0, 0.02]])
    checks.close(batch_norm(x, torch.ones(2), torch.full((2,), 5.0))[:, 0], [5.0, 5.0])
    root = 0.01 / (0.0001 + 0.0003) ** 0.5
    checks.close(batch_norm(x, torch.ones(2), torch.zeros(2), eps=3e-4)[:, 1], [-root, root], rtol=1e-3)


checks
### END HIDDEN TESTS

# %% [markdown]
# We wrap your function in a layer whose scale and shift are learned, and build plain networks with and without it.
# (At test time we also use the batch at hand, the whole test set; real networks keep running averages for that.)


# %%
class Norm(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.ones(size)), nn.Parameter(torch.zeros(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return batch_norm(x, self.scale, self.shift)


# %%
def plain(depth: int, normalise: bool) -> nn.Sequential:
    """Layers of 32 units with your weights, ReLU, and your normalisation or none."""
    layers = []
    for fan_in in [64] + (depth - 2) * [32]:
        layers += [dense(fan_in, 32), *([Norm(32)] if normalise else []), nn.ReLU()]
    return nn.Sequential(*layers, dense(32, 10, "linear"))


# %% [markdown]
# The learning rate is the setting that is hardest to guess. We train 10 layers with seven rates, each about three
# times larger than the one before, without and with normalisation. How many of the seven will bring the loss below
# 0.5 without normalisation, and how many with it?

# %%
my_counts = None  # two numbers from 0 to 7, such as (3, 3)

# %%
rates = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0]
steps = runtime.scaled(quick=80, standard=120, full=200)
sweep = {normalise: [train(plain(10, normalise), steps, lr)[-1] for lr in rates] for normalise in (False, True)}
good = {normalise: sum(loss < 0.5 for loss in losses) for normalise, losses in sweep.items()}

# %%
ax = plots.figure(width=6.4, height=3)[1][0]
for normalise, losses in sweep.items():
    shown = torch.tensor(losses).nan_to_num(3.0).clamp(max=3)
    ax.semilogx(rates, shown, marker="o", label="with normalisation" if normalise else "without")
ax.minorticks_off()
ax.set(xlabel="learning rate", ylabel="training loss (3 or more: at 3)", xticks=rates, xticklabels=rates)
ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
print(f"rates that reach 0.5: {good[False]} without, {good[True]} with; you guessed {my_counts}")

# %% [markdown]
# Below a good rate the network is slow, above it the loss blows up: at the right edge it is near the level of
# guessing, far above it, or not even a number. Normalisation makes the valley between the two wider and extends it to
# larger rates. So an **appropriate learning rate** is easier to find. Is internal covariate shift the reason? Let us
# measure it: how far does the mean of what the sixth layer receives travel during training, in units of its spread
# before?

# %%
travel = {}
for normalise in (False, True):
    net = plain(10, normalise)
    below = net[: 15 if normalise else 10]  # the first five layers
    before = below(x_train).detach()
    train(net, steps, lr=0.03)
    moved = (below(x_train).detach().mean(0) - before.mean(0)).abs().mean()
    travel[normalise] = float(moved / before.std(0).mean())
plots.table([["without", travel[False]], ["with", travel[True]]], ["normalisation", "distance travelled"])

# %% [markdown]
# Without normalisation the sixth layer's inputs move by more than their whole spread. With it they hardly move.
# (It can hardly move: normalisation fixes the mean and the variance
# before the scale and the shift, and these change slowly.) Whether this is *why* normalisation helps is disputed: Santurkar and colleagues (2018) added random shifts after the
# normalisation, the networks trained well all the same, and the authors point to a smoother loss instead. That it
# helps is not disputed.
#
# ## 5 · Degradation
#
# Now everything is in place: ReLU, scaled weights, normalisation, a good learning rate. Does a deeper network now
# train better? It should not be worse, for it can represent every mapping that a shallower one can. What we would
# fear is overfitting: a low training loss and a high test error.
#
# We train plain networks of 6, 18 and 34 layers with two learning rates each and keep the better result. Record a
# guess: will the training loss at 34 layers be lower than at 6, equal or higher?

# %%
my_depth = None  # "lower", "equal" or "higher"

# %%
steps = runtime.scaled(quick=60, standard=200, full=400)
plain_loss = {}
for depth, normalise in [(d, n) for d in (6, 18, 34) for n in (False, True)]:
    losses = [train(plain(depth, normalise), steps, lr)[-1] for lr in (0.01, 0.03)]
    plain_loss[depth, normalise] = min(losses)
print(f"34 layers against 6; you guessed: {my_depth}")
rows = [[depth, plain_loss[depth, False], plain_loss[depth, True]] for depth in (6, 18, 34)]
plots.table(rows, ["layers", "training loss, scaled weights", "scaled weights and normalisation"])

# %% [markdown]
# Higher, and by far, in both columns. This is **degradation**: the deeper network underfits *on the training set*. He
# and colleagues showed it in 2015. On CIFAR-10 their plain network of 56 layers had a higher training error than the
# one of 20, and on ImageNet the one of 34 layers a higher training error than the one of 18.
#
# Is the first layer's gradient too small once more? Your probe on the networks of the first column, at the start (the
# median of nine):

# %%
first_gradient = {}
for depth in (6, 18, 34):
    norms = [float(gradient_norms(plain(depth, False), x256, y256)[0]) for _ in range(9)]
    first_gradient[depth] = sorted(norms)[4]
plots.table([[depth, norm] for depth, norm in first_gradient.items()], ["layers", "gradient of the first layer"])

# %% [markdown]
# Nothing here compares with the powers of ten of Section 2. A gradient of the right size is needed, but it is not
# enough.
#
# But could the deeper network be good at all? Here is the proof that it could: take the shallow network and add
# layers that do nothing.
#
# ### Exercise 5 · Layers that do nothing (3 points)
#
# A network is an `nn.Sequential` of linear layers with a ReLU between them, ending with a linear layer. Return a new
# network that computes the same, but has `extra` more linear layers, each followed by a ReLU, just before the last
# linear layer. A linear layer does nothing if its weights are the identity matrix and its biases are 0. And a ReLU
# does nothing to numbers that have been through a ReLU before. The new layers may all be trained later, each on its
# own, and training the new network must leave the old one alone.


# %% nbgrader={"grade": false, "grade_id": "deepen", "locked": false, "schema_version": 3, "solution": true, "task": false}
from copy import deepcopy


def deepen(net: nn.Sequential, extra: int) -> nn.Sequential:
    """A copy of net with `extra` identity layers, each with its ReLU, before the last layer."""
    ### BEGIN SOLUTION
    *body, last = deepcopy(net)
    for _ in range(extra):
        layer = nn.Linear(last.in_features, last.in_features)
        nn.init.eye_(layer.weight)
        nn.init.zeros_(layer.bias)
        body += [layer, nn.ReLU()]
    return nn.Sequential(*body, last)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "deepen-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["deepen"]
from copy import deepcopy

import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · Layers that do nothing", forbid=["tlcore.compress"])
net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))
x = torch.randn(40, 6)


def deepened(deepen, net, extra, x):
    new = deepen(net, extra)
    layers = [layer for _, layer in new.named_modules(remove_duplicate=False) if not list(layer.children())]
    seen = [id(layer) for layer in layers]
    once = [not hasattr(layer, "weight") or id(layer) not in seen[:n] for n, layer in enumerate(layers)]
    return new(x).detach(), [type(layer).__name__ for layer, first in zip(layers, once) if first]


def old_after_new(deepen, net, x):
    import torch

    new = deepen(net, 2)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.fill_(0.7)
    return net(x).detach(), len(list(new.parameters()))


@checks("three more linear layers, each with its ReLU", points=0.5)
def _():
    kinds, pair = remote(deepened, deepen, deepcopy(net), 3, x)[1], ["Linear", "ReLU"]
    wrong = {
        "the new layers have no ReLU": 2 * pair + 4 * ["Linear"],
        "a layer used several times is one layer": 3 * pair + 2 * ["ReLU"] + ["Linear"],
        "the new layers come before the last linear layer": 2 * pair + ["Linear"] + 3 * pair,
    }
    checks.equal(kinds, 5 * pair + ["Linear"], mistakes=wrong)


@checks("the outputs are the same", points=1, hint="Are the weights the identity, and the biases 0?")
def _():
    outputs, kinds = remote(deepened, deepen, deepcopy(net), 3, x)
    checks.equal(kinds.count("Linear"), 6)
    with torch.no_grad():
        summed = net[:4](x).sum(1, keepdim=True).expand(-1, 8)
        wrong = {
            "a ReLU after the last layer cuts negative outputs": net(x).relu(),
            "the identity matrix has its ones on the diagonal only": net[4](64 * summed),
        }
        checks.close(outputs, net(x), rtol=1e-4, atol=1e-5, mistakes=wrong)


@checks("training the new network leaves the old one alone", points=0.5, hint="Copy the layers of the old network.")
def _():
    with torch.no_grad():
        before = net(x)
    after, count = remote(old_after_new, deepen, deepcopy(net), x)
    checks.equal(count, 10)
    checks.close(after, before)


checks

# %% nbgrader={"grade": true, "grade_id": "deepen-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["deepen"]
# Other networks, when your work is graded.
### BEGIN HIDDEN TESTS
from copy import deepcopy

import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 5 · Other networks", hidden=True, forbid=["tlcore.compress"])


def learns(deepen, net, extra, x):
    new = deepen(net, extra)
    count = sum(p.numel() for p in new.parameters() if p.requires_grad)
    out = new(x)
    out.square().sum().backward()
    return out.detach(), count, [p.grad is not None for p in new.parameters()]


@checks("a shallow network, a deep one, and no layer more at all", points=0.5)
def _():
    for sizes, extra in (([4, 7, 2], 1), ([3, 9, 6, 5], 30), ([4, 7, 2], 0)):
        layers = [m for a, b in zip(sizes, sizes[1:]) for m in (nn.Linear(a, b), nn.ReLU())]
        net, x = nn.Sequential(*layers[:-1]), torch.randn(20, sizes[0])
        out, count, _ = remote(learns, deepen, deepcopy(net), extra, x)
        checks.equal(count, sum(p.numel() for p in net.parameters()) + extra * sizes[-2] * (sizes[-2] + 1))
        with torch.no_grad():
            checks.close(out, net(x), rtol=1e-4, atol=1e-5)


@checks("every new layer has weights of its own and can be trained", points=0.5)
def _():
    net, x = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2)), torch.randn(20, 4)
    _, count, trained = remote(learns, deepen, deepcopy(net), 4, x)
    checks.equal(count, 44 + 4 * 42)
    checks.equal(trained, 12 * [True])


checks
### END HIDDEN TESTS

# %% [markdown]
# We train 4 layers, append 28 of your layers, and for comparison train 32 layers from scratch, for as many steps and
# with the smaller of Section 5's two rates.
# Finally we train the deepened network on, for as many steps again and with a smaller rate. What will its loss be
# right after the 28 layers were appended?

# %%
my_loss = None  # "as before", "a little worse" or "like guessing"

# %%
shallow = plain(4, normalise=False)
before = train(shallow, steps)[-1]
deeper = deepen(shallow, 28)
appended = training_loss(deeper)
onward = train(deeper, steps, lr=0.001)[-1]
scratch = train(plain(32, normalise=False), steps, lr=0.01)[-1]

# %%
rows = [
    ["4 layers, trained", before],
    ["the same and 28 that do nothing", appended],
    ["these 32 layers, trained on", onward],
    ["32 layers from scratch", scratch],
]
print(f"your guess for the appended layers: {my_loss}")
plots.table(rows, ["network", "training loss"])

# %% [markdown]
# The deepened network is exactly as good as the shallow one, and it learns further. So a good network of 32 layers
# exists, and gradient descent does not get near it
# from a random start in the same number of steps. The lectures call the reason a harder credit
# assignment. Notice what made the difference: *starting with layers that pass everything on*. Keep that in mind.
#
# ## 6 · Direct connections
#
# An old trick, once used to avoid poor local optima, connects the inputs directly to the outputs, past all hidden
# layers. The direct connections learn the easy bits of the mapping, which are the linear ones, and the hidden units
# are free for the hard bits. They need not learn to copy what is linear from layer to layer. How much is easy? One
# lecture says that the linear part, saturating-linear functions included, often captures 80 to 90% of the variance of
# the outputs. We can measure it.
#
# ### Exercise 6 · The linear share (3 points)
#
# Fit the outputs `y` by the best linear function of the inputs `x`, with an intercept, in the sense of least squares.
# Return the share of the variance that it captures, $1 - \sum (y - \hat y)^2 / \sum (y - \bar y)^2$, where $\hat y$
# is the fit and $\bar y$ the mean. With several outputs, each has its own mean, and both sums run over all outputs.
# Some pixels never change, so use a solver that can cope with it, such as `torch.linalg.lstsq(A, y).solution` or NumPy's, where `A` is
# `x` with a column of ones. The
# share is 1 for $y = 3x + 5$, and 0.5 for $y = x_1 + x_1 x_2$ when each $x$ is -1 or 1.


# %% nbgrader={"grade": false, "grade_id": "share", "locked": false, "schema_version": 3, "solution": true, "task": false}
def linear_share(x: torch.Tensor, y: torch.Tensor) -> float:
    """Share of the variance of y (N, K) that the best linear function of x (N, D) captures."""
    ### BEGIN SOLUTION
    design = torch.cat([x, torch.ones(len(x), 1)], dim=1).double()
    residual = y.double() - design @ torch.linalg.lstsq(design, y.double()).solution
    deviation = y.double() - y.double().mean(0)
    return float(1 - residual.square().sum() / deviation.square().sum())
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "share-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["linear_share"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · The linear share")
x = torch.tensor([[a, b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]).repeat(5, 1)
one, two = x[:, :1], x[:, 1:]


@checks("a straight line with an intercept is linear", points=0.5, hint="Add a column of ones to x.")
def _():
    line = torch.arange(10.0)[:, None]
    checks.close(linear_share(line, 3 * line + 5), 1.0, atol=1e-4)
    checks.close(linear_share(x, 2 * one - two + 7), 1.0, atol=1e-4)


@checks("a product of inputs has no linear part", points=1)
def _():
    checks.close(linear_share(x, one * two), 0.0, atol=1e-4)
    wrong = {
        "this is the root of the share": 0.5**0.5,
        "take deviations from the mean of y, not from 0": 26 / 27,
        "the intercept is missing": 1 - 26 / 2,
    }
    checks.close(linear_share(x, one + one * two + 5), 0.5, atol=1e-4, mistakes=wrong)
    wrong = {"this is what is left over": 0.1, "this is the root of the share": 0.9**0.5}
    checks.close(linear_share(x, 3 * one + one * two + 5), 0.9, atol=1e-4, mistakes=wrong)


@checks("both sums run over all outputs", points=0.5)
def _():
    y = torch.cat([3 * one + 4, one * two - 4], dim=1)
    wrong = {
        "outputs with more variance count more": 0.5,
        "each output has a mean of its own": 41 / 42,
    }
    checks.close(linear_share(x, y), 0.9, atol=1e-4, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "share-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["linear_share"]
# Random data, when your work is graded.
### BEGIN HIDDEN TESTS
import numpy as np
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · Random data", hidden=True)


def expected(x, y):
    design = np.column_stack([x.double().numpy(), np.ones(len(x))])
    target = y.double().numpy()
    residual = target - design @ (np.linalg.pinv(design) @ target)
    return 1 - (residual**2).sum() / ((target - target.mean(0)) ** 2).sum()


@checks("random inputs and outputs", points=0.5)
def _():
    x = torch.randn(60, 5) + 3
    y = torch.tanh(x @ torch.randn(5, 3) / 2) * torch.tensor([1.0, 4.0, 0.2]) + torch.tensor([0.0, 2.0, -3.0])
    checks.close(linear_share(x, y), expected(x, y), rtol=1e-3, atol=1e-3)


@checks("inputs that never change or appear twice", points=0.5, hint="Does your solver need x to have full rank?")
def _():
    x = torch.randn(50, 4)
    x = torch.cat([x, torch.zeros(50, 1), x[:, :1]], dim=1)
    y = torch.cat([5 * torch.relu(x[:, :1]), x[:, 1:2].abs() + x[:, 2:3] / 5], dim=1)
    checks.close(linear_share(x, y), expected(x, y), rtol=1e-3, atol=1e-3)


checks
### END HIDDEN TESTS

# %% [markdown]
# Guess the linear share of the digits' classes (ten outputs, 1 for the right class and 0 for the others). Beside them
# stand single units with ten normally distributed inputs, a small random network, and two tasks that are hard by
# design.

# %%
my_share = None  # between 0 and 1

# %%
x = torch.randn(5000, 10)
z = x @ nn.functional.normalize(torch.randn(10, 1), dim=0)  # mean 0, variance 1
hidden = torch.tanh(x @ torch.randn(10, 30) / 10**0.5)
tasks = {
    "logistic unit": (x, torch.sigmoid(z)), "steep logistic unit": (x, torch.sigmoid(3 * z)),
    "random tanh network": (x, hidden @ torch.randn(30, 5)), "ReLU unit": (x, torch.relu(z)),
    "classes of the digits": (x_train, nn.functional.one_hot(y_train).float()),
    "absolute value": (x, z.abs()), "product of two inputs": (x, x[:, :1] * x[:, 1:2]),
}  # fmt: skip
shares = {name: float(linear_share(*task)) for name, task in tasks.items()}
print(f"the digits: {shares['classes of the digits']:.0%}; your guess was {my_share}")
plots.table([[name, f"{share:.0%}"] for name, share in shares.items()], ["outputs", "linear share"])

# %% [markdown]
# Saturating units and networks of them lie around the lecture's 80 to 90% or above. A ReLU unit has about three
# quarters, the digits two thirds. The last two have nothing to offer to a straight line. So "often" is right, and it
# is worth measuring.
#
# Now give the failing plain network of 34 layers direct connections. How much of its training loss will that remove?


# %%
my_rescue = None  # "hardly anything", "about half" or "nearly all of it goes"


# %%
class Direct(nn.Module):
    """A network with direct connections from its inputs to its outputs."""

    def __init__(self, deep: nn.Module, inputs: int = 64, outputs: int = 10) -> None:
        super().__init__()
        self.deep, self.direct = deep, nn.Linear(inputs, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.deep(x) + self.direct(x)


# %%
@torch.no_grad()
def test_error(net: nn.Module) -> float:
    return float((net(x_test).argmax(1) != y_test).float().mean())


nets = {
    "34 layers": plain(34, normalise=True),
    "34 layers and direct connections": Direct(plain(34, normalise=True)),
    "direct connections alone": nn.Linear(64, 10),
}
direct_loss = {name: train(net, steps)[-1] for name, net in nets.items()}
print("you guessed:", my_rescue)
plots.table(
    [[n, direct_loss[n], f"{test_error(net):.1%}"] for n, net in nets.items()],
    ["network", "training loss", "test error"],
)

# %% [markdown]
# The direct connections do nearly all of the work. With them the network is about as good as they are alone, and far
# better than without. The 34 layers behind them still add little.
#
# The trick has a price: many free parameters, one for each pair of an input and an output. Here there are 640. From
# AlexNet's 150,528 numbers per photo to 1,000 classes there would be more than 150 million, more than all of VGG-16
# has. And it helps only with what is linear in the pixels.
#
# ## 7 · Residual blocks
#
# The newer idea is to skip a few layers instead of all of them, by a shortcut that is linear. This is a **residual
# block**:
#
# | form | output | extra parameters |
# | --- | --- | --- |
# | identity | $y = \sigma(F(x) + x)$, with $F(x) = W_2\, \sigma(W_1 x)$ | none |
# | projection, where input and output differ in size | $y = \sigma(F(x) + W_3 x)$ | those of $W_3$ |
# | any depth | as above, with any number of layers inside $F$ | none |
#
# If the best a block can do is nothing, $F$ need only be zero, for $x$ has been through a ReLU before, and the last
# one leaves it alone. This is the lesson of Exercise 5, built into the network. And on the way down the message
# arrives twice, once through $F$ and once unchanged. The aim is more depth without more trouble in training.
#
# ### Exercise 7 · A residual block (3 points)
#
# Complete the block. `branch` is $F$, with whatever layers are inside; it maps `dim_in` numbers to `dim_out`. Where
# the two are equal the shortcut is the identity and has no parameters. Where they differ it is a learned matrix $W_3$
# without a bias. $\sigma$ is ReLU, and it comes after the sum. Change nothing in place, neither `x` nor what the branch returns. (In a convolutional
# network the rule is the same. Padding keeps the size of the map, so that the identity fits; a block that shrinks the
# map gets a convolution of its own on the shortcut.)


# %% nbgrader={"grade": false, "grade_id": "block", "locked": false, "schema_version": 3, "solution": true, "task": false}
class ResidualBlock(nn.Module):
    """relu(F(x) + x), or relu(F(x) + W3 x) where the sizes differ; (N, dim_in) -> (N, dim_out)."""

    def __init__(self, branch: nn.Module, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.branch = branch
        ### BEGIN SOLUTION
        self.shortcut = nn.Identity() if dim_in == dim_out else nn.Linear(dim_in, dim_out, bias=False)
        ### END SOLUTION

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ### BEGIN SOLUTION
        return torch.relu(self.branch(x) + self.shortcut(x))
        ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "block-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["ResidualBlock"]
import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 7 · A residual block", forbid=["tlcore.zoo"])


def run(block, branch, dim_in, dim_out, x):
    built = block(branch, dim_in, dim_out)
    return built(x.clone()).detach(), [p.detach() for p in built.parameters() if p.requires_grad]


@checks("where the sizes agree, the input itself is added", points=1)
def _():
    branch, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 5)), torch.randn(30, 5)
    out, parameters = remote(run, ResidualBlock, branch, 5, 5, x)
    with torch.no_grad():
        inside = branch(x)
    wrong = {
        "the shortcut is missing": inside.relu(),
        "the ReLU comes after the sum": inside.relu() + x,
        "the ReLU after the sum is missing": inside + x,
        "the ReLU takes the sum, not its two parts": inside.relu() + x.relu(),
    }
    checks.close(out, (inside + x).relu(), atol=1e-5, mistakes=wrong)
    checks.equal(len(parameters), 4, mistakes={"the identity needs no weights": 5})


@checks("where they differ, the input goes through a matrix", points=1)
def _():
    branch, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)), torch.randn(30, 5)
    out, parameters = remote(run, ResidualBlock, branch, 5, 3, x)
    checks.equal(len(parameters), 5, mistakes={"W3 has no bias": 6, "W3 is one of the parameters that are trained": 4})
    matrices = [p for p in parameters if sorted(p.shape) == [3, 5]]
    checks.equal(len(matrices), 1)
    third = matrices[0] if list(matrices[0].shape) == [3, 5] else matrices[0].T
    with torch.no_grad():
        inside = branch(x)
    wrong = {"the shortcut is missing": inside.relu(), "the ReLU after the sum is missing": inside + x @ third.T}
    checks.close(out, (inside + x @ third.T).relu(), atol=1e-5, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "block-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["ResidualBlock"]
# Other branches, and what comes back, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch import nn

from tlcore.grading import Checks, remote

checks = Checks("Exercise 7 · Other branches", hidden=True, forbid=["tlcore.zoo"])


def both_ways(block, branch, size, x, message):
    built = block(branch, size, size)
    given = x.clone().requires_grad_(True)
    shifted = given * 1.0
    before = shifted.detach().clone()
    out = built(shifted)
    (out * message).sum().backward()
    learned = [p.grad is not None for p in branch.parameters()]
    return out.detach(), given.grad, learned, float((shifted.detach() - before).abs().max())


@checks("a branch of one layer, of four, and of a kind you did not see", points=0.5)
def _():
    x, message = torch.randn(20, 6), torch.randn(20, 6)
    four = [m for _ in range(4) for m in (nn.Linear(6, 6), nn.Tanh())]
    for branch in (nn.Linear(6, 6), nn.Sequential(*four), nn.LayerNorm(6)):
        out, _, learned, _ = remote(both_ways, ResidualBlock, branch, 6, x, message)
        with torch.no_grad():
            checks.close(out, (branch(x) + x).relu(), atol=1e-5)
        checks.equal(learned, len(list(branch.parameters())) * [True])


@checks("messages come back through branch and shortcut, and x stays as it is", points=0.5)
def _():
    branch, x = nn.Linear(6, 6), torch.randn(20, 6)
    message = torch.randn(20, 6)
    _, back, _, changed = remote(both_ways, ResidualBlock, branch, 6, x, message)
    leaf = x.clone().requires_grad_(True)
    ((branch(leaf) + leaf).relu() * message).sum().backward()
    checks.close(back, leaf.grad, rtol=1e-4, atol=1e-5)
    checks.equal(changed, 0.0)


checks
### END HIDDEN TESTS

# %% [markdown]
# From your block we build deep networks, and beside them plain ones with the same layers. `branch` makes $F$ from
# your layers: each is scaled and normalised. One lecture gives the recipe for ResNets, and ours follows it:
# normalisation after every layer, this initialisation, momentum 0.9, batches (of 256 there), no dropout. There the
# learning rate starts at 0.1 and is divided by 10 whenever the validation error stalls. (The lecture also names a
# weight decay of 1e-5. The paper has 1e-4; we use none.)


# %%
def branch(inside: int = 2, fan_in: int = 32) -> nn.Sequential:
    """F: `inside` layers of 32 units, each normalised, with a ReLU between them."""
    layers = [dense(fan_in, 32), Norm(32)]
    for _ in range(inside - 1):
        layers += [nn.ReLU(), dense(32, 32), Norm(32)]
    return nn.Sequential(*layers)


def deep(depth: int, shortcuts: bool, inside: int = 2) -> nn.Sequential:
    """A first layer, blocks of `inside` layers, and a last layer: `depth` in all."""
    inner = [branch(inside) for _ in range((depth - 2) // inside)]
    blocks = [ResidualBlock(f, 32, 32) if shortcuts else nn.Sequential(f, nn.ReLU()) for f in inner]
    return nn.Sequential(dense(64, 32), Norm(32), nn.ReLU(), *blocks, dense(32, 10, "linear"))


# %% [markdown]
# First your probe. How do the gradients of the first layer grow with depth, before any training?

# %%
depths = [2, 18, 34, 50, 66, 82, 100]
probed = {s: [float(gradient_norms(deep(d, s), x256, y256)[0]) for d in depths] for s in (False, True)}
ax = plots.figure(width=6.4, height=2.8)[1][0]
for shortcuts, norms in probed.items():
    ax.semilogy(depths, norms, marker="o", label="residual" if shortcuts else "plain")
ax.minorticks_off()
ax.set(xlabel="layers", ylabel="gradient of the first layer", xticks=depths)
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# Normalisation holds the signal on its way up, but not the message on its way down: in these plain networks it grows
# by a constant factor per layer, and explodes. With shortcuts it grows, too, but slowly. So the plain networks of
# Section 5 had gradients of a healthy size without normalisation and too large ones with it, and trained badly either
# way.
#
# Now the experiment of the paper, in small. He and colleagues trained plain and residual networks of 18 and 34 layers
# on ImageNet. We train dense networks of the same depths on the digits, several times each. Before you look: which of
# the four will have the lowest training loss?

# %%
my_winner = None  # such as "plain 18"

# %%
repeats = runtime.scaled(quick=1, standard=3, full=5)
steps = runtime.scaled(quick=60, standard=200, full=400)
curves, errors = {}, {}
for kind in [(depth, shortcuts) for _ in range(repeats) for depth in (18, 34) for shortcuts in (False, True)]:
    net = deep(*kind)
    curves.setdefault(kind, []).append(train(net, steps))
    errors.setdefault(kind, []).append(test_error(net))
means = {kind: torch.tensor(runs).mean(0) for kind, runs in curves.items()}
final = {kind: float(mean[-1]) for kind, mean in means.items()}

# %%
fig, axes = plots.figure(2, width=3.6, height=2.8)
for ax, shortcuts in zip(axes, (False, True)):
    for depth in (18, 34):
        ax.plot(range(0, steps + 1, 20), means[depth, shortcuts], label=f"{depth} layers")
    ax.set(xlabel="step", ylabel="training loss", ylim=(0, 2.8), title="residual" if shortcuts else "plain")
    ax.legend()

# %%
published = {(18, False): 27.94, (18, True): 27.88, (34, False): 28.54, (34, True): 25.03}
rows = []
for kind, error in published.items():
    name, ours = "ResNet" if kind[1] else "plain", sum(errors[kind]) / repeats
    rows.append([kind[0], name, final[kind], f"{ours:.1%}", f"{error:.2f}%"])
print("you guessed:", my_winner)
plots.table(rows, ["layers", "kind", "our training loss", "our test error", "ImageNet top-1 error (2015)"])

# %% [markdown]
# Both experiments agree on the main point: plain networks get worse with depth, and at 34 layers shortcuts make the
# difference. The sizes differ. On ImageNet 18 layers do as well without shortcuts, the effect at 34 is 3.5 percentage points,
# and 34 residual layers beat 18. Our narrow dense networks degrade far more, already at 18 layers, and the digits are
# so easy that 18 residual layers are enough.
#
# The paper draws VGG-19 beside its two networks of 34 layers. The winner of the ImageNet contest of 2015 had 152
# layers, eight times as many as VGG-19, at a lower cost (11.5 against 19.6 billion multiply-adds, as lesson 03 will count them). An
# ensemble of such networks had a top-5 error of 3.57%. On COCO, a benchmark for finding objects, depth alone brought
# a relative gain of 28%, and on CIFAR-10 the authors tried 100 and 1,000 layers. (One lecture dates residual networks
# to 2016, when the paper was presented at a conference; it had been out since December 2015.)
#
# ### The other forms
#
# Any number of layers may stand inside $F$. We compare 34 layers with shortcuts around every two (from above), around
# every single layer, around every eight, and one shortcut around all 32 in the middle. The last network (33 layers) begins with a block that goes from 64 pixels to 32 units
# through $W_3$.

# %%
narrowing = [ResidualBlock(branch(2, 64), 64, 32), *[ResidualBlock(branch(), 32, 32) for _ in range(15)]]
forms = {
    "1 layer inside": deep(34, True, inside=1), "8 layers inside": deep(34, True, inside=8),
    "32 layers inside": deep(34, True, inside=32),
    "2 layers inside, first block with W3": nn.Sequential(*narrowing, dense(32, 10, "linear")),
}  # fmt: skip
form_loss = {"2 layers inside": final[34, True]} | {name: train(net, steps)[-1] for name, net in forms.items()}
plots.table([[name, loss] for name, loss in form_loss.items()], ["form", "training loss"])

# %% [markdown]
# All of them beat the plain network, and the one with $W_3$ learns as well as any. Shortcuts around one or two layers
# do best. Around eight, or around all 32, the loss is clearly higher: inside such a block the layers are a plain
# stack again.
#
# A few months later the same authors moved the ReLU: $y = x + F(x)$, with normalisation and ReLU *before* each layer inside
# $F$. In this **pre-activation** form nothing stands on the shortcuts, and the first layer's output is passed on in a
# plain sum, $x + F_1 + F_2 + \dots$ Its use shows in very deep networks.


# %%
class PreActivation(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch = nn.Sequential(*[m for _ in range(2) for m in (Norm(32), nn.ReLU(), dense(32, 32))])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x)


# %%
steps = runtime.scaled(quick=60, standard=120, full=400)
later = [PreActivation() for _ in range(49)]
later = nn.Sequential(dense(64, 32), *later, Norm(32), nn.ReLU(), dense(32, 10, "linear"))
hundred = {"residual": deep(100, True), "pre-activation": later}
hundred_loss = {name: train(net, steps)[-1] for name, net in hundred.items()}
plots.table([[name, loss] for name, loss in hundred_loss.items()], ["100 layers", "training loss"])

# %% [markdown]
# With shortcuts even 100 layers learn, three times as many as the plain network failed with. The later form is ahead
# of the first.
#
# ## What we saw
#
# The numbers below come from your run.

# %%
plots.table(
    [
        ["logistic units, 100 layers: first gradient", f"{first['logistic'][-1]:.0e}"],
        ["the same with ReLU, g = 1 / g = 2", " / ".join(f"{first[f'ReLU, g = {g}'][-1]:.0e}" for g in (1, 2))],
        ["10 layers, default weights / yours: training loss", f"{after['default'][-1]:.2f} / {after['yours'][-1]:.2f}"],
        ["learning rates that work, without / with normalisation", f"{good[False]} / {good[True]} of {len(rates)}"],
        ["plain, 6 / 34 layers: training loss", f"{plain_loss[6, True]:.3f} / {plain_loss[34, True]:.3f}"],
        ["4 layers / with 28 that do nothing / 32 from scratch", f"{before:.3f} / {appended:.3f} / {scratch:.3f}"],
        ["linear share of the digits' classes", f"{shares['classes of the digits']:.0%}"],
        ["34 layers, plain / residual: training loss", f"{final[34, False]:.3f} / {final[34, True]:.3f}"],
        ["100 layers, residual / pre-activation", " / ".join(f"{loss:.3f}" for loss in hundred_loss.values())],
    ],
    ["question", "answer"],
)

# %% [markdown]
# - A weight learns from the product of a signal from below and a message from above. Depth can spoil both: that is
#   credit assignment.
# - Whatever a layer multiplies a message by is raised to the power of the depth. Slopes and weights must balance, and
#   variance $2/n$ does it for ReLU.
# - Normalisation keeps the signal in size during training, and more learning rates work.
# - A plain network that is deeper still *trains* worse, although a good deep network exists. Overfitting is not the
#   reason.
# - A shortcut makes "do nothing" easy: $F$ need only become 0. It costs no parameters where sizes agree.
#
# ### What if?
#
# - What if the scale of the last normalisation in every branch started at 0, so that each block began as the
#   identity?
# - What if every shortcut had a $W_3$, also where sizes agree? Which of the two ways of the message would change, and
#   how would 34 layers train?
# - What if the layers were 256 units wide instead of 32? Which of the numbers above would change, and which would
#   not?
