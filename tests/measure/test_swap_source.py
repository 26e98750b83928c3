"""Encoder-decoders: the decoder's own reach, the reach into the source, and the source's share."""

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn

from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.swap import SwapOptions, swap_reach

NUM, PREFIX, SOURCE = 64, 12, 30


def model(back, around, centre, share=1.0):
    """y_t = sum of back[d] x_{t-d} + share * sum of around[o] s_{centre + o}, o = -w .. w."""
    width = len(around) // 2

    def predict(x, lengths, source, source_lengths):
        places = torch.arange(-width, width + 1) + centre
        weight = torch.as_tensor(around, dtype=torch.float64)
        seen = source[:, places] @ weight
        return known.linear(back)(x, lengths) + share * seen[:, None]

    return predict


def rows(num=NUM, prefix=PREFIX, source=SOURCE):
    return known.iid(num, prefix, 1), known.iid(num, source, 2)


def measure(predict, tokens, source, **more):
    names = SwapOptions.__dataclass_fields__
    options = {key: more.pop(key) for key in list(more) if key in names}
    settings = SwapOptions(**{"resamples": 100, **options})
    return swap_reach(predict, tokens, source=source, options=settings, **more)


def test_the_decoder_reaches_into_its_own_prefix_with_the_source_fixed():
    tokens, source = rows()
    predict = model([0.0] * 5 + [1.0], [1.0], 20)
    found = measure(predict, tokens, source)
    assert (found.value, found.r50, found.low, found.high, found.structural) == (6,) * 5
    assert found.side == "self"
    assert measure(predict, tokens, source, side="self").curve == found.curve
    assert not found.warnings
    plain = swap_reach(known.delay(5), tokens, options=SwapOptions(resamples=100))
    np.testing.assert_allclose(found.curve.matrix, plain.curve.matrix, rtol=1e-9, atol=1e-20)


@pytest.mark.parametrize("given", [True, False])
def test_the_source_is_kept_around_its_centre(given):
    """The centre outweighs its neighbours; the furthest that matters is 3 away: 4 kept a side."""
    tokens, source = rows(200)
    predict = model([1.0], [0.5, 0, 0, 2, 0, 0, 0], 14)
    more = {"centre": torch.full((200,), 14)} if given else {}
    found = measure(predict, tokens, source, side="source", **more)
    assert (found.structural, found.detectable) == (4, 4)
    assert found.value == 4
    assert found.r50 == 1
    assert found.ladder[0.05] == 4
    assert found.side == "source"


def test_a_source_reach_in_closed_form():
    """Mean of 2 w + 1 places: with k a side kept, 2 (w + 1 - k) of them are swapped."""
    tokens, source = rows(4000)
    w = 6
    predict = model([0.0], [1.0] * (2 * w + 1), 15)
    centre = torch.full((4000,), 15)
    found = measure(predict, tokens, source, side="source", centre=centre, batch=4000)
    for k, mean in zip(found.curve.x, found.curve.mean, strict=True):
        want = 1 if k == 0 else max(0, 2 * (w + 1 - k) / (2 * w + 1))
        assert mean == pytest.approx(want, abs=0.05)
    assert found.value == w + 1
    assert found.window == 15


def test_each_row_has_its_own_centre():
    """An alignment that moves from row to row is found row by row."""
    tokens, source = known.symbols(NUM, 4, 7), known.symbols(NUM, 20, 9)
    place = torch.randint(20, (NUM,), generator=torch.Generator().manual_seed(3))
    tokens[:, 0] = place

    def predict(x, n, s, m):
        old = s.gather(1, x[:, :1])
        return (9.0 * nn.functional.one_hot(old, 9)).expand(-1, x.shape[1], -1)

    found = measure(predict, tokens, source, side="source")
    assert (found.value, found.r50, found.structural) == (1, 1, 1)
    wrong = (place + 5).clamp(max=19)
    off = (wrong - place).max()
    found = measure(predict, tokens, source, side="source", centre=wrong)
    assert found.structural == int(off) + 1
    with_logits = found.curve.matrix_unit
    assert with_logits == "bits"


def test_the_source_share_in_closed_form():
    """Variances add: share^2 of the source against 1 of the prefix."""
    tokens, source = rows(4000)
    for side in ("self", "source"):
        predict = model([0.0, 1.0], [1.0], 10, share=2.0)
        found = measure(predict, tokens, source, side=side, batch=4000, exact=False, grid=(0, 1))
        assert found.source_share.value == pytest.approx(0.8, abs=0.03)
        assert found.source_share.low < 0.8 < found.source_share.high


def test_a_deaf_decoder_has_no_source_share_and_a_source_alone_all_of_it():
    tokens, source = rows()
    deaf = measure(model([1.0], [0.0], 10), tokens, source)
    assert (deaf.source_share.value, deaf.source_share.high) == (0, 0)
    none = measure(model([1.0], [0.0], 10), tokens, source, side="source")
    assert (none.value, none.censored) == (None, False)
    assert "no influence" in none.warnings[0]
    alone = measure(model([0.0], [1.0], 10), tokens, source)
    assert alone.source_share.value == 1
    assert (alone.value, alone.censored) == (None, False)
    constant = measure(model([0.0], [0.0], 10), tokens, source)
    assert constant.source_share is None


def effect_twin(predict, tokens, lengths, source, sizes, changed):
    """Squared change of the last real output, row by row."""
    found = []
    for i in range(len(tokens)):
        n, m = lengths[i : i + 1], sizes[i : i + 1]
        clean = predict(tokens[i : i + 1], n, source[i : i + 1], m)[0, int(n) - 1]
        x, s = changed(i)
        other = predict(x[None], n, s[None], m)[0, int(n) - 1]
        found.append(float((clean - other).square().sum()))
    return found


def attention(x, lengths, source, sizes):
    """Each token asks the real source tokens: (B, L, 3) from (B, L) and (B, W, 2)."""
    rng = torch.Generator().manual_seed(5)
    ask, tell, value = (torch.randn(*s, generator=rng).double() for s in ((1, 4), (2, 4), (2, 3)))
    query = torch.cumsum(x, 1)[..., None] @ ask
    scores = query @ (source.double() @ tell).transpose(1, 2)
    pads = torch.arange(source.shape[1])[None, None] >= sizes[:, None, None]
    weight = scores.masked_fill(pads, -torch.inf).softmax(-1)
    return weight @ (source.double() @ value)


@pytest.mark.parametrize("side", ["self", "source"])
def test_effects_are_their_twins(side):
    """Unequal rows and sources, vectors as a source, batches that split them."""
    num, length, width = 40, 7, 9
    rng = torch.Generator().manual_seed(8)
    tokens = torch.randn(num, length, generator=rng).double()
    source = torch.randn(num, width, 2, generator=rng)
    lengths = torch.randint(3, length + 1, (num,), generator=rng)
    sizes = torch.randint(4, width + 1, (num,), generator=rng)
    centre = (torch.rand(num, generator=rng) * sizes).long()
    more = {"centre": centre} if side == "source" else {}
    found = swap_reach(
        attention,
        tokens,
        lengths=lengths,
        source=source,
        source_lengths=sizes,
        options=SwapOptions(side=side, batch=7, resamples=50),
        **more,
    )
    way = probe.donors(num, 1, Seeds(0).numpy("swap donors"))[0]
    for k, got in zip(found.curve.x, found.curve.matrix[0].T, strict=True):

        def changed(i, k=k):
            x, s, j = tokens[i].clone(), source[i].clone(), int(way[i])
            if side == "self":
                for place in range(int(lengths[i]) - k):
                    x[place] = tokens[j, place % int(lengths[j])]
            else:
                for place in range(int(sizes[i])):
                    if abs(place - int(centre[i])) >= k:
                        s[place] = source[j, place % int(sizes[j])]
            return x, s

        want = effect_twin(attention, tokens, lengths, source, sizes, changed)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-12)


def test_centres_are_the_largest_single_swaps():
    num = 40
    tokens, source = known.iid(num, 3, 4), known.iid(num, 8, 5)

    def predict(x, n, s, m):
        gate = torch.softmax(5 * s, 1)
        return (gate * s).sum(1, keepdim=True).expand(-1, x.shape[1])

    found = measure(predict, tokens, source, side="source")
    way = probe.donors(num, 1, Seeds(0).numpy("swap donors"))[0]
    centre = []
    for i in range(num):
        effects = []
        for place in range(8):
            s = source[i : i + 1].clone()
            s[0, place] = source[int(way[i]), place]
            one = predict(tokens[i : i + 1], None, source[i : i + 1], None)[0, -1]
            effects.append(float((one - predict(tokens[i : i + 1], None, s, None)[0, -1]) ** 2))
        centre.append(int(np.argmax(effects)))
    named = measure(predict, tokens, source, side="source", centre=torch.tensor(centre))
    assert found.curve.x == named.curve.x
    np.testing.assert_array_equal(found.curve.matrix, named.curve.matrix)
    # A clean pass and one a source token go to the search.
    assert found.passes == named.passes + 1 + 8


class Translator(nn.Module):
    """An encoder-decoder with dropout: measured as it would answer, given back as it was."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 16)
        self.encode = nn.GRU(16, 16, batch_first=True)
        self.decode = nn.GRU(16, 16, batch_first=True)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(16, 9)

    def forward(self, tokens, lengths, source, source_lengths):
        state = self.encode(self.drop(self.embed(source)))[1]
        return self.head(self.decode(self.embed(tokens), state)[0])


@pytest.mark.parametrize("side", ["self", "source"])
def test_a_module_is_measured_in_eval_mode(side):
    net = Translator().train()
    tokens, source = known.symbols(40, 6, 9), known.symbols(40, 7, 9, 1)
    found = measure(net, tokens, source, side=side)
    again = measure(net, tokens, source, side=side)
    assert found.curve == again.curve
    assert found.curve.matrix_unit == "bits"
    assert found.noise_floor < 1e-3
    assert net.training
    assert net.drop.training


def test_labels_belong_to_the_decoder():
    tokens, source = known.symbols(400, 6, 8), known.symbols(400, 10, 8, 1)

    def predict(x, n, s, m):
        onehot = nn.functional.one_hot(s[:, 4], 8).double()[:, None].expand(-1, x.shape[1], -1)
        return 4 * onehot

    centre = torch.full((400,), 6)
    labels = source[:, 4:5].expand(-1, 6)
    found = measure(predict, tokens, source, side="source", labels=labels, centre=centre)
    assert (found.value, found.useful) == (3, 3)
    assert found.benefit.mean[0] == pytest.approx(4 * 7 / 8, rel=0.1)


@pytest.mark.parametrize("how", ["shuffle", "reverse", "drop"])
def test_milder_changes_of_a_source(how):
    tokens, source = rows(200)

    def predict(x, n, s, m):
        return s.gather(1, (m[:, None] - 1).clamp(max=4)).expand(-1, x.shape[1])

    centre = torch.full((200,), 10)
    found = measure(predict, tokens, source, side="source", how=how, centre=centre)
    # Place 4 is 7 tokens a side away; where any token before it is dropped, another stands there.
    want = 11 if how == "drop" else 7
    assert found.value == found.structural == want


def test_a_source_of_one_class():
    tokens, source = rows(200)
    predict = model([1.0], [1.0, 1.0, 1.0], 10)
    only = torch.zeros(200, SOURCE, dtype=torch.bool)
    only[:, 11] = True
    centre = torch.full((200,), 10)
    found = measure(predict, tokens, source, side="source", only=only, centre=centre)
    assert found.own.share.value == pytest.approx(1 / 3, abs=0.1)
    assert found.structural == 2


@pytest.mark.parametrize("num", [2, 3])
def test_two_rows_of_one_token(num):
    tokens, source = known.iid(num, 1, 1), known.iid(num, 1, 2)

    def predict(x, n, s, m):
        return x + s

    found = measure(predict, tokens, source, side="source")
    assert (found.value, found.censored, found.window) == (None, True, 0)


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"source": torch.zeros(5, 4)}, r"source must be \(40"),
        ({"source": torch.zeros(40)}, r"source must be \(40"),
        ({"source": torch.zeros(40, 4), "side": "future"}, "does not fit a source"),
        ({"source": torch.zeros(40, 4), "design": "fast"}, "fast design"),
        ({"source": torch.zeros(40, 4), "centre": torch.zeros(40).long()}, "centre names source"),
        (
            {"source": known.iid(40, 4), "side": "source", "centre": torch.full((40,), 4)},
            "real source tokens",
        ),
        (
            {"source": torch.zeros(40, 4), "source_lengths": torch.full((40,), 5)},
            "lengths must be",
        ),
        ({"source": torch.zeros(40, 4), "targets": "first"}, "not known"),
    ],
)
def test_what_does_not_fit_is_refused(more, match):
    with pytest.raises(UsageError, match=match):
        measure(model([1.0], [1.0], 1), known.iid(40, 5), **more)


@pytest.mark.parametrize(
    "answer",
    [
        lambda x: x[:, 0],
        lambda x: x[:, :-1, None],
        lambda x: (x,),
        lambda x: x.long(),
        lambda x: x[:1],
    ],
    ids=["a row", "short", "a tuple", "whole numbers", "too few"],
)
def test_outputs_that_do_not_fit_are_refused(answer):
    with pytest.raises(UsageError, match="encoder-decoder must return"):
        measure(lambda x, n, s, m: answer(x), known.iid(40, 5), known.iid(40, 5, 1))


def test_overflow_is_an_error():
    with pytest.raises(DataError, match="not a number"):
        measure(lambda x, n, s, m: x / 0 * 0, known.iid(40, 5), known.iid(40, 5, 1))


def test_chosen_targets_of_a_decoder():
    """y_t = x_{t-2} + s_10 (t + 1): read at place 5, where 6 tokens are visible."""
    tokens, source = rows()

    def predict(x, n, s, m):
        place = torch.arange(1, x.shape[1] + 1)
        return known.delay(2)(x, n) + s[:, 10:11] * place

    at = torch.full((NUM,), 5)
    found = measure(predict, tokens, source, targets=at)
    assert (found.value, found.window) == (3, 5)
    assert not found.warnings
    far = measure(predict, tokens, source, side="source", targets=at)
    effects = far.curve.matrix[0, :, 0]
    way = torch.from_numpy(probe.donors(NUM, 1, Seeds(0).numpy("swap donors"))[0])
    want = (6 * (source - source[way])[:, 10]).square()
    np.testing.assert_allclose(effects, want, rtol=1e-9)

    def peeking(x, n, s, m):
        return predict(x, n, s, m) + x.roll(-1, 1)

    ahead = measure(peeking, tokens, source, targets=at)
    assert any("looks both ways" in said for said in ahead.warnings)


def test_padding_of_sources_is_never_swapped():
    tokens, source = known.symbols(NUM, 4, 9), known.symbols(NUM, 12, 9, 1)
    sizes = torch.randint(3, 13, (NUM,), generator=torch.Generator().manual_seed(6))
    pads = torch.arange(12)[None] >= sizes[:, None]
    source[pads] = 99
    seen = []

    def predict(x, n, s, m):
        seen.append(s.clone())
        first = s[:, :1] + 0.5 * s[:, 1:2]
        return first.double().expand(-1, x.shape[1])

    found = measure(predict, tokens, source, side="source", source_lengths=sizes)
    assert found.structural == 2
    full = [s for s in seen if len(s) == NUM]
    assert len(full) > 12
    assert all((s[pads] == 99).all() and not (s[~pads] == 99).any() for s in full)
