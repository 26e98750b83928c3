"""Problems score networks and baselines on the same targets, and nothing leaks from test."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from scipy import stats

from howfar.core.batch import IGNORED
from howfar.data.labelled import load_labelled
from howfar.data.running import load_running
from howfar.data.split import normalised
from howfar.models import build
from howfar.study.problems import LabelProblem, TaskProblem, TextProblem
from howfar.study.problems import labels as label_problem
from howfar.tasks.recall import Recall
from howfar.train import Answers, evaluate

LENGTH = 16


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A text whose test part has more windows than are scored; letters fall with their number."""
    rng = np.random.default_rng(0)
    each = rng.geometric(0.3, 100_000).clip(max=12)
    each[1:] = np.where(rng.random(99_999) < 0.5, (each[:-1] * 3) % 13, each[1:])
    path = tmp_path_factory.mktemp("text") / "play.txt"
    path.write_text("".join("abcdefghijklm"[i] for i in each))
    return TextProblem(load_running(path, length=LENGTH))


@pytest.fixture(scope="module")
def labels(tmp_path_factory):
    """Reviews of one to forty words, with some twice; the label is often named."""
    rng = np.random.default_rng(1)
    path = tmp_path_factory.mktemp("labels") / "reviews.jsonl"
    lines = []
    for i in range(400):
        label = "abc"[rng.choice(3, p=(0.5, 0.3, 0.2))]
        words = [f"w{rng.integers(200)}" for _ in range(rng.integers(1, 40))]
        words += [f"is{label}"] * (rng.random() < 0.5)
        lines.append({"text": f"row{i % 390} " + " ".join(words), "label": label})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return LabelProblem(load_labelled(path))


def scored(problem, part="test", seed=3, rows=32):
    """(row, target, everything visible before it) of each scored target, as a network meets it."""
    found, seen = [], 0
    for batch in problem.source(seed, rows).evaluation(part):
        for i in range(len(batch.tokens)):
            for t in range(batch.tokens.shape[1]):
                if int(batch.targets[i, t]) != IGNORED:
                    context = batch.tokens[i, : t + 1].tolist()
                    found.append((seen + i, int(batch.targets[i, t]), context))
        seen += len(batch.tokens)
    return found


def test_the_ngram_is_asked_for_the_very_targets_of_the_networks(text):
    rows, taken = text._test_targets()
    places = text._windows().eval_positions("test")[taken]
    ids = text.running.test.tolist()
    met = scored(text)
    assert len(met) == len(places) == len(rows)
    assert len(met) < len(ids) / 2  # only some windows are scored
    for (row, target, context), place, same in zip(met, places, rows, strict=True):
        assert (row, target) == (same, ids[place])
        assert context == ids[place - len(context) : place]
        assert len(context) >= LENGTH // 2
    assert len(set(places.tolist())) == len(places)


def test_unigram_and_ngram_scores_are_their_twins(text):
    unigram, ngram = text.baselines(seed=0)
    train, ids = text.running.train.tolist(), text.running.test.tolist()
    order = int(ngram.name.split("-")[0])
    assert order >= 2
    counts = [Counter(tuple(train[i : i + n]) for i in range(len(train) - n + 1))
              for n in range(1, order + 1)]  # fmt: skip
    after = [{} for _ in range(order)]
    for n, grams in enumerate(counts):
        for gram, count in grams.items():
            total, types = after[n].get(gram[:-1], (0, 0))
            after[n][gram[:-1]] = (total + count, types + 1)

    def chance(gram):
        """p(last | the rest), mixed with what one word less says."""
        if not gram:
            return 1 / text.vocabulary
        rest = 1 / text.vocabulary if len(gram) == 1 else chance(gram[1:])
        total, types = after[len(gram) - 1].get(gram[:-1], (0, 0))
        if total == 0:
            return rest
        return (counts[len(gram) - 1][gram] + types * rest) / (total + types)

    _, taken = text._test_targets()
    places = text._windows().eval_positions("test")[taken]
    for found, n in ((unigram, 1), (ngram, order)):
        bits = [-math.log2(chance(tuple(ids[p - n + 1 : p + 1]))) for p in places]
        assert found.score.value == pytest.approx(math.fsum(bits) / len(bits), abs=1e-10)
        assert found.score.low < found.score.value < found.score.high
        assert (found.score.better, found.score.name) == ("lower", "bits per character")
    assert ngram.score.value < unigram.score.value


def test_a_network_that_says_what_the_ngram_says_gets_its_score(text):
    """The same loss a target gives the same score and the same interval."""
    met = scored(text)
    train = text.running.train
    p = np.bincount(train, minlength=text.vocabulary).astype(float)
    seen = (p > 0).sum()
    p = (p + seen / text.vocabulary) / (len(train) + seen)

    class Unigram(torch.nn.Module):
        def forward(self, tokens, lengths):
            return torch.from_numpy(np.log(p)).expand(*tokens.shape, len(p))

    answers = evaluate(Unigram(), text.source(5, 8).evaluation("test"))
    assert answers.row.tolist() == [row for row, _, _ in met]
    score, each = text.score([answers, answers], seed=0)
    want = text.baselines(seed=0)[0].score
    assert score.value == pytest.approx(want.value, abs=1e-10)
    assert each == pytest.approx([want.value] * 2, abs=1e-10)
    alone, _ = text.score([answers], seed=0)
    assert (alone.low, alone.high) == pytest.approx((want.low, want.high), abs=1e-10)


def test_a_text_score_weighs_every_target_alike(text):
    """Windows of unequal numbers of targets, two seeds: the plain mean over seeds and targets."""
    row = np.array([0, 0, 0, 1, 4, 4])
    nats = np.array([[1.0, 2, 3, 4, 5, 9], [2.0, 2, 2, 2, 2, 2]])
    answers = [Answers(n, n > 0, n, row) for n in nats]
    score, each = text.score(answers, seed=0)
    assert each == pytest.approx([4 / math.log(2), 2 / math.log(2)])
    assert score.value == pytest.approx(3 / math.log(2))
    assert score.low <= score.value <= score.high


def test_training_windows_come_from_the_first_stretch_alone(tmp_path):
    path = tmp_path / "marked.txt"
    path.write_text("ab" * 4000 + "cd" * 500 + "ef" * 500)
    problem = TextProblem(load_running(path, length=LENGTH))
    tokeniser = problem.running.tokeniser
    known = set(tokeniser.encode(["ab"])[0].tolist())
    source = problem.source(0, 16)
    for step in range(60):
        batch = source.batch(step)
        assert set(batch.tokens.flatten().tolist()) | set(batch.targets.flatten().tolist()) == known
    held = {t for part in ("validation", "test") for _, t, _ in scored(problem, part)}
    assert not held & known
    assert len(held) == 1  # letters that training never met are all one unknown
    assert problem.data.unknown_tokens == 2000
    probe = problem.probe(20, seed=1)
    assert not set(probe.tokens.flatten().tolist()) & known


def test_text_probes_are_test_windows_with_the_next_token_as_label(text):
    probe = text.probe(100, seed=1)
    assert probe.tokens.shape == probe.labels.shape == (100, LENGTH)
    assert torch.equal(probe.tokens[:, 1:], probe.labels[:, :-1])
    joined = ",".join(map(str, text.running.test.tolist()))
    for tokens, labels in zip(probe.tokens.tolist(), probe.labels.tolist(), strict=True):
        assert ",".join(map(str, [*tokens, labels[-1]])) in joined
    assert torch.equal(probe.tokens, text.probe(100, seed=1).tokens)
    assert not torch.equal(probe.tokens, text.probe(100, seed=2).tokens)


@pytest.mark.parametrize("part", ["validation", "test"])
def test_evaluation_is_the_same_for_every_seed(text, labels, part):
    tasked = TaskProblem.of(Recall(length=12))
    for problem in (text, labels, tasked):
        one = list(problem.source(0, 8).evaluation(part))
        two = list(problem.source(7, 64).evaluation(part))
        assert all(torch.equal(a.tokens, b.tokens) for a, b in zip(one, two, strict=True))
        assert all(torch.equal(a.targets, b.targets) for a, b in zip(one, two, strict=True))


def test_parts_share_no_text_and_the_vocabulary_is_that_of_training(labels):
    made = labels.labelled
    parts = [{normalised(t) for t in p.texts} for p in (made.train, made.validation, made.test)]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    trained = {word for t in made.train.texts for word in t.split()}
    for part in (made.validation, made.test):
        for t in part.texts:
            for word in t.split():
                if word not in trained:
                    ids = made.tokeniser.encode([word])[0]
                    assert made.tokeniser.count_unknown(ids) == len(ids) == 1
    assert made.data.unknown_tokens > 0


def test_every_test_row_is_scored_once_by_networks_and_baselines(labels, monkeypatch):
    batches = list(labels.source(1, 32).evaluation("test"))
    met = [
        (tuple(tokens[:length].tolist()), int(target))
        for b in batches
        for tokens, length, target in zip(b.tokens, b.lengths, b.targets, strict=True)
    ]
    test = labels.labelled.test
    want = [(tuple(i.tolist()), int(k)) for i, k in zip(test.ids, test.labels, strict=True)]
    assert sorted(met) == sorted(want)
    given = {}
    plain = label_problem.tfidf

    def spy(train_texts, train_labels, test_texts):
        given.update(train=train_texts, labels=train_labels, test=test_texts)
        given["guess"] = plain(train_texts, train_labels, test_texts)
        return given["guess"]

    monkeypatch.setattr(label_problem, "tfidf", spy)
    majority, words = labels.baselines(seed=0)
    made = labels.labelled
    assert (given["train"], given["test"]) == (made.train.texts, made.test.texts)
    assert given["labels"] is made.train.labels
    common = Counter(made.train.labels.tolist()).most_common(1)[0][0]
    assert majority.score.value == np.mean([k == common for k in made.test.labels])
    right = sum(g == k for g, k in zip(given["guess"].labels, made.test.labels, strict=True))
    assert words.score.value == pytest.approx(right / len(made.test.labels))
    wilson = stats.binomtest(right, len(test.labels)).proportion_ci(method="wilson")
    assert words.score.low <= wilson.low + 1e-12
    assert words.score.high >= wilson.high - 1e-12


def test_label_scores_are_means_over_seeds_and_rows(labels):
    right_SN = np.array([[1, 1, 0, 0], [1, 1, 1, 0]], dtype=bool)
    none = np.zeros(4)
    score, each = labels.score([Answers(none, right, none, none) for right in right_SN], seed=0)
    assert (score.value, each) == (0.625, (0.5, 0.75))


def test_label_probes_are_test_rows_without_their_padding(labels):
    test = {tuple(ids.tolist()) for ids in labels.labelled.test.ids}
    probe = labels.probe(30, seed=2)
    rows = [
        tuple(t[:n].tolist()) for t, n in zip(probe.tokens, probe.lengths.tolist(), strict=True)
    ]
    assert set(rows) <= test
    assert len(rows) == 30
    assert probe.labels is None


def test_task_items_of_train_validation_test_and_probe_differ():
    problem = TaskProblem.of(Recall(length=24))

    def keys(tokens):
        return {tuple(t) for t in tokens.tolist()}

    sets = [keys(problem.source(seed, 200).batch(0).tokens) for seed in (0, 1)]
    sets += [
        {key for batch in problem.source(0, 8).evaluation(part) for key in keys(batch.tokens)}
        for part in ("validation", "test")
    ]
    sets += [keys(problem.probe(200, 0).tokens), keys(problem.at_distance(3, 100).tokens)]
    for i, one in enumerate(sets):
        assert len(one) >= 99
        assert not any(one & other for other in sets[i + 1 :])


def test_task_baselines_are_scored_on_the_test_items():
    task = Recall(length=40, cues=4)
    problem = TaskProblem.of(task)
    batches = list(problem.source(0, 8).evaluation("test"))
    tokens = torch.cat([b.tokens for b in batches])
    target = torch.cat([b.targets for b in batches])[:, -1]
    distance = torch.cat([b.distance for b in batches])[:, -1]
    found = {b.name: b.score.value for b in problem.baselines(0)}
    assert found.pop("chance") == 1 / 4
    assert len(tokens) == 640
    for name, value in found.items():
        window = int(name.split()[3]) if name.startswith("sees") else 0
        guess = torch.where(distance < window, target, 0)
        assert value == pytest.approx(float((guess == target).double().mean()))
    assert set(found) == {
        "always the same cue",
        "sees the last 8 tokens",
        "sees the last 32 tokens",
    }


def test_task_labels_are_those_of_the_last_position():
    problem = TaskProblem.of(Recall(length=24))
    probe = problem.probe(50, 1)
    batch = problem.task.batch(range(50), split="probe 1")
    assert torch.equal(probe.labels[:, -1], batch.targets[:, -1])
    assert torch.equal(problem.task.oracle(batch), probe.labels[:, -1])
    far = problem.at_distance(7, 30)
    assert set(far.distance[:, -1].tolist()) == {7}


def test_models_see_no_targets_through_their_own_tokens(text):
    """Targets stand one token on: what is visible at a position never holds the answer."""
    model = build("transformer", vocabulary=text.vocabulary, outputs=text.outputs, width=16).eval()
    batch = next(text.source(0, 8).evaluation("test"))
    changed = batch.tokens.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % text.vocabulary
    with torch.no_grad():
        one, two = model(batch.tokens, batch.lengths), model(changed, batch.lengths)
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1].where(
        batch.targets[:, :-1] != IGNORED, batch.tokens[:, 1:]))  # fmt: skip
    torch.testing.assert_close(one[:, :10], two[:, :10], rtol=0, atol=1e-6)
