"""Training a ResNet-20 on CIFAR-10 with `training.fit`, beside the recipe that a user would write.

Claim: at least twice the throughput on a CPU, at equal epochs and no lower accuracy. The peer is the plain recipe:
torchvision's transforms on PIL images, a DataLoader with the better number of workers, float32. Both start from the
same weights and use the same optimizer, rates and batches of 128; their epochs are run in turn. Needs CIFAR-10 in
``$TLCORE_DATA`` or ../shared/data. Run alone: ``python benchmarks/fit.py``.
"""

from __future__ import annotations

import copy
import json
import os
import platform
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader
from torchvision.transforms import v2 as transforms

from tlcore import training, worlds, zoo

EPOCHS, BATCH, RATE, DECAY = 5, 128, 0.1, 5e-4
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")


class Photos(torch.utils.data.Dataset):  # type: ignore[type-arg]
    """Photos as torchvision's own datasets give them: PIL images through transforms, one by one."""

    def __init__(self, data: worlds.Dataset, transform: object) -> None:
        self.images = data.inputs.permute(0, 2, 3, 1).numpy()  # type: ignore[union-attr]
        self.labels, self.transform = data.targets.tolist(), transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        from PIL import Image

        return self.transform(Image.fromarray(self.images[index])), self.labels[index]  # type: ignore[operator]


class Plain:
    """The recipe a user would write, an epoch at a time."""

    def __init__(self, net: nn.Module, data: worlds.Dataset, device: torch.device) -> None:
        self.net, self.device = net.to(device), device
        to_tensor = [
            transforms.ToImage(),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize(MEAN, STD),
        ]
        augment = [transforms.RandomCrop(32, padding=4), transforms.RandomHorizontalFlip()]
        self.photos = Photos(data, transforms.Compose([*augment, *to_tensor]))
        self.optimizer = torch.optim.SGD(net.parameters(), RATE, momentum=0.9, weight_decay=DECAY, nesterov=True)
        steps = EPOCHS * -(-len(data) // BATCH)
        self.rates = torch.optim.lr_scheduler.CosineAnnealingLR(self.optimizer, steps)
        self.workers = min((0, 2), key=self._seconds)
        self.seconds = 0.0

    def _batches(self, workers: int) -> DataLoader:  # type: ignore[type-arg]
        return DataLoader(self.photos, BATCH, shuffle=True, num_workers=workers, persistent_workers=False)

    def _seconds(self, workers: int) -> float:
        """Of forty steps of a copy, after the first."""
        net, start = copy.deepcopy(self.net).train(), 0.0
        optimizer = torch.optim.SGD(net.parameters(), RATE)
        for number, (x, y) in enumerate(self._batches(workers)):
            if number == 1:
                start = time.perf_counter()
            if number == 41:
                break
            optimizer.zero_grad()
            cross_entropy(net(x.to(self.device)), y.to(self.device)).backward()
            optimizer.step()
        return time.perf_counter() - start

    def epoch(self) -> None:
        """Once through the data."""
        start = time.perf_counter()
        self.net.train()
        for x, y in self._batches(self.workers):
            self.optimizer.zero_grad()
            cross_entropy(self.net(x.to(self.device)), y.to(self.device)).backward()
            self.optimizer.step()
            self.rates.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - start


def main() -> None:
    if not (DATA / "cifar10").is_dir():
        print(f"CIFAR-10 is not in {DATA / 'cifar10'}; set TLCORE_DATA. Nothing was measured.")
        sys.exit(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train, test = (worlds.load("cifar10", split=part, root=DATA) for part in ("train", "test"))  # type: ignore[arg-type]
    torch.manual_seed(0)
    net = zoo.get_model("resnet20", num_classes=10)
    peer = Plain(copy.deepcopy(net), train, device)
    print("# Training a ResNet-20 on CIFAR-10\n", flush=True)
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}, on {device.type}; {train.origin}.")
    print(
        f"{EPOCHS} epochs of {len(train):,} photos, in turn. The peer's better number of workers is {peer.workers}.\n"
    )
    away = 0.0

    def turn(_: training.Epoch) -> None:
        nonlocal away
        start = time.perf_counter()
        peer.epoch()
        away += time.perf_counter() - start

    batches = worlds.Loader(train.to(device), BATCH, augment=("crop", "flip"), mean=MEAN, std=STD)
    start = time.perf_counter()
    history = training.fit(
        net, batches, epochs=EPOCHS, lr=RATE, weight_decay=DECAY, device=device, progress=False, each_epoch=turn
    )
    seconds = time.perf_counter() - start - away  # with the choice of the arithmetic
    exam = worlds.Loader(test.to(device), 500, shuffle=False, mean=MEAN, std=STD)
    ours, theirs = (training.evaluate(one, exam, device=device)[1] for one in (net, peer.net))
    photos = EPOCHS * len(train)
    print("| | photos a second | test accuracy |\n|---|---|---|")
    print(f"| `training.fit`, {history.settings['arithmetic']} | {photos / seconds:,.0f} | {ours:.2%} |")
    print(f"| plain recipe, {peer.workers} workers | {photos / peer.seconds:,.0f} | {theirs:.2%} |\n")
    figures = {"throughput_ratio": round(peer.seconds / seconds, 2), "accuracy": round(ours or 0, 4)}
    figures |= {"accuracy_peer": round(theirs or 0, 4)}
    print(json.dumps(figures | {"epochs": EPOCHS, "device": device.type, "origin": train.origin}))


if __name__ == "__main__":
    main()
