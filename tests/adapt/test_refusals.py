"""A model that cannot answer says why; its rows are never taken for time instead."""

import sys

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.adapt import adapt
from howfar.core.errors import DataError, HowfarError, UsageError

BLOCK, SYMBOLS = 64, 11
ROWS = known.symbols(6, 128, SYMBOLS)
LENGTHS = torch.full((6,), 128)


class Nano(nn.Module):
    """Learned positions, attention rows first."""

    def __init__(self, checked, positions=BLOCK):
        super().__init__()
        self.table, self.places = nn.Embedding(SYMBOLS, 8), nn.Embedding(positions, 8)
        self.mix = nn.MultiheadAttention(8, 2, batch_first=True)
        self.checked = checked

    def forward(self, tokens):
        width = tokens.shape[1]
        if self.checked and width > BLOCK:
            raise AssertionError(f"cannot forward {width}, block size is {BLOCK}")
        x = self.table(tokens) + self.places(torch.arange(width))
        mask = nn.Transformer.generate_square_subsequent_mask(width)
        return self.mix(x, x, x, attn_mask=mask)[0] + x


class Turned(Nano):
    """Rows first, with a layer inside that has time first."""

    def __init__(self, checked):
        super().__init__(checked)
        self.mix = nn.MultiheadAttention(8, 2)

    def forward(self, tokens):
        x = (self.table(tokens) + self.places(torch.arange(tokens.shape[1]))).transpose(0, 1)
        return self.mix(x, x, x)[0].transpose(0, 1)


@pytest.mark.parametrize("first", [None, True])
def test_an_assertion_is_reported_in_the_models_words(first):
    with pytest.raises(DataError, match="cannot forward 128, block size is 64") as raised:
        adapt(Nano(checked=True), ROWS, batch_first=first)
    assert raised.value.code == "E-MODEL"
    if first is None:
        assert "shorter rows" in raised.value.hint
        assert "batch_first=False" in raised.value.hint
    assert isinstance(raised.value.__cause__, AssertionError)


@pytest.mark.parametrize("kind", [Nano, Turned])
@pytest.mark.parametrize("eager", [True, False])
def test_rows_longer_than_the_positions(kind, eager):
    with pytest.raises(DataError, match="Rows of 128 tokens, but the model has 64 positions") as e:
        adapt(kind(checked=False), ROWS if eager else None)(ROWS, LENGTHS)
    assert e.value.code == "E-SHAPE"
    assert e.value.hint == "--length 64 (length=64)"
    short = ROWS[:, :BLOCK]
    assert adapt(kind(checked=False), short).layout.batch_first


def test_a_table_that_is_a_parameter():
    class Added(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.places = nn.Embedding(SYMBOLS, 8), nn.Parameter(torch.zeros(BLOCK, 8))

        def forward(self, tokens):
            return self.table(tokens) + self.places[torch.arange(tokens.shape[1])]

    with pytest.raises(DataError, match="out of bounds") as raised:
        adapt(Added(), ROWS)
    assert raised.value.code == "E-MODEL"


def test_more_ids_than_the_vocabulary_is_no_question_of_positions():
    with pytest.raises(DataError) as raised:
        adapt(Nano(checked=False), ROWS[:, :BLOCK] + 1)
    assert raised.value.code == "E-VOCABULARY"


@pytest.mark.parametrize("layer", ["gru", "encoder"])
def test_a_layer_at_the_input_that_says_time_first(layer):
    """It raises rows first; only its layers tell that it reads time first."""

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(SYMBOLS, 8)
            block = nn.TransformerEncoderLayer(8, 2, 16)
            self.layer = nn.GRU(8, 8) if layer == "gru" else nn.TransformerEncoder(
                block, 1, enable_nested_tensor=False
            )  # fmt: skip

        def forward(self, tokens):
            if tokens.shape[0] != 128:
                raise ValueError("128 tokens, please")
            y = self.layer(self.table(tokens))
            return y[0] if layer == "gru" else y

    assert not adapt(Network(), ROWS).layout.batch_first


@pytest.mark.parametrize("call", [lambda: sys.exit(3), sys.exit], ids=["3", "none"])
def test_a_model_that_leaves(call):
    class Leaving(nn.Module):
        def forward(self, tokens):
            call()

    for model in (Leaving(), lambda tokens: call()):
        with pytest.raises(DataError, match="The model raised SystemExit"):
            adapt(model)(ROWS, LENGTHS)


class Answering(nn.Module):
    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, tokens):
        return self.form(nn.functional.one_hot(tokens, SYMBOLS).double())


def both(form):
    return Answering(form), lambda tokens: Answering(form)(tokens)


@pytest.mark.parametrize(
    "form",
    [
        lambda y: {"foo": y, "bar": 2 * y},
        lambda y: {"foo": y, "bar": y[:, 0]},
        lambda y: {"foo": y.numpy(), "bar": y},
    ],
    ids=["alike", "a row", "array"],
)
def test_names_that_do_not_say_which_is_the_answer(form):
    for model in both(form):
        with pytest.raises(UsageError, match="'foo', 'bar'") as raised:
            adapt(model)(ROWS, LENGTHS)
        assert raised.value.hint == "return logits, or name it 'logits'"


@pytest.mark.parametrize(
    "form",
    [lambda y: y.numpy(), lambda y: y.tolist(), lambda y: {"logits": y.numpy()}, lambda y: (y,)],
    ids=["array", "list", "named", "tuple"],
)
def test_arrays_and_lists_of_numbers(form):
    for model in both(form):
        got = adapt(model)(ROWS, LENGTHS)
        torch.testing.assert_close(got.double(), Answering(lambda y: y)(ROWS))


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (lambda y: y.mean(), r"\(\) of torch.float64"),
        (lambda y: float(y.mean()), r"'float' \(\)"),
        (lambda y: np.array(["a"]), "'ndarray' without tensors"),
        (lambda y: y.long().numpy(), r"of torch.int64"),
        (lambda y: [[1.0], [1.0, 2.0]], r"'list' 0: \(1,\)"),
    ],
    ids=["scalar", "number", "words", "integers", "ragged"],
)
def test_what_is_no_answer(form, said):
    for model in both(form):
        with pytest.raises(HowfarError, match=said) as raised:
            adapt(model)(ROWS, LENGTHS)
        assert "torch tensor" in raised.value.message
