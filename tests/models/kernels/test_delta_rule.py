"""The delta rule in chunks: by hand, as an exact memory, against the slow twin, at extremes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.kernels.chunked import answers, near, reals, rounded, saved_numbers, segment_of
from torch.nn import functional as F

from howfar.models.kernels import delta_rule, delta_rule_flops, delta_rule_slow

FORMS = [delta_rule, delta_rule_slow]


def problem(shape, *, decay=True, start=True, strength=0.3, top=1.0, seed=0):
    """Inputs of a kernel, keys of norm 1 and beta below top; shape: B, H, L, K, V."""
    batch, heads, length, key, value = shape
    q_BHLK, k_BHLK = reals(2, batch, heads, length, key, seed=seed)
    log_BHL = -strength * reals(batch, heads, length, seed=seed + 2).exp()
    return [
        q_BHLK,
        F.normalize(k_BHLK, dim=-1),
        reals(batch, heads, length, value, seed=seed + 1),
        reals(batch, heads, length, seed=seed + 4).sigmoid() * top,
        log_BHL if decay else None,
        reals(batch, heads, key, value, seed=seed + 3) if start else None,
    ]


@pytest.mark.parametrize("kernel", FORMS)
def test_by_hand(kernel):
    """Writes half of 3 to (1, 0), halves it to .75, then brings what (1, 1) holds from .75 to 1."""
    q_BHLK = torch.tensor([[[[2.0, 1.0], [1.0, 4.0]]]])
    k_BHLK = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    v_BHLV = torch.tensor([[[[3.0], [1.0]]]])
    beta_BHL, log_BHL = torch.tensor([[[0.5, 1.0]]]), torch.tensor([[[0.0, math.log(0.5)]]])
    y_BHLV, last_BHKV = kernel(q_BHLK, k_BHLK, v_BHLV, beta_BHL, log_BHL)
    torch.testing.assert_close(y_BHLV.flatten(), torch.tensor([3.0, 2.0]))
    torch.testing.assert_close(last_BHKV.flatten(), torch.tensor([1.0, 0.25]))


@pytest.mark.parametrize("kernel", FORMS)
def test_orthonormal_keys_give_back_their_values_exactly(kernel):
    """24 keys are written, then 24 written anew in another order, then all 24 are asked for."""
    size, generator = 24, torch.Generator().manual_seed(2)
    order = torch.randperm(size, generator=generator)
    keys_KK = torch.eye(size)
    k_LK = torch.cat([keys_KK, keys_KK[order], keys_KK])
    v_LV = torch.randint(-9, 10, (3 * size, 7), generator=generator).float()
    beta_L = torch.cat([torch.ones(2 * size), torch.zeros(size)])
    given = [x[None, None] for x in (k_LK, k_LK, v_LV, beta_L)]
    y_BHLV, last_BHKV = kernel(*given)
    assert torch.equal(y_BHLV[0, 0, : 2 * size], v_LV[: 2 * size])
    assert torch.equal(last_BHKV[0, 0, order], v_LV[size : 2 * size])
    assert torch.equal(y_BHLV[0, 0, 2 * size :], last_BHKV[0, 0])


@pytest.mark.parametrize("kernel", FORMS)
def test_turned_orthonormal_keys_give_back_their_values(kernel):
    keys_KK = torch.linalg.qr(reals(40, 40))[0]
    v_LV = reals(40, 6)
    given = [x[None, None] for x in (keys_KK, keys_KK, v_LV, torch.ones(40).double())]
    _, last_BHKV = kernel(*given)
    near([keys_KK @ last_BHKV[0, 0]], [v_LV], 1e-13)


@pytest.mark.parametrize("kernel", FORMS)
def test_beta_of_nothing_leaves_the_state(kernel):
    q_BHLK, k_BHLK, v_BHLV, beta_BHL, _, state_BHKV = problem((2, 3, 70, 5, 4))
    y_BHLV, last_BHKV = kernel(q_BHLK, k_BHLK, v_BHLV, 0 * beta_BHL, None, state_BHKV)
    assert torch.equal(last_BHKV, state_BHKV)
    near([y_BHLV], [q_BHLK @ state_BHKV], 1e-14)


@pytest.mark.parametrize("kernel", FORMS)
def test_beta_of_two_reflects(kernel):
    """Without values the state is mirrored by every key: twice is itself, and nothing is lost."""
    _, k_BHLK, _, _, _, state_BHKV = problem((1, 2, 75, 6, 4))
    there_BHLK = torch.cat([k_BHLK, k_BHLK.flip(2)], 2)
    nothing_BHLV, two_BHL = torch.zeros(1, 2, 150, 4).double(), torch.full((1, 2, 150), 2.0)
    _, last_BHKV = kernel(there_BHLK, there_BHLK, nothing_BHLV, two_BHL.double(), None, state_BHKV)
    near([last_BHKV], [state_BHKV], 1e-12)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65, 200])
def test_equals_the_slow_twin(length, decay, start):
    inputs = problem((3, 1, length, 5, 4), decay=decay, start=start)
    near(answers(FORMS[0], inputs), answers(FORMS[1], inputs), 1e-12)


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("numbers", [1, 3000, 1 << 17])
def test_equals_the_slow_twin_in_any_segments(monkeypatch, decay, numbers):
    segment_of(monkeypatch, numbers)
    inputs = problem((1, 3, 333, 40, 3), decay=decay, strength=0.05)
    near(answers(FORMS[0], inputs), answers(FORMS[1], inputs), 1e-12)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*(st.integers(1, top) for top in (3, 3, 90, 40, 9))),
    st.booleans(),
    st.booleans(),
    st.sampled_from([1e-3, 0.3, 30.0]),
    st.sampled_from([0.1, 1.0, 2.0]),
)
def test_equals_the_slow_twin_in_any_shape(shape, decay, start, strength, top):
    inputs = problem(shape, decay=decay, start=start, strength=strength, top=top, seed=sum(shape))
    near(answers(FORMS[0], inputs), answers(FORMS[1], inputs), 1e-10)


@pytest.mark.parametrize("scale", [1e-3, 0.3])
def test_keys_of_any_size(scale):
    inputs = problem((1, 3, 150, 5, 4))
    inputs[1] = inputs[1] * scale * reals(1, 3, 150, 1, seed=6).exp().clamp(max=4)
    near(answers(FORMS[0], inputs), answers(FORMS[1], inputs), 1e-12)


def test_keys_too_long_grow_as_the_equation_does():
    """Here beta |k|^2 = 4: each step may turn the state round and treble it."""
    inputs = problem((1, 2, 40, 3, 2), decay=False)
    inputs[1], inputs[3] = 2 * inputs[1], torch.ones_like(inputs[3])
    want = answers(delta_rule_slow, inputs)
    assert want[1].abs().max() > 1e6
    near(answers(delta_rule, inputs), want, 1e-9)


@pytest.mark.parametrize("decay", [False, True])
@pytest.mark.parametrize("length", [2, 5])
def test_gradients_are_those_of_differences(length, decay):
    leaves = [
        x if x is None else x.requires_grad_()
        for x in problem((1, 2, length, 3, 2), decay=decay, seed=4)
    ]
    assert torch.autograd.gradcheck(delta_rule, leaves)


@pytest.mark.parametrize("strength", [0.0, 1e-3, 0.3])
@pytest.mark.parametrize("top", [1.0, 2.0])
def test_float32_keeps_its_digits(strength, top):
    inputs = rounded(problem((1, 3, 1000, 16, 8), strength=strength, top=top))
    want = answers(delta_rule_slow, inputs)
    near(answers(delta_rule, inputs, torch.float32), want, 5e-6)


def test_float32_keeps_its_digits_where_all_keys_are_alike():
    """One key for a whole text, the worst a chunk's triangle can hold."""
    inputs = rounded(problem((1, 2, 300, 6, 4), decay=False))
    inputs[1] = inputs[1][:, :, :1].expand(inputs[1].shape)
    inputs[3] = torch.ones_like(inputs[3])
    want = answers(delta_rule_slow, inputs)
    near(answers(delta_rule, inputs, torch.float32), want, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_brutal_decays(dtype):
    """Weak decays next to decays that leave nothing: either keep all their digits."""
    inputs = problem((2, 2, 150, 5, 4))
    generator = torch.Generator().manual_seed(5)
    brutal = torch.tensor([0.0, -1e-4, -0.1, -1.0, -20.0, -80.0, -1e4], dtype=torch.float64)
    weights = torch.tensor([4.0, 10.0, 4.0, 2.0, 0.3, 0.3, 0.3])
    drawn = torch.multinomial(weights, inputs[4].numel(), True, generator=generator)
    inputs[4] = brutal[drawn].view(inputs[4].shape)
    inputs = rounded(inputs)
    want = answers(delta_rule_slow, inputs)
    assert all(x.isfinite().all() for x in want)
    near(answers(delta_rule, inputs, dtype), want, 1e-11 if dtype == torch.float64 else 1e-6)


def test_nothing_at_all_is_kept():
    inputs = problem((1, 2, 70, 3, 3))
    inputs[4][:, :, ::9] = -math.inf
    got = answers(delta_rule, inputs)
    assert all(x.isfinite().all() for x in got)
    near(got, answers(delta_rule_slow, inputs), 1e-12)


def test_part_by_part_is_all_at_once():
    """The state is handed on with its gradients."""
    inputs = problem((2, 3, 130, 5, 4))

    def parts(*given):
        *sequences, state_BHKV = given
        outputs = []
        for start, stop in ((0, 1), (1, 34), (34, 34), (34, 130)):
            cut = [x[:, :, start:stop] for x in sequences]
            y_BHLV, state_BHKV = delta_rule(*cut, state_BHKV)
            outputs.append(y_BHLV)
        return torch.cat(outputs, 2), state_BHKV

    near(answers(parts, inputs), answers(delta_rule, inputs), 1e-12)


def test_layouts_in_memory():
    """Heads between tokens and channels, every second channel, one beta for all rows."""
    inputs = problem((2, 3, 40, 4, 5))
    laid = [
        inputs[0].transpose(1, 2).contiguous().transpose(1, 2),
        inputs[1].repeat_interleave(2, -1)[..., ::2],
        inputs[2][:1, :, :1].expand(inputs[2].shape),
        inputs[3][:1].expand(inputs[3].shape),
        inputs[4][:, :, :1].expand(inputs[4].shape),
        inputs[5].mT.contiguous().mT,
    ]
    copies = [x.contiguous() for x in laid]
    before = [x.clone() for x in laid]
    near(answers(FORMS[0], laid), answers(FORMS[1], copies), 1e-12)
    with torch.no_grad():
        near(FORMS[0](*laid), FORMS[1](*copies), 1e-12)
    assert all(torch.equal(x, y) for x, y in zip(laid, before, strict=True))


def test_beta_and_decay_for_all_rows_may_be_given_once():
    inputs = problem((2, 3, 40, 4, 5))
    once = [x[:1, :, :1] for x in inputs[3:5]]
    small = answers(delta_rule, [*inputs[:3], *once, inputs[5]])
    inputs[3:5] = [x.expand(2, 3, 40) for x in once]
    large = answers(delta_rule_slow, inputs)
    large[5:7] = [x.sum((0, 2), keepdim=True) for x in large[5:7]]
    near(small, large, 1e-12)


@pytest.mark.parametrize("decay", [False, True])
def test_gradients_only_where_asked(decay):
    inputs = problem((1, 2, 50, 4, 3), decay=decay)
    full = answers(delta_rule, inputs)[2:]
    held = [x for x in inputs if x is not None]
    for index, leaf in enumerate(held):
        given = [leaf.clone().requires_grad_() if x is leaf else x for x in inputs]
        y_BHLV, last_BHKV = delta_rule(*given)
        loss = sum((x * reals(*x.shape, seed=9)).sum() for x in (y_BHLV, last_BHKV))
        asked = next(x for x in given if x is not None and x.requires_grad)
        near(torch.autograd.grad(loss, asked), [full[index]], 1e-13)


def test_a_second_backward_pass_finds_the_same():
    leaves = [x.requires_grad_() for x in problem((1, 2, 90, 4, 3))]
    y_BHLV, _ = delta_rule(*leaves)
    first = torch.autograd.grad(y_BHLV.sum(), leaves, retain_graph=True)
    second = torch.autograd.grad(y_BHLV.sum(), leaves)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


def test_later_tokens_leave_earlier_outputs_alone():
    """Bit for bit, within a chunk and beyond it."""
    inputs = problem((1, 2, 90, 4, 3))
    before_BHLV, _ = delta_rule(*inputs)
    for at in (20, 70):
        changed = [x.clone() for x in inputs]
        for x in changed[:5]:
            x[:, :, at] *= 0.5
        after_BHLV, _ = delta_rule(*changed)
        assert torch.equal(before_BHLV[:, :, :at], after_BHLV[:, :, :at])
        assert not torch.equal(before_BHLV[:, :, at], after_BHLV[:, :, at])


@pytest.mark.parametrize("decay", [False, True])
def test_what_is_kept_for_the_backward_pass(decay):
    """The inputs, and a state for every segment; nothing where no gradient is wanted."""
    inputs = [
        x if x is None else x.float().requires_grad_()
        for x in problem((1, 2, 4096, 32, 32), decay=decay, start=False)
    ]
    own = sum(x.numel() for x in inputs if x is not None)
    y_BHLV, saved = saved_numbers(delta_rule, inputs)
    assert y_BHLV.requires_grad
    assert own <= saved < 1.1 * own
    with torch.no_grad():
        quiet_BHLV, saved = saved_numbers(delta_rule, inputs)
    assert (saved, quiet_BHLV.requires_grad) == (0, False)
    assert torch.equal(quiet_BHLV, y_BHLV)


def test_no_token_leaves_the_state():
    inputs = [x.requires_grad_() for x in problem((2, 2, 0, 3, 4))]
    y_BHLV, last_BHKV = delta_rule(*inputs)
    assert y_BHLV.shape == (2, 2, 0, 4)
    assert torch.equal(last_BHKV, inputs[5])
    last_BHKV.sum().backward()
    assert torch.equal(inputs[5].grad, torch.ones_like(last_BHKV))
    assert inputs[0].grad.shape == (2, 2, 0, 3)


def test_flops_by_hand():
    """4 tokens, 2 heads of 3 by 5: 120 numbers, each decayed, asked, written and read."""
    assert delta_rule_flops(4, 2, 3, 5) == 960
