"""Mamba-2 against transformers' Mamba2Mixer, its masked matrix form and numbers by hand."""

import copy
import math

import pytest
import torch
from tests.models.exact_reference import answers, close, in_float64
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.blocks import SteppedDecay
from howfar.models.mamba2 import Mamba2, Mamba2Settings

EPS = 1e-5  # written again here: a change of the family's own must show

# ours and theirs; the convolution is turned
NAMES = {
    "into.weight": "in_proj.weight",
    "short.weight_KD": "conv1d.weight",
    "short.bias_D": "conv1d.bias",
    "decay.log_rate_H": "A_log",
    "decay.bias_H": "dt_bias",
    "skip_H": "D",
    "norm.weight": "norm.weight",
    "out.weight": "out_proj.weight",
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(width, heads, state):
    mixer = Mamba2(width, Mamba2Settings(heads=heads, state=state)).double()
    for index, (name, parameter) in enumerate(mixer.named_parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=generator(index))
        if name == "norm.weight":
            parameter.data.add_(1)
    return mixer


def theirs(mixer, width):
    modeling = pytest.importorskip("transformers.models.mamba2.modeling_mamba2")
    from transformers import Mamba2Config

    config = Mamba2Config(
        hidden_size=width,
        num_heads=mixer.heads,
        head_dim=mixer.size,
        state_size=mixer.state,
        n_groups=1,
        expand=mixer.inner // width,
        chunk_size=16,
        num_hidden_layers=1,
        layer_norm_epsilon=EPS,
    )
    other = modeling.Mamba2Mixer(config, 0).to(mixer.skip_H.dtype).eval()
    own = dict(mixer.named_parameters())
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            value = next(own[key] for key, other_key in NAMES.items() if other_key == name)
            parameter.copy_(value.T[:, None] if name == "conv1d.weight" else value)
    return modeling, other


@pytest.mark.parametrize(
    ("width", "heads", "state", "length"), [(8, 4, 6, 1), (12, 3, 5, 40), (4, 1, 16, 33)]
)
def test_equals_transformers(width, heads, state, length, monkeypatch):
    mixer = drawn(width, heads, state)
    modeling, other = theirs(mixer, width)
    in_float64(monkeypatch, modeling)
    x_BLD, weight = reals(3, length, width), reals(3, length, width, seed=7)
    y, dx, grads = answers(mixer, lambda x: mixer(x, None), x_BLD, weight)
    want_y, want_dx, want = answers(other, other, x_BLD, weight)
    assert set(want) == set(NAMES.values())
    close(y, want_y, 1e-9)
    close(dx, want_dx, 1e-9)
    for name, other_name in NAMES.items():
        grad = want[other_name]
        close(grads[name], grad[:, 0].T if name == "short.weight_KD" else grad, 1e-9)


def test_equals_transformers_in_float32(monkeypatch):
    """As it is drawn; theirs in float64, as in float32 it is the less exact of the two."""
    mixer = build("mamba2", vocabulary=5, outputs=2, width=32).body.blocks[0].mixer
    exact = copy.deepcopy(mixer).double()
    modeling, other = theirs(exact, 32)
    x_BLD, weight = reals(3, 300, 32).float(), reals(3, 300, 32, seed=7).float()
    in_float64(monkeypatch, modeling)
    y, dx, _ = answers(mixer, lambda x: mixer(x, None), x_BLD, weight)
    want_y, want_dx, _ = answers(other, other, x_BLD.double(), weight.double())
    close(y, want_y, 1e-6)
    close(dx, want_dx, 1e-6)


def test_equals_the_masked_matrix():
    """State-space duality: y = (M * C B') (d x), M the products of the decays between."""
    mixer = drawn(6, 3, 4)
    x_BLD = reals(2, 30, 6)
    inner, size = mixer.inner, mixer.state
    z, mixed, step = torch.split(mixer.into(x_BLD), [inner, inner + 2 * size, 3], -1)
    padded = F.pad(mixed, (0, 0, 3, 0))
    mixed = sum(padded[:, tap : tap + 30] * mixer.short.weight_KD[tap] for tap in range(4))
    mixed = F.silu(mixed + mixer.short.bias_D)
    v, b, c = torch.split(mixed, [inner, size, size], -1)
    heads = []
    for head in range(3):
        step_BL = F.softplus(step[..., head] + mixer.decay.bias_H[head])
        total_BL = (-mixer.decay.log_rate_H[head].exp() * step_BL).cumsum(1)
        mask_BLL = (total_BL[:, :, None] - total_BL[:, None]).exp().tril()
        own = v[..., head * mixer.size : (head + 1) * mixer.size]
        scores_BLL = mask_BLL * (c @ b.mT)
        heads.append(scores_BLL @ (step_BL[..., None] * own) + mixer.skip_H[head] * own)
    gated = torch.cat(heads, -1) * F.silu(z)
    normal = gated / (gated.square().mean(-1, keepdim=True) + EPS).sqrt() * mixer.norm.weight
    want = normal @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x_BLD, None), want, rtol=1e-10, atol=1e-10)


def test_state_by_hand():
    """Width 1, one head of 2, N = 1: B = x silu'd, x = 1 then 2, A = 2, softplus(0) = ln 2."""
    mixer = Mamba2(1, Mamba2Settings(heads=1, state=1)).double()
    for parameter in mixer.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        mixer.into.weight[2:5] = 1.0  # both x, and B
        mixer.short.weight_KD[-1] = 1.0
        mixer.decay.log_rate_H.fill_(math.log(2))
    state = mixer.chunk(torch.tensor([1.0, 2.0]).double().view(1, 2, 1), None)[1][1]
    one, two = 1 / (1 + math.exp(-1)), 2 / (1 + math.exp(-2))
    # exp(-2 ln 2) = 1/4
    want = math.log(2) * (one * one / 4 + two * two)
    assert state.flatten().tolist() == pytest.approx([want, want], abs=1e-14)
    assert want == pytest.approx(2.243597, abs=1e-6)


def test_what_is_drawn():
    decay = SteppedDecay(4000)
    decay.draw(generator())
    rates = decay.log_rate_H.detach().exp()
    assert 1 <= rates.min() < 1.05
    assert 15.95 < rates.max() <= 16.0001
    steps = F.softplus(decay.bias_H.detach())
    assert 0.00099 < steps.min() < 0.00102
    assert 0.098 < steps.max() < 0.1001
    assert float(steps.log().mean()) == pytest.approx(math.log(0.01), abs=0.1)
    mixer = build("mamba2", vocabulary=5, outputs=2).body.blocks[0].mixer
    assert mixer.skip_H.tolist() == [1.0] * 4
    assert mixer.short.weight_KD.abs().max() <= 0.5


def test_sizes():
    model = build("mamba2", vocabulary=5, outputs=2, width=64)
    mixer = model.body.blocks[0].mixer
    assert (mixer.heads, mixer.size, mixer.state, mixer.inner) == (4, 32, 64, 128)
    assert model.body.blocks[0].ff is None
    assert mixer.state_bytes(9) == 4 * (64 * 128 + 3 * (128 + 2 * 64))


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"heads": 0}, {"state": 0}])
def test_settings_are_checked(wrong):
    with pytest.raises(UsageError, match="whole number"):
        Mamba2Settings(**wrong)
