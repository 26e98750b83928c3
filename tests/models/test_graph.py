"""The form of every family that a graph can hold: the same answers, with no loop in Python."""

import pytest
import torch
from tests.models.variants import VARIANTS, cases

import howfar.models.kernels.graph as graph
from howfar.models import build
from howfar.models.kernels import as_graph, compiled, using

CASES = [pytest.param(*case, id=label) for label, case in cases(VARIANTS).items()]
LENGTHS = torch.tensor([21, 9, 1, 0])


def stepwise(step, state, given):
    """What torch's `scan` does, without its compiler."""
    answers = []
    for at in zip(*given, strict=True):
        state, answer = step(state, at)
        answers.append(answer)
    return state, torch.stack(answers)


def made(name, extras, causal, pooled):
    generator = torch.Generator().manual_seed(0)
    sizes = {"vocabulary": 11, "outputs": 5, "width": 14, "embedding": 6}
    form = {"causal": causal, "pooled": pooled, "generator": generator}
    return build(name, **sizes, **form, **extras).double().eval()


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
@torch.no_grad()
def test_answers_alike(name, extras, causal, monkeypatch):
    monkeypatch.setattr(graph, "_scan", stepwise)
    for pooled in (True, False):
        if pooled and not causal and extras.get("pool") == "none":
            continue
        model = made(name, extras, causal, pooled)
        for length in (1, 2, 21):
            tokens = torch.randint(11, (4, length), generator=torch.Generator().manual_seed(1))
            lengths = LENGTHS.clamp(max=length)
            want = model(tokens, lengths)
            with using("graph"):
                got = model(tokens, lengths)
            if not pooled:
                real = torch.arange(length) < lengths[:, None]
                want, got = want[real], got[real]
            torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@torch.no_grad()
def test_the_operation_itself():
    p_LBD = torch.randn(6, 2, 3, generator=torch.Generator().manual_seed(0))
    given = p_LBD, torch.tensor([0.5, -0.2, 0.9]), torch.ones(2, 3)
    h_BD, want = given[2], []
    for p_BD in p_LBD:
        h_BD = (p_BD + given[1] * h_BD).tanh()
        want.append(h_BD)
    torch.testing.assert_close(graph.indrnn_scan(*given, "tanh"), torch.stack(want))


def test_the_form_ends_with_its_block():
    with using("graph"):
        assert as_graph()
        assert not compiled(torch.zeros(1))
    assert not as_graph()
