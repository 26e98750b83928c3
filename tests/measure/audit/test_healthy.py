"""No false alarm: healthy models, several seeds, float32 and float64."""

import pytest
import torch
from tests.measure import known
from tests.measure.audit.healthy import (
    Backward,
    CausalConv,
    Encoder,
    FewFilters,
    FourierConv,
    Recurrent,
    convolution,
    draw,
    fourier,
    hugging,
    ids,
    ours,
    reals,
)
from torch import nn

from howfar.measure.audit import audit
from howfar.models import MODELS

FAMILIES = tuple(MODELS)
LENGTHS = torch.tensor([48, 20, 48, 7, 33, 48, 2, 40])


def build(name, seed):
    kind, _, rest = name.partition(" ")
    both = "both" in rest
    pooled = "pooled" in rest
    if kind in FAMILIES:
        return ours(kind, "causal" in rest, seed)
    if kind in ("RNN", "GRU", "LSTM"):
        return draw(Recurrent(getattr(nn, kind), both=both, pooled=pooled), seed)
    if kind == "encoder":
        return draw(Encoder("causal" in rest, pooled, dropout=0.1), seed)
    if kind == "fourier":
        return FourierConv(single="single" in rest, seed=seed)
    if kind == "backward":
        return draw(Backward(float(rest)), seed)
    made = {"conv": CausalConv, "filters": FewFilters}
    return draw(made[kind](), seed) if kind in made else hugging(kind, seed)


NAMES = [
    *(f"{name} {form}" for name in FAMILIES for form in ("causal", "whole")),
    *(f"{kind} {form}" for kind in ("RNN", "GRU", "LSTM") for form in ("", "both", "both pooled")),
    *(f"encoder {form}" for form in ("causal", "causal pooled", "positions", "pooled")),
    *("conv", "fourier", "fourier single", "filters"),
    *("backward 0.5", "backward 0.8", "backward 0.97"),
    *("llama", "gpt2", "neox", "bert"),
]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def check(name, seed, dtype, lengths):
    found = audit(build(name, seed).to(dtype), ids(seed=seed), lengths=lengths)
    assert found.ok, found.findings
    return found


@pytest.mark.parametrize(("place", "name"), list(enumerate(NAMES)))
def test_no_finding(place, name):
    dtype = torch.float64 if place % 2 else torch.float32
    found = check(name, place % 5, dtype, LENGTHS if place % 3 else None)
    assert {*found.checked, *(kind for kind, _ in found.skipped)} >= {"future_leak", "padding"}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_no_finding_with_any_seed(name):
    for seed in range(5):
        for dtype in (torch.float32, torch.float64):
            check(name, seed, dtype, LENGTHS if seed % 2 else None)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_finding_in_functions_on_reals(seed, dtype):
    tokens = reals(seed=seed, dtype=dtype)
    for predict in (fourier, convolution, known.cumulative_mean):
        assert audit(predict, tokens).ok
    exact = reals(seed=seed, dtype=torch.float64)
    for predict in (known.decay(0.9), known.delay(20), known.dilated()):
        assert audit(predict, exact).ok
    assert audit(known.parity(12), known.signs(8, 48, seed)).ok
    assert audit(known.copy_language_model(20, 8), known.symbols(8, 48, 8, seed)).ok


@pytest.mark.parametrize("length", [1, 2, 3, 5])
@pytest.mark.parametrize("causal", [True, False])
def test_no_finding_in_short_rows(length, causal):
    for name in ("gru", "transformer"):
        assert audit(ours(name, causal), ids(length=length)).ok


@pytest.mark.parametrize("num", [1, 2, 3])
def test_no_finding_from_few_rows_which_is_said(num):
    found = audit(ours("gru", True), ids(num=num))
    assert found.ok
    assert "others were made from their tokens" in found.warnings[0]


def test_no_finding_in_long_rows_which_are_cut():
    found = audit(ours("tcn", True), ids(length=600))
    assert found.ok
    assert "rows were cut to 256 tokens, but for truncation" in found.warnings


def test_half_precision_is_judged_in_float64():
    for name, causal in (("transformer", True), ("gru", True), ("tcn", False)):
        assert audit(ours(name, causal).bfloat16(), ids(), lengths=LENGTHS).ok


def test_a_model_that_amplifies_rounding_without_bound_is_not_blamed():
    model = ours("elman", True).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "weight_hh" in name:
                weight.mul_(4)
    found = audit(model, ids(length=200))
    assert found.ok
    assert any("noise or rounding" in said for said in found.warnings)


def test_dropout_and_batch_norm_are_fine_in_evaluation_mode():
    assert audit(ours("gru", True, dropout=0.3).eval(), ids()).ok

    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(20, 8)
            self.norm = nn.BatchNorm1d(8)

        def forward(self, tokens):
            return self.norm(self.embedding(tokens).transpose(1, 2)).transpose(1, 2)

    assert audit(draw(Normalised()), ids()).ok
