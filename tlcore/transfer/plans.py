"""Plans of fine-tuning: which groups of layers are trained when, and at which rates.

A plan is a sequence of phases. Groups are counted as in `training.freeze_to`: from the input, or from the head if
negative.

>>> for phase in procedure(head_epochs=2).phases(groups=5, epochs=6):
...     print(phase)
Phase(frozen=4, epochs=2, lr=1.0, factor=1.0, schedule=None)
Phase(frozen=0, epochs=4, lr=0.1, factor=1.0, schedule=None)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from tlcore.runtime import nearest
from tlcore.training import SCHEDULES
from tlcore.training.schedules import Schedule


@dataclass(frozen=True)
class Phase:
    """Some epochs with the same groups frozen.

    Parameters
    ----------
    frozen
        So many groups are frozen, the lowest first; a negative number leaves so many free at the top.
    epochs
        How long; None shares out what other phases leave of all epochs.
    lr
        Share of the run's rate that the head gets.
    factor
        Each group's rate is that of the group above divided by it.
    schedule
        In place of the run's.
    """

    frozen: int = 0
    epochs: int | None = None
    lr: float = 1.0
    factor: float = 1.0
    schedule: str | Callable[[int], Schedule] | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"Phase(epochs={self.epochs}): from 1 on is accepted, or None for what others leave")
        if self.lr <= 0 or self.factor <= 0:
            raise ValueError(f"Phase(lr={self.lr}, factor={self.factor}): numbers above 0 are accepted")
        if isinstance(self.schedule, str) and self.schedule not in SCHEDULES:
            raise ValueError(f"Phase(schedule={self.schedule!r}): {nearest(self.schedule, SCHEDULES)}")

    def rates(self, groups: int, lr: float) -> list[float | None]:
        """The rate of each group, input first; None where it is frozen.

        >>> Phase(frozen=1, factor=10).rates(3, 0.1)
        [None, 0.01, 0.1]
        """
        low = self.frozen if self.frozen >= 0 else groups + self.frozen
        return [lr * self.lr / self.factor ** (groups - 1 - n) if n >= low else None for n in range(groups)]


@dataclass(frozen=True)
class Plan:
    """Phases, made for a network when it is known how many groups it has."""

    name: str
    make: Callable[[int], Sequence[Phase]] = field(repr=False)

    def phases(self, groups: int, epochs: int) -> tuple[Phase, ...]:
        """The phases with their frozen groups counted from the input, and `epochs` shared out among them.

        Raises
        ------
        ValueError
            If there are too few groups or epochs.
        """
        made = list(self.make(groups))
        if not made:
            raise ValueError(f"plan {self.name}: it has no phase")
        for phase in made:
            if not -groups <= phase.frozen < groups:
                what = "everything would be frozen" if phase.frozen == groups else "there are not so many"
                raise ValueError(
                    f"plan {self.name}: the network has {groups} groups, and {what}; "
                    f"from 0 to {groups - 1} can be frozen, from 1 to {groups} trained"
                )
        fixed, free = sum(phase.epochs or 0 for phase in made), sum(phase.epochs is None for phase in made)
        least = fixed + free
        if epochs < least or (not free and epochs != fixed):
            accepted = f"from {least} on" if free else f"exactly {fixed}"
            raise ValueError(
                f"fine_tune(epochs={epochs}): plan {self.name} has {len(made)} phases for the {groups} groups of this "
                f"network, which take {fixed} epochs{' before what is left' if free else ''}; {accepted} is accepted"
            )
        shares = iter([(epochs - fixed) // free + (n < (epochs - fixed) % free) for n in range(free)][::-1])
        return tuple(
            replace(
                phase,
                frozen=phase.frozen if phase.frozen >= 0 else groups + phase.frozen,
                epochs=next(shares) if phase.epochs is None else phase.epochs,
            )
            for phase in made
        )


def head_only() -> Plan:
    """Train the head alone: the body is a fixed extractor of features.

    >>> head_only().phases(groups=5, epochs=3)[0].rates(5, 0.1)
    [None, None, None, None, 0.1]
    """
    return Plan("head_only()", lambda groups: [Phase(-1)])


def bottom_frozen(n: int) -> Plan:
    """Freeze the lowest `n` groups and train the others: "bottom n layers can be frozen or fine tuned" (lecture 2).

    >>> bottom_frozen(2).phases(groups=5, epochs=3)[0].rates(5, 0.1)
    [None, None, 0.1, 0.1, 0.1]
    """
    if n < 0:
        raise ValueError(f"bottom_frozen({n}): from 0 on is accepted; top(n) counts from the head")
    return Plan(f"bottom_frozen({n})", lambda groups: [Phase(n)])


def top(n: int) -> Plan:
    """Train the highest `n` groups, the head being the first of them: "fine-tune only some higher-level portion".

    >>> top(2).phases(groups=5, epochs=3)[0].rates(5, 0.1)
    [None, None, None, 0.1, 0.1]
    """
    if n < 1:
        raise ValueError(f"top({n}): from 1 on is accepted, or nothing is left to train")
    return Plan(f"top({n})", lambda groups: [Phase(-n)])


def full() -> Plan:
    """Train everything at one rate."""
    return Plan("full()", lambda groups: [Phase()])


def discriminative(factor: float = 3.0) -> Plan:
    """Train everything, each group at a rate that is `factor` times smaller than that of the group above.

    >>> [round(rate, 4) for rate in discriminative(10).phases(groups=3, epochs=1)[0].rates(3, 0.1)]
    [0.001, 0.01, 0.1]

    "Each earlier layer or layer group can be trained at 3x-10x smaller learning rate than the next later one" (lecture
    on transfer, differential learning rates); 2.6 in Howard, Ruder 2018 (arXiv:1801.06146), section 3.2.
    """
    return Plan(f"discriminative(factor={factor:g})", _always(Phase(factor=factor)))


def gradual(epochs: int = 1, *, first: int = 1, factor: float = 1.0, schedule: str | None = None) -> Plan:
    """Unfreeze from the head down, one more group every `epochs` epochs; the last phase takes the epochs that are left.

    >>> [phase.frozen for phase in gradual().phases(groups=4, epochs=10)]
    [3, 2, 1, 0]
    >>> [phase.epochs for phase in gradual().phases(groups=4, epochs=10)]
    [1, 1, 1, 7]

    Howard, Ruder 2018 (arXiv:1801.06146), section 3.3, who also use factor=2.6 and schedule="stlr".

    Parameters
    ----------
    first
        Groups that are free in the first phase.
    factor
        As in `discriminative`.
    schedule
        Of each phase.
    """
    if epochs < 1 or first < 1:
        raise ValueError(f"gradual(epochs={epochs}, first={first}): from 1 on is accepted")
    name = f"gradual(epochs={epochs}, first={first}, factor={factor:g})"
    last = Phase(0, None, 1.0, factor, schedule)

    def make(groups: int) -> list[Phase]:
        short = [replace(last, frozen=-n, epochs=epochs) for n in range(first, max(first, groups))]
        return [*short, replace(last, frozen=-max(first, groups))]

    return Plan(name, make)


def procedure(
    head_epochs: int | None = None, *, unfreeze: int | None = None, lr: float = 0.1, factor: float = 1.0
) -> Plan:
    """The lectures' procedure: train the new head on the frozen body, then both together at a much lower rate.

    >>> for phase in procedure(head_epochs=2, unfreeze=2).phases(groups=5, epochs=8):
    ...     print(phase.epochs, phase.rates(5, 1.0))
    2 [None, None, None, None, 1.0]
    6 [None, None, None, 0.1, 0.1]

    It is numbered to five in the lecture and has four steps: (1) freeze the convolutional base; (2, 3) train the head
    that you added, which gets its parameters away from random and into a regime of smaller gradients; (4) unfreeze
    some later layers of the base; (5) train base and head together, with a very low learning rate. Another lecture
    unfreezes the whole body.

    Parameters
    ----------
    head_epochs
        Epochs of the head alone; None takes half of all.
    unfreeze
        Groups trained in the end, the head being one of them; None trains the full network.
    lr
        Share of the first rate that the second phase has.
    factor
        As in `discriminative`, in the second phase.
    """
    if unfreeze is not None and unfreeze < 2:
        raise ValueError(f"procedure(unfreeze={unfreeze}): from 2 on is accepted (the head and what is below)")
    told = {"head_epochs": head_epochs, "unfreeze": unfreeze, "lr": f"{lr:g}", "factor": f"{factor:g}"}
    name = f"procedure({', '.join(f'{key}={value}' for key, value in told.items() if value not in (None, '1'))})"
    return Plan(name, _always(Phase(-1, head_epochs), Phase(-unfreeze if unfreeze else 0, None, lr, factor)))


PLANS: dict[str, Callable[[], Plan]] = {
    "head_only": head_only,
    "full": full,
    "discriminative": discriminative,
    "gradual": gradual,
    "procedure": procedure,
}


def as_plan(plan: str | Plan | Sequence[Phase]) -> Plan:
    """A plan from its name, from a plan, or from phases.

    >>> as_plan("gradual").name
    'gradual(epochs=1, first=1, factor=1)'

    Raises
    ------
    ValueError
        For an unknown name, with the nearest.
    """
    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, str):
        if plan in ("top", "bottom_frozen"):
            raise ValueError(f"plan={plan!r}: it needs a number of groups, such as transfer.{plan}(2)")
        if plan not in PLANS:
            raise ValueError(f"plan={plan!r}: {nearest(plan, [*PLANS, 'top', 'bottom_frozen'])}")
        return PLANS[plan]()
    phases = list(plan)
    if not all(isinstance(phase, Phase) for phase in phases):
        raise TypeError("plan=…: a name, a plan such as transfer.procedure(), or a list of transfer.Phase is accepted")
    return Plan("of your own", _always(*phases))


def _always(*phases: Phase) -> Callable[[int], Sequence[Phase]]:
    return lambda groups: phases
