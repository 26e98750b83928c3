"""torch's recurrent layers and encoders as they are."""

import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.adapt import adapt
from howfar.core.errors import DataError
from howfar.core.protocols import Streaming
from howfar.measure import swap_reach

KINDS = (nn.RNN, nn.GRU, nn.LSTM)


def made(kind, seed=0, **more):
    layer = kind(3, 5, num_layers=2, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.4)
    return layer


def same(kind, **more):
    """Two layers of the same weights, rows first and time first."""
    layers = [made(kind, batch_first=first, **more) for first in (True, False)]
    layers[1].load_state_dict(layers[0].state_dict())
    return layers


X = known.iid(6, 9 * 3).reshape(6, 9, 3).float()
FULL = torch.full((6,), 9)
RAGGED = torch.tensor([9, 1, 4, 9, 7, 2])


@pytest.mark.parametrize("kind", KINDS)
def test_either_axis_gives_torchs_own_answer(kind):
    rows, time = same(kind)
    want, _ = rows(X)
    for layer in (rows, time):
        torch.testing.assert_close(adapt(layer, X)(X, FULL), want)
        torch.testing.assert_close(adapt(layer, X)(X.double(), FULL), want)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("both", [False, True])
def test_padding_reaches_no_real_position(kind, both):
    for layer in same(kind, bidirectional=both):
        y_BLH = adapt(layer)(X, RAGGED)
        assert y_BLH.shape == (6, 9, 10 if both else 5)
        for row, real in enumerate(RAGGED.tolist()):
            alone = adapt(layer)(X[row : row + 1, :real], torch.tensor([real]))
            torch.testing.assert_close(y_BLH[row, :real], alone[0])


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_equal_the_whole(kind):
    for layer in same(kind):
        predict = adapt(layer)
        assert isinstance(predict, Streaming)
        want, state, parts = predict(X, FULL), None, []
        for start, end in ((0, 4), (4, 5), (5, 9)):
            kept = [] if state is None else [p.clone() for p in _flat(state)]
            y, after = predict.chunk(X[:, start:end], state)
            assert all(torch.equal(a, b) for a, b in zip(kept, _flat(state), strict=True))
            parts.append(y)
            state = after
        torch.testing.assert_close(torch.cat(parts, 1), want)
    assert not isinstance(adapt(made(kind, bidirectional=True)), Streaming)


def _flat(state):
    if state is None:
        return []
    return [state] if isinstance(state, torch.Tensor) else list(state)


def test_reach_of_a_linear_recurrence_by_its_law():
    """h = a h + x, small enough for tanh to be straight: r(k) = a^2k, R = ceil(ln eps / 2 ln a)."""
    layer = nn.RNN(1, 1, bias=False)
    with torch.no_grad():
        layer.weight_ih_l0.fill_(1e-3)
        layer.weight_hh_l0.fill_(0.9)
    tokens = known.iid(64, 200)
    found, plain = (swap_reach(p, tokens) for p in (adapt(layer.double()), known.decay(0.9)))
    assert found.low <= 15 <= found.high
    assert (found.value, found.ladder) == (plain.value, plain.ladder)
    torch.testing.assert_close(found.curve.mean, plain.curve.mean, rtol=1e-3, atol=1e-5)


def test_what_does_not_fit_is_said():
    with pytest.raises(DataError, match="token ids"):
        adapt(made(nn.LSTM))(torch.zeros(2, 4, dtype=torch.long), FULL[:2])
    with pytest.raises(DataError, match="vectors of 3, and was given 2"):
        adapt(made(nn.LSTM))(torch.zeros(2, 4, 2), FULL[:2])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_an_encoder_keeps_its_padding_out(first):
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=first)
        model = nn.TransformerEncoder(layer, 2).eval()
    x = known.iid(6, 9 * 8).reshape(6, 9, 8).float()
    for module in (model, layer.eval()):
        predict = adapt(module)
        for lengths in (RAGGED, RAGGED.clamp(max=7)):
            with torch.no_grad():
                y_BLD = predict(x, lengths)
            assert y_BLD.shape == x.shape
            for row, real in enumerate(lengths.tolist()):
                alone = predict(x[row : row + 1, :real], torch.tensor([real]))
                torch.testing.assert_close(y_BLD[row, :real], alone[0], atol=1e-5, rtol=1e-4)
