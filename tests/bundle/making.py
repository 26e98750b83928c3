"""Small bundles of every aim, drawn and not trained."""

import torch

from howfar.bundle.build import model_of
from howfar.bundle.bundle import Bundle
from howfar.bundle.settings import Settings
from howfar.data.tokenise import train_tokeniser
from howfar.record.comparison import Baseline, Data, Score
from howfar.record.training import Training

TEXTS = [
    "the film was good",
    "a boring story of people",
    "the town had good scenes and it was fine",
]
AIMS = ("classification", "multilabel", "tagging", "regression", "lm", "masked", "seq2seq")
NAMED = ("classification", "multilabel", "tagging")
POOLED = ("classification", "multilabel", "regression")


def settings(aim="classification", family="gru", tokeniser=None, **given):
    tokeniser = tokeniser or train_tokeniser("word", TEXTS, min_count=1)
    ids = tokeniser.vocabulary
    names = given.pop("names", ("bad", "good", "fine") if aim in NAMED else ())
    outputs = {"regression": 1}.get(aim, len(names) or ids + (aim in ("lm", "seq2seq")))
    more = {}
    if aim == "seq2seq":
        more = {"source_vocabulary": ids, "end": ids, "target_length": 6}
    elif aim in ("lm", "masked"):
        more = {"end": ids} if aim == "lm" else {"mask": ids}
    if aim == "regression":
        more = {"scale": (10.0, 2.0)}
    base = {
        "aim": aim,
        "family": family,
        "tokens": tokeniser.kind,
        "vocabulary": ids + (aim in ("lm", "masked", "seq2seq")),
        "outputs": outputs,
        "length": 8,
        "width": 8,
        "embedding": 8,
        "causal": aim in ("lm", "seq2seq"),
        "pooled": aim in POOLED,
        "names": names,
    }
    return Settings(**(base | more | given))


def training(aim="classification", family="gru", name="reviews.csv"):
    data = Data(kind="labels", name=name, unit="word", rows=90, train=70, validation=10, test=10)
    return Training(
        aim=aim,
        family=family,
        seed=3,
        budget="10 steps",
        learning_rate=0.01,
        status="done",
        steps=10,
        tokens=500,
        seconds=1.5,
        flops=10**9,
        parameters={"body": 10},
        settings={"dropout": 0.1},
        data=data,
        labels={"bad": 30, "good": 25, "fine": 15} if aim in NAMED else None,
        scores=(Score(name="accuracy", value=0.9, low=0.8, high=0.95),),
        baselines=(Baseline(name="TF-IDF", score=Score(name="accuracy", value=0.85)),),
    )


def bundle(aim="classification", family="gru", tokens="word", seed=0, scale=1.0, **given):
    """A drawn bundle; `scale` widens the head, so that answers differ."""
    tokeniser = train_tokeniser(tokens, TEXTS, min_count=1, max_vocabulary=300)
    made = settings(aim, family, tokeniser, **given)
    model = model_of(made, torch.Generator().manual_seed(seed)).eval()
    with torch.no_grad():
        model.head.weight.mul_(scale)
    return Bundle(
        settings=made,
        model=model,
        tokeniser=tokeniser,
        target_tokeniser=tokeniser if aim == "seq2seq" else None,
        training=training(aim, family),
    )
