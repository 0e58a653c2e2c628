"""Measuring networks before and after compression, all in turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from tlcore.compress.export import Exported
from tlcore.compress.measure import evaluated, latencies, macs, paired_ratio, parameters, saved_bytes
from tlcore.compress.reported import Report, Row
from tlcore.compress.verdict import accuracy_sentence, cost_sentence
from tlcore.worlds import Dataset, Loader
from tlcore.worlds.dataset import as_floats

Network = nn.Module | Exported
Data = Dataset | Iterable[tuple[Any, Any]] | torch.Tensor


def report(
    before: Network,
    after: Network | Mapping[str, Network],
    data: Data,
    *,
    recovered: Network | Mapping[str, Network] | None = None,
    batches: tuple[int, ...] = (1, 64),
    runs: int = 30,
    batch_size: int = 256,
) -> Report:
    """Parameters, bytes, multiply-adds, time and accuracy of a network before and after compression.

    Examples
    --------
    >>> from tlcore import worlds
    >>> from tlcore.compress import svd
    >>> data = worlds.Gaussian(features=64, distance=4).sample(64)
    >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))
    >>> found = report(net, svd(net, rank=1), data, runs=5)
    >>> [(row.name, row.parameters, row.macs) for row in found]
    [('before', 4290, 4224), ('after', 260, 194)]

    Parameters
    ----------
    before
        The original; ratios are to it.
    after
        One network, or several by name: what any function of this room returns, `Exported` files too.
    data
        A Dataset or re-iterable batches (x, y) to judge on; a tensor of inputs alone for everything but accuracy.
    recovered
        The same networks after recovery training, under the same names, if there was some: what is judged then is
        their accuracy, and the table shows both.
    batches
        Batch sizes at which time is taken: 1 as on a phone, many as on a server.
    runs
        Timed runs of each, after some to warm up; all networks take turns.
    batch_size
        At which accuracy is judged.

    Returns
    -------
    Report

    Raises
    ------
    TypeError, ValueError
        For something else than networks, names of `recovered` that `after` lacks, no inputs, or networks on different
        devices, whose times could not be compared.

    Notes
    -----
    Bytes are those of a safetensors file, or of the exported file. Time is the median over alternating runs; "slower"
    and "faster" are said where the interval of the paired ratios leaves out 1 (sign test, 95%) and its median is 5% or
    more away from it, "as fast" where the interval stays within 15% of 1; else the speed is unclear, and more `runs` or
    a quieter machine would tell. A change of accuracy is beside twice its standard error over the same images.
    """
    networks = {"before": before, **_named(after, "after")}
    later = {} if recovered is None else _named(recovered, "after")
    if unknown := [name for name in later if name not in networks]:
        raise ValueError(f"report(recovered=…): {', '.join(map(repr, unknown))} is not in after: {', '.join(networks)}")
    if runs < 1 or not batches or any(type(b) is not int or b < 1 for b in batches):
        raise ValueError(f"report(batches={batches!r}, runs={runs}): whole numbers from 1 on are accepted")
    device = _same_device(networks)
    inputs = _inputs(data, device)
    with evaluated(*networks.values(), *later.values()), torch.no_grad():
        times = [_timed(networks, _rows(inputs, batch), runs, device) for batch in batches]
        hits, hits_later = _hits([networks, later], data, batch_size, device)
        rows = [
            Row(
                name, None if isinstance(net, Exported) else parameters(net), _bytes(net), _macs(net, inputs),
                tuple(float(torch.tensor(at[name]).median()) for at in times),
                tuple(paired_ratio(at["before"], at[name]) for at in times),
                _mean(hits[name]), _mean(hits_later.get(name)),
            )
            for name, net in networks.items()
        ]  # fmt: skip
    sentences = []
    for row in rows[1:]:
        sentences.append(cost_sentence(rows[0], row, batches))
        if hits[row.name] is not None:
            sentences.append(accuracy_sentence(row.name, hits["before"], hits[row.name], hits_later.get(row.name)))
    return Report(rows, sentences, batches, data.origin if isinstance(data, Dataset) else "")


def _named(after: Any, name: str) -> dict[str, Network]:
    given = dict(after) if isinstance(after, Mapping) else {name: after}
    found: dict[str, Network] = {}
    for key, net in given.items():
        inner = net if isinstance(net, (nn.Module, Exported)) else getattr(net, "model", None)
        if not isinstance(inner, (nn.Module, Exported)):
            raise TypeError(f"report: {key!r} is {type(net).__name__}; a network or an exported file is accepted")
        found[key] = inner
    if not found or ("before" in found and name == "after"):
        raise ValueError("report(after=…): at least one network, and none by the name 'before', is accepted")
    return found


def _same_device(networks: Mapping[str, Network]) -> torch.device:
    if not isinstance(networks["before"], (nn.Module, Exported)):
        raise TypeError(f"report(before=…): a network is accepted, not {type(networks['before']).__name__}")
    places = {
        name: next((t.device for t in (*net.parameters(), *net.buffers())), torch.device("cpu"))
        for name, net in networks.items()
        if isinstance(net, nn.Module)
    }
    if len(set(places.values())) > 1:
        told = ", ".join(f"{name} on {place}" for name, place in places.items())
        raise ValueError(f"report: {told}; move all to one device, or their times cannot be compared")
    return next(iter(places.values()), torch.device("cpu"))


def _inputs(data: Data, device: torch.device) -> torch.Tensor:
    first = data if isinstance(data, torch.Tensor) else None
    if isinstance(data, Dataset):
        first = as_floats(data.inputs) if isinstance(data.inputs, torch.Tensor) else None
    elif first is None:
        first = next(iter(data), (None,))[0]  # type: ignore[call-overload]
    if not isinstance(first, torch.Tensor) or not len(first):
        raise ValueError(
            "report(data=…): a Dataset of tensors, batches (x, y) or a tensor with at least one input is accepted"
        )
    return first.to(device)


def _rows(inputs: torch.Tensor, batch: int) -> torch.Tensor:
    return inputs[torch.arange(batch, device=inputs.device) % len(inputs)]


def _timed(nets: Mapping[str, Network], x: torch.Tensor, runs: int, device: torch.device) -> dict[str, list[float]]:
    calls = [lambda net=net: net(x) for net in nets.values()]
    return dict(zip(nets, latencies(calls, runs=runs, device=device)))


def _hits(groups: list[Mapping[str, Network]], data: Data, size: int, device: torch.device) -> list[dict[str, Any]]:
    """Whether each image is classified rightly (N,), by group and name; None where there are no classes.

    One pass over the data for all networks: a loader that shuffles or augments draws anew each time.
    """
    if isinstance(data, torch.Tensor):
        return [dict.fromkeys(nets) for nets in groups]
    found: list[dict[str, Any]] = [{name: [] for name in nets} for nets in groups]
    for x, y in Loader(data, size, shuffle=False) if isinstance(data, Dataset) else data:
        for nets, hits in zip(groups, found, strict=True):
            for name, net in nets.items():
                if hits[name] is None:
                    continue
                out = _answers(net, x.to(device))
                if not isinstance(out, torch.Tensor) or out.ndim != 2 or y.ndim != 1 or y.is_floating_point():
                    hits[name] = None
                else:
                    hits[name].append(out.argmax(1).cpu() == y.cpu())
    return [{name: torch.cat(one) if one else None for name, one in hits.items()} for hits in found]


def _answers(net: Network, x: torch.Tensor) -> Any:
    """Outputs for x (N, ...); a file of one batch size gets parts of that size, the last one filled up."""
    if not isinstance(net, Exported) or net.batch is None:
        return net(x)
    made = [(net(_rows(part, net.batch)), len(part)) for part in x.split(net.batch)]
    if not all(isinstance(out, torch.Tensor) for out, _ in made):
        return None
    return torch.cat([out[:count] for out, count in made])


def _mean(hits: torch.Tensor | None) -> float | None:
    return None if hits is None else float(hits.double().mean())


def _bytes(net: Network) -> int:
    return net.bytes if isinstance(net, Exported) else saved_bytes(net)


def _macs(net: Network, inputs: torch.Tensor) -> int | None:
    if isinstance(net, Exported):
        return None
    try:
        return macs(net, inputs)
    except ValueError:  # the table says that they could not be counted
        return None
