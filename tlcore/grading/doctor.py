"""What this machine has for the course, and what to do about what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "optional", "missing"]


@dataclass(frozen=True)
class Finding:
    """One line of the examination; `advice` is empty where all is well."""

    what: str
    state: State
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Look at Python, torch, the GPU, the course extra, the sandbox, data and weights."""
    return [_python(), _torch(), _gpu(), _course_extra(), _sandbox(), _data(), _weights()]


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} on {platform.system()}, {os.cpu_count()} cores")


def _torch() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("torch", "missing", "not installed", "make env, or pip install tlcore")
    return Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")


def _gpu() -> Finding:
    try:
        from tlcore.runtime import device

        kind = device().type
    except ImportError:
        return Finding("GPU", "optional", "cannot tell without torch")
    if kind == "cpu":
        return Finding("GPU", "optional", "none", "not needed; all lessons are made for a CPU")
    import torch

    return Finding("GPU", "ok", torch.cuda.get_device_name() if kind == "cuda" else kind)


def _course_extra() -> Finding:
    versions, missing = [], []
    for name in ("nbgrader", "jupytext", "jupyterlab"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("course tools", "missing", f"no {', '.join(missing)}", "pip install 'tlcore[course]'")
    return Finding("course tools", "ok", ", ".join(versions))


def _sandbox() -> Finding:
    try:
        from tlcore.grading.sandbox import probe
    except ImportError:
        return Finding("sandbox", "optional", "needs the course tools", "only graders need it")
    if obstacle := probe():
        return Finding("sandbox", "optional", obstacle, "only graders need it: apt install bubblewrap")
    return Finding("sandbox", "ok", "a process started in it")


def _data() -> Finding:
    folder = os.environ.get("TLCORE_DATA")
    if not folder:
        return Finding("real data", "optional", "$TLCORE_DATA is not set", "lessons use generated worlds without it")
    state: State = "ok" if Path(folder).is_dir() else "missing"
    return Finding("real data", state, folder, "" if state == "ok" else "the folder does not exist")


def _weights() -> Finding:
    found = sorted((Path(__file__).parent.parent / "weights").glob("*.safetensors"))
    size = sum(p.stat().st_size for p in found) / 2**20
    if not found:
        return Finding("shipped weights", "optional", "none in this version")
    return Finding("shipped weights", "ok", f"{len(found)} files, {size:.1f} MB")
