"""What survives pooling, on cases worked out by hand and against small changes one by one."""

import numpy as np
import pytest
import torch
from tests.measure import known
from torch import nn
from torch.nn import functional as F

from howfar.core.errors import DataError, UsageError
from howfar.measure.retention import SurvivalOptions, survival, survivors
from howfar.measure.retention.pooling import of_module
from howfar.models import build


class Pooled(nn.Module):
    """Real inputs (B, L) through modules over time, channels first."""

    def __init__(self, *modules):
        super().__init__()
        self.modules_in_order = nn.Sequential(*modules)

    def forward(self, x, lengths):
        return self.modules_in_order(x[:, None])


class Kim(nn.Module):
    """Kim's text classifier, written with functions: relu, maximum over time, concatenation."""

    def __init__(self, flat=False):
        super().__init__()
        self.embedding = nn.Embedding(8, 6)
        self.flat = flat
        wide = [nn.Conv2d(1, 5, (k, 6)) if flat else nn.Conv1d(6, 5, k) for k in (2, 3)]
        self.convolutions = nn.ModuleList(wide)
        self.head = nn.Linear(10, 3)

    def forward(self, tokens, lengths):
        x = self.embedding(tokens)
        if self.flat:
            found = [F.relu(c(x[:, None])).squeeze(3) for c in self.convolutions]
        else:
            found = [F.relu(c(x.transpose(1, 2))) for c in self.convolutions]
        return self.head(torch.cat([F.max_pool1d(y, y.shape[2]).squeeze(2) for y in found], dim=1))


def test_two_maxima_by_hand():
    """(1 3)(2 0)(5 4) -> 3 2 5 -> 5: tokens 1, 2 and 4 get through the first, 4 through both."""
    x = torch.tensor([[1.0, 3, 2, 0, 5, 4]]).repeat(40, 1)
    found = survival(Pooled(nn.MaxPool1d(2), nn.MaxPool1d(3)), x)
    first, second = found.stages
    assert (first.name, first.kind) == ("modules_in_order.0", "max")
    assert first.chosen[0].tolist() == [False, True, True, False, True, False]
    assert first.through[0].tolist() == first.chosen[0].tolist()
    assert second.chosen[0].tolist() == [False, False, True]
    assert second.through[0].tolist() == [False, False, False, False, True, False]
    assert (first.windows, first.tokens) == (0.5, 0.5)
    assert (second.windows, second.tokens) == pytest.approx((1 / 3, 1 / 6))
    assert first.distance == 1.5
    assert second.distance is None
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert found.curve.x == (1, 2)
    assert found.curve.mean == pytest.approx((1 / 2, 1 / 6))
    assert second.idle == 0


def test_filters_choose_together_by_hand():
    before = torch.tensor([[[1.0, 0, 0], [4, 0, 1], [2, 0, 7], [3, 0, 7]]])
    chosen = survivors(before, torch.tensor([[4.0, 0, 7]]))
    # Filter 0 takes position 1, filter 2 the first of its two sevens, filter 1 nothing.
    assert chosen.positions.tolist() == [[False, True, True, False]]
    assert chosen.idle.tolist() == pytest.approx([1 / 3])
    short = survivors(before, torch.tensor([[4.0, 0, 1]]), torch.tensor([2]))
    assert short.positions.tolist() == [[False, True, False, False]]
    one = survivors(before, torch.tensor([[1.0, 0, 0]]), torch.tensor([1]))
    assert one.positions.tolist() == [[True, False, False, False]]
    with pytest.raises(DataError, match="not the largest"):
        survivors(before, torch.tensor([[4.0, 0, 8]]))


def test_an_average_lets_everything_through_and_its_rest_out():
    x = known.iid(40, 7).float()
    found = survival(Pooled(nn.AvgPool1d(2)), x)
    stage = found.stages[0]
    assert stage.kind == "mean"
    assert stage.chosen[0].tolist() == [True] * 6 + [False]
    assert stage.through[0].tolist() == [True] * 6 + [False]
    assert found.value == 6
    assert stage.by_place[8] == 0
    assert np.isnan(stage.by_place[9])  # seven tokens have no last tenth


def test_a_filter_that_is_always_off_chooses_nothing():
    x = -known.iid(40, 8).float().abs()
    found = survival(Pooled(nn.ReLU(), nn.MaxPool1d(2)), x)
    stage = found.stages[0]
    assert (stage.windows, stage.tokens, stage.idle, found.value) == (0, 0, 1, 0)


@pytest.mark.parametrize(
    "module",
    [
        nn.MaxPool1d(3, stride=2, padding=1),
        nn.MaxPool1d(2, dilation=3),
        nn.MaxPool1d(4, ceil_mode=True),
        nn.AdaptiveMaxPool1d(3),
        nn.AdaptiveMaxPool1d(1),
        nn.AvgPool1d(3, stride=4),
        nn.AdaptiveAvgPool1d(2),
    ],
    ids=repr,
)
def test_chosen_positions_are_those_whose_change_shows(module):
    x = torch.randn(3, 2, 11, generator=torch.Generator().manual_seed(0)).double()
    chosen = of_module(module, x)
    for position in range(11):
        moved = x.clone()
        moved[..., position] += 1e-6
        shows = ((module(moved) - module(x)).abs() > 0).flatten(1).any(1)
        assert chosen.positions[:, position].tolist() == shows.tolist()


def test_tokens_through_a_stack_are_those_whose_small_change_shows():
    """The slow way: nudge every input of every row alone."""
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(3)
        model = Pooled(
            nn.Conv1d(1, 4, 3),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(4, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool1d(3, 2),
            nn.Conv1d(4, 3, 2),
            nn.AdaptiveMaxPool1d(1),
        ).double()
    x = known.iid(6, 40)
    found = survival(model, x)
    assert [stage.name[-1] for stage in found.stages] == ["2", "5", "7"]
    for stage, depth in zip(found.stages, (3, 6, 8), strict=True):
        part = model.modules_in_order[:depth]
        base = part(x[:, None])
        for position in range(40):
            moved = x.clone()
            moved[:, position] += 1e-7
            shows = (part(moved[:, None]) != base).flatten(1).any(1).numpy()
            assert stage.through[:, position].tolist() == shows.tolist()
    assert list(found.curve.mean) == sorted(found.curve.mean, reverse=True)
    assert (found.low, found.high) == (None, None)
    assert any("6 sequences" in said for said in found.warnings)


@pytest.mark.parametrize("flat", [False, True])
def test_a_maximum_written_as_a_function_is_found(flat):
    model = Kim(flat)
    tokens = known.symbols(40, 12, 8)
    found = survival(model, tokens)
    (stage,) = found.stages
    assert (stage.name, stage.kind) == ("into the head", "max")
    x = model.embedding(tokens).transpose(1, 2)
    through = torch.zeros(40, 12, dtype=torch.bool)
    chosen = torch.zeros(40, 11, dtype=torch.bool)
    for wide, layer in zip((2, 3), model.convolutions, strict=True):
        weight = layer.weight[:, 0].transpose(1, 2) if flat else layer.weight
        best, place = F.relu(F.conv1d(x, weight, layer.bias)).max(-1)
        for row, filters in enumerate(place.tolist()):
            for f, first in enumerate(filters):
                if best[row, f] > 0:
                    through[row, first : first + wide] = True
                    chosen[row, first] = True
    assert stage.through.tolist() == through.tolist()
    assert stage.chosen.tolist() == chosen.tolist()


def test_our_textcnn_over_rows_of_different_lengths():
    model = build("textcnn", vocabulary=8, outputs=2, width=9, causal=False)
    lengths = torch.arange(40) % 12 + 5
    tokens = known.symbols(40, 16, 8)
    found = survival(model, tokens, lengths=lengths)
    (stage,) = found.stages
    assert stage.name == "into the head"
    y_BLF = model.body(model.embedding(tokens), lengths)
    through = torch.zeros(40, 16, dtype=torch.bool)
    for row in range(40):
        best, place = y_BLF[row, : lengths[row]].max(0)
        for f in range(9):
            wide = (3, 4, 5)[f // 3]
            if best[f] > 0:
                through[row, max(0, int(place[f]) - wide + 1) : int(place[f]) + 1] = True
    assert stage.through.tolist() == through.tolist()
    assert not stage.through[torch.arange(16) >= lengths[:, None]].any()
    assert found.value == round(float(through.sum(1).double().mean()))
    whole = survival(model, tokens, lengths=lengths, options=SurvivalOptions(batch=7))
    assert whole == found


def test_our_mean_is_found():
    model = build("tcn", vocabulary=8, outputs=2, width=8, causal=False)
    found = survival(model, known.symbols(40, 16, 8))
    assert [(stage.name, stage.kind) for stage in found.stages] == [("into the head", "mean")]
    assert found.stages[0].tokens == 1
    assert found.stages[0].windows == 1


def test_by_place_and_intervals():
    """Only the first half is ever the larger one."""
    x = known.iid(60, 20).float()
    x[:, :10] += 100
    found = survival(Pooled(nn.AdaptiveMaxPool1d(1)), x)
    shares = np.array(found.stages[0].by_place)
    assert shares[5:].sum() == 0
    assert shares.sum() == pytest.approx(0.5)  # one token of the two in some tenth
    assert (found.stages[0].tokens_low, found.stages[0].tokens_high) == pytest.approx((0.05, 0.05))


def test_models_without_poolings():
    with pytest.raises(UsageError, match="No pooling over time"):
        survival(build("gru", vocabulary=8, outputs=2, width=8), known.symbols(8, 12, 8))
    with pytest.raises(UsageError, match=r"in an nn.Module only"):
        survival(lambda tokens, lengths: tokens, known.symbols(8, 12, 8))
    with pytest.raises(UsageError, match="ci"):
        SurvivalOptions(ci=1)
