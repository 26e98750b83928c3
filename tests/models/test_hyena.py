"""Hyena: the operator as a double loop, the filter lag by lag, and that no length enters it."""

import math

import pytest
import torch
from tests.models.test_shared import ids, made

from howfar.core.errors import UsageError
from howfar.models import build, hyena, kernels
from howfar.models.blocks import initialise
from howfar.models.hyena import Hyena, HyenaSettings, ImplicitFilter


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(module, seed=0):
    initialise(module, generator(seed))
    return module.double()


def test_operator_equals_the_double_loop():
    mixer, x_BLD = drawn(Hyena(4, HyenaSettings(horizon=20))), reals(2, 70, 4)
    z_BLT = mixer.into(x_BLD)
    before = torch.zeros(2, 2, 12, dtype=torch.float64)
    windows = torch.cat([before, z_BLT], 1).unfold(1, 3, 1)
    z_BLT = (windows * mixer.short.weight_KD.T).sum(-1) + mixer.short.bias_D
    x1, x2, v = z_BLT[..., :4], z_BLT[..., 4:8], z_BLT[..., 8:]
    h_LD = mixer.filter(70)
    y_BLD = torch.zeros_like(x_BLD)
    for t in range(70):
        for s in range(t + 1):
            y_BLD[:, t] += h_LD[t - s] * x2[:, s] * v[:, s]
    want = mixer.out(x1 * y_BLD)
    got = mixer(x_BLD, torch.tensor([70, 70]))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_operator_equals_one_fourier_transform_of_the_whole_text():
    mixer, u_BLD = drawn(Hyena(3, HyenaSettings())), reals(2, 900, 3)
    h_LD = mixer.filter(900)
    spectrum = torch.fft.rfft(u_BLD, n=1800, dim=1) * torch.fft.rfft(h_LD, n=1800, dim=0)
    want = torch.fft.irfft(spectrum, n=1800, dim=1)[:, :900]
    got = kernels.long_convolution(u_BLD, h_LD)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


def test_filter_equals_its_formula_at_every_lag():
    horizon, shift, width = 37, 0.25, 5
    made_filter = drawn(ImplicitFilter(width, HyenaSettings(horizon=horizon, shift=shift)))
    made_filter.frequency_M.data.copy_(reals(hyena.HIDDEN, seed=3))
    h_LD = made_filter(90)
    for lag in (0, 1, 36, 37, 38, 89):
        waves = [2 * math.pi * turn * lag / horizon for turn in range(1, hyena.WAVES + 1)]
        m = [lag / horizon, *map(math.cos, waves), *map(math.sin, waves)]
        m = torch.tensor(m, dtype=torch.float64)
        for layer in made_filter.layers:
            m = torch.sin(made_filter.frequency_M * (layer.weight @ m + layer.bias))
        m = made_filter.last.weight @ m
        for channel in range(width):
            # from 1 % at 1.5 horizons to 1 % at 0.3
            slow, fast = math.log(100) / 1.5, math.log(100) / 0.3
            rate = slow + (fast - slow) * channel / (width - 1)
            want = m[channel] * (math.exp(-rate * lag / horizon) + shift)
            want = want + made_filter.bias_D[channel] * (lag == 0)
            torch.testing.assert_close(h_LD[lag, channel], want, rtol=0, atol=1e-12)


def test_filter_does_not_know_the_length():
    long = drawn(ImplicitFilter(6, HyenaSettings(horizon=30)))
    torch.testing.assert_close(long(40), long(300)[:40], rtol=0, atol=1e-13)
    assert long(1).shape == (1, 6)


@torch.no_grad()
def test_filter_keeps_its_digits_at_any_lag():
    exact = drawn(ImplicitFilter(6, HyenaSettings()))
    single = drawn(ImplicitFilter(6, HyenaSettings())).float()
    lags = 20_000
    want, got = exact(lags)[-500:], single(lags)[-500:].double()
    assert float((got - want).norm() / want.norm()) < 1e-4
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(single(lags)[-500:].double(), got, rtol=0, atol=0)


def test_is_drawn_as_the_authors_draw_it():
    mixer = drawn(Hyena(32, HyenaSettings()))
    for layer in [*mixer.filter.layers, mixer.filter.last]:
        bound = layer.weight.shape[1] ** -0.5
        for parameter in layer.parameters():
            assert 0.9 * bound < float(parameter.detach().abs().max()) <= bound
    assert (mixer.filter.frequency_M == hyena.FREQUENCY).all()


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_future_moves_nothing_where_transforms_run(dtype):
    model = made("hyena", {}, causal=True, dtype=dtype)
    tokens = ids(2, 400)
    before = model(tokens)
    for place in (1, 130, 200, 399):
        changed = tokens.clone()
        changed[:, place:] = (changed[:, place:] + 1) % 11
        after = model(changed)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place:], before[:, place:])


@torch.no_grad()
def test_chunks_and_steps_equal_all_at_once_where_transforms_run():
    model, tokens = made("hyena", {"depth": 1}, causal=True), ids(2, 300)
    state, parts = None, []
    for part in tokens[:, :299].split([150, 1, 100, 48], dim=1):
        logits, state = model.chunk(part, state)
        parts.append(logits)
    logits, state = model.step(tokens[:, 299], state)
    parts.append(logits[:, None])
    torch.testing.assert_close(torch.cat(parts, 1), model(tokens), rtol=0, atol=1e-10)


def test_state_and_flops_by_hand():
    model = build("hyena", vocabulary=5, outputs=2, width=8, depth=1, embedding=8)
    # 8 products a token; 2 inputs of 3 * 8 channels
    assert model.state_bytes(100) == 4 * (8 * 100 + 2 * 24)
    assert model.reach(100) is None
    features, hidden = 1 + 2 * hyena.WAVES, hyena.HIDDEN
    network = features * hidden + 2 * hidden * hidden + hidden * 8
    maps, short, feed_forward = 4 * 8 * 8, 3 * 24, 8 * 8 * 8
    direct = 8 * 10 * 11  # 55 multiply-adds a channel, times two
    assert model.body.flops(10) == 2 * 10 * (network + maps + short + feed_forward) + direct


@pytest.mark.parametrize("extras", [{"shift": 0.0}, {"shift": "much"}, {"horizon": 0}])
def test_refuses(extras):
    with pytest.raises(UsageError) as caught:
        build("hyena", vocabulary=5, outputs=2, **extras)
    assert caught.value.code == "E-OPTION"
