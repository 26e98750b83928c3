"""Filters over windows of 3, 4 and 5 words, and the strongest answer of each filter.

Idea     c_t = relu(W x_{t-k+1..t} + b) for each kernel width k; one output a text: of max over t
         of c_t, in either form; one a position, causal: of [c_t, max over s <= t of c_s], not
         causal: of c_t alone, the windows that end there.
         Windows on the embeddings, no residual, no norm; those that begin before the text see
         zeros, so a text of one token works
Shapes   (B, L, E) -> (B, L, F), or (B, L, 2F) with the running maximum (pool="none": without);
         width = F filters, split evenly over the kernel widths
Reach    causal: unbounded, by the running maximum; with pool="none" exactly max(kernels).
         Whole: max(kernels), the span in which two tokens can act together; further apart they
         only compete for the same maximum
State    max(kernels) - 1 embeddings, and F maxima where any are taken
Source   Kim 2014, https://arxiv.org/abs/1408.5882, section 2; the running maximum is ours
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

import howfar.models.kernels as kernels
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.models.blocks import FLOAT_BYTES, Convolution, Sizes, positive


@dataclass(frozen=True, slots=True, kw_only=True)
class TextCnnSettings:
    """kernels: widths of the windows in tokens; pool: "max", or "none" (causal form only)."""

    kernels: tuple[int, ...] = (3, 4, 5)
    pool: str = "max"

    def __post_init__(self) -> None:
        given: object = self.kernels  # a record gives a list
        if not isinstance(given, tuple | list) or not given:
            raise UsageError("E-OPTION", f"kernels cannot be {shown(given)}.", "kernels=(3, 4, 5)")
        object.__setattr__(self, "kernels", tuple(given))
        for kernel in self.kernels:
            positive(kernels=kernel)
        if self.pool not in {"max", "none"}:
            raise UsageError("E-OPTION", f"pool cannot be {shown(self.pool)}.", "max or none")


class TextCnn(nn.Module):
    """(B, L, E) -> (B, L, out_width).

    Raises:
        UsageError: E-OPTION if a kernel width would get no filter, or if the whole-sequence form
            is asked to do without its maximum.
    """

    pool = "max"

    def __init__(self, sizes: Sizes, settings: TextCnnSettings) -> None:
        super().__init__()
        kernels = settings.kernels
        if sizes.width < len(kernels):
            raise UsageError(
                "E-OPTION",
                f"width {sizes.width} leaves a window of {len(kernels)} without a filter.",
                f"width={len(kernels)} or more",
            )
        pooled = not sizes.causal if sizes.pooled is None else sizes.pooled
        if settings.pool == "none" and not sizes.causal and pooled:
            raise UsageError(
                "E-OPTION", "A whole-sequence textcnn needs its maximum.", "pool=max or causal=True"
            )
        self.causal = sizes.causal
        self.filters = sizes.width
        self.embedding = sizes.embedding
        self.span = max(kernels)
        self.running = settings.pool == "max" and self.causal and not pooled
        self.out_width = 2 * sizes.width if self.running else sizes.width
        even, left = divmod(sizes.width, len(kernels))
        self.windows = nn.ModuleList(
            Convolution(sizes.embedding, even + (place < left), kernel)
            for place, kernel in enumerate(kernels)
        )

    def forward(self, x_BLE: Tensor, lengths: Tensor) -> Tensor:
        """Windows end at their position, so padding on the right is in no real one."""
        c_BLF = torch.cat([window(x_BLE) for window in self._windows()], dim=-1).relu_()
        if not self.running:
            return c_BLF
        highest = kernels.graph.running_maximum if kernels.as_graph() else _running
        return torch.cat([c_BLF, highest(c_BLF)], dim=-1)

    def step(self, x_BE: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One position; the state is (embeddings (B, span - 1, E), maxima (B, F) if running)."""
        if state is None:
            past_BPE = x_BE.new_zeros(x_BE.shape[0], self.span - 1, self.embedding)
            maxima: list[Tensor] = []
        else:
            past_BPE, *maxima = cast("tuple[Tensor, ...]", state)
        answers = [
            window.step(x_BE, past_BPE[:, self.span - 1 - window.past :])[0]
            for window in self._windows()
        ]
        c_BF = torch.cat(answers, dim=-1).relu()
        after_BPE = torch.cat([past_BPE, x_BE[:, None]], dim=1)[:, 1:]
        if not self.running:
            return c_BF, (after_BPE,)
        best_BF = torch.maximum(c_BF, maxima[0]) if maxima else c_BF
        return torch.cat([c_BF, best_BF], dim=-1), (after_BPE, best_BF)

    def chunk(self, x_BLE: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next positions; the state is that of `step`."""
        if state is None:
            past_BPE = x_BLE.new_zeros(x_BLE.shape[0], self.span - 1, self.embedding)
            maxima: list[Tensor] = []
        else:
            past_BPE, *maxima = cast("tuple[Tensor, ...]", state)
        answers = [
            window.chunk(x_BLE, past_BPE[:, self.span - 1 - window.past :])[0]
            for window in self._windows()
        ]
        c_BLF = torch.cat(answers, dim=-1).relu()
        after_BPE = torch.cat([past_BPE, x_BLE], dim=1)[:, x_BLE.shape[1] :].clone()
        if not self.running:
            return c_BLF, (after_BPE,)
        # the maxima so far stand in front: where two are equal, cummax follows the later one
        joined_BLF = torch.cat([best_BF[:, None] for best_BF in maxima] + [c_BLF], dim=1)
        best_BLF = joined_BLF.cummax(dim=1).values[:, len(maxima) :]
        return torch.cat([c_BLF, best_BLF], dim=-1), (after_BPE, best_BLF[:, -1].clone())

    def reach(self, length: int) -> int | None:
        """Span of the widest window; None where a running maximum keeps everything."""
        return None if self.running else self.span

    def state_bytes(self, length: int) -> int:
        """Embeddings for the next windows, and the maxima so far."""
        maxima = self.filters if self.running else 0
        return FLOAT_BYTES * ((self.span - 1) * self.embedding + maxima)

    def flops(self, length: int) -> int:
        """Every filter once a position."""
        return sum(window.flops(length) for window in self._windows())

    def _windows(self) -> Iterable[Convolution]:
        return cast("Iterable[Convolution]", self.windows)


def _running(c_BLF: Tensor) -> Tensor:
    return c_BLF.cummax(dim=1).values


def build_body(sizes: Sizes, settings: TextCnnSettings) -> TextCnn:
    """The body of the family."""
    return TextCnn(sizes, settings)
