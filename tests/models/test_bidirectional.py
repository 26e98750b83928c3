"""Both directions: torch's own layers as references, row by row, so that none sees padding."""

import functools

import pytest
import torch
from torch import nn

from howfar.core.errors import UsageError
from howfar.models import build, fit_width
from howfar.models.blocks.bidirectional import turned

KINDS = {
    "elman": (nn.RNN, {}),
    "elman-relu": (functools.partial(nn.RNN, nonlinearity="relu"), {"activation": "relu"}),
    "lstm": (nn.LSTM, {}),
    "gru": (nn.GRU, {}),
}
LENGTHS = [9, 4, 1, 7]


def made(name, width=8, **extras):
    return build(
        name,
        vocabulary=11,
        outputs=3,
        width=width,
        embedding=6,
        causal=False,
        bidirectional=True,
        generator=torch.Generator().manual_seed(3),
        **extras,
    )


def drawn(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(4), dtype=dtype)


def test_rows_are_turned_inside_their_length():
    x_BLD = torch.arange(8.0).reshape(2, 4, 1)
    got = turned(x_BLD, torch.tensor([3, 0])).flatten(1)
    assert got.tolist() == [[2, 1, 0, 3], [4, 5, 6, 7]]
    assert turned(x_BLD, torch.tensor([4, 4])).flatten(1).tolist() == [[3, 2, 1, 0], [7, 6, 5, 4]]


@pytest.mark.parametrize("h0", ["zeros", "random", "learned"])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("kind", KINDS)
def test_is_the_bidirectional_layer_of_torch(kind, dtype, close, h0):
    make, extras = KINDS[kind]
    found = made(kind.partition("-")[0], h0=h0, **extras).to(dtype).body.blocks[0].mixer
    with torch.no_grad():
        for p in found.parameters():
            p.add_(drawn(*p.shape, dtype=dtype), alpha=0.1)
    twin = make(8, 4, bidirectional=True, batch_first=True, dtype=dtype)
    ahead, back = (part.rnn.state_dict() for part in (found.ahead, found.back))
    twin.load_state_dict(ahead | {f"{key}_reverse": value for key, value in back.items()})
    x_BLD = drawn(4, 9, 8, dtype=dtype).requires_grad_()
    weight_BLD = drawn(4, 9, 8, dtype=dtype).flip(0)
    begin = None
    if h0 != "zeros":
        both = [torch.stack(ways) for ways in zip(found.ahead.h0_PD, found.back.h0_PD, strict=True)]
        parts = tuple(part[:, None] for part in both)
        begin = parts if kind == "lstm" else parts[0]
    got_BLD = found(x_BLD, torch.tensor(LENGTHS))
    got = want = 0.0
    for row, length in enumerate(LENGTHS):
        want_1LD, _ = twin(x_BLD[row : row + 1, :length], begin)
        torch.testing.assert_close(got_BLD[row, :length], want_1LD[0], rtol=0, atol=close)
        got = got + (weight_BLD[row, :length] * got_BLD[row, :length]).sum()
        want = want + (weight_BLD[row, :length] * want_1LD[0]).sum()
    ours = [x_BLD, *found.ahead.rnn.parameters(), *found.back.rnn.parameters()]
    theirs = [x_BLD, *twin.parameters()]
    for one, two in zip(
        torch.autograd.grad(got, ours), torch.autograd.grad(want, theirs), strict=True
    ):
        assert float((one - two).abs().max()) <= close * float(two.abs().max())


@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
@torch.no_grad()
def test_without_gradients_too(name):
    model = made(name).double()
    tokens = torch.randint(11, (4, 9), generator=torch.Generator().manual_seed(1))
    got = model(tokens, torch.tensor(LENGTHS))
    with torch.enable_grad():
        want = model(tokens, torch.tensor(LENGTHS))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("extras", [{}, {"norm": True}])
@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
@torch.no_grad()
def test_each_direction_reads_its_own_side(name, extras):
    found = made(name, width=9, **extras).double().body.blocks[0].mixer
    x_BLD = drawn(1, 9, 9)
    other = x_BLD.clone()
    other[:, 4] += 1
    lengths = torch.tensor([8])
    moved = (found(other, lengths) - found(x_BLD, lengths))[0].abs()
    # of an odd width the first direction has one unit more
    first, second = moved[:, :5], moved[:, 5:]
    assert not first[:4].any()
    assert (first[4:8] > 0).any(1).all()
    assert (second[:5] > 0).any(1).all()
    assert not second[5:8].any()


def test_both_directions_have_their_own_masks():
    found = made("gru", recurrent_dropout=0.5, width=32).body.blocks[0].mixer
    with torch.random.fork_rng():
        y_BLD = found(torch.ones(2, 5, 32), torch.tensor([5, 3]))
    assert y_BLD.isfinite().all()
    assert found.ahead.dropout is not found.back.dropout


@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_refuses_the_causal_form(name):
    with pytest.raises(UsageError, match="cannot read from the last token") as caught:
        build(name, vocabulary=5, outputs=2, bidirectional=True)
    assert caught.value.code == "E-OPTION"


@pytest.mark.parametrize(("width", "norm", "fine"), [(1, False, False), (2, False, True)])
def test_needs_a_unit_each_way(width, norm, fine):
    if fine:
        assert made("gru", width=width, norm=norm)(torch.tensor([[1, 2]])).shape == (1, 3)
        return
    with pytest.raises(UsageError, match="width 1 is too narrow"):
        made("gru", width=width, norm=norm)


def test_a_norm_needs_two_units_each_way():
    with pytest.raises(UsageError, match="width 3 is too narrow"):
        made("lstm", width=3, norm=True)
    assert made("lstm", width=4, norm=True)


@pytest.mark.parametrize("name", ["elman", "lstm", "gru"])
def test_sizes_grow_with_the_width(name):
    sizes = [made(name, width=width).count()["body"] for width in range(2, 20) if width != 6]
    assert sizes == sorted(set(sizes))
    common = {"causal": False, "bidirectional": True, "embedding": 6}
    width = fit_width(name, 5_000, **common)
    assert made(name, width=width).count()["body"] == pytest.approx(5_000, rel=0.05)


def test_counts_by_hand():
    found = made("gru", width=5).body.blocks[0].mixer
    # three gates of 3 and of 2 units, each reading 5 inputs and its own direction
    assert found.flops(7) == 2 * 7 * (3 * 3 * (5 + 3) + 3 * 2 * (5 + 2))
    # the first direction's state, and all inputs
    assert found.state_bytes(7) == 4 * (3 + 5 * 7)
    assert found.reach(7) is None


def test_a_turned_row_is_hidden_from_hooks():
    seen = []
    found = made("lstm").body.blocks[0].mixer
    for part in (found.ahead, found.back):
        part.rnn.register_forward_hook(lambda module, *_: seen.append(module))
    found(torch.ones(1, 3, 8), torch.tensor([3]))
    assert seen == [found.ahead.rnn]
