"""Models and tokens of every odd kind: a right number, a warning or an error, never a wrong one."""

import math

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn

import howfar
from howfar.core.errors import DataError, UsageError
from howfar.measure import SwapOptions, interaction_reach, probe, swap_reach

LAG = 5


def measure(predict, tokens, **options):
    return swap_reach(predict, tokens, options=SwapOptions(resamples=100, **options))


def copy_logits(tokens, lengths, symbols=8):
    """Logits that name the symbol LAG back: (B, L, symbols)."""
    old = torch.roll(tokens.long(), LAG, dims=1)
    return 3 * torch.nn.functional.one_hot(old, symbols).double()


def at_last(tokens, lengths, symbols=8):
    """The same as a classifier: (B, symbols)."""
    return copy_logits(tokens, lengths, symbols)[torch.arange(len(tokens)), lengths - 1]


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("design", ["paired", "fast"])
def test_overflow_is_an_error(design, wrong):
    def predict(x, n):
        y = known.delay(3)(x, n)
        y[1] = wrong
        return y

    with pytest.raises(DataError, match="row 1 is not a number, or infinite"):
        measure(predict, known.iid(40, 20), design=design)
    with pytest.raises(DataError, match="not a number, or infinite"):
        interaction_reach(predict, known.iid(40, 20))


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_overflow_of_the_swapped_rows_alone_is_an_error_too(design):
    tokens = known.iid(40, 20)

    def predict(x, n):
        y = known.delay(3)(x, n)
        return y if torch.equal(x, tokens[: len(x)]) else y / 0

    with pytest.raises(DataError):
        measure(predict, tokens, design=design)


def test_float16_overflow_is_an_error():
    with pytest.raises(DataError):
        measure(lambda x, n: (1e6 * known.delay(3)(x, n)).half(), known.iid(40, 20))


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_a_ruled_out_class_is_fine_in_bits_alone(design):
    def predict(tokens, n):
        logits = copy_logits(tokens, n)
        logits[..., 7] = -torch.inf
        return logits

    tokens = known.symbols(40, 20, 7)
    assert measure(predict, tokens, design=design).value == LAG + 1
    assert measure(predict, tokens, design=design, divergence="kl").value == LAG + 1
    with pytest.raises(DataError, match="Infinite outputs"):
        measure(predict, tokens, design=design, divergence="l2")
    options = SwapOptions(design=design)
    with pytest.raises(DataError, match="no probability at all"):
        swap_reach(predict, tokens, labels=torch.full((40, 20), 7), options=options)
    with pytest.raises(DataError, match="infinite"):
        interaction_reach(predict, tokens)


def test_an_infinite_divergence_is_an_error():
    def predict(tokens, n):
        return torch.where(copy_logits(tokens, n) > 0, 0.0, -torch.inf)

    tokens = known.symbols(40, 20, 8)
    assert measure(predict, tokens).value == LAG + 1
    with pytest.raises(DataError, match="Infinite outputs"):
        measure(predict, tokens, divergence="kl")


def test_all_classes_ruled_out_is_an_error():
    with pytest.raises(DataError):
        measure(lambda t, n: torch.full((len(t), 4), -torch.inf), known.symbols(40, 20, 8))


@pytest.mark.parametrize("length", [20, 8])
def test_every_form_of_one_answer_gives_the_same_number(length):
    tokens = known.symbols(64, length, 8)
    want = measure(copy_logits, tokens)
    assert want.value == LAG + 1
    forms = [at_last, lambda t, n: at_last(t, n)[:, None], lambda t, n: copy_logits(t, n).float()]
    for form in forms:
        found = measure(form, tokens)
        assert found.value == want.value
        np.testing.assert_allclose(found.curve.matrix, want.curve.matrix, rtol=1e-6, atol=1e-14)
        assert found.noise_floor < 1e-8


def test_as_many_classes_as_tokens_are_classes_still():
    """A (B, 8) output for 8 tokens once more: the benefit needs all 8 logits."""
    tokens = known.symbols(200, 8, 8)
    labels = torch.roll(tokens, LAG, dims=1)
    whole = swap_reach(at_last, tokens, labels=labels)
    places = swap_reach(copy_logits, tokens, labels=labels)
    assert whole.benefit == places.benefit
    assert whole.useful == LAG + 1
    with pytest.raises(UsageError, match="one a sequence"):
        measure(at_last, tokens, design="fast")
    real = known.iid(64, 8)
    assert measure(lambda x, n: x.cumsum(1), real).curve.matrix.shape[:2] == (1, 64)
    one = interaction_reach(at_last, tokens)
    two = interaction_reach(lambda t, n: at_last(t, n)[:, None], tokens)
    assert one.curve == two.curve


@pytest.mark.parametrize("real", [True, False])
def test_an_output_that_may_be_either_is_refused(real):
    def predict(x, n):
        if x.shape[1] != 8:
            raise RuntimeError("this model takes 8 tokens")
        return x.double() @ torch.eye(8).double()

    tokens = known.iid(40, 8) if real else known.symbols(40, 8, 5)
    with pytest.raises(UsageError, match="a real a position, or classes"):
        measure(predict, tokens)
    assert measure(lambda x, n: predict(x, n)[:, None], tokens).num_sequences == 40


@pytest.mark.parametrize(
    "output",
    [
        lambda x: x[:, ::2, None],  # strided: no answer at the target
        lambda x: x[:1, :, None],  # fewer rows
        lambda x: (x, x),
        lambda x: x[:, None, None, :],
        lambda x: None,
        lambda x: x.argmax(1, keepdim=True),  # whole numbers
        lambda x: x[..., None].to(torch.complex64),
        lambda x: x > 0,
    ],
    ids=["strided", "rows", "tuple", "deep", "none", "whole", "complex", "bool"],
)
@pytest.mark.parametrize("design", ["paired", "fast"])
def test_outputs_that_do_not_fit_are_refused(design, output):
    with pytest.raises(UsageError):
        measure(lambda x, n: output(x), known.iid(40, 16), design=design)
    if design == "paired":
        with pytest.raises(UsageError):
            interaction_reach(lambda x, n: output(x), known.iid(40, 16))


def test_an_output_cut_at_the_longest_row_is_read_at_the_targets():
    """As a packed recurrent network gives it: (B, longest of the batch, V)."""
    tokens = known.symbols(64, 24, 8)
    lengths = torch.randint(10, 20, (64,), generator=torch.Generator().manual_seed(1))
    options = SwapOptions(batch=10)
    whole = swap_reach(copy_logits, tokens, lengths=lengths, options=options)
    cut = swap_reach(
        lambda t, n: copy_logits(t, n)[:, : int(n.max())], tokens, lengths=lengths, options=options
    )
    np.testing.assert_array_equal(cut.curve.matrix, whole.curve.matrix)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.uint8, torch.int64])
@pytest.mark.parametrize("design", ["paired", "fast"])
def test_integers_of_any_width(design, dtype):
    tokens = known.symbols(64, 20, 8)
    found = measure(copy_logits, tokens.to(dtype), design=design)
    assert found.value == LAG + 1
    assert measure(copy_logits, tokens, design=design).curve == found.curve


def test_bool_tokens():
    tokens = known.symbols(200, 20, 2)
    plain = measure(copy_logits, tokens)
    assert measure(copy_logits, tokens.bool()).curve == plain.curve
    assert plain.value == LAG + 1


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_vectors_as_tokens(design):
    tokens = known.iid(64, 20 * 3).reshape(64, 20, 3)
    found = measure(lambda x, n: torch.roll(x, 4, dims=1), tokens, design=design)
    assert (found.value, found.r50, found.structural) == (5, 5, 5)
    one = measure(lambda x, n: torch.roll(x[..., 1], 4, dims=1), tokens, design=design)
    assert one.value == 5
    with pytest.raises(UsageError, match="tokens must be"):
        measure(lambda x, n: x, tokens[..., None])


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_two_sequences(design):
    found = measure(known.delay(3), known.iid(2, 20), design=design)
    assert found.value == 4
    assert (found.low, found.high, found.detectable, found.useful) == (None,) * 4
    assert not found.detectable_censored
    assert any("no interval: 2 sequences" in said for said in found.warnings)


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_equal_rows_are_said_to_be_equal(design):
    found = measure(known.delay(3), known.iid(1, 20).repeat(40, 1), design=design)
    assert (found.value, found.censored, found.detectable, found.r50) == (None, False, None, None)
    assert found.curve.kept == ()
    assert any("nothing was replaced" in said for said in found.warnings)
    pairs = interaction_reach(known.delay(3), known.iid(1, 20).repeat(40, 1))
    assert (pairs.value, pairs.censored) == (None, False)


@pytest.mark.parametrize("width", [1, 6])
def test_rows_of_one_token(width):
    tokens, lengths = known.symbols(40, width, 8), torch.ones(40, dtype=torch.long)

    def predict(t, n):
        return torch.nn.functional.one_hot(t, 8).double()

    found = swap_reach(predict, tokens, lengths=lengths)
    assert (found.value, found.censored, found.window) == (None, True, 0)
    assert (found.low, found.high, found.structural) == (None, None, 1)
    with pytest.raises(UsageError, match="2 tokens"):
        swap_reach(predict, tokens, lengths=lengths, options=SwapOptions(design="fast"))
    with pytest.raises(UsageError, match="no lag fits"):
        interaction_reach(predict, tokens, lengths=lengths)


class Dropping(nn.Module):
    def __init__(self, share):
        super().__init__()
        self.drop = nn.Dropout(share)

    def forward(self, x, n):
        return self.drop(known.boxcar(6)(x, n)[..., None].expand(-1, -1, 50))


def test_a_module_is_measured_in_eval_mode_and_given_back_as_it_was():
    model, tokens = Dropping(0.5).train(), known.iid(64, 40)
    model.resting = nn.Dropout(0.3).eval()
    before = [m.training for m in model.modules()]
    found = measure(model, tokens)
    assert [m.training for m in model.modules()] == before
    assert found.value == 6
    assert found.noise_floor < 1e-20
    assert not found.warnings


@pytest.mark.parametrize("design", ["paired", "fast"])
def test_dropout_behind_a_function_is_an_error_or_a_warning(design):
    tokens = known.iid(64, 40)
    loud, quiet = Dropping(0.5).train(), Dropping(0.002).train()
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        with pytest.raises(DataError, match="Equal calls give answers that differ by"):
            measure(lambda x, n: loud(x, n), tokens, design=design)
        found = measure(lambda x, n: quiet(x, n), tokens, design=design)
    assert 1e-4 < found.noise_floor < 0.05
    assert any("equal calls give different answers" in said for said in found.warnings)
    assert found.value == 6


def test_a_model_of_pure_noise_is_an_error():
    rng = torch.Generator().manual_seed(3)

    def noise(x, n):
        return torch.randn(*x.shape, 4, generator=rng)

    with pytest.raises(DataError, match="Equal calls"):
        measure(noise, known.symbols(64, 20, 8))


def test_a_model_that_remembers_its_calls_is_found_out():
    calls = []

    def counting(x, n):
        calls.append(1)
        return known.delay(3)(x, n) + 0.01 * len(calls)

    found = measure(counting, known.iid(64, 20))
    assert any("equal calls" in said for said in found.warnings)
    calls.clear()
    with pytest.raises(DataError, match="Equal calls"):
        measure(lambda x, n: counting(x, n) + 0.5 * len(calls), known.iid(64, 20))


def test_noise_is_not_taken_for_interaction():
    """Four noisy answers make a second difference with twice the noise of a repeat."""
    rng = torch.Generator().manual_seed(4)

    def predict(t, n):
        clean = torch.nn.functional.one_hot(t, 8).double().sum(1)
        return clean + 0.2 * torch.randn(len(t), 8, generator=rng)

    found = interaction_reach(predict, known.symbols(300, 40, 8))
    assert found.value is None
    assert found.furthest is None
    assert any("equal calls" in said for said in found.warnings)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("design", ["paired", "fast"])
def test_half_precision_shows_its_floor(design, dtype):
    tokens = known.iid(64, 64)
    found = measure(lambda x, n: known.boxcar(10)(x, n).to(dtype), tokens, design=design)
    assert found.value in (9, 10)
    assert found.structural <= 10
    assert found.noise_floor > (8 * torch.finfo(dtype).eps) ** 2
    wide = measure(lambda x, n: known.boxcar(10)(x, n).float(), tokens, design=design)
    assert wide.noise_floor < found.noise_floor / 1e4


def test_the_coarsest_of_several_models_sets_the_floor():
    def fine(x, n):
        return known.delay(3)(x, n)

    def coarse(x, n):
        return known.delay(3)(x, n).bfloat16()

    tokens = known.iid(64, 20)
    alone = measure(coarse, tokens).noise_floor
    assert measure([fine, coarse], tokens).noise_floor == pytest.approx(alone, rel=0.05)
    assert measure([coarse, fine], tokens).noise_floor == pytest.approx(alone, rel=0.05)


def test_a_dead_model_among_several_has_no_reach_of_its_own():
    def dead(x, n):
        return 1e-15 * known.delay(7)(x, n) + 1

    found = measure([known.delay(3), dead], known.iid(64, 20))
    assert found.per_model == (4, None)


def test_effects_no_larger_than_rounding_are_no_influence():
    for scale, there in ((1e-15, False), (1e-12, True)):
        found = measure(lambda x, n, s=scale: s * known.delay(7)(x, n) + 1, known.iid(64, 20))
        assert found.curve.matrix.max() > 0
        assert (found.value == 8) == there
        assert any("no influence" in said for said in found.warnings) != there


def test_labels_follow_each_of_several_cuts():
    """A copy is as good behind every cut: 2 cuts give the benefit of 1, nothing beyond the lag."""
    tokens = known.symbols(400, 60, 8)
    labels = torch.roll(tokens, LAG, dims=1)
    for cuts in (1, 2, 3):
        options = SwapOptions(design="fast", cuts=cuts)
        found = swap_reach(copy_logits, tokens, labels=labels, options=options)
        assert found.benefit.mean[0] == pytest.approx(3 * 7 / 8, rel=0.06)
        assert found.useful == LAG + 1


def test_labels_must_be_classes_of_the_output():
    tokens = known.symbols(40, 20, 8)
    labels = torch.zeros(40, 20, dtype=torch.long)
    for design in ("paired", "fast"):
        options = SwapOptions(design=design)
        for wrong in (labels - 100, labels + 8):
            with pytest.raises(UsageError, match="none of the output's 8 classes"):
                swap_reach(copy_logits, tokens, labels=wrong, options=options)
        with pytest.raises(UsageError, match="none of the output's 1 classes"):
            swap_reach(lambda t, n: t.double(), tokens, labels=labels, options=options)
        with pytest.raises(UsageError, match=r"labels must be|needs labels"):
            swap_reach(copy_logits, tokens, labels=labels[:, :3, None], options=options)
    unscored = labels - 100
    unscored[:, -1] = 3
    plain = swap_reach(copy_logits, tokens, labels=unscored)
    assert plain.benefit == swap_reach(copy_logits, tokens, labels=labels[:, -1] + 3).benefit


def test_the_fast_design_takes_no_targets():
    with pytest.raises(UsageError, match="not chosen targets"):
        swap_reach(
            known.delay(3),
            known.iid(40, 20),
            targets=torch.full((40,), 9),
            options=SwapOptions(design="fast"),
        )


def test_chosen_targets_are_read_there():
    tokens = known.iid(64, 30)
    found = swap_reach(known.delay(8), tokens, targets=torch.full((64,), 12))
    assert (found.value, found.window) == (9, 12)
    late = swap_reach(known.delay(8), tokens, targets=torch.full((64,), 7))
    assert late.value is None


def test_lags_that_few_rows_are_long_enough_for_are_left_out():
    tokens = known.symbols(100, 60, 8)
    lengths = torch.full((100,), 20)
    lengths[:5] = 60
    found = interaction_reach(at_last, tokens, lengths=lengths)
    assert found.window == 19


def test_what_may_be_left_out_is_not_given_the_lengths():
    """A second argument with a default is a mask or a temperature, and must not get lengths."""

    def predict(tokens, temperature=1.0):
        return copy_logits(tokens, None) / temperature

    tokens = known.symbols(64, 20, 8)
    found = howfar.reach(predict, tokens)
    assert found.curve == howfar.reach(lambda t: copy_logits(t, None), tokens).curve
    assert (
        found.curve == howfar.reach(lambda t, lengths=None: copy_logits(t, lengths), tokens).curve
    )


def twice_the_same(near, far):
    """Rows that repeat a sign `far` back at `near` back, and a model that sees it torn apart."""
    tokens = known.signs(100, 64)
    tokens[:, 63 - far] = tokens[:, 63 - near]

    def predict(x, n):
        pair = torch.roll(x, near, dims=1) * torch.roll(x, far, dims=1)
        return torch.stack([3 * x, pair], -1)

    return predict, tokens


def test_a_curve_that_rises_again_is_not_outvoted_by_a_dense_grid():
    """r is 1, 0 for k = 1 .. 10, 1/9 for 11 .. 30 and 0 then: 2/27 on average up to 30."""
    predict, tokens = twice_the_same(10, 30)
    found = measure(predict, tokens)
    full = measure(predict, tokens, grid=tuple(range(64)))
    assert found.value == full.value == 31
    assert found.detectable == 31


def test_a_rise_that_is_levelled_is_said():
    predict, tokens = twice_the_same(20, 24)
    found = measure(predict, tokens, grid=tuple(range(64)))
    assert found.value == 1
    assert found.detectable == 25
    assert any("rises again: with 24 tokens kept" in said for said in found.warnings)


class Promising:
    def reach(self, length):
        return 3

    def __call__(self, x, n):
        return known.delay(7)(x, n)


def test_a_declared_reach_that_does_not_hold_is_said():
    found = measure(Promising(), known.iid(64, 20))
    assert (found.value, found.structural) == (8, 3)
    assert any("declared reach of 3" in said for said in found.warnings)


# Invariances.


def test_vocabulary_may_be_renamed():
    tokens = known.symbols(64, 20, 8)
    order = torch.tensor([3, 1, 7, 0, 2, 6, 5, 4])

    def renamed(t, n):
        return copy_logits(order.argsort()[t], n)[..., order.argsort()[order]]

    found = measure(renamed, order[tokens])
    other = measure(copy_logits, tokens)
    np.testing.assert_allclose(found.curve.matrix, other.curve.matrix, atol=1e-15)


def test_an_independent_row_in_the_call_changes_nothing():
    tokens = known.symbols(64, 20, 8)

    def crowded(t, n):
        more = torch.cat([t, t[:1].flip(1)])
        return copy_logits(more, torch.cat([n, n[:1]]))[: len(t)]

    assert measure(crowded, tokens).curve == measure(copy_logits, tokens).curve


def test_order_of_the_sequences_does_not_matter_given_their_donors():
    tokens, order = (
        known.iid(50, 24),
        torch.randperm(50, generator=torch.Generator().manual_seed(5)),
    )
    way = probe.donors(50, 1, np.random.default_rng(0))[0]
    given = tokens[torch.from_numpy(way)]
    old = (torch.arange(24) < 20).expand(50, 24)
    moved = probe.where_tokens(old, given, tokens)
    again = probe.where_tokens(old, given[order], tokens[order])
    assert torch.equal(moved[order], again)
    predict = known.decay(0.9)
    effect = (predict(moved, None) - predict(tokens, None)).square()[:, -1]
    other = (predict(again, None) - predict(tokens[order], None)).square()[:, -1]
    torch.testing.assert_close(effect[order], other, rtol=1e-12, atol=0)


@pytest.mark.parametrize("num", [2, 3, 30, 101])
def test_every_sequence_has_another_as_donor_and_gives_to_one(num):
    for way in probe.donors(num, 5, np.random.default_rng(num)):
        assert sorted(way) == list(range(num))
        assert (way != np.arange(num)).all()


def test_a_short_donor_is_repeated_and_its_padding_never_given():
    tokens = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 99, 99, 99]])
    seqs = probe.sequences(tokens, torch.tensor([5, 2]), "last")
    assert probe.donor_tokens(seqs, np.array([1, 0])).tolist()[0] == [6, 7, 6, 7, 6]


@pytest.mark.parametrize("design", ["paired", "fast"])
@pytest.mark.parametrize(
    "predict",
    [known.decay(0.8), known.boxcar(7), known.cumulative_mean],
    ids=["decay", "boxcar", "mean"],
)
def test_curves_start_at_one_and_reaches_are_nested(design, predict):
    found = measure(predict, known.iid(64, 48), design=design, levels=(0.5, 0.1, 0.05, 0.01, 0.001))
    assert found.curve.kept[0] == 0
    assert (found.curve.mean[0], found.curve.low[0], found.curve.high[0]) == (1, 1, 1)
    reaches = [math.inf if r is None else r for _, r in sorted(found.ladder.items(), reverse=True)]
    assert reaches == sorted(reaches)
    assert list(found.curve.kept) == sorted(set(found.curve.kept))
    assert all(
        low <= mean <= high
        for low, mean, high in zip(found.curve.low, found.curve.mean, found.curve.high, strict=True)
    )
