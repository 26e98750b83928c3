"""Models of real numbers in place of ids, and models that answer at the last real position."""

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import MODELS, build


def model_of(name, **more):
    generator = torch.Generator().manual_seed(0)
    sizes = {"vocabulary": 0, "channels": 2, "outputs": 1, "width": 8, "embedding": 8}
    return build(name, **(sizes | more), generator=generator).double().eval()


@pytest.mark.parametrize("name", MODELS)
def test_the_last_real_position_answers(name):
    """As the model with one answer a position says there, whatever stands on padding."""
    numbers = torch.randn(3, 9, 2, generator=torch.Generator().manual_seed(1)).double()
    lengths = torch.tensor([9, 4, 1])
    last, every = model_of(name, pooled="last"), model_of(name)
    got = last(numbers, lengths)
    want = every(numbers, lengths)[torch.arange(3), lengths - 1]
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    numbers[1, 4:], numbers[2, 1:] = 7.0, -7.0
    torch.testing.assert_close(last(numbers, lengths), got, rtol=0, atol=1e-10)
    assert last.flops(9) < every.flops(9)


def test_numbers_are_mapped_linearly():
    model = model_of("gru")
    numbers = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(1)).double()
    mapped = numbers @ model.embedding.weight.T + model.embedding.bias
    want = model.head(model.body(mapped, torch.tensor([5, 5])))
    torch.testing.assert_close(model(numbers), want)
    assert model.count()["embedding"] == 2 * 8 + 8
    ids = build("gru", vocabulary=3, outputs=1, width=8, embedding=8)
    assert model.flops(5) - ids.flops(5) == 2 * 2 * 8 * 5


def test_no_rows_and_rows_of_nothing():
    model = model_of("gru", pooled="last")
    assert model(torch.zeros(0, 4, 2).double()).shape == (0, 1)
    empty = model(torch.zeros(2, 0, 2).double(), torch.tensor([0, 0]))
    torch.testing.assert_close(empty, model.head.bias.expand(2, 1))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"vocabulary": 4}, "vocabulary=4"),
        ({"channels": -1}, "channels"),
        ({"channels": 0}, "vocabulary"),
        ({"pooled": "first"}, "pooled must be"),
        ({"pooled": "last", "causal": False}, "last position"),
        ({"pooled": 1}, "pooled must be"),
    ],
)
def test_refusals(more, said):
    with pytest.raises(UsageError, match=said):
        model_of("gru", **more)


def test_the_last_position_does_not_pack():
    model = build("transformer", vocabulary=4, outputs=2, width=8, embedding=8, pooled="last")
    assert not model.packs
    with pytest.raises(UsageError, match="packed"):
        model.packed(torch.zeros(3, dtype=torch.long), torch.tensor([1, 2]))
