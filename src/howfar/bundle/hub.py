"""A bundle under the names of the Hugging Face hub: a local folder, or OWNER/NAME.

Idea     the files of a bundle and no others are fetched, and the hub's cache is opened like any
         folder: the manifest decides whether it is whole
Offline  where no network answers, what is in the cache is taken; where HF_HUB_OFFLINE is set, none
         is asked
"""

import os
import re
from importlib import import_module
from pathlib import Path
from typing import Any

from howfar.bundle.build import MAX_MODEL_BYTES
from howfar.bundle.bundle import Bundle
from howfar.bundle.load import load
from howfar.bundle.save import FILES, save
from howfar.core.errors import EnvironmentFault, UsageError, shown
from howfar.data.network import reaching

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def save_pretrained(bundle: Bundle, path: str | os.PathLike[str]) -> None:
    """Write a bundle to a folder, in place of one that stands there.

    Raises:
        StoreError, EnvironmentFault: as `howfar.bundle.save.save`.
    """
    save(bundle, path, replace=True)


def from_pretrained(
    name: str | os.PathLike[str],
    *,
    revision: str | None = None,
    max_model_bytes: int = MAX_MODEL_BYTES,
    trust_code: bool = False,
) -> Bundle:
    """Open a bundle.

    Args:
        name: a local folder, which goes before, or OWNER/NAME on the hub.
        revision: a branch, tag or commit of the hub's repository.
        max_model_bytes: as for `howfar.bundle.load.load`.
        trust_code: likewise.

    Raises:
        UsageError: E-NO-BUNDLE. EnvironmentFault: E-EXTRA without `huggingface_hub`, E-OFFLINE.
        StoreError: as `load`.
    """
    options: Any = {"max_model_bytes": max_model_bytes, "trust_code": trust_code}
    if Path(name).exists() or not _NAME.fullmatch(os.fspath(name)):
        return load(name, **options)
    return load(_fetched(os.fspath(name), revision), **options)


def _fetched(name: str, revision: str | None) -> Path:
    """The folder of the hub's cache with the files of a bundle."""
    try:
        hub: Any = import_module("huggingface_hub")
    except ImportError as error:
        message = f"There is no folder {shown(name)}, and the hub needs huggingface_hub."
        raise EnvironmentFault("E-EXTRA", message, "pip install 'howfar[hf]'") from error
    wanted: dict[str, Any] = {"revision": revision, "allow_patterns": list(FILES)}
    why = ""
    try:
        with reaching() as why:
            return Path(hub.snapshot_download(name, **wanted))
    except Exception as error:  # whatever a network can do
        if type(error).__name__ in ("RepositoryNotFoundError", "RevisionNotFoundError"):
            message = f"Neither a folder nor a repository of the hub is called {shown(name)}."
            raise UsageError("E-NO-BUNDLE", message, "the path of a bundle") from error
        text = why or " ".join(str(error).split())
        message = f"There is no folder {shown(name)}, and the hub gave none: {shown(text, 200)}."
        hint = "the path of a bundle, or once with a network"
        raise EnvironmentFault("E-OFFLINE", message, hint) from error
