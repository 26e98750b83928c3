"""Every score of an evaluation against one text at a time, and scikit-learn."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from tests.bundle.making import TEXTS, bundle, settings

from howfar.bundle import evaluate as room
from howfar.bundle.bleu import bleu, bleu_counts, bleu_tokens
from howfar.bundle.bundle import Bundle
from howfar.bundle.evaluate import evaluate, evaluate_asked
from howfar.bundle.examples import asked_of, corpus_of, read_asked
from howfar.bundle.generate import generate
from howfar.bundle.text_tallies import text_sizes
from howfar.core.batch import IGNORED
from howfar.core.errors import DataError, UsageError
from howfar.data.aims.options import CorpusOptions
from howfar.data.sources import source_for
from howfar.data.tokenise import train_tokeniser
from howfar.record import codec
from howfar.record.evaluation import Evaluation

WORDS = ["the", "film", "was", "good", "boring", "town", "people", "story", "fine", "scenes"]


def texts(count=60, seed=1):
    draws = np.random.default_rng(seed)
    return [" ".join(draws.choice(WORDS, size=draws.integers(1, 12))) for _ in range(count)]


def alone(asked, text):
    """The model's answer to one text, without padding: (outputs,) or (tokens, outputs)."""
    ids = asked.tokeniser.encode([text])[0][: asked.settings.length]
    with torch.no_grad():
        return asked.model(torch.from_numpy(ids.astype(np.int64))[None]).double()[0]


def value(found, name):
    return found.score(name).value


def test_classes_equal_one_text_at_a_time():
    made = bundle(scale=40.0)
    rows = texts()
    names = made.settings.names
    draws = np.random.default_rng(2)
    truth = [names[i] for i in draws.integers(3, size=len(rows))]
    found = evaluate_asked(made, asked_of(made, rows, truth))
    p = np.stack([alone(made, text).softmax(-1).numpy() for text in rows])
    want = np.array([names.index(label) for label in truth])
    guess = p.argmax(1)
    assert value(found, "accuracy") == pytest.approx(sk.accuracy_score(want, guess))
    assert value(found, "macro F1") == pytest.approx(sk.f1_score(want, guess, average="macro"))
    assert value(found, "log loss") == pytest.approx(sk.log_loss(want, p, labels=[0, 1, 2]), 1e-4)
    assert found.confusion == tuple(map(tuple, sk.confusion_matrix(want, guess).tolist()))
    assert sum(b.rows for b in found.calibration) == sum(b.rows for b in found.by_length) == 60
    accuracy = sum(b.rows * b.accuracy for b in found.calibration) / 60
    assert accuracy == pytest.approx(value(found, "accuracy"))
    assert found.score("AUC") is None
    for score in found.scores:
        if score.low is not None:
            assert score.low <= score.value <= score.high
    assert codec.loads(Evaluation, codec.dumps(found)) == found
    assert any("W-TRUNC" in note for note in found.notes)  # 8 tokens are read
    again = evaluate_asked(made, asked_of(made, rows, truth))
    assert again.scores == found.scores


def test_two_classes_have_an_area():
    made = bundle(scale=40.0, names=("no", "yes"))
    rows = texts()
    truth = [("no", "yes")[i] for i in np.random.default_rng(3).integers(2, size=60)]
    p = [float(alone(made, text).softmax(-1)[1]) for text in rows]
    found = evaluate_asked(made, asked_of(made, rows, truth))
    assert value(found, "AUC") == pytest.approx(sk.roc_auc_score([t == "yes" for t in truth], p))


def test_one_class_gives_accuracy_alone():
    made = bundle(scale=40.0)
    found = evaluate_asked(made, asked_of(made, texts(9), ["good"] * 9))
    assert [score.name for score in found.scores] == ["accuracy"]
    assert any("W-ONE-CLASS" in note for note in found.notes)
    assert sum(map(sum, found.confusion)) == 9
    single = evaluate_asked(made, asked_of(made, ["the film"], ["good"]))
    assert single.rows == 1


def test_unknown_labels():
    made = bundle(scale=40.0)
    rows, truth = texts(20), ["good", "bad"] * 8 + ["odd"] * 4
    with pytest.raises(DataError, match=r"row 17.*'odd'") as caught:
        asked_of(made, rows, truth)
    assert caught.value.code == "E-UNSEEN-LABEL"
    found = evaluate_asked(made, asked_of(made, rows, truth, unseen="ignore"))
    assert (found.rows, found.left_out) == (16, 4)
    share = value(found, "accuracy with unknown labels")
    assert share == pytest.approx(value(found, "accuracy") * 16 / 20)
    with pytest.raises(DataError) as caught:
        asked_of(made, rows, ["odd"] * 20, unseen="ignore")
    assert caught.value.code == "E-EMPTY"


def counted(made, rows, **labels):
    """The same with a record of how often each class stood in training."""
    record = replace(made.training, labels=labels, data=replace(made.training.data, train=rows))
    return replace(made, training=record)


def test_majority_is_that_of_training():
    made = counted(bundle(), 3, good=2, bad=1)
    asked = asked_of(made, texts(10), ["bad"] * 7 + ["good"] * 3)
    (base,) = evaluate_asked(made, asked).baselines
    assert (base.score.value, base.note) == (0.3, "always 'good', the commonest of training")
    train = asked_of(made, texts(10), ["good"] * 9 + ["bad"])
    corpus = corpus_of(made, asked)
    object.__setattr__(corpus, "train", train.examples)
    (base,) = evaluate(made, corpus).baselines
    assert (base.score.value, base.note) == (0.3, "always 'good', the commonest of training")


def test_without_counts_of_training_there_is_no_majority():
    made = bundle()
    data = replace(made.training.data, labels={"bad": 9, "good": 1})  # of all parts
    made = replace(made, training=replace(made.training, data=data, labels=None))
    found = evaluate_asked(made, asked_of(made, texts(10), ["bad"] * 7 + ["good"] * 3))
    assert found.baselines == ()
    assert sum("each class stood in training is not known" in note for note in found.notes) == 1


def test_majority_of_tags_is_that_of_training():
    made = counted(bundle("tagging"), 9, bad=1, good=2, fine=3)
    found = evaluate_asked(made, asked_of(made, ["the film was"], [("bad", "fine", "bad")]))
    (base,) = found.baselines
    assert base.score.value == pytest.approx(1 / 3)
    assert "'fine', the commonest of training" in base.note


def test_several_labels_equal_scikit_learn():
    # of 10 rows of training "bad" stood in more than half, "good" in half
    made = counted(bundle("multilabel", scale=40.0), 10, bad=6, good=5, fine=0)
    rows, names = texts(), made.settings.names
    table = np.random.default_rng(4).random((60, 3)) < 0.4
    told = [tuple(n for n, on in zip(names, row, strict=True) if on) for row in table]
    found = evaluate_asked(made, asked_of(made, rows, told))
    logits = np.stack([alone(made, text).numpy() for text in rows])
    guess = logits > 0
    assert value(found, "micro F1") == pytest.approx(sk.f1_score(table, guess, average="micro"))
    assert value(found, "macro F1") == pytest.approx(sk.f1_score(table, guess, average="macro"))
    assert value(found, "subset accuracy") == pytest.approx(sk.accuracy_score(table, guess))
    p = 1 / (1 + np.exp(-logits))
    nats = -np.where(table, np.log(p), np.log(1 - p)).mean()
    assert value(found, "log loss a label") == pytest.approx(nats, rel=1e-4)
    usual = np.array([name == "bad" for name in names])
    assert found.baselines[0].score.value == pytest.approx((table == usual).all(1).mean())


def test_numbers_in_the_unit_of_the_data():
    made = bundle("regression", scale=20.0)
    rows = texts()
    truth = np.random.default_rng(5).normal(1e4, 3, size=60).tolist()
    found = evaluate_asked(made, asked_of(made, rows, truth))
    guess = [10 + 2 * float(alone(made, text)[0]) for text in rows]
    assert value(found, "MSE") == pytest.approx(sk.mean_squared_error(truth, guess), rel=1e-5)
    assert value(found, "MAE") == pytest.approx(sk.mean_absolute_error(truth, guess), rel=1e-5)
    assert value(found, "R2") == pytest.approx(sk.r2_score(truth, guess), rel=1e-3)
    constant = evaluate_asked(made, asked_of(made, rows, [3.0] * 60))
    assert constant.score("R2") is None
    assert constant.score("Spearman") is None
    assert value(constant, "MAE") > 0


def test_tags_equal_one_sentence_at_a_time():
    names = ("O", "B-P", "I-P")
    made = bundle("tagging", scale=40.0, names=names)
    rows = texts()
    draws = np.random.default_rng(6)
    told = [tuple(names[i] for i in draws.integers(3, size=len(t.split()))) for t in rows]
    found = evaluate_asked(made, asked_of(made, rows, told))
    want, guess, nats = [], [], []
    for text, tags in zip(rows, told, strict=True):
        logs_LC = alone(made, text).log_softmax(-1).numpy()
        want.append([names.index(t) for t in tags[:8]])
        guess.append(logs_LC.argmax(-1).tolist())
        nats += [-logs_LC[i, t] for i, t in enumerate(want[-1])]
    flat = (np.concatenate(want), np.concatenate(guess))
    assert value(found, "token accuracy") == pytest.approx(sk.accuracy_score(*flat))
    assert value(found, "macro F1") == pytest.approx(sk.f1_score(*flat, average="macro"))
    assert value(found, "log loss") == pytest.approx(np.mean(nats), rel=1e-5)
    assert found.targets == len(flat[0])
    assert found.scores[0].name == "span F1"
    whole = [
        tuple(names[i] for i in row) + ("O",) * max(0, len(text.split()) - 8)
        for row, text in zip(guess, rows, strict=True)
    ]
    right = evaluate_asked(made, asked_of(made, rows, whole))
    assert value(right, "span F1") == value(right, "token accuracy") == 1
    plain = bundle("tagging", names=("N", "V", "X"))
    with pytest.raises(DataError) as caught:
        asked_of(plain, ["the film"], [("N",)])
    assert caught.value.code == "E-TAGS"
    one = evaluate_asked(plain, asked_of(plain, ["the film"], [("N", "V")]))
    assert one.score("span F1") is None


LINES = "to be, or not to be: that is 你好 🙂 é\n" * 40


def writer(kind, end=False, carry=False, text=LINES):
    tokeniser = train_tokeniser(kind, [text], max_vocabulary=280)
    made = settings(
        "lm", "gru", tokeniser, length=16, end=tokeniser.vocabulary if end else None, carry=carry
    )
    from howfar.bundle.build import model_of

    model = model_of(made, torch.Generator().manual_seed(1)).eval()
    with torch.no_grad():
        model.head.weight.mul_(30)
    return Bundle(made, model, tokeniser)


def costs(made, asked, carry):
    """Nats and ids of every scored target, one batch row at a time."""
    source = source_for(corpus_of(made, asked), rows=8, seed=0, carry=carry)
    nats, ids = [], []
    lanes = {}
    for batch in source.evaluation("test"):
        for row in range(len(batch.tokens)):
            size = int(batch.lengths[row])
            if not size:
                continue
            before = torch.cat([lanes.get(row, torch.empty(0, dtype=torch.long)),
                                batch.tokens[row, :size]])  # fmt: skip
            if carry:
                lanes[row] = before
            with torch.no_grad():
                logs = made.model(before[None])[0, -size:].double().log_softmax(-1)
            for place, target in enumerate(batch.targets[row, :size].tolist()):
                if target != IGNORED:
                    nats.append(-float(logs[place, target]))
                    ids.append(target)
    return nats, ids


@pytest.mark.parametrize("kind", ["byte", "char", "bpe", "unigram", "word"])
@pytest.mark.parametrize(("end", "carry"), [(False, False), (True, False), (False, True)])
def test_text_equals_one_window_at_a_time(kind, end, carry):
    made = writer(kind, end, carry)
    documents = [LINES[:300], LINES[100:260], LINES[:9]] if end else [LINES[:400]]
    asked = asked_of(made, documents)
    found = evaluate_asked(made, asked)
    nats, ids = costs(made, asked, carry)
    assert found.targets == len(nats)
    bits = sum(nats) / math.log(2)
    assert value(found, "nats per token") == pytest.approx(np.mean(nats), rel=1e-6)
    assert value(found, "bits per token") == pytest.approx(bits / len(nats), rel=1e-6)
    assert value(found, "perplexity") == pytest.approx(math.exp(np.mean(nats)), rel=1e-5)
    if kind == "word":
        assert found.score("bits per character") is None
        return
    counts = text_sizes(made.tokeniser, made.settings.vocabulary)[:, ids].sum(1)
    assert value(found, "bits per character") == pytest.approx(bits / counts[0], rel=1e-6)
    assert value(found, "bits per byte") == pytest.approx(bits / counts[1], rel=1e-6)
    assert found.scores[0].name == "bits per character"


@pytest.mark.parametrize("end", [False, True])
def test_every_family_is_asked_for_all_but_the_first_token(end):
    plain, carrying = (writer("char", end, carry) for carry in (False, True))
    documents = [LINES[:30], LINES[:9]] if end else [LINES[:40]]
    want = 30 + 1 + 9 + 1 - 1 if end else 39
    for made in (plain, carrying):
        assert evaluate_asked(made, asked_of(made, documents)).targets == want
        # too little for the lanes of training
        assert evaluate_asked(made, asked_of(made, ["to be,"])).targets == 5 + end


@pytest.mark.parametrize("kind", ["byte", "char", "bpe", "unigram"])
def test_sizes_of_ids_add_up_to_the_text(kind):
    tokeniser = train_tokeniser(kind, [LINES, LINES], max_vocabulary=300)
    table = text_sizes(tokeniser, tokeniser.vocabulary + 1)
    for text in (LINES, "be 🙂🙂é", "", "to be"):
        (ids,) = tokeniser.encode([text])
        assert table[:, ids].sum(1).tolist() == [len(text), len(text.encode())]
    assert table[:, -1].tolist() == table[:, 0].tolist() == [0, 0]


def test_unknown_characters_cost_what_is_said():
    made = writer("char")
    found = evaluate_asked(made, asked_of(made, [LINES[:200] + "Ω" * 20]))
    assert found.score("bits per byte") is None
    assert found.score("bits per character") is not None
    assert any("W-UNKNOWN: 20 of" in note for note in found.notes)
    with pytest.raises(DataError) as caught:
        evaluate_asked(made, asked_of(made, ["t"]))
    assert caught.value.code == "E-TOO-SHORT"
    assert evaluate_asked(made, asked_of(made, ["to"])).targets == 1


def test_hidden_tokens():
    made = bundle("masked", scale=40.0, length=12)
    asked = asked_of(made, texts(30))
    found = evaluate_asked(made, asked)
    nats, right = [], []
    for batch in source_for(corpus_of(made, asked), rows=1, seed=0).evaluation("test"):
        with torch.no_grad():
            logs = made.model(batch.tokens, batch.lengths)[0].double().log_softmax(-1)
        for place, target in enumerate(batch.targets[0].tolist()):
            if target != IGNORED:
                nats.append(-float(logs[place, target]))
                right.append(int(logs[place].argmax()) == target)
    assert [s.name for s in found.scores] == ["accuracy", "nats per token"]
    assert value(found, "nats per token") == pytest.approx(np.mean(nats), rel=1e-5)
    assert value(found, "accuracy") == pytest.approx(np.mean(right))


def test_answers_equal_one_source_at_a_time():
    made = bundle("seq2seq", scale=40.0)
    rows = texts(12)
    told = [generate(made, text, max_tokens=5).text for text in rows[:6]] + texts(6, seed=9)
    told = [text or "the" for text in told]
    asked = asked_of(made, rows, told)
    found = evaluate_asked(made, asked)
    exact, counts, nats, right = [], [], [], []
    longest = 2 * made.settings.target_length + 1
    end = made.settings.end
    for text, target in zip(rows, told, strict=True):
        ids = made.target_tokeniser.encode([target])[0].tolist()
        answer = generate(made, text, max_tokens=longest)
        exact.append(answer.reason == "end" and list(answer.ids) == ids)
        tokens = (bleu_tokens(made.tokeniser.decode(i)) for i in (answer.ids, ids))
        counts.append(bleu_counts(*tokens))
        source = torch.from_numpy(made.tokeniser.encode([text])[0][:8].astype(np.int64))
        with torch.no_grad():
            logs = made.model(source[None], torch.tensor([[end, *ids]]))[0].double().log_softmax(-1)
        for place, wanted in enumerate([*ids, end]):
            nats.append(-float(logs[place, wanted]))
            right.append(int(logs[place].argmax()) == wanted)
    assert value(found, "exact match") == pytest.approx(np.mean(exact))
    assert value(found, "token accuracy") == pytest.approx(np.mean(right))
    assert value(found, "nats per token") == pytest.approx(np.mean(nats), rel=1e-5)
    assert value(found, "BLEU-4") == pytest.approx(bleu(np.sum(counts, 0, dtype=float)), abs=1e-9)
    wide = evaluate_asked(made, asked, beams=3)
    assert value(wide, "nats per token") == value(found, "nats per token")


def test_many_batches_equal_one(monkeypatch):
    made = bundle(scale=40.0)
    asked = asked_of(made, texts(), ["good", "bad", "fine"] * 20)
    seen = []
    whole = evaluate_asked(made, asked, progress=lambda done, rows: seen.append((done, rows)))
    assert seen == [(60, 60)]
    monkeypatch.setattr(room, "TOKENS", 30)
    small = evaluate_asked(made, asked, progress=lambda done, rows: seen.append((done, rows)))
    assert len(seen) > 10
    assert seen[-1] == (60, 60)
    for one, other in zip(whole.scores, small.scores, strict=True):
        assert one.value == pytest.approx(other.value, abs=1e-6)


def test_parts_and_aims_that_do_not_fit():
    made = bundle()
    corpus = corpus_of(made, asked_of(made, texts(4), ["good", "bad"] * 2))
    with pytest.raises(UsageError) as caught:
        evaluate(bundle("tagging"), corpus)
    assert caught.value.code == "E-AIM"
    object.__setattr__(corpus, "validation", asked_of(made, TEXTS, ["good"] * 3).examples)
    assert evaluate(made, corpus, "validation").rows == 3
    made.model.train()
    evaluate(made, corpus)
    assert made.model.training  # as it was


@pytest.mark.parametrize(
    ("aim", "lines"),
    [
        ("classification", ["text,label", "the film,good", "a story,bad"]),
        ("multilabel", ["text,label", "the film,good|fine", "a story,"]),
        ("regression", ["text,number", "the film,3.5", "a story,-1e2"]),
        ("seq2seq", ["source,target", "the film,a story", "a,the"]),
        ("tagging", ["tokens,tags", "the film,good bad", "a story of,fine bad good"]),
        ("lm", ["text", "the film was good and fine", "a boring story"]),
        ("masked", ["text", "the film was good", "a boring story of people in town"]),
    ],
)
def test_files_of_every_aim(tmp_path, aim, lines):
    path = tmp_path / "held.csv"
    path.write_text("\n".join(lines) + "\n")
    made = bundle(aim, scale=10.0)
    asked = read_asked(made, str(path), CorpusOptions())
    found = evaluate_asked(made, asked)
    assert (found.rows, found.data, found.aim) == (2, "held", aim)
    assert found.scores
    assert found.sha256
    assert codec.loads(Evaluation, codec.dumps(found)) == found


def test_unknown_label_of_a_file_says_where(tmp_path):
    path = tmp_path / "held.csv"
    path.write_text("text,label\nthe film,good\na story,awful\n")
    with pytest.raises(DataError, match=r"held\.csv.*3.*label.*1 of 2.*'awful'"):
        read_asked(bundle(), str(path), CorpusOptions())
    asked = read_asked(bundle(), str(path), CorpusOptions(unseen="ignore"))
    assert (len(asked.examples), asked.left_out) == (1, 1)
