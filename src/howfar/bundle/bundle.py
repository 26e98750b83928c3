"""A trained model one can use: weights, tokeniser, settings and the record of its training.

Idea     a bundle is a value; what can be done with it are functions of this room, one file each,
         and methods here that call them, each imported when it is first asked for
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch import nn

from howfar.bundle.settings import Settings
from howfar.data.examples import Corpus
from howfar.data.tokenise import Tokeniser
from howfar.record.training import Training

if TYPE_CHECKING:
    from howfar.bundle.predict import Label, Prediction, Reals

MASKED_HINT = "it can be evaluated and exported; for a task, `howfar train --pretrain denoise`"


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A model in eval mode with all that it takes to ask it.

    training: None for a model that was not trained here. notes: what was said while loading.
    curve: its learning curve as SVG, where one was drawn.
    """

    settings: Settings
    model: nn.Module
    tokeniser: Tokeniser
    target_tokeniser: Tokeniser | None = None
    training: Training | None = None
    notes: tuple[str, ...] = ()
    curve: bytes | None = None

    @property
    def parameters(self) -> int:
        """Weights, counted."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def predict(self, texts: Sequence[str], **options: Any) -> "list[Label]":  # noqa: ANN401
        """The label of every text; see `howfar.bundle.predict.predict` for the options."""
        return [prediction.label for prediction in self.predictions(texts, **options)]

    def predictions(
        self,
        texts: Sequence[str],
        **options: Any,  # noqa: ANN401 - those of the function, as below
    ) -> "list[Prediction]":
        """As `predict`, with probabilities, and whether a text was cut or empty."""
        found: list[Prediction] = _room("predict").predict(self, texts, **options)
        return found

    def probabilities(self, texts: Sequence[str], **options: Any) -> "Reals":  # noqa: ANN401
        """(texts, names) probability of every class or label; the order is `settings.names`."""
        found: Reals = _room("predict").probabilities(self, texts, **options)
        return found

    def generate(self, prompt: str, **options: Any) -> Any:  # noqa: ANN401
        """Go on from a prompt; see `howfar.bundle.generate.generate`."""
        return _room("generate").generate(self, prompt, **options)

    def evaluate(self, data: Any, targets: Any = None, **options: Any) -> Any:  # noqa: ANN401
        """Score the model.

        Args:
            data: texts; a path, whose columns are guessed; or a corpus, whose test part is meant.
            targets: what is true of each text.
            options: as for `howfar.bundle.evaluate`.
        """
        room = _room("evaluate")
        if isinstance(data, Corpus):
            return room.evaluate(self, data, **options)
        asking = _room("examples")
        if isinstance(data, (str, os.PathLike)):
            asked = asking.read_asked(self, data, asking.CorpusOptions())
        else:
            asked = asking.asked_of(self, data, targets)
        return room.evaluate_asked(self, asked, **options)

    def export(self, path: str | os.PathLike[str], **options: Any) -> Any:  # noqa: ANN401
        """Write the model for other programs; see `howfar.bundle.export.export`."""
        return _room("export").export(self, path, **options)

    def save(self, path: str | os.PathLike[str], *, replace: bool = False) -> None:
        """Write the bundle to a folder; see `howfar.bundle.save.save`."""
        _room("save").save(self, path, replace=replace)

    def save_pretrained(self, path: str | os.PathLike[str]) -> None:
        """As `save`, under the name and manners of the hub: what stood there gives way."""
        _room("hub").save_pretrained(self, path)

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], **options: Any) -> "Bundle":  # noqa: ANN401
        """Open a local folder, or a bundle on the hub by name; see `howfar.bundle.hub`."""
        found: Bundle = _room("hub").from_pretrained(name, **options)
        return found


def _room(name: str) -> Any:  # noqa: ANN401 - a module of this room
    return import_module(f"howfar.bundle.{name}")
