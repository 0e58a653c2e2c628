"""Fifteen ordinary kinds of check: a right answer passes and a wrong one fails, the same in both modes."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import pytest

from tests.both_modes import both_modes, passed
from tlcore.grading.forbid import free_names


@dataclass(frozen=True)
class Kind:
    name: str
    right: str
    wrong: str
    check: str


KINDS = [
    Kind("numbers", "def f(x): return 2 * x", "def f(x): return 2 * x + 1", "checks.equal(f(21), 42)"),
    Kind(
        "arrays",
        "import numpy as np\ndef f(x): return x - x.mean(0)",
        "import numpy as np\ndef f(x): return x - x.mean()",
        "x = np.random.default_rng(0).normal(size=(5, 3))\nchecks.close(f(x).mean(axis=0), np.zeros(3))",
    ),
    Kind(
        "tensors",
        "import torch\ndef f(x): return torch.softmax(x, -1)",
        "import torch\ndef f(x): return torch.softmax(x, 0)",
        "x = torch.randn(4, 3)\nchecks.close(f(x), x.exp() / x.exp().sum(-1, keepdim=True))",
    ),
    Kind(
        "dicts",
        "import collections\ndef f(words): return collections.Counter(words)",
        "def f(words): return {w: 1 for w in words}",
        "got = f(['a', 'b', 'a'])\nassert got['a'] == 2 and sorted(got) == ['a', 'b']",
    ),
    Kind(
        "dataclasses",
        "from dataclasses import dataclass\n@dataclass\nclass F:\n    width: int\n    def area(self): return self.width ** 2",
        "from dataclasses import dataclass\n@dataclass\nclass F:\n    width: int\n    def area(self): return self.width",
        "shape = F(width=3)\nassert shape.width == 3\nchecks.equal(shape.area(), 9)",
    ),
    Kind(
        "functions taking functions",
        "def f(g, x, h=1e-5): return (g(x + h) - g(x - h)) / (2 * h)",
        "def f(g, x, h=1e-1): return (g(x + h) - g(x)) / h",
        "checks.close(f(math.sin, 1.0), math.cos(1.0))",
    ),
    Kind(
        "module: shapes, parameters, gradients",
        "import torch\nclass F(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = torch.nn.Linear(3, 2)\n    def forward(self, x): return self.layer(x)",
        "import torch\nclass F(torch.nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.layer = torch.nn.Linear(3, 2)\n    def forward(self, x): return self.layer(x).detach().requires_grad_()",
        """
        net = F()
        assert net(torch.zeros(5, 3)).shape == (5, 2)
        checks.equal(sum(p.numel() for p in net.parameters()), 8)

        def gradients(net):
            import torch

            net(torch.ones(1, 3)).sum().backward()
            return {name: p.grad for name, p in net.named_parameters()}

        checks.close(remote(gradients, net)["layer.weight"], torch.ones(2, 3))
        """,
    ),
    Kind(
        "freezing in place",
        "def f(net):\n    for p in net[0].parameters(): p.requires_grad_(False)",
        "def f(net): net[0].requires_grad = False",
        """
        def frozen(f, net):
            f(net)
            return [p.requires_grad for p in net.parameters()]

        net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        checks.equal(remote(frozen, f, net), [False, False, True, True])
        """,
    ),
    Kind(
        "a trained model's accuracy",
        """
        import torch
        def f(x, y):
            net = torch.nn.Linear(2, 2)
            opt = torch.optim.Adam(net.parameters(), 0.1)
            for _ in range(60):
                loss = torch.nn.functional.cross_entropy(net(x), y)
                opt.zero_grad(); loss.backward(); opt.step()
            return net
        """,
        """
        import torch
        def f(x, y):
            net = torch.nn.Linear(2, 2)
            torch.nn.init.zeros_(net.weight); torch.nn.init.zeros_(net.bias)
            return net
        """,
        """
        x = torch.randn(200, 2)
        y = (x[:, 0] > x[:, 1]).long()
        net = f(x, y)
        accuracy = (net(x).argmax(1) == y).float().mean().item()
        assert accuracy > 0.9, accuracy
        """,
    ),
    Kind(
        "generators",
        "def f():\n    n = 0\n    while True:\n        yield n * n\n        n += 1",
        "def f():\n    n = 1\n    while True:\n        yield n * n\n        n += 1",
        "checks.equal(list(itertools.islice(f(), 5)), [0, 1, 4, 9, 16])",
    ),
    Kind(
        "exceptions expected",
        "def f(x):\n    if x < 0: raise ValueError('negative')\n    return x ** 0.5",
        "def f(x): return abs(x) ** 0.5",
        "checks.close(f(4), 2)\nwith checks.raises(ValueError):\n    f(-1)",
    ),
    Kind(
        "a plot's data",
        "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\n"
        "def f(y):\n    fig, ax = plt.subplots()\n    ax.plot(range(len(y)), y)\n    ax.set_title('loss')\n    return ax",
        "import matplotlib; matplotlib.use('agg')\nimport matplotlib.pyplot as plt\n"
        "def f(y):\n    fig, ax = plt.subplots()\n    ax.plot(y, range(len(y)))\n    return ax",
        "ax = f([3.0, 2.0, 1.0])\nchecks.close(ax.lines[0].get_ydata(), [3.0, 2.0, 1.0])\nassert ax.get_title() == 'loss'",
    ),
    Kind("strings", "def f(n): return f'{n:,}'", "def f(n): return str(n)", "assert f(1234567) == '1,234,567'"),
    Kind(
        "seeds",
        "import torch\ndef f(seed): return torch.rand(3, generator=torch.Generator().manual_seed(seed))",
        "import torch\ndef f(seed): return torch.rand(3)",
        "assert (f(1) == f(1)).all() and not (f(1) == f(2)).all()",
    ),
    Kind(
        "a subclass, by what it does",
        "class Base:\n    def name(self): return 'base'\n    def hello(self): return 'hello ' + self.name()\n"
        "class F(Base):\n    def name(self): return 'sub'",
        "class Base:\n    def name(self): return 'base'\n    def hello(self): return 'hello ' + self.name()\n"
        "class F(Base):\n    def hello(self): return 'sub'",
        "assert F().hello() == 'hello sub'",
    ),
]

HEADER = """
import itertools, math
import numpy as np
import torch
from tlcore.grading import Checks, remote
checks = Checks("kind")
@checks("it", points=2)
def _():
"""


def cell(kind: Kind) -> str:
    return HEADER + textwrap.indent(textwrap.dedent(kind.check), "    ") + "\nchecks"


@pytest.fixture(scope="module")
def modes():
    with both_modes() as modes:
        yield modes


def test_there_are_fifteen():
    assert len(KINDS) == 15


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: k.name)
def test_right_passes_and_wrong_fails_in_both_modes(modes, kind):
    check = cell(kind)
    assert free_names(check) <= {"f", "F"}
    for code, deserved in ((kind.right, True), (kind.wrong, False), ("del f\ndel F", False)):
        modes.student("f = F = None")
        modes.student(textwrap.dedent(code))
        assert passed(modes.stock(check)) == {"it": deserved}, modes.stock(check)
        assert passed(modes.judged(check)) == {"it": deserved}, modes.judged(check)
