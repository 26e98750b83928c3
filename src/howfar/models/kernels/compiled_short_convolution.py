"""The short convolution, compiled.

Idea     one pass each way, the width innermost, where it vectorises. Going back, an input gathers
         from the k outputs it was read by, and a weight sums up position after position, in blocks
         so that float32 keeps its digits
Shapes   x, y and their gradients (B, L, D); w (k, D), its gradient (B, k, D), zero before; c (D,);
         past and its gradient, zero before, (B, k - 1, D); all contiguous
"""

import numpy as np

from howfar.models.kernels.jit import Array, jit

BLOCK = 128  # positions of a sum of its own


@jit()
def forward(  # noqa: PLR0913 - a compiled loop takes its arrays one by one
    x: Array, w: Array, c: Array, past: Array, y: Array, first: int, last: int
) -> None:
    """Write y for the rows first .. last - 1."""
    kept = w.shape[0] - 1
    for row in range(first, last):
        for t in range(x.shape[1]):
            y_t, x_t, w_k = y[row, t], x[row, t], w[kept]
            for d in range(c.size):
                y_t[d] = c[d] + w_k[d] * x_t[d]
            for k in range(kept):
                s = t - kept + k
                x_s = x[row, s] if s >= 0 else past[row, t + k]
                w_k = w[k]
                for d in range(c.size):
                    y_t[d] += w_k[d] * x_s[d]


@jit()
def backward(  # noqa: PLR0913
    x: Array,
    w: Array,
    past: Array,
    g: Array,
    dx: Array,
    dw: Array,
    dpast: Array,
    first: int,
    last: int,
) -> None:
    """Write dx, and add to dw and dpast, for the rows first .. last - 1."""
    kept, length, width = w.shape[0] - 1, x.shape[1], x.shape[2]
    block = np.zeros((kept + 1, width), w.dtype)
    for row in range(first, last):
        for t in range(length):
            dx_t, x_t, g_t, w_k, block_k = dx[row, t], x[row, t], g[row, t], w[kept], block[kept]
            for d in range(width):
                dx_t[d] = w_k[d] * g_t[d]
                block_k[d] += x_t[d] * g_t[d]
            for later in range(t + 1, min(t + kept + 1, length)):
                k = kept + t - later
                g_t, w_k, block_k = g[row, later], w[k], block[k]
                for d in range(width):
                    dx_t[d] += w_k[d] * g_t[d]
                    block_k[d] += x_t[d] * g_t[d]
            if t % BLOCK == BLOCK - 1 or t == length - 1:
                dw[row] += block
                block[:] = 0
        for p in range(kept):
            for t in range(min(p + 1, length)):
                dpast[row, p] += w[p - t] * g[row, t]
                dw[row, p - t] += past[row, p] * g[row, t]
