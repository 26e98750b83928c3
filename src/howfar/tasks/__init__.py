"""Generated sequences whose answer, distance, chance level and shortcut ladder are known.

Rooms    base: what every task is; streams: random words by counter; naming: settings and files;
         all others: one task a file
"""

from typing import Any

from howfar.tasks.adding import Adding
from howfar.tasks.agreement import Agreement
from howfar.tasks.base import Task, distances, scored
from howfar.tasks.common_words import CommonWords
from howfar.tasks.compositional_recall import CompositionalRecall
from howfar.tasks.compression import Compression
from howfar.tasks.copy import Copy
from howfar.tasks.delay import Delay
from howfar.tasks.digits import Digits
from howfar.tasks.duplicate_string import DuplicateString
from howfar.tasks.dyck import Dyck
from howfar.tasks.forgetting_recall import ForgettingRecall
from howfar.tasks.frequent_words import FrequentWords
from howfar.tasks.fuzzy_recall import FuzzyRecall
from howfar.tasks.induction import Induction
from howfar.tasks.khop import KHop
from howfar.tasks.listops import ListOps
from howfar.tasks.memorisation import Memorisation
from howfar.tasks.mnist import Mnist
from howfar.tasks.modular_arithmetic import ModularArithmetic
from howfar.tasks.mqar import Mqar
from howfar.tasks.naming import parsed, read_task, task_of
from howfar.tasks.needle import Needle
from howfar.tasks.noisy_recall import NoisyRecall
from howfar.tasks.odds_first import OddsFirst
from howfar.tasks.parity import Parity
from howfar.tasks.planted import Planted
from howfar.tasks.recall import Recall
from howfar.tasks.repeat_previous import RepeatPrevious
from howfar.tasks.reverse_string import ReverseString
from howfar.tasks.selective_copy import SelectiveCopy
from howfar.tasks.t_maze import TMaze
from howfar.tasks.variable_tracking import VariableTracking
from howfar.tasks.who_speaks import WhoSpeaks

__all__ = ["TASKS", "Task", "distances", "from_file", "from_texts", "scored", "task", "tasks"]

TASKS: dict[str, type[Task]] = {
    kind.name: kind
    for kind in (
        Adding,
        Copy,
        SelectiveCopy,
        Induction,
        Mqar,
        NoisyRecall,
        FuzzyRecall,
        CompositionalRecall,
        ForgettingRecall,
        Parity,
        Needle,
        KHop,
        Recall,
        TMaze,
        RepeatPrevious,
        Delay,
        Compression,
        Memorisation,
        Dyck,
        ModularArithmetic,
        ReverseString,
        DuplicateString,
        OddsFirst,
        ListOps,
        VariableTracking,
        CommonWords,
        FrequentWords,
        Agreement,
        Digits,
        Mnist,
        Planted,
        WhoSpeaks,
    )
}


def tasks() -> dict[str, type[Task]]:
    """All tasks by name."""
    return dict(TASKS)


def task(name: str, **settings: Any) -> Task:  # noqa: ANN401 - the task's own fields
    """Build a task by name. Unknown names and settings raise UsageError."""
    return task_of(TASKS, name, settings)


def from_texts(name: str, texts: dict[str, str], **settings: Any) -> Task:  # noqa: ANN401
    """Build a task of settings as they are typed; `settings` where they are not among them."""
    return task_of(TASKS, name, settings | parsed(TASKS, name, texts))


def from_file(path: str) -> Task:
    """Build the task that a task file describes; see `howfar.tasks.naming`."""
    return read_task(TASKS, path)
