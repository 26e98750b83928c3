"""A causal convolution of every channel by itself, as long as the text: y_t = sum_i f_i x_{t-i}.

Idea     the text is cut into 2**levels blocks of about 64. Inside a block: the sum itself, as a
         product with a triangular matrix. Then, level by level: what the left half of two, four,
         eight .. blocks adds to the right half, by a Fourier transform of the left half alone. So
         no token ever enters a sum with a later output: what is causal is so to the last bit, in
         its gradients too, which one transform of the whole text would not give
Shapes   x (B, L, D), f (L', D), L' any -> (B, L, D); real; half precision is summed up in float32
Gain     forward and backward, float32, D=128, one thread, against one transform of the whole text
         (which also blurs the past by rounding): 0.7 of its time at B=32, L=512, as long at B=8,
         L=2048 and at B=1, L=65536, where it takes 0.2 GB and the other 0.6
Limits   memory beside input and output: a few times 2**18 numbers on a CPU, B L D elsewhere
Source   Gardner 1995, J. Audio Eng. Soc. 43(3) (convolution in growing blocks);
         Massaroli et al. 2023, https://arxiv.org/abs/2310.18780, section 2 (Fourier transforms in
         Hyena)
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.fft import irfft, rfft
from torch.nn import functional as F

from howfar.models.kernels import graph
from howfar.models.kernels.choice import as_graph
from howfar.models.kernels.memory import empty
from howfar.models.kernels.once import once_differentiable

BLOCK = 64  # longest block that is summed up directly
ELEMENTS = 2**18  # numbers of x taken at a time on a CPU: what its caches hold


def long_convolution(x_BLD: Tensor, filter_LD: Tensor) -> Tensor:
    """(B, L, D) -> (B, L, D); the filter may be longer or shorter than the text."""
    if as_graph():
        return graph.long_convolution(x_BLD, filter_LD)
    wide = torch.promote_types(torch.promote_types(x_BLD.dtype, filter_LD.dtype), torch.float32)
    y_BLD: Tensor = LongConvolution.apply(x_BLD.to(wide), filter_LD.to(wide))  # type: ignore[no-untyped-call]
    return y_BLD.to(x_BLD.dtype)


def long_convolution_slow(x_BLD: Tensor, filter_LD: Tensor) -> Tensor:
    """The slow twin: the sum itself."""
    length = x_BLD.shape[1]
    y_BLD = torch.zeros_like(x_BLD)
    for lag, tap_D in enumerate(filter_LD[:length].unbind()):
        y_BLD = y_BLD + tap_D * F.pad(x_BLD, (0, 0, lag, 0))[:, :length]
    return y_BLD


def long_convolution_flops(length: int, width: int) -> int:
    """What the blocks cost, multiply-add = 2; a real transform of n numbers: 2.5 n log2(n).

    A block of b: b (b + 1). A pair of halves of s: two transforms of n = 2 s and 6 (s + 1) for
    the product; a level: one transform for the filter.
    """
    block, levels = cut(length)
    total = (block << levels) * (block + 1.0)
    for level in range(levels):
        half, pairs = block << level, 1 << (levels - level - 1)
        transform = 2.5 * 2 * half * math.log2(2 * half)
        total += (2 * pairs + 1) * transform + 6 * pairs * (half + 1)
    return round(width * total)


def cut(length: int) -> tuple[int, int]:
    """(block, levels): block * 2**levels positions hold `length`; blocks whose halves are even."""
    if length <= BLOCK:
        return length, 0
    levels = (-(-length // BLOCK) - 1).bit_length()
    return -(-length // (8 << levels)) * 8, levels


class LongConvolution(torch.autograd.Function):
    """`LongConvolution.apply(x_BLD, filter_LD)`; its gradients cannot be differentiated again."""

    @staticmethod
    def forward(ctx: Any, x_BLD: Tensor, filter_LD: Tensor) -> Tensor:  # noqa: ANN401
        """Some channels at a time."""
        ctx.save_for_backward(x_BLD, filter_LD)
        y_BLD = empty(x_BLD, *x_BLD.shape)
        with torch.autocast(x_BLD.device.type, enabled=False):
            for part in _parts(x_BLD):
                y_BLD[..., part] = _convolved(x_BLD[..., part], filter_LD[:, part])
        return y_BLD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BLD: Tensor) -> tuple[Tensor | None, Tensor | None]:  # noqa: ANN401
        """Of x: the same sum, run backwards. Of f: its value at a lag is met by every pair."""
        x_BLD, filter_LD = ctx.saved_tensors
        for_x, for_f = ctx.needs_input_grad
        dx_BLD = empty(x_BLD, *x_BLD.shape) if for_x else None
        df_LD = torch.zeros_like(filter_LD) if for_f else None
        with torch.autocast(x_BLD.device.type, enabled=False):
            for part in _parts(x_BLD):
                dy = _laid(dy_BLD[..., part])
                spectra = _right(dy, *cut(x_BLD.shape[1]))
                if df_LD is not None:
                    met_LD = _met(_laid(x_BLD[..., part]), dy, spectra)[: x_BLD.shape[1]]
                    df_LD[: len(met_LD), part] = met_LD[: len(df_LD)]
                if dx_BLD is not None:
                    f = _filter(filter_LD[:, part], x_BLD.shape[1])
                    dx_BLD[..., part] = _spread(f, dy, spectra)[:, : x_BLD.shape[1]]
        return dx_BLD, df_LD


def _parts(x_BLD: Tensor) -> list[slice]:
    """Channels that are taken together."""
    rows, length, width = x_BLD.shape
    if rows * length == 0:
        return []
    block, levels = cut(length)
    many = max(1, ELEMENTS // (rows * block << levels)) if x_BLD.is_cpu else width
    return [slice(first, first + many) for first in range(0, width, many)]


def _laid(x_BLD: Tensor) -> Tensor:
    """(B, L, D) -> (D, B, n), zeros behind the text up to whole blocks."""
    block, levels = cut(x_BLD.shape[1])
    ends = (block << levels) - x_BLD.shape[1]
    return F.pad(x_BLD.permute(2, 0, 1), (0, ends)).contiguous()


def _filter(filter_LD: Tensor, length: int) -> Tensor:
    """(L', D) -> (D, 1, n): cut off, or zeros behind."""
    return _laid(F.pad(filter_LD, (0, 0, 0, length - len(filter_LD)))[None])


def _pairs(x_DBn: Tensor, half: int) -> Tensor:
    """(D, B, n) -> (D, B * pairs, 2, half): left and right halves of each pair."""
    return x_DBn.view(len(x_DBn), -1, 2, half)


def _triangles(f_D1n: Tensor, block: int) -> Tensor:
    """(D, b, b): at s, t the filter at lag t - s, zero before."""
    ahead = F.pad(f_D1n[:, 0, :block], (block - 1, 0))
    return ahead.unfold(1, block, 1).flip(1)


def _left(x_DBn: Tensor, half: int) -> Tensor:
    """Transforms of all left halves at the size of a pair, (D, B * pairs, half + 1)."""
    spectrum: Tensor = rfft(_pairs(x_DBn, half)[:, :, 0], n=2 * half)
    return spectrum


def _right(dy_DBn: Tensor, block: int, levels: int) -> list[Tensor]:
    """Those of all right halves, level by level."""
    halves = [block << level for level in range(levels)]
    return [_shifted(rfft(_pairs(dy_DBn, half)[:, :, 1], n=2 * half)) for half in halves]


def _shifted(spectrum: Tensor) -> Tensor:
    """The spectrum of the same numbers half a period later: every other sign turned."""
    spectrum[..., 1::2].neg_()
    return spectrum


def _convolved(x_BLD: Tensor, filter_LD: Tensor) -> Tensor:
    """Some channels of the result."""
    length = x_BLD.shape[1]
    block, levels = cut(length)
    x, f = _laid(x_BLD), _filter(filter_LD, length)
    y = torch.bmm(x.view(len(x), -1, block), _triangles(f, block)).view_as(x)
    for level in range(levels):
        half = block << level
        product = _left(x, half).mul_(rfft(f[..., : 2 * half]))
        _pairs(y, half)[:, :, 1] += irfft(product, n=2 * half)[..., half:]
    return y[..., :length].permute(1, 2, 0)


def _spread(f: Tensor, dy: Tensor, spectra: list[Tensor]) -> Tensor:
    """The gradient of x, (B, n, D): of a left half, by the right half alone. Uses up `spectra`."""
    block = dy.shape[2] >> len(spectra)
    dx = torch.bmm(dy.view(len(dy), -1, block), _triangles(f, block).mT).view_as(dy)
    for level, right in enumerate(spectra):
        half = block << level
        product = right.mul_(rfft(f[..., : 2 * half]).conj())
        _pairs(dx, half)[:, :, 0] += irfft(product, n=2 * half)[..., :half]
    return dx.permute(1, 2, 0)


def _met(x: Tensor, dy: Tensor, spectra: list[Tensor]) -> Tensor:
    """The gradient of f, (n, D): at lag i the sum of dy_t x_{t-i}."""
    block = dy.shape[2] >> len(spectra)
    met = torch.bmm(x.view(len(x), -1, block).mT, dy.view(len(dy), -1, block))
    # zeros behind every row of (s, t), then rows one longer: column i holds s, s + i
    skewed = F.pad(met, (0, block)).flatten(1)
    near = skewed.as_strided((len(x), block, block), (2 * block**2, 2 * block + 1, 1)).sum(1)
    df = F.pad(near, (0, x.shape[2] - block))
    for level, right in enumerate(spectra):
        half = block << level
        product = _left(x, half).conj_physical_().mul_(right)
        df[:, : 2 * half] += irfft(product.sum(1), n=2 * half)
    return df.T
