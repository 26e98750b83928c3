"""What reaches the record: censoring by name, and the answer at the target alone."""

from dataclasses import replace

import pytest
import torch
from tests.measure import known

from howfar.measure import SwapOptions, swap_reach
from howfar.models import MODELS, build
from howfar.record.codec import dumps, loads
from howfar.record.comparison import Reach
from howfar.study.jobs import AtTarget, swap_record

OPTIONS = SwapOptions(resamples=100)


def record(predict, tokens, **more):
    return swap_record(swap_reach(predict, tokens, options=OPTIONS, **more), unbounded=True)


def test_a_plain_reach_is_copied():
    found = record(known.boxcar(30), known.iid(64, 64))
    card = found.card
    assert (found.value, card.used95, card.structural) == (29, 29, 30) or found.value in (28, 29)
    assert card.used50 < card.used95 <= card.used99 <= card.detectable == 30
    assert (card.censored, card.useful, found.censored) == ((), None, False)
    assert (found.window, found.sequences, found.design) == (63, 64, "paired")
    assert loads(Reach, dumps(found)) == found


def test_beyond_the_window_is_censored_by_name():
    found = record(known.delay(31), known.iid(64, 32))
    assert (found.value, found.censored, found.window) == (None, True, 31)
    assert found.card.censored == ("used50", "used95", "used99", "detectable")


def test_part_of_the_card_may_be_censored():
    def predict(x, n):
        return 10 * x + 1.5 * known.delay(31)(x, n)

    found = record(predict, known.iid(64, 32))
    assert (found.value, found.censored) == (1, False)
    assert found.card.censored == ("used99", "detectable")


def test_no_influence_is_not_censored():
    found = record(lambda x, n: torch.ones_like(x), known.iid(64, 32))
    assert (found.value, found.censored, found.card.censored) == (None, False, ())
    assert found.card.detectable is None
    assert "no influence" in found.warnings[0]


def test_few_sequences_leave_out_what_rests_on_intervals():
    found = record(known.delay(3), known.iid(20, 32))
    assert (found.value, found.low, found.high) == (4, None, None)
    assert (found.card.detectable, found.card.censored) == (None, ())


def test_useful_is_censored_where_the_last_token_still_pays():
    tokens = known.symbols(64, 12, 8)
    labels = torch.roll(tokens, 11, dims=1)
    found = record(known.copy_language_model(11, 8), tokens, labels=labels)
    assert (found.card.useful, "useful" in found.card.censored) == (None, True)
    near = record(known.copy_language_model(3, 8), tokens, labels=torch.roll(tokens, 3, dims=1))
    assert (near.card.useful, near.card.censored) == (4, ())


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", sorted(MODELS))
def test_asking_at_the_target_alone_changes_nothing(name, causal):
    model = build(name, vocabulary=9, outputs=9, width=12, causal=causal).eval()
    tokens = known.symbols(33, 9, 9)
    lengths = torch.randint(4, 10, (33,), generator=torch.Generator().manual_seed(1))
    whole = swap_reach(model, tokens, lengths=lengths, options=OPTIONS)
    alone = swap_reach(AtTarget(model), tokens, lengths=lengths, options=OPTIONS)
    torch.testing.assert_close(
        torch.from_numpy(alone.curve.matrix),
        torch.from_numpy(whole.curve.matrix),
        rtol=1e-4,
        atol=1e-12,
    )
    assert alone.structural == whole.structural
    assert replace(alone.curve, mean=(), low=(), high=()) == replace(
        whole.curve, mean=(), low=(), high=()
    )
