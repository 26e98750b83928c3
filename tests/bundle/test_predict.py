"""Answers are those of the model asked row by row, in the order of the texts."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from tests.bundle.making import TEXTS, bundle

from howfar.bundle.predict import batches, encode, padded, predict, probabilities
from howfar.core.errors import DataError, UsageError

MANY = [
    "the film was good",
    "",
    "a boring story of people the town had good scenes and it was fine and fine",
    "   ",
    "good",
    "unknown wonderful",
    "the town had good scenes and it was",
    "the town had good scenes and it was fine",
    *TEXTS,
]
FAMILIES = ("textcnn", "gru", "lstm", "transformer", "mamba")


def alone(made, text):
    """The slow twin: the model asked about one text without padding."""
    ids = made.tokeniser.encode([text])[0][: made.settings.length]
    with torch.no_grad():
        return made.model(torch.tensor(ids[None].astype(np.int64)), torch.tensor([len(ids)]))[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_classes_are_those_of_each_text_alone(family):
    made = bundle(family=family, scale=30.0)
    found = predict(made, MANY, batch_tokens=24)
    for text, one in zip(MANY, found, strict=True):
        expected = alone(made, text).softmax(-1)
        got = [one.probabilities[name] for name in made.settings.names]
        assert got == pytest.approx(expected.tolist(), abs=1e-5)
        assert one.label == made.settings.names[int(expected.argmax())]
        assert sum(got) == pytest.approx(1.0, abs=1e-12)
        assert all(map(math.isfinite, got))
    assert len({one.label for one in found}) > 1 or family == "mamba"


@pytest.mark.parametrize(
    "aim", ["classification", "multilabel", "tagging", "regression", "seq2seq"]
)
def test_batches_change_no_answer(aim):
    made = bundle(aim, scale=30.0)
    together = predict(made, MANY)
    assert len(together) == len(MANY)
    for budget in (1, 10, 10**9):
        other = predict(made, MANY, batch_tokens=budget)
        for one, two in zip(together, other, strict=True):
            if aim == "regression":
                assert one.label == pytest.approx(two.label, abs=1e-5)
            else:
                assert one.label == two.label
            assert (one.tokens, one.cut, one.empty) == (two.tokens, two.cut, two.empty)
    singles = [predict(made, [text])[0].label for text in MANY]
    assert (
        singles == pytest.approx([one.label for one in together], abs=1e-5)
        if aim == "regression"
        else singles == [one.label for one in together]
    )


def test_cut_and_empty_are_said():
    found = predict(bundle(), MANY)
    assert [one.cut for one in found][:3] == [False, False, True]
    assert found[2].tokens == 16
    assert [one.empty for one in found] == [False, True, False, True, False, True] + [False] * 5
    assert [one.cut for one in found][6:8] == [False, True]  # 8 and 9 tokens, of 8


@pytest.mark.parametrize("keep", ["start", "end"])
def test_a_long_text_is_cut_at_the_right_end(keep):
    made = bundle(keep=keep, scale=30.0)
    words = MANY[2].split()
    kept = " ".join(words[:8] if keep == "start" else words[-8:])
    assert np.allclose(*(probabilities(made, [text]) for text in (MANY[2], kept)), atol=1e-6)
    assert encode(made, [MANY[2]]).ids[0].tolist() == made.tokeniser.encode([kept])[0].tolist()


def test_multilabel_takes_what_is_more_likely_than_not():
    made = bundle("multilabel")
    with torch.no_grad():
        made.model.head.weight.zero_()
        made.model.head.bias.copy_(torch.tensor([-1.0, 0.5, 2.0]))
    one = predict(made, ["the film"])[0]
    assert one.label == ("good", "fine")
    expected = {
        "bad": 1 / (1 + math.e),
        "good": 1 / (1 + math.exp(-0.5)),
        "fine": 1 / (1 + math.exp(-2)),
    }
    assert one.probabilities == pytest.approx(expected, abs=1e-6)


def test_numbers_are_scaled_back():
    made = bundle("regression")
    with torch.no_grad():
        made.model.head.weight.zero_()
        made.model.head.bias.fill_(1.5)
    one = predict(made, ["the film"])[0]
    assert one.label == pytest.approx(10.0 + 1.5 * 2.0)
    assert one.probabilities is None


def test_a_tag_for_every_token_read():
    made = bundle("tagging", scale=30.0)
    found = predict(made, MANY)
    assert [len(one.label) for one in found] == [min(8, one.tokens) for one in found]
    for text, one in zip(MANY, found, strict=True):
        if one.tokens:
            expected = [made.settings.names[i] for i in alone(made, text).argmax(-1).tolist()]
            assert one.label == expected


def test_answers_of_seq2seq_are_greedy():
    made = bundle("seq2seq", scale=50.0, target_length=4)
    found = predict(made, ["the film was good", "good"])
    source = torch.tensor(made.tokeniser.encode(["the film was good"])[0][None].astype(np.int64))
    tokens, ids = [made.settings.end], []
    for _ in range(9):
        with torch.no_grad():
            logits = made.model(source, torch.tensor([tokens]))[0, -1]
        logits[[0, 1]] = -torch.inf
        best = int(logits.argmax())
        if best == made.settings.end:
            break
        ids.append(best)
        tokens.append(best)
    assert found[0].label == made.target_tokeniser.decode(ids)
    assert len(found[0].label.split()) <= 9


def test_nothing_asked_nothing_answered():
    for aim in ("classification", "tagging", "regression", "seq2seq"):
        assert predict(bundle(aim), []) == []
    assert probabilities(bundle(), []).shape == (0, 3)


def test_empty_texts_are_finite_for_every_family():
    from howfar.models import MODELS

    for family in MODELS:
        given = {"width": 12}
        found = probabilities(bundle(family=family, **given), ["", "good", "   "])
        assert np.isfinite(found).all(), family
        assert np.allclose(found[0], found[2], atol=1e-6), family


@pytest.mark.parametrize("pooled_causal", [False, True])
def test_causal_models_with_one_answer(pooled_causal):
    made = bundle(causal=pooled_causal, scale=30.0)
    assert probabilities(made, MANY).shape == (len(MANY), 3)


def test_what_is_no_text():
    with pytest.raises(UsageError, match=r"\[text\]"):
        predict(bundle(), "one text")
    with pytest.raises(UsageError, match="int"):
        predict(bundle(), ["a", 3])
    with pytest.raises(DataError, match="surrogate"):
        predict(bundle(), ["\ud800"])
    with pytest.raises(UsageError, match="batch_tokens"):
        predict(bundle(), ["a"], batch_tokens=0)


@pytest.mark.parametrize("aim", ["lm", "masked"])
def test_models_without_an_answer_to_a_text(aim):
    with pytest.raises(UsageError, match="generate" if aim == "lm" else "masked") as caught:
        predict(bundle(aim), ["the film"])
    assert caught.value.code == "E-AIM"
    with pytest.raises(UsageError):
        probabilities(bundle("regression"), ["a"])


def test_progress_counts_texts():
    seen = []
    predict(bundle(), MANY, batch_tokens=16, progress=lambda done, all_: seen.append((done, all_)))
    assert seen[-1] == (len(MANY), len(MANY))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_neither_gradients_nor_random_state_are_touched():
    made = bundle(dropout=0.5)
    before = torch.get_rng_state()
    one, two = (probabilities(made, MANY) for _ in range(2))
    assert np.array_equal(one, two)
    assert torch.equal(before, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in made.model.parameters())


@given(st.lists(st.integers(0, 50), max_size=40), st.integers(1, 200))
@profile(derandomize=True, max_examples=100, deadline=None)
def test_batches_take_every_row_once_and_keep_to_the_budget(lengths, budget):
    found = list(batches(lengths, budget))
    assert sorted(i for batch in found for i in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(lengths[i] for i in batch)
        assert len(batch) == 1 or len(batch) * longest <= budget
    longest = [max(lengths[i] for i in batch) for batch in found]
    assert longest == sorted(longest, reverse=True)


def test_batches_by_hand():
    assert list(batches([3, 1, 2, 3, 0], 6)) == [[0, 3], [2, 1, 4]]
    tokens, lengths = padded([np.array([5, 6], np.int32), np.array([], np.int32)])
    assert tokens.tolist() == [[5, 6], [0, 0]]
    assert lengths.tolist() == [2, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_moves_answers_a_little(family):
    made = bundle(family=family)
    whole, half = (probabilities(made, MANY, precision=p) for p in ("float32", "bfloat16"))
    assert half.dtype == np.float64
    assert np.allclose(whole, half, atol=0.02)
    assert np.allclose(half.sum(axis=1), 1)
    with pytest.raises(UsageError, match="float32"):
        probabilities(made, MANY, precision="float16")
