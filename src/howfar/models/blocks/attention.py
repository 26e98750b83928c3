"""Attention from one sequence to another, whose keys and values are worked out once.

Idea     y_t = sum_s a_ts v_s, a_ts = softmax_s(q_t . k_s / sqrt(d)); q from x, k and v from the
         memory, over its real positions alone
Shapes   x (B, L, D), memory (B, S, M), lengths of the memory (B,) -> (B, L, D)
State    keys and values: 2 * heads * head size floats a token of the memory
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2.3
"""

from torch import Tensor, nn
from torch.nn import functional as F

from howfar.models.blocks.base import FLOAT_BYTES, has_padding, real_positions
from howfar.models.blocks.heads import head_size, join_heads
from howfar.models.blocks.linear import Linear

Memory = tuple[Tensor, Tensor]  # keys and values, each (B, H, S, D)


class CrossAttention(nn.Module):
    """Reads a memory; no positions. An empty memory is read as zeros.

    Args:
        width: D, of what asks and of the answer.
        memory_width: M.
        heads: H, each of the size nearest D / H.
    """

    def __init__(self, width: int, memory_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_size = head_size(width, heads)
        self.inner = heads * self.head_size
        self.q = Linear(width, self.inner, bias=False)
        self.kv = Linear(memory_width, 2 * self.inner, bias=False)
        self.out = Linear(self.inner, width, bias=False)

    def forward(self, x_BLD: Tensor, memory_BSM: Tensor, memory_lengths: Tensor) -> Tensor:
        """(B, L, D); memory_lengths: (B,) real positions of the memory, padding on the right."""
        return self.attend(x_BLD, self.remember(memory_BSM), memory_lengths)

    def remember(self, memory_BSM: Tensor) -> Memory:
        """Keys and values of the memory, (B, H, S, D) each."""
        k_BSX, v_BSX = self.kv(memory_BSM).chunk(2, dim=-1)
        return self._apart(k_BSX), self._apart(v_BSX)

    def attend(self, x_BLD: Tensor, memory: Memory, memory_lengths: Tensor) -> Tensor:
        """(B, L, D) from what `remember` gave; any L, as no position knows of another."""
        k_BHSD, v_BHSD = memory
        length = k_BHSD.shape[2]
        if length == 0:
            return x_BLD.new_zeros(x_BLD.shape)
        mask_B11S, padded = None, has_padding(memory_lengths, length)
        if padded:
            # an empty row reads its first pad, or its softmax would be 0 / 0
            mask_B11S = real_positions(memory_lengths.clamp(min=1), length)[:, None, None]
        q_BHLD = self._apart(self.q(x_BLD))
        y_BHLD = F.scaled_dot_product_attention(q_BHLD, k_BHSD, v_BHSD, attn_mask=mask_B11S)
        y_BLD: Tensor = self.out(join_heads(y_BHLD))
        return y_BLD.masked_fill((memory_lengths == 0)[:, None, None], 0.0) if padded else y_BLD

    def _apart(self, x_BLX: Tensor) -> Tensor:
        """(B, L, H * size) -> (B, H, L, size), of any L."""
        return x_BLX.view(*x_BLX.shape[:2], self.heads, self.head_size).transpose(1, 2)

    def memory_bytes(self, source: int) -> int:
        """Keys and values of `source` positions."""
        return FLOAT_BYTES * 2 * self.inner * source

    def flops(self, source: int, length: int) -> int:
        """Keys and values once, questions and answers at every position, scores and sums."""
        asked = 2 * (self.q.weight.numel() + self.out.weight.numel()) * length
        return asked + 2 * self.kv.weight.numel() * source + 4 * self.inner * source * length
