"""Attention of whole texts: the sum over visible pairs, written out, is the twin."""

import pytest
import torch

from howfar.models.kernels import attention, product


def slow(q_BHLD, k_BHLD, v_BHLD, lengths):
    found = torch.zeros_like(q_BHLD)
    for row, length in enumerate(lengths):
        seen = max(1, length)
        score_HLS = q_BHLD[row] @ k_BHLD[row, :, :seen].mT / q_BHLD.shape[-1] ** 0.5
        found[row] = score_HLS.softmax(-1) @ v_BHLD[row, :, :seen]
    return found


def drawn(rows, heads, length, size, dtype=torch.float32):
    generator = torch.Generator().manual_seed(length)
    return torch.randn(3, rows, heads, length, size, generator=generator).to(dtype).unbind()


CASES = [
    (1, 2, 192, 64, [192]),
    (3, 2, 193, 10, [193, 192, 1]),
    (2, 1, 224, 33, [0, 224]),
    (2, 3, 415, 16, [97, 415]),
    (1, 1, 1500, 8, [1490]),
    (2, 2, 40, 8, [40, 7]),
    (0, 2, 300, 8, []),
    (2, 2, 1, 8, [1, 0]),
]


@pytest.mark.parametrize(("rows", "heads", "length", "size", "lengths"), CASES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_equals_the_sum_over_pairs(rows, heads, length, size, lengths, dtype, turned):
    q, k, v = drawn(rows, heads, length, size, dtype)
    if turned:  # as a model has them: all heads of a place side by side
        q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))
    got = attention(q, k, v, torch.tensor(lengths, dtype=torch.long))
    want = slow(q.double(), k.double(), v.double(), lengths)
    assert got.dtype == dtype
    assert got.isfinite().all()
    for row, real in enumerate(lengths):
        within = 3e-6 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(
            got[row, :, :real].double(), want[row, :, :real], rtol=0, atol=within
        )


def test_without_padding_lengths_are_not_needed():
    q, k, v = drawn(2, 2, 300, 16)
    assert torch.equal(attention(q, k, v), attention(q, k, v, torch.tensor([300, 300])))


def test_padding_is_read_by_none_and_may_hold_anything():
    q, k, v = drawn(2, 2, 260, 16)
    lengths = torch.tensor([260, 201])
    before = attention(q, k, v, lengths)
    for x, value in ((k, 1e30), (v, 1e30)):
        x[1, :, 201:] = value
    after = attention(q, k, v, lengths)
    assert torch.equal(after[1, :, :201], before[1, :, :201])
    assert torch.equal(after[0], before[0])


def test_with_a_gradient_it_is_the_same():
    q, k, v = drawn(2, 2, 320, 16)
    lengths = torch.tensor([320, 111])
    want = attention(q, k, v, lengths)
    given = [x.clone().requires_grad_() for x in (q, k, v)]
    got = attention(*given, lengths)
    torch.testing.assert_close(got[0], want[0], rtol=0, atol=3e-6)
    torch.testing.assert_close(got[1, :, :111], want[1, :, :111], rtol=0, atol=3e-6)
    (got[0].sum() + got[1, :, :111].sum()).backward()
    slow_given = [x.clone().requires_grad_() for x in (q, k, v)]
    want = slow(*slow_given, [320, 111])
    (want[0].sum() + want[1, :, :111].sum()).backward()
    for one, other in zip(given, slow_given, strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-5)


def test_who_watches_sees_the_call_of_torch():
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func.__name__)
            return func(*args, **(kwargs or {}))

    with Watch():
        attention(*drawn(1, 2, 300, 16))
    assert "scaled_dot_product_attention" in seen
    assert product.works()
