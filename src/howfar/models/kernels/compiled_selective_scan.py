"""The selective state space, compiled: states live in the first caches and nowhere else.

Idea     a chunk of STEPS steps is copied into blocks of channels; each block walks through it with
         its states (N, BLOCK), channels innermost, where exp and all sums vectorise. Forward
         leaves the states before every chunk behind; backward starts from there, last chunk first,
         computes the states of one chunk again and then goes back through them. Inner loops have a
         fixed length and memory of their own: with a variable one, on the tensors themselves, they
         ran 5 times slower
Shapes   x, step, y, g (B, L, D); into, out (B, L, N); states (B, K, N, BLOCK), K blocks filled up
         with zeros; rate (K, N, BLOCK), its gradient (B, K, N, BLOCK); borders
         (B, C, K, N, BLOCK); gradients of into and out (groups, B, L, N), to be summed over
         groups; everything contiguous
Limits   called for items first .. last - 1 of B times the groups of `span` blocks, so that these
         can run on threads
Source   Gu & Dao 2023, https://arxiv.org/abs/2312.00752, section 3.3.2 (states computed again)
"""

import numpy as np

from howfar.models.kernels.compiled_math import exp
from howfar.models.kernels.jit import Array, jit

BLOCK = 64
STEPS = 32


@jit()
def _pack(x: Array, row: int, start: int, low: int, tile: Array) -> None:
    """Tile (K, STEPS, BLOCK) = the channels from low on of a chunk, zero where there is none."""
    for j in range(min(STEPS, x.shape[1] - start)):
        for k in range(tile.shape[0]):
            left = low + k * BLOCK
            size = min(BLOCK, x.shape[2] - left)
            for d in range(size):
                tile[k, j, d] = x[row, start + j, left + d]
            for d in range(size, BLOCK):
                tile[k, j, d] = 0


@jit()
def _unpack(tile: Array, row: int, start: int, low: int, x: Array) -> None:
    """The way back."""
    for j in range(min(STEPS, x.shape[1] - start)):
        for k in range(tile.shape[0]):
            left = low + k * BLOCK
            for d in range(min(BLOCK, x.shape[2] - left)):
                x[row, start + j, left + d] = tile[k, j, d]


@jit()
def _copy(source: Array, target: Array) -> None:
    """From states to states, (K, N, BLOCK)."""
    for k in range(source.shape[0]):
        for n in range(source.shape[1]):
            for d in range(BLOCK):
                target[k, n, d] = source[k, n, d]


@jit()
def forward(
    inputs: tuple[Array, ...], results: tuple[Array, Array, Array], span: int, first: int, last: int
) -> None:
    """Write y, the states at the borders, where there is room for them, and those at the end."""
    y, borders, end = results
    x, step, rates, into, out, h0 = inputs
    blocks, states = rates.shape[0], rates.shape[1]
    groups = (blocks + span - 1) // span
    x_tile = np.empty((span, STEPS, BLOCK), x.dtype)
    dt_tile = np.empty((span, STEPS, BLOCK), x.dtype)
    u, total = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    for item in range(first, last):
        row, left = item // groups, item % groups * span
        right = min(left + span, blocks)
        h = end[row, left:right]
        _copy(h0[row, left:right], h)
        for start in range(0, x.shape[1], STEPS):
            if borders.shape[1] > 0:
                _copy(h, borders[row, start // STEPS, left:right])
            _pack(x, row, start, left * BLOCK, x_tile[: right - left])
            _pack(step, row, start, left * BLOCK, dt_tile[: right - left])
            for k in range(right - left):
                for j in range(min(STEPS, x.shape[1] - start)):
                    for d in range(BLOCK):
                        u[d] = dt_tile[k, j, d] * x_tile[k, j, d]
                        total[d] = 0
                    for n in range(states):
                        write, read = into[row, start + j, n], out[row, start + j, n]
                        for d in range(BLOCK):
                            decay = exp(dt_tile[k, j, d] * rates[left + k, n, d])
                            state = decay * h[k, n, d] + u[d] * write
                            h[k, n, d] = state
                            total[d] += state * read
                    for d in range(BLOCK):
                        x_tile[k, j, d] = total[d]
            _unpack(x_tile[: right - left], row, start, left * BLOCK, y)


@jit()
def _again(
    inputs: tuple[Array, ...],
    place: tuple[int, int, int],
    tiles: tuple[Array, Array],
    kept: Array,
    held: Array,
) -> None:
    """Decays and states of one block in a chunk; held[0] is there already."""
    x, _, rates, into, _, _ = inputs
    row, start, block = place
    x_block, dt_block = tiles
    u = np.empty(BLOCK, x.dtype)
    for j in range(min(STEPS, x.shape[1] - start)):
        for d in range(BLOCK):
            u[d] = dt_block[j, d] * x_block[j, d]
        for n in range(rates.shape[1]):
            write = into[row, start + j, n]
            for d in range(BLOCK):
                decay = exp(dt_block[j, d] * rates[block, n, d])
                kept[j, n, d] = decay
                held[j + 1, n, d] = decay * held[j, n, d] + u[d] * write


@jit(reorder=True)
def _back(
    inputs: tuple[Array, ...],
    place: tuple[int, int, int],
    tiles: tuple[Array, ...],
    states: tuple[Array, ...],
    sums: tuple[Array, Array],
) -> None:
    """Back through a chunk; `later`, the gradient of the state after it, goes along.

    The gradients of x and of the step stand in the tiles of x and g afterwards.
    """
    x, _, rates, into, out, _ = inputs
    row, start, block = place
    x_block, dt_block, dy_block = tiles
    kept, held, later, slope = states
    to_into, to_out = sums
    u, du, ddt = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    for j in range(min(STEPS, x.shape[1] - start) - 1, -1, -1):
        for d in range(BLOCK):
            u[d] = dt_block[j, d] * x_block[j, d]
            du[d] = 0
            ddt[d] = 0
        for n in range(rates.shape[1]):
            write, read = into[row, start + j, n], out[row, start + j, n]
            to_read = to_write = write * 0
            for d in range(BLOCK):
                s = later[n, d] + dy_block[j, d] * read
                to_read += dy_block[j, d] * held[j + 1, n, d]
                to_write += s * u[d]
                du[d] += s * write
                s *= kept[j, n, d]
                later[n, d] = s
                s *= held[j, n, d]
                slope[n, d] += s * dt_block[j, d]
                ddt[d] += s * rates[block, n, d]
            to_into[j, n] += to_write
            to_out[j, n] += to_read
        for d in range(BLOCK):
            dy_block[j, d] = du[d] * x_block[j, d] + ddt[d]
            x_block[j, d] = du[d] * dt_block[j, d]


@jit()
def backward(
    inputs: tuple[Array, ...],
    saved: tuple[Array, Array],
    grads: tuple[Array, ...],
    span: int,
    first: int,
    last: int,
) -> None:
    """Write the gradients of all six inputs; dh0 holds that of the last state before."""
    borders, g = saved
    x, step, rates, _, _, _ = inputs
    dx, dstep, drate, dinto, dout, dh0 = grads
    blocks, states = rates.shape[0], rates.shape[1]
    groups = (blocks + span - 1) // span
    kept = np.empty((STEPS, states, BLOCK), x.dtype)
    held = np.empty((STEPS + 1, states, BLOCK), x.dtype)
    tiles = np.empty((3, span, STEPS, BLOCK), x.dtype)
    to_into, to_out = np.empty((STEPS, states), x.dtype), np.empty((STEPS, states), x.dtype)
    slope = np.empty((states, BLOCK), x.dtype)
    for item in range(first, last):
        row, group = item // groups, item % groups
        left = group * span
        count = min(span, blocks - left)
        for k in range(left, left + count):
            drate[row, k] = 0
        for chunk in range(borders.shape[1] - 1, -1, -1):
            start = chunk * STEPS
            _pack(x, row, start, left * BLOCK, tiles[0, :count])
            _pack(step, row, start, left * BLOCK, tiles[1, :count])
            _pack(g, row, start, left * BLOCK, tiles[2, :count])
            to_into[:] = 0
            to_out[:] = 0
            for k in range(count):
                place = (row, start, left + k)
                slope[:] = 0
                _copy(borders[row, chunk, left + k : left + k + 1], held[:1])
                _again(inputs, place, (tiles[0, k], tiles[1, k]), kept, held)
                parts = (kept, held, dh0[row, left + k], slope)
                _back(
                    inputs,
                    place,
                    (tiles[0, k], tiles[1, k], tiles[2, k]),
                    parts,
                    (to_into, to_out),
                )
                for n in range(states):
                    for d in range(BLOCK):
                        drate[row, left + k, n, d] += slope[n, d]
            for j in range(min(STEPS, x.shape[1] - start)):
                for n in range(states):
                    dinto[group, row, start + j, n] = to_into[j, n]
                    dout[group, row, start + j, n] = to_out[j, n]
            _unpack(tiles[0, :count], row, start, left * BLOCK, dx)
            _unpack(tiles[2, :count], row, start, left * BLOCK, dstep)
