"""Griffin's recurrent block: against transformers, in closed form, at its extremes, its start."""

import math
from functools import partial

import pytest
import torch
from torch.nn import functional as F
from transformers.models.recurrent_gemma.configuration_recurrent_gemma import RecurrentGemmaConfig
from transformers.models.recurrent_gemma.modeling_recurrent_gemma import (
    RecurrentGemmaRecurrentBlock,
)

from howfar.core.errors import UsageError
from howfar.models import build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def made(width=12, **extras):
    model = build("rglru", vocabulary=5, outputs=2, width=width, embedding=width, **extras).double()
    return model.body.blocks[0].mixer


def shaken(width=12, **extras):
    """No parameter at zero."""
    found = made(width, **extras)
    with torch.no_grad():
        for index, parameter in enumerate(found.parameters()):
            parameter.add_(0.1 * reals(*parameter.shape, seed=index))
    return found


def reference(found, blocks):
    """The block of RecurrentGemma with the same parameters, and a function of them."""
    width = found.out.out_features
    config = RecurrentGemmaConfig(
        hidden_size=width, lru_width=width, num_attention_heads=blocks, num_hidden_layers=1
    )
    theirs = RecurrentGemmaRecurrentBlock(config, 0).double()
    size = width // blocks
    gate, x = found.into.weight.chunk(2)
    gate_bias, x_bias = found.into.bias.chunk(2)
    decay = found.decay
    pairs = {
        "linear_y.weight": gate,
        "linear_y.bias": gate_bias,
        "linear_x.weight": x,
        "linear_x.bias": x_bias,
        "linear_out.weight": found.out.weight,
        "linear_out.bias": found.out.bias,
        "conv_1d.weight": found.convolution.weight_KD.T[:, None],
        "conv_1d.bias": found.convolution.bias_D,
        "rg_lru.recurrent_param": decay.limit_R,
        "rg_lru.recurrent_gate_weight": decay.gate_GSX[..., :size],
        "rg_lru.input_gate_weight": decay.gate_GSX[..., size:],
        "rg_lru.recurrent_gate_bias": decay.bias_GX[:, :size],
        "rg_lru.input_gate_bias": decay.bias_GX[:, size:],
    }
    assert set(pairs) == set(theirs.state_dict())
    # their scan adds up in float32 unless told
    theirs.rg_lru._rnn_scan = partial(theirs.rg_lru._rnn_scan, acc_dtype=torch.float64)
    return theirs, pairs


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize("length", [2, 37])
def test_equals_recurrent_gemma(blocks, length):
    """Places from 1: at place 0 theirs starts anew with h = i x, which the paper does not have."""
    found = shaken(12, blocks=blocks)
    theirs, pairs = reference(found, blocks)
    place_BL = torch.arange(1, length + 1).expand(3, -1)
    x_BLD, slope_BLD = reals(3, length, 12), reals(3, length, 12, seed=1)
    mine = x_BLD.clone().requires_grad_()
    got_BLD = found(mine, torch.tensor([length] * 3))
    (got_BLD * slope_BLD).sum().backward()
    other = x_BLD.clone().requires_grad_()
    want_BLD, _ = torch.func.functional_call(
        theirs, pairs, (other, place_BL, None), {"use_cache": False}
    )
    torch.testing.assert_close(got_BLD, want_BLD, rtol=0, atol=1e-9)
    parameters = list(found.parameters())
    wanted = torch.autograd.grad((want_BLD * slope_BLD).sum(), [other, *parameters])
    for one, two in zip([mine.grad, *(p.grad for p in parameters)], wanted, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-9)


@torch.no_grad()
def test_equals_recurrent_gemma_in_float32():
    found = shaken()
    theirs, pairs = reference(found.float(), 1)
    x_BLD = reals(2, 50, 12).float()
    place_BL = torch.arange(1, 51).expand(2, -1)
    got_BLD = found(x_BLD, torch.tensor([50, 50]))
    theirs = theirs.float()
    want_BLD, _ = torch.func.functional_call(
        theirs, pairs, (x_BLD, place_BL, None), {"use_cache": False}
    )
    torch.testing.assert_close(got_BLD, want_BLD, rtol=0, atol=1e-5)


def one_channel(*, limit, recur, into):
    """Gates that do not look at the input."""
    found = made(1).decay
    with torch.no_grad():
        found.limit_R.fill_(limit)
        found.gate_GSX.zero_()
        found.bias_GX.copy_(torch.tensor([[recur, into]], dtype=torch.float64))
    return found


@torch.no_grad()
def test_by_hand():
    """softplus(l) = log(16) / 8, r = i = 1/2, a = 1/4; x = 1, 0 gives h = sqrt(15) / 8, h / 4."""
    found = one_channel(limit=math.log(16 ** (1 / 8) - 1), recur=0.0, into=0.0)
    h_BLR = found(torch.tensor([1.0, 0.0], dtype=torch.float64).reshape(1, 2, 1), None)
    first = 15**0.5 / 8
    assert h_BLR.flatten().tolist() == pytest.approx([first, first / 4], abs=1e-12)


@torch.no_grad()
def test_closed_form_of_a_constant_decay():
    """h_t = sum_s a^(t-s) sqrt(1 - a^2) i x_s, from h_0."""
    found = one_channel(limit=-3.0, recur=0.4, into=-0.2)
    sigmoid = [1 / (1 + math.exp(-bias)) for bias in (0.4, -0.2)]
    a = math.exp(-8 * math.log1p(math.exp(-3.0)) * sigmoid[0])
    x_L, h0 = reals(30), 0.7
    h_BLR = found(x_L[None, :, None], torch.full((1, 1), h0, dtype=torch.float64))
    scale = math.sqrt(1 - a * a) * sigmoid[1]
    for t in range(30):
        past = sum(a ** (t - s) * scale * float(x_L[s]) for s in range(t + 1))
        assert float(h_BLR[0, t, 0]) == pytest.approx(past + a ** (t + 1) * h0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [-1000.0, -50.0, 50.0, 1e5])
def test_extreme_decays_stay_finite(limit, dtype):
    """Nothing forgotten, so nothing new (a = 1), up to nothing kept (a = 0)."""
    found = one_channel(limit=limit, recur=3.0, into=3.0).to(dtype)
    x_BLR = reals(1, 40, 1).to(dtype).requires_grad_()
    h_BLR = found(x_BLR, None)
    h_BLR.sum().backward()
    assert h_BLR.isfinite().all()
    assert x_BLR.grad.isfinite().all()
    assert all(p.grad.isfinite().all() for p in found.parameters())
    open_gate = 1 / (1 + math.exp(-3.0))
    want = torch.zeros_like(h_BLR) if limit < 0 else open_gate * x_BLR
    torch.testing.assert_close(h_BLR, want, rtol=0, atol=1e-6)


@torch.no_grad()
def test_start():
    found = made(1000, depth=1).decay
    kept_R = torch.exp(-8 * F.softplus(found.limit_R))
    assert float(kept_R.min()) >= 0.9 - 1e-5
    assert float(kept_R.max()) <= 0.999 + 1e-5
    assert float(kept_R.mean()) == pytest.approx(0.9495, abs=0.004)
    assert float(found.gate_GSX.std()) == pytest.approx(1000**-0.5, rel=0.02)
    assert float(found.bias_GX.abs().max()) == 0
    assert float(made(12, blocks=3).decay.gate_GSX.std()) == pytest.approx(0.5, rel=0.3)


def test_blocks_round_the_inner_width_up():
    found = made(14, blocks=4)
    assert found.inner == 16
    assert found.decay.gate_GSX.shape == (4, 4, 8)
    assert found.state_bytes(9) == 4 * (3 * 16 + 16)
    weights = 14 * 32 + 16 * 14 + 4 * 4 * 8
    assert found.flops(10) == 10 * (2 * weights + 2 * 4 * 16 + 2 * 16)


def test_blocks_do_not_see_each_other():
    decay = made(12, blocks=3).decay
    x_BLR = reals(1, 5, 12).requires_grad_()
    decay(x_BLR, None)[..., 4:8].sum().backward()
    seen_R = x_BLR.grad.abs().amax((0, 1)) > 0
    assert seen_R.tolist() == [False] * 4 + [True] * 4 + [False] * 4


@pytest.mark.parametrize("extras", [{"depth": 0}, {"blocks": 0}])
def test_wrong_settings(extras):
    with pytest.raises(UsageError):
        made(**extras)
