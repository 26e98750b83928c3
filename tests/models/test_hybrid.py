"""Hybrids: the blocks are those of their families, in the order of the pattern."""

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import MODELS, Stack, build
from howfar.models.hybrid import PARTS, HybridSettings, parts


def made(pattern, width=12, **extras):
    model = build("hybrid", vocabulary=9, outputs=3, width=width, pattern=pattern, **extras)
    return model.double().eval()


def test_patterns_are_read():
    assert parts("attention:1,ssm:3") == [("attention", 1), ("ssm", 3)]
    assert parts(" gru , tcn : 2 ") == [("gru", 1), ("tcn", 2)]


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("", "pattern cannot be"),
        (7, "pattern cannot be"),
        ("atention:1", "Did you mean 'attention'"),
        ("gru:0", "gives gru"),
        ("gru:", "gives gru"),
        ("gru:two", "gives gru"),
        ("gru:-1", "gives gru"),
        ("gru,,tcn", "no part ''"),
        ("textcnn:1", "no part 'textcnn'"),
        ("hybrid:1", "no part 'hybrid'"),
    ],
)
def test_wrong_patterns_are_refused(pattern, said):
    with pytest.raises(UsageError, match=said):
        HybridSettings(pattern=pattern)


def test_every_family_that_is_a_stack_can_be_a_part():
    stacks = {
        name
        for name in MODELS
        if isinstance(build(name, vocabulary=2, outputs=2, width=12).body, Stack)
    }
    assert set(PARTS) - {"attention", "ssm"} == stacks - {"hybrid"}


def test_blocks_stand_in_order():
    blocks = made("attention:1,ssm:2,gru", depth=2).body.blocks
    kinds = [type(block.mixer).__name__ for block in blocks]
    first = ["Attention", kinds[1], kinds[1], "Recurrence"]
    assert kinds == first * 2
    assert kinds[1] == type(made("mamba2").body.blocks[0].mixer).__name__
    assert blocks[0].ff is not None
    assert blocks[3].ff is None


@torch.no_grad()
def test_one_part_is_that_family():
    hybrid = made("gru:2")
    plain = build("gru", vocabulary=9, outputs=3, width=12, depth=2).double().eval()
    plain.load_state_dict(hybrid.state_dict())
    tokens = torch.randint(9, (3, 20), generator=torch.Generator().manual_seed(0))
    assert torch.equal(hybrid(tokens), plain(tokens))


def test_reach_of_finite_parts_adds_up():
    # tcn of 2 blocks: 1 + 2 * 2 * (2**2 - 1) = 13
    assert made("tcn:2").reach(100) == 13
    assert made("tcn:2", depth=3).reach(100) == 1 + 3 * 12
    assert made("tcn:2,gru").reach(100) is None
