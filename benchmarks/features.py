"""Photos through an ImageNet backbone: Google's MobileNet in our network, and any classifier on its neck.

Claims: (1) MobileNet v1 0.25 in `zoo` reaches on 1,000 ImageNet photos what is stated for these weights: 58.0 / 81.0
percent top-1 / top-5, within half a point (resizing differs between libraries by a few photos).
(2) On the photos of PACS (seven classes, 96x96 pixels; ImageNet has dogs, elephants, guitars and houses too, so this
is near transfer) any head on the neck beats heads on raw pixels by far, with 1, 5 and 20 images a class, in seconds.
(3) Which layer: accuracy over depth.
Run alone: ``python benchmarks/features.py``; needs `$TLCORE_DATA`, or shared/data beside the repository.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import sklearn
import torch

from tlcore import transfer, weights, worlds, zoo
from tlcore.transfer.classifiers import judged

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
STATED = {"top1": 58.0, "top5": 81.0}
GOOGLES = {"mean": 0.5, "std": 0.5}  # x / 127.5 - 1
DRAWS = 5


def backbone() -> zoo.Net:
    """Google's MobileNet v1 of width 0.25 in our network."""
    net = zoo.get_model("mobilenet_v1", width_multiplier=0.25, same_padding=True)
    file = DATA / "weights" / "mobilenet_v1_0.25_224.safetensors"
    zoo.load(net, zoo.translate(weights.read(file), net), "of Google")
    return net


def on_imagenet(net: zoo.Net) -> tuple[float, float, float, str]:
    """Top-1 and top-5 in percent, photos a second, and where the photos are from."""
    photos = worlds.load("imagenet-sample", split="test", root=DATA)
    start = time.perf_counter()
    logits = torch.tensor(transfer.FeatureExtractor(net, "classifier", batch_size=64, **GOOGLES).transform(photos))
    speed = len(photos) / (time.perf_counter() - start)
    right = logits.topk(5).indices == photos.targets[:, None]
    return 100 * right[:, 0].float().mean().item(), 100 * right.any(1).float().mean().item(), speed, photos.origin


def few(targets: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows of so many images of each class."""
    draws = np.random.default_rng(seed)
    return np.concatenate(
        [draws.choice(np.flatnonzero(targets == k), count, replace=False) for k in np.unique(targets)]
    )


def main() -> None:
    if not DATA.is_dir():
        print(json.dumps({"origin": f"absent: {DATA}"}))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    machine = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    print("# Photos through an ImageNet backbone\n")
    print(f"{machine}, {os.cpu_count()} cores, torch {torch.__version__}, scikit-learn {sklearn.__version__}.\n")
    net = backbone()
    top1, top5, speed, origin = on_imagenet(net)
    print(f"MobileNet v1 0.25 (470,072 parameters), {origin}: top-1 {top1:.1f}%, top-5 {top5:.1f}%;")
    print(f"stated for these weights {STATED['top1']}% and {STATED['top5']}%. {speed:.0f} photos a second.\n")

    train, test = (worlds.load("pacs-photo", split=split, root=DATA) for split in ("train", "test"))
    start = time.perf_counter()
    reader = transfer.FeatureExtractor(net, "neck", size=224, batch_size=64, **GOOGLES)
    neck = reader.transform(train), reader.transform(test)
    taking = (time.perf_counter() - start) / (len(train) + len(test))
    raw = transfer.FeatureExtractor(torch.nn.Identity(), "input", pool="flatten")
    pixels = raw.transform(train), raw.transform(test)
    y, y_test = train.targets.numpy(), test.targets.numpy()
    chance = 100 * np.bincount(y_test).max() / len(y_test)
    print(f"{train.origin}, {', '.join(train.classes)}; {len(test)} test images, always the same class: {chance:.0f}%.")
    print(f"Mean of {DRAWS} draws; seconds of training and testing the head. Features of 100 images at 224x224 take")
    print(f"{100 * taking:.1f} s.\n")
    print("| head on | " + " | ".join(f"{n} a class | seconds" for n in (1, 5, 20)) + " |\n" + "|---" * 7 + "|")
    figures: dict[str, object] = {}
    for name, inputs, (known, new) in (
        ("svm", "neck", neck), ("softmax", "neck", neck), ("forest", "neck", neck),
        ("svm", "pixels", pixels), ("forest", "pixels", pixels),
    ):  # fmt: skip
        cells = []
        for count in (1, 5, 20):
            rows = [few(y, count, seed) for seed in range(DRAWS)]
            made = [judged(name, inputs, known[r], new, y[r], y_test, seed) for seed, r in enumerate(rows)]
            accuracy = 100 * statistics.mean(one.accuracy for one in made)
            seconds = statistics.median(one.seconds for one in made)
            cells += [f"{accuracy:.1f}", f"{seconds:.2f}"]
            figures[f"{name}_{inputs}_{count}"] = round(accuracy, 1)
        print(f"| {name}, {inputs} | " + " | ".join(cells) + " |", flush=True)
    curve = transfer.layer_curve(
        net, train[few(y, 20, 0)], test[few(y_test, 20, 0)], size=224, batch_size=64, **GOOGLES
    )  # fmt: skip
    print("\nWhich layer: softmax on means over each layer's map, 20 images a class to train on and 20 to test.\n")
    print("| layer | features | accuracy |\n|---|---|---|")
    for row in curve.rows:
        print(f"| {row.layer} | {row.features} | {100 * row.accuracy:.1f} |")
    figures |= {"best_layer": curve.best().layer, "photos_per_second": round(speed), "device": device}
    both = {"top1": round(top1, 1), "top5": round(top5, 1), "stated": STATED}
    print("\n" + json.dumps(both | figures | {"origin": f"{origin}; {train.origin}"}))


if __name__ == "__main__":
    main()
