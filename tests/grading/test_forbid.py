"""What is off limits is found however it is reached, and nothing else is."""

from __future__ import annotations

import pytest

from tlcore.grading.forbid import free_names, violation

FORBID = ["tlcore.anatomy", "slow"]
GIVEN = "from tlcore import anatomy\nfield = anatomy.receptive_field(net)\nfor net in nets: anatomy.profile(net)"

CAUGHT = {
    "called": "def f(x): return anatomy.receptive_field(x)",
    "imported inside": "def f(x):\n    from tlcore.anatomy import receptive_field as g\n    return g(x)",
    "whole module": "import tlcore\ndef f(x): return tlcore.anatomy.receptive_field(x)",
    "under another name": "g = anatomy.receptive_field\ndef f(x): return g(x)",
    "through a helper": "def g(x): return anatomy.receptive_field(x)\ndef f(x): return g(x)",
    "through a container": "tools = {}\ntools['g'] = anatomy.receptive_field\ndef f(x): return tools['g'](x)",
    "appended": "tools = []\ntools.append(anatomy.receptive_field)\ndef f(x): return tools[0](x)",
    "in a class": "class A:\n    g = anatomy.receptive_field\ndef f(x): return A.g(x)",
    "as a default": "def f(x, g=anatomy.receptive_field): return g(x)",
    "a builtin replaced": "max = anatomy.receptive_field\ndef f(x): return max(x)",
    "by importlib": "import importlib\ndef f(x): return importlib.import_module('tlcore.' + 'anatomy').receptive_field(x)",
    "by eval": "def f(x): return eval('anatomy.receptive_field')(x)",
    "through its globals": "def f(x): return f.__globals__['slow'](x)",
    "through the shell": "def f(x): return get_ipython().user_ns['slow'](x)",
    "through __main__": "import __main__\ndef f(x): return __main__.slow(x)",
    "by pkgutil": "import pkgutil\ndef f(x): return pkgutil.resolve_name('tlcore.anatomy:receptive_field')(x)",
    "the notebook's own": "def f(x): return slow(x)",
    "with a lambda": "f = lambda x: anatomy.receptive_field(x)",
    "defined under if": "if True:\n    def f(x): return anatomy.receptive_field(x)",
    "star import": "from tlcore.anatomy import *\ndef f(x): return receptive_field(x)",
    "by setattr": "class A: pass\nsetattr(A, 'g', anatomy.receptive_field)\ndef f(x): return A.g(x)",
    "kept by a decorator": "kept = []\ndef keep(g): kept.append(g)\nclass Shelf:\n    add = staticmethod(keep)\n"
    "@Shelf.add\ndef g(x): return anatomy.receptive_field(x)\ndef f(x): return Shelf.kept[0](x)",
    "matched": "match anatomy.receptive_field:\n    case g: pass\ndef f(x): return g(x)",
    "by a line magic": "%time g = anatomy.receptive_field\ndef f(x): return g(x)",
    "by a cell magic": "%%time\nf = anatomy.receptive_field",
    "by a shell command": "f = anatomy.receptive_field\nfiles = !ls",
    "by exec at the top": "exec('f = anatomy.receptive_field')",
    "in a file of one's own": "import my_helper_file\ndef f(x): return my_helper_file.g(x)",
    "partial": "from functools import partial\nf = partial(anatomy.receptive_field)",
}


@pytest.mark.parametrize("way", CAUGHT)
def test_every_way_is_found(way):
    assert violation(FORBID, ["f"], [GIVEN, CAUGHT[way]])


FREE = {
    "written": "def f(x):\n    field = 1\n    for net in x: field += net\n    return field",
    "used elsewhere": "def g(x): return anatomy.receptive_field(x)\ndef f(x): return len(x)",
    "a local of that name": "def f(anatomy): return anatomy.size",
    "a longer name": "def slower(x): return x\ndef f(x): return slower(x)",
    "syntax error": "def f(x) return",
    "a magic around it": "%%time\ndef f(x): return x",
    "a shell command": "files = !ls\n%time y = 3\ndef f(x): return x",
    "a decorator of the library": "from functools import cache\n@cache\ndef f(x): return x",
    "a cell that only fails": "%matplotlib inline\ndef f(x): return undefined_thing(x)",
    "magic": "%matplotlib inline\n!ls\ndef f(x): return x",
}


@pytest.mark.parametrize("way", FREE)
def test_honest_work_is_left_alone(way):
    assert violation(FORBID, ["f"], [GIVEN, FREE[way]]) is None


def test_a_later_definition_replaces_an_earlier_one():
    tried, written = "def f(x): return anatomy.receptive_field(x)", "import math\ndef f(x): return x"
    assert violation(FORBID, ["f"], [GIVEN, tried]) == "tlcore.anatomy.receptive_field"
    assert violation(FORBID, ["f"], [GIVEN, tried, written]) is None
    assert violation(FORBID, ["f"], [GIVEN, written, tried])


@pytest.mark.parametrize(
    "dodge", ["1 / 0\ndef f(x): return x", "if 0:\n    def f(x): return x", "@boom\ndef g(): pass\ndef f(x): return x"]
)
def test_a_definition_that_may_not_have_been_reached_replaces_nothing(dodge):
    assert violation(FORBID, ["f"], [GIVEN, "f = anatomy.receptive_field", dodge])


def test_nothing_is_replaced_by_a_cell_that_broke():
    cells = [GIVEN, "f = anatomy.receptive_field", "import nothing\ndef f(x): return x"]
    assert violation(FORBID, ["f"], cells, broken={2})


def test_free_names_are_those_the_student_defines():
    source = "import math\nfrom a import b as c\ndef g(n=k):\n    def h(): return n + f(q)\n    return [z for z in h()]\nx = g(c)"
    assert free_names(source) == {"k", "f", "q"}
    assert free_names("class A(B):\n    y = w\n    def m(self): return self.y + v") == {"B", "w", "v"}
    assert free_names("print(len(x))") == {"x"}
