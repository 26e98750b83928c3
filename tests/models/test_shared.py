"""What every family must keep, in both forms: float64, 1e-10, over the dict itself.

Longer than most files: one list of promises, to be read as one.
"""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.counting import counting
from tests.models.variants import EXACT, VARIANTS, cases
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.models import MODELS, Model, Stack, build

VOCABULARY, OUTPUTS, MANY = 11, 5, 160
CASES = [pytest.param(*case, id=label) for label, case in cases(VARIANTS).items()]
CAUSAL = [case for case in CASES if case.values[2]]
WHOLE = [case for case in CASES if not case.values[2]]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(
    name,
    extras,
    causal,
    *,
    seed=0,
    width=14,
    dtype=torch.float64,
    dropout=0.0,
    vocabulary=VOCABULARY,
):
    model = build(
        name,
        vocabulary=vocabulary,
        outputs=OUTPUTS,
        width=width,
        embedding=6,
        causal=causal,
        dropout=dropout,
        generator=generator(seed),
        **extras,
    )
    return model.to(dtype).eval()


def ids(rows, length, seed=1):
    return torch.randint(VOCABULARY, (rows, length), generator=generator(seed))


def real(logits, lengths):
    """Outputs that mean something: of real positions, or of the whole row."""
    if logits.ndim == 2:
        return logits
    return torch.cat([row[:n] for row, n in zip(logits, lengths.tolist(), strict=True)])


def held_bytes(state):
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    return sum(held_bytes(part) for part in state)


def test_every_family_stands_here():
    assert {name for name, _, _ in VARIANTS} == set(MODELS)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_shapes(name, extras, causal):
    model = made(name, extras, causal)
    assert model.causal is causal
    logits = model(ids(3, 9))
    assert logits.shape == ((3, 9, OUTPUTS) if causal else (3, OUTPUTS))
    if causal:
        torch.testing.assert_close(model.head(model.hidden(ids(3, 9))), logits, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_padding_changes_nothing(name, extras, causal):
    model = made(name, extras, causal)
    lengths = torch.tensor([9, 4, 1, 7])
    tokens = ids(4, 9)
    want = real(model(tokens, lengths), lengths)
    pads = torch.arange(9) >= lengths[:, None]
    other = torch.where(pads, (tokens + 3) % VOCABULARY, tokens)
    torch.testing.assert_close(real(model(other, lengths), lengths), want, rtol=0, atol=1e-10)
    for more in (1, 5, 64):
        longer = torch.cat([tokens, ids(4, more, seed=more)], dim=1)
        got = real(model(longer, lengths), lengths)
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_padding_changes_no_gradient(name, extras, causal):
    lengths = torch.tensor([9, 4])
    tokens = ids(2, 9)
    found = []
    for batch in (tokens, torch.cat([tokens, ids(2, 6, seed=2)], dim=1)):
        model = made(name, extras, causal)
        real(model(batch, lengths), lengths).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_rows_do_not_see_each_other(name, extras, causal):
    model = made(name, extras, causal)
    lengths = torch.tensor([9, 4, 1, 7])
    tokens = ids(4, 9)
    together = model(tokens, lengths)
    order = torch.tensor([2, 0, 3, 1])
    want = real(together[order], lengths[order])
    got = real(model(tokens[order], lengths[order]), lengths[order])
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    for row, n in enumerate(lengths.tolist()):
        alone = model(tokens[row : row + 1, :n])
        want = together[row : row + 1, :n] if causal else together[row : row + 1]
        torch.testing.assert_close(alone, want, rtol=0, atol=1e-10)


@torch.no_grad()
def future_moves(model, tokens):
    """Largest change at positions before a changed token, over all places; whole: of anything."""
    before = model(tokens)
    worst = 0.0
    for place in range(1, tokens.shape[1]):
        changed = tokens.clone()
        changed[:, place:] = (changed[:, place:] + 1) % VOCABULARY
        after = model(changed)
        seen = slice(0, place) if model.causal else slice(None)
        worst = max(worst, float((after[:, seen] - before[:, seen]).abs().max()))
    return worst


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_future_changes_nothing_in_the_causal_form_alone(name, extras, causal):
    moved = future_moves(made(name, extras, causal), ids(2, 33))
    assert moved == 0.0 if causal else moved > 1e-6


@pytest.mark.parametrize("name", ["tcn", "transformer"])
@torch.no_grad()
def test_whole_form_reads_ahead_at_every_position(name):
    model = made(name, {}, causal=False)
    tokens = ids(1, 9)
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % VOCABULARY
    assert float((model.hidden(changed) - model.hidden(tokens))[0, 4].abs().max()) > 1e-6


def touched(model, length, place, seeds=4):
    """Positions that can move the hidden vector at `place`: by gradient, by another token."""
    by_gradient = torch.zeros(length, dtype=torch.bool)
    by_swap = torch.zeros(length, dtype=torch.bool)
    for seed in range(seeds):
        # no token twice: of two equal maxima only one carries the gradient
        tokens = torch.randperm(MANY, generator=generator(seed))[None, :length]
        x_BLE = model.embedding(tokens).detach().requires_grad_()
        y_D = model.body(x_BLE, torch.tensor([length]))[0, place]
        weight_D = torch.randn(y_D.shape, generator=generator(seed), dtype=y_D.dtype)
        (y_D @ weight_D).backward()
        by_gradient |= x_BLE.grad[0].abs().amax(-1) > 0
        swapped = tokens.repeat(length, 1)
        swapped.diagonal().add_(1 + seed).remainder_(MANY)
        with torch.no_grad():
            y_LD = model.hidden(swapped)[:, place]
        by_swap |= (y_LD - y_D).abs().amax(-1) > 1e-13
    return by_gradient, by_swap


def span(seen):
    places = seen.nonzero().flatten()
    return int(places.max() - places.min()) + 1


FINITE = [pytest.param(*case, id=label) for label, case in cases(EXACT).items()]


@pytest.mark.parametrize(("name", "extras", "causal"), FINITE)
def test_declared_reach_is_measured(name, extras, causal):
    model = made(name, extras, causal, width=8, vocabulary=MANY)
    declared = model.reach(100)
    length = 2 * declared + 3
    place = length - 1 if causal else length // 2
    for seen in touched(model, length, place):
        assert span(seen) == declared
        if not causal:
            assert int(seen.nonzero().min()) == place - declared // 2


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_reaches_no_further_than_declared_and_all_where_unbounded(name, extras, causal):
    model = made(name, extras, causal, vocabulary=MANY)
    length = 40
    declared = model.reach(length)
    for seen in touched(model, length, length - 1, seeds=16):
        assert span(seen) <= (length if declared is None else declared)
        if declared is None:
            assert span(seen) == length


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_empty_row_is_finite_and_harmless(name, extras, causal):
    model = made(name, extras, causal)
    lengths = torch.tensor([6, 0, 3])
    tokens = ids(3, 6)
    logits = model(tokens, lengths)
    assert logits.isfinite().all()
    mates = torch.tensor([0, 2])
    want = real(model(tokens[mates], lengths[mates]), lengths[mates])
    torch.testing.assert_close(real(logits[mates], lengths[mates]), want, rtol=0, atol=1e-10)
    if not causal:
        torch.testing.assert_close(logits[1], model.head.bias, rtol=0, atol=0)
        assert model(tokens, torch.zeros(3, dtype=torch.long)).isfinite().all()
    logits.sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
@pytest.mark.parametrize("length", [1, 2, 2000])
def test_any_length(name, extras, causal, length):
    model = made(name, extras, causal, dtype=torch.float32)
    with torch.no_grad():
        logits = model(ids(1, length))
    assert logits.isfinite().all()
    assert logits.shape == ((1, length, OUTPUTS) if causal else (1, OUTPUTS))


@pytest.mark.parametrize(("name", "extras", "causal"), CAUSAL)
def test_steps_equal_all_at_once(name, extras, causal):
    model = made(name, extras, causal)
    tokens = ids(3, 25)
    state, answers = None, []
    for token_B in tokens.unbind(1):
        answer_BC, state = model.step(token_B, state)
        answers.append(answer_BC)
    torch.testing.assert_close(torch.stack(answers, 1), model(tokens), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras", "causal"), CAUSAL)
def test_state_bytes_are_the_bytes_held(name, extras, causal):
    model = made(name, extras, causal, dtype=torch.float32)
    state = None
    for place, token_B in enumerate(ids(1, 12).unbind(1)):
        _, state = model.step(token_B, state)
        assert held_bytes(state) == model.state_bytes(place + 1)


@pytest.mark.parametrize(("name", "extras", "causal"), WHOLE)
def test_whole_form_refuses_steps(name, extras, causal):
    with pytest.raises(UsageError, match="one token at a time"):
        made(name, extras, causal).step(ids(1, 1)[:, 0])


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_what_is_saved_is_loaded(name, extras, causal, tmp_path):
    model = made(name, extras, causal)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = made(name, extras, causal, seed=9)
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(ids(3, 9)), model(ids(3, 9)))


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_generator_decides_every_parameter(name, extras, causal):
    before = torch.get_rng_state()
    one, same, other = (made(name, extras, causal, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    first, again, third = (model.state_dict() for model in (one, same, other))
    assert all(tensor.isfinite().all() for tensor in first.values())
    for key, tensor in first.items():
        assert torch.equal(tensor, again[key])
        if tensor.unique().numel() > 2:  # zeros, ones and the forget bias are not drawn
            assert not torch.equal(tensor, third[key])


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_gradient_reaches_every_parameter(name, extras, causal):
    model = made(name, extras, causal)
    model(ids(8, 21)).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_count_splits_all_parameters(name, extras, causal):
    model = made(name, extras, causal)
    counts = model.count()
    assert counts["embedding"] == VOCABULARY * 6
    assert counts["head"] == OUTPUTS * (model.body.out_width + 1)
    assert sum(counts.values()) == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_declared_flops_are_counted(name, extras, causal, monkeypatch):
    model = made(name, extras, causal)
    length = 17
    declared = model.flops(length)
    with counting(monkeypatch) as counted:
        model(ids(1, length))
        assert counted() == declared


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_dropout_only_in_training(name, extras, causal):
    model = made(name, extras, causal, dropout=0.5)
    tokens = ids(2, 9)
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
@torch.no_grad()
def test_dropout_stands_before_body_and_head(name, extras, causal):
    model = made(name, extras, causal, dropout=0.5)
    zeros = {}

    def watch(module, arguments):
        zeros.setdefault(module, []).append(float((arguments[0] == 0).double().mean()))

    for part in (model.body, model.head):
        part.register_forward_pre_hook(watch)
    for training in (False, True):
        model.train(training)(ids(40, 9))
    for without, dropped in zeros.values():
        assert dropped == pytest.approx(without + 0.5 * (1 - without), abs=0.1)


STACKED = [case for case in CAUSAL if type(made(*case.values).body) is Stack]


@pytest.mark.parametrize(("name", "extras", "causal"), STACKED)
@torch.no_grad()
def test_stacks_are_residual(name, extras, causal):
    stack = made(name, extras, causal).body
    x_BLE = torch.randn(2, 7, 6, generator=generator(), dtype=torch.float64)
    lengths = torch.tensor([7, 7])
    x_BLD = stack.project(x_BLE)
    for block in stack.blocks:
        x_BLD = x_BLD + block.mixer(F.layer_norm(x_BLD, x_BLD.shape[-1:]), lengths)
        if block.ff is not None:
            x_BLD = x_BLD + block.ff(F.layer_norm(x_BLD, x_BLD.shape[-1:]))
    want = F.layer_norm(x_BLD, x_BLD.shape[-1:])
    torch.testing.assert_close(stack(x_BLE, lengths), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_float32_too(name, extras, causal):
    exact = made(name, extras, causal)
    model: Model = made(name, extras, causal, dtype=torch.float32)
    lengths = torch.tensor([20, 11])
    tokens = ids(2, 20)
    got = real(model(torch.cat([tokens, ids(2, 7)], 1), lengths), lengths)
    want = real(exact(tokens, lengths), lengths).float()
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)
