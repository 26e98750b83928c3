"""Attention: every position reads every position it may see, weighted by likeness.

Idea     y_t = sum_s a_ts v_s, a_ts = softmax_s(q_t . k_s / sqrt(d) + b_{t-s}).
         Decoder: s <= t. Encoder: every real s. Behind each, a feed-forward of 4 D with GELU.
         window: the last `window` tokens alone (encoder: as many on each side), and `sinks` first
         ones. kv_heads: as many heads of keys and values, each read by several heads of queries.
         positions: "rotary" turns q and k by an angle that grows with their place, so that
         q_t . k_s depends on t - s; "alibi" and "relative" are biases b of t - s; "learned" and
         "sinusoidal" are added to the input; "none": order is told by what may be seen alone
Shapes   (B, L, D) -> (B, L, D); heads of an even size nearest D / heads
Reach    unbounded: all that is visible; with a window and no sinks 1 + depth * (window - 1),
         cut at the ends of the text
State    keys and values: 2 * kv_heads * head size floats a token and layer, of the last window - 1
         tokens and the sinks where there is a window; learned and sinusoidal places: 8 bytes more
Limits   an encoder without positions reads a bag of tokens, one with alibi a text as its reverse.
         Distances to sinks count the tokens that are held, as Xiao et al. do. Relative buckets are
         a table of 32 for each layer, where Raffel et al. share one; scores keep their 1 / sqrt(d)
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.2 and 3.5; rotary
         positions: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2; ALiBi: Press et
         al. 2021, https://arxiv.org/abs/2108.12409, section 3; relative buckets: Raffel et al.
         2019, https://arxiv.org/abs/1910.10683, section 2.1; no positions: Kazemnejad et al. 2023,
         https://arxiv.org/abs/2305.19466; window: Beltagy et al. 2020,
         https://arxiv.org/abs/2004.05150, section 3.1; sinks: Xiao et al. 2023,
         https://arxiv.org/abs/2309.17453, section 3.2; grouped heads: Ainslie et al. 2023,
         https://arxiv.org/abs/2305.13245, section 2.2
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import howfar.models.kernels as kernels
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.models.blocks import (
    FLOAT_BYTES,
    Alibi,
    Linear,
    PlacedStack,
    Relative,
    Sizes,
    Stack,
    has_padding,
    join_heads,
    places_of,
    positive,
    rotate,
    rotate_at,
)

POSITIONS = ("rotary", "none", "learned", "sinusoidal", "alibi", "relative")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerSettings:
    """Blocks and heads, how places are told, and what is seen.

    depth: blocks; heads: attention heads a block; positions: one of `POSITIONS`; window: tokens
    each position sees, itself included (odd where both sides are read), None: all; sinks: first
    tokens that stay visible beside the window; kv_heads: heads of keys and values, None: as many
    as heads; max_length: places of "learned".
    """

    depth: int = 2
    heads: int = 2
    positions: str = "rotary"
    window: int | None = None
    sinks: int = 0
    kv_heads: int | None = None
    max_length: int = 4096

    def __post_init__(self) -> None:
        positive(depth=self.depth, heads=self.heads, max_length=self.max_length)
        if self.positions not in POSITIONS:
            raise UsageError(
                "E-OPTION",
                f"positions cannot be {shown(self.positions)}.",
                f"one of {', '.join(POSITIONS)}",
            )
        if self.window is not None:
            positive(window=self.window)
        if self.sinks != 0:
            positive(sinks=self.sinks)
            if self.window is None:
                raise UsageError(
                    "E-OPTION", "sinks stay visible beside a window: there is none.", "window=256"
                )
        if self.kv_heads is not None:
            positive(kv_heads=self.kv_heads)
            if self.heads % self.kv_heads:
                raise UsageError(
                    "E-OPTION",
                    f"kv_heads={self.kv_heads} does not divide heads={self.heads}.",
                    "kv_heads=1 fits any number of heads",
                )


class Attention(nn.Module):
    """Attention of several heads within one text: (B, L, D) -> (B, L, D)."""

    def __init__(self, width: int, settings: TransformerSettings, *, causal: bool) -> None:
        super().__init__()
        self.causal = causal
        self.window, self.sinks = settings.window, settings.sinks
        self.heads = settings.heads
        self.kv_heads = settings.kv_heads or settings.heads
        self.head_size = 2 * max(1, round(width / self.heads / 2))
        self.inner = self.heads * self.head_size
        self.qkv = Linear(width, self.inner + 2 * self.kv_heads * self.head_size, bias=False)
        self.out = Linear(self.inner, width, bias=False)
        self.turned = settings.positions == "rotary"
        self.bias: Alibi | Relative | None = None
        if settings.positions == "alibi":
            self.bias = Alibi(self.heads)
        elif settings.positions == "relative":
            self.bias = Relative(self.heads, width, both_sides=not causal)

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """Decoder: padding on the right is in the future of all real positions: no mask."""
        return self._joined(self._alone(*self._split(self.qkv(x_BLD)), lengths))

    def packed(self, x_TD: Tensor, lengths: Tensor) -> Tensor:
        """Documents one after another: (T, D) -> (T, D)."""
        q_HTD, k_GTD, v_GTD = (x[0] for x in self._split(self.qkv(x_TD[None])))
        if self.window is None and self.bias is None:
            if self.turned:
                q_HTD, k_GTD = _both_turned(q_HTD, k_GTD, places_of(lengths))
            y_HTD = kernels.packed_attention(q_HTD, k_GTD, v_GTD, lengths, causal=self.causal)
        else:
            y_HTD = kernels.each_document(self._alone, (q_HTD, k_GTD, v_GTD), lengths)
        return self._joined(y_HTD[None])[0]

    def _alone(
        self, q_BHLD: Tensor, k_BGLD: Tensor, v_BGLD: Tensor, lengths: Tensor | None = None
    ) -> Tensor:
        """(B, H, L, D): rows from their first place on; lengths None: no padding."""
        if self.causal:
            if self.turned and self.window is None:
                k_BGLD = rotate(k_BGLD)
            return self._decoded(q_BHLD, k_BGLD, v_BGLD, 0)
        length = q_BHLD.shape[2]
        if self.turned:
            place_L = torch.arange(length, device=q_BHLD.device)
            q_BHLD, k_BGLD = _both_turned(q_BHLD, k_BGLD, place_L)
        if lengths is not None and not has_padding(lengths, length):
            lengths = None
        if self.window is None and self.bias is None:
            return kernels.attention(q_BHLD, *self._for_each_head(k_BGLD, v_BGLD), lengths)
        far = length - 1
        if self.window is not None:
            far = torch.sym_min((self.window - 1) // 2, far)  # type: ignore[no-untyped-call]
        return kernels.windowed_attention(
            q_BHLD,
            k_BGLD,
            v_BGLD,
            self.window,
            causal=False,
            bias_HX=self._bias(-far, far, q_BHLD),
            lengths=lengths,
        )

    def step(self, x_BD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (keys, values), each (B, G, tokens held, D).

        Without a window, rotary keys are held turned. With one they are turned by their place
        among those held, so that no angle grows with the text.
        """
        y_B1D, state = self.chunk(x_BD[:, None], state)
        return y_B1D[:, 0], state

    def chunk(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        q_BHLD, k_BGSD, v_BGSD = self._split(self.qkv(x_BLD))
        held = 0 if state is None else cast("tuple[Tensor, ...]", state)[0].shape[2]
        if self.turned and self.window is None:
            k_BGSD = rotate(k_BGSD, held)
        if state is not None:
            keys_BGSD, values_BGSD = cast("tuple[Tensor, Tensor]", state)
            k_BGSD = torch.cat([keys_BGSD, k_BGSD], dim=2)
            v_BGSD = torch.cat([values_BGSD, v_BGSD], dim=2)
        y_BHLD = self._decoded(q_BHLD, k_BGSD, v_BGSD, held)
        return self._joined(y_BHLD), (self._kept(k_BGSD), self._kept(v_BGSD))

    def _decoded(self, q_BHLD: Tensor, k_BGSD: Tensor, v_BGSD: Tensor, held: int) -> Tensor:
        """What the last places see of all that is held."""
        length, total = q_BHLD.shape[2], k_BGSD.shape[2]
        asked_BHLD = rotate(q_BHLD, held) if self.turned else q_BHLD
        if self.turned and self.window is not None:
            k_BGSD = rotate(k_BGSD)
        if held > 0 and length == 1:
            bias_HX = self._bias(0, held, q_BHLD)
            # a single query sees all that is held
            mask = None if bias_HX is None else bias_HX.flip(-1)[:, None]
            return self._plain(asked_BHLD, k_BGSD, v_BGSD, mask)
        if self.window is None and self.bias is None:
            if held == 0:
                return self._plain(asked_BHLD, k_BGSD, v_BGSD, None, causal=True)
            everything_LT = torch.ones(length, total, dtype=torch.bool)
            seen_LT = everything_LT.tril(held).to(q_BHLD.device)
            return self._plain(asked_BHLD, k_BGSD, v_BGSD, seen_LT)
        visible = total
        if self.window is not None:
            visible = torch.sym_min(total, self.window + self.sinks)  # type: ignore[no-untyped-call]
        sink_q_BHLD = None
        if self.turned and self.sinks:
            place_L = torch.arange(held, total, device=q_BHLD.device).clamp(max=visible - 1)
            sink_q_BHLD = rotate_at(q_BHLD, place_L)
        return kernels.windowed_attention(
            asked_BHLD,
            k_BGSD,
            v_BGSD,
            self.window,
            sinks=self.sinks,
            bias_HX=self._bias(0, visible - 1, q_BHLD),
            sink_q_BHLD=sink_q_BHLD,
        )

    def _plain(
        self,
        q_BHLD: Tensor,
        k_BGSD: Tensor,
        v_BGSD: Tensor,
        mask: Tensor | None,
        *,
        causal: bool = False,
    ) -> Tensor:
        k_BGSD, v_BGSD = self._for_each_head(k_BGSD, v_BGSD)
        return F.scaled_dot_product_attention(
            q_BHLD, k_BGSD, v_BGSD, attn_mask=mask, is_causal=causal
        )

    def _for_each_head(self, k_BGSD: Tensor, v_BGSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values, once for each head of queries that reads them."""
        if self.kv_heads == self.heads:
            return k_BGSD, v_BGSD
        each = self.heads // self.kv_heads
        return k_BGSD.repeat_interleave(each, dim=1), v_BGSD.repeat_interleave(each, dim=1)

    def _joined(self, y_BHLD: Tensor) -> Tensor:
        y_BLD: Tensor = self.out(join_heads(y_BHLD))
        return y_BLD

    def _bias(self, low: int, high: int, like: Tensor) -> Tensor | None:
        """(H, X) of the lags low .. high."""
        if self.bias is None:
            return None
        bias_HX: Tensor = self.bias(torch.arange(low, high + 1, device=like.device), like.dtype)
        return bias_HX

    def _kept(self, x_BGSD: Tensor) -> Tensor:
        """What later positions see: all, or the sinks and the last window - 1."""
        total = x_BGSD.shape[2]
        if kernels.as_graph() or self.window is None or total <= self.window - 1 + self.sinks:
            return x_BGSD
        parts = x_BGSD[:, :, : self.sinks], x_BGSD[:, :, total - self.window + 1 :]
        return torch.cat(parts, dim=2)

    def _split(self, qkv_BLX: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = qkv_BLX.view(*qkv_BLX.shape[:2], -1, self.head_size).transpose(1, 2)
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        q_BHLD, k_BGLD, v_BGLD = torch.split(parts, sizes, dim=1)
        return q_BHLD, k_BGLD, v_BGLD

    def reach(self, length: int) -> int | None:
        """The window; unbounded without one, or with sinks, which pass on what they read."""
        return None if self.sinks else self.window

    def state_bytes(self, length: int) -> int:
        """Keys and values of all tokens held."""
        held = length if self.window is None else min(length, self.window - 1 + self.sinks)
        return FLOAT_BYTES * 2 * self.kv_heads * self.head_size * held

    def flops(self, length: int) -> int:
        """Projections, scores and sums: of visible pairs with a window, else the full square."""
        weights = self.qkv.weight.numel() + self.out.weight.numel()
        pairs = kernels.windowed_attention_flops(
            length, self.heads, self.head_size, self.window, causal=self.causal, sinks=self.sinks
        )
        return 2 * weights * length + pairs


def _both_turned(q_HLD: Tensor, k_GLD: Tensor, place_L: Tensor) -> tuple[Tensor, ...]:
    """`rotate_at` of both at once, (..., H, L, D) and (..., G, L, D): half as many passes."""
    both_XLD = rotate_at(torch.cat([q_HLD, k_GLD], dim=-3), place_L)
    return torch.split(both_XLD, [q_HLD.shape[-3], k_GLD.shape[-3]], dim=-3)


def build_body(sizes: Sizes, settings: TransformerSettings) -> Stack:
    """The body of the family.

    Raises:
        UsageError: E-OPTION for a window or sinks that the form cannot have.
    """
    if not sizes.causal and settings.sinks:
        raise UsageError(
            "E-OPTION", "sinks are for models that read forward: causal=True.", "sinks=0"
        )
    if not sizes.causal and settings.window is not None and settings.window % 2 == 0:
        raise UsageError(
            "E-OPTION",
            f"window={settings.window} has no middle: a model of whole texts looks to both sides.",
            f"window={settings.window + 1}",
        )
    mixers = [Attention(sizes.width, settings, causal=sizes.causal) for _ in range(settings.depth)]
    if settings.positions in {"learned", "sinusoidal"}:
        rows = settings.max_length if settings.positions == "learned" else None
        return PlacedStack(sizes, mixers, rows=rows, feed_forward=True)
    return Stack(sizes, mixers, feed_forward=True)
