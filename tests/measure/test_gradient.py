"""Gradient reach against closed forms; where it must agree with swap reach, and where differ."""

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.core.errors import DataError, UsageError
from howfar.measure.gradient import GradientOptions, gradient_reach
from howfar.measure.swap import SwapOptions, swap_reach


def measure(predict, tokens, lengths=None, targets="last", **options):
    options = GradientOptions(**{"resamples": 200, **options})
    return gradient_reach(predict, tokens, lengths=lengths, targets=targets, options=options)


def decay(a):
    """G1 in torch: h_t = a h_{t-1} + x_t."""
    return known.linear([a**d for d in range(2000)])


def tails(weights, window):
    """Closed form of rho(k) over a window of inputs."""
    squares = np.zeros(window)
    squares[: len(weights)] = np.square(weights)[:window]
    return squares[::-1].cumsum()[::-1] / squares.sum()


@pytest.mark.parametrize(
    ("predict", "length", "value", "r50"),
    [
        (decay(0.9), 256, 15, 4),
        (decay(0.97), 256, 50, 12),
        (known.delay(40), 256, 41, 41),
        (known.boxcar(30), 256, 29, 15),
        (known.linear([0.9 * 0.5**d + 0.1 * 0.99**d for d in range(1024)]), 1024, 82, 1),
    ],
    ids=["G1", "G1b", "G2", "G3", "G6"],
)
def test_linear_models_reach_as_far_as_the_closed_form(predict, length, value, r50):
    found = measure(predict, known.iid(64, length))
    assert (found.value, found.low, found.high, found.ladder[0.5]) == (value, value, value, r50)
    assert found.linear_share == pytest.approx(1, abs=0.5)
    assert not [said for said in found.warnings if "half-life" not in said and "fit" not in said]


@pytest.mark.parametrize("seed", range(10))
def test_a_tail_of_exactly_eps_counts_as_at_most_eps(seed):
    squares = np.random.default_rng(seed).random(12)
    eps = float(squares[5:].sum() / squares.sum())
    found = measure(known.linear(squares**0.5), known.iid(2, 20), eps=eps, resamples=1)
    assert found.value == 5


def test_g4_cumulative_mean_falls_linearly():
    found = measure(known.cumulative_mean, known.iid(64, 128))
    np.testing.assert_allclose(found.tail.mean, (128 - np.arange(128)) / 128, atol=1e-12)
    assert found.value == 122
    assert found.half_life is None
    assert "does not fall" in found.fit.note


def test_g5_attention_that_copies():
    def predict(x, lengths):
        place = torch.arange(x.shape[1], dtype=torch.float64)
        scores = -200 * ((place[:, None] - 40) - place[None]) ** 2
        scores = scores.masked_fill(place[None] > place[:, None], -torch.inf)
        return x @ scores.softmax(-1).T

    assert measure(predict, known.iid(64, 128)).value == 41


def test_g7_convolution_never_beyond_its_structure():
    found = measure(known.dilated(), known.iid(64, 64), probes=8)
    assert found.value == 15
    assert set(found.curve.mean[15:]) == {0.0}
    assert set(found.tail.mean[15:]) == {0.0}


def test_g9_saturation_hides_the_far_path_from_gradients_alone():
    def predict(x, lengths):
        old = torch.nn.functional.pad(x, (40, 0))[:, : x.shape[1]]
        return torch.tanh(50 * old) + 0.1 * x

    x = known.signs(64, 128)
    found = measure(predict, x)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert swap_reach(predict, x, options=SwapOptions(resamples=50)).value == 41
    assert found.linear_share < 0.02
    assert any("trust the swap reach" in said for said in found.warnings)


def test_g10_no_gradient_is_said_and_is_not_a_number():
    def predict(x, lengths):
        old = sum(torch.roll(x, lag, 1) for lag in (20, 21, 22))
        return torch.sign(old)

    found = measure(predict, known.signs(64, 1).expand(-1, 64).contiguous())
    assert (found.value, found.low, found.high, found.half_life) == (None,) * 4
    assert not found.censored
    assert found.curve.x == ()
    assert set(found.ladder.values()) == {None}
    assert "no gradient" in found.warnings[0]


def test_g14_memoryless_reaches_one():
    found = measure(lambda x, n: torch.sin(x), known.iid(64, 32))
    assert (found.value, found.ladder[0.01], found.fit) == (1, 1, None)


def test_g15_constant_output_has_no_gradient():
    found = measure(lambda x, n: torch.ones(len(x), 3).double(), known.iid(64, 32))
    assert found.value is None
    assert "no gradient" in found.warnings[0]


def test_a_delay_at_the_window_s_start_is_censored():
    found = measure(known.delay(31), known.iid(64, 32))
    assert (found.value, found.censored, found.low, found.high) == (None, True, None, None)
    assert found.window == 31
    assert measure(known.delay(30), known.iid(64, 32)).value == 31


@pytest.mark.parametrize("seed", range(4))
def test_h1_equals_h2_on_random_linear_models(seed):
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=24) * rng.uniform(0.7, 0.99) ** np.arange(24)
    x = known.iid(4000, 30, seed)
    found = measure(known.linear(weights), x, resamples=2)
    np.testing.assert_allclose(found.tail.mean, tails(weights, 30), atol=1e-8)
    grid = tuple(range(30))
    swapped = swap_reach(
        known.linear(weights), x, options=SwapOptions(grid=grid, exact=False, resamples=2)
    )
    np.testing.assert_allclose(swapped.curve.mean[:30], found.tail.mean, atol=0.05)
    assert abs(swapped.value - found.value) <= 1


def test_inputs_are_weighed_by_their_covariance():
    """Two channels at different lags: the one that varies ten times as much counts 100 times."""
    x = known.iid(400, 40).reshape(400, 20, 2) * torch.tensor([1.0, 10.0])

    def predict(x, lengths):
        return torch.roll(x[..., 0], 5, 1) + torch.roll(x[..., 1], 2, 1)

    flat = measure(predict, x, sigma="identity")
    assert flat.curve.mean[5] == flat.curve.mean[2] == 0.5
    assert flat.linear_share is None
    weighed = measure(predict, x)
    ratio = float(x[..., 1].var() / x[..., 0].var())
    assert weighed.curve.mean[2] / weighed.curve.mean[5] == pytest.approx(ratio, rel=1e-3)
    assert weighed.linear_share == pytest.approx(1, abs=0.15)


def test_correlated_channels_by_hand():
    """y = x0 - x1 of two equal channels does not vary: its weighed gradient is 0, the raw is 2."""
    one = known.iid(40, 10)
    x = torch.stack([one, one], -1)

    def predict(x, lengths):
        return x[..., 0] - x[..., 1]

    raw = measure(predict, x, sigma="identity")
    np.testing.assert_allclose(raw.curve.matrix[0, :, 0], 2)
    assert np.abs(measure(predict, x).curve.matrix).max() < 1e-12


class Tied(nn.Module):
    """Logits from two looks at the same embedding: 3 e_t (by a second call) + e_{t-2}."""

    def __init__(self, calls=2):
        super().__init__()
        self.embedding = nn.Embedding(7, 3, dtype=torch.float64)
        self.calls = calls
        with torch.no_grad():
            generator = torch.Generator().manual_seed(0)
            self.embedding.weight.normal_(generator=generator)

    def forward(self, tokens, lengths):
        e = self.embedding(tokens)
        again = self.embedding(tokens) if self.calls == 2 else e
        return 3 * again + torch.roll(e, 2, 1) + e


def test_tokens_begin_at_the_embedding_however_often_it_is_called():
    tokens = known.symbols(64, 16, 7)
    once, twice = (measure(Tied(calls), tokens, probes=3, output="plain") for calls in (1, 2))
    np.testing.assert_allclose(twice.curve.matrix, once.curve.matrix, rtol=1e-12)
    covariance = np.cov(Tied().embedding.weight[tokens].detach().reshape(-1, 3).T, bias=True)
    np.testing.assert_allclose(once.curve.matrix[0, :, 0], 16 * np.trace(covariance))
    np.testing.assert_allclose(once.curve.matrix[0, :, 2], np.trace(covariance))
    assert (once.passes, once.value, once.ladder[0.01]) == (7, 3, 3)


def logits_model(seed=0, symbols=6, spread=1.0):
    torch_generator = torch.Generator().manual_seed(seed)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(symbols, 4, dtype=torch.float64)
            self.out = nn.Linear(4, symbols, dtype=torch.float64)
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.normal_(0, spread, generator=torch_generator)

        def forward(self, tokens, lengths):
            e = self.embedding(tokens)
            return self.out(torch.tanh(e + 0.7 * torch.roll(e, 1, 1) + 0.5 * torch.roll(e, 4, 1)))

    return Model()


def brute(model, tokens, kind):
    """Every entry of the Jacobian by its own backward pass, in a loop: (N, L)."""
    table = model.embedding.weight.detach()
    sigma = np.cov(table[tokens].reshape(-1, table.shape[1]).T, bias=True)
    rows = []
    for row in tokens:

        def logits(e):
            h = torch.tanh(e + 0.7 * torch.roll(e, 1, 0) + 0.5 * torch.roll(e, 4, 0))
            return model.out(h)[-1]

        e = table[row]
        jacobian = torch.autograd.functional.jacobian(logits, e).numpy()  # (V, L, E)
        p = torch.softmax(logits(e), -1).detach().numpy()
        width = len(p)
        metric = {
            "plain": np.eye(width),
            "centred": np.eye(width) - 1 / width,
            "fisher": np.diag(p) - np.outer(p, p),
        }[kind]
        rows.append(np.einsum("vle,vw,wlf,ef->l", jacobian, metric, jacobian, sigma))
    return np.stack(rows)


@pytest.mark.parametrize("kind", ["plain", "centred", "fisher"])
def test_as_many_probes_as_outputs_are_exact(kind):
    tokens, model = known.symbols(40, 8, 6), logits_model()
    found = measure(model, tokens, output=kind, probes=6)
    np.testing.assert_allclose(found.curve.matrix[0], brute(model, tokens, kind)[:, ::-1])
    assert found.passes == 1 + 2 * 6


@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("kind", ["plain", "centred", "fisher"])
def test_random_probes_are_unbiased(kind, probes):
    tokens, model = known.symbols(1, 8, 6).expand(20_000, -1).contiguous(), logits_model()
    tokens[0] = known.symbols(1, 8, 6, seed=1)  # something must vary
    found = measure(
        model, tokens, output=kind, probes=probes, sigma="identity", resamples=2, batch=5000
    )
    seen = found.curve.matrix[0, 1:]
    exact = measure(model, tokens[:40], output=kind, probes=6, sigma="identity").curve.matrix[0, 1]
    error = seen.std(0) / len(seen) ** 0.5
    assert (np.abs(seen.mean(0) - exact) <= 4 * error + 1e-12).all()
    assert exact.max() > 20 * error.max()
    assert seen.std(0).max() > 0


def test_draws_do_not_depend_on_batches_nor_on_further_rows():
    tokens, model = known.symbols(40, 8, 6), logits_model()
    for kind in ("centred", "fisher"):
        one = measure(model, tokens, output=kind, probes=2, batch=64)
        other = measure(model, tokens, output=kind, probes=2, batch=7)
        np.testing.assert_allclose(one.curve.matrix, other.curve.matrix, rtol=1e-12)


def test_centred_logits_do_not_see_what_softmax_ignores():
    model = logits_model()
    shifted = logits_model()

    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = shifted

        def forward(self, tokens, lengths):
            return self.inner(tokens, lengths) + 5 * shifted.embedding(tokens).sum(-1)[..., None]

    tokens = known.symbols(40, 8, 6)
    for kind in ("centred", "fisher"):
        plain = measure(model, tokens, output=kind, probes=6, sigma="identity")
        moved = measure(Shifted(), tokens, output=kind, probes=6, sigma="identity")
        np.testing.assert_allclose(moved.curve.matrix, plain.curve.matrix, rtol=1e-9, atol=1e-14)


def test_ruled_out_classes_take_no_part():
    model = logits_model()

    def closed(tokens, lengths):
        logits = model(tokens, lengths)
        return torch.cat([logits, logits.new_full((*logits.shape[:2], 2), -torch.inf)], -1)

    class Closed(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, tokens, lengths):
            return closed(tokens, lengths)

    tokens = known.symbols(40, 8, 6)
    for kind in ("centred", "fisher"):
        plain = measure(model, tokens, output=kind, probes=6)
        found = measure(Closed(), tokens, output=kind, probes=8)
        np.testing.assert_allclose(found.curve.matrix, plain.curve.matrix, rtol=1e-12)
        assert np.isfinite(measure(Closed(), tokens, output=kind).curve.matrix).all()


def test_sides_are_kept_apart():
    def predict(x, lengths):
        return torch.roll(x, 3, 1) + 0.5 * torch.roll(x, -6, 1)

    x = known.iid(64, 40)
    targets = torch.full((64,), 20)
    past = measure(predict, x, targets=targets)
    assert (past.value, past.curve.mean[3], past.window) == (4, 1.0, 20)
    assert past.other_side == pytest.approx(0.2)
    assert any("20% of the squared gradient lies in the future" in s for s in past.warnings)
    future = measure(predict, x, targets=targets, side="future")
    assert (future.value, future.window) == (7, 19)
    assert future.other_side == pytest.approx(0.8)
    turned = measure(lambda x, n: predict(x.flip(1), n).flip(1), x.flip(1), targets=39 - targets)
    assert turned.value == future.value
    np.testing.assert_allclose(turned.curve.mean, future.curve.mean)


def test_the_rounding_of_a_transform_is_no_leak():
    kernel = torch.zeros(64, dtype=torch.float64)
    kernel[:8] = known.iid(1, 8)[0]

    def predict(x, lengths):
        padded = torch.fft.rfft(x, 64)
        return torch.fft.irfft(padded * torch.fft.rfft(kernel), 64)[:, : x.shape[1]]

    x = known.iid(40, 32)
    found = measure(predict, x, targets=torch.full((40,), 20))
    assert found.value <= 8
    assert not any("future" in said for said in found.warnings)
    leaky = measure(lambda x, n: predict(x, n) + 1e-5 * torch.roll(x, -1, 1), x,
                    targets=torch.full((40,), 20))  # fmt: skip
    assert any("lies in the future" in said for said in leaky.warnings)


def test_pooled_models_count_from_the_last_token():
    def predict(x, lengths):
        return torch.stack([x[:, -1] + 0.1 * x[:, -9], x[:, -4], -x[:, -4]], 1)

    found = measure(predict, known.iid(64, 40), probes=3)
    assert (found.value, found.ladder[0.5], found.ladder[0.01]) == (4, 4, 4)
    assert found.curve.mean[8] == pytest.approx(0.01 / 3.01)


def test_short_rows_and_padding():
    lengths = torch.full((64,), 20)
    lengths[:32] = 8
    x = known.iid(64, 20)
    found = measure(known.delay(12), x, lengths=lengths)
    matrix = found.curve.matrix[0]
    assert np.isnan(matrix[:32, 8:]).all()
    assert (matrix[:32, :8] == 0).all()
    assert found.value == 13
    assert any("differ in length" in said for said in found.warnings)
    leaky = measure(lambda x, n: x.sum(1, keepdim=True).expand_as(x), x, lengths=lengths)
    assert any("padding moves the output" in said for said in leaky.warnings)
    assert not any("padding" in said for said in found.warnings)


def test_what_stands_on_padding_does_not_weigh():
    """The same rows with wild values behind their ends: the same covariance, the same numbers."""
    lengths = torch.full((40,), 10)
    lengths[0] = 20
    x = known.iid(40, 20)
    wild = x.clone()
    wild[1:, 10:] = 1e3
    one, other = (measure(decay(0.9), tokens, lengths=lengths) for tokens in (x, wild))
    np.testing.assert_allclose(other.curve.matrix, one.curve.matrix)
    tokens = known.symbols(40, 20, 7)
    padded = tokens.clone()
    padded[1:, 10:] = 6
    one, other = (measure(Tied(), some, lengths=lengths, probes=3) for some in (tokens, padded))
    np.testing.assert_allclose(other.curve.matrix, one.curve.matrix)


def test_samples_without_any_gradient_say_nothing_of_the_reach():
    """One row in forty has a gradient: the third of the samples that lack it must not count."""

    def predict(x, lengths):
        chosen = torch.zeros(len(x), 1, dtype=x.dtype)
        chosen[0] = float(len(x) == 40)
        return known.delay(4)(x, lengths) * chosen

    found = measure(predict, known.iid(40, 20))
    assert (found.value, found.low, found.high) == (5, 5, 5)


def test_few_rows_have_no_interval():
    found = measure(decay(0.9), known.iid(29, 256))
    assert (found.value, found.low, found.high) == (15, None, None)
    assert any("no interval: 29 sequences" in said for said in found.warnings)
    assert found.fit.half_life_low is None


def test_mixture_of_decays_has_the_closed_reach_in_its_interval():
    """G11: half of the sequences decay at .8, half at .97; truth 47."""

    def predict(x, lengths):
        slow = (x[:, 0] > 0)[:, None]
        return torch.where(slow, decay(0.97)(x, lengths), decay(0.8)(x, lengths))

    found = measure(predict, known.iid(256, 129), seed=1)
    assert found.low <= 47 <= found.high
    assert found.high > found.low


def test_wrong_outputs_and_gradients_are_refused():
    x = known.iid(40, 16)
    with pytest.raises(DataError, match="row 3 is not a number") as caught:
        measure(lambda x, n: torch.where(torch.arange(40)[:, None] == 3, torch.nan, x)
                if len(x) == 40 else x, x)  # fmt: skip
    assert caught.value.code == "E-OUTPUT"
    with pytest.raises(DataError, match="gradient of row 0") as caught:
        measure(lambda x, n: torch.sqrt(x * 0) + x, x)
    assert caught.value.code == "E-GRADIENT"
    with pytest.raises(UsageError, match="no way back") as caught:
        measure(lambda x, n: x.detach() * 2, x)
    assert caught.value.code == "E-GRADIENT"
    with pytest.raises(UsageError, match="No embedding") as caught:
        measure(lambda t, n: torch.ones(len(t), 3), known.symbols(40, 8, 4))
    assert caught.value.code == "E-EMBEDDING"
    with pytest.raises(UsageError, match="about the logits"):
        measure(decay(0.5), x, output="fisher")
    with pytest.raises(UsageError, match="cannot go on"):
        measure(decay(0.5), x, chunk=8)


@pytest.mark.parametrize(
    "bad",
    [{"eps": 0}, {"output": "x"}, {"sigma": "x"}, {"probes": 0}, {"side": "both"}, {"chunk": 0}],
)
def test_options_are_checked(bad):
    with pytest.raises(UsageError, match=next(iter(bad))):
        GradientOptions(**bad)


def test_a_changed_embedding_output_is_weighed_as_changed():
    """A scaled embedding (Gemma's way) counts at the module's output: the scale changes Sigma."""

    class Scaled(nn.Embedding):
        def forward(self, ids):
            return 10 * super().forward(ids)

    class Model(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.table = kind(7, 3, dtype=torch.float64)
            with torch.no_grad():
                self.table.weight.copy_(Tied().embedding.weight)

        def forward(self, tokens, lengths):
            return self.table(tokens)

    tokens = known.symbols(64, 8, 7)
    one, ten = (measure(Model(kind), tokens, probes=3) for kind in (nn.Embedding, Scaled))
    np.testing.assert_allclose(ten.curve.matrix, 100 * one.curve.matrix)


def test_an_embedding_of_another_kind_can_be_named():
    class Soft(nn.Module):
        """One-hot times a table: no nn.Embedding anywhere."""

        def __init__(self):
            super().__init__()
            self.table = nn.Linear(7, 3, bias=False, dtype=torch.float64)
            with torch.no_grad():
                self.table.weight.copy_(Tied().embedding.weight.T)

        def forward(self, tokens, lengths):
            e = self.table(nn.functional.one_hot(tokens, 7).double())
            return 4 * e + torch.roll(e, 2, 1)

    tokens = known.symbols(64, 16, 7)
    with pytest.raises(UsageError, match="No embedding module"):
        measure(Soft(), tokens)
    found = measure(Soft(), tokens, probes=3, output="plain", embedding="table", batch=20)
    same = measure(Tied(), tokens, probes=3, output="plain")
    np.testing.assert_allclose(found.curve.matrix, same.curve.matrix)
    assert found.passes == same.passes + 1


def test_two_tables_of_the_same_tokens_stand_side_by_side():
    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Embedding(7, 3, dtype=torch.float64)
            self.b = nn.Embedding(7, 2, dtype=torch.float64)

        def forward(self, tokens, lengths):
            return torch.cat([self.a(tokens), 0 * self.b(tokens)], -1) + self.b(tokens).sum(
                -1, keepdim=True
            )

    torch_tokens = known.symbols(200, 12, 7)
    found = measure(Both(), torch_tokens, probes=5, output="plain")
    assert found.value == 1
    assert found.linear_share == pytest.approx(1, abs=0.3)


def test_the_model_is_left_as_it_was():
    class Net(nn.Module):
        def __init__(self, fail=False):
            super().__init__()
            self.embedding = nn.Embedding(5, 4)
            self.rnn = nn.LSTM(4, 4, num_layers=2, dropout=0.5, batch_first=True)
            self.drop = nn.Dropout(0.5)
            self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)
            self.fail, self.seen = fail, []

        def forward(self, tokens, lengths):
            y = self.drop(self.rnn(self.embedding(tokens))[0])
            self.seen.append((self.rnn.training, self.rnn.dropout, self.drop.training))
            if self.fail and torch.is_grad_enabled():
                raise RuntimeError
            return y * self.frozen

    for fail in (False, True):
        for training in (False, True):
            net = Net(fail).train(training)
            if fail:
                with pytest.raises(RuntimeError):
                    measure(net, known.symbols(40, 6, 5))
            else:
                measure(net, known.symbols(40, 6, 5))
                assert net.seen[-1] == (True, 0.0, False)
            assert all(module.training == training for module in net.modules())
            assert net.rnn.dropout == 0.5
            wants = {name: p.requires_grad for name, p in net.named_parameters()}
            assert wants.pop("frozen") is False
            assert all(wants.values())
            assert all(p.grad is None for p in net.parameters())
            assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_caller_s_own_mode_does_not_matter(mode):
    real, model = decay(0.9), logits_model()
    with mode():
        assert measure(real, known.iid(64, 64)).value == 15
        assert measure(model, known.symbols(40, 8, 6)).value == 5


def test_the_seed_repeats_and_scale_does_not_matter():
    tokens = known.symbols(64, 8, 6)
    one, again, other = (measure(logits_model(), tokens, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.curve.matrix, again.curve.matrix)
    assert not np.array_equal(one.curve.matrix, other.curve.matrix)
    for scale in (1e-150, 1e150):
        found = measure(lambda x, n, s=scale: decay(0.9)(x, n) * s, known.iid(64, 64))
        assert (found.value, found.low, found.high) == (15, 15, 15)
        assert found.half_life == pytest.approx(6.5788, abs=1e-3)


def test_lengths_one_and_two():
    assert measure(lambda x, n: x[:, -1:], known.iid(40, 1)).censored
    assert measure(lambda x, n: x, known.iid(40, 2)).value == 1
