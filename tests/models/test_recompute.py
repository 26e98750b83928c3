"""Blocks run again on the way back: the same gradients to the last bit, in less memory."""

import json
import subprocess
import sys

import pytest
import torch
from tests.models.variants import VARIANTS, cases

from howfar.models import build, build_seq2seq

CASES = [pytest.param(*case, id=label) for label, case in cases(VARIANTS).items()]
CAUSAL = [case for case in CASES if case.values[2]]
SIZES = {"vocabulary": 11, "outputs": 5, "width": 14, "embedding": 6, "dropout": 0.3}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(name, extras, causal):
    return build(name, **SIZES, causal=causal, generator=generator(), **extras).train()


def ids(rows, length, seed=1):
    return torch.randint(11, (rows, length), generator=generator(seed))


def gradients(model, ask, *, recompute):
    model.recompute = recompute
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        answer = ask(model)
        after = torch.rand(3)
        answer.square().sum().backward()
    return [answer.detach(), after, *(p.grad for p in model.parameters() if p.grad is not None)]


def alike(make, ask):
    one = gradients(make(), ask, recompute=False)
    two = gradients(make(), ask, recompute=True)
    return len(one) == len(two) and all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_same_bits(name, extras, causal):
    lengths = torch.tensor([9, 4, 0])
    assert alike(lambda: made(name, extras, causal), lambda model: model(ids(3, 9), lengths))


@pytest.mark.parametrize(("name", "extras", "causal"), CAUSAL)
def test_same_bits_from_chunk_to_chunk(name, extras, causal):
    def ask(model):
        first, state = model.chunk(ids(3, 5))
        return torch.cat([first, model.chunk(ids(3, 4, seed=2), state)[0]], dim=1)

    assert alike(lambda: made(name, extras, causal), ask)


@pytest.mark.parametrize("name", ["gru", "lstm", "transformer", "tcn", "deepcnn", "textcnn"])
def test_same_bits_from_sequence_to_sequence(name):
    def make():
        sizes = {"source_vocabulary": 11, "vocabulary": 11, "width": 14, "dropout": 0.3}
        return build_seq2seq(name, **sizes, generator=generator()).train()

    assert alike(make, lambda model: model(ids(3, 9), ids(3, 7), torch.tensor([9, 4, 0])))


def test_is_off_until_asked_for():
    model = made("transformer", {}, True)
    assert model.recompute is False
    model.recompute = True
    assert model.recompute is True
    model.recompute = False
    assert not any(part.recompute for part in model.modules() if hasattr(part, "recompute"))


def test_nothing_is_run_twice_in_eval_mode_or_without_gradients():
    model = made("gru", {"depth": 2}, True)
    model.recompute = True
    calls = []
    model.body.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    model.eval()(ids(2, 5)).sum().backward()
    with torch.no_grad():
        model.train()(ids(2, 5))
    assert len(calls) == 2
    model(ids(2, 5)).sum().backward()
    assert len(calls) == 4


KEPT = """
import json, sys, torch
from howfar.models import build
torch.set_num_threads(1)
model = build(sys.argv[1], vocabulary=9, outputs=2, width=32, embedding=32, depth=8, causal=False)
model.train()
tokens = torch.zeros(16, 256, dtype=torch.long)
sizes = {}
for model.recompute in (False, True):
    kept = {}
    def pack(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        answer = model(tokens)
    sizes[str(model.recompute)] = sum(kept.values())
print(json.dumps(sizes))
"""


@pytest.mark.parametrize("name", ["transformer", "mingru"])
def test_less_is_kept(name):
    run = [sys.executable, "-c", KEPT, name]
    found = json.loads(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
    assert found["True"] < found["False"] / 3
