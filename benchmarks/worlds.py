"""How fast the shapes world draws pictures, with every factor, mask and box beside them.

Claim: at least 20,000 pictures (3x32x32) a second on two cores. The peer draws one polygon on a ground with
Pillow, one picture at a time, without textures, light, noise or masks. Run alone: ``python benchmarks/worlds.py``.
"""

from __future__ import annotations

import json
import math
import os
import platform
import statistics
import time

import numpy as np
import torch
from PIL import Image, ImageDraw

from tlcore.worlds import Shapes


def pillow(count: int, rng: np.random.Generator) -> torch.Tensor:
    """Rotated squares by Pillow, drawn at four times the size and reduced."""
    made = []
    for _ in range(count):
        ground, ink = (tuple(int(c) for c in rng.integers(0, 256, 3)) for _ in range(2))
        image = Image.new("RGB", (128, 128), ground)
        x, y, radius, turn = rng.uniform(50, 78), rng.uniform(50, 78), rng.uniform(25, 50), rng.uniform(0, math.pi)
        corners = [
            (x + radius * math.cos(turn + n * math.pi / 2), y + radius * math.sin(turn + n * math.pi / 2))
            for n in range(4)
        ]
        ImageDraw.Draw(image).polygon(corners, fill=ink)
        made.append(np.asarray(image.reduce(4)))
    return torch.tensor(np.stack(made)).permute(0, 3, 1, 2) / 255


def main() -> None:
    world, device = Shapes(), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count, rng = 20_000 if device.type == "cpu" else 200_000, np.random.default_rng(0)
    world.sample(count, device=device)
    ours, theirs = [], []
    for n in range(5):
        start = time.perf_counter()
        world.sample(count, seed=n, device=device)
        if device.type == "cuda":
            torch.cuda.synchronize()
        ours.append(count / (time.perf_counter() - start))
        start = time.perf_counter()
        pillow(1000, rng)
        theirs.append(1000 / (time.perf_counter() - start))
    mine, other = statistics.median(ours), statistics.median(theirs)
    print("# Drawing the shapes world\n")
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}, on {device.type}.\n")
    print("| | pictures a second |\n|---|---|")
    print(f"| tlcore.worlds.Shapes, all factors, masks and boxes | {mine:,.0f} |")
    print(f"| Pillow, one plain polygon | {other:,.0f} |\n")
    figures = {"shapes_images_per_second": round(mine), "pillow_images_per_second": round(other), "device": device.type}
    print(json.dumps(figures | {"origin": "generated"}))


if __name__ == "__main__":
    main()
