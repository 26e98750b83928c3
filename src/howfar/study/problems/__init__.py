"""What a comparison is about: a made task, a running text, or labelled rows."""

from howfar.study.problems.base import Probe, Problem
from howfar.study.problems.labels import LabelProblem
from howfar.study.problems.made import TaskProblem
from howfar.study.problems.text import TextProblem

__all__ = ["LabelProblem", "Probe", "Problem", "TaskProblem", "TextProblem"]
