"""Whatever notebook comes, a clean one with the lesson's structure goes out, or one sentence."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.grading.conftest import FIXTURE, LESSON
from tlcore.grading.answers import exercises, hand_in
from tlcore.grading.course import CourseError
from tlcore.grading.lesson import is_check, read_lesson
from tlcore.grading.tidy import tidy


def as_bytes(nb) -> bytes:
    return nbformat.writes(nb).encode()


@pytest.fixture
def solved(source, release):
    return hand_in(release, exercises(source))


def checks_of(nb) -> list[tuple[str, str]]:
    return [(c.metadata.nbgrader.grade_id, c.source) for c in nb.cells if is_check(c)]


def cell(nb, grade_id: str):
    return next(c for c in nb.cells if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)


def test_a_sound_notebook_is_not_mended(solved, source):
    tidied = tidy(as_bytes(solved), source)
    assert tidied.mended == []
    assert checks_of(tidied.notebook) == checks_of(source)
    nbformat.validate(tidied.notebook)


MUTATIONS = {
    "a check was edited": lambda nb: cell(nb, "evens-check").update(source="2"),
    "a check was retyped": lambda nb: cell(nb, "evens-check").update(cell_type="markdown"),
    "a check was deleted": lambda nb: nb.cells.remove(cell(nb, "evens-check")),
    "a check was doubled": lambda nb: nb.cells.append(copy.deepcopy(cell(nb, "evens-check"))),
    "all checks were deleted": lambda nb: nb.update(cells=[c for c in nb.cells if not is_check(c)]),
    "an answer was moved to the end": lambda nb: nb.cells.append(nb.cells.pop(nb.cells.index(cell(nb, "evens")))),
    "points were changed": lambda nb: cell(nb, "evens-check").metadata.nbgrader.update(points=100),
    "tags were added": lambda nb: [c.metadata.update(tags=["skip-execution"]) for c in nb.cells],
    "an answer was made raw": lambda nb: cell(nb, "evens").update(cell_type="raw"),
    "outputs were forged": lambda nb: cell(nb, "evens-check").update(
        outputs=[{"output_type": "stream", "name": "stdout", "text": "2"}]
    ),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_mended_notebooks_hold_every_check_after_its_answer(solved, source, name):
    MUTATIONS[name](solved)
    nb = tidy(json.dumps(solved).encode(), source).notebook
    assert sorted(checks_of(nb)) == sorted(checks_of(source))
    ids = [c.metadata.get("nbgrader", {}).get("grade_id") for c in nb.cells]
    assert ids.index("evens") < ids.index("evens-check") and ids.index("smallest") < ids.index("smallest-check")
    assert all(c.metadata.get("tags") is None and not c.get("outputs") for c in nb.cells)
    assert cell(nb, "evens").cell_type == "code"
    nbformat.validate(nb)


def test_a_split_answer_keeps_both_halves(solved, source):
    answer = cell(solved, "smallest")
    half = copy.deepcopy(answer)
    half.source, answer.source = answer.source, "helper = min"
    solved.cells.insert(solved.cells.index(answer) + 1, half)
    nb = tidy(json.dumps(solved).encode(), source).notebook
    sources = [c.source for c in nb.cells]
    assert (
        sources.index("helper = min")
        < sources.index(half.source)
        < sources.index(cell(source, "smallest-check").source)
    )


def test_older_formats_are_read(source, solved):
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {},
        "worksheets": [
            {
                "cells": [
                    {
                        "cell_type": "code",
                        "input": c.source.splitlines(True),
                        "metadata": dict(c.metadata),
                        "outputs": [],
                    }
                    for c in solved.cells
                    if c.cell_type == "code"
                ]
            }
        ],
    }
    nb = tidy(json.dumps(old).encode(), source).notebook
    assert checks_of(nb) == checks_of(source)
    assert cell(nb, "evens").source == cell(solved, "evens").source


BAD = [
    b"",
    b"{",
    b"\xff\xfe",
    b"null",
    b"3",
    b"[]",
    b"{}",
    b'{"cells": 3}',
    b'{"cells": []}',
    b'{"cells": [1, null, "x"]}',
    b"[" * 100_000,
]


@pytest.mark.parametrize("data", BAD, ids=range(len(BAD)))
def test_what_is_no_notebook_gets_a_sentence(source, data):
    with pytest.raises(CourseError) as told:
        tidy(data, source)
    assert "\n" not in str(told.value) and len(str(told.value)) < 300


def mutate(tree: Any, rng: random.Random) -> None:
    """Damage one place of a JSON tree."""
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in list(items):
            places.append((node, key))
            walk(value)

    walk(tree)
    node, key = rng.choice(places)
    how = rng.randrange(6)
    if how == 0:
        node[key] = rng.choice([None, 0, -1, True, "", "\ud800", [], {}, [[]], {"a": {}}, 1e308, "x" * 1000])
    elif how == 1:
        del node[key]
    elif how == 2 and isinstance(node, list):
        node.insert(key, copy.deepcopy(node[rng.randrange(len(node))]))
    elif how == 3 and isinstance(node, list):
        rng.shuffle(node)
    elif how == 4 and isinstance(node, dict):
        node[rng.choice(["tags", "grade_id", "nbgrader", "cell_type", "source", "metadata", "id"])] = node[key]
    elif isinstance(node[key], str):
        node[key] = node[key][: rng.randrange(len(node[key]) + 1)]


def mutants(tree: Any, count: int, seed: int = 0) -> list[bytes]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        mutant = copy.deepcopy(tree)
        for _ in range(rng.randint(1, 8)):
            mutate(mutant, rng)
        data = json.dumps(mutant).encode()
        if rng.random() < 0.1:
            at = rng.randrange(len(data))
            data = data[:at] + bytes(rng.randrange(256) for _ in range(3)) + data[at + rng.randrange(5) :]
        made.append(data)
    return made


def tidied_or_told(data: bytes, source) -> tuple[Any, str]:
    try:
        return tidy(data, source).notebook, ""
    except CourseError as error:
        return None, str(error)


def test_five_hundred_mutants_are_tidied_or_told(source, solved):
    told = 0
    for data in mutants(json.loads(nbformat.writes(solved)), 500):
        nb, sentence = tidied_or_told(data, source)
        if nb is None:
            told += 1
            assert "\n" not in sentence
            continue
        nbformat.validate(nb)
        assert sorted(checks_of(nb)) == sorted(checks_of(source))
    assert told < 250


@settings(max_examples=200, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda x: (
            st.lists(x)
            | st.dictionaries(
                st.sampled_from(
                    ["cells", "cell_type", "source", "metadata", "nbgrader", "grade_id", "worksheets", "input"]
                ),
                x,
            )
        ),
    )
)
def test_any_json_is_tidied_or_told(tree):
    source = read_lesson(FIXTURE / "solutions" / f"{LESSON}.py")
    assert "\n" not in tidied_or_told(json.dumps(tree).encode(), source)[1]
