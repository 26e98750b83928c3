"""What `howfar train` says at the end of a run, and of a model that was done before."""

from pathlib import Path
from typing import Any


def is_done(folder: Path) -> bool:
    """Whether a finished model stands there."""
    from howfar.core.store import MANIFEST

    try:
        return (folder / MANIFEST).is_file()
    except (OSError, ValueError):
        return False


def say_done(folder: Path, *, as_json: bool) -> None:
    """Say what a finished model is, where a run was to go on.

    Raises:
        StoreError: it is damaged.
    """
    from howfar.api.bundles import load
    from howfar.cli.compare import command_line
    from howfar.cli.write import log, note, result
    from howfar.report.words import visible

    run = load(folder).training
    if as_json and run is not None:
        as_document(run, folder)
    else:
        result(f"The model in {_path(folder)} is done.")
    if run is not None and _plainly(run.command) != _plainly(command_line()):
        told = f"note: it was made by `{visible(run.command)}`; --overwrite makes it anew."
        note(log(), told)


def as_document(run: Any, folder: Path) -> None:
    """Print a run as one JSON document."""
    from howfar.cli.write import document
    from howfar.record.codec import to_data

    document({"schema": 1, **to_data(run), "model": str(folder)})


def _plainly(command: str) -> list[str]:
    """The words of a command that say what is made."""
    return [word for word in command.split() if word not in ("--resume", "--json")]


def present(ended: Any, folder: Path) -> None:
    """Print how a run ended."""
    from howfar.cli.write import result
    from howfar.report.words import visible

    run = ended.training
    if run.status == "failed":
        result(f"failed: {run.reason}")
        return
    if run.status == "stopped":
        result(f"stopped at step {run.steps:,}; the same line with --resume goes on")
        return
    total = sum(run.parameters.values())
    result(
        f"{run.family}: {total:,} parameters, {run.tokens:,} tokens in {clock_time(run.seconds)}, "
        f"best at step {run.best_step:,} of {run.steps:,}"
    )
    for score in run.scores:
        result(f"  test {score_line(score)}")
    for rival in run.baselines:
        result(f"  beside it, {visible(rival.name)}: {score_line(rival.score)}")
    result(f"model: {_path(folder)}")


def score_line(score: Any) -> str:
    """A score with its interval."""
    span = "" if score.low is None else f" [{score.low:.4f}, {score.high:.4f}]"
    return f"{score.name} {score.value:.4f}{span}"


def _path(path: Path) -> str:
    from howfar.core.errors import shown

    return str(path) if str(path).isprintable() else shown(path, limit=4096)


def clock_time(seconds: float) -> str:
    """42 s, 3:05 min or 2:10 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"
