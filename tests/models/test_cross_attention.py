"""Attention to a memory: against torch's, empty memories, steps, what it declares."""

import pytest
import torch
from tests.models.counting import counting
from torch import nn

from howfar.models.blocks import CrossAttention


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(module, seed=3):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5, generator=generator(seed))
    return module


def torches(cross, width, memory_width, heads):
    """nn.MultiheadAttention with the same weights."""
    other = nn.MultiheadAttention(
        width, heads, bias=False, kdim=memory_width, vdim=memory_width, batch_first=True
    )
    keys, values = cross.kv.weight.detach().chunk(2)
    for mine, theirs in (
        (cross.q.weight, other.q_proj_weight),
        (keys, other.k_proj_weight),
        (values, other.v_proj_weight),
        (cross.out.weight, other.out_proj.weight),
    ):
        theirs.data.copy_(mine.detach())
    return other.to(cross.q.weight.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_multihead_attention_and_its_gradients(dtype):
    cross = drawn(CrossAttention(12, 10, 3)).to(dtype)
    other = torches(cross, 12, 10, 3)
    x_BLD = torch.randn(3, 5, 12, generator=generator(1), dtype=dtype)
    memory_BSM = torch.randn(3, 7, 10, generator=generator(2), dtype=dtype)
    lengths = torch.tensor([7, 2, 4])
    hidden = torch.arange(7) >= lengths[:, None]
    found = []
    for run in (
        lambda x, m: cross(x, m, lengths),
        lambda x, m: other(x, m, m, key_padding_mask=hidden, need_weights=False)[0],
    ):
        x, memory = x_BLD.clone().requires_grad_(), memory_BSM.clone().requires_grad_()
        y = run(x, memory)
        y.square().sum().backward()
        found.append((y, x.grad, memory.grad))
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        cross.q.weight.grad, other.q_proj_weight.grad, rtol=1e-4, atol=tolerance
    )


def test_by_hand():
    cross = CrossAttention(1, 1, 1).double()
    for linear, value in ((cross.q, 2.0), (cross.kv, 1.0), (cross.out, 3.0)):
        linear.weight.data.fill_(value)
    # q = 2, k = v = 0 and 1: weights softmax(0, 2), answer 3 e^2 / (1 + e^2)
    memory = torch.tensor([[[0.0], [1.0]]]).double()
    got = cross(torch.ones(1, 1, 1).double(), memory, torch.tensor([2]))
    assert float(got.detach()) == pytest.approx(3 * 0.880797077978, abs=1e-10)


def test_empty_memory_is_read_as_zeros():
    cross = drawn(CrossAttention(6, 4, 2))
    x_BLD = torch.randn(2, 3, 6, generator=generator())
    memory_BSM = torch.randn(2, 5, 4, generator=generator(1)).requires_grad_()
    for lengths in (torch.tensor([0, 3]), torch.tensor([0, 0])):
        y_BLD = cross(x_BLD, memory_BSM, lengths)
        assert torch.equal(y_BLD[0], torch.zeros(3, 6))
        y_BLD.sum().backward()
        assert memory_BSM.grad.isfinite().all()
        assert not memory_BSM.grad[0].any()
    assert not memory_BSM.grad[1, 3:].any()
    nothing = cross(x_BLD, torch.zeros(2, 0, 4), torch.tensor([0, 0]))
    assert torch.equal(nothing, torch.zeros(2, 3, 6))


@torch.no_grad()
def test_pads_of_the_memory_change_nothing_and_steps_equal_all():
    cross = drawn(CrossAttention(6, 4, 2)).double()
    x_BLD = torch.randn(2, 3, 6, generator=generator()).double()
    memory_BSM = torch.randn(2, 5, 4, generator=generator(1)).double()
    lengths = torch.tensor([5, 2])
    want = cross(x_BLD, memory_BSM, lengths)
    memory_BSM[1, 2:] = 9.0
    kept = cross.remember(memory_BSM)
    for place in range(3):
        got = cross.attend(x_BLD[:, place : place + 1], kept, lengths)
        torch.testing.assert_close(got[:, 0], want[:, place], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("width", "heads", "size"), [(12, 3, 4), (14, 3, 5), (1, 2, 1)])
def test_declares_what_it_holds_and_computes(width, heads, size, monkeypatch):
    cross = drawn(CrossAttention(width, 7, heads))
    assert cross.head_size == size
    memory = torch.zeros(1, 9, 7)
    held = sum(part.numel() * 4 for part in cross.remember(memory))
    assert cross.memory_bytes(9) == held
    with counting(monkeypatch) as counted:
        cross(torch.zeros(1, 4, width), memory, torch.tensor([9]))
        assert counted() == cross.flops(9, 4)
