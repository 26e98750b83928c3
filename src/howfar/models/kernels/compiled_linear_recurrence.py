"""The linear recurrence, compiled: one pass over memory each way.

Idea     forward h_t = a_t h_{t-1} + b_t. Backward, last step first: s_t = g_t + conj(a_{t+1})
         s_{t+1} is the gradient of b_t, s_t conj(h_{t-1}) that of a_t. The width is innermost,
         where it vectorises; the state has a row of its own, which stays in the first cache
Shapes   b, h, g and the gradient of b (B, L, D); h_0 and its gradient (B, D); a (B or 1, L or 1,
         D or 1); its gradient (B, L or 1, D or 1); everything contiguous
Limits   called for rows first .. last - 1 of the batch, so that rows can run on several threads
Source   Werbos 1990, https://doi.org/10.1109/5.58337 (backpropagation through time)
"""

import numpy as np

from howfar.models.kernels.jit import Array, jit

Three = tuple[Array, Array, Array]


@jit()
def forward(given: Three, h: Array, first: int, last: int) -> None:
    """Write h; given are a, b and h_0."""
    a, b, h0 = given
    _, length, width = b.shape
    several, moving, wide = a.shape[0] > 1, a.shape[1] > 1, a.shape[2] > 1
    state, kept = np.empty(width, b.dtype), np.empty(width, b.dtype)
    for row in range(first, last):
        state[:] = h0[row]
        a_row = row if several else 0
        for t in range(length):
            if moving and wide:
                for d in range(width):
                    state[d] = a[a_row, t, d] * state[d] + b[row, t, d]
                    h[row, t, d] = state[d]
            else:
                if moving or t == 0:
                    for d in range(width):
                        kept[d] = a[a_row, t, d if wide else 0]
                for d in range(width):
                    state[d] = kept[d] * state[d] + b[row, t, d]
                    h[row, t, d] = state[d]


@jit(reorder=True)
def _total(x: Array) -> complex:
    """The sum, in any order."""
    total: complex = x[0]
    for d in range(1, x.size):
        total += x[d]
    return total


@jit()
def _back_own(saved: Three, g: Array, grads: Three, first: int, last: int) -> None:
    """Every step and channel has its own a."""
    a, h, h0 = saved
    da, db, dh0 = grads
    several = a.shape[0] > 1
    _, length, width = h.shape
    state = np.empty(width, h.dtype)
    for row in range(first, last):
        state[:] = 0
        a_row = row if several else 0
        for back in range(1, length):
            t = length - back
            for d in range(width):
                s = g[row, t, d] + state[d]
                db[row, t, d] = s
                da[row, t, d] = s * np.conj(h[row, t - 1, d])
                state[d] = s * np.conj(a[a_row, t, d])
        for d in range(width):
            s = g[row, 0, d] + state[d]
            db[row, 0, d] = s
            da[row, 0, d] = s * np.conj(h0[row, d])
            dh0[row, d] = s * np.conj(a[a_row, 0, d])


@jit()
def _back_shared(saved: Three, g: Array, grads: Three, first: int, last: int) -> None:
    """All steps or all channels share one a."""
    a, h, h0 = saved
    da, db, dh0 = grads
    several, moving, wide = a.shape[0] > 1, a.shape[1] > 1, a.shape[2] > 1
    _, length, width = h.shape
    state, kept = np.empty(width, h.dtype), np.empty(width, h.dtype)
    slope, before = np.empty(width, h.dtype), np.empty(width, h.dtype)
    for row in range(first, last):
        state[:] = 0
        slope[:] = 0
        a_row = row if several else 0
        for back in range(1, length + 1):
            t = length - back
            for d in range(width):
                before[d] = h[row, t - 1, d] if t > 0 else h0[row, d]
            if moving or back == 1:
                for d in range(width):
                    kept[d] = np.conj(a[a_row, t if moving else 0, d if wide else 0])
            for d in range(width):
                s = g[row, t, d] + state[d]
                db[row, t, d] = s
                slope[d] += s * np.conj(before[d])
                state[d] = s * kept[d]
            if moving:
                da[row, t, 0] = _total(slope)
                slope[:] = 0
        dh0[row] = state
        if not moving and wide:
            da[row, 0] = slope
        elif not moving:
            da[row, 0, 0] = _total(slope)


@jit()
def backward(saved: Three, g: Array, grads: Three, first: int, last: int) -> None:
    """Write the gradients of a, b and h_0; saved are a, h and h_0."""
    if saved[0].shape[1] > 1 and saved[0].shape[2] > 1:
        _back_own(saved, g, grads, first, last)
    else:
        _back_shared(saved, g, grads, first, last)
