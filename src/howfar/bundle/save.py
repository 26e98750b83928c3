"""A bundle to a folder: weights, tokeniser, settings, training record, card and manifest.

Idea     every file is made in memory in a canonical form, so equal bundles give equal bytes; the
         folder appears whole or not at all (see `howfar.core.store`)
Files    weights.safetensors, config.json, tokenizer.json, target_tokenizer.json (seq2seq),
         training.json (where it was trained here), learning.svg (where its curve was drawn),
         README.md, MANIFEST.json
"""

import os
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

from howfar.bundle.bundle import Bundle
from howfar.bundle.card import card
from howfar.bundle.settings import SCHEMA, settings_text
from howfar.core.store import MANIFEST, Write, write_folder
from howfar.core.weights import Packed
from howfar.record import codec

KIND = "howfar bundle"
WEIGHTS, CONFIG, CARD, TRAINING, CURVE = (
    "weights.safetensors",
    "config.json",
    "README.md",
    "training.json",
    "learning.svg",
)
TOKENISER, TARGET_TOKENISER = "tokenizer.json", "target_tokenizer.json"
NEEDED = (WEIGHTS, CONFIG, TOKENISER, CARD)
FILES = (*NEEDED, TARGET_TOKENISER, TRAINING, CURVE, MANIFEST)  # all that a bundle may hold


def save(
    bundle: Bundle,
    path: str | os.PathLike[str],
    *,
    replace: bool = False,
    own: Collection[str] = (),
) -> None:
    """Write a bundle to the folder `path`.

    Args:
        bundle: what to write; its weights must be on a device that can be read.
        path: a folder that does not exist yet.
        replace: an existing bundle there gives way, once the new one is written whole.
        own: what else may lie in the old folder, and goes with it: a run's checkpoints.

    Raises:
        StoreError: E-EXISTS. EnvironmentFault: E-DISK, E-PERMISSION, E-WRITE.
    """
    about = {"kind": KIND, "schema": SCHEMA, "howfar": version("howfar")}
    write_folder(Path(path), files_of(bundle), about=about, replace=replace, own=own)


def files_of(bundle: Bundle) -> dict[str, bytes | Write]:
    """Every file of a bundle but the manifest: name -> bytes, or what writes them."""
    curve = None if bundle.curve is None else CURVE
    files: dict[str, bytes | Write] = {
        WEIGHTS: Packed(bundle.model.state_dict()),
        CONFIG: settings_text(bundle.settings).encode(),
        TOKENISER: bundle.tokeniser.to_json(),
        CARD: card(bundle.settings, bundle.training, bundle.parameters, curve).encode(),
    }
    if bundle.target_tokeniser is not None:
        files[TARGET_TOKENISER] = bundle.target_tokeniser.to_json()
    if bundle.training is not None:
        files[TRAINING] = (codec.dumps(bundle.training) + "\n").encode()
    if bundle.curve is not None:
        files[CURVE] = bundle.curve
    return files
