"""The logits of a TextCNN as a sum over n-grams, exactly.

Idea     filter j of width w answers F_ij = <x_i..i+w-1, f_j> + b_j on the window that begins at i;
         p_j = max_i a(F_ij), logit_c = sum_j W_cj p_j + b_c. So window i*_j, the winner of filter
         j, contributes W_cj p_j to class c, and nothing else contributes. Windows that tie share.
         Under a mean over time every window contributes W_cj a(F_ij) / n
         Inside a window, token m answers slot <x_{i+m}, f_j^(m)>; slots and bias sum to F_ij
Shapes   B texts, I windows, F filters of one width w, E embedding, C classes
Source   Kim 2014, https://arxiv.org/abs/1408.5882, section 2; Jacovi, Sar Shalom & Goldberg 2018,
         https://arxiv.org/abs/1809.08037, sections 3 and 4
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from howfar.core.errors import UsageError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "identity": lambda x: x,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}
POOLS = ("max", "mean")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Filters of one width: weight (F, E, w), bias (F,) or None; `dilation` between taps.

    left, right: zeros that stand beside the text; stride: tokens from window to window.
    """

    weight: Tensor
    bias: Tensor | None = None
    left: int = 0
    right: int = 0
    dilation: int = 1
    stride: int = 1

    @property
    def width(self) -> int:
        """Tokens a window holds."""
        return int(self.weight.shape[2])

    def answers(self, x_BLE: Tensor) -> Tensor:
        """F_ij: (B, L, E) -> (B, F, I)."""
        x_BEL = F.pad(x_BLE.transpose(1, 2), (self.left, self.right))
        return F.conv1d(x_BEL, self.weight, self.bias, self.stride, dilation=self.dilation)

    def places(self, windows: int) -> Tensor:
        """The token under each tap of each window: (I, w); negative or >= L: a zero beside."""
        first = torch.arange(windows) * self.stride - self.left
        return first[:, None] + torch.arange(self.width) * self.dilation

    def slots(self, x_BLE: Tensor, window_BF: Tensor) -> Tensor:
        """What each token of a chosen window adds to F_ij, without the bias: (B, F, w)."""
        x_BLE = F.pad(x_BLE, (0, 0, self.left, self.right))
        first_BF = window_BF * self.stride
        at_BFW = first_BF[..., None] + torch.arange(self.width) * self.dilation
        rows = torch.arange(len(x_BLE))[:, None, None]
        return torch.einsum("bfwe,few->bfw", x_BLE[rows, at_BFW], self.weight)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What becomes of the answers.

    pool: "max" or "mean" over windows. activation: "relu", "identity", "tanh" or "sigmoid".
    real: which windows of each width are pooled, (B, I) each; None: all of them.
    """

    pool: str = "max"
    activation: str = "relu"
    real: tuple[Tensor, ...] | None = None

    def __post_init__(self) -> None:
        if self.pool not in POOLS or self.activation not in ACTIVATIONS:
            message = f"pool={self.pool!r}, activation={self.activation!r} is not known."
            hint = f"pool one of {', '.join(POOLS)}; activation one of {', '.join(ACTIVATIONS)}."
            raise UsageError("E-OPTION", message, hint)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What the filters of one width did on a batch.

    answers: F_ij (B, F, I). pooled: p_j (B, F). share: (B, F, I), sums to p_j over windows: which
    windows it came from. contribution: (B, I, C), sum over filters of W_cj times that share.
    """

    filters: Filters
    answers: Tensor
    pooled: Tensor
    share: Tensor
    contribution: Tensor

    def winners(self) -> Tensor:
        """The first window each filter's maximum came from: (B, F)."""
        return self.share.abs().argmax(-1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decomposition:
    """A batch of texts taken apart: one `Part` a width; sum of contributions + bias = logits.

    logits: (B, C) from the parts. bias: (C,).
    """

    parts: tuple[Part, ...]
    bias: Tensor
    logits: Tensor


def decompose(
    x_BLE: Tensor,
    filters: Sequence[Filters],
    head_CF: Tensor,
    bias_C: Tensor | None = None,
    reading: Reading | None = None,
) -> Decomposition:
    """Take the logits of a TextCNN apart.

    Args:
        x_BLE: embeddings (B, L, E).
        filters: one entry a width; their features stand in the head in this order.
        head_CF: (C, F) weights over all features.
        bias_C: (C,).
        reading: activation and pooling; None: relu and max over all windows.

    Raises:
        UsageError: E-SHAPE where the tensors do not belong together.
    """
    reading = reading or Reading()
    total = sum(len(each.weight) for each in filters)
    if head_CF.ndim != 2 or head_CF.shape[1] != total:
        message = f"The head reads {tuple(head_CF.shape)} features, the filters make {total}."
        raise UsageError("E-SHAPE", message, "one column of the head a filter, in their order.")
    bias_C = head_CF.new_zeros(len(head_CF)) if bias_C is None else bias_C
    parts, at = [], 0
    for place, each in enumerate(filters):
        weight_CF = head_CF[:, at : at + len(each.weight)]
        at += len(each.weight)
        answers_BFI = each.answers(x_BLE)
        real_BI = None if reading.real is None else reading.real[place]
        share_BFI = _shares(ACTIVATIONS[reading.activation](answers_BFI), reading.pool, real_BI)
        parts.append(
            Part(
                filters=each,
                answers=answers_BFI,
                pooled=share_BFI.sum(-1),
                share=share_BFI,
                contribution=torch.einsum("bfi,cf->bic", share_BFI, weight_CF),
            )
        )
    logits_BC = bias_C + sum(part.contribution.sum(1) for part in parts)
    return Decomposition(parts=tuple(parts), bias=bias_C, logits=logits_BC)


def _shares(a_BFI: Tensor, pool: str, real_BI: Tensor | None) -> Tensor:
    """How much of the pooled feature each window brings: (B, F, I), sums to it over I."""
    mask_B1I = None if real_BI is None else real_BI[:, None]
    if pool == "mean":
        if mask_B1I is None:
            return a_BFI / a_BFI.shape[2]
        return a_BFI * mask_B1I / mask_B1I.sum(-1, keepdim=True).clamp(min=1)
    open_BFI = a_BFI if mask_B1I is None else a_BFI.masked_fill(~mask_B1I, -torch.inf)
    best_BF1 = open_BFI.amax(-1, keepdim=True)
    wins_BFI = open_BFI == best_BF1
    # A text without a real window has no winner and no feature.
    best_BF1 = best_BF1.masked_fill(best_BF1.isinf(), 0.0)
    return wins_BFI * (best_BF1 / wins_BFI.sum(-1, keepdim=True).clamp(min=1))
