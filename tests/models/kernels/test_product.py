"""The product by oneDNN: torch's own as its twin."""

import pytest
import torch
from torch.nn import functional as F

from howfar.models.kernels import linear, product


def drawn(*shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).to(dtype).requires_grad_()


@pytest.mark.parametrize("shape", [(3, 500, 64), (1, 9, 5), (7001, 33), (0, 4, 64), (2, 0, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("turned", [False, True])
def test_equals_torch_with_gradients(shape, dtype, turned):
    x, weight, bias = drawn(*shape, dtype=dtype), drawn(96, shape[-1], dtype=dtype), drawn(96)
    bias = bias.detach().to(dtype).requires_grad_()
    found = []
    for function in (linear, F.linear):
        y = function(x, weight, bias)
        y = y.transpose(0, 1) if turned else y
        seed = drawn(*y.shape, dtype=dtype).detach()
        found.append((y, *torch.autograd.grad((y * seed).sum(), (x, weight, bias))))
    for got, want in zip(*found, strict=True):
        scale = float(want.detach().abs().amax()) if want.numel() else 1.0
        tolerance = 2e-6 if dtype == torch.float32 else 1e-13
        torch.testing.assert_close(got, want, rtol=0, atol=tolerance * max(scale, 1))


def test_without_the_operation_torch_answers(monkeypatch):
    def missing(*_):
        raise RuntimeError("no such operation")

    x, weight, bias = drawn(512, 64), drawn(96, 64), drawn(96)
    monkeypatch.setattr(product, "product", missing)
    product.works.cache_clear()
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    product.works.cache_clear()


def test_one_that_answers_wrongly_is_not_used(monkeypatch):
    monkeypatch.setattr(product, "product", lambda x, weight, bias: x @ weight.t())
    product.works.cache_clear()
    assert not product.works()
    product.works.cache_clear()


def test_frozen_inputs_need_no_gradient():
    x, weight, bias = drawn(512, 64).detach(), drawn(96, 64), drawn(96)
    linear(x, weight, bias).sum().backward()
    torch.testing.assert_close(weight.grad, x.sum(0).expand(96, 64), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("rows", [63, 64, 1025, 8191, 20_000])
def test_the_gradient_of_the_weight_adds_up_over_its_pieces(rows):
    x, weight, bias = drawn(rows, 160), drawn(128, 160), drawn(128)
    seed = drawn(rows, 128).detach()
    (got,) = torch.autograd.grad((linear(x, weight, bias) * seed).sum(), weight)
    want = seed.double().t() @ x.detach().double()
    torch.testing.assert_close(got.double(), want, rtol=0, atol=3e-6 * float(want.abs().amax()))


def test_second_derivatives_are_those_of_torch():
    x, weight, bias = drawn(512, 96), drawn(128, 96), drawn(128)
    assert product.ENOUGH <= 512 * 96 * 128
    found = []
    for function in (linear, F.linear):
        y = function(x, weight, bias).square().sum()
        (first,) = torch.autograd.grad(y, x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), (x, weight, bias)))
    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5 * float(want.abs().amax()))


def test_without_a_bias_and_without_a_gradient():
    x, weight = drawn(512, 96), drawn(128, 96)
    torch.testing.assert_close(linear(x, weight), x @ weight.t(), rtol=1e-5, atol=1e-4)
    with torch.no_grad():
        assert not linear(x, weight).requires_grad
    with torch.inference_mode():
        torch.testing.assert_close(linear(x, weight), x @ weight.t(), rtol=1e-5, atol=1e-4)


def test_who_watches_sees_the_call_of_torch():
    seen = []

    class Watch(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            seen.append(func)
            return func(*args, **(kwargs or {}))

    with Watch():
        linear(drawn(512, 96), drawn(128, 96), drawn(128))
    assert F.linear in seen or torch._C._nn.linear in seen


@pytest.mark.parametrize(
    ("rows", "weights", "sizes"),
    [
        (0, 2**14, [0]),
        (63, 2**14, [63]),
        (64, 2**14, [64, 0]),
        (20_000, 2**14, [8192, 8192, 2048, 1024, 512, 32]),
        (20_000, 2**7, [8192, 8192, 3616]),
        (5, 2**20, [4, 1, 0]),
        (9_000, 1, [9_000]),
    ],
)
def test_pieces_are_powers_of_two_and_leave_out_no_row(rows, weights, sizes):
    slices = list(product._pieces(rows, weights))
    assert [part.stop - part.start for part in slices] == sizes
    assert [part.start for part in slices] == [sum(sizes[:n]) for n in range(len(sizes))]
