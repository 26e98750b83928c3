"""A model named on the command line: `hf:FOLDER_OR_NAME`, `package.module:factory`, a folder.

Idea     one name, one object with what belongs to it: the model, how text becomes its tokens, and
         what there is to say about both
Safety   weights are read from safetensors alone: other files may run code when they are opened. No
         code that comes with a model is run, except a factory that the user names
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from howfar.adapt.hub import Loaded, load_pretrained
from howfar.core.errors import EnvironmentFault, UsageError, closest, shown

Encode = Callable[[str], list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A model with what belongs to it.

    model: what `adapt` takes. encode: text to ids, without special ones; None: none came with it.
    before, after: special ids around a row. name: how it was called. notes: what to say of it.
    """

    model: Any
    name: str
    encode: Encode | None = None
    before: tuple[int, ...] = ()
    after: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def open_model(name: str) -> Opened:
    """Open a model by its name.

    Raises:
        UsageError: E-MODEL, with what is wrong. EnvironmentFault: E-EXTRA where a package is
            missing. StoreError: E-WEIGHTS.
    """
    if name.startswith("hf:"):
        loaded = load_pretrained(name.removeprefix("hf:"))
        return _opened(loaded, name)
    if name and Path(name).is_dir():
        raise _folder(name)
    where, colon, attribute = name.partition(":")
    if not colon or not attribute:
        message = f"No model is called {shown(name)}."
        raise UsageError("E-MODEL", message, "hf:FOLDER_OR_NAME, or package.module:factory")
    made = made_by(look_up(where, attribute, name), name)
    encode = getattr(made, "encode", None)
    return Opened(model=made, name=name, encode=encode if callable(encode) else None)


def look_up(where: str, attribute: str, name: str) -> Any:  # noqa: ANN401
    """The object `attribute` of the module `where`.

    Raises:
        UsageError: E-MODEL for a module or attribute that is not there. EnvironmentFault: E-MODEL
            for a module that raises when imported.
    """
    try:
        found: Any = import_module(where)
    except ModuleNotFoundError as error:
        if error.name is not None and (where == error.name or where.startswith(f"{error.name}.")):
            message = f"{shown(name)} names no module that can be imported: {error.msg}."
            raise UsageError("E-MODEL", message, "run from its folder, or install it") from error
        message = f"The module {shown(where)} needs {shown(error.name)}, which is not installed."
        raise EnvironmentFault("E-EXTRA", message, f"pip install {error.name}") from error
    except (Exception, SystemExit) as error:
        raise _raised(f"Importing {shown(where)}", error) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = closest(part, [n for n in dir(found) if not n.startswith("_")])
            message = f"{shown(where)} has nothing called {shown(attribute)}. {near}"
            raise UsageError("E-MODEL", message.strip(), "package.module:name")
        found = getattr(found, part)
    return found


def made_by(found: Any, name: str) -> Any:  # noqa: ANN401
    """The model: the object itself, or what it gives when called without arguments.

    Raises:
        UsageError: E-MODEL.
    """
    if isinstance(found, nn.Module) or not _is_factory(found):
        made = found
    else:
        try:
            made = found()
        except (Exception, SystemExit) as error:
            raise _raised(f"The factory {shown(name)}", error) from error
    if not callable(made):
        message = f"{shown(name)} is or gives a {type(made).__name__}, which cannot be called."
        raise UsageError("E-MODEL", message, "a factory that returns a module or a function")
    return made


def _is_factory(found: Any) -> bool:  # noqa: ANN401
    """A class, or a function that needs no argument; a function of tokens is the model itself."""
    if isinstance(found, type):
        return True
    try:
        signature = inspect.signature(found)
        signature.bind()
    except (TypeError, ValueError):
        return False
    return bool(not signature.parameters or _names_no_tokens(signature))


def _names_no_tokens(signature: Any) -> bool:  # noqa: ANN401
    first = next(iter(signature.parameters))
    return first not in ("tokens", "x", "input", "inputs", "input_ids", "ids")


def _raised(what: str, error: BaseException) -> UsageError:
    text = " ".join(str(error).split())
    message = f"{what} raised {type(error).__name__}"
    message = f"{message}: {shown(text, 300)}." if text else f"{message}."
    return UsageError("E-MODEL", message, "the same in Python, to see where")


def _folder(name: str) -> UsageError:
    if (Path(name) / "config.json").is_file():
        message = f"{shown(name)} is a folder of a Hugging Face model."
        return UsageError("E-MODEL", message, f"hf:{name}")
    message = f"{shown(name)} is a folder; bundles of trained models are not known to this version."
    return UsageError("E-MODEL", message, "hf:FOLDER, or package.module:factory")


def _opened(loaded: Loaded, name: str) -> Opened:
    return Opened(
        model=loaded.model,
        name=name,
        encode=loaded.encode,
        before=loaded.before,
        after=loaded.after,
        notes=loaded.notes,
    )
