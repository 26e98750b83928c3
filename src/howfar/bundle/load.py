"""A bundle from a folder: checked byte by byte before anything is built from it.

Order    manifest, sizes, SHA-256; settings; the shapes they give, on the meta device; the header of
         the weights against them; only then memory
Safety   no file of a bundle runs code, and pickles are refused by their first bytes. The hashes
         show damage; they do not show who wrote the bundle
"""

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from howfar.bundle.build import MAX_MODEL_BYTES, bare, check_size, expected, filled, size_of
from howfar.bundle.bundle import Bundle
from howfar.bundle.place import begun
from howfar.bundle.save import (
    CONFIG,
    CURVE,
    KIND,
    NEEDED,
    TARGET_TOKENISER,
    TOKENISER,
    TRAINING,
    WEIGHTS,
)
from howfar.bundle.settings import Settings, parse_settings
from howfar.core.errors import HowfarError, StoreError, UsageError, closest, shown
from howfar.core.store import MANIFEST, Folder, open_folder
from howfar.core.weights import HEADER_BYTES, unpack
from howfar.data.tokenise import Tokeniser
from howfar.record import codec
from howfar.record.training import Training

UNSAFE = {  # first bytes of what can run code when it is opened
    b"PK\x03\x04": "a zip archive, as torch.save writes",
    b"\x80": "a pickle",
    b"\x89HDF": "an HDF5 file",
}
_HINT = "the folder that `howfar train --out` or Bundle.save wrote"


def load(
    path: str | os.PathLike[str],
    *,
    max_model_bytes: int = MAX_MODEL_BYTES,
    trust_code: bool = False,
) -> Bundle:
    """Open a bundle.

    Args:
        path: a local folder, or `hf:OWNER/NAME` on the hub.
        max_model_bytes: the largest model that memory is taken for.
        trust_code: the bundle's family may be code from outside howfar.

    Raises:
        UsageError: E-NO-BUNDLE, E-NO-FILE.
        StoreError: E-NO-MANIFEST, E-DAMAGED, E-CONFIG, E-CKPT, E-UNSAFE,
            E-TOO-LARGE, E-VERSION, E-TOKENISER. EnvironmentFault: E-PERMISSION, E-READ.
    """
    if isinstance(path, str) and not path.strip():
        raise UsageError("E-NO-FILE", "No model is named.", _HINT)  # else: the current folder
    if str(path).startswith("hf:"):
        from howfar.bundle.hub import from_pretrained  # noqa: PLC0415 - it imports this file

        name = str(path).removeprefix("hf:")
        return from_pretrained(name, max_model_bytes=max_model_bytes, trust_code=trust_code)
    folder = _opened(Path(path))
    check_size(folder.files[WEIGHTS].size - HEADER_BYTES, max_model_bytes)
    files = {name: folder.read(name) for name in folder.files}
    bundle = from_files(files, folder.path, max_model_bytes=max_model_bytes, trust_code=trust_code)
    return replace(bundle, notes=_notes(folder))


def from_files(
    files: dict[str, bytes],
    place: Path,
    *,
    max_model_bytes: int = MAX_MODEL_BYTES,
    trust_code: bool = False,
) -> Bundle:
    """A bundle from its files, whose bytes are known to be whole.

    Args:
        files: name -> bytes, as `howfar.bundle.save.files_of` gives them; taken apart.
        place: where they come from, for messages.
        max_model_bytes: as for `load`.
        trust_code: likewise.

    Raises:
        StoreError: as `load`.
    """
    settings = parse_settings(files[CONFIG], _place(place / CONFIG))
    model = bare(settings, trust_code=trust_code)
    wanted = expected(model)
    check_size(size_of(wanted), max_model_bytes)
    weights = unpack(files.pop(WEIGHTS), wanted, name=_place(place / WEIGHTS), finite=True)
    tokeniser, target = _tokenisers(settings, files)
    training = _training(files[TRAINING], place / TRAINING) if TRAINING in files else None
    return Bundle(
        settings=settings,
        model=filled(model, weights),
        tokeniser=tokeniser,
        target_tokeniser=target,
        training=training,
        curve=files.get(CURVE),
    )


def _notes(folder: Folder) -> tuple[str, ...]:
    if not folder.extra:
        return ()
    listed = ", ".join(shown(name, 40) for name in folder.extra[:5])
    return (f"Not part of the bundle, and not read: {listed}.",)


def _opened(path: Path) -> Folder:
    """The folder with its manifest read, and all in it that a bundle needs."""
    try:
        folder = open_folder(path)
    except StoreError as wrong:
        if wrong.code == "E-NO-MANIFEST":
            raise _foreign(path) from wrong
        raise
    kind = folder.about.get("kind")
    if kind != KIND:
        message = f"{_place(path)} is no bundle, but {shown(kind)}."
        raise StoreError("E-NO-BUNDLE", message, _HINT)
    for name in NEEDED:
        if name not in folder.files:
            raise StoreError("E-DAMAGED", f"{_place(path)} has no {name}.", _HINT)
    return folder


def _foreign(path: Path) -> HowfarError:
    """What stands where no bundle is, as far as it can be told; nothing is opened but its head."""
    if path.is_dir():
        if begun(path):
            message = f"The run in {_place(path)} is not finished: there is no model yet."
            hint = f"`howfar train ... --out {_place(path)} --resume` goes on with it"
            return StoreError("E-NO-MANIFEST", message, hint)
        if (path / CONFIG).is_file() and any(path.glob("model*.safetensors")):
            message = f"{_place(path)} is a folder of a Hugging Face model, and no bundle."
            return StoreError("E-NO-BUNDLE", message, "`howfar reach hf:FOLDER` can measure it")
        for entry in sorted(path.iterdir()):
            if entry.is_file():
                _refuse_unsafe(entry)
        message = f"{_place(path)} has no {MANIFEST}: no bundle, or not written to its end."
        return StoreError("E-NO-MANIFEST", message, _HINT)
    if path.is_file():
        _refuse_unsafe(path)
        return UsageError("E-NO-BUNDLE", f"{_place(path)} is a file; a bundle is a folder.", _HINT)
    near = ""
    with suppress(OSError, ValueError):
        near = closest(path.name, [entry.name for entry in path.parent.iterdir()])
    message = f"There is no folder {_place(path)}. {near}".strip()
    return UsageError("E-NO-BUNDLE", message, "the path of a bundle, or hf:OWNER/NAME")


def _refuse_unsafe(path: Path) -> None:
    head = b""
    with suppress(OSError), path.open("rb") as file:
        head = file.read(8)
    for magic, what in UNSAFE.items():
        if head.startswith(magic):
            message = f"{_place(path)} is {what}: opening it may run code."
            raise StoreError("E-UNSAFE", message, "weights as safetensors, in a bundle")


def _tokenisers(settings: Settings, files: dict[str, bytes]) -> tuple[Tokeniser, Tokeniser | None]:
    """The tokenisers, whose ids must be those of the model."""
    tokeniser = Tokeniser.from_json(files[TOKENISER], name=TOKENISER)
    target = None
    if TARGET_TOKENISER in files:
        target = Tokeniser.from_json(files[TARGET_TOKENISER], name=TARGET_TOKENISER)
    two = settings.aim == "seq2seq"
    if two != (target is not None):
        why = f"is missing for {settings.aim}" if two else f"does not belong to {settings.aim}"
        raise StoreError("E-CONFIG", f"{TARGET_TOKENISER} {why}.", _HINT)
    if tokeniser.kind != settings.tokens:
        message = f"The tokeniser is of {tokeniser.kind}, the settings of {shown(settings.tokens)}."
        raise StoreError("E-CONFIG", message, _HINT)
    known = settings.source_vocabulary if two else settings.vocabulary
    for side, ids in ((tokeniser, known), (target, settings.vocabulary)):
        if side is not None and ids is not None and side.vocabulary > ids:
            message = f"A tokeniser of {side.vocabulary:,} ids for a model that knows {ids:,}."
            raise StoreError("E-CONFIG", message, _HINT)
    return tokeniser, target


def _training(data: bytes, path: Path) -> Training:
    try:
        return codec.loads(Training, data.decode())
    except (ValueError, RecursionError, TypeError, AttributeError) as broken:
        message = f"Cannot read {_place(path)}: {shown(broken, 200)}."
        raise StoreError("E-CONFIG", message, _HINT) from broken


def _place(path: Path) -> str:
    return shown(str(path), 200)
