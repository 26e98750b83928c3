"""Attention against explicit loops and torch's own; windows, sinks, grouped heads, settings."""

import pytest
import torch
from torch import nn

from howfar.core.errors import UsageError
from howfar.models import build, kernels
from howfar.models.blocks import rotate
from howfar.models.blocks.positions import buckets, slopes
from howfar.models.transformer import POSITIONS, Attention, TransformerSettings


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def made(width, causal, dtype=torch.float64, **settings):
    attention = Attention(width, TransformerSettings(**settings), causal=causal).to(dtype)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator(3))
    return attention


def score(attention, head, q, k, t, s):
    """Of a query at place t and a key at place s; places count what is held."""
    both_sides = not attention.causal
    if attention.turned:
        q, k = (rotate(x.reshape(1, 1, 1, -1), place).flatten() for x, place in ((q, t), (k, s)))
    found = q @ k / attention.head_size**0.5
    if attention.bias is not None and hasattr(attention.bias, "slopes"):
        found = found - slopes(attention.heads)[head] * abs(t - s)
    elif attention.bias is not None:
        bucket = buckets(torch.tensor([t - s]), both_sides=both_sides)
        found = found + attention.bias.weight_HX[head, bucket[0]]
    return found


def visible(attention, t, n):
    """Places that t sees in a text of n, in order."""
    window = attention.window
    if not attention.causal:
        side = n if window is None else (window - 1) // 2
        return [s for s in range(n) if abs(t - s) <= side]
    if window is None:
        return list(range(t + 1))
    return [s for s in range(t + 1) if s < attention.sinks or t - s < window]


def loop(attention, x_BLD, lengths):
    """One pair of positions at a time; a decoder's keys stand as in a cache, one after another."""
    heads, groups, size = attention.heads, attention.kv_heads, attention.head_size
    y_BLD = torch.zeros_like(x_BLD)
    for row, n in enumerate(lengths.tolist()):
        qkv = (x_BLD[row] @ attention.qkv.weight.T).unflatten(-1, (-1, size))
        for t in range(n):
            seen, parts = visible(attention, t, n), []
            places = dict(zip(seen, range(len(seen)), strict=True))
            if not attention.causal:
                places = dict(zip(seen, seen, strict=True))
            for head in range(heads):
                own = heads + head // (heads // groups)
                scores = [
                    score(attention, head, qkv[t, head], qkv[s, own], places[t], places[s])
                    for s in seen
                ]
                weights = torch.stack(scores).softmax(0)
                values = [qkv[s, own + groups] for s in seen]
                parts.append(sum(w * v for w, v in zip(weights, values, strict=True)))
            y_BLD[row, t] = torch.cat(parts) @ attention.out.weight.T
    return y_BLD


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("positions", ["rotary", "none", "alibi", "relative"])
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"window": 3},
        {"window": 2, "sinks": 2},
        {"heads": 4, "kv_heads": 2},
        {"heads": 4, "kv_heads": 2, "window": 5},
    ],
    ids=str,
)
@torch.no_grad()
def test_attention_equals_loop(causal, positions, more):
    if not causal and "sinks" in more:
        more = {"window": 1}
    attention = made(6, causal, positions=positions, **more)
    x_BLD, lengths = reals(2, 9, 6), torch.tensor([9, 4])
    got, want = attention(x_BLD, lengths), loop(attention, x_BLD, lengths)
    for row, n in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :n], want[row, :n], rtol=0, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_multihead_attention_and_its_gradients(causal, dtype):
    attention = made(12, causal, dtype, heads=3, positions="none")
    other = nn.MultiheadAttention(12, 3, bias=False, batch_first=True).to(dtype)
    other.in_proj_weight.data.copy_(attention.qkv.weight.detach())
    other.out_proj.weight.data.copy_(attention.out.weight.detach())
    lengths = torch.tensor([8, 5])
    hidden = torch.arange(8) >= lengths[:, None]
    ahead = torch.ones(8, 8, dtype=torch.bool).triu(1)
    weight = reals(2, 8, 12, seed=7).to(dtype) * ~hidden[..., None]
    found = []
    for module in (attention, other):
        x = reals(2, 8, 12).to(dtype).requires_grad_()
        if module is attention:
            y = module(x, lengths)
        elif causal:
            y = module(x, x, x, attn_mask=ahead, need_weights=False)[0]
        else:
            y = module(x, x, x, key_padding_mask=hidden, need_weights=False)[0]
        (y * weight).sum().backward()
        found.append([y[~hidden], x.grad, *(p.grad for p in module.parameters())])
    for got, want in zip(*found, strict=True):
        size = max(1.0, float(want.detach().abs().max()))
        torch.testing.assert_close(got, want, rtol=0, atol=1e-6 * size)


@torch.no_grad()
def test_empty_row_sees_its_first_pad():
    attention = made(6, False)
    x_BLD = reals(2, 5, 6)
    value_D = (x_BLD[0, 0] @ attention.qkv.weight.T)[2 * attention.inner :]
    want_LD = (value_D @ attention.out.weight.T).expand(5, -1)
    got_LD = attention(x_BLD, torch.tensor([0, 5]))[0]
    torch.testing.assert_close(got_LD, want_LD, rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    ("width", "heads", "size"), [(64, 2, 32), (63, 2, 32), (7, 2, 4), (1, 2, 2), (10, 3, 4)]
)
def test_any_width_gets_even_heads(width, heads, size):
    model = build("transformer", vocabulary=5, outputs=2, width=width, heads=heads)
    assert model.body.blocks[0].mixer.head_size == size
    assert model(torch.tensor([[1, 2, 3]])).shape == (1, 3, 2)
    assert model.state_bytes(10) == 2 * 4 * 2 * heads * size * 10


def test_order_matters_but_to_an_encoder_without_positions():
    for positions in POSITIONS:
        model = build(
            "transformer", vocabulary=5, outputs=2, causal=False, width=8, positions=positions
        ).double()
        answers = [model(torch.tensor([order])) for order in ([1, 2, 3], [2, 1, 3], [3, 2, 1])]
        other, backwards = (float((y - answers[0]).detach().abs().max()) for y in answers[1:])
        assert other < 1e-12 if positions == "none" else other > 1e-6
        # a bias of plain distance is the same from both ends
        same = positions in {"none", "alibi"}
        assert backwards < 1e-12 if same else backwards > 1e-6


def test_a_decoder_without_positions_still_knows_order():
    model = build("transformer", vocabulary=5, outputs=2, width=8, positions="none").double()
    one, two = model(torch.tensor([[1, 2, 3, 4]])), model(torch.tensor([[2, 1, 3, 4]]))
    assert (one - two)[0, -1].abs().max() > 1e-6  # two layers: the first tells counts apart
    alone = build("transformer", vocabulary=5, outputs=2, width=8, positions="none", depth=1)
    one, two = alone(torch.tensor([[1, 2, 3, 4]])), alone(torch.tensor([[2, 1, 3, 4]]))
    torch.testing.assert_close(one[0, -1], two[0, -1])  # one layer: a bag of what came before


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_window_as_long_as_the_text_hides_nothing(positions):
    for causal in (True, False):
        found = []
        for window in (None, 25):
            model = build(
                "transformer",
                vocabulary=9,
                outputs=2,
                width=8,
                causal=causal,
                positions=positions,
                window=window,
            )
            tokens = torch.randint(9, (2, 13), generator=generator(1))
            found.append(model.double()(tokens, torch.tensor([13, 6])))
        wide, plain = (y[:, :6] if causal else y for y in found)
        torch.testing.assert_close(wide, plain, rtol=0, atol=1e-12)


@torch.no_grad()
def test_state_of_a_window_is_bounded_and_goes_on_far_beyond():
    model = build("transformer", vocabulary=9, outputs=2, width=8, window=4, sinks=2).double()
    tokens = torch.randint(9, (1, 400), generator=generator(1))
    state = None
    for part in tokens.split([3, 1, 1, 95, 200, 99, 1], dim=1):
        answer, state = model.chunk(part, state)
    torch.testing.assert_close(answer[:, -1], model(tokens)[:, -1], rtol=0, atol=1e-10)
    keys, values = state[0]
    assert keys.shape == values.shape == (1, 2, 5, 4)
    assert keys.untyped_storage().nbytes() == keys.numel() * 8  # no view of a longer text
    assert model.state_bytes(400) == model.state_bytes(5) == 2 * 2 * 2 * 5 * 4 * 4


def test_reach_and_flops_with_a_window():
    def of(**settings):
        return build("transformer", vocabulary=5, outputs=2, width=8, depth=3, **settings)

    assert of(window=5).reach(100) == of(window=5, causal=False).reach(100) == 13
    assert of().reach(100) is of(window=5, sinks=1).reach(100) is None
    cheap, dear = of(window=5), of()
    pairs = 1 + 2 + 3 + 4 + 5 * 96
    assert dear.flops(100) - cheap.flops(100) == 3 * 4 * 8 * (100**2 - pairs)


def test_grouped_heads_have_fewer_keys():
    plain, grouped = (
        build("transformer", vocabulary=5, outputs=2, heads=4, kv_heads=n) for n in (None, 2)
    )
    assert plain.count()["body"] - grouped.count()["body"] == 2 * 64 * 2 * 32
    assert plain.state_bytes(7) == 2 * grouped.state_bytes(7)


@pytest.mark.parametrize("causal", [True, False])
def test_windows_of_many_blocks_use_the_kernel(causal, monkeypatch):
    calls = []
    kernel = kernels.windowed_attention

    def watched(*arguments, **keywords):
        calls.append(keywords)
        return kernel(*arguments, **keywords)

    monkeypatch.setattr(kernels, "windowed_attention", watched)
    for settings, number in (({"window": 3}, 1), ({"positions": "alibi"}, 1), ({}, 0)):
        calls.clear()
        made(6, causal, **settings)(reals(1, 9, 6), torch.tensor([9]))
        assert len(calls) == number


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"positions": "rotory"}, "positions cannot be 'rotory'"),
        ({"window": 0}, "window must be a whole number of at least 1"),
        ({"window": 2.5}, "window must be"),
        ({"sinks": 2}, "beside a window: there is none"),
        ({"window": 4, "sinks": -1}, "sinks must be"),
        ({"heads": 4, "kv_heads": 3}, "kv_heads=3 does not divide heads=4"),
        ({"heads": 4, "kv_heads": 0}, "kv_heads must be"),
        ({"max_length": 0}, "max_length must be"),
        ({"causal": False, "window": 4}, "window=4 has no middle"),
        ({"causal": False, "window": 5, "sinks": 1}, "read forward"),
    ],
)
def test_settings_that_cannot_be(settings, match):
    with pytest.raises(UsageError, match=match) as caught:
        build("transformer", vocabulary=5, outputs=2, **settings)
    assert caught.value.code == "E-OPTION"
    assert caught.value.hint
