"""From a file to a model one can keep: read, train, score beside its baselines, write."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from howfar.api.options import options as built
from howfar.bundle.bundle import Bundle
from howfar.bundle.evaluate import evaluate
from howfar.bundle.opening import CorpusOptions, open_corpus
from howfar.bundle.place import TOKENS, Place, check_free
from howfar.bundle.recipe import Recipe
from howfar.bundle.training import Watching, keep
from howfar.bundle.training import train as train_corpus
from howfar.core.errors import UsageError
from howfar.record.evaluation import Evaluation
from howfar.record.training import Training
from howfar.study.beside import beside
from howfar.study.provenance import provenance
from howfar.train import Budget

MOST_TEXT = 2_000_000  # tokens of a test text that are scored; `howfar evaluate` scores all


@dataclass(frozen=True, slots=True)
class Ended:
    """A run that ended. bundle, evaluation: of one that is done; of the test part."""

    training: Training
    bundle: Bundle | None = None
    evaluation: Evaluation | None = None


def train_file(  # noqa: PLR0913 - by keyword only
    source: Any,  # noqa: ANN401 - a path, "-", "hf:NAME" or a data set
    aim: Any = None,  # noqa: ANN401 - a name of `howfar.data.examples.AIMS`
    *,
    reading: CorpusOptions,
    recipe: Recipe,
    place: Place,
    watching: Watching,
    baselines: bool = True,
    say: Callable[[Any], None] = lambda data: None,
    command: str = "",
) -> Ended:
    """Train on a file and keep the model in `place`.

    Args:
        source: what to read.
        aim: what to learn; None: as it suits the data.
        reading: how to read.
        recipe: what to build and how to train it.
        place: where the run and the model are kept.
        watching: who is told, and who may stop it.
        baselines: score simple predictors on the same test rows.
        say: told what was read, before training starts.
        command: how it was asked for.

    Raises:
        HowfarError: whatever is wrong, in one line.
    """
    check_free(place)  # before a large text is read for minutes, or its tokens are written there
    reading = replace(reading, seed=recipe.seed, folder=Path(place.folder) / TOKENS)
    world = watching.world
    if not world.first:
        world.wait()  # the first puts a large text on the disk, the others find it there
    corpus = open_corpus(source, aim, reading)
    if world.first:
        world.wait()
    say(corpus.data)
    versions = provenance(torch.get_num_threads())
    done = train_corpus(corpus, recipe, place, watching, command=command, provenance=versions)
    if done.bundle is None or not world.first:
        return Ended(done.training)
    text = corpus.aim in ("lm", "masked")
    found = evaluate(done.bundle, corpus, "test", most_tokens=MOST_TEXT if text else None)
    rivals = (*found.baselines, *beside(corpus, recipe.seed)) if baselines else ()
    from howfar.report.learning import learning_svg  # noqa: PLC0415 - altair is slow to import

    bundle = keep(done, place, found.scores, rivals, learning_svg(done.training))
    assert bundle.training is not None
    return Ended(bundle.training, bundle, found)


def train(
    source: Any,  # noqa: ANN401
    out: str | PathLike[str],
    *,
    aim: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    reading: Mapping[str, Any] | None = None,
    **recipe: Any,  # noqa: ANN401 - fields of Recipe
) -> Ended:
    """Train a model on a source and keep it in the folder `out`, as `howfar train` does.

    Args:
        source: a path, "hf:NAME", a shipped set's name, or a `datasets.Dataset`.
        out: a folder that is empty or not there, or that of a run to go on with.
        aim: "classification", "multilabel", "tagging", "regression", "lm", "masked", "seq2seq";
            None: as it suits the data.
        resume: go on where a run in `out` stopped.
        overwrite: replace a finished model in `out`.
        reading: fields of `CorpusOptions`: text, label, test, tokens, length, ...
        **recipe: family="gru", budget="5 epochs", learning_rate, width, seed, ... and the other
            fields of `howfar.bundle.recipe.Recipe`.

    Returns:
        `.bundle` to use at once, `.training` and `.evaluation`, the records.

    Raises:
        HowfarError: whatever is wrong, in one line.
    """
    amount = recipe.pop("budget", None)
    if amount is not None and not isinstance(amount, (str, Budget)):
        message = f"budget is of type {type(amount).__name__}, and says no unit."
        raise UsageError("E-OPTION", message, 'a text: "5 epochs", "200k tokens", "30 seconds"')
    kept: object = out
    if not isinstance(kept, (str, PathLike)):
        message = f"out is of type {type(out).__name__}, not a folder."
        raise UsageError("E-OPTION", message, 'out="model"')
    budget = Budget.parse(amount) if isinstance(amount, str) else amount
    return train_file(
        source,
        aim,
        reading=built(CorpusOptions, dict(reading or {})),
        recipe=built(Recipe, {"budget": budget, **recipe}),
        place=Place(folder=Path(out), resume=resume, overwrite=overwrite),
        watching=Watching(),
    )
