"""The measures by name: what a model says of itself becomes options, and any tokens are rows."""

import numpy as np
import pytest
import torch
from tests.adapt.test_forms import LAG, TOKENS, Delay
from tests.measure import known
from torch import nn

import howfar
from howfar.api.engine import KINDS, measure, parts
from howfar.core.errors import UsageError


def test_every_kind_can_be_found():
    for kind in KINDS:
        function, options = parts(kind)
        assert callable(function)
        assert options()


def test_arrays_lists_and_integers_of_any_width_are_rows():
    want = howfar.reach(Delay(), TOKENS)
    assert want.value == LAG + 1
    for rows in (TOKENS.numpy(), TOKENS.tolist(), TOKENS.to(torch.uint8), TOKENS.int()):
        assert howfar.reach(Delay(), rows).curve == want.curve
    assert howfar.reach(Delay(axis=0), TOKENS, batch_first=False).curve == want.curve


@pytest.mark.parametrize("rows", [["ab"], [[1], [1, 2]], np.zeros((2, 0)), torch.zeros(3), object])
def test_what_is_no_array_of_numbers_is_refused(rows):
    with pytest.raises(UsageError):
        howfar.reach(Delay(), rows)


def test_several_models_trained_alike():
    found = howfar.reach([Delay(), Delay(axis=0), lambda t: Delay().eval()(t)], TOKENS)
    assert found.per_model == (LAG + 1,) * 3


def test_an_option_that_is_not_known():
    with pytest.raises(UsageError, match="Did you mean 'donors'"):
        howfar.reach(Delay(), TOKENS, doners=2)
    with pytest.raises(UsageError, match="no option 'eps_'"):
        howfar.gradient(Delay(), TOKENS, eps_=2)


class Vectors(nn.Module):
    """One vector a row, the mean of embeddings, under a name that says it is no logits."""

    def __init__(self, key):
        super().__init__()
        self.table = nn.Embedding(8, 3)
        self.key = key
        with torch.no_grad():
            self.table.weight.copy_(torch.arange(24.0).reshape(8, 3).sin())

    def forward(self, tokens):
        return {self.key: self.table(tokens)}


def test_vectors_of_token_ids_are_no_logits():
    found = howfar.reach(Vectors("last_hidden_state"), TOKENS)
    assert found.curve.matrix_unit == "squared distance"
    assert howfar.reach(Vectors("logits"), TOKENS).curve.matrix_unit == "bits"
    said = howfar.reach(Vectors("last_hidden_state"), TOKENS, divergence="js")
    assert said.curve.matrix_unit == "bits"


def test_a_length_that_a_model_was_made_for_is_warned_about():
    transformers = pytest.importorskip("transformers")
    from tests.adapt.test_huggingface import SIZES, made

    model = made("LlamaForCausalLM", {**SIZES, "max_position_embeddings": 8})
    assert transformers
    found = howfar.reach(model, TOKENS)
    assert any("beyond the trained length" in warning for warning in found.warnings)
    assert howfar.reach(model, TOKENS, trained_length=24).warnings == ()


def test_logits_that_nobody_reads_are_not_made(monkeypatch):
    """A large vocabulary is asked at the last token alone: the same numbers."""
    pytest.importorskip("transformers")
    from tests.adapt.test_huggingface import SIZES, made

    from howfar.api import engine

    model = made("LlamaForCausalLM", SIZES)
    whole = howfar.reach(model, TOKENS)
    widths = []
    handle = model.lm_head.register_forward_hook(lambda m, x, y: widths.append(y.shape[1]))
    monkeypatch.setattr(engine, "MANY_LOGITS", 0)
    last = howfar.reach(model, TOKENS)
    handle.remove()
    assert set(widths[1:]) == {1}
    assert last.value == whole.value
    np.testing.assert_allclose(last.curve.matrix, whole.curve.matrix, rtol=1e-6, atol=1e-15)


def test_structure_reads_a_sequence_of_layers():
    class Turned(nn.Module):
        def forward(self, x):
            return x.transpose(1, 2)

    layers = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.Conv1d(2, 1, 3, padding=1))
    rows = known.iid(8, 16)[:, None].transpose(1, 2)
    found = howfar.structure(nn.Sequential(Turned(), *layers, Turned()), rows)
    assert (found.past, found.future) == (2, 2)
    with pytest.raises(UsageError, match="full rows"):
        measure("structure", Delay(), TOKENS, lengths=torch.full((48,), 24))


def test_each_measure_takes_any_model():
    rows = known.iid(40, 20 * 3).reshape(40, 20, 3).float()
    layer = nn.LSTM(3, 4)
    with torch.no_grad():
        for place, weight in enumerate(layer.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(place)))
    assert howfar.gradient(layer, rows).value >= 1
    assert howfar.influence(layer, rows).value >= 1
    assert howfar.audit(layer, rows).ok
    assert howfar.interaction(layer, rows).num_sequences == 40
    assert howfar.retention(layer, rows).num_sequences == 40
    labels = torch.roll(TOKENS, LAG, dims=1)
    assert howfar.context(Delay().eval(), TOKENS, labels=labels, exact=False).num_sequences == 48
    assert howfar.fragments(Delay(axis=0), TOKENS, text=0).num_sequences >= 1
    assert not howfar.audit(
        lambda t: torch.roll(t, -1, 1)[..., None].float(), TOKENS, causal=True
    ).ok


def test_modules_go_by_their_own_names():
    """As in the user's model, not as in the adapter around it."""

    class Two(Delay):
        def __init__(self):
            super().__init__()
            self.other = nn.Embedding(8, 2)

        def forward(self, tokens):
            return torch.roll(self.table(tokens), LAG, dims=1) + 0 * self.other(tokens).sum()

    found = howfar.gradient(Two().eval(), TOKENS, embedding="table")
    assert found.value == LAG + 1
    with pytest.raises(UsageError, match="no module called"):
        howfar.gradient(Two().eval(), TOKENS, embedding="tables")
    held = howfar.retention(nn.Sequential(Delay()).eval(), TOKENS, layers=["0.table"], lags=(0, 1))
    assert held.num_sequences == 48


def test_demand_of_ids():
    """A chain of 0 .. 7 in order, nine steps in ten: one token tells nearly all."""
    rng = np.random.default_rng(0)
    ids = np.cumsum(rng.random(60_000) < 0.9) % 8
    mutual, context = howfar.demand(ids)
    assert mutual.name == "mutual information"
    assert mutual.value >= 8
    assert not context.censored
    rows = howfar.demand(torch.from_numpy(ids).reshape(300, 200))
    assert [need.name for need in rows] == ["mutual information", "counting and copying"]
    for wrong in (np.zeros((2, 5)), 7, np.array([-1, 2, 3])):
        with pytest.raises(howfar.HowfarError):
            howfar.demand(wrong)
