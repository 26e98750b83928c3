"""From a corpus and a recipe to a bundle: one run that can stop anywhere and go on.

Idea     a run lives in FOLDER/checkpoints while it trains; when it is done the whole folder is
         exchanged for the bundle in one step. A folder is thus empty, a run, or a bundle
Resume   same corpus, same recipe, same bits of software: the same weights as without the stop
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from howfar.bundle.build import model_of
from howfar.bundle.bundle import Bundle
from howfar.bundle.counts import class_counts
from howfar.bundle.place import CHECKPOINTS, PRETRAINED, TOKENS, Place, prepare
from howfar.bundle.recipe import Recipe
from howfar.bundle.room import check_memory, saying_memory
from howfar.bundle.save import save
from howfar.bundle.settings import Settings
from howfar.core.batch import Batch
from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.data.examples import Corpus, Examples
from howfar.data.ragged import Ragged
from howfar.data.sources import CorpusSource, source_for
from howfar.record.codec import printable
from howfar.record.comparison import Baseline, Score
from howfar.record.training import Pretraining, Spent, Training
from howfar.train import Moment, Trained, TrainOptions, fit
from howfar.train.checkpoint import Checkpoints
from howfar.train.processes import World

GLIMPSE_TOKENS = 500_000  # of a text, read in each validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """Who is told, who may stop the run, and who else works on it."""

    progress: Callable[[str, Moment], None] | None = None  # the stage's name, where it stands
    stop: Callable[[], bool] = lambda: False
    world: World = field(default_factory=World)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended: the model it gave, or why it gave none; `stopped` by who asked."""

    training: Training
    bundle: Bundle | None = None


def train(
    corpus: Corpus,
    recipe: Recipe,
    place: Place | None = None,
    watching: Watching | None = None,
    *,
    command: str = "",
    provenance: dict[str, Any] | None = None,
) -> Finished:
    """Train a model, and keep it in `place`.

    Args:
        corpus: what to train on.
        recipe: what to train.
        place: where the run and the model are kept; None: in memory alone.
        watching: who is told.
        command: how it was asked for, for the record.
        provenance: versions and settings that can change a number.

    Raises:
        UsageError: E-OPTION and the like. StoreError: E-EXISTS, E-OTHER-RUN, E-INEXACT, E-CKPT.
        EnvironmentFault: E-DISK, E-PERMISSION, E-MEMORY, before the first step where it can be
        known.
    """
    watching = watching or Watching()
    if not len(corpus.train) or not len(corpus.validation):
        raise DataError("E-TOO-FEW", "There is nothing to train or to choose on.", "more rows")
    settings = recipe.settings(corpus)
    check_memory(settings)
    with saying_memory():
        model = model_of(settings, Seeds(recipe.seed).torch("init"))
    if recipe.pack and not getattr(model, "packs", False):
        message = f"{recipe.family} cannot read packed documents."
        raise UsageError("E-PACK", message, "the same without --pack, or --family transformer")
    source = source_of(corpus, recipe)
    options = recipe.training(corpus, source.tokens_per_epoch)
    run = _Run(corpus, recipe, settings, options, place, watching, provenance or {})
    run.prepare(model)
    early = None
    if recipe.pretrain is not None:
        early = run.pretrain(model)
        if early.status != "done":
            return Finished(replace(run.record(model, early, command), ended_in="pretraining"))
    done = run.fit("training", model, source, options, CHECKPOINTS)
    record = run.record(model, done, command, early)
    if done.status != "done":
        return Finished(record)
    if watching.world.size > 1:  # what was shared among processes becomes one plain model
        model = model_of(settings)
        model.load_state_dict(done.weights)
    return Finished(
        record,
        Bundle(
            settings=settings,
            model=model.eval(),
            tokeniser=corpus.tokeniser,
            target_tokeniser=corpus.target_tokeniser,
            training=record,
        ),
    )


def keep(
    finished: Finished,
    place: Place,
    scores: Sequence[Score],
    baselines: Sequence[Baseline],
    curve: str | None = None,
) -> Bundle:
    """Write the model with what it scored; the run's checkpoints go in the same step.

    Args:
        finished: the run.
        place: where it was kept.
        scores: of the test part.
        baselines: beside them.
        curve: its learning curve as SVG, where one was drawn.

    Raises:
        EnvironmentFault: E-DISK, E-PERMISSION, E-WRITE; the run is then left as it was.
    """
    assert finished.bundle is not None
    record = replace(finished.training, scores=tuple(scores), baselines=tuple(baselines))
    drawn = None if curve is None else curve.encode()
    bundle = replace(finished.bundle, training=record, curve=drawn)
    save(bundle, place.folder, replace=True, own=(CHECKPOINTS, PRETRAINED, TOKENS))
    return bundle


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A source whose evaluations of a long text end after so many tokens: a run has many."""

    full: CorpusSource
    most_tokens: int

    def batch(self, number: int) -> Batch:
        """The training batch of this number."""
        return self.full.batch(number)

    def evaluation(self, part: str) -> Iterator[Batch]:
        """The first batches of the part, in order."""
        seen = 0
        for batch in self.full.evaluation(part):
            if seen >= self.most_tokens:
                return
            seen += batch.num_tokens
            yield batch


def source_of(corpus: Corpus, recipe: Recipe) -> CorpusSource:
    """The batches of a recipe."""
    return source_for(
        corpus,
        rows=recipe.rows,
        tokens=recipe.batch_tokens,
        seed=recipe.seed,
        carry=recipe.carries(corpus),
        pack=recipe.pack,
        slots=int(recipe.options.get("slots", 1)),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    corpus: Corpus
    recipe: Recipe
    settings: Settings
    options: TrainOptions
    place: Place | None
    watching: Watching
    provenance: dict[str, Any]

    def prepare(self, model: nn.Module) -> None:
        """Make sure of the folder before anything is computed."""
        if self.place is None:
            return
        if self.watching.world.first:
            prepare(self.place, sum(p.numel() * p.element_size() for p in model.parameters()))
        self.watching.world.wait()

    def pretrain(self, model: nn.Module) -> Trained:
        """Train embedding and body on the texts alone; how it went."""
        settings, corpus = self.settings, self.corpus
        denoise = self.recipe.pretrain == "denoise"
        more = settings.vocabulary  # an id of its own: what hides a token, or ends a text
        vocabulary = settings.vocabulary + 1
        texts = replace(
            corpus,
            aim="masked" if denoise else "lm",
            vocabulary=vocabulary,
            mask=more if denoise else None,
            end=None if denoise else more,
            names=(),
            scale=None,
            train=Examples(ids=corpus.train.ids),
            validation=Examples(ids=corpus.validation.ids),
        )
        shape = replace(
            settings, aim=texts.aim, vocabulary=vocabulary, outputs=vocabulary, pooled=False
        )
        early = model_of(shape, Seeds(self.recipe.seed).torch("pretraining"))
        recipe = replace(self.recipe, pretrain=None, balanced=False, pack=False, carry=False)
        source = source_of(texts, recipe)
        options = replace(self.options, weights=None, smoothing=0.0, select="loss", carry=False)
        done = self.fit("pretraining", early, source, options, PRETRAINED)
        if done.status != "done":
            return done
        with torch.no_grad():
            model.embedding.weight.copy_(early.embedding.weight[: settings.vocabulary])  # type: ignore[operator, union-attr, index]
        model.body.load_state_dict(early.body.state_dict())  # type: ignore[union-attr]
        return done

    def fit(
        self,
        stage: str,
        model: nn.Module,
        source: CorpusSource,
        options: TrainOptions,
        folder: str,
    ) -> Trained:
        """One stage, with its checkpoints."""
        watching, progress = self.watching, None
        if watching.progress is not None:
            listen = watching.progress

            def progress(now: Moment) -> None:
                listen(stage, now)

        checkpoints = None
        if self.place is not None:
            identity = self._identity(options) | {"stage": stage}
            checkpoints = Checkpoints(self.place.folder / folder, identity)
        seen = Glimpse(source, GLIMPSE_TOKENS) if self.corpus.aim in ("lm", "masked") else source
        with saying_memory():
            return fit(
                model,
                seen,
                options,
                progress,
                checkpoints=checkpoints,
                stop=watching.stop,
                world=watching.world,
            )

    def record(
        self, model: nn.Module, done: Trained, command: str, early: Trained | None = None
    ) -> Training:
        """What is kept of the run; early: how it was pretrained."""
        pretraining, both = None, None
        if early is not None and self.recipe.pretrain is not None:
            pretraining = Pretraining(kind=self.recipe.pretrain, **_spent(early))
            both = Spent(**_spent(early, done))
        count = getattr(model, "count", None)
        total = sum(p.numel() for p in model.parameters())
        return Training(
            aim=self.corpus.aim,
            family=self.recipe.family,
            seed=self.recipe.seed,
            budget=str(self.options.budget),
            learning_rate=self.options.learning_rate,
            status=done.status,
            reason=done.reason,
            steps=done.steps,
            tokens=done.tokens,
            seconds=done.seconds,
            flops=done.flops,
            labels=class_counts(self.corpus),
            pretraining=pretraining,
            total=both,
            best_step=done.best_step,
            points=tuple(done.points),
            parameters=count() if count is not None else {"all": total},
            settings=made_with(self.options, self.recipe),
            data=self.corpus.data,
            inexact=self.place is not None and self.place.inexact,
            command=printable(command),
            provenance=self.provenance,
        )

    def _identity(self, options: TrainOptions) -> dict[str, Any]:
        """What must be the same to go on; without versions where other bits are allowed."""
        plan = _plain(asdict(options)) | {"budget": asdict(options.budget)}
        plan.pop("checkpoint_every")  # when a run is kept does not change it
        same: dict[str, Any] = {
            "data": self.corpus.data.sha256,
            "rows": [_rows(self.corpus.train), _rows(self.corpus.validation)],
            "tokeniser": digest(self.corpus.tokeniser.library.to_str()),
            "model": _plain(asdict(replace(self.settings, columns=()))),
            "options": plan,
            "batches": [self.recipe.rows, self.recipe.batch_tokens, self.recipe.pack],
            "pretrain": self.recipe.pretrain,
        }
        if self.place is not None and not self.place.inexact:
            same["software"] = {
                "torch": torch.__version__,
                "cpu": torch.backends.cpu.get_cpu_capability(),
                "threads": torch.get_num_threads(),
            }
        return json.loads(json.dumps(same))  # type: ignore[no-any-return]


def _spent(*stages: Trained) -> dict[str, Any]:
    """Steps, tokens, FLOPs and seconds of the stages together."""
    names = (field.name for field in fields(Spent))
    return {name: sum(getattr(stage, name) for stage in stages) for name in names}


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value if isinstance(value, (str, int, float, bool)) else str(value)
        for name, value in options.items()
        if value is not None
    }


def made_with(options: TrainOptions, recipe: Recipe) -> dict[str, Any]:
    """How a run was trained, as its record keeps it."""
    batches = {"rows": recipe.rows, "batch_tokens": recipe.batch_tokens, "pack": recipe.pack}
    return _plain(asdict(options) | batches | {"pretrain": recipe.pretrain})


def digest(text: str) -> str:
    """SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def _rows(part: Examples) -> str:
    """Digest of what is learned or chosen on: one file may be split and cut in many ways."""
    digest = hashlib.sha256()
    for held in (part.ids, part.targets):
        if isinstance(held, Ragged):
            digest.update(held.offsets.tobytes())
            held = held.flat
        if isinstance(held, np.ndarray):
            digest.update(np.ascontiguousarray(held).tobytes())
        elif held is not None:
            digest.update(str(len(held)).encode())  # of a file, which is known by its own digest
    return digest.hexdigest()
