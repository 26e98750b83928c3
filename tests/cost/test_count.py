import pytest
import torch
import torch.nn.functional as F
from torch import nn

from howfar.core.errors import UsageError
from howfar.cost.count import count_flops

L, D = 5, 8


class Small(nn.Module):
    """Embeds to (1, L, D), then does `act(x_BLD, layer)`."""

    def __init__(self, act, layer=None):
        super().__init__()
        self.table = nn.Embedding(10, D)
        self.act, self.layer = act, layer

    def forward(self, tokens_BL, lengths_B):
        return self.act(self.table(tokens_BL), lengths_B, self.layer)


def attend(x, lengths, layer, kept=None):
    x_BHLD = x[:, None]
    return F.scaled_dot_product_attention(x_BHLD[:, :, :kept], x_BHLD, x_BHLD, is_causal=True)


COUNTS = {
    "linear": (lambda x, n, layer: layer(x), nn.Linear(D, 3), 2 * L * D * 3),
    # Without padding three positions are left; six filters of three by eight.
    "conv1d": (lambda x, n, layer: layer(x.mT), nn.Conv1d(D, 6, 3), 2 * 3 * 6 * 3 * D),
    "depthwise": (lambda x, n, layer: layer(x.mT), nn.Conv1d(D, D, 3, groups=D), 2 * 3 * 3 * D),
    # Queries by keys and weights by values, the whole square.
    "attention": (attend, None, 2 * 2 * L * L * D),
    # Four gates, each from the input and from the state of 16.
    "lstm": (lambda x, n, m: m(x)[0], nn.LSTM(D, 16, batch_first=True), 2 * L * 64 * (D + 16)),
    "gru": (lambda x, n, m: m(x)[0], nn.GRU(D, 16, batch_first=True), 2 * L * 48 * (D + 16)),
    "elman": (lambda x, n, m: m(x)[0], nn.RNN(D, 16, batch_first=True), 2 * L * 16 * (D + 16)),
    "only elementwise": (lambda x, n, layer: x.tanh() * x, None, 0),
    # These need the real value of the length, which the meta device does not have.
    "linear, by value": (lambda x, n, m: m(x[:, : int(n[0])]), nn.Linear(D, 3), 2 * L * D * 3),
    "attention, by value": (lambda x, n, m: attend(x, n, m, int(n[0])), None, 2 * 2 * L * L * D),
}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_by_hand(name):
    act, layer, flops = COUNTS[name]
    model = Small(act, layer).train()
    assert count_flops(model, L, 10) == flops
    assert model.training
    assert {p.device.type for p in model.parameters()} == {"cpu"}


HIDDEN = {
    "fft": (lambda x, n, layer: torch.fft.rfft(x, dim=1), None, "_fft_r2c"),
    "matrix by vector": (lambda x, n, layer: x[0] @ x[0, 0], None, "aten.mv"),
    "bilinear": (lambda x, n, layer: layer(x, x), nn.Bilinear(D, D, 2), "_trilinear"),
    "fused lstm": (lambda x, n, m: m(x[:, : int(n[0])])[0], nn.LSTM(D, 4), "mkldnn_rnn_layer"),
    "numpy": (
        lambda x, n, m: torch.from_numpy(x.numpy() @ x.numpy().swapaxes(1, 2)),
        None,
        "numpy",
    ),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_what_torch_counts_as_nothing_is_an_error(name):
    act, layer, where = HIDDEN[name]
    with pytest.raises(UsageError, match=where) as caught:
        count_flops(Small(act, layer), L, 10)
    assert caught.value.code == "E-FLOPS"


def test_a_kernel_of_someone_else_is_an_error():
    library = torch.library.Library("howfar_test", "DEF")
    library.define("double(Tensor x) -> Tensor")
    library.impl("double", lambda x: x * 2, "CompositeExplicitAutograd")
    with pytest.raises(UsageError, match=r"howfar_test\.double"):
        count_flops(Small(lambda x, n, m: torch.ops.howfar_test.double(x)), L, 10)


def test_the_model_s_own_error_comes_through():
    with pytest.raises(ZeroDivisionError):
        count_flops(Small(lambda x, n, m: 1 / 0), L, 10)
