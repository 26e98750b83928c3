"""DeltaNet and Gated DeltaNet: a loop, transformers, a memory that is written over, by hand."""

import copy
import math

import pytest
import torch
from tests.models.exact_reference import answers, close, in_float64
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.deltanet import Deltanet, DeltanetSettings
from howfar.models.gated_deltanet import GatedDeltanet, GatedDeltanetSettings

EPS = 1e-5  # written again here: a change of the family's own must show


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(mixer):
    for index, (name, parameter) in enumerate(mixer.named_parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=generator(index))
        if name == "norm.weight":
            parameter.data.add_(1)
    return mixer.double()


def loop(mixer, x_BLD):
    """S_t = (1 - b k k') S_{t-1} + b k v', one row, head and token after another."""
    rows, size = [], mixer.size
    for x_LD in x_BLD:
        mixed_LX = F.pad(x_LD @ mixer.qkv.weight.T, (0, 0, 3, 0))
        heads = []
        for head in range(mixer.heads):
            state_KV, outs = torch.zeros(size, size).double(), []
            for t, x_D in enumerate(x_LD):
                found_X = (mixed_LX[t : t + 4] * mixer.short.weight_KD).sum(0)
                q, k, v = (
                    part[head * size : (head + 1) * size]
                    for part in (found_X * found_X.sigmoid()).chunk(3)
                )
                q, k = (part / (part @ part + 1e-6).sqrt() for part in (q, k))
                b = (mixer.beta.weight[head] @ x_D).sigmoid()
                keep_KK = torch.eye(size).double() - b * torch.outer(k, k)
                state_KV = keep_KK @ state_KV + b * torch.outer(k, v)
                y = q @ state_KV
                outs.append(y / (y.square().mean() + EPS).sqrt() * mixer.norm.weight)
            heads.append(torch.stack(outs))
        rows.append(torch.cat(heads, -1) @ mixer.out.weight.T)
    return torch.stack(rows)


@pytest.mark.parametrize(("width", "heads", "length"), [(8, 2, 1), (13, 3, 30), (4, 1, 70)])
def test_deltanet_equals_the_loop(width, heads, length):
    mixer = drawn(Deltanet(width, heads))
    x_BLD, weight = reals(2, length, width), reals(2, length, width, seed=7)
    y, dx, grads = answers(mixer, lambda x: mixer(x, None), x_BLD, weight)
    want_y, want_dx, want = answers(mixer, lambda x: loop(mixer, x), x_BLD, weight)
    for got, expected in [(y, want_y), (dx, want_dx), *((grads[n], want[n]) for n in want)]:
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def test_state_by_hand():
    """One head of size 1: k is 1 but for the root's 1e-6, beta is 1/2."""
    mixer = Deltanet(1, 1).double()
    for parameter in mixer.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        mixer.qkv.weight[1:] = 1.0
        mixer.short.weight_KD[-1] = 1.0
    state = mixer.chunk(torch.tensor([1.0, 3.0]).double().view(1, 2, 1), None)[1][1]
    one, two = 1 / (1 + math.exp(-1)), 3 / (1 + math.exp(-3))
    k1, k2 = (v / math.sqrt(v * v + 1e-6) for v in (one, two))
    want = (1 - k2 * k2 / 2) * k1 * one / 2 + k2 * two / 2
    assert state.item() == pytest.approx(want, abs=1e-14)
    assert state.item() == pytest.approx(one / 4 + two / 2, abs=1e-5)
    assert state.item() == pytest.approx(1.611626, abs=1e-5)


# an episode: three channels name a key, three hold a value, one says write, one says ask
KEYS, VALUES, WRITE, ASK = range(3), range(3, 6), 6, 7


def silu_inverse(y):
    """X >= 0 with silu(x) = y, by bisection."""
    low, high = 0.0, y + 1.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if middle / (1 + math.exp(-middle)) < y else (low, middle)
    return low


def token(key, value=None):
    x_D = torch.zeros(8, dtype=torch.float64)
    x_D[key] = 1.0
    x_D[ASK if value is None else WRITE] = 1.0
    if value is not None:
        x_D[3:6] = torch.tensor([silu_inverse(part) for part in value], dtype=torch.float64)
    return x_D


def memory(make):
    """A mixer whose q and k are the key channels, v the value channels, beta 1 or 0."""
    mixer = make(8, 1).double()
    for parameter in mixer.parameters():
        torch.nn.init.zeros_(parameter)
    size = mixer.norm.weight.shape[0]
    inner = mixer.out.weight.shape[1]
    with torch.no_grad():
        into = mixer.qkv.weight if make is Deltanet else mixer.qkvz.weight
        key = size if make is Deltanet else mixer.key
        for channel in KEYS:
            into[channel, channel] = into[key + channel, channel] = 40.0
        for index, channel in enumerate(VALUES):
            into[2 * key + index, channel] = 1.0
        mixer.short.weight_KD[-1] = 1.0
        beta = mixer.beta.weight if make is Deltanet else mixer.rates.weight
        beta[0, WRITE], beta[0, ASK] = 40.0, -40.0
        mixer.norm.weight.fill_(1.0)
        mixer.out.weight.copy_(torch.eye(8, inner))
        if make is GatedDeltanet:
            mixer.decay.log_rate_H.fill_(-40.0)  # nothing fades
            into[-inner:, WRITE] = into[-inner:, ASK] = 1.0  # the gate is silu(1)
    return mixer


@pytest.mark.parametrize("make", [Deltanet, GatedDeltanet])
def test_stores_writes_over_and_retrieves(make):
    mixer = memory(make)
    red, blue, green = (1.0, 0.0, 2.0), (0.5, 3.0, 0.0), (0.0, 1.0, 1.0)
    asked = {3: blue, 4: red, 6: green, 7: blue}
    episode = [
        (0, red),
        (1, blue),
        (2, red),
        (1, None),
        (0, None),
        (0, green),
        (0, None),
        (1, None),
    ]
    x_BLD = torch.stack([token(*step) for step in episode])[None]
    y_LD = mixer(x_BLD, None)[0]
    for place, value in asked.items():
        want = torch.tensor(value, dtype=torch.float64)
        got = y_LD[place, :3]
        torch.testing.assert_close(got / got.norm(), want / want.norm(), rtol=0, atol=1e-7)
        assert y_LD[place, 3:].abs().max() < 1e-7
    state = mixer.chunk(x_BLD, None)[1][1][0, 0]
    want = torch.tensor([green, blue, red], dtype=torch.float64)
    torch.testing.assert_close(state[:3, :3], want, rtol=0, atol=1e-6)


def test_gated_deltanet_forgets_what_it_is_not_told_to_keep():
    mixer = memory(GatedDeltanet)
    with torch.no_grad():
        mixer.decay.log_rate_H.zero_()  # A = 1, softplus(0) = ln 2: a half a token
    x_BLD = torch.stack([token(0, (4.0, 0.0, 0.0)), token(1), token(1)])[None]
    state = mixer.chunk(x_BLD, None)[1][1][0, 0]
    assert state[0, 0].item() == pytest.approx(1.0, abs=1e-6)


# ours and theirs; the rest is laid out differently
NAMES = {
    "decay.log_rate_H": "A_log",
    "decay.bias_H": "dt_bias",
    "norm.weight": "norm.weight",
    "out.weight": "out_proj.weight",
}


def laid_out(mixer, named):
    """Our tensors, weights or gradients, as theirs: q, k, v, z and b, a head by head."""
    by_head = []
    parts = torch.split(named["qkvz.weight"], [mixer.keys, mixer.keys, *[mixer.values] * 2])
    for head in range(mixer.heads):
        for part, size in zip(parts, [mixer.key, mixer.key, *[mixer.value] * 2], strict=True):
            by_head.append(part[head * size : (head + 1) * size])
    beta, step = named["rates.weight"].chunk(2)
    return {
        "in_proj_qkvz.weight": torch.cat(by_head),
        "in_proj_ba.weight": torch.stack([beta, step], 1).flatten(0, 1),
        "conv1d.weight": named["short.weight_KD"].T[:, None],
        **{other: named[own] for own, other in NAMES.items()},
    }


def theirs(mixer, width):
    modeling = pytest.importorskip("transformers.models.qwen3_next.modeling_qwen3_next")
    from transformers import Qwen3NextConfig

    config = Qwen3NextConfig(
        hidden_size=width,
        linear_num_value_heads=mixer.heads,
        linear_num_key_heads=mixer.heads,
        linear_key_head_dim=mixer.key,
        linear_value_head_dim=mixer.value,
        linear_conv_kernel_dim=4,
        rms_norm_eps=EPS,
        num_hidden_layers=4,
    )
    other = modeling.Qwen3NextGatedDeltaNet(config, 0).to(mixer.out.weight.dtype).eval()
    given = laid_out(mixer, dict(mixer.named_parameters()))
    other.load_state_dict({name: value.detach() for name, value in given.items()})
    return modeling, other


@pytest.mark.parametrize(("width", "heads", "length"), [(8, 2, 1), (12, 3, 40), (5, 1, 130)])
def test_gated_deltanet_equals_transformers(width, heads, length, monkeypatch):
    mixer = drawn(GatedDeltanet(width, heads))
    modeling, other = theirs(mixer, width)
    in_float64(monkeypatch, modeling)
    x_BLD, weight = reals(3, length, width), reals(3, length, width, seed=7)
    y, dx, grads = answers(mixer, lambda x: mixer(x, None), x_BLD, weight)
    want_y, want_dx, want = answers(other, other, x_BLD, weight)
    grads = laid_out(mixer, grads)
    assert set(grads) == set(want)
    for got, expected in [(y, want_y), (dx, want_dx), *((grads[n], want[n]) for n in want)]:
        close(got, expected, 1e-9)


def test_gated_deltanet_equals_transformers_in_float32(monkeypatch):
    """As it is drawn; theirs in float64, as in float32 it is the less exact of the two."""
    model = build("gated_deltanet", vocabulary=5, outputs=2, width=32)
    mixer = model.body.blocks[0].mixer
    modeling, other = theirs(copy.deepcopy(mixer).double(), 32)
    x_BLD, weight = reals(3, 300, 32).float(), reals(3, 300, 32, seed=7).float()
    in_float64(monkeypatch, modeling)
    y, dx, _ = answers(mixer, lambda x: mixer(x, None), x_BLD, weight)
    want_y, want_dx, _ = answers(other, other, x_BLD.double(), weight.double())
    close(y, want_y, 1e-6)
    close(dx, want_dx, 1e-6)


def test_sizes():
    mixer = build("gated_deltanet", vocabulary=5, outputs=2, width=64).body.blocks[0].mixer
    assert (mixer.key, mixer.value) == (24, 48)
    assert mixer.state_bytes(3) == 4 * (2 * 24 * 48 + 3 * 2 * (24 + 24 + 48))
    mixer = build("deltanet", vocabulary=5, outputs=2, width=64).body.blocks[0].mixer
    assert mixer.state_bytes(3) == 4 * (2 * 32 * 32 + 3 * 3 * 64)


@pytest.mark.parametrize("settings", [DeltanetSettings, GatedDeltanetSettings])
@pytest.mark.parametrize("wrong", [{"depth": 0}, {"heads": 0}, {"heads": None}])
def test_settings_are_checked(settings, wrong):
    with pytest.raises(UsageError, match="whole number"):
        settings(**wrong)
