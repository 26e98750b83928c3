"""The competition floor of max pooling, told apart by holding the winners of the clean text."""

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn
from torch.nn import functional as F

import howfar
from howfar.measure import InteractionOptions, interaction_reach
from howfar.measure.interaction.pooling import Held, over_time

SYMBOLS, LENGTH = 20, 24


class TextCnn(nn.Module):
    """Kim's classifier on torch's own modules; `pool` says how the maximum is written."""

    def __init__(self, pool, widths=(2, 3), seed=0):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, 6)
        self.convs = nn.ModuleList(nn.Conv1d(6, 5, width) for width in widths)
        self.head = nn.Linear(5 * len(widths), 3)
        self.pool = pool
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(generator=generator)

    def forward(self, tokens, lengths):
        x = self.embedding(tokens).transpose(1, 2)
        return self.head(torch.cat([self.pool(F.relu(conv(x))) for conv in self.convs], 1))


POOLS = {
    "amax": lambda c: c.amax(2),
    "amax keepdim": lambda c: c.amax(2, keepdim=True)[..., 0],
    "negative dim": lambda c: c.amax(-1),
    "max": lambda c: c.max(2).values,
    "max keepdim": lambda c: torch.max(c, dim=2, keepdim=True)[0].squeeze(2),
    "functional": lambda c: F.max_pool1d(c, c.shape[2]).squeeze(2),
    "adaptive": lambda c: nn.AdaptiveMaxPool1d(1)(c).squeeze(2),
    "two dimensions": lambda c: F.max_pool2d(c[..., None], (c.shape[2], 1))[..., 0, 0],
    "two dims amax": lambda c: c[..., None].amax((2, 3)),
    "time first": lambda c: c.permute(2, 0, 1).amax(0),
    "cummax": lambda c: c.cummax(2).values[..., -1],
    "topk": lambda c: c.topk(1, dim=2).values[..., 0],
    "gather": lambda c: c.gather(2, c.argmax(2, keepdim=True))[..., 0],
    "windows, then all": lambda c: F.max_pool1d(c, 4, 2).amax(2),
}


def measure(model, length=LENGTH, num=100, **options):
    options = {"lags": (1, 2, 3, 4, 5, 7, 12, 20, 23), "pairs": 3} | options
    tokens = known.symbols(num, length, SYMBOLS)
    return interaction_reach(model, tokens, options=InteractionOptions(**options))


@pytest.mark.parametrize("pool", POOLS)
def test_held_winners_leave_nothing_beyond_the_widest_window(pool):
    found = measure(TextCnn(POOLS[pool]).double(), num=40)
    held = dict(zip(found.held.lag, found.held.mean, strict=True))
    assert max(mean for lag, mean in held.items() if lag > 2) < 1e-20
    assert min(held[1], held[2]) > 1e-4
    assert found.relation in (1, 2)
    free = dict(zip(found.curve.lag, found.curve.mean, strict=True))
    assert np.mean([mean for lag, mean in free.items() if lag > 2]) > 1e-3


def test_the_three_curves_add_up_and_the_warning_names_both_lags():
    found = measure(TextCnn(POOLS["amax"]).double())
    np.testing.assert_allclose(
        found.competition.mean, np.subtract(found.curve.mean, found.held.mean), atol=1e-15
    )
    assert found.curve.lag == found.held.lag == found.competition.lag
    assert (np.array(found.competition.low) <= found.competition.mean).all()
    assert (np.array(found.competition.high) >= found.competition.mean).all()
    # The difference has bounds of its own: at lag 1 most of the effect stays when winners are held.
    assert found.competition.high[0] < found.curve.high[0] - found.held.low[0]
    assert found.competition.low[0] < found.curve.low[0]
    assert (found.relation, found.relation_low, found.relation_high) == (2, 2, 2)
    assert not found.relation_censored
    assert found.value > 2
    assert "amax over 23 places; amax over 22 places" in found.pooling
    assert any("ends at lag 2" in said for said in found.warnings)


def test_the_held_second_difference_is_its_slow_twin():
    """One filter set by hand: winners found by a loop, windows looked up at those places."""
    model = TextCnn(POOLS["amax"]).double()
    tokens, other = known.symbols(1, 12, SYMBOLS), known.symbols(1, 12, SYMBOLS, seed=1)
    lengths = torch.tensor([12])

    def features(x):
        with torch.no_grad():
            e = model.embedding(x)[0]
            return [
                [
                    [
                        max(0.0, float((conv.weight[f] * e[i : i + w].T).sum() + conv.bias[f]))
                        for i in range(12 - w + 1)
                    ]
                    for f in range(5)
                ]
                for conv, w in zip(model.convs, (2, 3), strict=True)
            ]

    winners = [[int(np.argmax(row)) for row in part] for part in features(tokens)]

    def held(x):
        p = [
            row[i]
            for part, best in zip(features(x), winners, strict=True)
            for row, i in zip(part, best, strict=True)
        ]
        return (
            torch.tensor(p, dtype=torch.float64) @ model.head.weight.detach().T
            + model.head.bias.detach()
        )

    chosen, _ = over_time(model, tokens.repeat(2, 1), lengths.repeat(2))
    assert chosen == {0, 1}
    fast = Held(model, chosen, rounds=1)
    with torch.no_grad():
        torch.testing.assert_close(fast(tokens, lengths)[0], model(tokens, lengths)[0])
        for places in ([3], [4], [3, 4], list(range(12))):
            x = tokens.clone()
            x[0, places] = other[0, places]
            torch.testing.assert_close(fast(x, lengths)[0], held(x), rtol=1e-12, atol=1e-12)
        free = model(x, lengths)[0]
        assert (free - fast(x, lengths)[0]).abs().max() > 0.1


def own(causal, seed=0, **more):
    model = howfar.build("textcnn", vocabulary=SYMBOLS, outputs=3, width=12, causal=causal, **more)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(generator=generator)
    return model.double().eval()


@pytest.mark.parametrize("causal", [False, True])
def test_the_familys_own_model_is_held_too(causal):
    """Whole: amax over time. Causal, read at the end: the running maximum and the last window."""
    found = measure(own(causal), num=60)
    held = dict(zip(found.held.lag, found.held.mean, strict=True))
    assert max(mean for lag, mean in held.items() if lag > 4) < 1e-20
    assert 2 <= found.relation <= 4
    assert found.competition.mean[6] > 1e-4


def test_short_texts_in_a_padded_batch_are_held():
    tokens = known.symbols(90, LENGTH, SYMBOLS)
    lengths = torch.arange(90) % 16 + 9
    found = interaction_reach(own(False), tokens, lengths=lengths)
    held = dict(zip(found.held.lag, found.held.mean, strict=True))
    assert max(mean for lag, mean in held.items() if lag > 4) < 1e-20
    assert 2 <= found.relation <= 4


def test_several_models_batches_and_default_lags():
    models = [own(False, seed) for seed in (0, 1)]
    found = measure(models, lags=None, pairs=1, batch=32)
    held = dict(zip(found.held.lag, found.held.mean, strict=True))
    assert max(mean for lag, mean in held.items() if lag > 4) < 1e-20
    one, two = (measure(model, lags=(3, 9), batch=32).held.matrix for model in models)
    both = measure(models, lags=(3, 9), batch=32).held.matrix
    np.testing.assert_allclose(both, np.concatenate([one, two]), rtol=1e-9, atol=1e-28)


def test_float32_winners_are_held_within_rounding():
    found = measure(own(False).float())
    assert 2 <= found.relation <= 4
    assert max(m for d, m in zip(found.held.lag, found.held.mean, strict=True) if d > 4) < 1e-9


def test_a_model_of_one_length_is_recognised():
    class Fixed(TextCnn):
        def forward(self, tokens, lengths):
            assert tokens.shape[1] == LENGTH
            return super().forward(tokens, lengths)

    found = measure(Fixed(POOLS["functional"]).double(), num=60)
    assert found.relation in (1, 2)


def test_maxima_over_features_are_not_held():
    """Maxout: the maximum over pieces relates what a filter sees; holding it would hide that."""
    weight = torch.randn(8, 6, generator=torch.Generator().manual_seed(0)).double()
    table = torch.randn(SYMBOLS, 8, generator=torch.Generator().manual_seed(1)).double()

    def maxout(tokens, lengths):
        h = (table[tokens].mean(1) @ weight).view(-1, 3, 2)
        return h.amax(2)

    found = measure(maxout, num=40, lags=(1, 5))
    assert found.held is None
    assert found.competition is None
    assert found.relation is None
    assert found.pooling.startswith("none: no maximum over time")


def test_models_without_a_maximum_cost_nothing_more():
    gru = howfar.build("gru", vocabulary=SYMBOLS, outputs=3, width=8, causal=False)
    found = measure(gru, num=40, lags=(1, 2))
    assert found.passes == 2 + 3 * 2 * 3
    assert not found.warnings
    off = measure(own(False), num=40, lags=(1, 2), hold=False)
    assert (off.held, off.pooling) == (None, "not looked for")


def test_a_model_that_changes_its_maxima_with_the_tokens_is_said():
    calls = []

    def moody(tokens, lengths):
        calls.append(1)
        x = tokens.double()
        best = x[:, : x.shape[1] - (len(calls) > 9)].amax(1, keepdim=True)
        if len(calls) > 9:
            best = best + x[:, :8].cummax(1).values[:, :1]
        return torch.cat([best, -best * best], 1)

    found = measure(moody, num=40, lags=(1, 2, 3))
    assert found.held is None
    assert found.pooling.startswith("could not be held")


def test_a_model_that_cannot_be_watched_is_measured_all_the_same():
    def shy(tokens, lengths):
        if torch.utils._python_dispatch._get_current_dispatch_mode() is not None:
            raise RuntimeError("not while you watch")
        return TextCnn(POOLS["amax"]).double()(tokens, lengths).detach()

    found = measure(shy, num=40, lags=(1, 2))
    assert found.value is not None
    assert found.pooling.startswith("unknown")


def test_without_influence_nothing_is_told_apart():
    found = measure(lambda t, n: t.double().amax(1, keepdim=True).repeat(1, 2) * 0, num=40)
    assert (found.value, found.relation, found.held) == (None, None, None)
    assert "no influence" in found.warnings
