"""Trained models whose true reach is known: copy the symbol six back; tell two symbols' parity."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.seeds import Seeds
from howfar.measure import InteractionOptions, SwapOptions, interaction_reach, swap_reach
from howfar.models import build
from howfar.train import Budget, TrainOptions, evaluate, fit

pytestmark = pytest.mark.slow
SYMBOLS, LENGTH, LAG = 8, 40, 6


@dataclass
class Copying:
    """At every position from LAG on, name the symbol LAG back."""

    def rows(self, purpose, count):
        shape = (count, LENGTH)
        return torch.randint(SYMBOLS, shape, generator=Seeds(0).torch(purpose))

    def batch(self, step, purpose="train", count=32):
        tokens = self.rows(f"{purpose} {step}", count)
        targets = torch.roll(tokens, LAG, dims=1)
        targets[:, :LAG] = IGNORED
        return Batch(tokens, torch.full((count,), LENGTH), targets)

    def evaluation(self, part):
        yield self.batch(0, part, 96)


@dataclass
class Parity:
    """The class is the parity of the two symbols `lag` apart at the start of the row."""

    lag: int = 8
    length: int = 12

    def batch(self, step, purpose="train", count=64):
        tokens = torch.randint(
            2, (count, self.length), generator=Seeds(0).torch(f"{purpose} {step}")
        )
        return Batch(
            tokens,
            torch.full((count,), self.length),
            tokens[:, 0] ^ tokens[:, self.lag],
        )

    def evaluation(self, part):
        yield self.batch(0, part, 256)


def trained(name, source, steps, rate, **settings):
    torch.set_num_threads(1)
    model = build(name, generator=Seeds(1).torch(name), **settings)
    options = TrainOptions(budget=Budget(steps, "steps"), learning_rate=rate)
    assert fit(model, source, options).status == "done"
    return model.eval()


@pytest.fixture(
    scope="module",
    params=[
        ("gru", 800, 1e-2, {"width": 64, "depth": 1}),
        ("tcn", 400, 3e-3, {"width": 32, "depth": 2, "kernel": 3}),
        ("transformer", 500, 3e-3, {"width": 64, "depth": 1}),
    ],
    ids=["gru", "tcn", "transformer"],
)
def copier(request):
    name, steps, rate, settings = request.param
    size = {"vocabulary": SYMBOLS, "outputs": SYMBOLS}
    return name, trained(name, Copying(), steps, rate, **size, **settings)


def test_a_trained_copier_reaches_exactly_its_lag(copier):
    name, model = copier
    answers = evaluate(model, Copying().evaluation("test"))
    assert answers.correct.mean() == 1.0
    tokens = Copying().rows("reach", 96)
    labels = torch.roll(tokens, LAG, dims=1)
    for design in ("paired", "fast"):
        found = swap_reach(model, tokens, labels=labels, options=SwapOptions(design=design))
        reaches = (found.value, found.r50, found.low, found.high)
        assert reaches == (LAG + 1,) * 4, (design, reaches)
        assert found.useful >= LAG + 1
        assert found.benefit.mean[0] > 2
        assert found.detectable_censored or found.detectable <= found.structural
        assert not found.warnings
        if name == "tcn":
            assert found.structural == model.reach(LENGTH) == 13
            pairs = zip(found.curve.kept, found.curve.mean, found.curve.high, strict=True)
            beyond = [(mean, high) for kept, mean, high in pairs if kept >= 13]
            assert beyond
            assert set(beyond) == {(0.0, 0.0)}


def test_the_numeric_support_of_a_trained_convolution_is_within_what_it_declares(copier):
    name, model = copier
    if name != "tcn":
        pytest.skip("the others declare no bound")
    found = swap_reach(lambda t, n: model(t, n), Copying().rows("reach", 96))
    assert LAG + 1 <= found.structural <= 13
    assert found.curve.matrix[..., np.array(found.curve.kept) >= 13].max() == 0


def test_a_trained_parity_of_two_symbols_interacts_at_their_lag_alone():
    source = Parity()
    model = trained(
        "textcnn",
        source,
        400,
        5e-3,
        vocabulary=2,
        outputs=2,
        width=60,
        causal=False,
        kernels=(source.length,),
    )
    assert evaluate(model, source.evaluation("test")).correct.mean() > 0.99
    tokens = source.batch(0, "reach", 256).tokens
    options = InteractionOptions(lags=tuple(range(1, source.length)), pairs=8)
    found = interaction_reach(model, tokens, options=options)
    assert found.value == source.lag
    assert np.argmax(found.curve.mean) == source.lag - 1
