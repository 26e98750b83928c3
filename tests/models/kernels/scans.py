"""What the tests of the recurrent scans share: drawn tensors, both forms, gradients, nearness."""

import pytest
import torch

from howfar.models import kernels
from howfar.models.kernels import threads

FORMS = ["torch", "compiled"] if kernels.installed() else ["torch"]
# steps first, rows first as blocks have them, and every second number of something wider
LAYOUTS = ["steps", "rows", "strided"]


def scan_of(name, form):
    """A scan in one form, or its slow twin."""
    if form == "slow":
        return getattr(kernels, f"{name}_slow")

    def scan(*args):
        with kernels.using(form):
            return getattr(kernels, name)(*args)

    return scan


def reals(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1000 * seed + sum(shape))
    return torch.randn(*shape, dtype=torch.float64, generator=generator).to(dtype)


def laid(x_LBX, layout):
    """The same numbers, lying otherwise in memory."""
    if layout == "rows":
        return x_LBX.transpose(0, 1).contiguous().transpose(0, 1)
    return x_LBX.repeat_interleave(2, 2)[..., ::2] if layout == "strided" else x_LBX


def gradients(scan, given, layout="steps"):
    """All states, then the gradients of everything given, under random weights."""
    leaves = [x.detach().clone().requires_grad_() for x in given]
    h_LBD = scan(laid(leaves[0], layout), *leaves[1:])
    weights = reals(*h_LBD.shape, seed=9, dtype=h_LBD.dtype)
    return [h_LBD.detach(), *torch.autograd.grad((h_LBD * weights).sum(), leaves)]


def near(got, want, tolerance):
    """To `tolerance`, relative to the largest number of each tensor or 1."""
    for one, two in zip(got, want, strict=True):
        scale = max(1.0, float(two.detach().abs().max())) if two.numel() else 1.0
        assert one.shape == two.shape
        torch.testing.assert_close(one.to(two.dtype), two, rtol=0, atol=tolerance * scale)


@pytest.fixture
def two_threads(monkeypatch):
    """Two threads, and every part worth one; says how many parts ran."""
    parts = []

    def counted(rows, work, least=1):
        def part(first, last):
            parts.append((first, last))
            work(first, last)

        threads.in_parts(rows, part, 1)

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    for name in ("compiled_product", "compiled_indrnn"):
        module = pytest.importorskip(f"howfar.models.kernels.{name}")
        monkeypatch.setattr(module, "in_parts", counted)
    yield parts
    torch.set_num_threads(before)
