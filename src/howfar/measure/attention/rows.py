"""One attention layer as it was called: rows of its weights on demand, and what it mixes.

Idea     weights are made again from queries and keys for the asked rows alone, so that M rows cost
         O(M T) memory and never T x T; the call itself is left to do what it does
Shapes   rows (B, H, M, T) for M query positions; values (B, H, T, E)
Source   value norms: Kobayashi et al. 2020, https://arxiv.org/abs/2004.10102, ||a_ts W_O v_s||
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

PRODUCT_ARGUMENTS = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")
MIXED_HEADS = inspect.signature(F.multi_head_attention_forward)


@dataclass(slots=True)
class Attended:
    """One call of attention of B sequences over T positions.

    kind: how it was seen: "dot product", "multi-head", "softmax", "given" or "hidden".
    rows: query positions (M,) -> weights (B, H, M, T). values: (B, H, T, E) or None.
    mixed: (B, H, T, E) what the call returned; the map W_O, out_map (D, H E), is known by it.
    """

    name: str
    kind: str
    heads: int
    length: int
    rows: Callable[[Tensor], Tensor]
    values: Tensor | None = None
    mixed: Tensor | None = None
    out_map: Tensor | None = None

    def value_norms(self) -> Tensor | None:
        """||W_O v_s|| of every head, ||v_s|| where W_O was not seen: (B, H, T), or None."""
        if self.values is None:
            return None
        v_BHTE = self.values.double()
        if self.out_map is None:
            return v_BHTE.square().sum(-1).sqrt()
        out_DHE = self.out_map.double().reshape(-1, self.heads, v_BHTE.shape[-1])
        # ||W v||^2 = v (W^T W) v: never the T x D of all W v
        gram_HEF = torch.einsum("dhe,dhf->hef", out_DHE, out_DHE)
        squared_BHT: Tensor = ((v_BHTE @ gram_HEF) * v_BHTE).sum(-1)
        return squared_BHT.clamp(min=0).sqrt()

    def see_map(self, given: Tensor, weight_DX: Tensor) -> None:
        """Take `weight_DX` for W_O if what it is given is what this call returned, to the bit."""
        if self.mixed is None or self.out_map is not None:
            return
        if given.numel() == self.mixed.numel() and given.shape[-1] == weight_DX.shape[-1]:
            joined = self.mixed.transpose(1, 2)
            if torch.equal(joined.reshape(given.shape), given):
                self.out_map = weight_DX.detach()


def heads_apart(x: Tensor, batch: int) -> Tensor | None:
    """(B, ..., T, E) or (B H, T, E) -> (B, H, T, E); None where B does not come first."""
    if x.ndim == 3 and x.shape[0] % batch == 0:
        return x.reshape(batch, -1, *x.shape[-2:])
    if x.ndim > 3 and x.shape[0] == batch:
        return x.reshape(batch, -1, *x.shape[-2:])
    return None


def of_weights(name: str, kind: str, weights: Tensor, batch: int) -> Attended | None:
    """A layer whose weights (B, H, T, T), (B, T, T) or (B H, T, T) are there in full."""
    w_BHTT = heads_apart(weights.detach(), batch)
    if w_BHTT is None or w_BHTT.shape[-1] != w_BHTT.shape[-2]:
        return None
    heads, length = w_BHTT.shape[1:3]
    return Attended(name, kind, heads, length, lambda place_M: w_BHTT[:, :, place_M])


def of_dot_product(
    name: str, given: Sequence[Any], options: dict[str, Any], batch: int
) -> Attended | None:
    """A layer from the arguments of `scaled_dot_product_attention`; None: not of one sequence."""
    named = dict(zip(PRODUCT_ARGUMENTS, given, strict=False)) | options
    q, k, v = (named[key].detach() for key in ("query", "key", "value"))
    length = q.shape[-2]
    if k.shape[-2] != length or heads_apart(q, batch) is None:
        return None
    if named.get("enable_gqa"):
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    k, v = (x.expand(*q.shape[:-2], *x.shape[-2:]) for x in (k, v))
    scale = q.shape[-1] ** -0.5 if named.get("scale") is None else named["scale"]
    mask, causal = named.get("attn_mask"), bool(named.get("is_causal", False))

    def rows(place_M: Tensor) -> Tensor:
        place_M = place_M.to(q.device)
        exact = torch.promote_types(q.dtype, torch.float32)
        scores = (q[..., place_M, :].to(exact) * scale) @ k.to(exact).mT
        if causal:
            hidden = torch.arange(length, device=q.device) > place_M[:, None]
            scores = scores.masked_fill(hidden, -torch.inf)
        if mask is not None:
            seen = mask.expand(*q.shape[:-1], length)[..., place_M, :]
            dropped = scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else None
            scores = scores + seen if dropped is None else dropped
        # a row with nothing to see attends to nothing: torch answers 0 there, not NaN
        empty = (scores == -torch.inf).all(-1, keepdim=True)
        weights = scores.masked_fill(empty, 0.0).softmax(-1).masked_fill(empty, 0.0)
        apart = heads_apart(weights, batch)
        return weights if apart is None else apart

    values = heads_apart(v, batch)
    heads = q.shape[:-2].numel() // batch
    return Attended(name, "dot product", heads, length, rows, values)


def of_heads(
    name: str, given: Sequence[Any], options: dict[str, Any], batch: int
) -> Attended | None:
    """A layer from the arguments of `multi_head_attention_forward`; None: not of one sequence."""
    bound = MIXED_HEADS.bind(*given, **options)
    bound.apply_defaults()
    named = bound.arguments
    query, key, value, heads = (named[n] for n in ("query", "key", "value", "num_heads"))
    extra = named["bias_k"] is not None or named["add_zero_attn"]
    if query.ndim != 3 or query.shape[1] != batch or len(query) != len(key) or extra:
        return None
    named |= {
        "need_weights": True,
        "average_attn_weights": False,
        "is_causal": False,
        "training": False,
    }
    mask = named["attn_mask"]

    def rows(place_M: Tensor) -> Tensor:
        place_M = place_M.to(query.device)
        asked = {"query": query[place_M]}
        if mask is not None:
            asked["attn_mask"] = mask[..., place_M, :]
        return cast(Tensor, F.multi_head_attention_forward(**(named | asked))[1])

    values_TBX = _values(named, value)
    values = values_TBX.reshape(*value.shape[:2], heads, -1).permute(1, 2, 0, 3)
    out_DX = named["out_proj_weight"].detach()
    return Attended(name, "multi-head", heads, len(query), rows, values, out_map=out_DX)


def _values(named: dict[str, Any], value: Tensor) -> Tensor:
    """The projected values: (T, B, H E)."""
    width = named["embed_dim_to_check"]
    if named["use_separate_proj_weight"]:
        weight = named["v_proj_weight"]
    else:
        weight = named["in_proj_weight"][2 * width :]
    bias = named["in_proj_bias"]
    return F.linear(value, weight, None if bias is None else bias[2 * width :]).detach()
