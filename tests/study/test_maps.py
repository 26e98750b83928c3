"""Length by depth: a model of known reach is right exactly where it can see."""

import pytest
import torch
from torch import nn

import howfar
from howfar.core.errors import UsageError


class Sees(nn.Module):
    """Names the cue of `recall` where it stands within the last `window` tokens, else class 0."""

    def __init__(self, window, cues=8):
        super().__init__()
        self.window, self.cues = window, cues

    def forward(self, tokens, lengths):
        answers = torch.zeros(*tokens.shape, self.cues)
        recent = tokens[:, -self.window :]
        cue = (recent * ((recent >= 1) & (recent <= self.cues))).sum(1)
        answers[torch.arange(len(tokens)), -1, (cue - 1).clamp(min=0)] = 1.0
        return answers


def test_a_window_shows_as_it_is():
    made = howfar.task("recall", length=41)
    found = howfar.length_by_depth(Sees(21), made, [41, 21], items=2000, bins=4)
    assert [cell.length for cell in found.cells] == [21] * 4 + [41] * 4
    by = {(cell.length, cell.depth_low): cell for cell in found.cells}
    assert all(by[21, low].accuracy == 1.0 for low in (0.0, 0.25, 0.5, 0.75))
    # of 41 tokens the last 21 reach back 20: depth 1 - 20/40 = 0.5 and on
    assert by[41, 0.5].accuracy == by[41, 0.75].accuracy == 1.0
    assert by[41, 0.0].low < 1 / 8 < by[41, 0.0].high
    assert sum(cell.count for cell in found.cells) == 4000
    text = str(found)
    assert text.splitlines()[0].split() == [
        "depth",
        *["0-25", "%", "25-50", "%", "50-75", "%", "75-100", "%"],
    ]
    assert "chance 0.125" in text


def test_bins_without_an_answer_are_said():
    found = howfar.length_by_depth(Sees(2), howfar.task("t_maze", length=8), [8], items=20, bins=3)
    assert [cell.count for cell in found.cells] == [20, 0, 0]
    assert found.cells[1].accuracy is None
    assert "-" in str(found).splitlines()[1]


@pytest.mark.parametrize("lengths", [[], [1]])
def test_refusals(lengths):
    with pytest.raises(UsageError):
        howfar.length_by_depth(Sees(2), howfar.task("recall"), lengths)
    with pytest.raises(UsageError, match="numbers"):
        howfar.length_by_depth(Sees(2), howfar.task("adding"), [8])
