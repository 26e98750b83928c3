"""Errors quote safely and guess near names; seeds are independent by purpose."""

import pickle

import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import DataError, UsageError, closest, shown
from howfar.core.seeds import Seeds


def test_user_text_is_quoted_cut_and_harmless():
    assert shown("plain") == "'plain'"
    assert len(shown("x" * 500)) == 80
    for hostile in ("\x1b[31mred", "a\u202eb", "line\nline", "\u2066x"):
        assert shown(hostile).isprintable()
        assert shown(hostile).isascii()


def test_near_names():
    assert "transformer" in closest("trasformer", ["gru", "transformer"])
    assert "Label" in closest("label", ["Label", "text"])
    assert closest("zzz", ["gru"]) == ""


def test_errors_keep_their_parts_between_processes():
    error = pickle.loads(pickle.dumps(DataError("E-X", "what", "fix")))  # noqa: S301
    assert (error.code, error.message, error.hint, error.exit_code) == ("E-X", "what", "fix", 3)
    assert str(error) == "what Try: fix"
    assert isinstance(UsageError("E", "m"), ValueError)


def test_seeds_are_stable_and_apart():
    one, two = Seeds(1), Seeds(2)
    draw = lambda s, p: torch.rand(4, generator=s.torch(p)).tolist()  # noqa: E731
    assert draw(one, "init") == draw(one, "init")
    assert draw(one, "init") != draw(one, "data")
    assert draw(one, "init") != draw(two, "init")
    assert one.numpy("x").integers(10**9) == one.numpy("x").integers(10**9)
    assert one.integer("init") == 8586419475660827481


def test_batch_counts():
    targets = torch.tensor([[1, IGNORED], [2, 3]])
    batch = Batch(torch.ones(2, 2, dtype=torch.long), torch.tensor([1, 2]), targets)
    assert batch.num_tokens == 3
    assert batch.num_targets == 3
    assert batch.to("cpu").distance is None


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_any_seed_works(seed):
    assert 0 <= Seeds(seed).integer("x") < 2**63
