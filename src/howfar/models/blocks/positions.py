"""Where a token stands, told to attention: by turning, by a bias of distance, or by a vector.

Idea     rotary      q and k are turned by angles that grow with their place, so that q_t . k_s
                     depends on t - s: pair i turns by place * 10,000**(-2i / D)
         alibi       the score loses slope * |t - s|; slopes 2**(-8 h / H) for head h = 1 .. H, and
                     those between for numbers of heads that are no power of two
         relative    the score gains a learned number for the bucket of s - t: near distances have
                     a bucket each, far ones share one by their logarithm up to 128. 32 buckets,
                     half of them for each side where both are read
         sinusoidal  a vector of sines and cosines of the place, wavelengths 2 pi to 10,000 * 2 pi
Shapes   rotary (..., L, D) -> (..., L, D); biases lags (X,) -> (H, X); sinusoidal (L,) -> (L, E)
Source   Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2; Press et al. 2021,
         https://arxiv.org/abs/2108.12409, section 3 and its code; Raffel et al. 2019,
         https://arxiv.org/abs/1910.10683, section 2.1 and its code; Vaswani et al. 2017,
         https://arxiv.org/abs/1706.03762, section 3.5
"""

import math

import torch
from torch import Generator, Tensor, nn

BASE = 10_000.0  # slowest rotation: one radian in about this many tokens
BUCKETS = 32
FARTHEST = 128  # distances from here on share the last bucket


def rotate(x_BHLD: Tensor, first: int = 0) -> Tensor:
    """Turn each pair (i, i + D/2) by position * BASE**(-2i/D); the first position is `first`."""
    length = x_BHLD.shape[-2]
    return rotate_at(x_BHLD, torch.arange(first, first + length, device=x_BHLD.device))


def rotate_at(x_BHLD: Tensor, place_L: Tensor) -> Tensor:
    """Turn each pair (i, i + D/2) of position l by place_L[l] * BASE**(-2i/D)."""
    size = x_BHLD.shape[-1]
    exact = exact_on(x_BHLD.device)
    pair_P = torch.arange(size // 2, device=x_BHLD.device, dtype=exact)
    angle_LP = place_L.to(exact)[:, None] * BASE ** (-2 * pair_P / size)
    cos_LD = angle_LP.cos().repeat(1, 2).to(x_BHLD.dtype)
    sin_LP = angle_LP.sin().to(x_BHLD.dtype)
    signed_LD = torch.cat([-sin_LP, sin_LP], dim=-1)
    return torch.addcmul(x_BHLD * cos_LD, x_BHLD.roll(size // 2, dims=-1), signed_LD)


def exact_on(device: torch.device) -> torch.dtype:
    """Of angles: at place 30,000 float32 turns a vector by 5e-4 of its length too far."""
    return torch.float32 if device.type == "mps" else torch.float64  # which it does not have


def places_of(lengths: Tensor) -> Tensor:
    """Places in documents that stand one after another: 0 .. n-1 for each n of `lengths` (N,)."""
    starts = lengths.cumsum(0) - lengths
    total = int(lengths.sum())
    return torch.arange(total, device=lengths.device) - starts.repeat_interleave(lengths)


def sinusoids(place_L: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """(L, E): sin(place * BASE**(-2i/E)) at 2i, the cosine at 2i + 1."""
    exact = exact_on(place_L.device)
    pair_P = torch.arange((width + 1) // 2, device=place_L.device, dtype=exact)
    angle_LP = place_L.to(exact)[..., None] * BASE ** (-2 * pair_P / width)
    both_LP2 = torch.stack([angle_LP.sin(), angle_LP.cos()], dim=-1)
    return both_LP2.flatten(-2)[..., :width].to(dtype)


def slopes(heads: int) -> list[float]:
    """Of ALiBi, the steepest first; what is no power of two takes every other of the next power."""
    power = 2 ** int(math.log2(heads))
    near = [2 ** (-8 * (head + 1) / power) for head in range(power)]
    return near if power == heads else near + slopes(2 * power)[::2][: heads - power]


def buckets(lag_X: Tensor, *, both_sides: bool) -> Tensor:
    """The bucket of each lag t - s, (X,); one side: what is ahead counts as distance 0."""
    side = BUCKETS // 2 if both_sides else BUCKETS
    distance_X = lag_X.abs() if both_sides else lag_X.clamp(min=0)
    exact = side // 2
    # in float32, as where it was published: a border such as 32 must fall on the same side
    octave_X = (distance_X.clamp(min=1).float() / exact).log() / math.log(FARTHEST / exact)
    far_X = (exact + (octave_X * (side - exact)).long()).clamp(max=side - 1)
    bucket_X = torch.where(distance_X < exact, distance_X, far_X)
    return bucket_X + side * (lag_X < 0) if both_sides else bucket_X


class Alibi(nn.Module):
    """A penalty that grows with the distance; nothing to learn."""

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.slopes = slopes(heads)

    def forward(self, lag_X: Tensor, dtype: torch.dtype) -> Tensor:
        """(H, X)."""
        slope_H = torch.tensor(self.slopes, dtype=dtype, device=lag_X.device)
        return -slope_H[:, None] * lag_X.abs()


class Relative(nn.Module):
    """A learned number a bucket and head.

    Args:
        heads: H.
        width: of what is attended from; T5 draws with variance 1 / width.
        both_sides: lags below 0 have buckets of their own.
    """

    def __init__(self, heads: int, width: int, *, both_sides: bool) -> None:
        super().__init__()
        self.both_sides = both_sides
        self.std = width**-0.5
        self.weight_HX = nn.Parameter(torch.empty(heads, BUCKETS))

    def draw(self, generator: Generator) -> None:
        """Normal, variance 1 / width."""
        nn.init.normal_(self.weight_HX, std=self.std, generator=generator)

    def forward(self, lag_X: Tensor, dtype: torch.dtype) -> Tensor:
        """(H, X)."""
        return self.weight_HX[:, buckets(lag_X, both_sides=self.both_sides)].to(dtype)
