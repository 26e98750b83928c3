"""What to build and how to train it, with what suits a family and an aim where nothing is said."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from howfar.bundle.settings import Settings
from howfar.core.errors import UsageError, shown
from howfar.data.examples import Corpus
from howfar.models import fit_width
from howfar.models.building import check_family
from howfar.models.catalogue import named
from howfar.train import Budget, TrainOptions

POOLED = ("classification", "multilabel", "regression")
RATES = {  # peak learning rate by kind of family
    "convolutional": 2e-3,
    "recurrent": 3e-3,
    "attention": 1e-3,
    "linear recurrence": 3e-3,
    "hybrid": 2e-3,
}
CARRYING = ("recurrent", "linear recurrence")
WIDTH = 128
EPOCHS, MOST_TOKENS = 10, 20_000_000  # of the budget, where none is given
DROPOUT = {"lm": 0.0, "masked": 0.0, "seq2seq": 0.1}  # of other aims 0.3
PRETRAINING = ("next", "denoise")
NOT_EXTRAS = {  # keywords of `howfar.models.build` that are no settings of a family
    *("name", "vocabulary", "source_vocabulary", "outputs", "width", "depth", "causal", "pooled"),
    *("embedding", "dropout", "generator"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """None: as it suits the family and the aim.

    parameters: of the body, in place of `width`. rows: of a batch; batch_tokens: padded tokens of
    a batch in its place. pack: documents of a batch one after another, without padding. balanced:
    rare classes weigh as much as common ones. pretrain: "next" (token) or "denoise" on the task's
    own training text first, with as large a budget again. options: further fields of
    `TrainOptions`. extras: settings of the family.
    """

    family: str = "gru"
    budget: Budget | None = None
    learning_rate: float | None = None
    seed: int = 0
    width: int | None = None
    parameters: int | None = None
    depth: int | None = None
    embedding: int | None = None
    dropout: float | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 32
    batch_tokens: int | None = None
    pack: bool = False
    carry: bool | None = None
    balanced: bool = False
    pretrain: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.pretrain is not None and self.pretrain not in PRETRAINING:
            message = f"No pretraining is called {shown(self.pretrain)}."
            raise UsageError("E-OPTION", message, f"one of {', '.join(PRETRAINING)}")
        for name in sorted(NOT_EXTRAS & set(self.extras)):
            message = f"{name} is no setting of a family."
            own = name in {one.name for one in fields(self)}
            hint = f"--{name}" if own else "leave it out: it follows from the data"
            raise UsageError("E-OPTION", message, hint)
        if self.width is not None and self.parameters is not None:
            message = "Both width and parameters say how wide the model is."
            raise UsageError("E-OPTION", message, "one of --width and --parameters")
        depth = {} if self.depth is None else {"depth": self.depth}
        check_family(self.family, {**self.extras, **depth})  # before any data is read

    def settings(self, corpus: Corpus) -> Settings:
        """The model's settings for this corpus.

        Raises:
            UsageError: E-MODEL, E-OPTION, E-WIDTH.
        """
        family = named(self.family)
        aim = corpus.aim
        pooled = aim in POOLED
        if self.pretrain is not None and not pooled:
            message = f"Pretraining is for texts with one answer, not for {aim}."
            raise UsageError("E-OPTION", message, "the same without --pretrain")
        causal = aim in ("lm", "seq2seq") or self.pretrain == "next"
        extras = dict(self.extras)
        known = {setting.name for setting in fields(family.settings)}
        if aim in ("tagging", "masked") and "bidirectional" in known:
            extras.setdefault("bidirectional", True)  # both sides of a token tell what it is
        embedding = self.embedding or self.width or WIDTH
        width = self.width or WIDTH
        if self.parameters is not None:
            sizes: dict[str, Any] = {"embedding": embedding, "depth": self.depth, "causal": causal}
            width = fit_width(self.family, self.parameters, **sizes, **extras)
        seq2seq = aim == "seq2seq"
        return Settings(
            aim=aim,
            family=self.family,
            tokens=corpus.tokeniser.kind,
            vocabulary=corpus.outputs if seq2seq else corpus.vocabulary,
            source_vocabulary=corpus.vocabulary if seq2seq else None,
            outputs=corpus.outputs,
            length=corpus.length,
            target_length=corpus.target_length,
            width=width,
            embedding=embedding,
            depth=self.depth,
            dropout=DROPOUT.get(aim, 0.3) if self.dropout is None else self.dropout,
            causal=causal,
            pooled=pooled,
            extras=extras,
            names=corpus.names,
            keep=corpus.keep,
            end=corpus.end,
            mask=corpus.mask,
            scale=corpus.scale,
            carry=self.carries(corpus),
            columns=corpus.columns,
        )

    def carries(self, corpus: Corpus) -> bool:
        """Whether states go on from window to window."""
        if self.carry is None:
            return corpus.aim == "lm" and named(self.family).kind in CARRYING and not self.pack
        if self.carry and (corpus.aim != "lm" or self.pack):
            message = "States are carried along a running text alone."
            raise UsageError("E-OPTION", message, "the same without --carry")
        return self.carry

    def training(self, corpus: Corpus, tokens_per_epoch: int) -> TrainOptions:
        """How to train on this corpus.

        Raises:
            UsageError: E-OPTION.
        """
        if self.options.get("smoothing") and corpus.aim in ("regression", "multilabel"):
            message = f"Smoothing is of one right class; it has no effect for {corpus.aim}."
            raise UsageError("E-OPTION", message, "the same without --smoothing")
        budget = self.budget or Budget(float(min(EPOCHS * tokens_per_epoch, MOST_TOKENS)))
        scored = corpus.aim in ("classification", "multilabel", "tagging")
        given: dict[str, Any] = {"select": "score" if scored else "loss", "evaluations": 10}
        return TrainOptions(
            budget=budget.counted(tokens_per_epoch),
            learning_rate=self.learning_rate or RATES[named(self.family).kind],
            seed=self.seed,
            weights=_balanced(corpus) if self.balanced else None,
            carry=self.carries(corpus),
            **(given | dict(self.options)),
        )


def _balanced(corpus: Corpus) -> tuple[float, ...]:
    """Weights so that each class weighs as much in all: rows / (classes * rows of the class)."""
    if corpus.aim != "classification" or corpus.data.labels is None:
        message = f"Classes cannot be balanced for {corpus.aim}."
        raise UsageError("E-OPTION", message, "the same without --balanced")
    counts = [
        int((corpus.train.targets == code).sum())  # type: ignore[union-attr]
        for code in range(len(corpus.names))
    ]
    return tuple(sum(counts) / (len(counts) * max(count, 1)) for count in counts)
