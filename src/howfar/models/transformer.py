"""Attention: every position reads every position it may see, weighted by likeness.

Idea     y_t = sum_s a_ts v_s, a_ts = softmax_s(q_t . k_s / sqrt(d)), with q and k turned by an
         angle that grows with their position, so that q_t . k_s depends on t - s alone.
         Decoder: s <= t. Encoder: every real s. Behind each, a feed-forward of 4 D with GELU
Shapes   (B, L, D) -> (B, L, D); heads of an even size nearest D / heads
Reach    unbounded: all that is visible
State    keys and values: 2 * heads * head size floats a token and layer
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2; rotary positions:
         Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.protocols import State
from howfar.models.blocks import FLOAT_BYTES, Sizes, Stack, has_padding, positive, real_positions

BASE = 10_000.0  # slowest rotation: one radian in about this many tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerSettings:
    """depth: blocks; heads: attention heads a block."""

    depth: int = 2
    heads: int = 2

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads)


def rotate(x_BHLD: Tensor, first: int = 0) -> Tensor:
    """Turn each pair (i, i + D/2) by position * BASE**(-2i/D); the first position is `first`."""
    length, size = x_BHLD.shape[-2:]
    # angles need float32 at least: a position of 2,000 is not exact in bfloat16
    exact = torch.float64 if x_BHLD.dtype == torch.float64 else torch.float32
    pair_P = torch.arange(size // 2, device=x_BHLD.device, dtype=exact)
    place_L = torch.arange(first, first + length, device=x_BHLD.device, dtype=exact)
    angle_LP = place_L[:, None] * BASE ** (-2 * pair_P / size)
    cos_LD = angle_LP.cos().repeat(1, 2).to(x_BHLD.dtype)
    sin_LP = angle_LP.sin().to(x_BHLD.dtype)
    signed_LD = torch.cat([-sin_LP, sin_LP], dim=-1)
    return torch.addcmul(x_BHLD * cos_LD, x_BHLD.roll(size // 2, dims=-1), signed_LD)


class Attention(nn.Module):
    """Attention of several heads with rotary positions: (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, heads: int, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.heads = heads
        self.head_size = 2 * max(1, round(width / heads / 2))
        self.inner = heads * self.head_size
        self.qkv = nn.Linear(width, 3 * self.inner, bias=False)
        self.out = nn.Linear(self.inner, width, bias=False)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """Decoder: padding on the right is in the future of all real positions: no mask."""
        length = x_BLD.shape[1]
        q_BHLD, k_BHLD, v_BHLD = self._split(self.qkv(x_BLD))
        mask = None
        if not self.causal and has_padding(lengths, length):
            # an empty row sees its first pad, or its softmax would be 0 / 0
            mask = real_positions(lengths.clamp(min=1), length)[:, None, None]
        y_BHLD = F.scaled_dot_product_attention(
            rotate(q_BHLD), rotate(k_BHLD), v_BHLD, attn_mask=mask, is_causal=self.causal
        )
        y_BLD: Tensor = self.out(y_BHLD.transpose(1, 2).flatten(2))
        return y_BLD

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (turned keys, values), each (B, H, tokens so far, D)."""
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        length, place = x_BLD.shape[1], 0
        q_BHLD, k_BHLD, v_BHLD = self._split(self.qkv(x_BLD))
        if state is None:
            k_BHLD = rotate(k_BHLD)
        else:
            keys_BHLD, values_BHLD = cast("tuple[Tensor, Tensor]", state)
            place = keys_BHLD.shape[2]
            k_BHLD = torch.cat([keys_BHLD, rotate(k_BHLD, place)], dim=2)
            v_BHLD = torch.cat([values_BHLD, v_BHLD], dim=2)
        seen_LT = None
        if place > 0 and length > 1:
            everything_LT = torch.ones(length, place + length, dtype=torch.bool)
            seen_LT = everything_LT.tril(place).to(x_BLD.device)
        y_BHLD = F.scaled_dot_product_attention(
            rotate(q_BHLD, place), k_BHLD, v_BHLD, attn_mask=seen_LT, is_causal=place == 0
        )
        return self.out(y_BHLD.transpose(1, 2).flatten(2)), (k_BHLD, v_BHLD)

    def _split(self, qkv_BLX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = qkv_BLX.view(*qkv_BLX.shape[:2], 3, self.heads, self.head_size)
        q_BHLD, k_BHLD, v_BHLD = parts.permute(2, 0, 3, 1, 4)
        return q_BHLD, k_BHLD, v_BHLD

    def reach(self, length: int) -> int | None:
        """Unbounded: every visible token."""
        return None

    def state_bytes(self, length: int) -> int:
        """Keys and values of all tokens."""
        return FLOAT_BYTES * 2 * self.inner * length

    def flops(self, length: int) -> int:
        """Projections, scores and sums; the full square, as the hidden half is not skipped."""
        weights = self.qkv.weight.numel() + self.out.weight.numel()
        return 2 * weights * length + 4 * self.inner * length**2


def build_body(sizes: Sizes, settings: TransformerSettings) -> Stack:
    """The body of the family."""
    mixers = [
        Attention(sizes.width, settings.heads, causal=sizes.causal) for _ in range(settings.depth)
    ]
    return Stack(sizes, mixers, feed_forward=True)
