"""What is seen while runs go on, and what is printed and written at the end."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from howfar.cli.write import Screen, log, note, result
from howfar.core.errors import EnvironmentFault, UsageError, shown
from howfar.record.comparison import Comparison

WORDS = {
    "baselines": "baselines",
    "demand": "measuring how far the data reaches",
    "rate": "trying rate {1} for {0}",
    "train": "training {0}, seed {1}",
    "look": "measuring how far {0} looks",
    "price": "timing {0}",
}


class Watch:
    """Progress on stderr: bars on a terminal, plain lines elsewhere. Use as `with Watch() as w`."""

    def __init__(self, title: str) -> None:
        self.console = log()
        self.title = title
        self.bars: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        self.started = time.monotonic()

    def __enter__(self) -> "Watch":
        note(self.console, self.title)
        if self.console.is_terminal:
            self.bars = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[loss]}", markup=False),
                TimeElapsedColumn(),
                console=self.console,
                transient=True,
            )
            self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bars is not None:
            self.bars.stop()

    def __call__(self, event: tuple[str, float, float]) -> None:
        """Hear of a job: its name, the share done and the loss in nats (nan: none)."""
        job, share, nats = event
        words = _words(job)
        loss = f"loss {nats:.3f}" if nats == nats else ""
        if self.bars is None:
            if share >= 1 and nats != nats:
                seconds = time.monotonic() - self.started
                note(self.console, f"  {seconds:6.1f} s  {words}")
            return
        if job not in self.tasks:
            self.tasks[job] = self.bars.add_task(words, total=1.0, loss=loss)
        if share >= 1 and not loss:
            self.bars.remove_task(self.tasks.pop(job))
            return
        self.bars.update(self.tasks[job], completed=share, loss=loss)


def _words(job: str) -> str:
    kind, *rest = job.split("/")
    return WORDS[kind].format(*rest)


def prepare(folder: str) -> Path:
    """Prove before any training that the report can be written; leaves nothing behind.

    Raises:
        UsageError: E-OPTION, for no name. EnvironmentFault: E-PERMISSION, with the reason.
    """
    if not folder.strip():
        raise UsageError("E-OPTION", "--out names no folder.", "--out howfar-report")
    path = Path(folder)
    made: list[Path] = []
    try:
        missing = [p for p in (path, *path.parents) if not p.exists()]
        for parent in reversed(missing):
            parent.mkdir(exist_ok=True)
            made.append(parent)
        probe = path / ".howfar-write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        message = f"The report cannot be written to {shown(folder)}: {why}."
        raise EnvironmentFault("E-PERMISSION", message, "--out with another folder") from error
    finally:
        for folder_made in reversed(made):
            with suppress(OSError):  # no longer empty: someone else's by now
                folder_made.rmdir()
    return path


def finish(comparisons: Sequence[Comparison], folder: Path, *, title: str | None = None) -> Path:
    """Write the report of finished comparisons and return the page's path."""
    from howfar.report.save import write_report

    named = {} if title is None else {"title": title}
    return write_report(comparisons, folder, **named)


def present(comparison: Comparison) -> None:
    """Print the table of a comparison on stdout."""
    from howfar.report.table import comparison_table, render_text

    screen = Screen(highlight=False)
    if screen.is_terminal:
        screen.print(comparison_table(comparison))
    else:
        result(render_text(comparison, width=screen.width).rstrip("\n"))


def say_report(page: Path) -> None:
    """Print where the report is, last."""
    result(f"report: {page if str(page).isprintable() else shown(page, limit=4096)}")


def failed(comparisons: Sequence[Comparison]) -> bool:
    """Did any family end without a result, or any run fail?"""
    return any(row.status == "failed" or row.reason for c in comparisons for row in c.rows)


def exit_code(comparisons: Sequence[Comparison]) -> int:
    """0 done, 1 with failed runs, 130 after Ctrl-C."""
    if any(comparison.interrupted for comparison in comparisons):
        note(log(), "howfar: stopped; what was finished is in the report.")
        return 130
    return 1 if failed(comparisons) else 0
