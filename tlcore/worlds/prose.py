"""Real English prose that is on every machine which runs the course: what libraries say about themselves.

>>> data = docstrings(("python", "torch"), count=20)
>>> data.classes, len(data)
(('python', 'torch'), 40)
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from inspect import cleandoc
from pathlib import Path
from random import Random

import torch

from tlcore.worlds.dataset import Dataset

PYTHON = "python"
LIBRARIES = ("matplotlib", PYTHON, "sklearn", "torch")
_ROLE = re.compile(r":[a-z:]+:`~?([^`<]*?)(?:\s*<[^>]*>)?`")
_LEFT_OUT = ("test", "tests", "externals", "_vendor", "_inductor", "testing")
_NAMES = re.compile(
    r"\b(?:matplotlib|mpl|pyplot|python|scikit-learn|sklearn|pytorch|torch|scipy|numpy)\b", re.IGNORECASE
)


def docstrings(
    libraries: tuple[str, ...] = LIBRARIES, *, count: int = 300, words: tuple[int, int] = (12, 60), seed: int = 0
) -> Dataset:
    """Paragraphs from docstrings, and which library each is from; "python" stands for the topics of Python's manual.

    Code, lists of parameters and names of libraries are left out. Which texts these are depends on the installed
    versions.

    Parameters
    ----------
    libraries
        Names of installed packages, or "python".
    count
        Paragraphs of each library; they come mixed.
    words
        The least and the most of a paragraph.

    Raises
    ------
    ValueError
        If a library is not installed, or has not so many paragraphs.
    """
    chosen: list[tuple[str, int]] = []
    for number, name in enumerate(libraries):
        found = _paragraphs(name, count, words, seed)
        if len(found) < count:
            raise ValueError(f"docstrings(count={count}): {name} has {len(found)} paragraphs of {words} words")
        chosen += [(text, number) for text in found[:count]]
    Random(f"prose {seed}").shuffle(chosen)
    texts, targets = zip(*chosen)
    origin = f"docstrings of installed libraries ({', '.join(libraries)}), seed {seed}"
    return Dataset(list(texts), torch.tensor(targets), tuple(libraries), origin)


@cache
def _paragraphs(library: str, count: int, words: tuple[int, int], seed: int) -> tuple[str, ...]:
    """Different paragraphs of a library, drawn file by file until there are enough."""
    found: dict[str, None] = {}
    for documents in _topics(seed) if library == PYTHON else _files(library, seed):
        for text in documents:
            found |= dict.fromkeys(t for t in _prose(text) if words[0] <= len(t.split()) <= words[1])
        if len(found) >= 2 * count:
            break
    texts = list(found)
    Random(f"order {seed}").shuffle(texts)
    return tuple(texts)


def _topics(seed: int) -> Iterator[list[str]]:
    from pydoc_data.topics import topics

    yield [text for _, text in sorted(topics.items())]


def _files(library: str, seed: int) -> Iterator[list[str]]:
    """The docstrings of each file, files in a drawn order."""
    spec = find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        raise ValueError(f"docstrings: {library!r} is no installed package; nearest: {', '.join(LIBRARIES)}")
    root = Path(next(iter(spec.submodule_search_locations)))
    paths = sorted(path for path in root.rglob("*.py") if not {*path.relative_to(root).parts} & {*_LEFT_OUT})
    Random(f"files {seed}").shuffle(paths)
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
        yield [text for node in ast.walk(tree) if isinstance(node, kinds) and (text := ast.get_docstring(node))]


def _prose(text: str) -> Iterator[str]:
    """The paragraphs that are whole sentences."""
    for part in re.split(r"\n\s*\n", cleandoc(text)):
        if re.search(r"^\s*(?:>>>|\.\.|[-=~*+|]{3,})|^\w+ ?: |::$|\\", part, re.MULTILINE):
            continue
        line = " ".join(_ROLE.sub(r"\1", part).split())
        line = _NAMES.sub("it", re.sub(r"[`*]+", "", line))
        plain = sum(bool(re.fullmatch(r"[\"'(]?[A-Za-z][a-z'-]*[.,;:!?)\"']*", word)) for word in line.split())
        if re.match(r"[A-Z]", line) and line.endswith(".") and plain >= 0.75 * len(line.split()):
            yield line
