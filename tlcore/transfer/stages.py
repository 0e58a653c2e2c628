"""The layers of a network in a few groups, from the input to the head: what is frozen, freed and slowed down as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import fx, nn

from tlcore import training
from tlcore.anatomy.graph import TraceError, trace
from tlcore.runtime import nearest
from tlcore.transfer.heads import find_head

Groups = list[list[nn.Module]]
_POOLS = ("MaxPool", "AvgPool", "LPPool", "FractionalMaxPool")
_KINDS = ("stages", "layers")


def stages(model: nn.Module) -> Groups:
    """The network's stages, input first and head last: what works at one resolution.

    >>> from tlcore import zoo
    >>> net = zoo.get_model("resnet20")
    >>> names = {module: name for name, module in net.named_modules()}
    >>> [[names[module] for module in stage] for stage in stages(net)][:2]
    [['conv1', 'bn1'], ['layer1.0', 'layer1.1', 'layer1.2']]
    >>> len(stages(net)), names[stages(net)[-1][0]]
    (5, 'fc')

    A new stage begins after pooling, with a layer or a block that has a stride, and with every ``nn.Sequential``; each
    linear (or recurrent, or embedding) layer is one of its own, and so is the head. Normalisation belongs to what comes
    before it. Each part is in one stage, so the stages cover every parameter.
    """
    head = _head(model)
    found: Groups = [[]]
    for unit in _in_order(model):
        if unit.module is head:
            continue
        if unit.opens or unit.alone:
            found.append([])
        if unit.weights:
            found[-1].append(unit.module)
        if unit.closes or unit.alone:
            found.append([])
    own = nn.ParameterList(model.parameters(recurse=False))  # such as a transformer's class token
    found = [[own], *found] if len(own) and head is not model else found
    return _norms_down([stage for stage in found if stage]) + ([[head]] if head is not None else [])


def as_groups(model: nn.Module, groups: str | Sequence[Sequence[nn.Module]], function: str = "fine_tune") -> Groups:
    """Groups by name ("stages", "layers"), or the user's own, which must hold every parameter once.

    Raises
    ------
    ValueError
        For another name, or parameters that no group or more than one has.
    """
    if isinstance(groups, str):
        if groups not in _KINDS:
            raise ValueError(f"{function}(groups={groups!r}): {nearest(groups, _KINDS)}; or give lists of modules")
        return stages(model) if groups == "stages" else _norms_down(training.layer_groups(model))
    own = [list(group) for group in groups]
    names = {id(p): name for name, p in model.named_parameters()}
    held = [{id(p) for module in group for p in module.parameters()} for group in own]
    left = [name for key, name in names.items() if not any(key in group for group in held)]
    twice = [name for key, name in names.items() if sum(key in group for group in held) > 1]
    for what, some in (("in no group", left), ("in more than one", twice)):
        if some:
            raise ValueError(
                f"{function}(groups=…): each parameter belongs to one group; {what}: {', '.join(some[:4])}"
            )
    return own


@dataclass(frozen=True)
class _Unit:
    """A layer, or a block that is never taken apart; where stages begin and end."""

    module: nn.Module
    path: str
    opens: bool
    closes: bool
    alone: bool

    @property
    def weights(self) -> bool:
        return any(True for _ in self.module.parameters())


def _in_order(model: nn.Module) -> list[_Unit]:
    """All units, in the order in which they are used where torch.fx can tell; what is never used comes last."""
    units = list(_units(model, ""))
    try:
        called = [str(n.target) for n in trace(model, function="stages").graph.nodes if n.op == "call_module"]
    except TraceError:
        return units
    first: dict[str, int] = {}
    for place, path in enumerate(called):
        parts = path.split(".")
        for end in range(len(parts) + 1):
            first.setdefault(".".join(parts[:end]), place)
    return sorted(units, key=lambda unit: first.get(unit.path, len(called)))


def _units(module: nn.Module, path: str) -> Iterator[_Unit]:
    root = not path
    if not list(module.children()) or not (root or _is_sequence(module)):
        yield _unit(module, path)
        return
    begins = not root
    for name, child in module.named_children():
        for unit in _units(child, f"{path}.{name}" if path else name):
            yield _Unit(unit.module, unit.path, unit.opens or begins, unit.closes, unit.alone)
            begins = False


def _unit(module: nn.Module, path: str) -> _Unit:
    strides, pools = False, False
    for part in module.modules():
        if _stride(part) > 1:
            pool = type(part).__name__.startswith(_POOLS)
            strides, pools = strides or not pool, pools or pool
    leaf = not list(module.children())
    wide = any(p.ndim > 1 for p in module.parameters())
    alone = leaf and wide and not isinstance(module, nn.modules.conv._ConvNd)
    return _Unit(module, path, strides, pools and not strides, alone)


def _stride(module: nn.Module) -> int:
    stride = getattr(module, "stride", 1)
    steps = stride if isinstance(stride, tuple) else (stride,)
    return max((step for step in steps if isinstance(step, int)), default=1)


def _is_sequence(module: nn.Module) -> bool:
    """Whether it only strings its parts together; in a network cut by torch.fx such modules have lost their class."""
    if type(module) in (nn.Sequential, nn.ModuleList) or isinstance(module, fx.GraphModule):
        return True
    return type(module) is nn.Module and all(name.isdigit() for name, _ in module.named_children())


def _norms_down(groups: Groups) -> Groups:
    """Normalisation that stands alone joins the group before it: what it normalises."""
    joined: Groups = []
    for group in groups:
        narrow = all(p.ndim <= 1 for module in group for p in module.parameters())
        if joined and narrow:
            joined[-1] += group
        else:
            joined.append(list(group))
    return joined


def _head(model: nn.Module) -> nn.Module | None:
    try:
        return model.get_submodule(find_head(model))
    except ValueError:
        return None
