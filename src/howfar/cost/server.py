"""The caller's end of the measuring process: start it, ask it, and never wait for it for ever.

Idea     a process of its own, given the factory by pickle, so that the user's script is neither
         imported again nor disturbed: it works from a notebook and from stdin too
"""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from torch import nn

from howfar.cost.passes import Job, Reading

START_SECONDS = 120.0  # importing torch on a cold disk


class ForeignFactory(Exception):  # noqa: N818 - a condition the clock handles, not a user's error
    """The factory cannot be rebuilt in another process, such as one defined in a notebook."""


class Unmeasured(Exception):  # noqa: N818 - a condition the clock handles, not a user's error
    """A length could not be measured; the text says why."""


class Server:
    """A measuring process for one factory; use as a context manager.

    Raises:
        ForeignFactory: on entering, where the factory does not survive pickling.
        Unmeasured: where the factory or the process fails.
    """

    def __init__(self, build: Callable[[], nn.Module]) -> None:
        try:
            self._build = pickle.dumps(build)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ForeignFactory(str(error)) from error
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Server":
        self._start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def ask(self, job: Job, deadline: float) -> Reading:
        """Measure one length, waiting at most `deadline` seconds."""
        if self._process is None:
            self._start()
        self._send(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
        answer = self._receive(deadline)
        if sys.platform != "linux":
            self._stop()
        if "reading" not in answer:
            raise Unmeasured(str(answer.get("failed") or answer.get("died")))
        return Reading(**answer["reading"])

    def _start(self) -> None:
        # The same import path, first to last; -P keeps the working directory from going before it.
        path = os.pathsep.join(entry or str(os.getcwd()) for entry in sys.path)  # noqa: PTH109
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the process
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "howfar.cost.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,  # so that its forked children can be ended with it
        )
        try:
            self._send(self._build)
            answer = self._receive(START_SECONDS)
        except BaseException:  # Ctrl-C too: nothing else would end the process then
            self._stop()
            raise
        if "ready" in answer:
            return
        self._stop()
        if "foreign" in answer:
            raise ForeignFactory(str(answer["foreign"]))
        raise Unmeasured(str(answer.get("failed") or answer.get("died")))

    def _send(self, data: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            return  # the answer that does not come says it

    def _receive(self, deadline: float) -> dict[str, Any]:
        assert self._process is not None
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._kill()

        timer = threading.Timer(deadline, end)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line.endswith(b"\n"):
            answer: dict[str, Any] = json.loads(line)
            return answer
        if late.is_set():
            return {"died": f"no answer within {deadline:.0f} s"}
        return {"died": self._last_words()}

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "the measuring process ended without a word"

    def _kill(self) -> None:
        assert self._process is not None
        if sys.platform == "win32":
            self._process.kill()
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return  # it is gone already

    def _stop(self) -> None:
        if self._process is None:
            return
        self._kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            try:
                stream.close()
            except BrokenPipeError:
                continue  # what was never read cannot be flushed
        self._errors.close()
        self._process = None
