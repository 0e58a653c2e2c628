"""The zoo's networks beside torchvision's and timm's of the same variant: one training step, forward and backward.

Claim: plain, readable code costs nothing: a step of ours takes 0.95 to 1.05 of theirs, or less. Both hold the same
weights and take their steps in turn, in one process, on the same images; compared are the medians of the steps, and
each round changes who goes first. Also measured: building every network on the meta device.
Run alone: ``python benchmarks/zoo.py [--rounds 15]``.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import timm
import torch
import torchvision
from torch import nn

from tlcore import zoo

# torchvision's inception v3 cannot be made without its auxiliary head, which `pair` takes off again.
_GOOGLENET = {"aux_logits": False, "init_weights": False}
_INCEPTION = {"aux_logits": True, "init_weights": False}
# Family: our name, where theirs is from, their name and options, images in a batch, their side.
PAIRS: dict[str, tuple[str, str, str, dict[str, Any], int, int]] = {
    "AlexNet": ("alexnet_torchvision", "torchvision", "alexnet", {}, 16, 224),
    "VGG": ("vgg_a", "torchvision", "vgg11", {}, 2, 128),
    "GoogLeNet": ("googlenet_torchvision", "torchvision", "googlenet", _GOOGLENET, 4, 160),
    "Inception v3": ("inception_v3", "torchvision", "inception_v3", _INCEPTION, 4, 160),
    "Inception v4": ("inception_v4", "timm", "inception_v4", {}, 2, 160),
    "Inception-ResNet v2": ("inception_resnet_v2", "timm", "inception_resnet_v2", {}, 2, 160),
    "ResNet": ("resnet18", "torchvision", "resnet18", {}, 8, 128),
    "ResNet bottleneck": ("resnet50", "torchvision", "resnet50", {}, 4, 128),
    "Wide ResNet": ("wide_resnet50_2", "torchvision", "wide_resnet50_2", {}, 2, 128),
    "ResNeXt": ("resnext50_32x4d", "torchvision", "resnext50_32x4d", {}, 4, 128),
    "SE-ResNet": ("se_resnet50", "timm", "legacy_seresnet50", {}, 4, 128),
    "DenseNet": ("densenet121", "torchvision", "densenet121", {}, 4, 128),
    "MobileNet v1": ("mobilenet_v1", "timm", "mobilenetv1_100", {}, 8, 160),
    "EfficientNet": ("efficientnet_b0", "torchvision", "efficientnet_b0", {}, 4, 160),
}


def step(net: nn.Module, images: torch.Tensor) -> float:
    """Seconds of one forward and backward pass."""
    start = time.perf_counter()
    out = net(images)
    (out[0] if isinstance(out, tuple) else out).square().mean().backward()
    if images.is_cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    net.zero_grad(set_to_none=True)
    return seconds


def pair(family: str) -> tuple[nn.Module, nn.Module]:
    """Ours and theirs with the same weights, in training mode; heads that only one of them has are left out."""
    ours_name, source, name, options, *_ = PAIRS[family]
    make: Callable[..., nn.Module] = torchvision.models.get_model if source == "torchvision" else timm.create_model
    theirs = make(name, **options, **({"weights": None} if source == "torchvision" else {"pretrained": False}))
    if name == "inception_v3":
        theirs.AuxLogits, theirs.aux_logits = None, False
    ours = zoo.get_model(ours_name)
    zoo.load(ours, zoo.translate(theirs.state_dict(), ours), source)
    return ours.train(), theirs.train()


def compare(family: str, rounds: int, device: torch.device) -> tuple[float, float]:
    """Median seconds of our step and of theirs."""
    *_, batch, side = PAIRS[family]
    nets = [net.to(device) for net in pair(family)]
    images = torch.rand(batch, 3, side, side, device=device)
    times: list[list[float]] = [[], []]
    for n in range(rounds + 2):
        for which in (0, 1) if n % 2 else (1, 0):
            seconds = step(nets[which], images)
            if n >= 2:  # the first two warm up
                times[which].append(seconds)
    return statistics.median(times[0]), statistics.median(times[1])


def all_on_meta() -> float:
    """Seconds to build every network of the zoo without memory for its parameters."""
    start = time.perf_counter()
    for name in zoo.list_models():
        with torch.device("meta"):
            zoo.get_model(name)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)
    seconds = all_on_meta()
    print("# The zoo beside torchvision and timm\n")
    processor = platform.processor() or platform.machine()
    card = torch.cuda.get_device_name() if device.type == "cuda" else processor
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, timm {timm.__version__}"
    print(f"{card}, {os.cpu_count()} cores, {versions}.")
    print(f"Median seconds of {rounds} training steps, taken in turn.\n")
    print("| family | network | beside | images | ours | theirs | ratio |")
    print("|---|---|---|---|---|---|---|")
    ratios = {}
    for family, (name, source, theirs, _, batch, side) in PAIRS.items():
        mine, other = compare(family, rounds, device)
        ratios[family] = round(mine / other, 3)
        sizes = f"{batch}x3x{side}x{side}"
        print(
            f"| {family} | `{name}` | {source} `{theirs}` | {sizes} | {mine:.3f} | {other:.3f} | {mine / other:.2f} |",
            flush=True,
        )
        gc.collect()
    print(f"\nBuilding all {len(zoo.list_models())} networks on the meta device: {seconds:.1f} s.\n")
    figures = {"ratios": ratios, "meta_seconds": round(seconds, 2), "device": str(device), "origin": "random images"}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
