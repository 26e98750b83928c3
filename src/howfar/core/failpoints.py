"""Named places where a test may end, fail or delay the program.

Idea     the code calls `reached(NAME)` between two things that must survive a crash in between
Switch   HOWFAR_TESTING=1 and HOWFAR_FAULT="kill@NAME[:n]", "raise@NAME[:n]" or
         "sleep@NAME:seconds"; n: the n-th time the place is reached, 1 if not given. Without both
         nothing happens
"""

import errno
import os
import re
import signal
import time
from collections import Counter

from howfar.core.errors import UsageError, shown

FAILPOINTS = {
    "step": "training: before every step",
    "evaluate": "training: before every validation",
    "save:start": "a folder: the temporary folder exists",
    "save:after_write": "a folder: one file is written, not yet on the disk",
    "save:after_fsync": "a folder: one file is on the disk (the last one is the manifest)",
    "save:after_folder_fsync": "a folder: the temporary folder is whole",
    "save:aside": "a folder: the one to be replaced has made way",
    "save:after_rename": "a folder: the new one has its name",
    "save:after_parent_fsync": "a folder: its name is on the disk",
    "file:after_write": "a single file: written under a temporary name",
    "file:after_fsync": "a single file: on the disk under a temporary name",
    "file:after_rename": "a single file: in place",
    "checkpoint:saved": "a checkpoint: its folder is whole, the record does not know it",
    "checkpoint:recorded": "a checkpoint: recorded, nothing pruned yet",
    "checkpoint:pruned": "a checkpoint: one old folder is gone",
}
_FAULT = re.compile(r"(?P<act>kill|raise|sleep)@(?P<name>.+?)(?::(?P<number>\d+(?:\.\d+)?))?")
_times: Counter[tuple[str, str]] = Counter()


def reached(name: str) -> None:
    """Say that the program is at this place.

    Raises:
        OSError: ENOSPC, where HOWFAR_FAULT asks for it.
        UsageError: E-OPTION, HOWFAR_FAULT cannot be read.
    """
    if os.environ.get("HOWFAR_TESTING") != "1":
        return
    if name not in FAILPOINTS:
        raise KeyError(f"{name} is not in the table of failpoints.")
    asked = os.environ.get("HOWFAR_FAULT", "")
    _times[asked, name] += 1
    if asked:
        _act(asked, name)


def hit() -> set[str]:
    """The places reached so far in this process with HOWFAR_TESTING=1."""
    return {name for _, name in _times}


def forget() -> None:
    """Count from zero again."""
    _times.clear()


def _act(asked: str, name: str) -> None:
    act, where, number = _parsed(asked)
    if where != name:
        return
    if act == "sleep":
        time.sleep(number)
    elif _times[asked, name] == number:
        if act == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, f"{os.strerror(errno.ENOSPC)} (asked for at {name})")


def _parsed(asked: str) -> tuple[str, str, float]:
    match = _FAULT.fullmatch(asked)
    if match is None or match["name"] not in FAILPOINTS:
        message = f"HOWFAR_FAULT={shown(asked)} is not ACT@NAME[:n] with a known name."
        raise UsageError("E-OPTION", message, f"one of {', '.join(FAILPOINTS)}")
    return match["act"], match["name"], float(match["number"] or 1)
