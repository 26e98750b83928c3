"""Hidden attention: the weights must give back what the recurrence gives, and decays decay."""

import math

import numpy as np
import pytest
import torch

from howfar.core.errors import UsageError
from howfar.measure.attention import (
    AttentionOptions,
    LinearLayer,
    Recurrence,
    hidden_attention,
    linear_attention,
)

B, T, D, N = 3, 50, 4, 5


def drawn(*shape, seed=0, complex_=False):
    generator = torch.Generator().manual_seed(seed)
    real = torch.randn(*shape, generator=generator).double()
    return (
        torch.complex(real, torch.randn(*shape, generator=generator).double()) if complex_ else real
    )


def recurrence_output(decay, write, read, x):
    """Step by step: S = A S + B x, y = C . S."""
    shape = torch.broadcast_shapes(decay.shape, write.shape, read.shape)
    decay, write, read = (part.expand(shape) for part in (decay, write, read))
    state = torch.zeros(shape[0], *shape[2:], dtype=(decay * write * read).dtype)
    outputs = []
    for t in range(shape[1]):
        state = decay[:, t] * state + write[:, t] * x[:, t, :, None]
        outputs.append((read[:, t] * state).sum(-1).real)
    return torch.stack(outputs, 1)


def assembled(layer, x):
    alpha = layer.rows(torch.arange(x.shape[1]))
    return torch.einsum("bdts,bsd->btd", alpha, x)


CASES = {
    "full": (drawn(B, T, D, N).sigmoid(), drawn(B, T, D, N, seed=1), drawn(B, T, D, N, seed=2)),
    "mamba": (drawn(B, T, D, N).sigmoid(), drawn(B, T, D, N, seed=1), drawn(B, T, 1, N, seed=2)),
    "one gate": (drawn(B, T, 1, 1).sigmoid(), drawn(B, T, D, N, seed=1), drawn(1, 1, D, N)),
    "time-invariant": (drawn(1, 1, D, N).sigmoid(), drawn(1, 1, D, N), drawn(B, T, D, N)),
    "signed": (drawn(B, T, D, N).tanh(), drawn(B, T, D, N, seed=1), drawn(B, T, D, N, seed=2)),
    "complex": (
        drawn(B, T, D, N, complex_=True) / 3,
        drawn(B, T, D, N, seed=1, complex_=True),
        drawn(1, 1, D, N, seed=2, complex_=True),
    ),
    "forgets": (
        (drawn(B, T, D, N) > -1.0) * drawn(B, T, D, N, seed=3).tanh(),
        drawn(B, T, D, N, seed=1),
        drawn(B, T, D, N, seed=2),
    ),
    "vanishes": (drawn(B, T, D, N).sigmoid() * 1e-12, drawn(B, T, 1, N), drawn(B, T, D, N)),
}


@pytest.mark.parametrize("name", CASES)
def test_weights_reproduce_the_recurrence(name):
    decay, write, read = CASES[name]
    x = drawn(B, T, D, seed=9)
    layer = Recurrence(decay=decay, write=write, read=read)
    assert layer.shape == (B, T, D, N)
    want = recurrence_output(decay, write, read, x)
    assert float((assembled(layer, x) - want).abs().max()) < 1e-10 * (1 + float(want.abs().max()))
    chosen = torch.tensor([7, 0, T - 1])
    full = layer.rows(torch.arange(T))
    torch.testing.assert_close(layer.rows(chosen), full[:, :, chosen])


def test_long_products_neither_vanish_nor_overflow_on_the_way():
    """0.5 ** 4000 underflows; the weights of the last tokens must not."""
    length = 4000
    layer = Recurrence(
        decay=torch.full((1, 1, 1, 1), 0.5).expand(1, length, 1, 1),
        write=torch.ones(1, 1, 1, 1),
        read=torch.ones(1, 1, 1, 1),
    )
    alpha = layer.rows(torch.tensor([length - 1]))[0, 0, 0]
    np.testing.assert_allclose(
        alpha[-40:].flip(0).numpy(), 0.5 ** np.arange(40), rtol=1e-10, atol=0
    )
    assert float(alpha[0]) == 0


@pytest.mark.parametrize("a", [0.9, 0.97])
def test_constant_decay_is_a_to_the_d(a):
    one = torch.ones(1, 1, 1, 1)
    layer = Recurrence(
        decay=torch.full((40, 400, 1, 1), a, dtype=torch.float64), write=one, read=one
    )
    found = hidden_attention([layer], options=AttentionOptions(sinks=(), queries=20))
    past = found.layers[0].past[0]
    np.testing.assert_allclose(past[:100] / past[0], a ** np.arange(100), rtol=1e-6)
    half_life = math.log(0.5) / math.log(a)
    lag = np.interp(-0.5, -past[:100] / past[0], np.arange(100))
    assert lag == pytest.approx(half_life, rel=0.01)
    want = math.ceil(math.log(0.05) / math.log(a))  # sum of a^d beyond k is a^k of the whole
    assert (found.value, found.low, found.high) == (want, want, want)
    assert found.causal
    assert found.rollout is None


def test_linear_attention_is_the_explicit_matrix():
    q, k = drawn(2, 3, T, 6).exp(), drawn(2, 3, T, 6, seed=1).exp()
    alpha = linear_attention(q, k).rows(torch.arange(T))
    torch.testing.assert_close(alpha, (q @ k.mT).tril())
    gates = drawn(2, 3, T, seed=2).sigmoid()
    alpha = linear_attention(q, k, gates).rows(torch.arange(T))
    for t, s in [(5, 5), (20, 3), (49, 40)]:
        factor = gates[..., s + 1 : t + 1].prod(-1)
        want = (q[:, :, t] * k[:, :, s]).sum(-1) * factor
        torch.testing.assert_close(alpha[:, :, t, s], want)
    gates = drawn(2, 3, T, 6, seed=2).sigmoid()
    alpha = linear_attention(q, k, gates).rows(torch.arange(T))
    want = (q[:, :, 20] * k[:, :, 3] * gates[:, :, 4:21].prod(2)).sum(-1)
    torch.testing.assert_close(alpha[:, :, 20, 3], want)


def test_linear_attention_without_gates_is_uniform_for_equal_keys():
    same = torch.ones(40, 2, 64, 3)
    found = hidden_attention([linear_attention(same, same)])
    assert found.uniform_ratio == pytest.approx(1, abs=1e-12)
    assert [layer.heads for layer in found.layers] == [2]


def test_any_linear_layer_by_its_slopes():
    decay, write, read = CASES["full"]
    x = drawn(B, T, D, seed=9)
    layer = LinearLayer(lambda v: recurrence_output(decay, write, read, v), x)
    place = torch.tensor([0, 13, T - 1])
    want = Recurrence(decay=decay, write=write, read=read).rows(place)
    torch.testing.assert_close(layer.rows(place), want)
    by_slopes = hidden_attention([layer])
    by_formula = hidden_attention([Recurrence(decay=decay, write=write, read=read)])
    assert by_slopes.value == by_formula.value
    assert by_slopes.curve.mean == pytest.approx(by_formula.curve.mean)


def test_a_layer_that_is_not_linear_or_mixes_channels_is_refused():
    x = drawn(B, T, D)
    for wrong in (
        lambda v: v.tanh(),
        lambda v: v + 1,
        lambda v: v @ drawn(D, D),
        lambda v: v.cumsum(1) * v.mean(),
    ):
        with pytest.raises(UsageError, match="channel by channel"):
            LinearLayer(wrong, x).rows(torch.tensor([T - 1]))
    x = x.float()
    LinearLayer(lambda v: v.cumsum(1), x).rows(torch.tensor([T - 1]))


def test_lengths_and_shapes():
    decay, write, read = CASES["mamba"]
    layer = Recurrence(decay=decay, write=write, read=read)
    lengths = torch.tensor([50, 20, 30])
    found = hidden_attention([layer, layer], lengths=lengths)
    assert found.num_sequences == 3
    changed = write.clone()
    changed[1, 20:] = 1e6
    again = hidden_attention(
        [Recurrence(decay=decay, write=changed, read=read)] * 2, lengths=lengths
    )
    assert again.curve.mean == found.curve.mean
    with pytest.raises(UsageError, match="broadcast"):
        Recurrence(decay=decay, write=write[:, :10], read=read)
    with pytest.raises(UsageError, match="broadcast"):
        Recurrence(decay=decay[0], write=write, read=read)
    with pytest.raises(UsageError, match="one number of rows"):
        hidden_attention([layer, Recurrence(decay=decay[:2], write=write[:2], read=read[:2])])
    with pytest.raises(UsageError, match="one number of rows"):
        hidden_attention([])
