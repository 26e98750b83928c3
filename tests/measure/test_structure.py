"""Structural reach: arithmetic, swaps and declarations agree; where they do not, it is said."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.measure import known
from torch import nn

import howfar
from howfar.core.errors import DataError, UsageError
from howfar.measure.structure import (
    Branches,
    Field,
    Layer,
    StructureOptions,
    everything,
    receptive_field,
    structure,
    support,
    window,
)


def filled(module, seed=0):
    """Every weight drawn, none small: no path closed by chance."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(0.5, 1.0, generator=generator)
    return module.double().eval()


class Stack(nn.Module):
    """(B, L) reals through a stack over (B, D, L), back to (B, O, D)."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, tokens, lengths):
        return self.layers(tokens[:, None]).transpose(1, 2)


# Worked by hand: (layers, size, jump, first)
BY_HAND = {
    "nothing": ([], 1, 1, 0),
    "one": ([nn.Conv1d(1, 1, 3, padding=1)], 3, 1, -1),
    "dilated 1 2 4": (
        [nn.Conv1d(1, 1, 3, dilation=d, padding=d) for d in (1, 2, 4)],
        1 + 2 + 4 + 8,
        1,
        -7,
    ),
    "5 5 3 7": (
        [nn.Conv1d(1, 1, k, dilation=d) for k, d in zip((5, 5, 3, 7), (1, 2, 4, 1), strict=True)],
        27,
        1,
        0,
    ),
    "strides": (
        [nn.Conv1d(1, 1, 5, stride=2, padding=2), nn.MaxPool1d(3, 3), nn.Conv1d(1, 1, 2)],
        5 + 2 * 2 + 1 * 6,
        6,
        -2,
    ),
    "pool with padding": ([nn.AvgPool1d(4, 2, padding=1)], 4, 2, -1),
    "same": ([nn.Conv1d(1, 1, 4, padding="same")], 4, 1, -1),
    "padded by itself": ([nn.ConstantPad1d((6, 0), 0.0), nn.Conv1d(1, 1, 4, dilation=2)], 7, 1, -6),
    "pointwise": ([nn.Conv1d(1, 1, 3), nn.ReLU(), nn.BatchNorm1d(1), nn.Dropout()], 3, 1, 0),
    "nested": ([nn.Sequential(nn.Conv1d(1, 1, 3), nn.Sequential(nn.Conv1d(1, 1, 2)))], 4, 1, 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_receptive_field_by_hand(name):
    layers, size, jump, first = BY_HAND[name]
    assert receptive_field(layers) == Field(size=size, jump=jump, first=first)


def test_residuals_windows_and_unbounded_layers():
    wide, narrow = Layer(kernel=9, left=8), Layer(kernel=3, left=2)
    block = Branches(([narrow, narrow], [wide], []))
    assert receptive_field([block, narrow]) == Field(size=11, first=-10)
    assert receptive_field([window(5)] * 3).kept == 1 + 3 * 4
    two = receptive_field([window(5, causal=False)] * 3)
    assert (two.past, two.future, two.span) == (6, 6, 13)
    assert receptive_field([narrow, everything()]).span is None
    assert receptive_field([narrow, everything()]).kept is None
    assert receptive_field([narrow, everything()]).future == 0
    assert receptive_field(nn.GRU(2, 2)).future == 0
    assert receptive_field(nn.GRU(2, 2, bidirectional=True)).future is None
    for layer in (nn.AdaptiveMaxPool1d(1), nn.InstanceNorm1d(2), nn.MultiheadAttention(2, 1)):
        assert receptive_field(layer).sees(3, 10) == (0, 9)
    with pytest.raises(UsageError, match="strides"):
        receptive_field(Branches(([Layer(stride=2)], [])))
    with pytest.raises(UsageError, match="Flatten"):
        receptive_field(nn.Flatten())


def test_what_an_output_sees_is_cut_to_the_text():
    field = receptive_field([nn.Conv1d(1, 1, 5, stride=2, padding=2)])
    assert [field.sees(i, 8) for i in range(4)] == [(0, 2), (0, 4), (2, 6), (4, 7)]
    assert receptive_field(nn.Conv1d(1, 1, 1, padding=1)).sees(0, 8) is None


LAYER = st.tuples(
    st.sampled_from(["conv", "max", "avg"]),
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 3),
    st.integers(0, 2),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(LAYER, min_size=1, max_size=4), st.integers(0, 10**6), st.integers(0, 20))
def test_swaps_find_what_arithmetic_says(layers, seed, place):
    made = []
    for kind, kernel, stride, dilation, padding in layers:
        if kind == "conv":
            made.append(nn.Conv1d(1, 1, kernel, stride=stride, dilation=dilation, padding=padding))
        elif kind == "max":
            made.append(nn.MaxPool1d(kernel, stride, min(padding, kernel // 2), dilation=dilation))
        else:
            made.append(nn.AvgPool1d(kernel, stride, min(padding, kernel // 2)))
    model = filled(Stack(*made), seed)
    field = receptive_field(made)
    x = known.iid(24, 90, seed=seed % 100)
    try:
        with torch.no_grad():
            count = model(x[:2], None).shape[1]
    except RuntimeError:
        assume(False)  # nothing is left of 90 tokens
    output = place % count
    found = support(model, x, output=output, seed=seed)
    seen = field.sees(output, 90)
    if found.seen is None or seen is None:
        assert found.seen is None
        return
    assert seen[0] <= found.first <= found.last <= seen[1]
    low = field.first + output * field.jump
    high = low + field.size - 1
    if low < 0 or high > 89:
        return
    # A maximum of many windows hides its outermost inputs in some texts, never adds any.
    slack = field.size // 3 if any(kind == "max" for kind, *_ in layers) else 0
    assert found.first - low <= slack
    assert high - found.last <= slack


def test_g7_dilated_convolutions_see_15_tokens():
    found = structure(known.dilated(), known.iid(16, 40))
    assert (found.value, found.past, found.future) == (15, 14, 0)
    assert not found.censored
    assert not found.past_censored
    moved = dict(zip(found.curve.x, found.curve.mean, strict=True))
    assert moved[14] == 1
    assert all(share == 0 for kept, share in moved.items() if kept >= 15)


@pytest.mark.parametrize(
    ("model", "kept"),
    [(known.delay(17), 18), (known.boxcar(30), 30), (known.linear([0, 0, 0, 1, 0, 0, 0, 1]), 8)],
)
def test_support_of_linear_models(model, kept):
    assert structure(model, known.iid(16, 64)).value == kept


def test_the_future_is_found_and_the_whole_window_is_censored():
    two_sided = Stack(nn.Conv1d(1, 1, 7, padding=3), nn.Conv1d(1, 1, 3, padding=2, dilation=2))
    found = structure(filled(two_sided), known.iid(16, 30))
    assert (found.past, found.future, found.value) == (5, 5, 6)
    everything_ = structure(known.cumulative_mean, known.iid(16, 30))
    assert (everything_.value, everything_.censored, everything_.past) == (None, True, 29)
    assert everything_.future == 0
    backwards = structure(lambda x, n: known.delay(4)(x.flip(1), n).flip(1), known.iid(16, 30))
    assert (backwards.past, backwards.future, backwards.value) == (0, 4, 1)


def test_one_output_a_text_has_no_reach():
    found = structure(lambda x, n: x[:, 3:5].sum(1, keepdim=True).repeat(1, 3), known.iid(16, 30))
    assert (found.value, found.past, found.censored) == (None, None, False)
    assert any("one output a text" in said for said in found.warnings)
    with_classes = support(lambda x, n: x[:, 3:5].repeat(1, 2), known.iid(16, 30))
    assert (with_classes.first, with_classes.last, with_classes.outputs) == (3, 4, 0)


def test_constant_nan_and_wrong_shapes():
    none = structure(lambda x, n: torch.zeros(*x.shape, 2), known.iid(16, 12))
    assert none.value is None
    assert any("no influence" in said for said in none.warnings)
    with pytest.raises(DataError):
        structure(lambda x, n: x * torch.nan, known.iid(16, 12))
    with pytest.raises(UsageError):
        structure(lambda x, n: x.sum(), known.iid(16, 12))
    with pytest.raises(UsageError, match="donors=0"):
        StructureOptions(donors=0)
    with pytest.raises(UsageError, match="give some tokens"):
        structure(known.delay(3))
    one = structure(lambda x, n: known.boxcar(1)(x, n)[..., None], known.iid(16, 1))
    assert (one.value, one.past, one.censored) == (1, 0, False)


class Sequence(nn.Sequential):
    """A Sequential on (B, L) that takes lengths."""

    def forward(self, tokens, lengths):
        return super().forward(tokens[:, None]).transpose(1, 2)


def test_three_numbers_side_by_side():
    model = Sequence(*[nn.Conv1d(1, 1, 3, dilation=d, padding=d) for d in (1, 2)])
    model.reach = lambda length: 7
    found = structure(filled(model), known.iid(40, 30))
    assert (found.field.span, found.declared, found.past + found.future + 1) == (7, 7, 7)
    assert found.effective.share == pytest.approx(found.effective.size / 7)
    assert len(found.warnings) == 1  # why there is no interval
    model.reach = lambda length: 9
    wrong = structure(model, known.iid(16, 30))
    assert any("declares 9 tokens, swaps find 7" in said for said in wrong.warnings)
    model.reach = lambda length: None
    free = structure(model, known.iid(16, 30))
    assert free.declared_unbounded
    assert any("declares no bound, swaps find 7" in said for said in free.warnings)


def test_dead_weights_are_a_disagreement():
    model = filled(Sequence(nn.Conv1d(1, 1, 5, padding=2)))
    with torch.no_grad():
        model[0].weight[..., 0] = 0
    found = structure(model, known.iid(16, 30))
    assert any("last output see back to token 27, swaps find token 28" in s for s in found.warnings)


def test_layers_can_be_given_for_a_residual_module():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 1, 3, padding=1)

        def forward(self, tokens, lengths):
            h = tokens[:, None]
            return (h + self.conv(h).tanh())[:, 0]

    model = filled(Residual())
    given_ = [Branches(([model.conv, nn.Tanh()], []))]
    found = structure(model, known.iid(16, 30), layers=given_)
    assert (found.field.span, found.past, found.future) == (3, 1, 1)
    assert len(found.warnings) == 1
    unread = structure(model, known.iid(16, 30))
    assert unread.field is None
    assert "Sequential" in unread.unread


@pytest.mark.parametrize("family", ["tcn", "gru", "lstm", "elman", "transformer", "textcnn"])
def test_what_the_families_declare_is_what_swaps_find(family):
    more = {"kernels": (3, 5), "pool": "none"} if family == "textcnn" else {}
    more |= {"depth": 2} if family == "tcn" else {}
    model = howfar.build(family, vocabulary=11, outputs=4, width=8, causal=True, **more)
    found = structure(model, options=StructureOptions(length=24, texts=12, effective=False))
    assert not any("declares" in said for said in found.warnings)
    declared = model.reach(24)
    if declared is None:
        assert found.censored
        assert found.declared_unbounded
    else:
        assert found.value == declared
    assert found.future == 0
    assert next(model.parameters()).dtype == torch.float32


def test_length_changing_models_say_what_their_outputs_see():
    model = filled(Stack(nn.Conv1d(1, 1, 4, stride=4)))
    found = structure(model, known.iid(16, 32), layers=list(model.layers))
    assert found.value is None
    assert any(
        "8 outputs for 32 tokens: the last sees tokens 28 .. 31" in s for s in found.warnings
    )
    assert not any("layers let" in said for said in found.warnings)


def test_an_fft_moves_everything_by_rounding_and_a_tolerance_helps():
    kernel = torch.zeros(64).double()
    kernel[:5] = 1.0

    def fourier(x, n):
        spectrum = torch.fft.rfft(x, 128) * torch.fft.rfft(kernel, 128)
        return torch.fft.irfft(spectrum, 128)[:, : x.shape[1]]

    x = known.iid(16, 64)
    loose = structure(fourier, x)
    assert any("rounding" in said for said in loose.warnings)
    tight = structure(fourier, x, options=StructureOptions(tolerance=1e-9))
    assert tight.value == 5


def test_bisection_agrees_with_asking_every_place():
    weights = np.zeros(40)
    weights[[0, 3, 22]] = 1.0
    x = known.iid(8, 50)
    model = known.linear(weights)
    with torch.no_grad():
        clean = model(x, None)[:, -1]
        moves = []
        for place in range(50):
            changed = x.clone()
            changed[:, place] = x[:, place].roll(1)
            if bool((model(changed, None)[:, -1] != clean).any()):
                moves.append(place)
    found = support(model, x)
    assert (found.first, found.last) == (min(moves), max(moves)) == (27, 49)
    assert found.passes < 60
