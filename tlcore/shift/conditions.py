"""The six ways in which source and target can differ, and how one cause moves several of them.

A domain is D = {X, P(X)}, a task T = {Y, P(Y|X)} (Pan and Yang 2010, section 2). Of the joint distribution
P(X, Y) = P(X) P(Y|X) = P(Y) P(X|Y) four faces are looked at; each can move on its own or be dragged along by another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tlcore import plots
from tlcore.runtime import nearest

CONDITIONS: dict[str, str] = {
    "feature_space": "X_S ≠ X_T",
    "marginal": "P_S(X) ≠ P_T(X)",
    "label_space": "Y_S ≠ Y_T",
    "concept": "P_S(Y|X) ≠ P_T(Y|X)",
    "prior": "P_S(Y) ≠ P_T(Y)",
    "conditional": "P_S(X|Y) ≠ P_T(X|Y)",
}
NEEDS_FEATURES = ("marginal", "concept", "conditional")  # cannot be compared across two feature spaces
NEEDS_LABELS = ("concept", "prior", "conditional")  # cannot be compared across two label spaces


class Conditions(Mapping[str, "bool | None"]):
    """Which of the six conditions hold: True, False, or None where there is nothing to compare.

    >>> found = Conditions({"prior", "marginal"})
    >>> found["prior"], found["concept"]
    (True, False)
    >>> Conditions({"label_space"})["prior"] is None  # two label spaces have no common prior
    True
    >>> found
    prior, marginal
    """

    def __init__(self, moved: set[str]) -> None:
        for name in sorted(moved - CONDITIONS.keys()):
            raise ValueError(f"Conditions: {name!r} is none of the six; {nearest(name, CONDITIONS)}")
        held: dict[str, bool | None] = {name: name in moved for name in CONDITIONS}
        if held["feature_space"]:
            held |= dict.fromkeys(NEEDS_FEATURES)
        if held["label_space"]:
            held |= dict.fromkeys(NEEDS_LABELS)
        self.held, self.moved = held, frozenset(moved)

    def __getitem__(self, name: str) -> bool | None:
        return self.held[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.held)

    def __len__(self) -> int:
        return len(self.held)

    def __or__(self, other: Conditions) -> Conditions:
        return Conditions(set(self.moved | other.moved))

    def __repr__(self) -> str:
        order = ("feature_space", "label_space", "concept", "prior", "conditional", "marginal")
        return ", ".join(name for name in order if self.held[name]) or "nothing moved"

    def table(self) -> plots.Table:
        """One row per condition."""
        said = {True: "yes", False: "no", None: "not comparable"}
        return plots.table(
            [[name, CONDITIONS[name], said[value]] for name, value in self.items()], ["condition", "", ""]
        )

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()
