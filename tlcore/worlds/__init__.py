"""Where data comes from: real datasets by name, and generated worlds in which the truth is known.

>>> from tlcore import worlds
>>> data = worlds.Shapes(label="colour").sample(100)
>>> data.inputs.shape, len(data.classes)
(torch.Size([100, 3, 32, 32]), 8)
"""

from __future__ import annotations

from tlcore.worlds.dataset import Dataset
from tlcore.worlds.gaussian import Gaussian, TeacherStudent
from tlcore.worlds.language import Language
from tlcore.worlds.loader import Loader
from tlcore.worlds.prose import docstrings
from tlcore.worlds.real import load
from tlcore.worlds.shapes import Shapes

__all__ = ["Dataset", "Gaussian", "Language", "Loader", "Shapes", "TeacherStudent", "docstrings", "load"]
