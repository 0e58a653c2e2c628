"""JupyterLab for `make desk`: nbgrader's formgrader at the root of the course."""

from pathlib import Path

c = get_config()

c.ServerApp.root_dir = str(Path(__file__).resolve().parent.parent)
c.ServerApp.ip = "127.0.0.1"
c.LabApp.default_url = "/formgrader"
