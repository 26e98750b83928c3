"""Adapters change no number: one delay model in every form a model can take."""

import functools
from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.adapt import adapt
from howfar.core.errors import DataError, HowfarError, UsageError
from howfar.core.protocols import Reaching, Streaming
from howfar.measure import SwapOptions, swap_reach

LAG, SYMBOLS, LENGTH = 6, 8, 24
TOKENS = known.symbols(48, LENGTH, SYMBOLS)
LENGTHS = torch.full((48,), LENGTH)
Named = namedtuple("Named", "loss logits")


class Output(dict):
    """As `transformers` answers: keys and attributes."""

    def __getattr__(self, name):
        return self[name]


@dataclass
class Plain:
    """An object that has its answer in an attribute alone."""

    logits: torch.Tensor


class Delay(nn.Module):
    """Logits that name the symbol LAG back, along axis 1 or 0; an embedding does the work."""

    def __init__(self, axis=1, form=lambda y: y):
        super().__init__()
        self.table = nn.Embedding(SYMBOLS, SYMBOLS)
        self.table.weight.data = 3 * torch.eye(SYMBOLS, dtype=torch.float64)
        self.dropout = nn.Dropout(0.5)
        self.axis, self.form = axis, form

    def forward(self, tokens):
        return self.form(self.dropout(self.table(torch.roll(tokens, LAG, dims=self.axis))))


class WithLengths(Delay):
    def forward(self, tokens, lengths):
        assert lengths.shape == (tokens.shape[1 - self.axis],)
        return super().forward(tokens)


class KeywordLengths(Delay):
    def forward(self, tokens, hidden=None, *, lengths=None):
        assert hidden is None
        assert lengths is not None
        return super().forward(tokens)


class WithMask(Delay):
    def forward(self, input_ids, token_type_ids=None, attention_mask=None):
        assert token_type_ids is None
        assert attention_mask.shape == input_ids.shape
        return super().forward(input_ids)


class WithState(Delay):
    def forward(self, tokens, state=None):
        assert state is None
        return super().forward(tokens)


class LastOnly(Delay):
    """One answer a row."""

    def forward(self, tokens):
        y = super().forward(tokens)
        return y[:, -1] if self.axis else y[-1]


def hidden_first(y):
    """As a recurrent layer of 2 layers that gives its state first."""
    return torch.zeros(2, len(y), 4), y


FORMS = {
    "module": Delay(),
    "time first": Delay(axis=0),
    "tuple": Delay(form=lambda y: (y, torch.zeros(2, 48, 4))),
    "state first": Delay(form=hidden_first),
    "loss first": Delay(form=lambda y: (y.mean(), y)),
    "list": Delay(form=lambda y: [y]),
    "dict": Delay(form=lambda y: {"loss": y.mean(), "hidden": None, "logits": y}),
    "other key": Delay(form=lambda y: {"loss": y.mean(), "scores": y}),
    "hidden beside": Delay(form=lambda y: {"last_hidden_state": -y.mean(1), "logits": y}),
    "named output": Delay(form=lambda y: Output(loss=y.mean(), logits=y)),
    "named tuple": Delay(form=lambda y: Named(y.mean(), y)),
    "attribute": Delay(form=Plain),
    "scores": Delay(form=lambda y: Output(prediction_scores=y)),
    "time first, tuple": Delay(axis=0, form=lambda y: (y, None)),
    "time first, state first": Delay(axis=0, form=lambda y: (torch.zeros(2, y.shape[1], 4), y)),
    "lengths": WithLengths(),
    "time first, lengths": WithLengths(axis=0),
    "lengths by name": KeywordLengths(),
    "mask": WithMask(),
    "state": WithState(),
    "one a row": LastOnly(),
    "time first, one a row": LastOnly(axis=0),
    "float32": Delay().float(),
    "in a Sequential": nn.Sequential(Delay()),
    "function": lambda tokens: Delay().eval()(tokens),
    "function, lengths": lambda tokens, lengths: Delay().eval()(tokens),
    "anything": lambda *given: Delay().eval()(given[0]),
    "anything, alone": lambda *given: Delay().eval()(*given),
    "dict function": lambda tokens: {"logits": Delay().eval()(tokens)},
    "bound method": Delay().forward,
    "partial": functools.partial(Delay()),
}


@pytest.fixture(scope="module")
def want():
    """The reach of the plain function."""
    return swap_reach(lambda t, n: Delay().eval()(t), TOKENS, options=SwapOptions(resamples=100))


@pytest.mark.parametrize("eager", [True, False])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_number(form, eager, want):
    model = FORMS[form]
    # What raises rows first is taken for time first only where that is said.
    said = False if form == "time first, lengths" else None
    predict = adapt(model, TOKENS if eager else None, batch_first=said)
    found = swap_reach(predict, TOKENS, options=SwapOptions(resamples=100))
    assert found.value == want.value == LAG + 1
    torch.testing.assert_close(
        torch.from_numpy(found.curve.matrix), torch.from_numpy(want.curve.matrix), rtol=1e-5, atol=0
    )
    if isinstance(model, nn.Module):
        assert model.training  # it was in training mode, and is again
        assert list(model.modules()) == list(predict.modules())[1:]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("axis", [0, 1])
def test_short_rows(length, axis):
    """Any number of positions: the number of rows asked with is another."""
    tokens = known.symbols(9, length, SYMBOLS)
    got = adapt(Delay(axis=axis).eval(), tokens)(tokens, torch.full((9,), length))
    torch.testing.assert_close(got, Delay().eval()(tokens))


@pytest.mark.parametrize("lag", [1, 40, 60])
def test_time_first_is_found_for_far_lags(lag):
    class Far(Delay):
        def forward(self, tokens):
            return self.table(torch.roll(tokens, lag, dims=self.axis))

    tokens = known.symbols(4, 200, SYMBOLS)
    for axis in (0, 1):
        predict = adapt(Far(axis=axis), tokens)
        assert predict.layout.batch_first == (axis == 1)


def test_a_recurrent_layer_inside_that_is_time_first():
    class Network(nn.Module):
        def __init__(self, turned, batch_first=False):
            super().__init__()
            self.table = nn.Embedding(SYMBOLS, 8)
            self.layer = nn.GRU(8, 8, batch_first=batch_first)
            self.head = nn.Linear(8, SYMBOLS)
            self.turned = turned

        def forward(self, tokens):
            x = self.table(tokens)
            y, _ = self.layer(x.transpose(0, 1) if self.turned else x)
            return self.head(y.transpose(0, 1) if self.turned else y)

    model, first = Network(turned=True), Network(turned=False)
    rows = Network(turned=False, batch_first=True)
    for other in (first, rows):
        other.load_state_dict(model.state_dict())
    answers = [adapt(m, TOKENS)(TOKENS, LENGTHS) for m in (model, first, rows)]
    torch.testing.assert_close(answers[0], answers[1])
    torch.testing.assert_close(answers[0], answers[2])
    assert not adapt(first, TOKENS).layout.batch_first


def test_what_relates_both_axes():
    """Rows first by declaration; with a time-first layer inside nobody can tell."""

    class Leak(nn.Module):
        def __init__(self, *layers):
            super().__init__()
            self.layers = nn.ModuleList(layers)

        def forward(self, x):
            return x.cumsum(0) + x.cumsum(1)

    real = known.iid(12, 16)
    assert adapt(Leak(), real).layout.batch_first
    with pytest.raises(UsageError, match="which axis is time") as raised:
        adapt(Leak(nn.GRU(2, 2)), real)
    assert "batch_first=" in raised.value.hint
    assert not adapt(Leak(nn.GRU(2, 2)), real, batch_first=False).layout.batch_first


def test_batch_first_can_be_said():
    predict = adapt(Delay(axis=0), TOKENS, batch_first=False)
    torch.testing.assert_close(predict.eval()(TOKENS, LENGTHS), Delay().eval()(TOKENS))


def test_a_state_kept_between_calls_is_found_as_it_was():
    class Keeping(Delay):
        def __init__(self):
            super().__init__()
            self.calls, self.kept = 0, None
            self.register_buffer("seen", torch.zeros(1))
            self.lists = []

        def forward(self, tokens):
            self.calls += 1
            self.seen += 1
            if self.kept is not None and len(self.kept) != len(tokens):
                raise RuntimeError("another number of rows")
            self.kept = tokens
            return super().forward(tokens)

    model = Keeping()
    predict = adapt(model, TOKENS)
    assert (model.calls, model.kept, float(model.seen), model.training) == (0, None, 0.0, True)
    predict(TOKENS, LENGTHS)
    assert model.calls == 1


def test_settings_are_put_back_when_a_model_raises():
    class Failing(Delay):
        def forward(self, tokens):
            raise RuntimeError("no\nreason")

    model = Failing()
    model.table.eval()
    before = {name: module.training for name, module in model.named_modules()}
    with pytest.raises(DataError, match=r"The model raised RuntimeError .*'no reason'") as raised:
        adapt(model, TOKENS)
    assert isinstance(raised.value.__cause__, RuntimeError)
    assert "\n" not in str(raised.value)
    assert {name: module.training for name, module in model.named_modules()} == before
    with pytest.raises(DataError, match="raised ValueError"):
        adapt(lambda tokens: int("x"))(TOKENS, LENGTHS)
    for model in (Failing(), lambda tokens: int("x")):
        with pytest.raises(DataError):
            swap_reach(adapt(model), TOKENS)


@pytest.mark.parametrize(
    "model", [Delay(), lambda t: nn.functional.embedding(t, torch.eye(SYMBOLS)), Delay().forward]
)
def test_ids_that_the_embedding_does_not_have(model):
    with pytest.raises(DataError, match="0 to 8") as raised:
        adapt(model)(torch.tensor([[0, 1, 8]]), torch.tensor([3]))
    assert raised.value.code == "E-VOCABULARY"
    assert "tokeniser" in raised.value.hint


def test_what_is_no_model():
    for wrong in (3, None, Delay, [Delay()]):
        with pytest.raises(UsageError, match="callable"):
            adapt(wrong)
    for output in (None, "text", [], {}, {"loss": torch.zeros(())}, torch.zeros(48, dtype=int)):
        with pytest.raises(HowfarError):
            adapt(Delay(form=lambda y, output=output: output), TOKENS)


@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8])
def test_integers_of_any_width(kind):
    predict = adapt(Delay().eval(), TOKENS)
    torch.testing.assert_close(predict(TOKENS.to(kind), LENGTHS), Delay().eval()(TOKENS))


def test_what_a_model_declares_is_passed_on():
    class Declaring(Delay):
        def reach(self, length):
            return LAG + 1

        def chunk(self, tokens, state):
            return self(tokens), ()

    assert isinstance(adapt(Declaring()), Reaching)
    assert isinstance(adapt(Declaring()), Streaming)
    assert not isinstance(adapt(Delay()), (Reaching, Streaming))
    assert adapt(Declaring()).reach(99) == LAG + 1
    assert swap_reach(adapt(Declaring(), TOKENS), TOKENS).structural == LAG + 1


def test_wrappers_of_torch_are_seen_through():
    model = Delay().eval()
    parallel = nn.DataParallel(model)
    compiled = torch.compile(model, backend="eager")
    for shell in (parallel, compiled):
        assert list(adapt(shell, TOKENS).modules())[1] is model


def test_a_function_that_holds_a_module_is_evaluated():
    """A method of a model in training mode: dropout would be taken for noise."""
    predict = adapt(Delay().forward)
    assert swap_reach(predict, TOKENS).noise_floor < 1e-8


def test_adapting_twice_changes_nothing():
    once = adapt(Delay(), TOKENS)
    assert adapt(once) is once
