"""Parquet, Arrow and Feather: columns of any type that has a plain text; rows are numbered from 1.

Idea     another process reads and checks the file (`arrow_child`) and sends plain columns
Values   text, bytes, numbers, truth values and lists of them; times and decimals as their text;
         of an object only that it is there
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any

from howfar.core.errors import DataError
from howfar.data.faults import place

_CHILD = Path(__file__).with_name("arrow_child.py")
REFUSED = 3
_HINTS = {
    "E-ENCODING": "write the file again with UTF-8 text",
    "E-ARCHIVE": "write it as several files if you trust it",
    "E-COLUMN": "write only the columns that are needed",
}


Rows = Generator[tuple[int, list[object]], None, None]


def parse(file: IO[bytes], path: str) -> tuple[list[str], Rows]:
    """Column names, and rows as (row, values); closing the rows ends the other process.

    Raises:
        DataError: E-FORMAT for a broken file, E-ENCODING for text that is not UTF-8, E-ARCHIVE for
            one that grows too much, E-COLUMN for too many columns; now or while rows are read.
    """
    rows = _rows(file, path)
    _, names = next(rows)
    return [str(name) for name in names], rows


def _rows(file: IO[bytes], path: str) -> Rows:
    """First (0, the names), then the rows."""
    import pyarrow as pa  # noqa: PLC0415 - large, and only these formats need it

    # The child moves the position that both share.
    position = os.lseek(file.fileno(), 0, os.SEEK_CUR)
    # -P: a file of the working folder must not stand in for a module.
    command = [sys.executable, "-P", str(_CHILD)]
    row, broken = 0, False
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=said)
        assert child.stdout is not None
        try:
            with pa.ipc.open_stream(child.stdout) as stream:
                about = stream.schema.metadata
                yield 0, json.loads(about[b"names"])
                for values in _values(stream, json.loads(about[b"objects"])):
                    row += 1
                    yield row, values
        except (pa.ArrowException, OSError):
            broken = True  # as the child ended early, and says why
        finally:
            _end(child)
            if not file.closed:
                os.lseek(file.fileno(), position, os.SEEK_SET)
        if broken or child.returncode != 0:
            raise _refusal(said, child.returncode, path, row)


def _values(stream: Any, objects: list[int]) -> Iterator[list[object]]:  # noqa: ANN401 - no types
    for batch in stream:
        columns = [column.to_pylist() for column in batch.columns]
        for i in objects:
            columns[i] = [None if value is None else {} for value in columns[i]]
        yield from map(list, zip(*columns, strict=True))


def _end(child: "subprocess.Popen[bytes]") -> None:
    """Wait for the child, which ends when nobody reads it any more."""
    assert child.stdout is not None
    child.stdout.close()
    try:
        child.wait(timeout=5)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _refusal(said: IO[bytes], status: int, path: str, row: int) -> DataError:
    code, why = "E-FORMAT", f"its reader ended with status {status}"
    if status == REFUSED:
        said.seek(0)
        answer = json.loads(said.read().strip().split(b"\n")[-1])
        code, why = answer["code"], answer["why"]
    after = f" after row {row}" if row else ""
    message = f"Cannot read {place(path)} as a table{after}: {ascii(why)[1:-1]}."
    return DataError(code, message, _HINTS.get(code, "write the file again"))
