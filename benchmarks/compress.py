"""Small enough for a phone: every method of `tlcore.compress` on one network, in one table.

Claim: the table says what each way of the lectures to fit a network into a phone costs in accuracy and brings in bytes,
multiply-adds and time, on the shipped ResNet-20 for CIFAR-10 and the 10,000 test images. Float16 is to lose at most 0.1
point; Optimal Brain Damage to beat pruning by magnitude and by lot at the same sparsity; a distilled student to beat
the same student trained alone; the network with channels physically removed to be 1.5 times faster for at most a point
of accuracy. Where that does not come out, the last lines say so.

Fixed beforehand: recovery training sees the same number of images for methods that are set side by side, crops and
flips, never the test images. Single weights are pruned by each criterion in one loop with one setting and three seeds;
`obd_damped` adds a constant to every H_kk, for the formula knows the curvature at the weight only, and where that is
near 0 it need not be so all the way to weight 0. `pruned` goes on from `units_obd`, `pruned_distilled` does so with the
ResNet-20 as teacher, `pruned_long` from a somewhat smaller network and for 20 epochs of nearly all images. A student
(ResNet-8) alone and distilled have equal images, epochs and rate; the teacher has seen all training images. Net2Net
widens and deepens the student alone and trains on; `larger_alone` is the same large network from scratch for as many
epochs as Net2Net trains on, `larger_long` for as many as the student and its extension together. Settings were chosen
on images of the training files (``--validation``) that nothing here trains on (the shipped network has seen them, so
its own accuracy there is too high) or, for low rank, Net2Net and the temperature of distillation, are what is usual and
were not searched for.

Bytes are those of a safetensors file; "zipped" is the same file deflated, where masked weights pay; that of the
baseline is small since its weights are float16 numbers. `latency_ratio` is the time for one image, as on a phone,
divided by that of the baseline, on one thread, the median over alternating runs; `latency_ratio_64` that for a batch of
64. In ONNX files (onnxruntime on all cores) normalisation is folded into the convolutions; there the baseline is the
ONNX file of the ResNet-20.

Needs CIFAR-10 in ``$TLCORE_DATA`` or ../shared/data. ``python benchmarks/compress.py [--trials FILE] [--only obd,svd]
[--validation] [--tiny]``: a file keeps the single runs, the networks lie in a folder beside it, and a run that was
stopped goes on from there; ``--only`` trains some methods and measures nothing, so that two processes can share the
work (each on one core: ``OMP_NUM_THREADS=1``); ``--tiny`` only shows that everything runs, its figures mean nothing.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from hashlib import sha1
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

import torch
from safetensors.torch import save
from torch import nn

from tlcore import compress, training, weights, worlds, zoo
from tlcore.compress.measure import stored
from tlcore.worlds.dataset import as_floats
from tlcore.zoo.cifar import CifarResNet
from tlcore.zoo.net import he_init

DATA = Path(os.environ.get("TLCORE_DATA") or Path(__file__).parents[2] / "shared" / "data")
WEIGHTS, AUGMENT = "cifar10", ("crop", "flip")
ARITHMETIC = training.Arithmetic(bf16=True, channels_last=True)
RUNS = 51  # timed, of each network

LOW_RANK = {"size": 0.5, "images": 20_000, "epochs": 2, "lr": 0.02}
CUT_WEIGHTS = {"of": "weights", "sparsity": 0.8, "rounds": 3, "images": 8_000, "epochs": 1, "lr": 0.02}
CUT_UNITS = {"of": "units", "sparsity": 0.625, "rounds": 3, "images": 15_000, "epochs": 1, "lr": 0.02, "scope": "layer"}
LONG = {"images": 40_000, "epochs": 4, "lr": 0.05}
LONGER = {"images": 45_000, "epochs": 20, "lr": 0.05}
STUDENT = {"depth": 8, "images": 15_000, "epochs": 8, "lr": 0.1}
SOFT = {"temperature": 4.0, "alpha": 0.9}
GROW = {"wider": 1.5, "deeper": ["layer3.0.conv1"], "noise": 0.01, "images": 15_000, "epochs": 3}
# method: who makes it, with which settings, how many seeds, and what it starts from if not from the shipped network
METHODS: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "svd": ("low_rank", {**LOW_RANK, "flatten": "spatial"}, 1, ""),
    "tensor_train": ("low_rank", LOW_RANK, 1, ""),
    "obd": ("cut", {**CUT_WEIGHTS, "criterion": "obd"}, 3, ""),
    "obd_damped": ("cut", {**CUT_WEIGHTS, "criterion": "obd", "damping": 0.05}, 3, ""),
    "magnitude": ("cut", {**CUT_WEIGHTS, "criterion": "magnitude"}, 3, ""),
    "random": ("cut", {**CUT_WEIGHTS, "criterion": "random"}, 3, ""),
    "units_obd": ("cut", {**CUT_UNITS, "criterion": "obd"}, 1, ""),
    "units_magnitude": ("cut", {**CUT_UNITS, "criterion": "magnitude"}, 1, ""),
    "units_random": ("cut", {**CUT_UNITS, "criterion": "random"}, 1, ""),
    "pruned": ("train", LONG, 1, "units_obd"),
    "pruned_distilled": ("train", {**LONG, **SOFT}, 1, "units_obd"),
    "units_more": ("cut", {**CUT_UNITS, "criterion": "obd", "sparsity": 0.66}, 1, ""),
    "pruned_long": ("train", {**LONGER, **SOFT}, 1, "units_more"),
    "activation_l1": ("sparse", {"weight": 0.03, "tolerance": 0.5, "images": 20_000, "epochs": 2, "lr": 0.05}, 1, ""),
    "student_alone": ("student", STUDENT, 3, ""),
    "distilled": ("student", {**STUDENT, **SOFT}, 3, ""),
    "net2net": ("grown", {**GROW, "lr": 0.05}, 3, "student_alone"),
    "larger_alone": ("grown_anew", {**GROW, "lr": 0.1}, 3, "student_alone"),
    "larger_long": ("grown_anew", {**GROW, "lr": 0.1, "epochs": 11}, 1, "student_alone"),
}
IN_ONNX = ("baseline", "svd", "tensor_train", "pruned", "distilled")
TIMES = {
    "latency_ratio": "for one image", "latency_ratio_64": "for 64", "latency_ratio_onnx": "for one in ONNX",
    "latency_ratio_onnx_64": "for 64 in ONNX",
}  # fmt: skip
IN_FLOAT16 = ("svd", "pruned", "distilled", "net2net")


class Trained(NamedTuple):
    """A network, whether it classifies each image rightly (N,), and seconds of processor time."""

    net: nn.Module
    hits: torch.Tensor
    seconds: float


class Trials:
    """Single runs by a key: a line each in a file, and the network in a folder beside it."""

    def __init__(self, path: str | None) -> None:
        self.path = Path(path or Path(tempfile.mkdtemp()) / "trials.jsonl")
        self.folder = self.path.with_suffix(".nets")
        self.folder.mkdir(parents=True, exist_ok=True)

    def kept(self, make: Callable[[], Trained], key: dict[str, Any]) -> Trained:
        """What `make` found for the key, now or before."""
        name = json.dumps(key, sort_keys=True)
        file = self.folder / f"{key['method']}-{key['seed']}-{sha1(name.encode()).hexdigest()[:8]}.pt"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        if file.exists() and any(json.dumps(json.loads(line)[0], sort_keys=True) == name for line in lines):
            return Trained(*torch.load(file, weights_only=False))  # our own file
        found = make()
        torch.save(tuple(found), file)
        figures = {"accuracy": float(found.hits.double().mean()), "cpu_seconds": round(found.seconds, 1)}
        with self.path.open("a") as out:
            out.write(json.dumps([key, figures]) + "\n")
        print(f"  {key['method']}, seed {key['seed']}: {figures}", file=sys.stderr, flush=True)
        return found


class Methods:
    """Everything that is trained here: a method takes its settings and a seed, and gives a network."""

    def __init__(self, trials: Trials, *, validation: bool, tiny: bool) -> None:
        whole, test = (worlds.load("cifar10", split=split, root=DATA) for split in ("train", "test"))
        self.rest, held_out = whole.split(0.9)
        self.judge = held_out if validation else test
        self.judge = self.judge.subset(per_class=20) if tiny else self.judge
        self.trials, self.validation, self.tiny = trials, validation, tiny
        self.baseline = zoo.get_model("resnet20", weights=WEIGHTS).eval()

    def settings(self, name: str) -> dict[str, Any]:
        """Those of a method, and of what it starts from."""
        _, own, _, first = METHODS[name]
        own = own | ({"images": 200, "epochs": 1} if self.tiny else {})
        return own | ({"from": self.settings(first)} if first else {})

    def kept(self, name: str, seed: int) -> Trained:
        """A method's network, trained now or before."""
        maker, _, _, first = METHODS[name]
        s = self.settings(name)

        def make() -> Trained:
            net = copy.deepcopy(self.kept(first, seed).net if first else self.baseline)
            start = time.process_time()
            torch.manual_seed(seed)
            net = getattr(self, maker)(net, s, seed)
            seconds = time.process_time() - start
            net = net.to(memory_format=torch.contiguous_format).eval()
            return Trained(net, hits(net, self.judge), seconds)

        judge = f"{len(self.judge)} of {self.judge.origin}"
        return self.trials.kept(make, {"method": name, "seed": seed, "judge": judge, "settings": s})

    def batches(self, s: dict[str, Any], seed: int) -> worlds.Loader:
        part = self.rest.subset(size=s["images"], seed=seed)
        return worlds.Loader(part, 128, augment=AUGMENT, seed=seed)

    def train(self, net: nn.Module, s: dict[str, Any], seed: int, **options: Any) -> nn.Module:
        """All training that is not a method's own: labels, or a teacher's soft targets."""
        how = {"epochs": s["epochs"], "lr": s["lr"], "schedule": "one_cycle", "arithmetic": ARITHMETIC}
        how |= {"seed": seed, "progress": False, **options}
        if "temperature" in s:
            soft = {"temperature": s["temperature"], "alpha": s["alpha"]}
            compress.distill(net, self.teacher, self.batches(s, seed), **soft, **how)
        else:
            training.fit(net, self.batches(s, seed), **how)
        return net

    def teacher(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.baseline(ARITHMETIC.images(x))

    def low_rank(self, net: nn.Module, s: dict[str, Any], seed: int) -> nn.Module:
        flat = s.get("flatten")
        small = compress.svd(net, size=s["size"], flatten=flat) if flat else compress.tensor_train(net, size=s["size"])
        return self.train(small, s, seed)

    def cut(self, net: nn.Module, s: dict[str, Any], seed: int) -> nn.Module:
        how = {
            name: s[name] for name in ("criterion", "of", "sparsity", "scope", "rounds", "epochs", "lr") if name in s
        }
        if "damping" in s:
            how["curvature"] = {"damping": s["damping"]}
        return compress.prune(
            net, self.batches(s, seed), **how, schedule="one_cycle", arithmetic=ARITHMETIC, seed=seed
        ).model

    def sparse(self, net: nn.Module, s: dict[str, Any], seed: int) -> nn.Module:
        """L1 on activations, the silent units out, recovery."""
        with compress.ActivationL1(net, weight=s["weight"]) as loss:
            self.train(net, s, seed, loss=loss)
        done = compress.prune_silent(net, self.batches(s, seed).data, tolerance=s["tolerance"], rows=2048)
        return self.train(done.model, s, seed)

    def student(self, net: nn.Module, s: dict[str, Any], seed: int) -> nn.Module:
        return self.train(CifarResNet(s["depth"]), s, seed)

    def extended(self, net: nn.Module, s: dict[str, Any], seed: int) -> nn.Module:
        data = self.batches(s, seed).data
        return compress.net2net(net, wider=s["wider"], deeper=s["deeper"], data=data, noise=s["noise"], seed=seed).model

    def grown(self, net: nn.Module, s: dict[str, Any], seed: int) -> nn.Module:
        return self.train(self.extended(net, s, seed), s, seed)

    def grown_anew(self, net: nn.Module, s: dict[str, Any], seed: int) -> nn.Module:
        """The same shapes with weights that know nothing."""
        fresh = self.extended(net, s, seed)
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        he_init(fresh)
        return self.train(fresh, s, seed)


@torch.no_grad()
def hits(net: nn.Module, data: worlds.Dataset) -> torch.Tensor:
    """Whether each image is classified rightly (N,), in evaluation mode and the network's own arithmetic."""
    net.eval()
    return torch.cat([net(x).argmax(1) == y for x, y in worlds.Loader(data, 250, shuffle=False)])


def onnx_files(nets: dict[str, nn.Module], x: torch.Tensor) -> dict[str, compress.Exported]:
    """Networks as ONNX files; none where the packages for it are missing."""
    folder = Path(tempfile.mkdtemp())
    try:
        return {name: compress.export(net, folder / f"{name}.onnx", x) for name, net in nets.items()}
    except ImportError as error:
        print(f"Not measured in ONNX: {error}\n")
        return {}


def zipped(net: nn.Module) -> int:
    """Bytes of the safetensors file, deflated: zeros of masked weights take next to none."""
    return len(zlib.compress(save({n: t.detach().contiguous() for n, t in stored(net).items()}), 9))


def points(before: torch.Tensor, after: list[torch.Tensor]) -> tuple[float, float]:
    """Points gained over the baseline, mean over seeds, and twice the standard error over images."""
    gaps = torch.stack([one.double() for one in after]).mean(0) - before.double()
    return 100 * float(gaps.mean()), 200 * float(gaps.std()) / len(gaps) ** 0.5


def accuracies(runs: list[Trained], before: torch.Tensor) -> dict[str, Any]:
    each = [float(run.hits.double().mean()) for run in runs]
    gained, error = points(before, [run.hits for run in runs])
    return {
        "accuracy": round(mean(each), 5), "accuracies": each, "points": round(gained, 3), "error": round(error, 3),
        "cpu_seconds": round(sum(run.seconds for run in runs), 1),
    }  # fmt: skip


def beats(found: dict[str, list[Trained]], one: str, other: str) -> str:
    """Which of two methods is better, and how sure: over seeds, and over images."""
    a, b = found[one], found[other]
    both = min(len(a), len(b))
    mine, theirs = (torch.stack([run.hits.double() for run in runs[:both]]) for runs in (a, b))
    by_seed = (100 * (mine - theirs).mean(1)).tolist()
    gained, error = points(theirs.mean(0), [mine.mean(0)])
    word = "beats" if gained > error else "is beaten by" if gained < -error else "cannot be told from"
    told = ", ".join(f"{gap:+.2f}" for gap in by_seed)
    return f"{one} {word} {other}: {gained:+.2f} ± {error:.2f} points; seed by seed {told}."


def verdicts(figures: dict[str, Any], found: dict[str, list[Trained]]) -> list[str]:
    """The claims, as they came out."""
    half = figures["float16"]
    others = ", ".join(f"{gap:+.2f} ({name})" for name, gap in half["points_of_others"].items())
    told = [
        f"float16 changes the shipped network, whose weights are float16 numbers already, by {half['points']:+.2f} "
        f"points, and networks trained here by {others} (at most 0.1 lost was the goal)."
    ]
    pairs = [("obd", "magnitude"), ("obd", "random"), ("obd_damped", "magnitude")]
    pairs += [("units_obd", "units_magnitude"), ("units_obd", "units_random")]
    pairs += [("distilled", "student_alone"), ("pruned_distilled", "pruned"), ("pruned_distilled", "distilled")]
    told += [beats(found, *pair) for pair in [*pairs, ("net2net", "larger_alone"), ("net2net", "larger_long")]]
    for name in ("pruned", "pruned_distilled", "pruned_long"):
        row = figures[name]
        speeds = [f"{1 / row[key]:.2f} times as fast {where}" for key, where in TIMES.items() if key in row]
        told.append(f"{name}: {row['points']:+.2f} ± {row['error']:.2f} points, {', '.join(speeds)}.")
    return [*told, "The goal for the pruned network was 1.5 times as fast for at most a point."]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", metavar="FILE")
    parser.add_argument("--only", metavar="METHODS")
    parser.add_argument("--validation", action="store_true")
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    try:
        methods = Methods(Trials(options.trials), validation=options.validation, tiny=options.tiny)
    except ValueError as error:
        sys.exit(f"benchmarks/compress.py: {error}")
    only = options.only.split(",") if options.only else list(METHODS)
    if unknown := [name for name in only if name not in METHODS]:
        sys.exit(f"benchmarks/compress.py: --only {', '.join(unknown)}: accepted are {', '.join(METHODS)}")
    found = {name: [methods.kept(name, seed) for seed in range(METHODS[name][2])] for name in only}
    if options.only:
        for name, runs in found.items():
            print(name, [round(float(run.hits.double().mean()), 4) for run in runs])
        return

    base, examples = methods.baseline, as_floats(methods.rest.subset(size=512).inputs)
    plain = {
        "baseline": base, "float16": compress.half(base), "bfloat16": compress.half(base, dtype="bfloat16"),
        "int8": compress.int8(base, data=examples),
    }  # fmt: skip
    found = {name: [Trained(net, hits(net, methods.judge), 0.0)] for name, net in plain.items()} | found
    nets = {name: runs[0].net for name, runs in found.items()}
    torch.set_num_threads(1)
    x, runs = as_floats(methods.judge.inputs[:64]), 5 if options.tiny else RUNS
    costs = compress.report(base, {name: net for name, net in nets.items() if net is not base}, x, runs=runs)
    figures: dict[str, Any] = {}
    for name, of_seeds in found.items():
        row = costs["before" if name == "baseline" else name]
        figures[name] = accuracies(of_seeds, found["baseline"][0].hits) | {
            "bytes": row.bytes, "bytes_zipped": zipped(nets[name]), "macs": row.macs,
            "parameters": row.parameters - sum(int((p == 0).sum()) for p in nets[name].parameters() if p.ndim > 1),
            "latency_ratio": round(row.ratios[0].median, 4), "latency_ratio_64": round(row.ratios[1].median, 4),
        }  # fmt: skip
    if files := onnx_files({name: nets[name] for name in IN_ONNX}, x):
        in_onnx = compress.report(files.pop("baseline"), files, x, runs=runs)
        for name in files:
            one, many = (round(ratio.median, 4) for ratio in in_onnx[name].ratios)
            figures[name] |= {"latency_ratio_onnx": one, "latency_ratio_onnx_64": many}
    figures["float16"]["points_of_others"] = {
        name: round(points(found[name][0].hits, [hits(compress.half(nets[name]), methods.judge)])[0], 3)
        for name in IN_FLOAT16
    }

    one, many = (1000 * seconds for seconds in costs["before"].seconds)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    print(
        f"{methods.judge.origin}, {len(methods.judge)} images; ResNet-20: {weights.card(f'resnet20-{WEIGHTS}')['data']}"
    )
    print(
        f"Milliseconds of the baseline on one thread: {one:.2f} for one image, {many:.1f} for 64. Accuracy in percent "
        "± deviation over seeds; points beside the baseline ± twice their standard error over images. Parameters that "
        "are not 0. Time as a share of the baseline's.\n"
    )
    print(
        "| method | accuracy | points | parameters | kB | zipped | M MACs | time, 1 | time, 64 | ONNX, 1 | ONNX, 64 |"
    )
    print("| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for name, f in figures.items():
        spread = f" ± {100 * stdev(f['accuracies']):.2f}" if len(f["accuracies"]) > 1 else ""
        change = "–" if name == "baseline" else f"{f['points']:+.2f} ± {f['error']:.2f}"
        times = [f.get(key) for key in TIMES]
        size = f"{f['bytes'] / 1000:.0f} | {f['bytes_zipped'] / 1000:.0f} | {(f['macs'] or 0) / 1e6:.1f}"
        print(
            f"| {name} | {100 * f['accuracy']:.2f}{spread} | {change} | {f['parameters']:,} | {size} | "
            f"{' | '.join('–' if t is None else f'{t:.2f}' for t in times)} |"
        )
    print("\n" + "\n".join(costs.sentences) + "\n\n" + "\n".join(verdicts(figures, found)))
    print(f"\nTraining took {sum(f['cpu_seconds'] for f in figures.values()):.0f} seconds of processor time.\n")
    judged = f"{methods.judge.origin}, {len(methods.judge)} images"
    chosen = f"{judged}; settings chosen on 5,000 of {methods.rest.origin}, or the usual ones"
    print(json.dumps(figures | {"origin": chosen}))


if __name__ == "__main__":
    main()
