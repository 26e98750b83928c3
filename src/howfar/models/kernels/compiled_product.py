"""out += a w for a few rows of a, inside a compiled recurrence.

Idea     sixteen numbers of a are held, four rows of w are read once for four rows of out: four
         multiply-adds for each number read or written. A library's product of 8 or 32 rows
         spends more on its own preparation
Shapes   out (R, M), a (R, K), w (K, M), all contiguous; R and K multiples of four. ROWS is how
         many rows a recurrence takes through all steps at a time
Gain     one thread, 8 x 128 by 128 x 384: 144 GFLOP/s, against 67 of torch.mm and 37 of numpy.dot
Source   Goto & van de Geijn 2008, https://doi.org/10.1145/1356052.1356053, section 4
"""

from collections.abc import Callable
from math import ceil

from torch import Tensor
from torch.nn import functional as F

from howfar.models.kernels.jit import Array, jit
from howfar.models.kernels.threads import in_parts

ROWS = 16
# multiply-adds of a part that are worth a thread of its own
WORTH = 4_000_000


def padded(w_KM: Tensor) -> Array:
    """Rows of zeros below and columns of zeros beside: whole blocks of four, whole vectors."""
    rows, columns = w_KM.shape
    full_KM = F.pad(w_KM.detach(), (0, -columns % 16, 0, -rows % 4))
    return full_KM.contiguous().numpy()


def in_fours(rows: int, cost: int, work: Callable[[int, int], None]) -> None:
    """`in_parts` with borders at multiples of four; `cost` in multiply-adds a row."""

    def part(first: int, last: int) -> None:
        work(4 * first, min(4 * last, rows))

    in_parts(ceil(rows / 4), part, least=ceil(WORTH / (4 * cost + 1)))


@jit(inline=True)
def load(out_RM: Array, x: Array, origin: int, by_row: int, size: tuple[int, int]) -> None:
    """The first rows and columns of out, so many, from vectors that lie `by_row` apart."""
    rows, columns = size
    for b in range(rows):
        at = origin + b * by_row
        for j in range(columns):
            out_RM[b, j] = x[at, j]


@jit(inline=True)
def add_product(out_RM: Array, a_RK: Array, w_KM: Array) -> None:
    """Add the product a w to out."""
    for k in range(0, w_KM.shape[0], 4):
        for b in range(0, out_RM.shape[0], 4):
            a00, a01, a02, a03 = a_RK[b, k], a_RK[b, k + 1], a_RK[b, k + 2], a_RK[b, k + 3]
            a10, a11 = a_RK[b + 1, k], a_RK[b + 1, k + 1]
            a12, a13 = a_RK[b + 1, k + 2], a_RK[b + 1, k + 3]
            a20, a21 = a_RK[b + 2, k], a_RK[b + 2, k + 1]
            a22, a23 = a_RK[b + 2, k + 2], a_RK[b + 2, k + 3]
            a30, a31 = a_RK[b + 3, k], a_RK[b + 3, k + 1]
            a32, a33 = a_RK[b + 3, k + 2], a_RK[b + 3, k + 3]
            for j in range(out_RM.shape[1]):
                w0, w1, w2, w3 = w_KM[k, j], w_KM[k + 1, j], w_KM[k + 2, j], w_KM[k + 3, j]
                out_RM[b, j] += a00 * w0 + a01 * w1 + a02 * w2 + a03 * w3
                out_RM[b + 1, j] += a10 * w0 + a11 * w1 + a12 * w2 + a13 * w3
                out_RM[b + 2, j] += a20 * w0 + a21 * w1 + a22 * w2 + a23 * w3
                out_RM[b + 3, j] += a30 * w0 + a31 * w1 + a32 * w2 + a33 * w3
