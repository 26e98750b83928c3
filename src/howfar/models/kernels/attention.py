"""Attention of whole texts: every token reads every token of its text, and padding is read by none.

Idea     y_t = sum_s softmax_s(q_t . k_s / sqrt(D)) v_s over the real s. Where nothing is learned, a
         head's scores are made by the faster product, for as many places at once as stay in the
         cache; lengths go up to the next 32, so that few programs are written for them. Short
         texts and all else are torch's `scaled_dot_product_attention`
Shapes   q, k, v (B, H, L, D), lengths (B,) or None: no padding -> (B, H, L, D); what stands behind
         the end of a text is finite and says nothing
Gain     1.35 times the rate of torch's on reviews of 5 to 512 words, heads of 64, one thread of an
         AMD EPYC; 1.6 at 1,024 places and more
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from howfar.models.kernels.product import pays, product

FROM = 192  # places below which asking costs more than it saves
SCORES = 2**19  # of one head at once: 2 MiB
STEP = 32


def attention(
    q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, lengths: Tensor | None = None
) -> Tensor:
    """(B, H, L, D); a text of no tokens reads its first pad."""
    given = (q_BHLD, k_BHLD, v_BHLD)
    learned = torch.is_grad_enabled() and any(x.requires_grad for x in given)
    if not learned and pays(*given) and q_BHLD.shape[2] >= FROM:
        return _by_head(q_BHLD, k_BHLD, v_BHLD, lengths)
    mask = None
    if lengths is not None:
        place_L = torch.arange(q_BHLD.shape[2], device=lengths.device)
        # or the softmax of an empty text would be 0 / 0
        mask = (place_L < lengths.clamp(min=1)[:, None])[:, None, None]
    return F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD, attn_mask=mask)


def _by_head(q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, lengths: Tensor | None) -> Tensor:
    rows, heads, length, size = q_BHLD.shape
    more = -length % STEP
    q_XLD = F.pad(q_BHLD * size**-0.5, (0, 0, 0, more)).contiguous().flatten(0, 1)
    k_XLD = F.pad(k_BHLD, (0, 0, 0, more)).contiguous().flatten(0, 1)
    v_XLD = F.pad(v_BHLD, (0, 0, 0, more)).contiguous().flatten(0, 1)
    # as those who join the heads want it: all heads of a place side by side
    y_BLHD = q_BHLD.new_zeros(rows, length + more, heads, size)
    ends = [length] * rows if lengths is None else lengths.clamp(min=1).tolist()
    parts = zip(q_XLD.unbind(), k_XLD.unbind(), v_XLD.unbind(), strict=True)
    for place, (q_LD, k_LD, v_LD) in enumerate(parts):
        row, head = divmod(place, heads)
        y_LD, real = y_BLHD[row, :, head], ends[row]
        stop = real + -real % STEP
        at_once = max(1, SCORES // stop // STEP) * STEP
        k_SD, v_DS = k_LD[:stop], v_LD[:stop].t().contiguous()
        for start in range(0, stop, at_once):
            some = slice(start, min(stop, start + at_once))
            score_LS = product(q_LD[some], k_SD)
            score_LS[:, real:] = -math.inf
            y_LD[some] = product(score_LS.softmax(-1), v_DS)
    return y_BLHD[:, :length].transpose(1, 2)
