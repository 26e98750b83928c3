"""A stand-in for the module `os` as the store sees it: every call on the disk can fail or kill.

Run as a program it saves a folder over and over, each time killed at a later call, and checks what
is left: `python -m tests.core.faulty FOLDER`. It holds no torch, so forking is cheap and safe.
"""

import os
import signal
import sys
from pathlib import Path

from howfar.core import disk, leftovers, manifest, store

CHANGING = ("open", "write", "fsync", "close", "rename", "replace", "mkdir")


class Watched:
    """Passes everything on to `os`, notes the calls that change the disk, spoils the n-th."""

    def __init__(self, at=None, act=None, kinds=CHANGING):
        self.at, self.act, self.kinds, self.calls = at, act, kinds, []

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in self.kinds:
            return real

        def call(*args, **more):
            self.calls.append((name, args))
            at = self.at if isinstance(self.at, range) else (self.at,)
            if len(self.calls) in at:
                return self.act(real, name, args)
            return real(*args, **more)

        return call


def failing(number):
    """The call is not done, with this error; a descriptor is closed all the same, as Linux does."""

    def act(real, name, args):
        if name == "close":
            real(*args)
        raise OSError(number, os.strerror(number))

    return act


def short(real, name, args):
    """Only one byte of many is written."""
    return real(args[0], bytes(args[1])[:1]) if name == "write" else real(*args)


def kill(real, name, args):
    """Die before the call; a write dies half-way through."""
    if name == "write":
        real(args[0], bytes(args[1])[: len(args[1]) // 2])
    os.kill(os.getpid(), signal.SIGKILL)


def watch(watched, put=setattr):
    """Let the store see `watched` for `os`."""
    for module in (disk, store, leftovers, manifest):
        put(module, "os", watched)
    return watched


def files(mark):
    """Two files: one from bytes, one written bit by bit."""

    def stream(file):
        for number in range(3):
            file.write(bytes([number]) * 1000 + mark.encode())

    return {"a.bin": mark.encode() * 50, "b.bin": stream}


def content(folder):
    """Whose files these are, all of them checked."""
    mark = folder.about["mark"]
    assert folder.read("a.bin") == mark.encode() * 50
    parts = [bytes([number]) * 1000 + mark.encode() for number in range(3)]
    assert folder.read("b.bin") == b"".join(parts)
    return mark


def _save(path, mark, watched=None):
    if watched:
        watch(watched)
    store.write_folder(path, files(mark), about={"mark": mark}, replace=True)


def _killed(path, mark, at):
    """Whether a child that saves was killed at that call."""
    child = os.fork()
    if child == 0:
        _save(path, mark, Watched(at, kill))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.waitstatus_to_exitcode(status) == 0
    return os.WIFSIGNALED(status)


def main(parent):
    """Kill at every call, first with nothing there, then with a folder to be replaced."""
    counts = []
    for before in (None, "old"):
        at, path = 1, parent / f"from-{before}"
        while True:
            if before:
                _save(path, "old")
            dead = _killed(path, "new", at)
            if before or not dead:
                mark = content(store.verify(path))
                assert mark in (("old", "new") if dead else ("new",)), (at, mark)
            elif path.exists():
                assert content(store.verify(path)) == "new"
            store.sweep(parent)
            assert {p.name for p in parent.iterdir()} <= {path.name, "from-None"}, at
            if before:
                assert content(store.verify(path)) == mark
            if not dead:
                break
            if not before and path.exists():
                store.remove_folder(path)
            at += 1
        counts.append(at - 1)
    return counts


if __name__ == "__main__":
    assert "torch" not in sys.modules
    os.fsync = lambda descriptor: None  # a killed process loses nothing that it wrote
    sys.stdout.write(f"{main(Path(sys.argv[1]))}\n")
