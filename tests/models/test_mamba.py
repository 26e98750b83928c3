"""Mamba: against transformers with the same parameters, by hand, and its start."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from howfar.core.errors import UsageError
from howfar.models import build


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def made(width=20, **extras):
    model = build("mamba", vocabulary=5, outputs=2, width=width, embedding=width, **extras)
    return model.double().body.blocks[0].mixer


def shaken(width=20, **extras):
    """No parameter at its start."""
    found = made(width, **extras)
    with torch.no_grad():
        for index, parameter in enumerate(found.parameters()):
            parameter.add_(0.1 * reals(*parameter.shape, seed=index))
    return found


def reference(found):
    """Their mixer, and its parameters as functions of ours."""
    config = MambaConfig(
        hidden_size=found.out.out_features,
        state_size=found.states,
        expand=found.inner // found.out.out_features,
        time_step_rank=found.rank,
        num_hidden_layers=1,
        conv_kernel=4,
    )
    with torch.random.fork_rng():
        theirs = MambaMixer(config, 0)
    pairs = {
        "in_proj.weight": found.into.weight,
        "conv1d.weight": found.convolution.weight_KD.T[:, None],
        "conv1d.bias": found.convolution.bias_D,
        "x_proj.weight": found.select.weight,
        "dt_proj.weight": found.step_size.weight,
        "dt_proj.bias": found.step_size.bias,
        "A_log": torch.log(-found.rate()),
        "D": found.skip_E,
        "out_proj.weight": found.out.weight,
    }
    assert set(pairs) == set(theirs.state_dict())
    return theirs.eval(), pairs


def both(found, x_BLD):
    """Outputs and gradients of ours and of theirs."""
    theirs, pairs = reference(found)
    theirs = theirs.to(x_BLD.dtype)
    slope_BLD = reals(*x_BLD.shape, seed=1).to(x_BLD.dtype)
    leaves = [x_BLD.clone().requires_grad_(), *found.parameters()]
    got_BLD = found(leaves[0], torch.tensor([x_BLD.shape[1]] * len(x_BLD)))
    got = torch.autograd.grad((got_BLD * slope_BLD).sum(), leaves)
    want_BLD = torch.func.functional_call(theirs, pairs, (leaves[0],))
    want = torch.autograd.grad((want_BLD * slope_BLD).sum(), leaves)
    return [got_BLD, *got], [want_BLD, *want]


@pytest.mark.parametrize("extras", [{}, {"state": 3, "expand": 1}])
@pytest.mark.parametrize("length", [1, 37])
def test_equals_transformers(extras, length):
    """Theirs keeps A, D and the state in float32, whatever the model."""
    got, want = both(shaken(**extras).float(), reals(3, length, 20).float())
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(
            one, two, rtol=0, atol=1e-6 * max(1, float(two.detach().abs().max()))
        )


@pytest.mark.parametrize("extras", [{}, {"state": 3, "expand": 1}])
def test_equals_transformers_in_float64(extras, monkeypatch):
    """Where they say float(), so that their scan is float32, they get double()."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    got, want = both(shaken(**extras), reals(3, 37, 20))
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-9)


def equations(found, x_LD):
    """The block, one token, channel and state after another."""
    inner, states, rank = found.inner, found.states, found.rank
    kernel_KE, bias_E = found.convolution.weight_KD, found.convolution.bias_D
    both_LX = x_LD @ found.into.weight.T
    h = [[0.0] * states for _ in range(inner)]
    outputs = []
    for t in range(len(x_LD)):
        seen_E = bias_E.clone()
        for tap in range(4):
            if t - 3 + tap >= 0:
                seen_E += kernel_KE[tap] * both_LX[t - 3 + tap, :inner]
        seen_E = seen_E / (1 + torch.exp(-seen_E))
        chosen = found.select.weight @ seen_E
        steps_E = found.step_size.weight @ chosen[:rank] + found.step_size.bias
        y_E = torch.zeros(inner, dtype=torch.float64)
        for e in range(inner):
            step, x = math.log1p(math.exp(steps_E[e])), float(seen_E[e])
            for n in range(states):
                a = -(n + 1) * math.exp(found.log_rate_EN[e, n])
                into, out = float(chosen[rank + n]), float(chosen[rank + states + n])
                h[e][n] = math.exp(step * a) * h[e][n] + step * into * x
                y_E[e] += out * h[e][n]
            y_E[e] += found.skip_E[e] * x
        gate_E = both_LX[t, inner:]
        outputs.append(found.out.weight @ (y_E * gate_E / (1 + torch.exp(-gate_E))))
    return torch.stack(outputs)


@torch.no_grad()
def test_equals_its_equations():
    found = shaken(18, state=3)  # rank 2
    x_LD = reals(15, 18)
    got_BLD = found(x_LD[None], torch.tensor([15]))
    torch.testing.assert_close(got_BLD[0], equations(found, x_LD), rtol=0, atol=1e-10)


@torch.no_grad()
def test_by_hand():
    """All gates at known values: step log 2, A = -1, so h halves; x = 2 log 2, 0."""
    found = made(1, state=1, expand=1)
    for parameter in found.parameters():
        parameter.zero_()
    found.convolution.weight_KD[-1] = 1.0  # the present alone
    found.into.weight.copy_(torch.tensor([[1.0], [0.0]]))
    found.select.weight.copy_(torch.tensor([[0.0], [1.0], [0.0]]))  # B = x; C = 0
    found.skip_E.fill_(0.0)
    x = 1.2
    x_BLD = torch.tensor([x, 0.0, 0.0], dtype=torch.float64).reshape(1, 3, 1)
    _, (_, h_BEN) = found.chunk(x_BLD, None)
    swish = x / (1 + math.exp(-x))
    assert float(h_BEN) == pytest.approx(math.log(2) * swish * swish / 4, abs=1e-12)


@torch.no_grad()
def test_start():
    found = made(512, depth=1)
    assert (found.inner, found.rank, found.states) == (1024, 32, 16)
    assert torch.equal(found.rate(), -torch.arange(1, 17).double().expand(1024, -1))
    assert torch.equal(found.skip_E, torch.ones(1024).double())
    step_E = F.softplus(found.step_size.bias)
    assert float(step_E.min()) >= 0.001 * (1 - 1e-3)
    assert float(step_E.max()) <= 0.1 * (1 + 1e-3)
    assert float(step_E.log().mean()) == pytest.approx(math.log(0.01), abs=0.15)
    bound = float(found.step_size.weight.abs().max())
    assert 0.99 * 32**-0.5 < bound <= 32**-0.5


def test_rank_state_and_price():
    found = made(17, state=5)
    assert found.rank == 2
    assert found.state_bytes(9) == 4 * (3 * 34 + 34 * 5)
    weights = 17 * 68 + 34 * (2 + 10) + 2 * 34 + 34 * 17
    assert found.flops(10) == 10 * (2 * weights + 2 * 4 * 34 + 6 * 34 * 5)


@pytest.mark.parametrize("extras", [{"depth": 0}, {"state": 0}, {"expand": 0}])
def test_wrong_settings(extras):
    with pytest.raises(UsageError):
        made(**extras)
