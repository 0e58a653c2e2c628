"""Training speed of the AWD-LSTM beside a plain LSTM language model of the same size.

Claim: five kinds of dropout, a tied softmax in pieces and truncated back-propagation cost at most a tenth: at least 0.9
times the tokens a second of ``nn.Embedding``, ``nn.LSTM`` (all layers in one call), ``nn.Linear`` and
``cross_entropy``, with the same sizes, batches, optimizer and arithmetic. Fixed: 3 rounds, alternating, the median of 8
steps in each. Run alone: ``python benchmarks/awd_lstm.py``.
"""

from __future__ import annotations

import json
import os
import platform
import time
from statistics import median

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tlcore import runtime
from tlcore.text.awd_lstm import AWDLSTM, Dropouts
from tlcore.text.softmax import linear_cross_entropy

SIZES = {"shipped": (8000, 200, 512, 2), "ULMFiT's": (30_000, 400, 1150, 3)}
BATCH, BPTT, STEPS, ROUNDS = 32, 70, 8, 3


class Plain(nn.Module):
    """What one would write without the package: no dropout; the last layer has the embedding's width, as ours."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.lower = nn.LSTM(embedding, hidden, layers - 1)
        self.upper = nn.LSTM(hidden, embedding)
        self.softmax = nn.Linear(embedding, vocabulary)
        self.softmax.weight = self.embedding.weight

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h, _ = self.lower(self.embedding(x))
        h, _ = self.upper(h)
        return cross_entropy(self.softmax(h).flatten(0, 1).float(), y.flatten())


class Ours(AWDLSTM):
    """The package's network with its losses."""

    def loss(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        h = self.encode(x).out.flatten(0, 1)
        bf16 = torch.is_autocast_enabled(x.device.type)
        return linear_cross_entropy(h, self.embedding.weight, self.bias, y.flatten(), bf16=bf16)


def seconds(net: Plain | Ours, vocabulary: int, bf16: bool, device: torch.device) -> float:
    """Median of the steps."""
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
    times = []
    for _ in range(STEPS + 1):
        x, y = torch.randint(vocabulary, (2, BPTT, BATCH), device=device)
        start = time.perf_counter()
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss = net.loss(x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        float(loss.detach())  # waits for the device
        times.append(time.perf_counter() - start)
    return median(times[1:])


def main() -> None:
    device = runtime.device()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {device}, torch {torch.__version__}\n"
    )
    print("| sizes | arithmetic | AWD-LSTM, tokens/s | plain LSTM | ratio |\n| --- | --- | ---: | ---: | ---: |")
    figures = {}
    for name, sizes in SIZES.items():
        for bf16 in (False, True):
            torch.manual_seed(0)
            ours, plain = Ours(*sizes, dropouts=Dropouts()).to(device).train(), Plain(*sizes).to(device).train()
            rounds = [
                (seconds(ours, sizes[0], bf16, device), seconds(plain, sizes[0], bf16, device)) for _ in range(ROUNDS)
            ]
            one, other = (BATCH * BPTT / median(times) for times in zip(*rounds, strict=True))
            ratio, kind = median(b / a for a, b in rounds), "bfloat16" if bf16 else "float32"
            print(f"| {name}: {sizes} | {kind} | {one:,.0f} | {other:,.0f} | {ratio:.2f} |", flush=True)
            figures[f"{name} {kind}"] = round(ratio, 3)
    print(
        "\n"
        + json.dumps(
            {"ratio": figures, "least": min(figures.values()), "device": str(device), "origin": "random tokens"}
        )
    )


if __name__ == "__main__":
    main()
