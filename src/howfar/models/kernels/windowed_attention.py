"""Attention to the last tokens alone, or biased by distance: blocks of queries, one at a time.

Idea     y_t = sum_s a_ts v_s over the visible s, a_ts = softmax_s(q_t . k_s / sqrt(d) + b_{t-s}).
         Causal: s <= t and (t - s < window or s < sinks). Else: |t - s| <= (window - 1) / 2.
         A block of queries is multiplied with the slice of keys that any of them sees; the weights
         are not kept but made again on the way back
Shapes   q (B, H, L, D), k and v (B, G, S, D) -> (B, H, L, D); G divides H, and query head h reads
         head h // (H / G); the queries stand at the last L of S places. bias (H, X): column x is
         the lag x (causal), or x - (X - 1) / 2; without a window X counts all lags of the text
Sinks    distances count the tokens that are held, sinks and window together, not those of the
         text: beyond sinks + window - 1 they grow no more. `sink_q`, the queries the sinks are
         asked with, can so be turned otherwise than `q`
Limits   what is not causal takes `lengths`: padding is seen by nobody but itself
         memory of block * (window + block) numbers a head; with a bias and no window, block * S
Gain     forward and backward at L = 8192, window 256, 4 heads of 32, one thread: 10 times causal
         scaled_dot_product_attention; in blocks of 64 to 128 by the latter with a mask: 8 to 10
Source   Beltagy et al. 2020, https://arxiv.org/abs/2004.05150, section 3.1; Xiao et al. 2023,
         https://arxiv.org/abs/2309.17453, section 3.2; Ainslie et al. 2023,
         https://arxiv.org/abs/2305.13245, section 2.2
"""

from typing import Any, cast

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function

from howfar.models.kernels.choice import as_graph
from howfar.models.kernels.once import once_differentiable
from howfar.models.kernels.window_view import Block, View


def windowed_attention(  # noqa: PLR0913 - what can be seen, by keyword only
    q_BHLD: Tensor,
    k_BGSD: Tensor,
    v_BGSD: Tensor,
    window: int | None,
    *,
    causal: bool = True,
    sinks: int = 0,
    bias_HX: Tensor | None = None,
    sink_q_BHLD: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """(B, H, L, D); window None: every token, or every earlier one. Differentiable once.

    A torch function mode sees this call as it sees torch's own; `windowed_attention.plain` is the
    same in calls of torch.
    """
    tensors = (q_BHLD, k_BGSD, v_BGSD)
    if has_torch_function(tensors):
        named: dict[str, Any] = {"causal": causal, "sinks": sinks, "lengths": lengths}
        named |= {"bias_HX": bias_HX, "sink_q_BHLD": sink_q_BHLD}
        seen: Tensor = handle_torch_function(windowed_attention, tensors, *tensors, window, **named)
        return seen
    if as_graph():
        options = {"causal": causal, "sinks": sinks, "lengths": lengths}
        biases = {"bias_HX": bias_HX, "sink_q_BHLD": sink_q_BHLD}
        return windowed_attention_slow(q_BHLD, k_BGSD, v_BGSD, window, **options, **biases)  # type: ignore[arg-type]
    sinks = 0 if window is None else sinks
    sink_q_BHLD = sink_q_BHLD if sinks else None
    view = View(q_BHLD.shape[2], k_BGSD.shape[2], window, causal, sinks)
    k_BGSD, v_BGSD = k_BGSD.to(q_BHLD.dtype), v_BGSD.to(q_BHLD.dtype)
    y_BHLD: Tensor = Windowed.apply(view, lengths, q_BHLD, k_BGSD, v_BGSD, bias_HX, sink_q_BHLD)  # type: ignore[no-untyped-call]
    return y_BHLD


def windowed_attention_slow(  # noqa: PLR0913 - as the fast one
    q_BHLD: Tensor,
    k_BGSD: Tensor,
    v_BGSD: Tensor,
    window: int | None,
    *,
    causal: bool = True,
    sinks: int = 0,
    bias_HX: Tensor | None = None,
    sink_q_BHLD: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """The slow twin: all pairs, a mask, a softmax."""
    heads, asked, size = q_BHLD.shape[1:]
    held = k_BGSD.shape[2]
    k_BHSD = k_BGSD.repeat_interleave(heads // k_BGSD.shape[1], dim=1)
    v_BHSD = v_BGSD.repeat_interleave(heads // v_BGSD.shape[1], dim=1)
    place_L1 = torch.arange(held - asked, held, device=q_BHLD.device)[:, None]
    place_S = torch.arange(held, device=q_BHLD.device)
    lag_LS = place_L1 - place_S
    back = held if window is None else window - 1 if causal else (window - 1) // 2
    seen_LS = (lag_LS >= (0 if causal else -back)) & (lag_LS <= back)
    scores_BHLS = q_BHLD @ k_BHSD.mT / size**0.5
    if sinks and window is not None:
        sink_S = place_S < sinks
        seen_LS |= sink_S & (lag_LS >= 0)
        lag_LS = torch.where(sink_S, place_L1.clamp(max=sinks + window - 1) - place_S, lag_LS)
        if sink_q_BHLD is not None:
            scores_BHLS = torch.where(sink_S, sink_q_BHLD @ k_BHSD.mT / size**0.5, scores_BHLS)
    if bias_HX is not None:
        first = 0 if causal else (bias_HX.shape[1] - 1) // 2
        scores_BHLS = scores_BHLS + bias_HX[:, (lag_LS + first).clamp(0, bias_HX.shape[1] - 1)]
    seen_BHLS = seen_LS.expand(q_BHLD.shape[0], 1, asked, held)
    if lengths is not None:
        real_BS = place_S < lengths[:, None]
        seen_BHLS = seen_BHLS & (real_BS[:, None, None] | (place_L1 == place_S))
    weights_BHLS = scores_BHLS.masked_fill(~seen_BHLS, -torch.inf).softmax(-1)
    return torch.matmul(weights_BHLS, v_BHSD)


windowed_attention.plain = windowed_attention_slow  # type: ignore[attr-defined]


def windowed_attention_flops(
    length: int,
    heads: int,
    size: int,
    window: int | None,
    *,
    causal: bool = True,
    sinks: int = 0,
) -> int:
    """A score and a sum for each visible pair; without a window for every pair, as torch counts."""
    if window is None:
        pairs = length**2
    elif causal:
        ramp = min(length, window + sinks)
        pairs = ramp * (ramp + 1) // 2 + (length - ramp) * ramp
    else:
        half = min((window - 1) // 2, length - 1)
        pairs = length + half * (2 * length - half - 1)
    return 4 * heads * size * pairs


class Weights:
    """The weights of one block after another: (B * G, R * queries, sinks and keys), R = H / G."""

    def __init__(
        self,
        view: View,
        q_BHLD: Tensor,
        k_BGSD: Tensor,
        bias_HX: Tensor | None,
        sink_q_BHLD: Tensor | None,
        lengths: Tensor | None,
    ) -> None:
        self.view, self.bias_HX, self.lengths = view, bias_HX, lengths
        self.rows, self.groups, _, size = k_BGSD.shape
        self.shared = q_BHLD.shape[1] // self.groups
        self.scale = size**-0.5
        self.k = k_BGSD.flatten(0, 1)
        self.q = self.apart(q_BHLD) * self.scale
        self.sink_q = self.q if sink_q_BHLD is None else self.apart(sink_q_BHLD) * self.scale
        lag = view.lags(q_BHLD.device)
        self.band = view.band(lag, q_BHLD.dtype, bias_HX).masked_fill_(lag > view.side, -torch.inf)
        self.shortest = view.held if lengths is None else int(lengths.min())

    def apart(self, x_BHLD: Tensor) -> Tensor:
        """(B * G, R, L, D)."""
        return x_BHLD.reshape(len(self.k), self.shared, *x_BHLD.shape[2:])

    def of(self, block: Block) -> Tensor:
        """The softmax of one block."""
        band = self.band[:, block.rows, block.columns]
        scores = self._added(self.q, slice(block.low, block.high), block, band)
        if self.lengths is not None and block.high > self.shortest:
            scores.masked_fill_(self._padding(block, self.lengths), -torch.inf)
        if self.view.kept:
            lag = self.view.sink_lags(block, self.k.device)
            band = self.view.band(lag, scores.dtype, self.bias_HX)
            sinks = self._added(self.sink_q, slice(self.view.kept), block, band)
            scores = torch.cat([sinks, scores], dim=-1)
        return torch.softmax(scores.flatten(0, 1).flatten(1, 2), dim=-1)

    def _added(self, q: Tensor, keys: slice, block: Block, band: Tensor) -> Tensor:
        """Scores with what is added to them: (B, G, R, queries, keys)."""
        scores = torch.bmm(taken(q, block), self.k[:, keys].mT)
        heads = 1 if len(band) == 1 else self.groups
        shape = (self.rows, self.groups, self.shared, *band.shape[1:])
        return scores.view(shape).add_(band.view(heads, len(band) // heads, *band.shape[1:]))

    def _padding(self, block: Block, lengths: Tensor) -> Tensor:
        """(B, 1, 1, queries, keys): pads, but for their own place, lest 0 / 0 come of them."""
        offset = self.view.held - self.view.asked
        key = torch.arange(block.low, block.high, device=self.k.device)
        place = torch.arange(block.first, block.last, device=self.k.device)[:, None] + offset
        pad_BK = key >= lengths[:, None]
        return (pad_BK[:, None] & (place != key))[:, None, None]


def taken(x: Tensor, block: Block) -> Tensor:
    """The queries of a block, (B * G, R, L, D) -> (B * G, R * queries, D)."""
    return x[:, :, block.first : block.last].flatten(1, 2)


def spans(view: View, block: Block) -> tuple[tuple[slice, slice], ...]:
    """Which columns of the weights belong to which keys: the others, the sinks."""
    others = slice(view.kept, None), slice(block.low, block.high)
    return (others, (slice(view.kept), slice(view.kept))) if view.kept else (others,)


class Windowed(torch.autograd.Function):
    """`Windowed.apply(view, lengths, q, k, v, bias, sink_q)`."""

    @staticmethod
    def forward(  # noqa: PLR0913
        ctx: Any,  # noqa: ANN401
        view: View,
        lengths: Tensor | None,
        q_BHLD: Tensor,
        k_BGSD: Tensor,
        v_BGSD: Tensor,
        bias_HX: Tensor | None,
        sink_q_BHLD: Tensor | None,
    ) -> Tensor:
        """Block after block."""
        with torch.autocast(q_BHLD.device.type, enabled=False):
            weights = Weights(view, q_BHLD, k_BGSD, bias_HX, sink_q_BHLD, lengths)
            v, y = v_BGSD.flatten(0, 1), torch.zeros_like(weights.q)
            for block in view.blocks():
                a, into = weights.of(block), y[:, :, block.first : block.last]
                for columns, keys in spans(view, block):
                    into += torch.bmm(a[..., columns], v[:, keys]).view(into.shape)
        y_BHLD = y.view(q_BHLD.shape)
        ctx.view = view
        ctx.save_for_backward(q_BHLD, k_BGSD, v_BGSD, bias_HX, sink_q_BHLD, lengths, y_BHLD)
        return y_BHLD

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy_BHLD: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of q, k, v, bias and sink_q."""
        saved = ctx.saved_tensors  # once: what is recomputed is given a single time
        with torch.autocast(dy_BHLD.device.type, enabled=False):
            slope = Slope(ctx.view, saved[3]) if ctx.needs_input_grad[5] else None
            found = back(ctx.view, saved, dy_BHLD, slope)
            bias = None if slope is None else slope.total()
        return None, None, *found[:3], bias, found[3]


def back(
    view: View, saved: tuple[Tensor, ...], dy_BHLD: Tensor, slope: "Slope | None"
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Gradients of q, k, v and sink_q; that of the bias is added up in `slope`."""
    q_BHLD, k_BGSD, v_BGSD, bias_HX, sink_q_BHLD, lengths, y_BHLD = saved
    own_sink_q = cast("Tensor | None", sink_q_BHLD) is not None
    weights = Weights(view, q_BHLD, k_BGSD, bias_HX, sink_q_BHLD, lengths)
    k, v = weights.k, v_BGSD.flatten(0, 1)
    y, dy = weights.apart(y_BHLD), weights.apart(dy_BHLD)
    dq, dk, dv = torch.zeros_like(weights.q), torch.zeros_like(k), torch.zeros_like(k)
    dsink_q = torch.zeros_like(dq) if own_sink_q else dq
    for block in view.blocks():
        a, g = weights.of(block), taken(dy, block)
        parts = [torch.bmm(g, v[:, keys].mT) for _, keys in reversed(spans(view, block))]
        da = torch.cat(parts, dim=-1)
        da.sub_((g * taken(y, block)).sum(-1, keepdim=True)).mul_(a)
        sources = ((weights.q, dq), (weights.sink_q, dsink_q))
        for (columns, keys), (q, into) in zip(spans(view, block), sources, strict=False):
            part = into[:, :, block.first : block.last]
            part += torch.bmm(da[..., columns], k[:, keys]).view(part.shape)
            dk[:, keys].baddbmm_(da[..., columns].mT, taken(q, block))
            dv[:, keys].baddbmm_(a[..., columns].mT, g)
        if slope is not None:
            slope.add(block, da)
    dq_BHLD = dq.mul_(weights.scale).view(q_BHLD.shape)
    dsink_q_BHLD = dsink_q.mul_(weights.scale).view(q_BHLD.shape) if own_sink_q else None
    return dq_BHLD, dk.view(k_BGSD.shape), dv.view(k_BGSD.shape), dsink_q_BHLD


class Slope:
    """The gradient of the bias: sums along the diagonals, taken once for the band."""

    def __init__(self, view: View, bias_HX: Tensor) -> None:
        self.view, self.bias_HX = view, bias_HX
        self.lag = view.lags(bias_HX.device)
        self.band = bias_HX.new_zeros(len(bias_HX), *self.lag.shape)
        self.sums_HX = torch.zeros_like(bias_HX)

    def add(self, block: Block, da: Tensor) -> None:
        """Of one block: da (B * G, R * queries, sinks and keys)."""
        heads = da.view(-1, len(self.band), block.last - block.first, da.shape[-1]).sum(0)
        self.band[:, block.rows, block.columns] += heads[..., self.view.kept :]
        if self.view.kept:
            self._count(self.view.sink_lags(block, da.device), heads[..., : self.view.kept])

    def total(self) -> Tensor:
        """(H, X)."""
        self._count(self.lag, self.band)
        return self.sums_HX

    def _count(self, lag: Tensor, of: Tensor) -> None:
        place = self.view.columns_of(lag, self.bias_HX)
        self.sums_HX.index_add_(1, place.flatten(), of.flatten(1).to(self.sums_HX.dtype))
