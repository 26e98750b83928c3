"""Hidden Jacobians and Lyapunov exponents against closed forms and brute force."""

import numpy as np
import pytest
import torch
from tests.measure import known
from tests.measure.test_gradient_chunked import Growing, Recurrent
from torch import nn

from howfar.core.errors import DataError, UsageError
from howfar.measure.gradient import fit_decay
from howfar.measure.jacobian import (
    HiddenOptions,
    LyapunovOptions,
    hidden_jacobian,
    lyapunov,
    recurrent_step,
    streaming_step,
)
from howfar.measure.jacobian.step import leaves
from howfar.measure.jacobian.tangent import can_push, jacobian, pull, push

SKEW = torch.tensor([[1.0, 2.0, -1.0], [0.0, 1.0, 3.0], [1.0, 0.0, 1.0]]).double()
SLANTED = SKEW @ torch.diag(torch.tensor([0.99, 0.9, 0.5]).double()) @ torch.linalg.inv(SKEW)


def linear(matrix):
    """h' = A h + x on all components."""
    return lambda x, h: h @ matrix.T + x[:, None]


def orthogonal(size, scale, seed=0):
    square = torch.randn(size, size, generator=torch.Generator().manual_seed(seed)).double()
    return scale * torch.linalg.qr(square)[0]


def network(kind, width=3, layers=2, seed=0, gain=1.0, **settings):
    net = kind(2, width, num_layers=layers, dtype=torch.float64, **settings)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, gain / width**0.5, generator=generator)
    return net


def reals(rows, length, width=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, length, width, generator=generator, dtype=torch.float64)


def brute(step, inputs, first):
    """The Jacobian of the last state by the first, row by row, through the whole chain."""
    found = []
    for row, state in zip(inputs, first, strict=True):

        def run(h, row=row):
            for x in row:
                h = step(x[None], h[None])[0]
            return h

        found.append(torch.autograd.functional.jacobian(run, state))
    return torch.stack(found)


def lyapunov_of(step, inputs, start=None, **options):
    options = LyapunovOptions(**{"resamples": 100, **options})
    return lyapunov(step, inputs, start=start, options=options)


def test_scaled_rotation_has_one_exponent_by_hand():
    found = lyapunov_of(linear(orthogonal(6, 0.95)), known.iid(40, 50), torch.zeros(6).double())
    np.testing.assert_allclose(found.exponents, np.log(0.95), atol=1e-12)
    assert round(found.exponents[0], 6) == -0.051293
    assert found.horizon == pytest.approx(-1 / np.log(0.95))
    assert (found.value, found.low, found.high, found.state_size, found.steps) == (
        20, 20, 20, 6, 45,
    )  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3])
def test_slanted_directions_settle_to_the_eigenvalues(count):
    inputs = known.iid(2, 2000)
    found = lyapunov_of(linear(SLANTED), inputs, torch.zeros(3).double(), exponents=count)
    assert len(found.exponents) == count
    np.testing.assert_allclose(found.exponents, np.log([0.99, 0.9, 0.5])[:count], atol=3e-3)
    assert found.low is None
    assert "no interval" in found.warnings[-1]


def test_the_sum_of_all_exponents_is_the_log_of_the_volume():
    step = recurrent_step(network(nn.GRU))
    inputs = reals(3, 40)
    found = lyapunov_of(step, inputs, torch.zeros(6).double(), warmup=0)
    state, total = torch.zeros(3, 6).double(), np.zeros(3)
    for j in range(40):
        total += torch.linalg.slogdet(brute(step, inputs[:, j : j + 1], state))[1].numpy()
        state = step(inputs[:, j], state).detach()
    np.testing.assert_allclose(found.curve.matrix[0].sum(1), total / 40, rtol=1e-9)


def test_growth_has_no_horizon():
    found = lyapunov_of(linear(orthogonal(3, 1.02)), known.iid(40, 60), torch.zeros(3).double())
    assert (found.value, found.horizon, found.high, found.censored) == (None, None, None, True)
    assert "do not die out" in found.warnings[0]
    slow = lyapunov_of(linear(orthogonal(3, 0.999)), known.iid(40, 60), torch.zeros(3).double())
    assert (slow.value, slow.censored, slow.high) == (None, True, None)
    assert slow.horizon == pytest.approx(-1 / np.log(0.999))
    assert "beyond the 54 steps" in slow.warnings[0]


def test_a_state_that_forgets_at_once():
    found = lyapunov_of(lambda x, h: 0 * h + x[:, None], known.iid(40, 20), torch.zeros(2).double())
    assert found.exponents == (-np.inf, -np.inf)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    cut = lyapunov_of(lambda x, h: x[:, None].expand(-1, 2), known.iid(40, 20), torch.zeros(2))
    assert cut.exponents == (-np.inf, -np.inf)


def test_interval_covers_differing_sequences():
    """Each sequence multiplies by its own constant: ln a is uniform, mean known."""
    rates = torch.linspace(-0.4, -0.1, 200).double()
    inputs = rates[:, None].expand(-1, 20)
    found = lyapunov_of(lambda x, h: h * x.exp()[:, None], inputs, torch.ones(1).double())
    assert found.exponents[0] == pytest.approx(-0.25)
    assert found.exponents_low[0] < -0.25 < found.exponents_high[0]
    half = 1.96 * float(rates.std()) / 200**0.5
    assert found.exponents_high[0] - found.exponents_low[0] == pytest.approx(2 * half, rel=0.3)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("batch_first", [False, True])
def test_steps_of_torch_networks_are_their_forward_pass(kind, batch_first):
    net = network(kind, layers=3, batch_first=batch_first)
    step, inputs = recurrent_step(net), reals(4, 5)
    state = torch.zeros(4, 3 * 3 * (2 if kind is nn.LSTM else 1)).double()
    for j in range(5):
        state = step(inputs[:, j], state)
    after = net(inputs if batch_first else inputs.transpose(0, 1))[1]
    parts = after if isinstance(after, tuple) else (after,)
    whole = torch.cat([layer for part in parts for layer in part], 1)
    torch.testing.assert_close(state, whole)
    torch.testing.assert_close(step.first(inputs[:, 0]), step(inputs[:, 0], 0 * state))


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_steps_of_cells(kind):
    cell = kind(2, 3, dtype=torch.float64)
    step, x = recurrent_step(cell), reals(4, 1)[:, 0]
    once = step.first(x)
    after = cell(x)
    torch.testing.assert_close(once, torch.cat(after, 1) if isinstance(after, tuple) else after)
    torch.testing.assert_close(step(x, once).shape, once.shape)


def test_an_lstm_s_state_holds_its_cells_projected_or_not():
    assert lyapunov_of(recurrent_step(network(nn.LSTM)), reals(2, 6)).state_size == 2 * 3 * 2
    net = network(nn.LSTM, proj_size=2)
    assert lyapunov_of(recurrent_step(net), reals(2, 6)).state_size == 2 * (3 + 2)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_products_equal_brute_force(kind):
    step = recurrent_step(network(kind))
    inputs = reals(3, 9)
    size = 6 * (2 if kind is nn.LSTM else 1)
    options = HiddenOptions(lags=(0, 1, 2, 5, 7), resamples=20)
    found = hidden_jacobian(step, inputs, options=options)
    assert (found.exact, found.state_size) == (True, size)
    state = step.first(inputs[:, 0]).detach()
    for j in (1,):
        state = step(inputs[:, j], state).detach()
    product = brute(step, inputs[:, 2:], state)
    largest = torch.linalg.matrix_norm(product, ord=2)
    np.testing.assert_allclose(found.curve.matrix[0, :, -1], largest, rtol=1e-9)
    np.testing.assert_allclose(
        found.frobenius.matrix[0, :, -1], torch.linalg.matrix_norm(product), rtol=1e-9
    )
    np.testing.assert_allclose(found.curve.matrix[0, :, 0], 1)
    np.testing.assert_allclose(found.frobenius.matrix[0, :, 0], size**0.5)


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_iterated_norms_equal_multiplied_ones(kind):
    step, inputs = recurrent_step(network(kind)), reals(4, 9)
    lags = (0, 1, 3, 8)
    exact, iterated = (
        hidden_jacobian(
            step,
            inputs,
            options=HiddenOptions(
                lags=lags, exact=how, probes=4000, resamples=20, iterations=1000, tolerance=1e-9
            ),
        )
        for how in (True, False)
    )
    assert (exact.exact, iterated.exact) == (True, False)
    np.testing.assert_allclose(iterated.curve.matrix, exact.curve.matrix, rtol=1e-4)
    np.testing.assert_allclose(iterated.frobenius.matrix, exact.frobenius.matrix, rtol=0.1)
    assert not any("settle" in said for said in iterated.warnings)
    options = HiddenOptions(lags=lags, exact=False, iterations=1, resamples=20)
    hasty = hidden_jacobian(step, inputs, options=options)
    assert any("settle" in said for said in hasty.warnings)


def test_linear_norms_by_hand():
    start = torch.zeros(4).double()
    options = HiddenOptions(lags=tuple(range(60)), resamples=50)
    found = hidden_jacobian(linear(orthogonal(4, 0.9)), known.iid(40, 80), start=start,
                            options=options)  # fmt: skip
    np.testing.assert_allclose(found.curve.mean, 0.9 ** np.arange(60))
    np.testing.assert_allclose(found.frobenius.mean, 2 * 0.9 ** np.arange(60))
    assert (found.value, found.low, found.high) == (29, 29, 29)  # .9^28 = .0523, .9^29 = .0471
    few = hidden_jacobian(linear(orthogonal(4, 0.99)), known.iid(40, 80), start=start)
    assert (few.value, few.censored, few.high) == (None, True, None)


def test_a_transient_grows_before_it_falls():
    shear = torch.tensor([[0.9, 5.0], [0.0, 0.9]]).double()
    options = HiddenOptions(lags=tuple(range(100)), resamples=20)
    start = torch.zeros(2).double()
    found = hidden_jacobian(linear(shear), known.iid(30, 120), start=start, options=options)
    powers = [np.linalg.norm(np.linalg.matrix_power(shear.numpy(), k), 2) for k in range(100)]
    np.testing.assert_allclose(found.curve.mean, powers, rtol=1e-9)
    assert max(found.curve.mean) > 10
    assert found.value == next(k for k in range(100) if max(powers[k:]) <= 0.05)


def test_products_far_beyond_the_range_of_numbers():
    start = torch.zeros(2).double()
    step = linear(orthogonal(2, 1e-5))
    options = HiddenOptions(lags=(0, 50, 200), resamples=20)
    found = hidden_jacobian(step, known.iid(30, 250), start=start, options=options)
    np.testing.assert_allclose(found.curve.mean[:2], [1, 1e-250], rtol=1e-9)
    assert found.curve.mean[2] == 0
    spectrum = lyapunov_of(step, known.iid(30, 250), start)
    np.testing.assert_allclose(spectrum.exponents, np.log(1e-5))


def test_gradient_rate_of_a_network_is_its_first_exponent():
    net = network(nn.RNN, width=16, layers=1, gain=0.9)
    step = recurrent_step(net)
    inputs = reals(40, 400)
    spectrum = lyapunov_of(step, inputs, exponents=1)
    options = HiddenOptions(lags=tuple(range(0, 121, 5)), resamples=50)
    norms = hidden_jacobian(step, inputs, options=options).curve
    fit = fit_decay(np.array(norms.lag), np.array(norms.mean))
    assert fit.kind == "exponential"
    assert -fit.rate == pytest.approx(spectrum.exponents[0], rel=0.1)


def test_few_exponents_agree_with_all():
    step, inputs = recurrent_step(network(nn.LSTM)), reals(4, 300)
    all_of_them = lyapunov_of(step, inputs)
    top = lyapunov_of(step, inputs, exponents=3)
    np.testing.assert_allclose(top.exponents, all_of_them.exponents[:3], atol=0.03)


def test_push_and_pull_are_the_jacobian():
    step, x = recurrent_step(network(nn.LSTM)), reals(3, 1)[:, 0]
    state = torch.randn(3, 12, generator=torch.Generator().manual_seed(1)).double()
    whole = jacobian(step, x, state)
    torch.testing.assert_close(whole, brute(step, x[:, None], state))
    q = torch.randn(3, 12, 5, generator=torch.Generator().manual_seed(2)).double()
    torch.testing.assert_close(push(step, x, state, q), whole @ q)
    torch.testing.assert_close(pull(step, x, state, q.mT), q.mT @ whole)
    assert can_push(step, x, state, torch.Generator().manual_seed(0))


class Doubled(torch.autograd.Function):
    """2 x, whose backward pass cannot be differentiated, or (lies) gives no second derivative."""

    once = True

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, grad):
        if not Doubled.once:
            return 2 * grad.detach() + 0 * grad
        return torch.autograd.function.once_differentiable(lambda ctx, g: 2 * g)(ctx, grad)


@pytest.mark.parametrize("once", [True, False])
def test_steps_that_cannot_be_differentiated_twice(once, monkeypatch):
    monkeypatch.setattr(Doubled, "once", once)

    def step(x, h):
        return Doubled.apply(0.4 * h) + x[:, None]

    start = torch.zeros(3).double()
    generator = torch.Generator().manual_seed(0)
    assert not can_push(step, known.iid(2, 4)[:, 0], torch.zeros(2, 3).double(), generator)
    found = lyapunov_of(step, known.iid(30, 40), start, exponents=2)
    np.testing.assert_allclose(found.exponents, np.log(0.8), atol=1e-12)
    options = HiddenOptions(exact=False, resamples=20)
    assert hidden_jacobian(step, known.iid(30, 40), start=start, options=options).exact


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_streaming_models_give_their_step(kind):
    class Plain(Recurrent):
        def chunk(self, tokens, state):
            y, (after, _) = super().chunk(tokens, None if state is None else (state, 0))
            return y, after

        def forward(self, tokens, lengths):
            return self.chunk(tokens, None)[0]

    model, tokens = Plain(kind), known.symbols(3, 9, 7)
    step = streaming_step(model, tokens)
    state = step.first(tokens[:, 0])
    for j in range(1, 9):
        state = step(tokens[:, j], state)
    parts = leaves(model.chunk(tokens, None)[1])
    whole = torch.cat([part.movedim(1, 0).flatten(1) for part in parts], 1)
    torch.testing.assert_close(state, whole)
    same = recurrent_step(model.rnn)
    embedded = model.embedding(tokens).detach()
    np.testing.assert_allclose(
        lyapunov_of(step, tokens).exponents, lyapunov_of(same, embedded).exponents
    )


def test_states_that_are_no_markov_state_are_refused():
    with pytest.raises(UsageError, match="whole numbers"):
        streaming_step(Recurrent(), known.symbols(3, 9, 7))
    with pytest.raises(UsageError, match="grows"):
        streaming_step(Growing(), known.iid(3, 9))
    with pytest.raises(UsageError, match="bidirectional"):
        recurrent_step(nn.GRU(2, 3, bidirectional=True))


def test_wrong_use_is_refused():
    start = torch.zeros(2).double()
    with pytest.raises(UsageError, match="where its state starts"):
        lyapunov(linear(orthogonal(2, 0.9)), known.iid(3, 9))
    with pytest.raises(UsageError, match="L >= 2"):
        lyapunov(linear(orthogonal(2, 0.9)), known.iid(3, 1), start=start)
    with pytest.raises(UsageError, match="leave none"):
        lyapunov_of(linear(orthogonal(2, 0.9)), known.iid(3, 9), start, warmup=9)
    options = HiddenOptions(lags=(10,))
    with pytest.raises(UsageError, match="do not reach back"):
        hidden_jacobian(linear(orthogonal(2, 0.9)), known.iid(3, 9), start=start, options=options)
    with pytest.raises(UsageError, match="state in, state out"):
        lyapunov_of(lambda x, h: h[:, :1], known.iid(3, 9), start, exponents=1)
    with pytest.raises(DataError, match="not finite"):
        lyapunov_of(lambda x, h: h / 0, known.iid(3, 9), start)
    with pytest.raises(DataError, match="gradient is not finite"):
        lyapunov_of(lambda x, h: torch.sqrt(h * 0), known.iid(3, 9), start)
    for options in (LyapunovOptions, HiddenOptions):
        with pytest.raises(UsageError, match="ci"):
            options(ci=1)


def test_modules_are_left_as_they_were():
    net = network(nn.LSTM, dropout=0.5).train()
    first, second = (lyapunov_of(recurrent_step(net), reals(2, 12)) for _ in range(2))
    assert first.exponents == second.exponents
    assert (net.training, net.dropout) == (True, 0.5)
    assert all(p.requires_grad and p.grad is None for p in net.parameters())


def test_single_precision_and_the_caller_s_mode():
    net = network(nn.GRU)
    double = lyapunov_of(recurrent_step(net), reals(4, 60))
    net = net.float()
    with torch.inference_mode():
        single = lyapunov_of(recurrent_step(net), reals(4, 60).float())
    np.testing.assert_allclose(single.exponents, double.exponents, atol=1e-4)
