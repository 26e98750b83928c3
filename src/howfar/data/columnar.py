"""Parquet: columns of any type that has a plain text; rows are numbered from 1.

Idea     values come as the file's own types; bytes, lists and times are judged where all cells are
"""

from collections.abc import Iterator
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from howfar.core.errors import DataError
from howfar.data.faults import place

_ROWS_AT_ONCE = 4096


def parse(file: IO[bytes], path: str) -> tuple[list[str], Iterator[tuple[int, list[object]]]]:
    """Column names, and rows as (row, values).

    Raises:
        DataError: E-FORMAT for a broken file, E-ENCODING for text that is not UTF-8.
    """
    try:
        table = pq.ParquetFile(file)
        names = list(table.schema_arrow.names)
    except (pa.ArrowException, OSError, ValueError) as broken:
        raise _unreadable(path, broken) from broken
    return names, _rows(table, path)


def _rows(table: pq.ParquetFile, path: str) -> Iterator[tuple[int, list[object]]]:
    row = 0
    try:
        for batch in table.iter_batches(batch_size=_ROWS_AT_ONCE, use_threads=False):
            columns = [column.to_pylist() for column in batch.columns]
            for values in zip(*columns, strict=True):
                row += 1
                yield row, list(values)
    except UnicodeDecodeError as fault:
        raise DataError(
            "E-ENCODING",
            f"Cannot decode text in {place(path)} after row {row}: it is not UTF-8.",
            "write the file again with UTF-8 text",
        ) from fault
    except (pa.ArrowException, OSError, ValueError) as broken:
        raise _unreadable(path, broken) from broken


def _unreadable(path: str, broken: Exception) -> DataError:
    first = (str(broken).strip().split("\n") or [""])[0][:120]
    return DataError(
        "E-FORMAT", f"Cannot read {place(path)} as Parquet: {first!a}.", "write the file again"
    )
