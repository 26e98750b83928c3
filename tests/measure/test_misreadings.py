"""Answers that would mislead: what a measure did not look at, it must say."""

import pytest
import torch
from tests.measure import known

import howfar
from howfar.core.errors import UsageError
from howfar.measure import SwapOptions, influence_reach, interaction_reach, structure, swap_reach
from howfar.measure.swap import swap_sides


def far_copy(lag, ruled_out=False):
    """Logits of the token `lag` back; class 0 may be ruled out everywhere."""

    def predict(tokens, lengths):
        logits = 4.0 * torch.nn.functional.one_hot(tokens.roll(lag, 1), 12).double()
        logits[:, :lag] = 0
        if ruled_out:
            logits[..., 0] = -torch.inf
        return logits

    return predict


def test_a_class_that_is_ruled_out_hides_nothing():
    tokens = known.symbols(40, 24, 12)
    found = structure(far_copy(4, ruled_out=True), tokens)
    assert found.value == swap_reach(far_copy(4, ruled_out=True), tokens).value == 5
    assert not any("no influence" in said for said in found.warnings)


def test_a_lag_beyond_the_cut_is_no_lack_of_influence():
    tokens = known.iid(64, 64)
    fast = swap_reach(known.delay(40), tokens, options=SwapOptions(design="fast"))
    assert (fast.value, fast.censored) == (None, True)
    assert any("cut is too early" in said for said in fast.warnings)
    assert swap_reach(known.delay(40), tokens).value == 41


def test_influence_says_how_far_it_looked():
    tokens = known.iid(64, 64)
    g = [0.1] + [0.0] * 39 + [1.0]
    near = influence_reach(known.linear(g), tokens)
    assert any("32 or more tokens on were not looked at" in said for said in near.warnings)
    early = influence_reach(known.linear(g), tokens, sources=(2,))
    assert early.value == 41
    nothing = influence_reach(known.delay(40), tokens)
    assert any("within 32 tokens" in said for said in nothing.warnings)


def test_one_short_row_is_said_to_cut_the_others():
    lengths = torch.full((64,), 40)
    lengths[7] = 5
    options = SwapOptions(design="fast")
    found = swap_reach(known.decay(0.5), known.iid(64, 40), lengths=lengths, options=options)
    assert any("only the first 5 tokens of each count" in said for said in found.warnings)


def test_equal_rows_replace_nothing():
    tokens = known.symbols(1, 20, 12).expand(40, 20)
    for found in (structure(far_copy(3), tokens), interaction_reach(far_copy(3), tokens)):
        assert "every sequence equals its donor: nothing was replaced" in found.warnings
        assert not any("no influence" in said for said in found.warnings)


def test_a_faint_interaction_is_called_faint():
    def predict(tokens, lengths):
        x = tokens.double()
        return torch.stack([x.sum(1), 0.01 * (x[:, 6:] * x[:, :-6]).sum(1)], 1)

    found = interaction_reach(predict, known.signs(100, 16))
    assert found.value == 6
    assert any(said.startswith("faint: ") for said in found.warnings)


def test_two_tokens_have_no_middle():
    with pytest.raises(UsageError, match="no middle"):
        swap_sides(far_copy(1), known.symbols(40, 2, 12))


def test_the_public_functions_pass_the_warnings_on():
    found = howfar.influence(far_copy(2), known.symbols(40, 30, 12))
    assert found.value == 3
    assert any("were not looked at" in said for said in found.warnings)
