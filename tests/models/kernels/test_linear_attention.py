"""Linear attention in chunks: by hand, as a masked product, against the slow twin, at extremes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.models.kernels.chunked import answers, near, reals, rounded, saved_numbers, segment_of

from howfar.models.kernels import (
    gated_linear_attention,
    gated_linear_attention_flops,
    gated_linear_attention_slow,
)

FORMS = [gated_linear_attention, gated_linear_attention_slow]
KINDS = ["none", "head", "channel"]


def problem(shape, kind, *, start=True, strength=0.3, seed=0):
    """Inputs of a kernel; shape: B, H, L, K, V."""
    batch, heads, length, key, value = shape
    q_BHLK, k_BHLK = reals(2, batch, heads, length, key, seed=seed)
    logs = {"none": None, "head": q_BHLK[..., 0], "channel": q_BHLK}[kind]
    return [
        q_BHLK,
        k_BHLK,
        reals(batch, heads, length, value, seed=seed + 1),
        None if logs is None else -strength * (reals(*logs.shape, seed=seed + 2)).exp(),
        reals(batch, heads, key, value, seed=seed + 3) if start else None,
    ]


@pytest.mark.parametrize("kernel", FORMS)
def test_by_hand(kernel):
    """One number a head: S = (2, 0), (1 - 1, -1); one a channel, from (4, 4): (4, 1), (1, -.75)."""
    q_BHLK = torch.tensor([[[[1.0, 2.0], [3.0, 1.0]]]])
    k_BHLK = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    v_BHLV = torch.tensor([[[[2.0], [-1.0]]]])
    half_BHL = torch.full((1, 1, 2), 0.5).log()
    y_BHLV, last_BHKV = kernel(q_BHLK, k_BHLK, v_BHLV, half_BHL)
    torch.testing.assert_close(y_BHLV.flatten(), torch.tensor([2.0, -1.0]))
    torch.testing.assert_close(last_BHKV.flatten(), torch.tensor([0.0, -1.0]))
    logs_BHLK = torch.tensor([0.5, 0.25]).log().expand(1, 1, 2, 2)
    y_BHLV, last_BHKV = kernel(q_BHLK, k_BHLK, v_BHLV, logs_BHLK, torch.full((1, 1, 2, 1), 4.0))
    torch.testing.assert_close(y_BHLV.flatten(), torch.tensor([6.0, 2.25]))
    torch.testing.assert_close(last_BHKV.flatten(), torch.tensor([1.0, -0.75]))


@pytest.mark.parametrize("kernel", FORMS)
def test_without_decay_it_is_a_masked_product(kernel):
    q_BHLK, k_BHLK, v_BHLV, _, _ = problem((2, 3, 150, 6, 4), "none")
    y_BHLV, last_BHKV = kernel(q_BHLK, k_BHLK, v_BHLV)
    near([y_BHLV], [(q_BHLK @ k_BHLK.mT).tril() @ v_BHLV], 1e-13)
    near([last_BHKV], [k_BHLK.mT @ v_BHLV], 1e-13)


def test_without_decay_whole_numbers_are_exact():
    generator = torch.Generator().manual_seed(3)
    q_BHLK, k_BHLK = torch.randint(-3, 4, (2, 1, 2, 300, 4), generator=generator).float()
    v_BHLV = torch.randint(-3, 4, (1, 2, 300, 5), generator=generator).float()
    y_BHLV, _ = gated_linear_attention(q_BHLK, k_BHLK, v_BHLV)
    assert torch.equal(y_BHLV, (q_BHLK @ k_BHLK.mT).tril() @ v_BHLV)


@pytest.mark.parametrize("kernel", FORMS)
def test_retention_weighs_geometrically(kernel):
    """With keys and queries of 1 the weight of a value t - s back is decay ** (t - s)."""
    length, decays = 100, torch.tensor([0.9, 0.5], dtype=torch.float64)
    ones_BHLK = torch.ones(1, 2, length, 1, dtype=torch.float64)
    v_BHLV = torch.eye(length, dtype=torch.float64).expand(1, 2, length, length)
    logs_BHL = decays.log()[None, :, None].expand(1, 2, length)
    y_BHLV, _ = kernel(ones_BHLK, ones_BHLK, v_BHLV, logs_BHL)
    back_LL = torch.arange(length)[:, None] - torch.arange(length)
    want_HLL = torch.where(back_LL >= 0, decays[:, None, None] ** back_LL, 0.0)
    near([y_BHLV[0]], [want_HLL], 1e-13)


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [1, 2, 7, 63, 64, 65, 200])
def test_equals_the_slow_twin(length, kind, start):
    inputs = problem((3, 1, length, 5, 4), kind, start=start)
    near(answers(FORMS[0], inputs), answers(FORMS[1], inputs), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("numbers", [1, 3000, 1 << 17])
def test_equals_the_slow_twin_in_any_segments(monkeypatch, kind, numbers):
    segment_of(monkeypatch, numbers)
    inputs = problem((1, 3, 333, 40, 3), kind, strength=0.05)
    near(answers(FORMS[0], inputs), answers(FORMS[1], inputs), 1e-12)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(*(st.integers(1, top) for top in (3, 3, 90, 40, 9))),
    st.sampled_from(KINDS),
    st.booleans(),
    st.sampled_from([1e-3, 0.3, 30.0]),
)
def test_equals_the_slow_twin_in_any_shape(shape, kind, start, strength):
    inputs = problem(shape, kind, start=start, strength=strength, seed=sum(shape))
    near(answers(FORMS[0], inputs), answers(FORMS[1], inputs), 1e-11)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [2, 5])
def test_gradients_are_those_of_differences(length, kind):
    leaves = [
        x if x is None else x.requires_grad_() for x in problem((1, 2, length, 3, 2), kind, seed=4)
    ]
    assert torch.autograd.gradcheck(gated_linear_attention, leaves)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strength", [1e-3, 0.3])
def test_float32_keeps_its_digits(kind, strength):
    inputs = rounded(problem((1, 3, 1000, 16, 8), kind, strength=strength))
    want = answers(gated_linear_attention_slow, inputs)
    near(answers(gated_linear_attention, inputs, torch.float32), want, 3e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_float32_keeps_its_digits_in_long_texts(kind):
    inputs = rounded(problem((1, 1, 1 << 14, 4, 4), kind, strength=1e-3))
    want = answers(gated_linear_attention, inputs)
    near(answers(gated_linear_attention, inputs, torch.float32), want, 5e-6)


@pytest.mark.parametrize("kind", ["head", "channel"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_brutal_decays(kind, dtype):
    """Weak decays next to decays that leave nothing: either keep all their digits."""
    inputs = problem((2, 2, 150, 5, 4), kind)
    generator = torch.Generator().manual_seed(5)
    brutal = torch.tensor([0.0, -1e-4, -0.1, -1.0, -20.0, -80.0, -1e4], dtype=torch.float64)
    weights = torch.tensor([4.0, 10.0, 4.0, 2.0, 0.3, 0.3, 0.3])
    drawn = torch.multinomial(weights, inputs[3].numel(), True, generator=generator)
    inputs[3] = brutal[drawn].view(inputs[3].shape)
    inputs = rounded(inputs)
    want = answers(gated_linear_attention_slow, inputs)
    assert all(x.isfinite().all() for x in want)
    near(
        answers(gated_linear_attention, inputs, dtype),
        want,
        1e-11 if dtype == torch.float64 else 1e-6,
    )


@pytest.mark.parametrize("kind", ["head", "channel"])
def test_nothing_at_all_is_kept(kind):
    inputs = problem((1, 2, 70, 3, 3), kind)
    inputs[3][:, :, ::9] = -math.inf
    got = answers(gated_linear_attention, inputs)
    assert all(x.isfinite().all() for x in got)
    near(got, answers(gated_linear_attention_slow, inputs), 1e-12)


@pytest.mark.parametrize("kind", ["head", "channel"])
@pytest.mark.parametrize("strength", [1e-3, 1.0, 15.0])
def test_every_gradient_of_the_logs_has_its_digits(kind, strength):
    """Where all is positive the gradient is a sum of positive numbers, however small."""
    inputs = rounded(x.abs() for x in problem((1, 2, 200, 4, 3), kind, strength=strength))
    inputs[3] = -inputs[3]

    def logs(kernel, dtype):
        leaves = [x.to(dtype).requires_grad_() for x in inputs]
        y_BHLV, last_BHKV = kernel(*leaves)
        return torch.autograd.grad(y_BHLV.sum() + last_BHKV.sum(), leaves[3])[0].double()

    got, want = logs(FORMS[0], torch.float32), logs(FORMS[1], torch.float64)
    seen = want > 1e-30
    assert seen.double().mean() > 0.9
    torch.testing.assert_close(got[seen], want[seen], rtol=2e-5, atol=0)


def test_one_decay_for_all_channels_is_that_of_the_head():
    inputs = problem((2, 2, 100, 5, 4), "head", strength=2.0)
    by_head = answers(gated_linear_attention, inputs)
    inputs[3] = inputs[3][..., None].expand(inputs[0].shape)
    by_channel = answers(gated_linear_attention, inputs)
    by_channel[5] = by_channel[5].sum(-1)
    near(by_channel, by_head, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_part_by_part_is_all_at_once(kind):
    """The state is handed on with its gradients."""
    inputs = problem((2, 3, 130, 5, 4), kind)

    def parts(*given):
        *sequences, state_BHKV = given
        outputs = []
        for start, stop in ((0, 1), (1, 34), (34, 34), (34, 130)):
            cut = [None if x is None else x[:, :, start:stop] for x in sequences]
            y_BHLV, state_BHKV = gated_linear_attention(*cut, state_BHKV)
            outputs.append(y_BHLV)
        return torch.cat(outputs, 2), state_BHKV

    near(answers(parts, inputs), answers(gated_linear_attention, inputs), 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_layouts_in_memory(kind):
    """Heads between tokens and channels, every second channel, one decay for all rows."""
    inputs = problem((2, 3, 40, 4, 5), kind)
    laid = [
        inputs[0].transpose(1, 2).contiguous().transpose(1, 2),
        inputs[1].repeat_interleave(2, -1)[..., ::2],
        inputs[2][:1, :, :1].expand(inputs[2].shape),
        None if kind == "none" else inputs[3][:1].expand(inputs[3].shape),
        inputs[4].mT.contiguous().mT,
    ]
    copies = [None if x is None else x.contiguous() for x in laid]
    before = [None if x is None else x.clone() for x in laid]
    near(answers(FORMS[0], laid), answers(FORMS[1], copies), 1e-12)
    with torch.no_grad():
        near(FORMS[0](*laid), FORMS[1](*copies), 1e-12)
    assert all(x is None or torch.equal(x, y) for x, y in zip(laid, before, strict=True))


def test_a_decay_for_all_rows_may_be_given_once():
    inputs = problem((2, 3, 40, 4, 5), "head")
    once_BHL = inputs[3][:1, :, :1]
    small = answers(gated_linear_attention, [*inputs[:3], once_BHL, inputs[4]])
    inputs[3] = once_BHL.expand(inputs[3].shape)
    large = answers(gated_linear_attention_slow, inputs)
    large[5] = large[5].sum((0, 2), keepdim=True)
    near(small, large, 1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_only_where_asked(kind):
    inputs = problem((1, 2, 50, 4, 3), kind)
    full = answers(gated_linear_attention, inputs)[2:]
    held = [x for x in inputs if x is not None]
    for index, leaf in enumerate(held):
        given = [leaf.clone().requires_grad_() if x is leaf else x for x in inputs]
        y_BHLV, last_BHKV = gated_linear_attention(*given)
        loss = sum((x * reals(*x.shape, seed=9)).sum() for x in (y_BHLV, last_BHKV))
        asked = next(x for x in given if x is not None and x.requires_grad)
        near(torch.autograd.grad(loss, asked), [full[index]], 1e-13)


def test_a_second_backward_pass_finds_the_same():
    leaves = [x.requires_grad_() for x in problem((1, 2, 90, 4, 3), "channel")]
    y_BHLV, _ = gated_linear_attention(*leaves)
    first = torch.autograd.grad(y_BHLV.sum(), leaves, retain_graph=True)
    second = torch.autograd.grad(y_BHLV.sum(), leaves)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_later_tokens_leave_earlier_outputs_alone(kind):
    """Bit for bit, within a chunk and beyond it."""
    inputs = problem((1, 2, 90, 4, 3), kind)
    before_BHLV, _ = gated_linear_attention(*inputs)
    for at in (20, 70):
        changed = [x if x is None else x.clone() for x in inputs]
        for x in changed[:4]:
            if x is not None:
                x[:, :, at] *= 3
        after_BHLV, _ = gated_linear_attention(*changed)
        assert torch.equal(before_BHLV[:, :, :at], after_BHLV[:, :, :at])
        assert not torch.equal(before_BHLV[:, :, at], after_BHLV[:, :, at])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_for_the_backward_pass(kind):
    """The inputs, and a state for every segment; nothing where no gradient is wanted."""
    inputs = [
        x if x is None else x.float().requires_grad_()
        for x in problem((1, 2, 4096, 32, 32), kind, start=False)
    ]
    own = sum(x.numel() for x in inputs if x is not None)
    y_BHLV, saved = saved_numbers(gated_linear_attention, inputs)
    assert y_BHLV.requires_grad
    assert own <= saved < 1.1 * own
    with torch.no_grad():
        quiet_BHLV, saved = saved_numbers(gated_linear_attention, inputs)
    assert (saved, quiet_BHLV.requires_grad) == (0, False)
    assert torch.equal(quiet_BHLV, y_BHLV)


@pytest.mark.parametrize("kind", KINDS)
def test_no_token_leaves_the_state(kind):
    inputs = [x if x is None else x.requires_grad_() for x in problem((2, 2, 0, 3, 4), kind)]
    y_BHLV, last_BHKV = gated_linear_attention(*inputs)
    assert y_BHLV.shape == (2, 2, 0, 4)
    assert torch.equal(last_BHKV, inputs[4])
    last_BHKV.sum().backward()
    assert torch.equal(inputs[4].grad, torch.ones_like(last_BHKV))
    assert inputs[0].grad.shape == (2, 2, 0, 3)


def test_flops_by_hand():
    """4 tokens, 2 heads of 3 by 5: 120 numbers, each decayed, written and read."""
    assert gated_linear_attention_flops(4, 2, 3, 5) == 720
