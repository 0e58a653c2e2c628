"""What the lectures advise: two tables by size and similarity, and a rule by size alone; kept as they are.

The two tables disagree in every cell.
"""

from __future__ import annotations

from typing import Literal

from tlcore import plots

Strategy = Literal["scratch", "raw svm", "frozen svm", "frozen softmax", "top", "full", "discriminative"]
STRATEGIES: dict[Strategy, str] = {
    "scratch": "train the whole network from scratch",
    "raw svm": "a support vector machine on the inputs, without transfer",
    "frozen svm": "a support vector machine on the frozen neck",
    "frozen softmax": "a new head on the frozen body",
    "top": "fine-tune the higher layers",
    "full": "fine-tune the whole network",
    "discriminative": "fine-tune the whole network, lower layers at smaller rates",
}
TABLES: dict[str, dict[tuple[bool, bool], Strategy | None]] = {  # (large, similar)
    "when and how to fine-tune": {
        (True, False): "scratch",
        (True, True): "full",
        (False, False): "raw svm",
        (False, True): "top",
    },
    "quando usar TL": {
        (True, False): "full",
        (True, True): "top",
        (False, False): None,
        (False, True): "frozen softmax",
    },
}


def table_advice(table: str, *, large: bool, similar: bool) -> Strategy | None:
    """The strategy in a cell of one of the lectures' tables; None where it has none ("Houston, we have a problem").

    >>> table_advice("when and how to fine-tune", large=False, similar=False)
    'raw svm'
    >>> [table_advice(table, large=True, similar=True) for table in TABLES]
    ['full', 'top']

    Lecture 1 ("Train from scratch", "Fine-tune the whole network", "Use SVM without transfer learning", "Fine-tune only
    some higher-level portion") and lecture 3 ("treine um número maior de camadas (ou todas elas)", "algumas camadas",
    "apenas o classificador de saída").

    Parameters
    ----------
    large, similar
        Whether there are many labelled examples of the target, and whether it is like what was trained on before. The
        lectures do not say how many, or how like.
    """
    if table not in TABLES:
        raise ValueError(f"table_advice({table!r}): accepted are {', '.join(map(repr, TABLES))}")
    return TABLES[table][large, similar]


def freeze_or_fine_tune(*, plentiful: bool) -> Strategy:
    """Lecture 2: freeze where the target's labels are scarce, fine-tune where they are more plentiful.

    >>> freeze_or_fine_tune(plentiful=False)
    'frozen softmax'
    """
    return "full" if plentiful else "frozen softmax"


def tables() -> plots.Table:
    """Both tables side by side, cell by cell.

    >>> tables()
    target            when and how to fine-tune  quando usar TL
    -----------------------------------------------------------
    large, different                    scratch            full
    large, similar                         full             top
    small, different                    raw svm       no advice
    small, similar                          top  frozen softmax
    """
    rows = []
    for large in (True, False):
        for similar in (False, True):
            cell = f"{'large' if large else 'small'}, {'similar' if similar else 'different'}"
            rows.append([cell, *(TABLES[name][large, similar] or "no advice" for name in TABLES)])
    return plots.Table(rows, ["target", *TABLES], left=1, rule=True)
