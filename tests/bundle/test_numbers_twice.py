"""Numbers of training and scoring, computed a second time without the code under test."""

import copy
import math

import numpy as np
import pytest
import torch
from tests.bundle.making import bundle

from howfar.api.estimator import TextClassifier
from howfar.bundle import metrics, text_tallies
from howfar.bundle.beam import search
from howfar.bundle.build import model_of
from howfar.bundle.evaluate import evaluate_asked
from howfar.bundle.examples import asked_of
from howfar.bundle.recipe import Recipe
from howfar.core.seeds import Seeds
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.data.sources import source_for
from howfar.train import Budget, TrainOptions, fit

WORDS = ["the", "film", "was", "good", "boring", "town", "people", "story", "fine", "dull"]
RATE = 5e-3


def corpus(folder, aim):
    draws = np.random.default_rng(0)
    path = folder / f"{aim}.tsv"
    lines = []
    for i in range(90):
        text = " ".join([*draws.choice(WORDS, size=int(draws.integers(1, 9))), str(i % 23)])
        said = {
            "classification": "abc"[i % 3],
            "regression": str(1000 + 50 * len(text)),
            "tagging": " ".join("XY"[len(word) % 2] for word in text.split()),
            "seq2seq": " ".join(reversed(text.split())),
        }[aim]
        lines.append(f"{text}\t{said}\n")
    heads = {"regression": "text\tnumber", "tagging": "tokens\ttags", "seq2seq": "source\ttarget"}
    path.write_text(heads.get(aim, "text\tlabel") + "\n" + "".join(lines))
    return load_corpus(path, aim, CorpusOptions())


def summed(model, batch, options):
    """Summed loss of a batch, and what it weighs."""
    given = (batch.tokens, batch.lengths)
    if batch.source is not None:
        given = (batch.source, batch.tokens, batch.source_lengths, batch.lengths)
    logits = model(*given)
    if batch.targets.is_floating_point():
        return (logits[:, 0] - batch.targets).square().sum(), batch.targets.numel()
    flat, wanted = logits.reshape(-1, logits.shape[-1]), batch.targets.reshape(-1)
    flat, wanted = flat[wanted != -100], wanted[wanted != -100]
    weights = torch.tensor(options.weights or [1.0] * flat.shape[-1])
    share = torch.full_like(flat, options.smoothing / flat.shape[-1])
    share[torch.arange(len(wanted)), wanted] += 1 - options.smoothing
    return -(share * weights * flat.log_softmax(-1)).sum(), float(weights[wanted].sum())


def rate(used, options):
    if used < options.warmup:
        return max(used / options.warmup, 0.05)
    way = (used - options.warmup) / (1 - options.warmup)
    return options.final + (1 - options.final) * 0.5 * (1 + math.cos(math.pi * way))


@pytest.mark.parametrize(
    ("aim", "family", "budget", "more"),
    [
        ("classification", "gru", "2 epochs", {}),
        ("classification", "textcnn", "12 steps", {"smoothing": 0.2, "weights": (1.0, 5.0, 0.2)}),
        ("classification", "transformer", "5M flops", {"clip": 0.05, "warmup": 0.0}),
        ("regression", "mamba", "8 steps", {"final": 0.0}),
        ("tagging", "lstm", "500 tokens", {}),
        ("seq2seq", "gru", "6 steps", {}),
    ],
)
def test_a_run_equals_one_written_out(tmp_path, aim, family, budget, more):
    data = corpus(tmp_path, aim)
    settings = Recipe(family=family, width=12, embedding=12, dropout=0.0).settings(data)
    model = model_of(settings, Seeds(0).torch("init"))
    twin = copy.deepcopy(model).train()
    source = source_for(data, tokens=100, seed=0, slots=2)
    plan = Budget.parse(budget).counted(source.tokens_per_epoch)
    options = TrainOptions(budget=plan, learning_rate=RATE, slots=2, evaluations=1, **more)
    done = fit(model, source, options)
    parameters = list(twin.parameters())
    first, second = ([torch.zeros_like(p) for p in parameters] for _ in range(2))
    spent = {"tokens": 0, "steps": 0, "flops": 0}
    while (used := spent[plan.unit] / plan.amount) < 1:
        now = RATE * rate(used, options)
        batches = [source.batch(2 * spent["steps"] + slot) for slot in range(2)]
        losses, weights = zip(*(summed(twin, batch, options) for batch in batches), strict=True)
        gradients = torch.autograd.grad(sum(losses) / sum(weights), parameters)
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients))
        spent["steps"] += 1
        with torch.no_grad():
            for i, p in enumerate(parameters):
                g = gradients[i] * min(1.0, options.clip / (norm + 1e-6))
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.98 * second[i] + 0.02 * g * g
                p.mul_(1 - now * options.weight_decay * (p.ndim > 1))
                scale = (second[i] / (1 - 0.98 ** spent["steps"])).sqrt() + 1e-8
                p.sub_(now * first[i] / (1 - 0.9 ** spent["steps"]) / scale)
        for batch in batches:
            rows = [batch.lengths.tolist()]
            if batch.source_lengths is not None:
                rows.insert(0, batch.source_lengths.tolist())
            spent["tokens"] += sum(map(sum, rows))
            spent["flops"] += sum(3 * twin.flops(*one) for one in zip(*rows, strict=True))
    assert (done.tokens, done.steps, done.flops) == tuple(spent.values())
    for p, q in zip(parameters, model.parameters(), strict=True):
        assert torch.allclose(p, q, atol=2e-6)


def test_rows_of_two_lengths_are_two_bins():
    lengths = np.array([1] * 50 + [100] * 50)
    found = metrics.by_length(lengths, lengths == 1)
    assert [(b.first, b.last, b.rows, b.value) for b in found] == [(1, 1, 50, 1), (100, 100, 50, 0)]


def test_as_many_validations_as_were_asked_for(tmp_path):
    data = corpus(tmp_path, "classification")
    settings = Recipe(family="textcnn", width=3, embedding=3).settings(data)
    plan = TrainOptions(budget=Budget(200, "steps"), learning_rate=1e-3, evaluations=100)
    model = model_of(settings, Seeds(0).torch("init"))
    done = fit(model, source_for(data, rows=2, seed=0), plan)
    assert [point.step for point in done.points] == list(range(2, 201, 2))


@pytest.mark.parametrize(
    "pair", [("", "x"), ("", "\0"), ("a\0", "a"), (" a", "a"), ("\ud800", "x"), ("\\x00", "\0")]
)
def test_odd_labels_have_their_probability(pair):
    texts = [f"{'good' if i % 2 else 'bad'} film {i % 7}" for i in range(60)]
    labels = [pair[i % 2] for i in range(60)]
    small = {"width": 8, "embedding": 8}
    made = TextClassifier(
        random_state=0, budget="60 steps", learning_rate=0.03, settings=small
    ).fit(texts, labels)
    assert made.classes_.tolist() == sorted(pair)
    assert np.allclose(made.predict_proba(texts).sum(1), 1.0)
    assert made.predict(texts).tolist() == labels


def test_an_answer_does_not_depend_on_the_references_beside_it(monkeypatch):
    made = bundle("seq2seq", "gru", seed=1)
    with torch.no_grad():
        made.model.head.bias.zero_()
        made.model.head.bias[made.settings.end] = -50.0  # it never ends
        made.model.head.bias[4] = 5.0
    found = []

    def spied(*given, **named):
        found.append(search(*given, **named))
        return found[-1]

    monkeypatch.setattr(text_tallies, "search", spied)
    row, short, long = "the film was good", "a story", "a story " * 20
    evaluate_asked(made, asked_of(made, [row], [short]))
    evaluate_asked(made, asked_of(made, [row, row], [short, long]))
    alone, beside = found
    assert beside[0].ids == beside[1].ids == alone[0].ids
