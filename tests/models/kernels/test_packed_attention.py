"""Documents in one row: against one big mask, no leak of a single bit, places."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.core.errors import UsageError
from howfar.models import kernels
from howfar.models.blocks import places_of, rotate, rotate_at

FAST, SLOW = kernels.packed_attention, kernels.packed_attention_slow


def drawn(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def inputs(lengths, heads=2, groups=2, size=4, dtype=torch.float64):
    total = sum(lengths)
    shapes = (heads, groups, groups)
    return [drawn(n, total, size, seed=i, dtype=dtype) for i, n in enumerate(shapes)]


def test_by_hand():
    v = torch.tensor([1.0, 3.0, 10.0, 20.0, 60.0]).double().reshape(1, 5, 1)
    q = torch.zeros_like(v)
    lengths = torch.tensor([2, 0, 3])
    for kernel in (FAST, SLOW):
        assert kernel(q, q, v, lengths).flatten().tolist() == [1.0, 2.0, 10.0, 15.0, 30.0]
        whole = kernel(q, q, v, lengths, causal=False).flatten().tolist()
        assert whole == [2.0, 2.0, 30.0, 30.0, 30.0]


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 12), max_size=8),
    groups=st.integers(1, 2),
    each=st.integers(1, 3),
    causal=st.booleans(),
)
def test_equals_slow_twin_and_its_gradients(lengths, groups, each, causal):
    found = []
    for kernel in (FAST, SLOW):
        leaves = [x.requires_grad_() for x in inputs(lengths, groups * each, groups)]
        y = kernel(*leaves, torch.tensor(lengths, dtype=torch.long), causal=causal)
        assert y.shape == leaves[0].shape
        y.square().sum().backward()
        zeros = torch.zeros_like
        found.append([y, *(zeros(x) if x.grad is None else x.grad for x in leaves)])
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("causal", [True, False])
def test_no_document_changes_a_bit_of_another(causal, dtype):
    sizes = [5, 3, 0, 70, 5, 1, 5]
    lengths = torch.tensor(sizes)
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    weight = drawn(2, sum(sizes), 4, seed=9, dtype=dtype)

    def run(changed):
        leaves = inputs(sizes, dtype=dtype)
        if changed is not None:
            inside = slice(starts[changed], starts[changed] + sizes[changed])
            for x in leaves:
                x[:, inside] = x[:, inside].flip(-1) * 3 + 1
        leaves = [x.requires_grad_() for x in leaves]
        y = FAST(*leaves, lengths, causal=causal)
        (y * weight).sum().backward()
        return [y.detach(), *(x.grad for x in leaves)]

    before = run(None)
    for changed, size in enumerate(sizes):
        kept = torch.ones(sum(sizes), dtype=torch.bool)
        kept[starts[changed] : starts[changed] + size] = False
        after = run(changed)
        for one, two in zip(before, after, strict=True):
            assert torch.equal(one[:, kept], two[:, kept])
        assert size == 0 or not torch.equal(before[0][:, ~kept], after[0][:, ~kept])


@torch.no_grad()
def test_each_document_is_what_it_is_alone():
    sizes = [4, 9, 4]
    q, k, v = inputs(sizes)
    places = places_of(torch.tensor(sizes))
    assert places.tolist() == [*range(4), *range(9), *range(4)]
    got = FAST(rotate_at(q, places), rotate_at(k, places), v, torch.tensor(sizes))
    for first, last in ((0, 4), (4, 13), (13, 17)):
        parts = (rotate(q[:, first:last]), rotate(k[:, first:last]), v[:, first:last])
        alone = torch.nn.functional.scaled_dot_product_attention(
            *(part[None] for part in parts), is_causal=True
        )[0]
        torch.testing.assert_close(got[:, first:last], alone, rtol=0, atol=1e-12)


def test_no_documents_and_wrong_lengths():
    q, k, v = inputs([0])
    assert FAST(q, k, v, torch.tensor([0, 0])).shape == (2, 0, 4)
    assert FAST(q, k, v, torch.zeros(0, dtype=torch.long)).shape == (2, 0, 4)
    assert places_of(torch.tensor([0, 0])).tolist() == []
    q, k, v = inputs([5])
    for lengths in ([4], [3, 3], [6, -1]):
        for kernel in (FAST, SLOW):
            with pytest.raises(UsageError, match="cannot fill a row of 5") as caught:
                kernel(q, k, v, torch.tensor(lengths))
            assert caught.value.code == "E-SHAPE"


def test_flops():
    assert kernels.packed_attention_flops(torch.tensor([2, 0, 3]), 2, 8) == 4 * 2 * 8 * 13
