"""The pyramid: by hand, against loops, decimated against a trous, and its reach at any depth."""

from itertools import pairwise

import pytest
import torch
from tests.models.test_shared import made, span, touched
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.blocks import Sizes, initialise
from howfar.models.deepcnn import DeepCnnSettings, build_body


def reals(*shape, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def drawn(causal, *, width=5, embedding=3, **settings):
    body = build_body(Sizes(embedding, width, causal, 0.0), DeepCnnSettings(**settings)).double()
    initialise(body, torch.Generator().manual_seed(0))
    for name, parameter in body.named_parameters():
        if "bias" in name or "norm" in name:  # nothing may hide behind a zero or a one
            parameter.data.copy_(reals(*parameter.shape, seed=len(name)))
    return body


def convolved(convolution, x_LD, *, causal):
    past = convolution.weight.shape[2] - 1
    before = past if causal else past // 2
    padded = F.pad(x_LD.T, (before, past - before))
    return F.conv1d(padded[None], convolution.weight, convolution.bias)[0].T


def blocked(block, x_LD, *, causal):
    """x + W' relu(W relu(norm(x))) on neighbours, whatever the dilation of the block."""
    h_LD = F.layer_norm(x_LD, x_LD.shape[-1:], block.norm.weight, block.norm.bias).relu()
    h_LD = convolved(block.first, h_LD, causal=causal).relu()
    return x_LD + convolved(block.second, h_LD, causal=causal)


def ended(body, x_LD):
    return F.layer_norm(x_LD, x_LD.shape[-1:], body.norm.weight, body.norm.bias).relu()


def whole_by_loop(body, x_LE):
    """One text, each maximum written out: the cells of the top level."""
    x_LD = convolved(body.region, x_LE, causal=False)
    for level, block in enumerate(body.blocks):
        if level:
            cells = range(0, len(x_LD), 2)
            x_LD = torch.stack([x_LD[max(i - 1, 0) : i + 2].amax(0) for i in cells])
        x_LD = blocked(block, x_LD, causal=False)
    return ended(body, x_LD)


def decimated(body, x_LE, phases):
    """The causal pyramid as it is built elsewhere: every level half as long as the one below."""
    x_LD = convolved(body.region, x_LE, causal=True)
    for level, block in enumerate(body.blocks):
        if level:
            highest = [x_LD[max(t - 2, 0) : t + 1].amax(0) for t in range(len(x_LD))]
            x_LD = torch.stack(highest)[phases[level - 1] :: 2]
        x_LD = blocked(block, x_LD, causal=True)
    return ended(body, x_LD)


@pytest.mark.parametrize("causal", [True, False])
def test_by_hand(causal):
    """Blocks that add nothing: what is left are the maxima, and the sign of their differences."""
    body = build_body(Sizes(2, 2, causal, 0.0), DeepCnnSettings(depth=2, kernel=1)).double()
    for parameter in body.parameters():
        parameter.data.zero_()
    body.region.weight.data[:, :, 0] = torch.eye(2)
    body.norm.weight.data.fill_(1.0)
    x_BLE = torch.tensor([[[3.0, 1], [0, 5], [2, 2], [1, 0], [4, -6]]]).double()
    y_LD = body(x_BLE, torch.tensor([5]))[0].round(decimals=3)
    # causal, maxima of the last three: (3,1) (3,5) (3,5) (2,5) (4,2)
    # whole, around every second: (3,5) twice, (2,5) twice, (4,0)
    causal_signs = [[1.0, 0], [0, 1], [0, 1], [0, 1], [1, 0]]
    whole_signs = [[0.0, 1], [0, 1], [0, 1], [0, 1], [1, 0]]
    assert y_LD.tolist() == (causal_signs if causal else whole_signs)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_whole_equals_the_loop(depth, kernel):
    body = drawn(False, depth=depth, kernel=kernel)
    cell = 2 ** (depth - 1)
    lengths = [1, 2, 3, 5, 8, 31, 40]
    x_BLE = reals(len(lengths), 40, 3)
    y_BLD = body(x_BLE, torch.tensor(lengths))
    assert y_BLD.shape == (len(lengths), 40, 5)
    for x_LE, y_LD, length in zip(x_BLE, y_BLD, lengths, strict=True):
        want = whole_by_loop(body, x_LE[:length])
        assert len(want) == -(-length // cell)  # a text shorter than the pyramid has one cell
        want = want.repeat_interleave(cell, 0)[:length]
        torch.testing.assert_close(y_LD[:length], want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_causal_equals_the_decimated_pyramid_at_every_phase(depth, kernel):
    body = drawn(True, depth=depth, kernel=kernel)
    x_BLE = reals(1, 53, 3)
    y_LD = body(x_BLE, torch.tensor([53]))[0]
    apart = 2 ** (depth - 1)
    for phase in range(apart):
        phases = [phase >> level & 1 for level in range(depth - 1)]
        want = decimated(body, x_BLE[0], phases)
        torch.testing.assert_close(y_LD[phase::apart], want, rtol=0, atol=1e-12)


def test_gradients_equal_those_of_the_loop():
    body = drawn(False, depth=3)
    found = []
    for run in (
        lambda x: body(x[None], torch.tensor([21]))[0, ::4],
        lambda x: whole_by_loop(body, x),
    ):
        body.zero_grad()
        x_LE = reals(21, 3).requires_grad_()
        y_LD = run(x_LE)
        (y_LD * reals(*y_LD.shape, seed=3)).sum().backward()
        found.append([x_LE.grad, *(p.grad.clone() for p in body.parameters())])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("depth", "kernel"), [(3, 1), (3, 3), (4, 1)])
def test_reach_of_the_whole_form_is_centred_on_the_cell(depth, kernel):
    """`test_shared` looks at the middle of a text: where depth > 2 that is no cell's own place."""
    model = made(
        "deepcnn", {"depth": depth, "kernel": kernel}, causal=False, width=8, vocabulary=160
    )
    declared, cell = model.reach(100), 2 ** (depth - 1)
    length = 2 * declared + 3 + cell
    place = length // 2 // cell * cell
    for seen in touched(model, length, place, seeds=8):
        assert span(seen) == declared
        assert int(seen.nonzero().min()) == place - declared // 2
    hidden = model.hidden(torch.arange(length)[None])[0]
    for inside in range(cell):
        assert torch.equal(hidden[place], hidden[place + inside])


def test_pools_the_highest_cell():
    model = made("deepcnn", {"depth": 3}, causal=False)
    tokens, lengths = torch.arange(22).reshape(2, 11) % 11, torch.tensor([11, 6])
    want = []
    for row, length in zip(tokens, lengths.tolist(), strict=True):
        want.append(whole_by_loop(model.body, model.embedding(row[:length])).amax(0))
    got = model(tokens, lengths)
    torch.testing.assert_close(got, model.head(torch.stack(want)), rtol=0, atol=1e-12)
    assert model.pool == "max"


@pytest.mark.parametrize(("depth", "kernel", "reach"), [(1, 3, 7), (2, 3, 17), (4, 3, 77)])
def test_reach_and_state_by_hand(depth, kernel, reach):
    model = build("deepcnn", vocabulary=5, outputs=2, depth=depth, kernel=kernel, embedding=10)
    assert model.reach(1000) == reach
    # 2 embeddings, 4 vectors of 64 a block and dilation, 2 a maximum and its distance
    blocks = sum(4 * 2**level for level in range(depth))
    maxima = sum(2 * 2**level for level in range(depth - 1))
    assert model.state_bytes(1000) == 4 * (2 * 10 + 64 * (blocks + maxima))


def test_state_of_the_whole_form_grows_with_the_depth_alone():
    states = [
        build("deepcnn", vocabulary=5, outputs=2, depth=n, causal=False).state_bytes(99)
        for n in range(1, 7)
    ]
    steps = {b - a for a, b in pairwise(states)}
    assert steps == {4 * 64 * (4 + 2)}


def test_flops_of_the_whole_form_stay_below_twice_the_lowest_level():
    shallow, deep = (
        build("deepcnn", vocabulary=5, outputs=2, depth=n, causal=False).body.flops(512)
        for n in (1, 9)
    )
    one = 2 * 64 * 64 * 3 * 512
    assert shallow == 3 * one
    assert deep == one + 2 * one * sum(2.0**-level for level in range(9))


def test_no_infinity_ever_leaves():
    body = drawn(False, depth=4)
    x_BLE = reals(3, 9, 3).requires_grad_()
    y_BLD = body(x_BLE, torch.tensor([9, 0, 1]))
    y_BLD.sum().backward()
    assert y_BLD.isfinite().all()
    assert x_BLE.grad.isfinite().all()
    assert not x_BLE.grad[1].any()
    causal = drawn(True, depth=4)
    assert causal(x_BLE[:, :1], torch.tensor([1, 1, 1])).isfinite().all()


def test_refuses():
    with pytest.raises(UsageError, match="kernel 4 has no centre") as caught:
        build("deepcnn", vocabulary=5, outputs=2, causal=False, kernel=4)
    assert caught.value.code == "E-OPTION"
    with pytest.raises(UsageError, match="depth must be"):
        build("deepcnn", vocabulary=5, outputs=2, depth=0)
