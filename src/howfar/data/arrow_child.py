"""The process that reads Parquet and Arrow files: a damaged file may end it, and nothing else.

Idea     the file is standard input; what comes out is an Arrow stream of checked, plain columns
Why      a file of a few bytes can ask for gigabytes or crash the reader (apache/arrow#49955)
Answer   exit status 0, or 3 with one JSON line {"code", "why"} on standard error
Alone    run as a file: nothing of howfar is imported, nor anything from the working folder
"""

import json
import os
import sys
from typing import IO, Any

os.environ["ARROW_DEFAULT_MEMORY_POOL"] = "system"  # gives memory back, unlike the others

import pyarrow as pa
import pyarrow.ipc

ROWS_AT_ONCE = 4096
MOST_COLUMNS = 1000
MEMORY = 768 << 20  # beside twice the file's size
GROWTH = 200  # times the file's size that its cells may take
GROWTH_FLOOR = 64 << 20
CELL = 8  # bytes that a cell counts for at the least
SECONDS = 60  # beside one for each MiB
OBJECT = pa.list_(pa.null(), 0)  # stands for what is no text, number or list: only that it is there


class Refused(Exception):  # noqa: N818 - said, not raised further
    """What is wrong with the file: a code and a reason."""


def main() -> int:
    """Read standard input, write standard output."""
    file = sys.stdin.buffer
    size = os.fstat(file.fileno()).st_size
    _limit(size)
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=1 << 20)
    try:
        _copy(file, out, size)
    except Refused as refused:
        return _answer(*refused.args)
    except MemoryError:
        return _answer("E-FORMAT", "its content needs far more memory than its size")
    except BrokenPipeError:
        return 0
    except Exception as broken:
        # Whatever the libraries raise on a damaged file.
        return _answer(*_reason(broken))
    return 0


def _copy(file: IO[bytes], out: IO[bytes], size: int) -> None:
    schema, batches = _opened(file)
    if len(schema.names) > MOST_COLUMNS:
        raise Refused("E-COLUMN", f"it has {len(schema.names):,} columns, more than {MOST_COLUMNS}")
    plain = pa.schema([pa.field(f"c{i}", _plain(kind)) for i, kind in enumerate(schema.types)])
    objects = [i for i, kind in enumerate(plain.types) if kind == OBJECT]
    about = {"names": json.dumps(schema.names), "objects": json.dumps(objects)}
    named = plain.with_metadata(about)
    used, most = 0, max(GROWTH_FLOOR, GROWTH * size)
    with pa.ipc.new_stream(out, named) as stream:
        for whole in batches:
            for start in range(0, whole.num_rows, ROWS_AT_ONCE):
                batch = whole.slice(start, ROWS_AT_ONCE)
                batch.validate(full=True)
                columns = [_cast(a, t) for a, t in zip(batch.columns, plain.types, strict=True)]
                used += sum(column.nbytes for column in columns)
                used += CELL * len(columns) * batch.num_rows
                if used > most:
                    raise Refused("E-ARCHIVE", f"it grows to more than {most:,} bytes")
                stream.write_batch(pa.record_batch(columns, schema=named))
    out.flush()


def _opened(file: IO[bytes]) -> tuple[Any, Any]:
    """Schema and batches, by the first bytes of the file."""
    file.seek(0)
    magic = file.read(6)
    file.seek(0)
    if magic[:4] == b"FEA1":
        raise Refused("E-FORMAT", "it is Feather version 1, which is no longer read")
    if magic[:4] == b"PAR1":
        import pyarrow.parquet as pq  # noqa: PLC0415 - costs as much time as all the rest

        table = pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
        return table.schema_arrow, table.iter_batches(batch_size=ROWS_AT_ONCE, use_threads=False)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(file)
        return reader.schema, (reader.get_batch(i) for i in range(reader.num_record_batches))
    if not _may_be_stream(magic[:4], os.fstat(file.fileno()).st_size):
        raise Refused("E-FORMAT", "it is not a Parquet file, nor one of Arrow")
    reader = pa.ipc.open_stream(file)
    return reader.schema, reader


def _may_be_stream(first: bytes, size: int) -> bool:
    """Whether a message of an Arrow stream begins so: with -1, or of old with its length."""
    length = int.from_bytes(first, "little", signed=True)
    return len(first) == 4 and (length == -1 or 0 < length <= size)


def _plain(kind: Any) -> Any:  # noqa: ANN401 - pyarrow has no types for mypy
    """The type that a column is sent as: text, bytes, a number, a truth value, or lists of them."""
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return _plain(kind.value_type)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.large_list(_plain(kind.value_type))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if _is_bytes(kind):
        return pa.large_binary()
    if pa.types.is_temporal(kind) or pa.types.is_decimal(kind):
        return pa.large_string()
    return kind if pa.types.is_primitive(kind) or pa.types.is_null(kind) else OBJECT


def _is_bytes(kind: Any) -> bool:  # noqa: ANN401 - as above
    fixed = pa.types.is_fixed_size_binary(kind) and not pa.types.is_decimal(kind)
    return bool(
        fixed
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_binary_view(kind)
    )


def _cast(column: Any, kind: Any) -> Any:  # noqa: ANN401 - as above
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if column.type == kind:
        return column
    if kind == OBJECT:
        return pa.array([[] if there else None for there in column.is_valid().to_pylist()], kind)
    if pa.types.is_run_end_encoded(column.type):
        import pyarrow.compute as pc  # noqa: PLC0415 - as above, and rare

        column = pc.run_end_decode(column)
    if pa.types.is_duration(column.type) or pa.types.is_interval(column.type):
        return pa.array([None if v is None else str(v) for v in column.to_pylist()], kind)
    return column.cast(kind)


def _limit(size: int) -> None:
    """Bound memory and time, so that neither can take the machine."""
    try:
        import resource  # noqa: PLC0415 - not on every system

        pages = int(open("/proc/self/statm", encoding="ascii").read().split()[0])  # noqa: PTH123, SIM115
    except (ImportError, OSError):
        return
    used = pages * resource.getpagesize()
    memory, seconds = used + MEMORY + 2 * size, SECONDS + (size >> 20)
    for kind, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_CPU, seconds)):
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (most if hard < 0 else min(most, hard), hard))


def _reason(broken: Exception) -> tuple[str, str]:
    first = (str(broken).strip().split("\n") or [""])[0][:120]
    if isinstance(broken, UnicodeDecodeError) or "UTF8" in first or "utf-8" in first:
        return "E-ENCODING", "it holds text that is not UTF-8"
    return "E-FORMAT", first or type(broken).__name__


def _answer(code: str, why: str) -> int:
    sys.stderr.write(json.dumps({"code": code, "why": why}) + "\n")
    return 3


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # No clean-up of what a damaged file left behind.
    os._exit(status)
