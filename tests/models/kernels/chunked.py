"""What the tests of the chunked kernels share: drawn numbers, both forms, gradients, nearness."""

import torch

from howfar.models.kernels import chunks


def reals(*shape, seed=0):
    generator = torch.Generator().manual_seed(1000 * seed + sum(shape))
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def answers(kernel, given, dtype=torch.float64):
    """Outputs and last state, then the gradients of all that is given, under random weights."""
    leaves = [None if x is None else x.detach().to(dtype).requires_grad_() for x in given]
    y_BHLV, last_BHKV = kernel(*leaves)
    loss = sum((x * reals(*x.shape, seed=9).to(dtype)).sum() for x in (y_BHLV, last_BHKV))
    found = torch.autograd.grad(loss, [x for x in leaves if x is not None])
    return [y_BHLV.detach(), last_BHKV.detach(), *found]


def near(got, want, tolerance):
    """To `tolerance`, relative to the largest number of each tensor."""
    for one, two in zip(got, want, strict=True):
        assert one.shape == two.shape
        largest = float(two.abs().max()) if two.numel() else 0.0
        torch.testing.assert_close(one.to(two.dtype), two, rtol=0, atol=tolerance * largest)


def rounded(given):
    """Numbers that float32 holds exactly, in float64: both precisions then start alike."""
    return [None if x is None else x.float().double() for x in given]


def segment_of(monkeypatch, numbers):
    """Segments of about that many numbers a tensor; 1: every chunk is a segment."""
    monkeypatch.setattr(chunks, "SEGMENT", numbers)


def saved_numbers(kernel, given):
    """Numbers that wait for the backward pass."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x.numel()), lambda x: x):
        y_BHLV, _ = kernel(*given)
    return y_BHLV, sum(saved)
