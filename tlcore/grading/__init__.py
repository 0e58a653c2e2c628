"""Building, checking and grading lessons on top of nbgrader.

What a lesson's check cell imports comes from here and needs neither torch nor nbgrader:

>>> from tlcore.grading import Checks, remote
>>> checks = Checks("an exercise")
"""

from tlcore.grading.checks import Checks
from tlcore.grading.context import remote

__all__ = ["Checks", "remote"]
