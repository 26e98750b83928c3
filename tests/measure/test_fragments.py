"""Fragments: the sum is exact, the finder finds, thresholds by hand, swaps on planted keywords."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.measure import known
from torch import nn
from torch.nn import functional as F

import howfar
from howfar.core.errors import DataError, UsageError
from howfar.measure.fragments import (
    Filters,
    FragmentsOptions,
    Reading,
    SwapFragmentsOptions,
    decompose,
    fragment_swap,
    fragments,
    threshold,
)

SYMBOLS = 12


def drawn(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model.eval()


def parts(dtype, seed=0, widths=(2, 3)):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 9, 4, generator=g, dtype=torch.float64).to(dtype)
    filters = [
        Filters(
            weight=torch.randn(3, 4, w, generator=g, dtype=torch.float64).to(dtype),
            bias=torch.randn(3, generator=g, dtype=torch.float64).to(dtype),
            left=w - 1,
        )
        for w in widths
    ]
    head = torch.randn(2, 3 * len(widths), generator=g, dtype=torch.float64).to(dtype)
    return x, filters, head, torch.randn(2, generator=g, dtype=torch.float64).to(dtype)


def test_by_hand():
    """One filter of width 2 on numbers: windows 1*1+2*2-1=4, 2+2*3-1=7, 3+2*0-1=2."""
    x = torch.tensor([[[1.0], [2.0], [3.0], [0.0]]]).double()
    filters = Filters(weight=torch.tensor([[[1.0, 2.0]]]).double(), bias=torch.tensor([-1.0]))
    filters = Filters(weight=filters.weight, bias=torch.tensor([-1.0]).double())
    found = decompose(x, [filters], torch.tensor([[0.5], [-2.0]]).double())
    (part,) = found.parts
    assert part.answers.tolist() == [[[4, 7, 2]]]
    assert part.pooled.tolist() == [[7]]
    assert part.winners().tolist() == [[1]]
    assert part.contribution[0].tolist() == [[0, 0], [3.5, -14], [0, 0]]
    assert found.logits.tolist() == [[3.5, -14]]
    assert filters.slots(x, part.winners()).tolist() == [[[2, 6]]]
    mean = decompose(x, [filters], torch.tensor([[3.0]]).double(), None, Reading(pool="mean"))
    assert mean.parts[0].contribution[0].tolist() == [[4], [7], [2]]
    assert mean.logits.tolist() == [[13]]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("activation", ["relu", "identity", "tanh", "sigmoid"])
def test_contributions_and_bias_sum_to_the_logit(dtype, close, pool, activation):
    x, filters, head, bias = parts(dtype)
    found = decompose(x, filters, head, bias, Reading(pool=pool, activation=activation))
    act = {"identity": lambda v: v}.get(activation) or getattr(torch, activation)
    features = []
    for each in filters:
        padded = F.pad(x.transpose(1, 2), (each.left, 0))
        a = act(F.conv1d(padded, each.weight, each.bias))
        features.append(a.amax(2) if pool == "max" else a.mean(2))
    logits = torch.cat(features, 1) @ head.T + bias
    summed = bias + sum(part.contribution.sum(1) for part in found.parts)
    assert float((summed - logits).abs().max()) <= close * float(logits.abs().max())
    assert torch.equal(summed, found.logits)


def test_slots_and_bias_sum_to_the_winning_answer():
    x, filters, head, bias = parts(torch.float64)
    for part in decompose(x, filters, head, bias).parts:
        winners = part.winners()
        slots = part.filters.slots(x, winners)
        answers = part.answers.gather(2, winners[..., None])[..., 0]
        torch.testing.assert_close(slots.sum(-1) + part.filters.bias, answers)


def test_ties_share_and_silent_filters_give_nothing():
    x = torch.tensor([[[1.0], [0.0], [1.0], [0.0]]]).double()
    one = Filters(weight=torch.tensor([[[1.0]]]).double())
    found = decompose(x, [one], torch.tensor([[4.0]]).double())
    assert found.parts[0].contribution[0, :, 0].tolist() == [2, 0, 2, 0]
    off = Filters(weight=torch.tensor([[[-1.0]]]).double())
    silent = decompose(x, [off], torch.tensor([[4.0]]).double())
    assert silent.parts[0].contribution.abs().sum() == 0
    assert silent.logits.tolist() == [[0]]


def test_the_parts_must_belong_together():
    x, filters, head, bias = parts(torch.float64)
    with pytest.raises(UsageError, match="features"):
        decompose(x, filters, head[:, :4], bias)
    with pytest.raises(UsageError, match="activation='gelu'"):
        Reading(activation="gelu")


class Kim(nn.Module):
    def __init__(self, widths=(2, 3), pool="max", **conv):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 6)
        self.convs = nn.ModuleList(nn.Conv1d(6, 4, width, **conv) for width in widths)
        self.head = nn.Linear(4 * len(widths), 3)
        self.pool = pool

    def forward(self, tokens, lengths):
        x = self.embedding(tokens).transpose(1, 2)
        return self.head(torch.cat([self.pooled(F.relu(conv(x))) for conv in self.convs], 1))

    def pooled(self, a):
        return a.amax(2) if self.pool == "max" else a.mean(2)


class Kim2d(Kim):
    """The layout of the first PyTorch versions: images of (L, E), filters over whole rows."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(1, 4, (width, 6)) for width in (3, 2))

    def forward(self, tokens, lengths):
        x = self.embedding(tokens).unsqueeze(1)
        maps = [F.relu(conv(x)).squeeze(3) for conv in self.convs]
        return self.head(torch.cat([F.max_pool1d(m, m.size(2)).squeeze(2) for m in maps], 1))


class Padded(Kim):
    """Padding written in the model's own forward, wider than its filters need."""

    def forward(self, tokens, lengths):
        x = F.pad(self.embedding(tokens).transpose(1, 2), (2, 1))
        return self.head(torch.cat([self.pooled(F.relu(conv(x))) for conv in self.convs], 1))


def own(**more):
    return howfar.build("textcnn", vocabulary=SYMBOLS, outputs=3, width=7, causal=False, **more)


MODELS = {
    "kim": Kim,
    "mean": lambda: Kim(pool="mean"),
    "padding": lambda: Kim(padding=1),
    "same, dilated, strided": lambda: Kim(dilation=2, stride=2, padding=2),
    "no bias": lambda: Kim(bias=False),
    "one width": lambda: Kim(widths=(4,)),
    "2d": Kim2d,
    "padded in forward": Padded,
    "own": own,
    "own, one kernel": lambda: own(kernels=(5,)),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_finder_reads_models_and_sums_are_exact(name, dtype):
    model = drawn(MODELS[name]()).to(dtype)
    tokens = known.symbols(40, 11, SYMBOLS)
    found = fragments(model, tokens, options=FragmentsOptions(top=10**6, batch=16))
    assert found.error < (1e-6 if dtype == torch.float32 else 1e-13)
    with torch.no_grad():
        logits = model(tokens, torch.full((40,), 11)).double()
    for label in range(3):
        listed = found.supporting[label] + found.opposing[label]
        total = sum(fragment.total for fragment in listed) + 40 * found.bias[label]
        assert total == pytest.approx(float(logits[:, label].sum()), rel=1e-5, abs=1e-3)
    assert sum(found.curve.mean) == pytest.approx(1)
    assert found.pool == ("mean" if name == "mean" else "max")


def test_own_model_with_padding_counts_real_windows_only():
    model = drawn(own()).double()
    tokens = known.symbols(40, 14, SYMBOLS - 1) + 1
    lengths = torch.arange(40) % 11 + 3
    inside = torch.arange(14)[None] < lengths[:, None]
    tokens = tokens * inside
    options = FragmentsOptions(top=10**6)
    found = fragments(model, tokens, lengths=lengths, options=options)
    assert found.error < 1e-12
    assert found.windows == "end in the text"
    listed = [f for label in range(3) for f in found.supporting[label] + found.opposing[label]]
    assert all(0 not in fragment.tokens for fragment in listed)
    assert any(-1 in fragment.tokens for fragment in listed)
    assert all("_" in fragment.text for fragment in listed if -1 in fragment.tokens)


def test_totals_are_their_slow_twin():
    model = drawn(Kim()).double()
    tokens = known.symbols(33, 8, SYMBOLS)
    totals, texts = {}, {}
    with torch.no_grad():
        for n, row in enumerate(tokens.tolist()):
            for part, (conv, width) in enumerate(zip(model.convs, (2, 3), strict=True)):
                for f in range(4):
                    answers = [
                        float(
                            (conv.weight[f] * model.embedding.weight[row[i : i + width]].T).sum()
                            + conv.bias[f]
                        )
                        for i in range(8 - width + 1)
                    ]
                    best = int(np.argmax(answers))
                    if answers[best] <= 0:
                        continue
                    key = tuple(row[best : best + width])
                    gain = model.head.weight[:, 4 * part + f].numpy() * answers[best]
                    totals[key] = totals.get(key, 0) + gain
                    texts.setdefault(key, set()).add(n)
    found = fragments(model, tokens, options=FragmentsOptions(top=5, batch=10))
    for label in range(3):
        best = sorted(totals, key=lambda key: -totals[key][label])[:5]
        assert [fragment.tokens for fragment in found.supporting[label]] == best
        for fragment in found.supporting[label]:
            assert fragment.total == pytest.approx(totals[fragment.tokens][label], rel=1e-9)
            assert fragment.texts == len(texts[fragment.tokens])
            assert fragment.mean == pytest.approx(fragment.total / fragment.texts)
        worst = min(totals, key=lambda key: totals[key][label])
        assert found.opposing[label][0].tokens == worst
        assert found.opposing[label][0].total < 0


def planted():
    """Two filters by hand: 'not good' speaks against class 1, 'good' for it."""
    names = ["the", "film", "is", "not", "good", "dull"]
    model = Kim(widths=(1, 2))
    model.embedding = nn.Embedding(6, 6)
    model.convs = nn.ModuleList([nn.Conv1d(6, 1, 1), nn.Conv1d(6, 1, 2)])
    model.head = nn.Linear(2, 2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embedding.weight.copy_(torch.eye(6))
        model.convs[0].weight[0, 4, 0] = 1.0
        model.convs[1].weight[0, 3, 0] = model.convs[1].weight[0, 4, 1] = 1.0
        model.convs[1].bias[0] = -1.0
        model.head.weight.copy_(torch.tensor([[0.0, 3.0], [1.0, 0.0]]))
    return model, names


def test_planted_words_are_found_by_name():
    model, names = planted()
    texts = [[0, 1, 2, 4, 0], [0, 1, 2, 3, 4], [5, 1, 0, 1, 2]] * 12
    found = fragments(model, torch.tensor(texts), names=names)
    assert [f.text for f in found.supporting[1]] == ["good"]
    (good,) = found.supporting[1]
    assert (good.total, good.texts, good.mean) == (24, 24, 1)
    assert [f.text for f in found.supporting[0]] == ["not good"]
    assert found.supporting[0][0].total == 36
    assert found.opposing == ((), ())
    # 24 of 60 by single words, 36 of 60 by pairs: half is reached at width 2.
    assert found.curve.mean == pytest.approx((0.4, 0.6))
    assert (found.value, found.low, found.high) == (2, 2, 2) or found.low == 1
    assert found.thresholds[1].label == 0


def test_thresholds_use_labels_where_given():
    model, _ = planted()
    texts = torch.tensor([[0, 1, 2, 4, 0], [0, 1, 2, 5, 0]] * 20)
    said = fragments(model, texts, labels=torch.tensor([1, 0] * 20))
    assert (said.thresholds[0].value, said.thresholds[0].informative) == (1.0, 0.5)
    other = fragments(model, texts, labels=torch.tensor([0, 1] * 20))
    assert other.thresholds[0].value is None


def test_threshold_by_hand():
    """Answers 9..1: running purity 1, 1, 2/3, 3/4, 3/5, 4/6, 5/7, ...: last >= .75 at 6."""
    scores = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1.0])
    matches = np.array([1, 1, 0, 1, 0, 1, 1, 0, 0], dtype=bool)
    found = threshold(scores, matches)
    assert (found.value, found.purity, found.informative) == (6.0, 0.75, 4 / 9)
    assert threshold(scores, matches, purity=0.7).value == 3.0
    assert threshold(scores, ~matches).value is None
    assert threshold(scores, np.ones(9, dtype=bool)).informative == 1
    # Equal answers stand or fall together, in whatever order they come.
    for order in ([0, 1], [1, 0]):
        tied = threshold(np.array([2.0, 2.0]), np.array([True, False])[order])
        assert tied.value is None
    assert threshold(np.array([]), np.array([], dtype=bool)).value is None


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=20))
def test_threshold_is_its_slow_twin(pairs):
    scores = np.array([float(score) for score, _ in pairs])
    right = np.array([match for _, match in pairs])
    good = [t for t in sorted(set(scores)) if right[scores >= t].mean() >= 0.75]
    found = threshold(scores, right)
    assert found.value == (good[0] if good else None)


def test_models_that_are_no_sum_are_refused_with_a_reason():
    tokens = known.symbols(40, 11, SYMBOLS)

    class Deep(Kim):
        def forward(self, tokens, lengths):
            x = F.relu(self.convs[0](self.embedding(tokens).transpose(1, 2)))
            return self.head(torch.cat([x.amax(2), x.amax(2)], 1))

    class Hidden(Kim):
        def forward(self, tokens, lengths):
            return super().forward(tokens, lengths).exp()

    class Squared(Kim):
        def pooled(self, a):
            return a.square().sum(2)

    for model, why in (
        (
            howfar.build("gru", vocabulary=SYMBOLS, outputs=3, width=8, causal=False),
            "No convolution",
        ),
        (Deep(), "neither a maximum"),
        (Hidden(), "No linear layer"),
        (Squared(), "neither a maximum"),
        (own(), None),
    ):
        model = drawn(model)
        if why:
            with pytest.raises(UsageError, match=f"(?i){why}") as caught:
                fragments(model, tokens)
            assert caught.value.code == "E-MODEL"
    causal = drawn(howfar.build("textcnn", vocabulary=SYMBOLS, outputs=3, width=7, causal=True))
    with pytest.raises(UsageError, match="whole texts"):
        fragments(causal, tokens)
    with pytest.raises(UsageError):
        fragments(lambda t, n: t.double(), tokens)


def test_bad_input_is_refused():
    model = drawn(Kim())
    with pytest.raises(UsageError, match="integer"):
        fragments(model, known.iid(4, 8))
    with pytest.raises(UsageError, match="labels"):
        fragments(model, known.symbols(4, 8, SYMBOLS), labels=torch.zeros(3))
    with pytest.raises(UsageError, match="top=0"):
        FragmentsOptions(top=0)
    with torch.no_grad():
        model.head.bias[0] = torch.nan
    with pytest.raises((DataError, UsageError)):
        fragments(model, known.symbols(4, 8, SYMBOLS))


def test_few_texts_and_silent_models():
    few = fragments(drawn(Kim()), known.symbols(8, 9, SYMBOLS))
    assert (few.low, few.high) == (None, None)
    assert any("no interval" in said for said in few.warnings)
    model = drawn(Kim())
    with torch.no_grad():
        for conv in model.convs:
            conv.weight.zero_()
            conv.bias.fill_(-1)
    silent = fragments(model, known.symbols(40, 9, SYMBOLS))
    assert silent.value is None
    assert silent.supporting == ((), (), ())
    assert any("no contribution" in said for said in silent.warnings)


def test_the_model_is_left_as_it_was():
    model = drawn(Kim()).train()
    fragments(model, known.symbols(8, 9, SYMBOLS))
    assert model.training
    assert all(not module._forward_hooks for module in model.modules())


WEIGHTS = torch.zeros(SYMBOLS, 3).double()
WEIGHTS[7], WEIGHTS[9] = torch.tensor([4.0, 0, -1]), torch.tensor([-2.0, 1, 0])


def keywords(tokens, lengths):
    """Adds up the weights of keywords 7 and 9 wherever they stand."""
    real = torch.arange(tokens.shape[1])[None] < lengths[:, None]
    return (WEIGHTS[tokens] * real[..., None]).sum(1)


def texts():
    tokens = known.symbols(50, 20, 6)
    tokens[0, 4], tokens[0, 15] = 7, 9
    return tokens


def test_swaps_of_planted_keywords_are_exact_and_additive():
    """Donors hold no keyword, so swapping a window takes away exactly its keywords' weights."""
    found = fragment_swap(keywords, texts(), options=SwapFragmentsOptions(width=3, divergence="l2"))
    by_place = {window.place: window for window in found.ranked}
    for place, window in by_place.items():
        expected = torch.zeros(3).double()
        if 4 in range(place, place + 3):
            expected += WEIGHTS[7]
        if 15 in range(place, place + 3):
            expected += WEIGHTS[9]
        assert window.support == pytest.approx(expected.tolist(), abs=1e-12)
        assert window.effect == pytest.approx(float(expected.square().sum()), abs=1e-12)
        assert (window.low, window.high) == pytest.approx((window.effect,) * 2)
    assert {window.place for window in found.ranked[:3]} == {2, 3, 4}
    assert found.ranked[0].effect == 17
    assert found.value == 20 - found.ranked[0].place
    single = fragment_swap(keywords, texts(), options=SwapFragmentsOptions(width=1))
    ones = {window.place: np.array(window.support) for window in single.ranked}
    for place, window in by_place.items():
        total = ones[place] + ones[place + 1] + ones[place + 2]
        np.testing.assert_allclose(window.support, total, atol=1e-12)
    assert single.value == 16
    assert (single.low, single.high) == (16, 16)


def test_swaps_read_the_last_answer_of_sequence_models():
    def running(tokens, lengths):
        return WEIGHTS[tokens].cumsum(1)

    whole = fragment_swap(keywords, texts())
    last = fragment_swap(running, texts())
    assert [w.place for w in whole.ranked] == [w.place for w in last.ranked]
    np.testing.assert_allclose(whole.curve.mean, last.curve.mean, atol=1e-15)
    assert 0 < last.ranked[0].effect <= 1


def test_swaps_respect_lengths_steps_names_and_donors():
    tokens = texts()
    lengths = torch.full((50,), 20)
    lengths[0], lengths[1] = 10, 3
    names = [f"w{i}" for i in range(SYMBOLS)]
    options = SwapFragmentsOptions(width=2, step=2, donors=10)
    found = fragment_swap(keywords, tokens, lengths=lengths, names=names, options=options)
    assert [w.place for w in sorted(found.ranked, key=lambda w: w.place)] == [0, 2, 4, 6, 8]
    assert found.ranked[0].text.startswith("w7 w")
    assert found.value == 6
    assert (found.low, found.high, found.ranked[0].low) == (None, None, None)
    assert any("no interval: 10 donors" in said for said in found.warnings)
    assert found.curve.matrix.shape == (1, 10, 5)


def test_swaps_on_real_inputs_and_without_influence():
    x = known.iid(40, 12)
    found = fragment_swap(known.delay(5), x, options=SwapFragmentsOptions(width=1))
    assert found.value == 6
    assert found.ranked[0].tokens is None
    assert all(window.effect == 0 for window in found.ranked[1:])
    none = fragment_swap(lambda t, n: torch.ones(len(t), 2).double(), texts())
    assert none.value is None
    assert any("no influence" in said for said in none.warnings)
    with pytest.raises(UsageError, match="no window"):
        fragment_swap(keywords, texts(), options=SwapFragmentsOptions(width=21))
    with pytest.raises(UsageError, match="text=50"):
        fragment_swap(keywords, texts(), text=50)
    with pytest.raises(DataError):
        fragment_swap(lambda t, n: torch.full((len(t), 2), torch.nan), texts())


def test_a_swap_agrees_with_the_sum_of_a_kim_model():
    """Where one window wins every filter, swapping it away is what its contribution says."""
    model, names = planted()
    tokens = torch.zeros(40, 6, dtype=torch.long)
    tokens[0, 2:4] = torch.tensor([3, 4])
    options = SwapFragmentsOptions(width=2, divergence="l2")
    found = fragment_swap(model, tokens, names=names, options=options)
    assert found.ranked[0].text == "not good"
    assert found.ranked[0].support == pytest.approx((3.0, 1.0))
