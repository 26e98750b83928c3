"""Whether a finished model is what a run would make again: its data, its model, its training.

Idea     a bundle keeps no checkpoint, so what a checkpoint's identity says is put together from its
         settings, its tokeniser and its record; versions are not asked, as nothing is computed
"""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from howfar.bundle.bundle import Bundle
from howfar.bundle.counts import class_counts
from howfar.bundle.recipe import Recipe
from howfar.bundle.settings import Settings
from howfar.bundle.training import digest, made_with, source_of
from howfar.core.errors import StoreError, shown
from howfar.data.examples import Corpus
from howfar.record.training import Training
from howfar.train.checkpoint import _different, _listed

_UNSAID = {"schema", "columns"}  # of the settings: they change no weight


def check_same(bundle: Bundle, corpus: Corpus, recipe: Recipe, folder: Path) -> None:
    """Refuse to go on with a finished model that another run made.

    Args:
        bundle: the finished model.
        corpus: what would be trained on.
        recipe: what would be trained.
        folder: where the model stands, for the message.

    Raises:
        StoreError: E-OTHER-RUN, with what differs. UsageError: as `Recipe.settings`.
    """
    if bundle.training is None:
        return
    there = _told(bundle.training, bundle.settings, bundle.tokeniser)
    options = recipe.training(corpus, source_of(corpus, recipe).tokens_per_epoch)
    here = {
        "data": corpus.data.sha256,
        "tokeniser": digest(corpus.tokeniser.library.to_str()),
        "labels": class_counts(corpus),
        "model": _shape(recipe.settings(corpus)),
        "options": _lasting(made_with(options, recipe)),
    }
    different = _different(there, here)
    if different:
        where = shown(str(folder), limit=400)
        message = f"The model in {where} is of another run: {_listed(different)}."
        hint = "the settings of that run, another --out, or --overwrite"
        raise StoreError("E-OTHER-RUN", message, hint)


def _told(run: Training, settings: Settings, tokeniser: Any) -> dict[str, Any]:  # noqa: ANN401
    return {
        "data": run.data.sha256,
        "tokeniser": digest(tokeniser.library.to_str()),
        "labels": run.labels,
        "model": _shape(settings),
        "options": _lasting(run.settings),
    }


def _shape(settings: Settings) -> dict[str, Any]:
    named = asdict(settings)
    return {one.name: str(named[one.name]) for one in fields(Settings) if one.name not in _UNSAID}


def _lasting(options: dict[str, Any]) -> dict[str, Any]:
    """All but when a run is kept, which does not change it."""
    return {name: str(value) for name, value in options.items() if name != "checkpoint_every"}
