"""Retention against its parallel form with complex numbers, and rates and turns by hand."""

import math

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.retention import Retention, RetentionSettings, turn

EPS = 1e-5  # written again here: a change of the family's own must show

TYPES = (torch.float32, torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(mixer, seed=0):
    for index, parameter in enumerate(mixer.parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=generator(seed + index))
    return mixer.double()


def parallel(mixer, x_BLD):
    """Equation 5, head by head: ((Q theta)(K conj(theta))' * D) V; then equation 8."""
    length, size = x_BLD.shape[1], mixer.size
    place_L = torch.arange(length, dtype=torch.float64)
    angle_P = 10_000.0 ** (-2 * torch.arange(size // 2, dtype=torch.float64) / size)
    theta_LP = torch.polar(torch.ones(length, size // 2).double(), place_L[:, None] * angle_P)
    q, k, v, gate = (x_BLD @ weight.T for weight in mixer.qkvg.weight.chunk(4))
    parts = []
    for head in range(mixer.heads):
        own = slice(head * size, (head + 1) * size)

        def paired(z, own=own):
            return torch.complex(*z[..., own].chunk(2, -1))

        q_BLP, k_BLP = paired(q) * theta_LP / math.sqrt(size), paired(k) * theta_LP
        gamma = 1 - 2.0 ** (-5 - head)
        gone_LL = place_L[:, None] - place_L
        decay_LL = torch.where(gone_LL >= 0, gamma ** gone_LL.clamp(min=0), 0.0)
        y_BLV = ((q_BLP @ k_BLP.mH).real * decay_LL) @ v[..., own]
        spread = y_BLV.var(-1, unbiased=False, keepdim=True)
        parts.append((y_BLV - y_BLV.mean(-1, keepdim=True)) / (spread + EPS).sqrt())
    return (torch.cat(parts, -1) * gate * gate.sigmoid()) @ mixer.out.weight.T


def answers(mixer, run, x_BLD):
    mixer.zero_grad()
    x_BLD = x_BLD.clone().requires_grad_()
    y_BLD = run(x_BLD)
    (y_BLD * reals(*y_BLD.shape, seed=9)).sum().backward()
    return [y_BLD, x_BLD.grad, *(p.grad.clone() for p in mixer.parameters())]


@pytest.mark.parametrize(("width", "heads", "length"), [(8, 2, 1), (13, 3, 40), (4, 1, 130)])
def test_equals_the_parallel_form(width, heads, length):
    mixer = drawn(Retention(width, heads))
    x_BLD = reals(3, length, width)
    want = answers(mixer, lambda x: parallel(mixer, x), x_BLD)
    got = answers(mixer, lambda x: mixer(x, None), x_BLD)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_state_by_hand():
    """One head of size 2 and three tokens k = (1, 0), v = (1, 2): turned back, faded by 31/32."""
    mixer = Retention(2, 1).double()
    torch.nn.init.zeros_(mixer.qkvg.weight)
    with torch.no_grad():
        mixer.qkvg.weight[2, 0] = 1.0
        mixer.qkvg.weight[4:6, 0] = torch.tensor([1.0, 2.0])
    x_BLD = torch.tensor([1.0, 0.0]).double().expand(1, 3, 2)
    (state,) = mixer.chunk(x_BLD, None)[1]
    g = 31 / 32
    along = math.cos(1) + g * math.cos(2) + g * g * math.cos(3)
    aside = -math.sin(1) - g * math.sin(2) - g * g * math.sin(3)
    assert along == pytest.approx(-0.791925, abs=1e-6)
    want = torch.tensor([[along, 2 * along], [aside, 2 * aside]], dtype=torch.float64)
    torch.testing.assert_close(state[0, 0], want, rtol=0, atol=1e-14)
    stepped = None
    for x_BD in x_BLD.unbind(1):
        _, stepped = mixer.step(x_BD, stepped)
    torch.testing.assert_close(stepped[0][0, 0], want, rtol=0, atol=1e-14)


def test_rates():
    rates = Retention(16, 4).log_decay(torch.zeros(1).double()).exp().tolist()
    assert rates == pytest.approx([31 / 32, 63 / 64, 127 / 128, 255 / 256], abs=1e-15)


def test_turn_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    slow = 10_000.0 ** (-2 / 4)
    (a0, b0), (a1, b1) = (
        (a * math.cos(u) - b * math.sin(u), a * math.sin(u) + b * math.cos(u))
        for a, b, u in ((1.0, 3.0, 5.0), (2.0, 4.0, 5.0 * slow))
    )
    place_1 = torch.tensor([5])
    assert turn(x[None], place_1)[0].tolist() == pytest.approx([a0, a1, b0, b1], abs=1e-14)
    got = turn(x[:, None].expand(4, 3), place_1, dim=-2)
    torch.testing.assert_close(got, turn(x[None], place_1).T.expand(4, 3))
    there = turn(x[None].expand(7, 4), torch.arange(7))
    torch.testing.assert_close(turn(there, -torch.arange(7)), x[None].expand(7, 4))


def test_only_distances_count():
    """Empty tokens in front write nothing: what follows is as if they were not there."""
    mixer = drawn(Retention(8, 2))
    x_BLD = reals(2, 20, 8)
    late = torch.cat([torch.zeros(2, 700, 8).double(), x_BLD], 1)
    got, want = mixer(late, None)[:, 700:], mixer(x_BLD, None)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-9)


@torch.no_grad()
def test_far_places_keep_their_digits():
    there = [turn(torch.ones(65_536, 8, dtype=dtype), torch.arange(65_536)) for dtype in TYPES]
    torch.testing.assert_close(there[0].double(), there[1], rtol=0, atol=1e-6)
    # two tokens far out, a distance of 3 apart: their likeness is that of the first two
    for dtype in TYPES:
        near = turn(torch.ones(1, 4, 8, dtype=dtype), torch.arange(4))[0]
        far = turn(torch.ones(1, 4, 8, dtype=dtype), torch.arange(65_000, 65_004))[0]
        torch.testing.assert_close(far[0] @ far[3], near[0] @ near[3], rtol=0, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"heads": 0}, {"heads": True}])
def test_settings_are_checked(wrong):
    with pytest.raises(UsageError, match="whole number"):
        RetentionSettings(**wrong)


@pytest.mark.parametrize(("width", "heads", "size"), [(64, 4, 16), (14, 3, 4), (1, 4, 2)])
def test_heads_are_of_even_size(width, heads, size):
    model = build("retention", vocabulary=5, outputs=2, width=width, heads=heads)
    assert model.body.blocks[0].mixer.size == size
    assert model.body.blocks[0].ff is not None
