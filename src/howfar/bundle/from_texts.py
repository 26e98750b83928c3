"""A classifier from texts and labels in memory: what scikit-learn's tools train."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch

from howfar.bundle.bundle import Bundle
from howfar.bundle.recipe import Recipe
from howfar.bundle.training import train
from howfar.core.errors import DataError, UsageError
from howfar.data.anything import Rows
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.train import Budget, TrainOptions

COLUMNS = ("text", "label")
READING = ("max_vocabulary", "keep")  # further options of the corpus that `settings` may hold


def train_texts(  # noqa: PLR0913 - each is a parameter of the estimator
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    family: str = "gru",
    budget: str | None = None,
    tokens: Any = None,  # noqa: ANN401 - a kind of tokeniser
    length: int | None = None,
    seed: int = 0,
    learning_rate: float | None = None,
    parameters: int | None = None,
    dropout: float | None = None,
    threads: int | None = None,
    **settings: Any,  # noqa: ANN401
) -> Bundle:
    """Train on all texts but a tenth, on which the best weights are chosen.

    Args:
        texts: empty ones are kept.
        labels: as many.
        family: a name of `howfar.families()`.
        budget: such as "5 epochs"; None: as it suits the data.
        tokens: None: as it suits the texts.
        length: most tokens of a text; None: likewise.
        seed: of the split, the weights and the batches.
        learning_rate: at its peak; None: as it suits the family.
        parameters: of the body; None: its usual width.
        dropout: share dropped; None: as usual.
        threads: of torch; None: as they are.
        **settings: fields of `Recipe` and `TrainOptions`, of the corpus (max_vocabulary, keep), and
            settings of the family.

    Raises:
        UsageError, DataError: what cannot be built or learned. DataError E-DIVERGED: the loss was
        not finite.
    """
    if threads is not None:
        if threads < 1:
            raise UsageError("E-OPTION", f"threads={threads} is less than 1.", "threads=1")
        torch.set_num_threads(threads)
    columns = (tuple(texts), tuple(labels))
    rows = Rows(
        path="texts",
        names=COLUMNS,
        lines=range(1, len(texts) + 1),
        column=lambda place: columns[place],
        notes=(),
        kind="table",
    )
    reading = {name: settings.pop(name) for name in READING if name in settings}
    options = CorpusOptions(
        text=COLUMNS[0],
        label=COLUMNS[1],
        tokens=tokens,
        length=length,
        empty="keep",
        test_share=0.0,
        seed=seed,
        **reading,
    )
    known = {field.name for field in fields(Recipe)}
    loop = {field.name for field in fields(TrainOptions)} - known
    recipe = Recipe(
        family=family,
        budget=None if budget is None else Budget.parse(budget),
        seed=seed,
        learning_rate=learning_rate,
        parameters=parameters,
        dropout=dropout,
        options={name: settings.pop(name) for name in sorted(loop & set(settings))},
        **{name: settings.pop(name) for name in sorted(known & set(settings))},
        extras=settings,
    )
    done = train(load_corpus(rows, "classification", options), recipe)
    if done.bundle is None:
        raise DataError("E-DIVERGED", f"Training failed: {done.training.reason}.", "a lower rate")
    return done.bundle
