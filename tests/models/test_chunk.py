"""Chunk by chunk equals all at once: outputs, states and gradients, for every causal family."""

import pytest
import torch
from tests.models.variants import VARIANTS, cases

from howfar.core.errors import UsageError
from howfar.core.protocols import Streaming
from howfar.models import MODELS, build
from howfar.models.blocks import Residual

LENGTH, VOCABULARY = 29, 40
CHUNKED = [pytest.param(*case[:2], id=label) for label, case in cases(VARIANTS).items() if case[2]]
SIZES = {"ones": [1] * LENGTH, "odd": [7, 1, 13, 5, 3], "whole": [LENGTH], "late": [28, 1]}


def made(name, extras, causal=True):
    generator = torch.Generator().manual_seed(3)
    model = build(
        name,
        vocabulary=VOCABULARY,
        outputs=5,
        width=14,
        embedding=6,
        causal=causal,
        generator=generator,
        **extras,
    )
    return model.double().eval()


def ids(rows=3, length=LENGTH, seed=1):
    # few symbols, so that windows repeat and maxima are equal
    return torch.randint(6, (rows, length), generator=torch.Generator().manual_seed(seed))


def all_different():
    """No token twice: of two maxima equal but for rounding, either may carry the gradient."""
    generator = torch.Generator().manual_seed(4)
    rows = [torch.randperm(VOCABULARY, generator=generator)[:LENGTH] for _ in range(3)]
    return torch.stack(rows)


def in_chunks(model, tokens, sizes, state=None):
    parts = []
    for part in tokens.split(sizes, dim=1):
        output, state = model.chunk(part, state)
        parts.append(output)
    return torch.cat(parts, dim=1), state


def leaves(state):
    if isinstance(state, torch.Tensor):
        return [state]
    return [leaf for part in state for leaf in leaves(part)]


def test_every_family_stands_here():
    assert {name for name, _, form in VARIANTS if form != "whole"} == set(MODELS)
    assert isinstance(made("gru", {}), Streaming)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(("name", "extras"), CHUNKED)
@pytest.mark.parametrize("grad", [True, False])
def test_any_chunks_equal_all_at_once(name, extras, sizes, grad):
    model = made(name, extras)
    with torch.set_grad_enabled(grad):
        got, _ = in_chunks(model, ids(), sizes)
        torch.testing.assert_close(got, model(ids()), rtol=0, atol=1e-10)


@pytest.mark.parametrize("sizes", [SIZES["ones"], SIZES["odd"]], ids=["ones", "odd"])
@pytest.mark.parametrize(("name", "extras"), CHUNKED)
def test_gradients_pass_the_state(name, extras, sizes):
    """Those of parameters, and of every token's embedding: from the last outputs to the first."""
    found = []
    weight_BLC = torch.randn(
        3, LENGTH, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    tokens = all_different()
    for run in (lambda m: m(tokens), lambda m: in_chunks(m, tokens, sizes)[0]):
        model = made(name, extras)
        embedded = []

        def begin(module, given, output, into=embedded):
            into.append(output.detach().requires_grad_())
            return into[-1]

        with torch.no_grad():  # the last outputs alone read the state's past
            weight_BLC[:, :-3] = 0
        handle = model.embedding.register_forward_hook(begin)
        (weight_BLC * run(model)).sum().backward()
        handle.remove()
        by_token = torch.cat([part.grad for part in embedded], dim=1)
        parameters = [p.grad for key, p in model.named_parameters() if "embedding" not in key]
        found.append([by_token, *parameters])
    assert float(found[0][0][:, : -sizes[-1]].abs().max()) > 0 or model.reach(LENGTH) == 1
    for got, want in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras"), CHUNKED)
def test_steps_and_chunks_follow_one_another(name, extras):
    model = made(name, extras)
    tokens = ids()
    head, state = in_chunks(model, tokens[:, :11], [4, 7])
    parts = [head]
    for token_B in tokens[:, 11:15].unbind(1):
        answer_BC, state = model.step(token_B, state)
        parts.append(answer_BC[:, None])
    state = model.advance(tokens[:, 15:17], state)
    tail, after = in_chunks(model, tokens[:, 17:], [12], state)
    got = torch.cat([*parts, tail], dim=1)
    want = model(tokens)
    kept = torch.tensor([i for i in range(LENGTH) if i not in (15, 16)])
    torch.testing.assert_close(got, want[:, kept], rtol=0, atol=1e-10)
    for one, two in zip(leaves(after), leaves(in_chunks(model, tokens, [29])[1]), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras"), CHUNKED)
def test_a_state_may_be_used_twice_and_its_rows_exchanged(name, extras):
    model = made(name, extras)
    tokens = ids()
    state = model.advance(tokens[:, :12])
    before = [leaf.clone() for leaf in leaves(state)]
    first, _ = model.chunk(tokens[:, 12:], state)
    again, _ = model.chunk(tokens[:, 12:], state)
    assert torch.equal(first, again)
    assert all(torch.equal(a, b) for a, b in zip(before, leaves(state), strict=True))

    def turned(held):
        return held.roll(1, 0) if isinstance(held, torch.Tensor) else tuple(map(turned, held))

    mixed = torch.cat([tokens[:, :12].roll(1, 0), tokens[:, 12:]], dim=1)
    got, _ = model.chunk(tokens[:, 12:], turned(state))
    torch.testing.assert_close(got, model(mixed)[:, 12:], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras"), CHUNKED)
def test_float32_too(name, extras):
    model = made(name, extras)
    want = model(ids(2, 700))
    got, _ = in_chunks(model.float(), ids(2, 700), [256, 256, 188])
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_whole_form_refuses(name):
    model = made(name, {}, causal=False)
    for call in (model.chunk, model.advance):
        with pytest.raises(UsageError, match="cannot stop and go on"):
            call(ids(1, 2))


def test_a_mixer_without_chunks_is_named():
    class Sum(torch.nn.Module):
        def forward(self, x_BLD, lengths):
            return x_BLD.cumsum(1)

    with pytest.raises(UsageError, match="Sum cannot stop and go on"):
        Residual(Sum(), 4, 0.0, feed_forward=False).chunk(torch.zeros(1, 2, 4), None)
