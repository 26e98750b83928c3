"""Rotary positions, heads of any width, masks; attention against an explicit loop."""

import math

import pytest
import torch

from howfar.models import build
from howfar.models.transformer import Attention, rotate


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_rotation_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).double().reshape(1, 1, 1, 4)
    slow = 10_000.0 ** (-2 / 4)
    want = []
    for a, b, angle in ((1.0, 3.0, 5.0), (2.0, 4.0, 5.0 * slow)):
        c, s = math.cos(angle), math.sin(angle)
        want.append((a * c - b * s, b * c + a * s))
    (a0, b0), (a1, b1) = want
    assert rotate(x, 5).flatten().tolist() == pytest.approx([a0, a1, b0, b1], abs=1e-12)
    assert torch.equal(rotate(x, 0), x)


def test_scores_depend_on_distance_alone():
    q, k = reals(1, 1, 1, 8, seed=1), reals(1, 1, 1, 8, seed=2)

    def score(t, s):
        return float((rotate(q, t) * rotate(k, s)).sum())

    for distance in (0, 1, 7):
        near = score(distance, 0)
        assert score(1500 + distance, 1500) == pytest.approx(near, abs=1e-9)
    assert abs(score(3, 0) - score(4, 0)) > 1e-3  # not on nothing at all
    assert abs(score(3, 0) - score(0, 3)) > 1e-3


def loop(attention, x_BLD, lengths):
    """One pair of positions at a time."""
    heads, size = attention.heads, attention.head_size
    y_BLD = torch.zeros_like(x_BLD)
    for row, n in enumerate(lengths.tolist()):
        qkv = (x_BLD[row] @ attention.qkv.weight.T).reshape(-1, 3, heads, size)
        for t in range(n):
            parts = []
            for head in range(heads):
                seen = range(t + 1) if attention.causal else range(n)
                q = rotate(qkv[t, 0, head].reshape(1, 1, 1, -1), t)
                scores = [
                    (q * rotate(qkv[s, 1, head].reshape(1, 1, 1, -1), s)).sum() / size**0.5
                    for s in seen
                ]
                weights = torch.stack(scores).softmax(0)
                parts.append(sum(w * qkv[s, 2, head] for w, s in zip(weights, seen, strict=True)))
            y_BLD[row, t] = torch.cat(parts) @ attention.out.weight.T
    return y_BLD


@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_attention_equals_loop(causal):
    attention = Attention(6, 2, causal=causal).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, generator=generator(3))
    x_BLD, lengths = reals(2, 5, 6), torch.tensor([5, 3])
    got, want = attention(x_BLD, lengths), loop(attention, x_BLD, lengths)
    for row, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :n], want[row, :n], rtol=0, atol=1e-10)


@torch.no_grad()
def test_empty_row_sees_its_first_pad():
    attention = Attention(6, 2, causal=False).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, generator=generator(3))
    x_BLD = reals(2, 5, 6)
    value_D = (x_BLD[0, 0] @ attention.qkv.weight.T)[2 * attention.inner :]
    want_LD = (value_D @ attention.out.weight.T).expand(5, -1)
    got_LD = attention(x_BLD, torch.tensor([0, 5]))[0]
    torch.testing.assert_close(got_LD, want_LD, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("width", "heads", "size"), [(64, 2, 32), (63, 2, 32), (7, 2, 4), (1, 2, 2), (10, 3, 4)]
)
def test_any_width_gets_even_heads(width, heads, size):
    model = build("transformer", vocabulary=5, outputs=2, width=width, heads=heads)
    assert model.body.blocks[0].mixer.head_size == size
    assert model(torch.tensor([[1, 2, 3]])).shape == (1, 3, 2)
    assert model.state_bytes(10) == 2 * 4 * 2 * heads * size * 10


def test_order_matters():
    model = build("transformer", vocabulary=5, outputs=2, causal=False, width=8).double()
    one, two = model(torch.tensor([[1, 2, 3]])), model(torch.tensor([[3, 2, 1]]))
    assert (one - two).abs().max() > 1e-6
