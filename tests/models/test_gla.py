"""Gated linear attention against a loop of the paper's equation, and its decays by hand."""

import math

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.gla import GatedLinearAttention, GlaSettings

EPS = 1e-5  # written again here: a change of the family's own must show


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(mixer, seed=0):
    for index, parameter in enumerate(mixer.parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=generator(seed + index))
    return mixer.double()


def loop(mixer, x_BLD):
    """S_t = diag(a_t) S_{t-1} + k_t v_t', one row, head and token after another."""
    rows = []
    wq, wk, wv = mixer.qkv.weight.split([mixer.keys, mixer.keys, mixer.values])
    for x_LD in x_BLD:
        a_LX = (mixer.decay_out(mixer.decay_in(x_LD))).sigmoid() ** (1 / 16)
        heads = []
        for head in range(mixer.heads):
            of = slice(head * mixer.key, (head + 1) * mixer.key)
            to = slice(head * mixer.value, (head + 1) * mixer.value)
            state_KV, outs = torch.zeros(mixer.key, mixer.value).double(), []
            for x_D, a_X in zip(x_LD, a_LX, strict=True):
                k_K, v_V = wk[of] @ x_D, wv[to] @ x_D
                state_KV = torch.diag(a_X[of]) @ state_KV + torch.outer(k_K, v_V)
                y_V = (wq[of] @ x_D) @ state_KV / math.sqrt(mixer.key)
                outs.append(y_V / (y_V.square().mean() + EPS).sqrt() * mixer.norm.weight)
            heads.append(torch.stack(outs))
        gate_LX = mixer.gate(x_LD)
        rows.append((torch.cat(heads, -1) * gate_LX * gate_LX.sigmoid()) @ mixer.out.weight.T)
    return torch.stack(rows)


def answers(mixer, run, x_BLD):
    mixer.zero_grad()
    x_BLD = x_BLD.clone().requires_grad_()
    y_BLD = run(x_BLD)
    (y_BLD * reals(*y_BLD.shape, seed=9)).sum().backward()
    return [y_BLD, x_BLD.grad, *(p.grad.clone() for p in mixer.parameters())]


@pytest.mark.parametrize(("width", "heads", "length"), [(8, 2, 1), (13, 3, 40), (4, 1, 90)])
def test_equals_the_loop(width, heads, length):
    mixer = drawn(GatedLinearAttention(width, heads))
    x_BLD = reals(2, length, width)
    want = answers(mixer, lambda x: loop(mixer, x), x_BLD)
    got = answers(mixer, lambda x: mixer(x, None), x_BLD)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-9)


def test_state_by_hand():
    mixer = GatedLinearAttention(1, 1).double()
    for parameter in mixer.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        mixer.qkv.weight.copy_(torch.tensor([[1.0], [1.0], [2.0]]))
    x_BLD = torch.tensor([1.0, 3.0]).double().view(1, 2, 1)
    (state,) = mixer.chunk(x_BLD, None)[1]
    # sigmoid(0)^(1/16) of 1 * 2, and 3 * 6
    assert state.item() == pytest.approx(0.5 ** (1 / 16) * 2 + 18, abs=1e-13)
    assert state.item() == pytest.approx(19.915207, abs=1e-6)


def test_each_channel_fades_at_its_own_rate():
    mixer = GatedLinearAttention(4, 1).double()
    for parameter in mixer.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        mixer.qkv.weight[2:4, 0] = 1.0  # both keys
        mixer.qkv.weight[4, 0] = 1.0
        # sigmoid(b) = 2^-16 and nearly 1
        mixer.decay_out.bias.copy_(
            torch.tensor([-math.log(2.0**16 - 1), 60.0], dtype=torch.float64)
        )
    x_BLD = torch.zeros(1, 5, 4).double()
    x_BLD[0, 0, 0] = 1.0
    (state,) = mixer.chunk(x_BLD, None)[1]
    assert state[0, 0, :, 0].tolist() == pytest.approx([2.0**-4, 1.0], abs=1e-12)


def test_sizes():
    mixer = build("gla", vocabulary=5, outputs=2, width=64).body.blocks[0].mixer
    assert (mixer.key, mixer.value) == (16, 32)
    assert mixer.decay_in.weight.shape == (16, 64)
    assert mixer.state_bytes(10) == 4 * 2 * 16 * 32
    assert mixer.decay_out.bias.abs().max() == 0


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"heads": 0}, {"heads": "2"}])
def test_settings_are_checked(wrong):
    with pytest.raises(UsageError, match="whole number"):
        GlaSettings(**wrong)
