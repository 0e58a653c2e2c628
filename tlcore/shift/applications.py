"""The cases that the lectures name, each with the shift that makes it."""

from __future__ import annotations

from dataclasses import dataclass

from tlcore import plots
from tlcore.shift.base import Shift
from tlcore.shift.distributions import Concept, Conditional, Marginal, Prior, Selection
from tlcore.shift.spaces import FeatureSpace, LabelSpace

SHIFTS: dict[str, type[Shift]] = {
    "feature_space": FeatureSpace,
    "marginal": Marginal,
    "label_space": LabelSpace,
    "concept": Concept,
    "prior": Prior,
    "conditional": Conditional,
}


@dataclass(frozen=True)
class Application:
    """A case from the lectures: what changes in it, and shifts that make the same change here."""

    name: str
    case: str
    shifts: tuple[Shift, ...]
    world: str

    @property
    def conditions(self) -> str:
        """The causes, by name."""
        return ", ".join(dict.fromkeys(one.condition for one in self.shifts))


APPLICATIONS: dict[str, Application] = {
    one.name: one
    for one in (
        Application(
            "simulation",
            "learn in a simulator, drive on real roads: cleaner pictures, plainer grounds",
            (Marginal(0.7, kind="background"), Marginal(0.5, kind="noise"), Marginal(0.5, kind="blur")),
            "pictures with masks",
        ),
        Application("night", "bikes by day, bikes at night", (Marginal(0.8, kind="night"),), "pictures"),
        Application(
            "background",
            "bikes alone, bikes before a background",
            (Marginal(0.8, kind="background"),),
            "pictures with masks",
        ),
        Application(
            "sensor", "two telescopes, one of them more sensitive", (Marginal(0.6, kind="gain"),), "pictures, vectors"
        ),
        Application(
            "speech",
            "speech of immigrants and minorities: rare in the source, and recorded less well",
            (Selection(0.7), Marginal(0.5, kind="words")),
            "texts",
        ),
        Application("language", "one language, then another", (FeatureSpace(1.0, kind="language"),), "texts"),
        Application("animals", "farm animals, forest animals", (LabelSpace(1.0, kind="disjoint"),), "any"),
        Application("breeds", "species and breeds: other levels of one hierarchy", (LabelSpace(1.0),), "any"),
        Application("unbalanced", "documents whose labels are unbalanced", (Prior(1.0),), "any"),
        Application("selection", "a source that was not drawn at random", (Selection(0.8),), "any"),
    )
}


def applications() -> plots.Table:
    """One row per case of the lectures.

    >>> from tlcore import shift
    >>> shift.applications().rows[1]
    ['night', 'bikes by day, bikes at night', 'marginal', 'pictures']
    """
    rows = [[one.name, one.case, one.conditions, one.world] for one in APPLICATIONS.values()]
    return plots.table(rows, ["name", "case", "cause", "shown on"])
