"""Single-token influence against closed forms and a twin that asks from the target's side."""

import math

import numpy as np
import pytest
import torch
from tests.measure import known

from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.measure import probe
from howfar.measure.influence import InfluenceOptions, influence_reach
from howfar.models import build


def measure(predict, tokens, *, sources=1, lengths=None, labels=None, **options):
    return influence_reach(
        predict,
        tokens,
        sources=sources,
        lengths=lengths,
        labels=labels,
        options=InfluenceOptions(**options),
    )


@pytest.mark.parametrize(("a", "want"), [(0.9, 15), (0.97, 50)])
def test_g1_exponential_decay(a, want):
    assert want == math.ceil(math.log(0.05) / (2 * math.log(a)))
    found = measure(known.decay(a), known.iid(64, 256))
    assert found.value == want
    assert found.low == found.high == want  # one input, one shape: rows differ in size alone
    share = np.array(found.curve.mean) / found.total
    lags = np.arange(128)
    np.testing.assert_allclose(share, a ** (2 * lags) * (1 - a**2), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found.tail.mean[10], a**20, rtol=1e-3)
    assert found.tail.mean[0] == 1


def test_i_of_lag_0_by_hand():
    """y = x: I(0) is the squared difference of a row and its donor at the source."""
    tokens = known.iid(5, 8)
    found = measure(lambda x, n: x, tokens, sources=[3])
    way = probe.donors(5, 1, Seeds(0).numpy("influence substitutes"))[0]
    want = (tokens[:, 3] - tokens[way, 3]).square()
    np.testing.assert_allclose(found.curve.matrix[0, :, 0], want, rtol=1e-12)
    assert (found.curve.matrix[0, :, 1:] == 0).all()
    assert found.value == 1
    assert found.window == 5


def test_g2_delay():
    found = measure(known.delay(40), known.iid(64, 256))
    assert (found.value, found.low, found.high, found.detectable) == (41, 41, 41, 41)
    assert set(found.ladder.values()) == {41}
    assert np.flatnonzero(found.curve.mean).tolist() == [40]


def test_g3_boxcar():
    found = measure(known.boxcar(30), known.iid(64, 256))
    assert found.value == 29
    assert found.detectable == 30
    assert found.ladder[0.5] == 15


@pytest.mark.parametrize("sources", [1, 3])
def test_g5_attention_copy(sources):
    def predict(x, lengths):
        place = torch.arange(x.shape[1]).double()
        score = -200 * (place[:, None] - 40 - place[None, :]) ** 2
        score = score.masked_fill(place[None] > place[:, None], -math.inf)
        return (score.softmax(-1) @ x[..., None])[..., 0]

    assert measure(predict, known.iid(32, 256), sources=sources).value == 41


def test_g7_dilated_convolutions():
    found = measure(known.dilated(), known.iid(64, 128))
    assert found.value <= 15
    assert found.detectable == 15
    assert max(found.curve.mean[15:]) == 0.0


def test_g8_parity():
    found = measure(known.parity(12), known.signs(64, 64))
    # each of the last 12 signs turns the product alike: 1 / 12 a lag
    assert found.value == 12
    assert found.tail.mean[6] == pytest.approx(0.5)


def test_g9_saturated_far_path():
    def predict(x, lengths):
        return torch.tanh(50 * torch.roll(x, 40, dims=1)) + 0.1 * x

    found = measure(predict, known.signs(64, 128))
    assert found.value == 41
    assert found.curve.mean[0] / found.curve.mean[40] == pytest.approx(0.01, rel=1e-6)


def test_g10_redundant_copies_are_not_seen():
    def predict(x, lengths):
        far = torch.stack([torch.roll(x, d, dims=1) for d in (20, 21, 22)])
        return far.sum(0).sign()

    tokens = known.signs(64, 1).expand(64, 64).contiguous()
    found = measure(predict, tokens, sources=3)
    assert found.total == 0.0
    assert found.value is None
    assert not found.censored
    assert found.tail.x == ()
    assert 0.3 < found.replaced < 0.7
    assert any("no influence" in said and "swap reach" in said for said in found.warnings)


def test_g12_copy_language_model_in_bits():
    found = measure(known.copy_language_model(20, 8), known.symbols(2000, 64, 8))
    assert (found.value, found.low, found.high) == (21, 21, 21)
    assert found.total == pytest.approx(0.7258, abs=0.015)
    assert found.curve.unit == "bits"


def test_g14_memoryless_and_g15_constant():
    assert measure(lambda x, n: x**3, known.iid(64, 64)).value == 1
    still = measure(lambda x, n: torch.ones_like(x), known.iid(64, 64))
    assert (still.value, still.censored, still.total) == (None, False, 0.0)


def test_what_does_not_fade_is_censored():
    found = measure(known.cumulative_mean, known.iid(64, 128))
    assert found.censored
    assert (found.value, found.high) == (None, None)
    assert measure(known.delay(31), known.iid(64, 64)).censored  # the last lag of the window
    assert measure(known.delay(27), known.iid(64, 64)).value == 28


@pytest.mark.parametrize("length", [2, 3, 4])
def test_short_rows(length):
    found = measure(lambda x, n: x[..., None], known.iid(64, length))
    assert found.censored == (found.window == 1)
    assert found.value == (None if found.window == 1 else 1)
    with pytest.raises(UsageError, match="2 tokens a row"):
        measure(lambda x, n: x, known.iid(64, 1))


def both_ways(x, lengths):
    """y_t = x_{t-3} + x_{t+2} / 2, zeros outside."""
    past = torch.nn.functional.pad(x, (3, 0))[:, : x.shape[1]]
    return past + 0.5 * torch.nn.functional.pad(x, (0, 2))[:, 2:]


@pytest.mark.parametrize("sources", [1, [20, 30]])
def test_past_and_future_are_kept_apart(sources):
    found = measure(both_ways, known.iid(64, 64), sources=sources)
    assert found.value == 4
    assert found.ahead == 2
    assert found.ahead_share == pytest.approx(0.2)
    assert found.ahead_curve.x[0] == 1
    assert np.flatnonzero(found.ahead_curve.mean).tolist() == [1]
    assert any("reads ahead" in said for said in found.warnings)


def test_the_mirror_image_swaps_past_and_future():
    turned = measure(lambda x, n: both_ways(x.flip(1), n).flip(1), known.iid(64, 64))
    assert (turned.value, turned.ahead) == (3, 3)
    assert turned.ahead_share == pytest.approx(0.8)


def test_a_causal_model_has_nothing_ahead():
    found = measure(known.decay(0.9), known.iid(64, 64))
    assert (found.ahead, found.ahead_share) == (None, 0.0)
    assert max(found.ahead_curve.mean) == 0.0


def slow_twin(predict, tokens, lengths, sources, donor, labels=None):
    """From the target's side: for every target and lag a forward pass of its own, then averages."""
    num, width = len(tokens), int(lengths.min()) - max(sources)
    past, worse = np.zeros((num, width)), np.zeros((num, width))
    for row in range(num):
        for source in sources:
            other = tokens[row].clone()
            other[source] = tokens[donor[row], source % int(lengths[donor[row]])]
            for target in range(source, source + width):
                end = torch.tensor([target + 1])
                p, q = (
                    predict(x[None, : target + 1], end)[0, -1].double().softmax(-1).numpy()
                    for x in (tokens[row], other)
                )
                m = (p + q) / 2
                bits = (p * np.log2(p / m) + q * np.log2(q / m)).sum() / 2
                past[row, target - source] += bits / len(sources)
                if labels is not None:
                    label = int(labels[row, target])
                    extra = np.log(p[label]) - np.log(q[label])
                    worse[row, target - source] += extra / len(sources)
    return past, worse


def model(name, **extras):
    made = build(
        name,
        vocabulary=7,
        outputs=5,
        width=12,
        embedding=8,
        generator=torch.Generator().manual_seed(2),
        **extras,
    )
    with torch.no_grad():
        made.head.weight.mul_(20)
    return made.double().eval()


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("name", ["gru", "lstm", "tcn", "transformer"])
def test_it_is_its_target_side_twin(name, streaming):
    made = model(name)
    tokens, labels = known.symbols(6, 19, 7), known.symbols(6, 19, 5, seed=4)
    lengths = torch.tensor([19, 17, 18, 19, 17, 19])
    predict = made if streaming else lambda x, n: made(x, n)
    found = measure(predict, tokens, sources=[5, 9], lengths=lengths, labels=labels, batch=4)
    donor = probe.donors(6, 1, Seeds(0).numpy("influence substitutes"))[0]
    with torch.no_grad():
        past, worse = slow_twin(made, tokens, lengths, (5, 9), donor, labels)
    np.testing.assert_allclose(found.curve.matrix[0], past, rtol=1e-8, atol=1e-14)
    np.testing.assert_allclose(found.worse.matrix[0], worse, rtol=1e-8, atol=1e-12)
    assert found.worse.mean[0] == pytest.approx(worse[:, 0].mean())
    assert any("rows differ in length" in said for said in found.warnings)


def test_loss_of_a_known_copy():
    lag, count = 6, 8
    tokens = known.symbols(2000, 41, count)
    labels = torch.roll(tokens, lag, dims=1)
    found = measure(known.copy_language_model(lag, count), tokens, labels=labels)
    flat = 0.1 / count
    worth = 7 / 8 * (math.log(0.9 + flat) - math.log(flat))
    assert found.worse.mean[lag] == pytest.approx(worth, rel=0.05)
    assert np.flatnonzero(found.worse.mean).tolist() == [lag]


def test_substitutes():
    tokens = known.symbols(400, 16, 4)
    seen = []

    def predict(x, lengths):
        seen.append(x[:, 8].clone())
        return torch.nn.functional.one_hot(x.clamp(max=9), 10).double()

    fixed = measure(predict, tokens, sources=[8], substitute=9)
    assert fixed.replaced == 1.0
    assert sum(int((at == 9).sum()) for at in seen) == 400
    drawn = measure(predict, tokens, sources=[8], substitute="unigram", donors=2)
    assert drawn.replaced == pytest.approx(0.75, abs=0.05)
    real = measure(known.delay(3), known.iid(64, 16), substitute="unigram")
    assert real.value == 4
    with pytest.raises(UsageError, match="real numbers"):
        measure(known.delay(3), known.iid(64, 16), substitute=3)


def test_vectors_as_tokens():
    tokens = torch.randn(40, 32, 3, generator=torch.Generator().manual_seed(0)).double()
    found = measure(lambda x, n: torch.roll(x, 5, dims=1), tokens, substitute="unigram")
    assert found.value == 6
    assert found.replaced == 1.0


def test_several_models_and_sources():
    tokens = known.iid(64, 128)
    both = measure([known.delay(3), known.delay(20)], tokens, sources=3)
    assert both.curve.matrix.shape == (2, 64, 32)
    assert both.value == 21
    assert both.low <= 4
    assert both.high == 21
    assert len(both.sources) == 3


def test_equal_rows_and_few_rows_are_said():
    same = measure(known.decay(0.9), known.iid(1, 32).expand(8, 32).contiguous())
    assert same.value is None
    assert same.replaced == 0
    assert any("nothing was replaced" in said for said in same.warnings)
    few = measure(known.delay(3), known.iid(8, 32))
    assert (few.value, few.low, few.high, few.detectable) == (4, None, None, None)
    assert any("no interval" in said for said in few.warnings)


def test_noise_is_an_error_and_no_influence():
    generator = torch.Generator().manual_seed(0)

    def noise(x, lengths):
        return torch.randn(x.shape, generator=generator).double()

    with pytest.raises(DataError, match="Equal calls"):
        measure(noise, known.iid(64, 64))

    def little(x, lengths):
        return known.delay(3)(x, lengths) + 1e-4 * noise(x, lengths)

    found = measure(little, known.iid(64, 64))
    assert found.value == 4
    assert any("equal calls" in said for said in found.warnings)


def test_nan_is_an_error():
    with pytest.raises(DataError, match="not a number"):
        measure(lambda x, n: x * float("nan"), known.iid(64, 16))


def test_one_answer_a_row_is_refused():
    with pytest.raises(UsageError, match="output a position"):
        measure(lambda x, n: x[:, None, :1].expand(-1, 1, 4), known.iid(64, 16))


@pytest.mark.parametrize("sources", [0, [], [16], [-1]])
def test_sources_are_checked(sources):
    with pytest.raises(UsageError, match="no position of every row"):
        measure(known.delay(3), known.iid(64, 16), sources=sources)


@pytest.mark.parametrize(
    "options",
    [{"eps": 0}, {"substitute": "zero"}, {"substitute": -1}, {"donors": 0}, {"divergence": "x"}],
)
def test_options_are_checked(options):
    with pytest.raises(UsageError):
        measure(known.delay(3), known.iid(64, 16), **options)


def test_labels_are_checked():
    tokens = known.symbols(8, 16, 4)
    predict = known.copy_language_model(3, 4)
    with pytest.raises(UsageError, match="labels must be"):
        measure(predict, tokens, labels=tokens[:, 0])
    with pytest.raises(UsageError, match="none of the output's 4 classes"):
        measure(predict, tokens, labels=tokens + 3)


def test_source_side_is_cheap():
    tokens = known.symbols(64, 64, 7)
    made = model("gru")
    assert measure(lambda x, n: made(x, n), tokens).passes <= 2.2
    assert measure(made, tokens).passes <= 1.7
