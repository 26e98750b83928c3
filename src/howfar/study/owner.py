"""Who holds a cell: one process of one machine, and whether it still lives.

Idea     a process is its machine, its number and its start in clock ticks since the machine
         started: no wall clock is asked. A machine is its name, the id of its present start and
         its space of process numbers, so that two containers or two `localhost` differ
Source   proc(5): /proc/PID/stat, field 22 is the start time, field 3 the state
"""

import os
import socket
from pathlib import Path

GONE, ALIVE, STOPPED, ELSEWHERE = "gone", "alive", "stopped", "elsewhere"


def me() -> str:
    """This process: "HOST/BOOT/SPACE PID START"."""
    return f"{_machine()} {os.getpid()} {_stat(os.getpid())[1]}"


def condition(owner: str) -> str:
    """GONE, ALIVE or STOPPED for a process of this machine, else ELSEWHERE."""
    machine, _, rest = owner.rpartition(" ")[0].rpartition(" ")
    start = owner.rpartition(" ")[2]
    if machine != _machine() or not rest.isdecimal():
        return ELSEWHERE
    pid = int(rest)
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return GONE
    except PermissionError:
        pass  # somebody else's process lives
    state, now = _stat(pid)
    if state in ("Z", "X", "x") or (now not in ("?", start)):
        return GONE
    return STOPPED if state in ("T", "t") else ALIVE


def _stat(pid: int) -> tuple[str, str]:
    """State and start time, "?" where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii")
    except OSError:
        return "?", "?"
    fields = text.split()
    return fields[0], fields[19]


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        space = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        boot, space = "?", "?"
    return f"{socket.gethostname()}/{boot}/{space}"
