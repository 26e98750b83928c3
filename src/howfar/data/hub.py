"""Data sets of the `datasets` library: an object, a saved folder, or a name on the hub.

Idea     "hf:FOLDER" is read from disk; "hf:NAME", "hf:NAME:CONFIG" and "hf:NAME#SPLIT" by the
         library, from its cache where HF_HUB_OFFLINE is set or no network answers; only its columns
         are used
Classes  numbers with names come as their names; a missing one (-1) as None
Source   https://huggingface.co/docs/datasets
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from howfar.core.errors import DataError, EnvironmentFault, HowfarError, UsageError, closest, shown
from howfar.data.columns import check_names
from howfar.data.network import reaching

PREFIX = "hf:"
_HINT = "pip install 'howfar[hf]'"
_ROWS_AT_ONCE = 1000
_OFFLINE = ("OfflineModeIsEnabled", "LocalEntryNotFoundError")
_MARKS = ("dataset_dict.json", "dataset_info.json", "state.json")


@dataclass(frozen=True, slots=True)
class Set:
    """A data set, opened but not read."""

    path: str
    names: tuple[str, ...]
    num_rows: int
    column: Callable[[int], Sequence[object]]
    notes: tuple[str, ...]
    made: Any


def is_one(source: object) -> bool:
    """Whether this is a data set object or such a name."""
    if isinstance(source, str):
        return source.startswith(PREFIX)
    return type(source).__module__.split(".")[0] == "datasets"


def open_set(source: Any) -> Set:  # noqa: ANN401 - an object of a library that may be missing
    """Open a data set, or a name that begins with "hf:".

    Raises:
        EnvironmentFault: E-EXTRA without `datasets`, E-OFFLINE, E-READ.
        UsageError: E-NO-FILE for an unknown name, E-OPTION for an unknown split or a stream.
        DataError: E-FORMAT for what the library cannot read, E-DUP-COLUMN.
    """
    path = source if isinstance(source, str) else f"a {type(source).__name__}"
    name, _, split = source.partition("#") if isinstance(source, str) else ("", "", "")
    made = _loaded(name.removeprefix(PREFIX), path) if isinstance(source, str) else source
    made, notes = _one_split(made, split, path)
    if not hasattr(made, "num_rows") or not hasattr(made, "column_names"):
        message = f"Cannot read {path}: {type(made).__name__} gives its rows only once."
        raise UsageError("E-OPTION", message, "load it whole, with streaming=False")
    names = tuple(map(str, made.column_names))
    check_names(names, path, None)

    def column(index: int) -> Sequence[object]:
        with _faults(path):
            return _plain(made[names[index]], made.features[names[index]])

    return Set(path, names, int(made.num_rows), column, notes, made)


def rows(found: Set) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield (number, values by column), holding a thousand rows."""
    for start in range(0, found.num_rows, _ROWS_AT_ONCE):
        with _faults(found.path):
            part = found.made[start : start + _ROWS_AT_ONCE]
            columns = [_plain(part[name], found.made.features[name]) for name in found.names]
        for number, values in enumerate(zip(*columns, strict=True), start=start + 1):
            yield number, dict(zip(found.names, values, strict=True))


def _loaded(name: str, path: str) -> Any:  # noqa: ANN401 - as above
    if not name or "://" in name or "\0" in name:
        raise UsageError("E-NO-FILE", f"{shown(path)} names no data set.", "hf:NAME or hf:FOLDER")
    try:
        datasets = import_module("datasets")  # an extra, and slow to import
    except ImportError as error:
        message = f"Cannot read {shown(path)}: the `datasets` library is missing."
        raise EnvironmentFault("E-EXTRA", message, _HINT) from error
    with _faults(path):
        if Path(name).is_dir():
            if not any((Path(name) / mark).is_file() for mark in _MARKS):
                message = f"Cannot read {shown(path)}: it is no saved data set."
                raise DataError("E-FORMAT", message, "save it with save_to_disk")
            return datasets.load_from_disk(name)
        name, _, config = name.partition(":")
        with reaching() as why:
            try:
                return datasets.load_dataset(name, config or None)
            except Exception as error:
                if not why:
                    raise
                raise ConnectionError(why) from error


def _one_split(made: Any, asked: str, path: str) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401
    if not isinstance(made, dict):
        if asked:
            raise UsageError(
                "E-OPTION", f"{shown(path)} has no splits.", "leave out what follows #"
            )
        return made, ()
    known = [str(name) for name in made]
    if asked and asked not in known:
        message = f"No split {shown(asked)} in {shown(path)}. {closest(asked, known)}".strip()
        raise UsageError("E-OPTION", message, f"one of {', '.join(map(shown, known))}")
    if not known:
        raise DataError("E-EMPTY", f"Nothing to read in {shown(path)}: no splits.")
    chosen = asked or ("train" if "train" in known else known[0])
    others = [name for name in known if name != chosen]
    if asked or not others:
        return made[chosen], ()
    listed = ", ".join(map(shown, others))
    return made[chosen], (f"The split {shown(chosen)} was read; there are also {listed}.",)


def _plain(values: Any, feature: Any) -> list[object]:  # noqa: ANN401 - as above
    """Values with the names of classes in place of their numbers."""
    inner = getattr(feature, "feature", feature[0] if isinstance(feature, list) else None)
    if hasattr(feature, "int2str"):
        return [_class(value, feature) for value in values]
    if hasattr(inner, "int2str"):
        return [
            None if value is None else [_class(one, inner) for one in value] for value in values
        ]
    return list(values)


def _class(number: int | None, feature: Any) -> str | None:  # noqa: ANN401 - as above
    return None if number is None or number < 0 else str(feature.int2str(number))


class _faults:  # noqa: N801 - used as a function
    """What the library raises, as one of our errors."""

    def __init__(self, path: str) -> None:
        self.path = shown(path)

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, HowfarError):
            return
        why = " ".join(str(error).split())[:160]
        if isinstance(error, ConnectionError) or type(error).__name__ in _OFFLINE:
            message = f"Cannot reach the hub for {self.path}: {why!a}."
            hint = "load it once with a network, or save it and name the folder: hf:FOLDER"
            raise EnvironmentFault("E-OFFLINE", message, hint) from error
        if type(error).__name__ == "DatasetNotFoundError":
            message = f"No data set {self.path} in the cache or on the hub: {why!a}."
            raise UsageError("E-NO-FILE", message, "check the name") from error
        message = f"Cannot read {self.path}: {why!a}."
        raise DataError("E-FORMAT", message, "read it with `datasets` and save it") from error
