"""Drives stock nbgrader on this course: run its commands from this folder, after `make lessons`."""

import os
from pathlib import Path

from tlcore.grading.feedback import without_scripts
from tlcore.grading.sandbox import KERNELS

ROOT = Path(__file__).resolve().parent.parent

c = get_config()

c.CourseDirectory.course_id = "transfer-learning"
c.CourseDirectory.root = str(ROOT)
c.CourseDirectory.source_directory = "course/source"
c.CourseDirectory.release_directory = "lessons"
c.CourseDirectory.submitted_directory = "course/submitted"
c.CourseDirectory.autograded_directory = "course/autograded"
c.CourseDirectory.feedback_directory = "course/feedback"
c.CourseDirectory.db_url = f"sqlite:///{ROOT}/course/gradebook.db"

c.ClearSolutions.code_stub = {"python": 'raise NotImplementedError("your code here")'}
c.OverwriteCells.add_missing_cells = True

# Students write markdown, and formgrader shows it in a page that may do what you may do.
c.HTMLExporter.filters = {"markdown2html": without_scripts}

# A cell of ours takes at most 20 s; a student's may take three times as long.
c.Execute.timeout = 60
# The sandboxed kernel, for nbgrader's own commands too: --Execute.kernel_name=tlcore-sandbox
os.environ["JUPYTER_PATH"] = os.pathsep.join([str(KERNELS), *filter(None, [os.environ.get("JUPYTER_PATH")])])
c.Execute.extra_arguments = ["--HistoryManager.hist_file=:memory:", "--IPKernelApp.log_level=40"]
