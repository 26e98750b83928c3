"""Ways to tell places: by hand, against the papers' numbers and other libraries' code."""

import math

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import Sizes, Stack, build
from howfar.models.blocks import Alibi, PlacedStack, Relative, rotate, rotate_at
from howfar.models.blocks.placed import Places
from howfar.models.blocks.positions import BUCKETS, buckets, sinusoids, slopes


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def test_rotation_by_hand():
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).double().reshape(1, 1, 1, 4)
    slow = 10_000.0 ** (-2 / 4)
    want = []
    for a, b, angle in ((1.0, 3.0, 5.0), (2.0, 4.0, 5.0 * slow)):
        c, s = math.cos(angle), math.sin(angle)
        want.append((a * c - b * s, b * c + a * s))
    (a0, b0), (a1, b1) = want
    assert rotate(x, 5).flatten().tolist() == pytest.approx([a0, a1, b0, b1], abs=1e-12)
    assert torch.equal(rotate(x, 0), x)
    assert torch.equal(rotate_at(x, torch.tensor([5])), rotate(x, 5))


def test_rotated_scores_depend_on_distance_alone():
    q, k = reals(1, 1, 1, 8, seed=1), reals(1, 1, 1, 8, seed=2)

    def score(t, s):
        return float((rotate(q, t) * rotate(k, s)).sum())

    for distance in (0, 1, 7):
        near = score(distance, 0)
        assert score(1500 + distance, 1500) == pytest.approx(near, abs=1e-9)
    assert abs(score(3, 0) - score(4, 0)) > 1e-3  # not on nothing at all
    assert abs(score(3, 0) - score(0, 3)) > 1e-3


def test_rotation_is_that_of_llama():
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = llama.LlamaConfig(hidden_size=32, num_attention_heads=4, head_dim=8)
    q, k = reals(2, 4, 30, 8, seed=1).float(), reals(2, 4, 30, 8, seed=2).float()
    cos, sin = llama.LlamaRotaryEmbedding(config)(q, torch.arange(30)[None])
    want = llama.apply_rotary_pos_emb(q, k, cos, sin)
    for got, one in zip((rotate(q), rotate(k)), want, strict=True):
        torch.testing.assert_close(got, one, rtol=0, atol=1e-5)


def test_slopes_are_those_of_the_paper():
    assert slopes(8) == [2.0**-i for i in range(1, 9)]
    assert slopes(1) == [2.0**-8]
    # what its code gives for 6 and 12 heads: those of 4 and 8, then every other of 8 and 16
    assert slopes(6) == [2.0**-2, 2.0**-4, 2.0**-6, 2.0**-8, 2.0**-1, 2.0**-3]
    assert slopes(12) == [*slopes(8), 2**-0.5, 2**-1.5, 2**-2.5, 2**-3.5]
    for heads in range(1, 70):
        assert len(slopes(heads)) == len(set(slopes(heads))) == heads


def test_alibi_by_hand():
    bias = Alibi(2)(torch.tensor([-3, 0, 1, 16]), torch.float64)
    assert bias.tolist() == [[-3 / 16, 0.0, -1 / 16, -1.0], [-3 / 256, 0.0, -1 / 256, -1 / 16]]


def test_buckets_by_hand():
    near = buckets(torch.arange(16), both_sides=False)
    assert near.tolist() == list(range(16))
    far = buckets(torch.tensor([-5, 16, 32, 127, 128, 5000]), both_sides=False)
    assert far.tolist() == [0, 16, 21, 31, 31, 31]
    both = buckets(torch.tensor([0, 7, 8, 16, 32, 64, 128, -1, -7, -64, -9999]), both_sides=True)
    assert both.tolist() == [0, 7, 8, 10, 12, 14, 15, 17, 23, 30, 31]


@pytest.mark.parametrize("both_sides", [True, False])
def test_buckets_are_those_of_t5(both_sides):
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    lag = torch.arange(-3000, 3000)
    want = t5.T5Attention._relative_position_bucket(
        -lag, bidirectional=both_sides, num_buckets=BUCKETS, max_distance=128
    )
    assert torch.equal(buckets(lag, both_sides=both_sides), want)
    config = t5.T5Config(num_heads=3, is_decoder=not both_sides)
    theirs = t5.T5Attention(config, has_relative_attention_bias=True)
    mine = Relative(3, 16, both_sides=both_sides)
    mine.weight_HX.data.copy_(theirs.relative_attention_bias.weight.T)
    place = torch.arange(200)
    want_HLL = theirs.compute_bias(200, 200)[0]
    lag_LL = place[:, None] - place
    got_HX = mine(lag_LL.flatten(), torch.float32)
    torch.testing.assert_close(got_HX.view(3, 200, 200), want_HLL, rtol=0, atol=0)


def test_relative_table_is_drawn_as_in_t5():
    table = Relative(64, 100, both_sides=True)
    table.draw(generator())
    assert float(table.weight_HX.detach().std()) == pytest.approx(0.1, rel=0.05)


def test_sinusoids_by_hand():
    got = sinusoids(torch.tensor([0, 3]), 4, torch.float64)
    slow = 3 / 100
    want = [0, 1, 0, 1, math.sin(3), math.cos(3), math.sin(slow), math.cos(slow)]
    assert got.flatten().tolist() == pytest.approx(want, abs=1e-12)
    odd = sinusoids(torch.tensor([3]), 3, torch.float64)
    turn = 3 * 10_000 ** (-2 / 3)
    assert odd.flatten().tolist() == pytest.approx([math.sin(3), math.cos(3), math.sin(turn)])


def test_places_are_as_large_as_embeddings():
    model = build("transformer", vocabulary=400, outputs=2, positions="learned", max_length=300)
    sines = Places(64, None)(torch.arange(300), torch.float32)
    wanted = float(model.embedding.weight.detach().std())
    for places_PE in (model.body.places.table_PE.detach(), sines):
        assert float(places_PE.square().mean().sqrt()) == pytest.approx(wanted, rel=0.03)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("causal", [True, False])
@torch.no_grad()
def test_places_are_added_before_the_stack(positions, causal):
    settings = {"width": 8, "embedding": 6, "causal": causal, "positions": positions}
    body = build("transformer", vocabulary=5, outputs=2, **settings).double().body
    assert isinstance(body, PlacedStack)
    x_BLE, lengths = reals(2, 7, 6), torch.tensor([7, 4])
    placed = x_BLE + body.places(torch.arange(7), torch.float64)
    got, want = body(x_BLE, lengths), Stack.forward(body, placed, lengths)
    assert torch.equal(got, want)
    assert body.reach(9) is None
    assert body.flops(9) == Stack.flops(body, 9)


def test_rows_may_stand_at_different_places():
    body = build("transformer", vocabulary=5, outputs=2, positions="learned", window=1).double()
    first, last = torch.tensor([[1, 2, 3]]), torch.tensor([[4, 1, 0, 2, 3]])
    ends = [body.chunk(tokens[:, :-1])[1] for tokens in (first, last)]

    def joined(one, two):
        if isinstance(one, torch.Tensor):
            return torch.cat([one, two])
        return tuple(joined(*pair) for pair in zip(one, two, strict=True))

    got, _ = body.step(torch.tensor([3, 3]), joined(*ends))
    for row, tokens in enumerate((first, last)):
        torch.testing.assert_close(got[row], body(tokens)[0, -1], rtol=0, atol=1e-12)


def test_a_table_has_an_end():
    settings = {"vocabulary": 5, "outputs": 2, "positions": "learned", "max_length": 4}
    model = build("transformer", **settings)
    tokens = torch.zeros(1, 5, dtype=torch.long)
    _, state = model.chunk(tokens[:, :4])
    for call in (
        lambda: model(tokens),
        lambda: model.chunk(tokens),
        lambda: model.step(tokens[:, 0], state),
        lambda: build("transformer", **settings, causal=False)(tokens),
    ):
        with pytest.raises(UsageError, match="positions for 4") as caught:
            call()
        assert caught.value.code == "E-LENGTH"
        assert "max_length" in caught.value.hint


def test_stack_behind_places_takes_another_way_through_its_blocks():
    body = build("transformer", vocabulary=5, outputs=2, positions="sinusoidal").body
    seen = []

    def through(place, x_BLD, held):
        seen.append((place, held is None))
        return body.blocks[place].chunk(x_BLD, held)

    x_BLE = reals(1, 3, 64).float()
    got, state = body.chunk(x_BLE, None, through)
    torch.testing.assert_close(got, body(x_BLE, torch.tensor([3])))
    body.chunk(x_BLE, state, through)
    assert seen == [(0, True), (1, True), (0, False), (1, False)]
    assert Sizes(4, 4, True, 0.0).causal
