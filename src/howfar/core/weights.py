"""Tensors as safetensors bytes: written in one order, read with distrust.

Idea     8 bytes of header length, a JSON header {name: {dtype, shape, data_offsets}}, then the raw
         bytes without gaps. The header is checked whole before anything is allocated
Order    widest numbers first, then by name, so that all data is aligned and equal tensors give
         equal bytes; a tensor held twice is written twice
Source   https://github.com/huggingface/safetensors (format; its own reader lets double keys and nan
         pass)
"""

import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import StoreError, shown

HEADER_BYTES = 1 << 20
NAME_CHARACTERS = 512
DIMENSIONS = 32
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
Expected = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


@dataclass(frozen=True, slots=True)
class _Slot:
    shape: tuple[int, ...]
    dtype: torch.dtype
    begin: int
    end: int


class Packed:
    """Tensors on their way to a file: `packed(file)` writes `packed.size` bytes.

    Holds the tensors themselves; at most one of them is copied at a time.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.ordered = sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0]))
        self.header = _header(self.ordered)
        self.size = len(self.header) + sum(t.numel() * t.itemsize for _, t in self.ordered)

    def __call__(self, file: IO[bytes]) -> None:
        """Write everything. Raises OSError as the file does."""
        file.write(self.header)
        for _, tensor in self.ordered:
            file.write(_raw(tensor.detach().cpu().resolve_conj().resolve_neg().contiguous()).data)


def pack(tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a safetensors file; equal tensors give equal bytes, in whatever order.

    Raises:
        ValueError: a name, a type of number or a layout that the format cannot hold.
    """
    file = io.BytesIO()
    Packed(tensors)(file)
    return file.getvalue()


def unpack(
    data: bytes,
    expected: Expected | None = None,
    *,
    name: str = "weights.safetensors",
    finite: bool = False,
) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file, each in memory of its own.

    expected: name -> (shape, dtype), which must match exactly before anything is allocated.
    name: what the file is called in messages. finite: refuse nan and infinity.

    Raises:
        StoreError: E-CKPT; E-UNSAFE for a pickle or a zip, which is never opened.
    """
    slots, start = _slots(data, name)
    if expected is not None:
        _compare(slots, expected, name)
    tensors = {key: _tensor(data, slot, start) for key, slot in slots.items()}
    for key, tensor in tensors.items():
        if tensor.dtype == torch.bool and int(_raw(tensor).max(initial=0)) > 1:
            _refuse(name, f"{shown(key)} holds truth values that are neither 0 nor 1")
        if finite and not _all_finite(tensor):
            _refuse(name, f"{shown(key)} holds nan or infinity")
    return tensors


def _header(ordered: list[tuple[str, Tensor]]) -> bytes:
    entries, at = {}, 0
    for name, tensor in ordered:
        if not _good_name(name) or tensor.dtype not in _NAMES or tensor.layout != torch.strided:
            raise ValueError(f"{name!r} ({tensor.dtype}, {tensor.layout}) cannot be stored.")
        end = at + tensor.numel() * tensor.itemsize
        dtype, shape = _NAMES[tensor.dtype], list(tensor.shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > HEADER_BYTES:
        raise ValueError(f"{len(ordered):,} tensors need a header of {len(text):,} bytes.")
    return len(text).to_bytes(8, "little") + text


def _raw(tensor: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The bytes of a contiguous tensor, in place."""
    return tensor.reshape(-1).view(torch.uint8).numpy()


def _tensor(data: bytes, slot: _Slot, start: int) -> Tensor:
    # memory of torch's own: sums over numbers that lie elsewhere in a cache line may differ
    tensor = torch.empty(slot.shape, dtype=slot.dtype)
    source = np.frombuffer(data, np.uint8, slot.end - slot.begin, start + slot.begin)
    _raw(tensor)[:] = source
    return tensor


def _all_finite(tensor: Tensor) -> bool:
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    wide = tensor.float() if tensor.itemsize == 1 else tensor  # isfinite knows no float8
    return bool(torch.isfinite(wide).all())


def _slots(data: bytes, name: str) -> tuple[dict[str, _Slot], int]:
    size = int.from_bytes(data[:8], "little")
    # a pickle begins with 0x80, but so does a safetensors header of 640 bytes
    if data[8:9] != b"{" and (data[:2] == b"PK" or data[:1] == b"\x80"):
        message = f"{name} is a pickle or a zip file, which could run code when it is opened."
        raise StoreError("E-UNSAFE", message, "weights saved as safetensors")
    if len(data) < 8 or size > min(HEADER_BYTES, len(data) - 8):
        _refuse(name, f"its header claims {size:,} bytes, of {len(data):,} in the file")
    try:
        header = json.loads(
            data[8 : 8 + size].decode(), object_pairs_hook=_once, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        _refuse(name, f"its header cannot be read ({str(error)[:80]})")
    if not isinstance(header, dict) or not _good_metadata(header.pop("__metadata__", {})):
        _refuse(name, "its header is not a table of tensors")
    slots = {key: _slot(key, entry, name) for key, entry in header.items()}
    _check_cover(slots, len(data) - 8 - size, name)
    return slots, 8 + size


def _slot(key: str, entry: object, name: str) -> _Slot:
    if not _good_name(key):
        _refuse(name, f"it holds a tensor called {shown(key)}")
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        _refuse(name, f"the entry of {shown(key)} is malformed")
    shape, offsets = _counts(entry["shape"]), _counts(entry["data_offsets"])
    dtype = DTYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
    if shape is None or len(shape) > DIMENSIONS or offsets is None or len(offsets) != 2:
        _refuse(name, f"the shape or the offsets of {shown(key)} are malformed")
    if dtype is None:
        _refuse(name, f"{shown(key)} has the unknown type {shown(entry['dtype'])}")
    fits = math.prod(max(d, 1) for d in shape) < 1 << 62
    if not fits or math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        _refuse(name, f"the shape of {shown(key)} does not fit its bytes")
    return _Slot(shape, dtype, *offsets)


def _check_cover(slots: Mapping[str, _Slot], size: int, name: str) -> None:
    at = 0
    for key, slot in sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)):
        if slot.begin != at:
            _refuse(name, f"the data of {shown(key)} leaves a hole or overlaps")
        at = slot.end
    if at != size:
        _refuse(name, f"{size:,} bytes of data, expected {at:,}")


def _compare(slots: Mapping[str, _Slot], expected: Expected, name: str) -> None:
    if missing := sorted(set(expected) - set(slots)):
        _refuse(name, f"{shown(missing[0])} is missing ({len(missing):,} in all)")
    if more := sorted(set(slots) - set(expected)):
        _refuse(name, f"{shown(more[0])} does not belong to this model ({len(more):,} in all)")
    for key, (shape, dtype) in expected.items():
        found = slots[key]
        if (found.shape, found.dtype) != (tuple(shape), dtype):
            what = f"{found.dtype} {found.shape}, expected {dtype} {tuple(shape)}"
            _refuse(name, f"{shown(key)} is {what}")


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a key stands there twice")
    return table


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is no size")


def _counts(value: object) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(type(v) is int and v >= 0 for v in value):
        return None
    return tuple(value)


def _good_name(name: str) -> bool:
    if not 0 < len(name) <= NAME_CHARACTERS or not name.isprintable() or name == "__metadata__":
        return False
    return not name.startswith("/") and ".." not in name and "\\" not in name


def _good_metadata(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(v, str) for v in value.values())


def _refuse(name: str, why: str) -> NoReturn:
    message = f"{name} cannot be used: {why}."
    raise StoreError("E-CKPT", message, "an undamaged copy, or one that belongs to this model")
