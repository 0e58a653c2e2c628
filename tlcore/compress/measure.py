"""What a network takes: numbers, bytes in a file, multiply-adds, time; and how far its outputs are from another's."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any, NamedTuple

import torch
from torch import nn

from tlcore.anatomy import profile
from tlcore.anatomy.layers import tensors_in

Run = Callable[[torch.Tensor], Any]


class Difference(NamedTuple):
    """How far outputs are from those of the original, on the same inputs."""

    largest: float  # absolute, over all outputs
    relative: float  # ||after - before|| / ||before||
    same_class: float | None  # share of rows with the same largest logit; None for outputs that are no (N, K)


def difference(before: Run, after: Run, inputs: torch.Tensor) -> Difference:
    """Outputs of two networks on the same inputs, in evaluation mode.

    >>> net = nn.Linear(4, 3)
    >>> difference(net, net, torch.rand(8, 4))              # (N, 4) -> (N, 3)
    Difference(largest=0.0, relative=0.0, same_class=1.0)

    Raises
    ------
    ValueError
        If the outputs differ in number or shape, or are no finite numbers.
    """
    with evaluated(before, after), torch.no_grad():
        one, other = list(tensors_in(before(inputs))), list(tensors_in(after(inputs)))
    shapes = [tuple(t.shape) for t in one], [tuple(t.shape) for t in other]
    if shapes[0] != shapes[1]:
        raise ValueError(f"difference: outputs of shapes {shapes[0]} and {shapes[1]}; the same are needed")
    old, new = (torch.cat([t.detach().cpu().double().flatten() for t in side]) for side in (one, other))
    if not bool(new.isfinite().all()):
        count = int((~new.isfinite()).sum())
        raise ValueError(
            f"difference: {count} of {len(new)} outputs are NaN or infinite: if from float16, try bfloat16"
        )
    same = None
    if len(one) == 1 and one[0].ndim == 2:
        same = float((one[0].cpu().argmax(1) == other[0].cpu().argmax(1)).double().mean())
    gap = new - old
    return Difference(float(gap.abs().max()), float(gap.norm() / old.norm().clamp_min(1e-30)), same)


def stored(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors that a file has to hold; 8-bit ones as bytes with their scales, shared ones once.

    >>> from tlcore.compress.int8 import int8
    >>> [(name, tuple(t.shape), t.dtype) for name, t in stored(int8(nn.Linear(4, 3))).items()][:2]
    [('weight', (3, 4), torch.int8), ('weight.scale', (), torch.float64)]
    """
    found: dict[str, torch.Tensor] = {}
    for path, module in model.named_modules():
        for name, tensor in _eight_bit(module).items():
            full = f"{path}.{name}".lstrip(".")
            found |= _bytes_and_scales(full, tensor) if tensor.is_quantized else {full: tensor}
    known = {id(tensor) for tensor in found.values()}
    for name, tensor in model.state_dict().items():
        if isinstance(tensor, torch.Tensor) and not tensor.is_quantized and name not in found:
            key = tensor.data_ptr() if tensor.numel() else id(tensor)
            if key not in known:
                known.add(key)
                found[name] = tensor
    return found


def saved_bytes(model: nn.Module) -> int:
    """The size of the network's safetensors file.

    >>> saved_bytes(nn.Linear(100, 100)) - 4 * 10_100 < 200  # beside the numbers: names and shapes
    True
    """
    from safetensors.torch import save

    return len(save({name: tensor.detach().cpu().contiguous() for name, tensor in stored(model).items()}))


def parameters(model: nn.Module) -> int:
    """All parameters, those of 8-bit layers too, which torch does not hold as such.

    >>> from tlcore.compress.int8 import int8
    >>> parameters(nn.Linear(4, 3)), parameters(int8(nn.Linear(4, 3)))
    (15, 15)
    """
    eight = [tensor for module in model.modules() for tensor in _eight_bit(module).values()]
    return sum(tensor.numel() for tensor in (*model.parameters(), *eight))


def macs(model: nn.Module, inputs: torch.Tensor) -> int:
    """Multiply-adds for one input, by `anatomy.profile`; 8-bit layers are counted from the shapes they make.

    >>> from tlcore.compress.int8 import int8
    >>> x = torch.rand(1, 4)
    >>> macs(nn.Linear(4, 3), x), macs(int8(nn.Linear(4, 3)), x)
    (12, 12)

    Raises
    ------
    ValueError
        If the network cannot run on the inputs.
    """
    packed = [module for module in model.modules() if _eight_bit(module)]
    if not packed:
        return profile(model, inputs[:1]).macs
    from torch.utils.flop_counter import FlopCounterMode  # it may look for a compiler: not for who never counts

    total = 0

    def count(module: Any, args: Any, out: Any) -> None:
        nonlocal total
        if isinstance(out, torch.Tensor):
            total += out.numel() * math.prod(module.weight().shape[1:])
        else:  # recurrent: each step multiplies by all matrices
            steps = math.prod(args[0].shape[:2])
            total += steps * sum(w.numel() for w in module.get_weight().values())

    hooks = [module.register_forward_hook(count) for module in packed]
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(inputs[:1])
    finally:
        for hook in hooks:
            hook.remove()
    return total + int(counter.get_total_flops()) // 2


def latencies(
    calls: Sequence[Callable[[], Any]], *, runs: int = 30, warm_up: int = 3, device: torch.device | str = "cpu"
) -> list[list[float]]:
    """Seconds of each call, `runs` times, in alternating order, so that a busy moment hits all alike.

    >>> [[len(one) for one in latencies([lambda: sum(range(10)), lambda: None], runs=4)]]
    [[4, 4]]

    Parameters
    ----------
    calls
        What is timed.
    warm_up
        Rounds before, not counted: first calls allocate memory and choose kernels.
    device
        Where they compute; a GPU is waited for.
    """
    if runs < 1 or warm_up < 0 or not calls:
        raise ValueError(
            f"latencies(runs={runs}, warm_up={warm_up}): at least one call, one run and no fewer than 0 before"
        )
    on_gpu = torch.device(device).type == "cuda"
    times: list[list[float]] = [[] for _ in calls]
    with torch.no_grad():
        for number in range(-warm_up, runs):
            order = range(len(calls)) if number % 2 else reversed(range(len(calls)))
            for index in order:
                if on_gpu:
                    torch.cuda.synchronize(device)
                start = time.perf_counter()
                calls[index]()
                if on_gpu:
                    torch.cuda.synchronize(device)
                if number >= 0:
                    times[index].append(time.perf_counter() - start)
    return times


class Ratio(NamedTuple):
    """A median of ratios, and the interval that holds the true one 95 times of 100."""

    median: float
    low: float
    high: float


def paired_ratio(before: Sequence[float], after: Sequence[float]) -> Ratio:
    """How many times as long `after` takes, from runs that stood next to each other.

    >>> paired_ratio([1.0, 2.0, 3.0, 4.0], [2.0, 4.0, 6.0, 8.0])
    Ratio(median=2.0, low=2.0, high=2.0)

    The interval is that of the sign test: between order statistics, whatever the distribution (Conover 1999,
    section 3.2). Below six runs it is that from the least to the largest, and holds less often.
    """
    ratios = sorted(new / old for old, new in zip(before, after, strict=True))
    n = len(ratios)
    cut = 0  # the most runs on one side that chance leaves there 2.5 times of 100
    while 2 * cut + 2 < n and sum(math.comb(n, i) for i in range(cut + 1)) / 2**n <= 0.025:
        cut += 1
    cut = max(0, cut - 1)
    return Ratio(median(ratios), ratios[cut], ratios[n - 1 - cut])


@contextmanager
def evaluated(*models: Any) -> Iterator[None]:
    """Networks in evaluation mode; each module's own mode is put back."""
    modes = [(m, m.training) for model in models if isinstance(model, nn.Module) for m in model.modules()]
    for module, _ in modes:
        module.training = False
    try:
        yield
    finally:
        for module, was in modes:
            module.training = was


def _eight_bit(module: Any) -> dict[str, torch.Tensor]:
    """Weights and biases of one of torch's 8-bit layers, which keeps them packed; none for any other module."""
    if not type(module).__module__.startswith("torch.ao.nn"):
        return {}
    if hasattr(module, "get_weight"):
        return {**module.get_weight(), **module.get_bias()}
    if callable(getattr(module, "weight", None)):
        own = {"weight": module.weight(), "bias": module.bias()}
        return {name: tensor for name, tensor in own.items() if tensor is not None}
    return {}


def _bytes_and_scales(name: str, tensor: torch.Tensor) -> dict[str, torch.Tensor]:
    if tensor.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scale, zero = tensor.q_per_channel_scales(), tensor.q_per_channel_zero_points()
    else:
        scale, zero = torch.tensor(tensor.q_scale(), dtype=torch.float64), torch.tensor(tensor.q_zero_point())
    return {name: tensor.int_repr(), f"{name}.scale": scale, f"{name}.zero_point": zero}
