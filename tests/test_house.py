"""The house itself: floors, weight of the import, one set of dependencies, nothing foreign in the tree."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
FLOORS = {
    **dict.fromkeys(("weights", "plots", "runtime"), 0),
    **dict.fromkeys(("anatomy", "worlds"), 1),
    "zoo": 2,
    **dict.fromkeys(("training", "shift"), 3),
    **dict.fromkeys(("transfer", "text", "multitask", "compress"), 4),
    "cli": 5,
    "__main__": 6,
}


def rooms_imported(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{a.name}" for a in node.names] if node.module == "tlcore" else [node.module]
        found |= {n.split(".")[1] for n in names if n.startswith("tlcore.")}
    return found


def test_a_room_imports_only_from_lower_floors():
    wrong = []
    for path in (ROOT / "tlcore").rglob("*.py"):
        room = path.relative_to(ROOT / "tlcore").parts[0].removesuffix(".py")
        for other in rooms_imported(path) - {room, "__version__"}:
            if room == "grading":
                fine = other == "runtime"
            elif other == "grading":
                fine = room == "cli"
            else:
                fine = room == "__init__" or FLOORS[other] < FLOORS[room]
            if not fine:
                wrong.append(f"{path.relative_to(ROOT)} imports tlcore.{other}")
    assert not wrong, wrong


def modules_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split())


def test_imports_stay_light():
    assert not modules_after("import tlcore") & {"torch", "numpy", "matplotlib", "nbgrader"}
    assert not modules_after("from tlcore.grading import Checks, remote") & {
        "torch",
        "numpy",
        "nbgrader",
        "jupytext",
    }
    assert not modules_after("import tlcore.cli") & {"torch", "nbgrader"}
    assert "torchvision" not in modules_after("from tlcore import anatomy; anatomy.receptive_field")


def test_conda_and_pip_ask_for_the_same():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {*project["dependencies"], *project["optional-dependencies"]["course"]}
    conda = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    conda = {d for part in conda for d in ([part] if isinstance(part, str) else part["pip"])} - {"--editable ."}
    asked = {d.replace("pytorch", "torch") for d in conda} - {"pip", f"python{project['requires-python']}"}
    assert asked == wanted


def test_constraints_hold_names_and_versions_only():
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert "==" in line and "://" not in line and "--" not in line, line
