"""Trained models in a script: `howfar.load("model/").predict(["a text"])`."""

import os

from howfar.bundle.build import MAX_MODEL_BYTES
from howfar.bundle.bundle import Bundle
from howfar.bundle.load import load as _load


def load(
    path: str | os.PathLike[str],
    *,
    max_model_bytes: int = MAX_MODEL_BYTES,
    trust_code: bool = False,
) -> Bundle:
    """Open a trained model.

    Args:
        path: the folder that `howfar train --out` or `Bundle.save` wrote, or `hf:OWNER/NAME`.
        max_model_bytes: the largest model that memory is taken for.
        trust_code: the model's family may be code from outside howfar.

    Returns:
        A bundle: `.predict(texts)`, `.probabilities(texts)`, `.generate(prompt)`,
        `.evaluate(...)`, `.export(path)`, `.save(path)`; `.training` is the record.

    Raises:
        UsageError, StoreError, EnvironmentFault: what is wrong with the folder; see
            `howfar.bundle.load.load`.
    """
    return _load(path, max_model_bytes=max_model_bytes, trust_code=trust_code)
