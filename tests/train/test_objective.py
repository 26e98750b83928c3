"""Losses against torch's own, and steps that may be cut anywhere."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from howfar.core.batch import IGNORED, Batch
from howfar.train.objective import Objective, answers


def batch(targets, tokens=None):
    rows = len(targets)
    tokens = torch.zeros(rows, 3, dtype=torch.long) if tokens is None else tokens
    return Batch(tokens, torch.full((rows,), tokens.shape[1]), targets)


def test_classes_weigh_and_smooth_as_torch_does():
    logits = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([0, 1, 2, 3, 1, 1])
    weights = (1.0, 2.0, 0.5, 1.5)
    objective = Objective(0.1, weights)
    want = F.cross_entropy(
        logits, targets, weight=torch.tensor(weights).double(), label_smoothing=0.1
    )
    got = objective.loss(logits.float(), targets) / objective.weight(batch(targets))
    assert float(got) == pytest.approx(float(want), rel=1e-6)


def test_a_uniform_answer_costs_the_logarithm_of_the_classes():
    loss = Objective().loss(torch.zeros(5, 8), torch.arange(5))
    assert float(loss) == pytest.approx(5 * math.log(8), rel=1e-6)


def test_numbers_and_labels():
    numbers = torch.tensor([1.0, -2.0])
    assert float(Objective().loss(torch.tensor([[0.5], [0.0]]), numbers)) == 0.25 + 4.0
    assert Objective().weight(batch(numbers)) == 2
    labels = torch.tensor([[1.0, 0.0, 1.0]])
    loss = Objective().loss(torch.zeros(1, 3), labels)
    assert float(loss) == pytest.approx(3 * math.log(2), rel=1e-6)
    assert Objective().weight(batch(labels)) == 3


def test_unscored_positions_weigh_nothing():
    targets = torch.tensor([[1, IGNORED, 2], [IGNORED, IGNORED, 0]])
    assert Objective().weight(batch(targets)) == 3
    assert Objective(weights=(1.0, 10.0, 100.0)).weight(batch(targets)) == 111


class Pair(nn.Module):
    """Answers with what it was given, so that the route of each part shows."""

    def forward(self, source, tokens, source_lengths, lengths):
        assert source_lengths.tolist() == [2, 1]
        assert lengths.tolist() == [3, 3]
        return F.one_hot(tokens, 5).float() + source.sum()


def test_pairs_are_asked_with_their_source():
    tokens = torch.tensor([[4, 1, 2], [4, 3, 0]])
    asked = Batch(
        tokens,
        torch.tensor([3, 3]),
        torch.tensor([[1, 2, 4], [3, 4, IGNORED]]),
        source=torch.zeros(2, 2, dtype=torch.long),
        source_lengths=torch.tensor([2, 1]),
    )
    outputs, targets, state = answers(Pair(), asked)
    assert outputs.argmax(-1).tolist() == [4, 1, 2, 4, 3]
    assert targets.tolist() == [1, 2, 4, 3, 4]
    assert state is None
    assert asked.num_tokens == 9
    assert asked.to("cpu").source is not None
