"""Run a command under strace, with the n-th call of a kind spoiled."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CALLS = {
    "write": "write,pwrite64",
    "fsync": "fsync",
    "rename": "rename,renameat,renameat2",
    "mkdir": "mkdir,mkdirat",
    "unlink": "unlink,unlinkat,rmdir",
}


def traced(arguments, log, *, inject=None, trace=None):
    """`python ARGUMENTS` under strace; the log of the calls is written to `log`.

    inject: such as "fsync:error=EIO:when=3", with a name of CALLS. trace: names to log, with paths.
    """
    if shutil.which("strace") is None:
        raise RuntimeError("These tests need strace.")
    options = ["-f", "-o", str(log), "-y"]
    if inject:
        kind, what = inject.split(":", 1)
        options += ["-e", f"trace={CALLS[kind]}", "-e", f"inject={CALLS[kind]}:{what}"]
    else:
        options += ["-e", f"trace={','.join(CALLS[name] for name in trace)}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
    command = ["strace", *options, sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )


def spoiled(log):
    """Whether a call was spoiled."""
    return "INJECTED" in Path(log).read_text()
