# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 02 · How much of the picture does one number see?
#
# A number deep inside a network helps to decide that a photo shows a dog. Which pixels had a say in it?
# The answer is a square, the *receptive field*, and it takes one addition and one multiplication per layer to find it.
# Below is the answer for two networks: what one number **can** see (the solid square) and what it
# **does** see (the dark blob). By the end of this lesson you will have computed both yourself.
#
# The lesson has seven exercises and 20 points. Running all its cells takes about half a minute.

# %%
import torch
from torch import nn

from tlcore import anatomy, plots, runtime

plots.use_style()
_ = runtime.seed_everything(0)
ten = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(10)])
for layer in ten:
    nn.init.constant_(layer.weight, 1 / 9)

# %%
from torchvision.models import resnet18

samples = runtime.scaled(quick=2, standard=8, full=64)
fig, (left, right) = plots.figure(2, width=4, height=4.4)
for net, size, ax in ((ten, (1, 41, 41), left), (resnet18().eval(), (3, 224, 224), right)):
    anatomy.effective_receptive_field(net, input_size=size, samples=samples).plot(ax=ax)
left.set_title("ten 3x3 convolutions")
_ = right.set_title("ResNet-18 on a 224-pixel photo")

# %% [markdown]
# On the left the square has a side of 21 pixels, but 95% of the influence (dashed) lies in a square of 12.
# On the right the square is larger than the whole photo: the untrained ResNet-18 *may* look at all of it, and beyond. Yet its
# influence, too, is strongest in the middle and fades towards the edges.
#
# ## 1 · Counting by hand
#
# Call the input $F_0$ and the outputs of the layers $F_1, F_2, \dots, F_D$. The **receptive field of $F_k$ with
# respect to $F_m$**, for $m < k$, is the largest region of $F_m$ that goes into one position of $F_k$. We give its size from the first
# to the last position, gaps included. When people speak of "the" receptive field of a network, they mean its last layer that still has
# positions, before global pooling and the classifier, with respect to its input.
#
# One dimension is enough to see how it grows. Here are three layers, each given as (kernel, stride, padding).

# %%
_ = anatomy.draw_stack([(3, 1, 1), (3, 2, 1), (3, 1, 1)], position=4, width=17)

# %% [markdown]
# Follow the lines downward with a finger, from the single blue dot at the top: three dots, then seven, then nine. The middle
# layer takes steps of two, so each further position of $F_2$ brings *two* new positions of $F_1$. The following function does
# what your finger did. It is slow, and it is right.


# %%
def reached(layers: list[tuple[int, int]], position: int = 0) -> set[int]:
    """Positions of the input that an output position is computed from; layers are (kernel, stride)."""
    positions = {position}
    for kernel, stride in reversed(layers):
        positions = {p * stride + tap for p in positions for tap in range(kernel)}
    return positions


seen = reached([(3, 1), (3, 2), (3, 1)])
max(seen) - min(seen) + 1

# %% [markdown]
# ### Exercise 1 · The field of a stack (3 points)
#
# Compute the size of the receptive field without following every position. Go from the first layer to the last and keep two
# numbers: the field so far, and the **jump**, which is the distance, in input pixels, between two neighbouring positions of
# the layer that is *being read*. A kernel of size k has k *taps*, the positions it reads; each tap after the first costs one jump. For the
# stack above the answer is 9, and an empty stack sees 1 pixel. Do not change the list you are given.


# %% nbgrader={"grade": false, "grade_id": "stack", "locked": false, "schema_version": 3, "solution": true, "task": false}
def stack_field(layers: list[tuple[int, int]]) -> int:
    """Receptive field of the last layer of a stack; layers are (kernel, stride), first layer first."""
    ### BEGIN SOLUTION
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "stack-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["stack_field"]
from tlcore.grading import Checks

checks = Checks("Exercise 1 · The field of a stack", forbid=["reached", "tlcore.anatomy"], seconds=5)


@checks("one layer sees its kernel, an empty stack sees one pixel", points=0.5)
def _():
    checks.equal(stack_field([(5, 1)]), 5, mistakes={"you added k where k - 1 pixels are new": 6})
    checks.equal(stack_field([(4, 1)]), 4)
    checks.equal(stack_field([]), 1)


@checks("two 3x3 layers see as far as one 5x5", points=0.5, hint="Each layer adds k - 1 jumps.")
def _():
    checks.equal(stack_field([(3, 1), (3, 1)]), 5)


@checks("a stride widens the steps of all later layers, not its own", points=1, hint="Add first, then multiply.")
def _():
    adding = "jumps multiply, they do not add"
    wrong = {"the stride of a layer already widened its own kernel": 11, "the stride was left out": 7, adding: 15}
    checks.equal(stack_field([(3, 1), (3, 2), (3, 1)]), 9, mistakes=wrong)
    wrong = {adding: 21, "all strides so far count, not only the last": 15}
    checks.equal(stack_field([(3, 2), (3, 2), (3, 2), (3, 1)]), 31, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "stack-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["stack_field"]
# More stacks, when your work is graded.
### BEGIN HIDDEN TESTS
from tlcore.grading import Checks

checks = Checks("Exercise 1 · More stacks", hidden=True, forbid=["reached", "tlcore.anatomy"], seconds=5)


def counted(layers):
    positions = {0}
    for kernel, stride in reversed(layers):
        positions = {p * stride + tap for p in positions for tap in range(kernel)}
    return max(positions) - min(positions) + 1


@checks("random stacks, counted one position at a time", points=0.5)
def _():
    rng = checks.rng()
    for _ in range(30):
        layers = [(int(k), int(s)) for k, s in zip(rng.integers(1, 6, 5), rng.integers(1, 3, 5))]
        checks.equal(stack_field(list(layers)), counted(layers))


@checks("a stack too deep for counting", points=0.5, hint="Two numbers per layer are enough, however deep it is.")
def _():
    checks.equal(stack_field([(3, 2)] * 40), 2**41 - 1)


checks
### END HIDDEN TESTS

# %% [markdown]
# Now let your function read a real network. VGG-16 is a plain stack: thirteen 3x3 convolutions and
# five 2x2 pooling layers. (Its three last layers are fully connected; they see everything and are left out.)

# %%
conv, pool = (3, 1), (2, 2)
vgg16 = 2 * [conv] + [pool] + 2 * [conv] + [pool] + 3 * (3 * [conv] + [pool])
growth = [stack_field(vgg16[:n]) for n in range(len(vgg16) + 1)]
stack_field(vgg16)

# %% [markdown]
# And ResNet-50? Only its longest path counts for the moment: the first 7x7 layer, a pooling layer, and the 3x3
# layer in each of its 16 blocks. Record a guess before you run the next cell: how many pixels?

# %%
my_guess = None  # pixels

# %%
one, two = (3, 1), (3, 2)
resnet50 = [(7, 2), two] + 3 * [one] + [two] + 3 * [one] + [two] + 5 * [one] + [two] + 2 * [one]
ax = plots.figure(width=6, height=3)[1][0]
ax.plot(growth, label="VGG-16")
ax.plot([stack_field(resnet50[:n]) for n in range(len(resnet50) + 1)], label="ResNet-50, longest path")
ax.axhline(224, color="0.6", linewidth=1)
ax.set(xlabel="layers", ylabel="receptive field (pixels)", xticks=range(0, 19, 3))
ax.set_title("The grey line is the width of the photo, 224 pixels")
ax.legend()
print(f"ResNet-50 sees {stack_field(resnet50)} pixels; your guess was {my_guess}")

# %% [markdown]
# Both curves bend upward, because each stride doubles the price of a tap for all layers after it. VGG-16 ends just short
# of the photo. ResNet-50 passes it after three quarters of its layers.
#
# > **A stricter definition.** The lecture this lesson follows counts *only convolutional layers* as contributing. We read this
# > as: a pooling layer has a kernel of 1 but keeps its stride. Both conventions are in use, so always say which one you mean.

# %%
strict = [(1, 2) if layer == pool else layer for layer in vgg16]
plots.table(
    [["all layers", stack_field(vgg16)], ["convolutions only", stack_field(strict)]],
    ["VGG-16", "receptive field"],
)

# %% [markdown]
# ## 2 · From any layer to any other
#
# The definition speaks of $F_k$ with respect to *any* earlier $F_m$. Seen from $F_m$, the layers below it do not exist.
#
# ### Exercise 2 · The field between two layers (3 points)
#
# Return the size of the receptive field of $F_k$ with respect to $F_m$, where $0 \le m \le k$; a layer has field 1 with respect to
# itself. `layers[0]` leads from $F_0$ to $F_1$. For the stack `[(3, 2), (3, 2), (3, 1)]` the answers for
# $F_3$ with respect to $F_2$, $F_1$ and $F_0$ are 3, 7 and 15.


# %% nbgrader={"grade": false, "grade_id": "between", "locked": false, "schema_version": 3, "solution": true, "task": false}
def field_between(layers: list[tuple[int, int]], k: int, m: int) -> int:
    """Receptive field of F_k with respect to F_m; layers are (kernel, stride), first layer first."""
    ### BEGIN SOLUTION
    field, jump = 1, 1
    for kernel, stride in layers[m:k]:
        field += (kernel - 1) * jump
        jump *= stride
    return field
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "between-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["field_between"]
from tlcore.grading import Checks

checks = Checks("Exercise 2 · The field between two layers", forbid=["reached", "tlcore.anatomy"], seconds=5)
stack = [(3, 2), (3, 2), (3, 1)]


@checks("with respect to the input it is the whole stack", points=0.5)
def _():
    checks.equal(field_between(list(stack), 3, 0), 15)
    checks.equal(field_between([(7, 2), (3, 1), (5, 1)], 1, 0), 7)


@checks("with respect to the layer just below it is the kernel", points=0.5)
def _():
    wrong = {"the strides below F_m do not matter to it": 9, "you took one layer too many": 7}
    checks.equal(field_between(list(stack), 3, 2), 3, mistakes=wrong)


@checks("with respect to itself it is one position", points=0.5)
def _():
    checks.equal(field_between(list(stack), 2, 2), 1, mistakes={"you took one layer too many": 3})


@checks("two layers up the jump counts from F_m", points=0.5, hint="At F_m the jump is 1 again.")
def _():
    wrong = {"fields do not subtract": 12, "the strides below F_m do not matter to it": 13}
    checks.equal(field_between(list(stack), 3, 1), 7, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "between-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["field_between"]
# More pairs of layers, when your work is graded.
### BEGIN HIDDEN TESTS
from tlcore.grading import Checks

checks = Checks("Exercise 2 · More pairs", hidden=True, forbid=["reached", "tlcore.anatomy"], seconds=5)


@checks("all pairs of a random stack", points=1)
def _():
    rng = checks.rng()
    layers = [(int(n), int(s)) for n, s in zip(rng.integers(1, 6, 7), rng.integers(1, 4, 7))]
    for m in range(8):
        for k in range(m, 8):
            reached_there, jump = 1, 1
            for kernel, stride in layers[m:k]:
                reached_there, jump = reached_there + (kernel - 1) * jump, jump * stride
            checks.equal(field_between(list(layers), k, m), reached_there)


checks
### END HIDDEN TESTS

# %% [markdown]
# Your function on all pairs of VGG-16's layers at once. Each row is a layer $F_k$, each column a layer $F_m$ below it.

# %%
depth = len(vgg16) + 1
fields = torch.tensor(
    [[float(field_between(vgg16, k, m)) if m <= k else 0 for m in range(depth)] for k in range(depth)]
)
ax = plots.figure(width=4.8, height=3.8)[1][0]
picture = ax.imshow(fields.where(fields > 0, torch.nan), norm="log")
ax.figure.colorbar(picture, label="field of $F_k$, in positions of $F_m$")
_ = ax.set(xlabel="m", ylabel="k", xticks=range(0, depth, 3), yticks=range(0, depth, 3), title="VGG-16")

# %% [markdown]
# The left column is the field with respect to the input. Follow the lowest row to the right: it halves at every pooling layer. A
# number in the last layer sees most of the photo, but only a handful of positions of the layers right below.
#
# ## 3 · Where the field lies
#
# A size is not a place. Position $t$ of a layer reads the positions $t \cdot s - p, \dots, t \cdot s - p + k - 1$ below it,
# where $s$ is the stride, $p$ the padding and $k$ the kernel. Near the border some of these lie outside the photo.
#
# ### Exercise 3 · First and last pixel (3 points)
#
# Return the first and the last input position that output position $t$ reads. Let both ends of the interval walk
# down the stack, from the last layer to the first. For one layer (7, 2, 3), position 0 reads -3 to 3: the result may be negative, and
# that part of the field lies outside the photo.


# %% nbgrader={"grade": false, "grade_id": "interval", "locked": false, "schema_version": 3, "solution": true, "task": false}
def interval(layers: list[tuple[int, int, int]], t: int) -> tuple[int, int]:
    """First and last input position that output position t reads; layers are (kernel, stride, padding)."""
    ### BEGIN SOLUTION
    first = last = t
    for kernel, stride, padding in reversed(layers):
        first = first * stride - padding
        last = last * stride - padding + kernel - 1
    return first, last
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "interval-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["interval"]
from tlcore.grading import Checks

checks = Checks("Exercise 3 · First and last pixel", forbid=["tlcore.anatomy"])


@checks("one layer without padding", points=0.5)
def _():
    wrong = {"the last tap is k - 1 after the first, not k": (6, 9), "the stride moves the position": (3, 5)}
    checks.equal(interval([(3, 2, 0)], 3), (6, 8), mistakes=wrong)


@checks("padding shifts the field to the left", points=0.5, hint="Position 0 starts in the padding, at -p.")
def _():
    wrong = {"the padding was left out": (0, 6), "the padding goes the other way": (3, 9)}
    checks.equal(interval([(7, 2, 3)], 0), (-3, 3), mistakes=wrong)


@checks("three layers, from the last to the first", points=1)
def _():
    wrong = {"you walked from the first layer to the last": (-1, 17), "the padding was left out": (8, 22)}
    checks.equal(interval([(7, 2, 3), (3, 1, 1), (3, 2, 1)], 2), (1, 15), mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "interval-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["interval"]
# Random stacks against what a gradient says, when your work is graded.
### BEGIN HIDDEN TESTS
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 3 · Against the gradient", hidden=True, forbid=["tlcore.anatomy"])


@checks("the gradient is zero outside the interval and not at its ends", points=1, hint="Do not cut at 0.")
def _():
    rng = checks.rng()
    for _ in range(5):
        layers = [(int(rng.integers(1, 6)), int(rng.integers(1, 3)), int(rng.integers(0, 3))) for _ in range(3)]
        x = torch.ones(1, 1, 150, requires_grad=True, dtype=torch.float64)
        y = x
        for k, s, p in layers:
            y = torch.nn.functional.conv1d(y, torch.ones(1, 1, k, dtype=y.dtype), stride=s, padding=p)
        t = y.shape[-1] // 2
        y[0, 0, t].backward()
        hit = x.grad[0, 0].nonzero()
        jump = 1
        for _, s, _ in layers:
            jump *= s
        first, last = int(hit.min()), int(hit.max())
        checks.equal(interval(list(layers), t), (first, last))
        checks.equal(interval(list(layers), 0), (first - t * jump, last - t * jump))


checks
### END HIDDEN TESTS

# %% [markdown]
# How much of what ResNet-50 looks at lies outside the photo? Your function gives the field along one side, for the
# position in the centre of each layer's map and for the one in its corner. The share in two dimensions follows from it.


# %%
def outside_share(layers: list[tuple[int, int, int]], t: int, width: int = 224) -> float:
    first, last = interval(layers, t)
    inside = min(last, width - 1) - max(first, 0) + 1
    return 1 - (inside / (last - first + 1)) ** 2


padded = [(kernel, stride, kernel // 2) for kernel, stride in resnet50]

# %%
centre, corner, size = [], [], 224
for n, (kernel, stride, padding) in enumerate(padded, 1):
    size = (size + 2 * padding - kernel) // stride + 1
    centre.append(outside_share(padded[:n], size // 2))
    corner.append(outside_share(padded[:n], 0))
ax = plots.figure(width=6, height=3)[1][0]
ax.plot(range(1, n + 1), corner, label="corner of the map")
ax.plot(range(1, n + 1), centre, label="centre of the map")
ax.set(
    xlabel="layer on ResNet-50's longest path", ylabel="share outside the photo", ylim=(0, 1), xticks=range(3, 19, 3)
)
_ = ax.legend()

# %% [markdown]
# In the first layers only positions at the border look beyond it. At the end every position of the map has about three quarters of
# its square outside the photo, in the centre hardly less than in a corner. What it finds there are the zeros that each layer pads its
# own input with.
#
# ## 4 · Branches
#
# Modern networks are not stacks. An inception module runs several convolutions side by side; a residual block adds its
# input to its output. Position for position, the branches of a block are centred on each other. Which of them sets the
# receptive field?
#
# ### Exercise 4 · The field of a network with branches (3 points)
#
# A network is a list of blocks, a block is a list of branches, and a branch is a list of (kernel, stride). A plain layer is a block
# with one branch; a shortcut that does nothing is the empty branch `[]`. All branches of a block have the same total
# stride. Return the receptive field of the network. `[[[(3, 1)], []]]` is one 3x3 layer with a shortcut around it; its field is 3.


# %% nbgrader={"grade": false, "grade_id": "branches", "locked": false, "schema_version": 3, "solution": true, "task": false}
def network_field(blocks: list[list[list[tuple[int, int]]]]) -> int:
    """Receptive field of a network of blocks, each a list of centred branches of (kernel, stride)."""
    ### BEGIN SOLUTION
    field, jump = 1, 1
    for branches in blocks:
        widest, total_stride = 0, 1
        for branch in branches:
            growth, own = 0, 1
            for kernel, stride in branch:
                growth += (kernel - 1) * own
                own *= stride
            widest, total_stride = max(widest, growth), own
        field += widest * jump
        jump *= total_stride
    return field
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "branches-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["network_field"]
from tlcore.grading import Checks

checks = Checks("Exercise 4 · Branches", forbid=["tlcore.anatomy"])


@checks("blocks with one branch are a stack", points=0.5)
def _():
    checks.equal(network_field([[[(3, 1)]], [[(3, 2)]], [[(3, 1)]]]), 9)


@checks("the widest branch decides", points=0.5, hint="Branches stand side by side; their fields do not add up.")
def _():
    inception = [[(1, 1)], [(1, 1), (3, 1)], [(1, 1), (5, 1)], [(3, 1), (1, 1)]]
    wrong = {"you added the branches": 9, "you took the last branch": 3, "you took the first branch": 1}
    checks.equal(network_field([inception]), 5, mistakes=wrong)
    wrong = {"the field of a branch decides, not its largest kernel": 5}
    checks.equal(network_field([[[(5, 2)], [(3, 2), (3, 1)]]]), 7, mistakes=wrong)


@checks("a shortcut adds nothing but keeps the block's stride", points=1)
def _():
    block, shrink = [[(3, 1), (3, 1)], []], [[(3, 2), (3, 1)], [(1, 2)]]
    checks.equal(network_field([block, block]), 9)
    wrong = {
        "the stride of a block did not reach the next one": 11,
        "the stride of a block was applied too often": 23,
    }
    checks.equal(network_field([shrink, block]), 15, mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "branches-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["network_field"]
# Random networks, when your work is graded.
### BEGIN HIDDEN TESTS
import itertools

from tlcore.grading import Checks

checks = Checks("Exercise 4 · Random networks", hidden=True, forbid=["tlcore.anatomy"])


@checks("random networks, each of their paths taken as a stack", points=1)
def _():
    rng = checks.rng()
    for _ in range(10):
        blocks = []
        for _ in range(4):
            stride = int(rng.integers(1, 3))
            kernels = [[int(k) for k in rng.choice([1, 3, 5, 7], size=int(rng.integers(1, 4)))] for _ in range(3)]
            branches = []
            for branch in kernels:
                first, second = rng.integers(len(branch)), rng.integers(len(branch))
                strides = [stride ** (int(i == first) + int(i == second)) for i in range(len(branch))]
                branches.append(list(zip(branch, strides)))
            blocks.append(branches)
        widest = 0
        for path in itertools.product(*blocks):
            field, jump = 1, 1
            for kernel, stride in itertools.chain(*path):
                field, jump = field + (kernel - 1) * jump, jump * stride
            widest = max(widest, field)
        checks.equal(network_field(blocks), widest)


checks
### END HIDDEN TESTS

# %% [markdown]
# ### Puzzle one: is it 427 or 483?
#
# Published tables give 483 pixels for ResNet-50. Earlier your stack said 427. Each block narrows its channels with a 1x1
# layer, looks around with a 3x3 layer, and widens again with a 1x1 layer. In the 2015 paper, blocks that shrink
# the map take the step of two in the *first* 1x1 layer. Most code today takes it in the 3x3 layer.


# %%
def resnet50_blocks(paper: bool) -> list:
    blocks = [[[(7, 2)]], [[(3, 2)]]]
    for count, stride in ((3, 1), (4, 2), (6, 2), (3, 2)):
        for s in [stride] + (count - 1) * [1]:
            body = [(1, s), (3, 1), (1, 1)] if paper else [(1, 1), (3, s), (1, 1)]
            blocks.append([body, [(1, s)]])
    return blocks


paper, today = network_field(resnet50_blocks(paper=True)), network_field(resnet50_blocks(paper=False))
plots.table([["1x1, as in the paper", paper], ["3x3, as in today's code", today]], ["stride in the", "field"])

# %% [markdown]
# Both numbers are right. They belong to networks with the same name, the same layers and the same number of parameters.
# A 3x3 layer after the step of two reaches twice as far as one that takes the step itself. (The network behind the published table is a
# third one: it takes the step in the last 3x3 layer *before* each stage. Its field happens to be 483 as well.)
#
# ### Puzzle two: 715, 699 or 379?
#
# GoogLeNet has three answers, depending on two details that differ between versions: the "5x5" branch of its nine
# inception modules, which popular code builds with a 3x3 kernel, and the kernel of its fourth pooling layer, 3 or 2.


# %%
def googlenet_blocks(large: int, pool4: int) -> list:
    def layer(k: int, s: int) -> list:
        return [[(k, s)]]

    module = [[(1, 1)], [(1, 1), (3, 1)], [(1, 1), (large, 1)], [(3, 1), (1, 1)]]
    stem = [layer(7, 2), layer(3, 2), layer(1, 1), layer(3, 1), layer(3, 2)]
    return stem + 2 * [module] + [layer(3, 2)] + 5 * [module] + [layer(pool4, 2)] + 2 * [module]


rows = [[f"{k}x{k}", f"{p}x{p}", network_field(googlenet_blocks(k, p))] for k, p in ((5, 3), (5, 2), (3, 2))]
plots.table(rows, ["large branch", "fourth pool", "receptive field"])

# %% [markdown]
# The first row is the network of the paper, the last the one most people download. To be sure, let us ask the calculator that comes
# with this course. It reads the network itself, so it cannot be misled by a name. We build the networks on the *meta*
# device, where tensors have a shape but no numbers: only the shape matters here.

# %%
from torchvision import models

with torch.device("meta"):
    downloads = {"ResNet-50": models.resnet50(), "GoogLeNet": models.googlenet(init_weights=False)}
found = {name: anatomy.receptive_field(net) for name, net in downloads.items()}
rows = [[name, field.size[0], field.stride[0], field.of] for name, field in found.items()]
plots.table(rows, ["network", "field", "jump", "last node with a place"])

# %% [markdown]
# Your functions and the calculator agree. It stops at the last node that still has a place: after global pooling
# each number sees everything.
#
# ## 5 · The same field for less
#
# Two 3x3 layers see as far as one 5x5 layer. An n x 1 layer followed by a 1 x n layer sees an n x n square. The third
# Inception network replaces large convolutions in both ways. What does that save?
#
# ### Exercise 5 · The price of a stack (3 points)
#
# Count the weights and the multiply-adds of a stack of convolutions. A layer is (kernel height, kernel width,
# channels in, channels out), without bias; padding keeps the map at `height` x `width`. Each output number costs one multiply-add
# per weight that it uses. A 3x3 layer with one channel on a 2x2 map has 9 weights and costs 36 multiply-adds.


# %% nbgrader={"grade": false, "grade_id": "cost", "locked": false, "schema_version": 3, "solution": true, "task": false}
def stack_cost(layers: list[tuple[int, int, int, int]], height: int, width: int) -> tuple[int, int]:
    """Weights and multiply-adds of convolutions (kh, kw, channels in, channels out) on a height x width map."""
    ### BEGIN SOLUTION
    weights = sum(kh * kw * c_in * c_out for kh, kw, c_in, c_out in layers)
    return weights, weights * height * width
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "cost-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["stack_cost"]
from tlcore.grading import Checks

checks = Checks("Exercise 5 · The price of a stack")


@checks("the small example", points=0.5)
def _():
    checks.equal(stack_cost([(3, 3, 1, 1)], 2, 2), (9, 36), mistakes={"you counted a bias": (10, 40)})


@checks("every output channel has a kernel for every input channel", points=0.5)
def _():
    wrong = {"you left out the input channels": (45, 45), "you left out the output channels": (18, 18)}
    checks.equal(stack_cost([(3, 3, 2, 5)], 1, 1), (90, 90), mistakes=wrong)


@checks("a stack of flat kernels on a map that is not square", points=1)
def _():
    wrong = {"kernel height and width multiply, they do not add": (84, 1680)}
    checks.equal(stack_cost([(7, 1, 2, 3), (1, 5, 3, 2)], 4, 5), (72, 1440), mistakes=wrong)


checks

# %% nbgrader={"grade": true, "grade_id": "cost-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["stack_cost"]
# Random stacks against torch's own counter, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch.utils.flop_counter import FlopCounterMode

from tlcore.grading import Checks

checks = Checks("Exercise 5 · Against torch's counter", hidden=True, seconds=30)


@checks("random stacks", points=1)
def _():
    rng = checks.rng()
    for _ in range(3):
        channels = [int(c) for c in rng.integers(1, 6, 4)]
        layers = [
            (int(rng.choice([1, 3, 5])), int(rng.choice([1, 3, 5])), a, b) for a, b in zip(channels, channels[1:])
        ]
        net = torch.nn.Sequential(
            *[torch.nn.Conv2d(a, b, (kh, kw), padding=(kh // 2, kw // 2), bias=False) for kh, kw, a, b in layers]
        )
        height, width = int(rng.integers(3, 8)), int(rng.integers(3, 8))
        with FlopCounterMode(display=False) as counter:
            net(torch.zeros(1, channels[0], height, width))
        weights = sum(p.numel() for p in net.parameters())
        checks.equal(stack_cost(list(layers), height, width), (weights, counter.get_total_flops() // 2))


checks
### END HIDDEN TESTS

# %% [markdown]
# Guess first: what saves the larger share, 5x5 as two 3x3 layers, or 7x7 as 7x1 and 1x7?

# %%
my_saving = None  # "5x5" or "7x7"

# %%
designs = {
    "5x5": [(5, 5)], "3x3, 3x3": 2 * [(3, 3)], "5x1, 1x5": [(5, 1), (1, 5)],
    "7x7": [(7, 7)], "3x3, 3x3, 3x3": 3 * [(3, 3)], "7x1, 1x7": [(7, 1), (1, 7)],
}  # fmt: skip
channels, side, rows = 64, 28, []
for name, kernels in designs.items():
    weights, macs = stack_cost([(*k, channels, channels) for k in kernels], side, side)
    field = stack_field([(kh, 1) for kh, kw in kernels]), stack_field([(kw, 1) for kh, kw in kernels])
    rows.append([name, "x".join(str(int(f)) for f in field), int(weights), float(macs) / 1e6])
print(f"you guessed: {my_saving}")
plots.table(rows, ["layers", "field", "weights", "million multiply-adds"])

# %% [markdown]
# Within each group the field is the same. Multiply-adds are not seconds, though, so let us also take the time: on one thread, in
# rounds in which every design has its turn, so that a busy moment of your machine hits them all alike.

# %%
from timeit import timeit


def stack(kernels: list[tuple[int, int]]) -> nn.Sequential:
    return nn.Sequential(
        *[nn.Conv2d(channels, channels, k, padding=(k[0] // 2, k[1] // 2), bias=False) for k in kernels]
    )


# %%
nets, x = {name: stack(kernels) for name, kernels in designs.items()}, torch.rand(8, channels, side, side)
threads = torch.get_num_threads()
torch.set_num_threads(1)
with torch.no_grad():
    rounds = [{name: timeit(lambda: net(x), number=1) for name, net in nets.items()} for _ in range(20)]
torch.set_num_threads(threads)
times = {name: min(r[name] for r in rounds) for name in nets}

# %%
work = {name: row[3] for name, row in zip(designs, rows)}
groups = [("5x5", list(designs)[:3]), ("7x7", list(designs)[3:])]
shares = [[n, f"{work[n] / work[g]:.0%}", f"{times[n] / times[g]:.0%}"] for g, names in groups for n in names]
plots.table(shares, ["layers", "share of the work", "share of the time"])

# %% [markdown]
# The last column is your machine's; run the timing again and it will move. Less work is less time, but rarely in proportion: every
# layer more must write its whole map to memory and read it back.
#
# ## 6 · What factorising loses
#
# A saving has a price. A column times a row makes a matrix whose rows are all multiples of one another, a matrix of *rank one*. So an n x 1 layer followed by a 1 x n layer (with one channel
# and nothing in between) can only do what a rank-one kernel does.
#
# ### Exercise 6 · The best column and row (2 points)
#
# For a square kernel, return the column (n x 1) and the row (1 x n) whose product comes closest to it, in the
# sense of least squares. For [[1, 2], [2, 4]] they are the column (1, 2) and the row (1, 2), or any multiple of the one by a number and of
# the other by its inverse. `u, s, vh = torch.linalg.svd(kernel)` writes a kernel as a sum of products
# `s[n] * u[:, n:n+1] @ vh[n:n+1]`, the largest first.


# %% nbgrader={"grade": false, "grade_id": "separable", "locked": false, "schema_version": 3, "solution": true, "task": false}
def best_separable(kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Column (n, 1) and row (1, n) whose product is nearest to an (n, n) kernel."""
    ### BEGIN SOLUTION
    u, s, vh = torch.linalg.svd(kernel)
    return u[:, :1] * s[0], vh[:1]
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "separable-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["best_separable"]
import torch

from tlcore.grading import Checks

checks = Checks("Exercise 6 · The best column and row")


@checks("a column and a row, in this order", points=0.5)
def _():
    column, row = map(torch.as_tensor, best_separable(torch.eye(5) + 1))
    checks.equal((list(column.shape), list(row.shape)), ([5, 1], [1, 5]))


@checks("a kernel that is a product is found exactly", points=0.5, hint="Where did the singular value go?")
def _():
    blur = torch.tensor([1.0, 2.0, 1.0])
    column, row = map(torch.as_tensor, best_separable(torch.outer(blur, blur)))
    checks.close(column @ row, torch.outer(blur, blur), atol=1e-4)


@checks("no other product comes closer to a random kernel", points=1)
def _():
    kernel = torch.tensor(checks.rng().normal(size=(7, 7)), dtype=torch.float32)
    column, row = map(torch.as_tensor, best_separable(kernel))
    left_over = torch.linalg.svdvals(kernel)[1:].square().sum()
    checks.close((kernel - column @ row).square().sum(), left_over, rtol=1e-3)


checks

# %% [markdown]
# Your function on five kernels: a blur, an edge detector, a diagonal edge, a ring and pure noise.

# %%
line = torch.linspace(-1, 1, 7)
distance = (line[:, None] ** 2 + line[None] ** 2).sqrt()
kernels = {
    "blur": torch.exp(-2 * distance**2),
    "edge": line[None] * torch.exp(-2 * distance**2),
    "diagonal": (line[:, None] + line[None]) * torch.exp(-2 * distance**2),
    "ring": torch.exp(-20 * (distance - 0.7) ** 2),
    "noise": torch.randn(7, 7),
}

# %%
fig, axes = plots.figure(5, 2, width=1.7, height=1.7)
kept = {}
for i, (name, kernel) in enumerate(kernels.items()):
    column, row = map(torch.as_tensor, best_separable(kernel))
    kept[name] = 1 - float((kernel - column @ row).square().sum() / kernel.square().sum())
    for ax, image in ((axes[i], kernel), (axes[i + 5], column @ row)):
        ax.imshow(image.detach(), vmin=-kernel.abs().max(), vmax=kernel.abs().max())
        ax.set(xticks=[], yticks=[], title=name if ax is axes[i] else f"{kept[name]:.0%} kept")

# %% [markdown]
# Above the kernel, below its best column times row, with the share of its energy (its sum of squares) that survives. Blur and upright
# edges lose nothing, a ring about a quarter, a diagonal edge half, and noise two thirds. Training can work around this, with more
# channels and with a nonlinearity between the two layers, but the freedom is smaller: 14 numbers in place of 49.
#
# ## 7 · What it does see
#
# All this was about what a number *can* see. How much a pixel *does* matter is measured by the gradient: how much
# does the output move when this pixel moves a little?
#
# ### Exercise 7 · The gradient map (3 points)
#
# For an image of shape (1, C, H, W) and a position in row i and column j of the output, sum the output's channels at that position and
# take the gradient with respect to the image. Take absolute values, then sum over the channels of the image: an H x W map. For a single
# convolution it shows the kernel.


# %% nbgrader={"grade": false, "grade_id": "gradient", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gradient_map(net: nn.Module, image: torch.Tensor, i: int, j: int) -> torch.Tensor:
    """How strongly each pixel (H, W) moves the sum of the output's channels at position (i, j)."""
    ### BEGIN SOLUTION
    image = image.clone().requires_grad_(True)
    out = net(image)  # (1, K, H', W')
    (gradient,) = torch.autograd.grad(out[0, :, i, j].sum(), image)  # (1, C, H, W)
    return gradient[0].abs().sum(0)
    ### END SOLUTION


# %% nbgrader={"grade": true, "grade_id": "gradient-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false} student_names=["gradient_map"]
import torch
from torch import nn

from tlcore.grading import Checks

checks = Checks("Exercise 7 · The gradient map", forbid=["tlcore.anatomy"], seconds=20)
conv = nn.Conv2d(2, 3, 3, padding=1)
nn.init.constant_(conv.bias, 9)
nn.init.constant_(conv.bias[:1], -9)  # outputs of both signs: their absolute values are another function
expected = torch.zeros(9, 9)
expected[3:6, 1:4] = conv.weight.detach().sum(0).abs().sum(0)


@checks("a map of the size of the image", points=0.5)
def _():
    checks.equal(list(torch.as_tensor(gradient_map(conv, torch.rand(1, 2, 9, 9), 4, 2)).shape), [9, 9])


@checks("for one convolution it is the kernel, at its place", points=1)
def _():
    signed = torch.zeros(9, 9)
    signed[3:6, 1:4] = conv.weight.detach().sum(0).sum(0)
    late = signed.abs()
    wrong = {
        "the absolute value is missing": signed,
        "take the absolute value before you sum the channels": late,
    }
    checks.close(gradient_map(conv, torch.rand(1, 2, 9, 9), 4, 2), expected, mistakes=wrong)


@checks("pixels outside the field get exactly zero", points=0.5, hint="Only one position of the output counts.")
def _():
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 1, 3, padding=1))
    seen = torch.as_tensor(gradient_map(net, torch.rand(1, 1, 15, 15), 7, 7))
    outside = torch.ones(15, 15, dtype=torch.bool)
    outside[5:10, 5:10] = False
    checks.equal(float(seen[outside].sum()), 0.0)
    assert float(seen.abs().sum()) > 0


checks

# %% nbgrader={"grade": true, "grade_id": "gradient-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false} student_names=["gradient_map"]
# A random network, when your work is graded.
### BEGIN HIDDEN TESTS
import torch
from torch import nn

from tlcore.grading import Checks

checks = Checks("Exercise 7 · A random network", hidden=True, forbid=["tlcore.anatomy"], seconds=20)


@checks("every pixel's number is the change per small step", points=1)
def _():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 2, 3, stride=2)).double()
    net[2].bias.data = torch.tensor([9.0, -9.0], dtype=torch.float64)  # outputs of both signs
    image = torch.rand(1, 2, 9, 9, dtype=torch.float64)
    seen = gradient_map(net, image, 1, 0)
    step, slopes = 1e-5, torch.zeros(9, 9, dtype=torch.float64)
    with torch.no_grad():
        for a in range(9):
            for b in range(9):
                for c in range(2):
                    up, down = image.clone(), image.clone()
                    up[0, c, a, b] += step
                    down[0, c, a, b] -= step
                    slopes[a, b] += (net(up) - net(down))[0, :, 1, 0].sum().abs() / (2 * step)
    checks.close(seen, slopes, atol=1e-7)


checks
### END HIDDEN TESTS

# %% [markdown]
# With your function we can ask the question of the opening picture: how does the blob grow with depth? We stack 3x3 layers that
# average their nine inputs. A signal that walks through them from the top takes one random step of -1, 0 or 1 per layer and axis, each with a
# variance of 2/3. Variances of independent steps add up, so the blob should have a standard deviation of $\sqrt{2n/3}$ after $n$ layers.


# %%
def blob(depth: int, size: int = 91) -> torch.Tensor:
    net = nn.Sequential(*[nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(depth)])
    for layer in net:
        nn.init.constant_(layer.weight, 1 / 9)
    return torch.as_tensor(gradient_map(net, torch.zeros(1, 1, size, size), size // 2, size // 2))


def spread(image: torch.Tensor) -> float:
    rows = image.sum(1) / image.sum()
    place = torch.arange(len(rows)) - len(rows) // 2
    return float((rows * place**2).sum().sqrt())


# %%
from matplotlib.patches import Rectangle

depths = [2, 5, 10, 20, 40]
blobs = {depth: blob(depth) for depth in depths}
spreads = [spread(blobs[depth]) for depth in depths]
fig, axes = plots.figure(5, width=1.9, height=2.2)
for ax, depth in zip(axes, depths):
    ax.imshow(blobs[depth].sqrt())
    ax.set(xticks=[], yticks=[], title=f"{depth} layers")
    side = 2 * depth + 1
    ax.add_patch(Rectangle((45 - side / 2, 45 - side / 2), side, side, fill=False, edgecolor="white"))

# %%
ax = plots.figure(width=7.2, height=3)[1][0]
ax.loglog(depths, [2 * depth + 1 for depth in depths], "o-", label="can see: side of the field")
ax.loglog(depths, spreads, "s--", label="does see: standard deviation")
ax.loglog(depths, [(2 * depth / 3) ** 0.5 for depth in depths], "k:", label="theory: square root of 2n/3")
ax.minorticks_off()
ax.set(
    xlabel="layers",
    ylabel="pixels",
    xticks=depths,
    xticklabels=depths,
    yticks=[1, 10, 100],
    yticklabels=[1, 10, 100],
)
_ = ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))

# %% [markdown]
# The white square grows in step with the depth, the blob only with its square root: your measurement lies on the dotted line. (The colour
# is the square root of the map, each panel on its own scale.) The deeper such a stack, the smaller the share of its
# receptive field that it really uses.
#
# ## What we saw
#
# The numbers below come from your run.

# %%
plots.table(
    [
        ["VGG-16 sees (all layers / convolutions only)", f"{stack_field(vgg16)} / {stack_field(strict)}"],
        ["ResNet-50 sees (stride in the 1x1 / in the 3x3)", f"{paper} / {today}"],
        ["outside the photo in its last field, centre / corner", f"{centre[-1]:.0%} / {corner[-1]:.0%}"],
        ["work of 3x3, 3x3 beside 5x5", f"{work['3x3, 3x3'] / work['5x5']:.0%}"],
        ["work of 7x1, 1x7 beside 7x7", f"{work['7x1, 1x7'] / work['7x7']:.0%}"],
        ["a diagonal edge after factorising", f"{kept['diagonal']:.0%} kept"],
        ["40 layers: field / standard deviation", f"{2 * depths[-1] + 1} / {spreads[-1]:.1f}"],
    ],
    ["question", "answer"],
)

# %% [markdown]
# - The receptive field grows by (kernel - 1) x jump per layer; the jump is the product of the strides so far.
# - It belongs to a pair of layers, $F_k$ with respect to $F_m$, and to a convention about pooling. Say both.
# - Two networks of the same name can have different fields. Read the network, not the name.
# - Factorising keeps the field and cuts the work, and gives up some freedom.
# - What a number does see is a blob in the middle. In a stack of averaging layers it grows only with the square root of the depth.
#
# ### What if?
#
# - What if some weights were negative, so that paths cancel? What if layers had strides, larger kernels, or had been trained? Would the
#   blob be wider or narrower?
# - Two 3x3 layers in a row, with nothing between them, make a 5x5 kernel from 18 numbers. Which 5x5 kernels can they not make?
# - How would you build a network whose field is the whole photo after five layers, and what would it cost?
