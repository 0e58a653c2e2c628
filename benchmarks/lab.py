"""Training many small networks at once in the lab, beside training them one by one.

Goal: at least 6 times as fast for 256 perceptrons 32-64-64-10, 2 times for 64 small convolutional nets on 8x8
pictures, and 1.2 times on 32x32 ones, by the backend that the lab chooses. The peer is the loop a user would write,
with torch's own optimizer and all cores. Run alone: ``python benchmarks/lab.py``.
"""

from __future__ import annotations

import json
import os
import platform
import time
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore.training import Lab
from tlcore.worlds import Dataset

STEPS, LONG, BATCH, REPEATS = 50, 400, 64, 3


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn(side: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10),
    )  # fmt: skip


class MakeCnn:
    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self) -> nn.Module:
        return cnn(self.side)


CASES: dict[str, tuple[Any, int, tuple[int, ...]]] = {
    "mlp": (mlp, 256, (32,)),
    "cnn8": (MakeCnn(8), 64, (3, 8, 8)),
    "cnn32": (MakeCnn(32), 64, (3, 32, 32)),
}


def one_by_one(make: Any, count: int, data: Dataset, device: torch.device, steps: int) -> list[dict[str, torch.Tensor]]:
    """The loop a user would write, loss and accuracy at the end; batches are drawn as the lab draws them."""
    inputs, targets, states = data.inputs.to(device), data.targets.to(device), []  # type: ignore[union-attr]
    for seed in range(count):
        torch.manual_seed(seed)
        net = make().to(device)
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        draws = torch.Generator().manual_seed(seed)
        epochs = [torch.randperm(len(data), generator=draws) for _ in range(-(-steps * BATCH // len(data)))]
        for rows in torch.cat(epochs)[: steps * BATCH].view(steps, BATCH).to(device):
            optimizer.zero_grad()
            cross_entropy(net(inputs[rows]), targets[rows]).backward()
            optimizer.step()
        with torch.no_grad():  # the lab's table has these figures too
            out = net(inputs)
            float(cross_entropy(out, targets)), float((out.argmax(1) == targets).double().mean())
        states.append({name: tensor.detach() for name, tensor in net.named_parameters()})
    if device.type == "cuda":
        torch.cuda.synchronize()
    return states


def prepared(name: str) -> tuple[Any, Dataset, list[dict[str, Any]]]:
    """How to build the network, random data, and the experiments."""
    make, count, shape = CASES[name]
    draws = torch.Generator().manual_seed(0)
    data = Dataset(torch.randn(1024, *shape, generator=draws), torch.randint(10, (1024,), generator=draws))
    return make, data, [{"seed": n, "lr": 0.1} for n in range(count)]


def timed(name: str, steps: int, repeats: int, device: torch.device) -> tuple[float, float, str]:
    """Seconds of the loop and of the lab, in turn, the best of each (whatever else runs can only add); the backend."""
    make, data, plans = prepared(name)
    one_by_one(make, 2, data, device, steps)  # both sides once before they are timed
    Lab(make, device=device, backend="vmap").run(plans[:2], data, steps=2, batch_size=BATCH)
    loops, labs = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        one_by_one(make, len(plans), data, device, steps)
        loops.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = Lab(make, device=device).run(plans, data, steps=steps, batch_size=BATCH)
        labs.append(time.perf_counter() - start)
    return min(loops), min(labs), found.backend


def largest_difference(name: str, device: torch.device) -> float:
    """Between the weights of every backend and of the loop, after 20 steps."""
    make, data, plans = prepared(name)
    wanted, apart = one_by_one(make, 8, data, device, 20), 0.0
    for backend in ("loop", "vmap", "processes") if device.type == "cpu" else ("loop", "vmap"):
        states = Lab(make, device=device, backend=backend).run(plans[:8], data, steps=20, batch_size=BATCH).states  # type: ignore[arg-type]
        pairs = [(a[k], b[k]) for a, b in zip(states, wanted) for k in b]
        apart = max(apart, *(float((mine - theirs).abs().max()) for mine, theirs in pairs))
    return apart


def main() -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print("# Many small networks at once\n")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}, on {device.type}.")
    print(
        f"{STEPS} steps, batches of {BATCH}. Seconds, best of {REPEATS} in turn, the choice of the backend included.\n"
    )
    print("| networks | one by one | lab | backend chosen | ratio | largest difference after 20 steps |")
    print("|---|---|---|---|---|---|")
    figures: dict[str, Any] = {"max_abs_diff": 0.0}
    for name in CASES:
        loop, seconds, backend = timed(name, STEPS, REPEATS, device)
        apart = largest_difference(name, device)
        figures[f"{name}_ratio"] = round(loop / seconds, 2)
        figures[f"{name}_backend"] = backend
        figures["max_abs_diff"] = max(figures["max_abs_diff"], apart)
        cells = [f"{CASES[name][1]} {name}", f"{loop:.1f}", f"{seconds:.1f}", backend, f"{loop / seconds:.1f}"]
        print("| " + " | ".join([*cells, f"{apart:.1e}"]) + " |", flush=True)
    for name in ("mlp", "cnn8"):  # what the choice, the start of processes and the building cost weighs less here
        loop, seconds, backend = timed(name, LONG, 1, device)
        figures[f"{name}_ratio_{LONG}_steps"] = round(loop / seconds, 2)
        cells = [f"{CASES[name][1]} {name}, {LONG} steps", f"{loop:.1f}", f"{seconds:.1f}", backend]
        print("| " + " | ".join([*cells, f"{loop / seconds:.1f}", "–"]) + " |", flush=True)
    print()
    print(json.dumps(figures | {"device": device.type, "origin": "random numbers"}))


if __name__ == "__main__":
    main()
