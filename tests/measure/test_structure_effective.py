"""Effective receptive fields with known spreads, and path lengths of known architectures."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.measure import known
from torch import nn

import howfar
from howfar.core.errors import UsageError
from howfar.measure.structure import (
    EffectiveOptions,
    attention,
    convolution,
    effective_field,
    first_layer,
    pooling,
    recurrence,
    shortest,
    sigma_of_uniform,
)


def uniform(kernels, dilations):
    layers = nn.Sequential(
        *[nn.Conv1d(1, 1, k, dilation=d) for k, d in zip(kernels, dilations, strict=True)]
    ).double()
    with torch.no_grad():
        for layer in layers:
            layer.weight.fill_(1.0)
    return lambda x, n: layers(x[:, None])[:, 0]


def test_uniform_kernels_have_the_sigma_of_the_law():
    """k=5,5,3,7 and d=1,2,4,1: field 27, sigma of |g| 4.9666, computed apart as boxes."""
    kernels, dilations = (5, 5, 3, 7), (1, 2, 4, 1)
    assert sigma_of_uniform(kernels, dilations) == pytest.approx(4.9666, abs=5e-5)
    found = effective_field(uniform(kernels, dilations), known.iid(40, 27), span=27)
    assert found.sigma == pytest.approx(sigma_of_uniform(kernels, dilations), abs=1e-10)
    assert found.mean == pytest.approx(13)
    profile = np.ones(1)
    for k, d in zip(kernels, dilations, strict=True):
        box = np.zeros((k - 1) * d + 1)
        box[::d] = 1
        profile = np.convolve(profile, box)
    np.testing.assert_allclose(found.curve.mean, profile / profile.max(), rtol=1e-10)
    place = np.arange(27)
    square = np.sqrt((profile**2 * (place - 13) ** 2).sum() / (profile**2).sum())
    assert found.sigma_squared == pytest.approx(square, rel=1e-10)
    assert found.sigma_squared < found.sigma
    inside = int((profile / profile.max() > 1 - 0.9545).sum())
    assert (found.size, found.share) == (inside, inside / 27)
    # Every text has the same gradient up to its probe's factor, so there is nothing to doubt.
    assert found.sigma_low == pytest.approx(found.sigma_high)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=5))
def test_the_law_holds_for_any_uniform_stack(layers):
    kernels, dilations = zip(*layers, strict=True)
    length = 1 + sum((k - 1) * d for k, d in layers)
    x = known.iid(2, length)
    found = effective_field(uniform(kernels, dilations), x)
    assert found.sigma == pytest.approx(sigma_of_uniform(kernels, dilations), abs=1e-9)


def test_hutchinson_agrees_with_the_full_jacobian():
    model = known.dilated()
    x = known.iid(3, 30)
    jacobian = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda r: model(r[None], None)[0, -1], row)
            for row in x
        ]
    )
    exact = jacobian.square().sum(1).mean(0)
    found = effective_field(model, x, output=-1, options=EffectiveOptions(probes=2000))
    g2 = found.curve.matrix[0].mean(0)
    np.testing.assert_allclose(g2, exact.numpy(), rtol=0.15, atol=1e-12)
    assert (g2[:15] == 0).all()
    assert found.sigma_low is None
    assert found.warnings


def test_a_decay_has_the_spread_of_its_weights():
    """|g| = .8^d: sigma sqrt(.8) / .2; g2 = .64^d: sqrt(.64) / .36."""
    weights = 0.8 ** np.arange(120)
    found = effective_field(known.linear(weights), known.iid(40, 160), output=-1)
    assert found.sigma == pytest.approx(math.sqrt(0.8) / 0.2, rel=1e-6)
    assert found.sigma_squared == pytest.approx(0.8 / 0.36, rel=1e-6)
    assert found.mean == pytest.approx(159 - 0.8 / 0.2, rel=1e-6)


def test_tokens_through_an_embedding_and_no_gradient():
    model = howfar.build("tcn", vocabulary=9, outputs=3, width=6, depth=1, causal=True)
    tokens = known.symbols(35, 20, 9)
    found = effective_field(model, tokens, output=-1, span=5)
    profile = np.array(found.curve.mean)
    assert (profile[:-5] == 0).all()
    assert (profile[-5:] > 0).all()
    assert found.sigma_low <= found.sigma <= found.sigma_high
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert effective_field(lambda x, n: (x * 0).sign() * x, known.iid(4, 8)) is None
    with pytest.raises(UsageError, match="embedding"):
        effective_field(lambda t, n: t.double(), known.symbols(4, 8, 3))
    with pytest.raises(UsageError, match="probes=0"):
        EffectiveOptions(probes=0)


def test_path_lengths_by_hand():
    layers = {
        "attention": (attention(), 12, 1, 1),
        "window": (attention(window=5), 12, 3, 3),
        "window, just over": (attention(window=5), 13, 4, 4),
        "convolution": (convolution(3), 12, 6, 6),
        "dilated": (convolution(3, dilation=2), 12, 3, 3),
        "recurrence": (recurrence(), 12, 1, 13),
        "pooling": (pooling(), 12, 1, 1),
    }
    for name, (link, lag, count, operations) in layers.items():
        found = shortest([link], 0, lag)
        assert (found.layers, found.operations) == (count, operations), name


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 9), st.integers(1, 40))
def test_windows_and_convolutions_follow_their_formulas(width, lag):
    needed = -(-lag // (width - 1))
    assert shortest([attention(window=width)], 3, 3 + lag).layers == needed
    assert shortest([convolution(width)], 3, 3 + lag).layers == needed
    assert shortest([recurrence()], 3, 3 + lag).operations == lag + 1


def test_dilations_mixtures_and_dead_ends():
    tree = [convolution(2, dilation=2**j) for j in range(5)]
    assert shortest(tree, 0, 15).layers == 4
    assert shortest(tree, 0, 16).layers == 5
    assert shortest([convolution(3), recurrence()], 0, 10) == shortest(
        [recurrence()], 0, 9
    ).__class__(layers=2, operations=1 + 9)
    assert shortest([attention()], 5, 2, length=8) is None
    assert shortest([convolution(3, dilation=2)], 0, 3) is None
    assert shortest([attention(causal=False, window=3)], 6, 0).layers == 3
    assert shortest([convolution(3, causal=False)], 4, 0).layers == 4
    assert shortest([recurrence(bidirectional=True)], 4, 0).operations == 5
    assert shortest([convolution(3)], 4, 4).layers == 1
    with pytest.raises(UsageError):
        shortest([], 0, 4)


class Windowed(nn.Module):
    """Layers of causal convolutions over 5 tokens, as a window of 5 would reach."""

    def __init__(self, depth):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Conv1d(2, 2, 5) for _ in range(depth))
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)

    def forward(self, tokens, lengths):
        h = tokens[:, None].repeat(1, 2, 1)
        for block in self.blocks:
            h = torch.tanh(block(nn.functional.pad(h, (4, 0)))).add(h)
        return h.transpose(1, 2)


def test_the_first_layer_that_changes_is_the_path_length():
    model, x = Windowed(5), known.iid(8, 30)
    for lag in (0, 4, 5, 8, 9, 12, 13, 16, 20):
        number, names = first_layer(model, x, 25 - lag, 25)
        assert number == shortest([convolution(5)], 0, lag).layers
        assert names[0] == "blocks.0"
    assert first_layer(model, x, 25 - 21, 25)[0] is None
    assert first_layer(model, x, 26, 25)[0] is None


def test_the_first_layer_of_families_and_pooled_states():
    tokens = known.symbols(8, 20, 9)
    gru = howfar.build("gru", vocabulary=9, outputs=3, width=6, depth=2, causal=True)
    names = [name for name, module in gru.named_modules() if "blocks" in name and "." in name]
    assert first_layer(gru, tokens, 2, 19)[0] == 1, names
    number, _ = first_layer(gru, tokens, 2, 19, layers=["embedding", "body", "head"])
    assert number == 2
    with pytest.raises(UsageError, match="no module"):
        first_layer(gru, tokens, 2, 19, layers=["nowhere"])
    with pytest.raises(UsageError, match="ModuleList"):
        first_layer(lambda t, n: t, tokens, 2, 19)
    with pytest.raises(UsageError, match="Places"):
        first_layer(gru, tokens, 2, 20)
