"""What Ctrl-C and SIGTERM do to a command: one line on stderr, then exit code 130 or 143.

Idea     both become a KeyboardInterrupt, which a command may catch to end well
Imports  while torch is still to come there is nothing to end well, and an exception must not be
         raised: in the midst of torch's own import it aborts the process (C++ has called Python),
         and in a callback of the import system it is printed and forgotten. There the process is
         left at once
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from howfar.cli.errors import explain
from howfar.cli.write import settle

_IMPORTING = "<frozen importlib._bootstrap>"


@contextmanager
def stoppable(arguments: Sequence[str]) -> Iterator[list[int]]:
    """Within: SIGTERM is treated as Ctrl-C, so that no process is left behind.

    Args:
        arguments: of the command; they say how an error is told.

    Yields:
        A list, which holds SIGTERM's number once it came.
    """
    terminated: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            terminated.append(number)
        if beginning(frame):
            _leave(128 + number, arguments)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield terminated
        return
    numbers = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        numbers.append(signal.SIGINT)  # not where it is ignored, as with nohup
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield terminated
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def beginning(frame: FrameType | None) -> bool:
    """Whether something is being imported in this frame, and torch is not there yet."""
    spec = getattr(sys.modules.get("torch"), "__spec__", None)
    if spec is not None and not getattr(spec, "_initializing", False):
        return False
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _leave(code: int, arguments: Sequence[str]) -> None:
    """End the process here, as `main` would end it."""
    with suppress(RuntimeError):  # the signal may have met a line that is being written
        explain(KeyboardInterrupt(), arguments)
        settle()
        sys.stderr.flush()
    os._exit(code)
