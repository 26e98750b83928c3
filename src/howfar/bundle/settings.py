"""What must be known to build a bundle's model again: `config.json`, written and strictly read.

Rule     unknown and doubled keys, NaN, wrong types and numbers out of range are refused, and the
         message says where by a JSON pointer (RFC 6901)
"""

import json
import math
import types
import typing
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NoReturn

from howfar.core.errors import StoreError, closest, shown
from howfar.record import codec

SCHEMA = 1
MOST = 2**31 - 1  # of any size; no model that fits in a machine comes near
DEEPEST = 10_000  # blocks: each is an object, even on the meta device
_HINT = "the folder that howfar wrote, untouched"
_NAMED = ("classification", "multilabel", "tagging")  # aims whose outputs have names


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The shape of a model and what its ids and answers mean.

    aim: see `howfar.data.examples`. family, width, depth, embedding, dropout, causal, pooled,
    extras, outputs: as for `howfar.build`. vocabulary: ids the model knows, specials included (for
    seq2seq of the target). length: most tokens of a row; the window of lm and masked.
    """

    aim: str
    family: str
    tokens: str
    vocabulary: int
    outputs: int
    length: int
    width: int
    embedding: int
    depth: int | None = None
    dropout: float = 0.0
    causal: bool = True
    pooled: bool = False
    extras: dict[str, str | int | float | bool | tuple[int, ...]] = field(default_factory=dict)
    source_vocabulary: int | None = None
    target_length: int | None = None
    names: tuple[str, ...] = ()
    keep: str = "start"
    end: int | None = None
    mask: int | None = None
    scale: tuple[float, ...] | None = None
    carry: bool = False  # the state is carried from window to window in training
    columns: tuple[str, ...] = ()  # of text and target in the table that was trained on
    schema: int = SCHEMA


def settings_text(settings: Settings) -> str:
    """`config.json`; equal settings give equal text."""
    return codec.dumps(settings) + "\n"


def parse_settings(data: bytes, where: str) -> Settings:
    """Read `config.json`.

    Args:
        data: the file's bytes.
        where: how the file is called in messages.

    Raises:
        StoreError: E-CONFIG, with the JSON pointer of what is wrong.
    """
    reader = _Reader(where)
    found = reader.parse(data)
    if not isinstance(found, dict):
        reader.refuse("", f"expected an object, found {_kind(found)}")
    schema = found.get("schema", SCHEMA)
    if type(schema) is int and schema > SCHEMA:
        reader.refuse(
            "/schema",
            f"it is of form {schema}, and this version of howfar reads up to {SCHEMA}",
            "a newer howfar",
        )
    settings = reader.settings(found)
    _check(settings, reader.refuse)
    return settings


class _Reader:
    """One file; `refuse` names it in what it raises."""

    def __init__(self, where: str) -> None:
        self.where = where

    def refuse(self, pointer: str, why: str, hint: str = _HINT) -> NoReturn:
        place = f" at {shown(pointer)}" if pointer else ""
        raise StoreError("E-CONFIG", f"Wrong settings in {self.where}{place}: {why}.", hint)

    def parse(self, data: bytes) -> Any:  # noqa: ANN401 - JSON
        """Standard JSON and no more: Python's reader takes NaN, 1e999 and doubled keys."""
        try:
            return json.loads(
                data.decode("utf-8"),
                object_pairs_hook=self._object,
                parse_constant=self._constant,
                parse_float=self._number,
            )
        except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as broken:
            why = "it is nested too deeply" if isinstance(broken, RecursionError) else str(broken)
            self.refuse("", f"it is no JSON ({why})")
        except ValueError as broken:  # a whole number of thousands of digits
            self.refuse("", str(broken))

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                self.refuse(f"/{_escaped(key)}", "the key stands there twice")
            found[key] = value
        return found

    def _constant(self, name: str) -> NoReturn:
        self.refuse("", f"{name} is no number of JSON")

    def _number(self, text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            self.refuse("", f"the number {shown(text)} is too large")
        return value

    def settings(self, found: dict[str, Any]) -> Settings:
        known = {each.name: each for each in fields(Settings)}
        hints = typing.get_type_hints(Settings)
        for key in found:
            if key not in known:
                self.refuse(f"/{_escaped(key)}", f"unknown key. {closest(key, known)}".strip(" ."))
        for name, each in known.items():
            if name not in found and each.default is MISSING and each.default_factory is MISSING:
                self.refuse(f"/{name}", "it is missing")
        return Settings(**{key: self.read(hints[key], found[key], f"/{key}") for key in found})

    def read(self, kind: Any, value: Any, pointer: str) -> Any:  # noqa: ANN401 - JSON to a field
        origin, inner = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return self._either(inner, value, pointer)
        if origin is tuple:
            self._is(value, list, "a list", pointer)
            return tuple(self.read(inner[0], x, f"{pointer}/{i}") for i, x in enumerate(value))
        if origin is dict:
            self._is(value, dict, "an object", pointer)
            return {k: self.read(inner[1], x, f"{pointer}/{_escaped(k)}") for k, x in value.items()}
        if kind is float and type(value) is int:
            return float(value)
        self._is(value, kind, _WORDS[kind], pointer)
        if kind is str:
            self._text(value, pointer)
        return value

    def _either(self, kinds: tuple[Any, ...], value: Any, pointer: str) -> Any:  # noqa: ANN401
        if value is None and type(None) in kinds:
            return value
        fits = [k for k in kinds if type(value) is (list if typing.get_origin(k) is tuple else k)]
        if not fits:
            self.refuse(pointer, f"it cannot be {_kind(value)}")
        return self.read(fits[0], value, pointer)

    def _is(self, value: Any, kind: type, words: str, pointer: str) -> None:  # noqa: ANN401
        if type(value) is not kind:
            self.refuse(pointer, f"expected {words}, found {_kind(value)}")

    def _text(self, value: str, pointer: str) -> None:
        try:
            value.encode()
        except UnicodeEncodeError:
            self.refuse(pointer, "half of a surrogate pair, which no file can hold")


_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def _kind(value: Any) -> str:  # noqa: ANN401
    names = {dict: "an object", list: "a list", type(None): "null"}
    return (names | _WORDS).get(type(value), f"a {type(value).__name__}")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _check(settings: Settings, refuse: Callable[[str, str], NoReturn]) -> None:
    """What types cannot say: ranges, and fields that must fit each other."""
    for name in ("vocabulary", "outputs", "length", "width", "embedding", "schema"):
        _within(name, getattr(settings, name), MOST, refuse)
    for name in ("source_vocabulary", "target_length"):
        if getattr(settings, name) is not None:
            _within(name, getattr(settings, name), MOST, refuse)
    if settings.depth is not None:
        _within("depth", settings.depth, DEEPEST, refuse)
    if not 0 <= settings.dropout < 1:
        refuse("/dropout", f"{settings.dropout} is not from 0 to below 1")
    if settings.keep not in ("start", "end"):
        refuse("/keep", f"{shown(settings.keep)} is neither start nor end")
    for name, given in settings.extras.items():
        parts = given if isinstance(given, tuple) else (given,)
        if len(parts) > DEEPEST or any(isinstance(x, int) and abs(x) > MOST for x in parts):
            refuse(f"/extras/{_escaped(name)}", "it is larger than any model")
    _check_answers(settings, refuse)


def _check_answers(settings: Settings, refuse: Callable[[str, str], NoReturn]) -> None:
    for name in ("end", "mask"):
        value = getattr(settings, name)
        if value is not None and not 0 <= value < settings.vocabulary:
            refuse(f"/{name}", f"{value} is no id of a vocabulary of {settings.vocabulary:,}")
    if settings.names and len(set(settings.names)) < len(settings.names):
        refuse("/names", "a name stands there twice")
    if settings.aim in _NAMED and len(settings.names) != settings.outputs:
        refuse("/names", f"{len(settings.names):,} names for {settings.outputs:,} outputs")
    if settings.aim == "seq2seq" and (settings.source_vocabulary is None or settings.end is None):
        missing = "/end" if settings.end is None else "/source_vocabulary"
        refuse(missing, "sequence to sequence cannot do without it")
    scale = settings.scale
    if scale is not None and (len(scale) != 2 or not scale[1] > 0):
        refuse("/scale", "it is not a mean and a standard deviation above 0")


def _within(name: str, value: int, most: int, refuse: Callable[[str, str], NoReturn]) -> None:
    if not 1 <= value <= most:
        refuse(f"/{name}", f"{value} is not from 1 to {most:,}")
