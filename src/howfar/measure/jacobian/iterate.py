"""Norms of long products of Jacobians that are never multiplied out.

Idea     all lags at once: lag k joins the sweep over steps where its product begins, so that one
         sweep forwards (J q) and one backwards (J^T u) is an iteration for every lag
         vectors are scaled to 1 after every step, and the logs of their norms are kept
Shapes   trail[k-1] is the input and the state before the k-th last step; norms (N, K) by lag
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from howfar.measure.jacobian.step import Call, Step
from howfar.measure.jacobian.tangent import pull, push

Trail = Sequence[tuple[Tensor, Tensor]]


def squared_frobenius(
    step: Step | Call, trail: Trail, lags: Sequence[int], probes: int, generator: Generator
) -> Tensor:
    """Mean of |P_k^T u|^2 over random signs u: (N, K), unbiased."""
    rows, size = trail[0][1].shape
    bits = torch.randint(2, (rows, probes, size), generator=generator)
    u_NMS = 2 * bits.double() - 1
    log_NM = torch.zeros(rows, probes, dtype=torch.float64)
    found = []
    for k in range(lags[-1] + 1):
        if k > 0:
            u_NMS, log_NM = _unit(pull(step, *trail[k - 1], u_NMS), log_NM)
        if k in lags:
            squares_NM = u_NMS.square().sum(-1) * (2 * log_NM).exp()
            found.append(squares_NM.mean(1))
    return torch.stack(found, -1)


def spectral(
    step: Step | Call,
    trail: Trail,
    lags: Sequence[int],
    limits: tuple[int, float],
    generator: Generator,
) -> tuple[Tensor, bool]:
    """Largest singular value of every product, (N, K), and whether all have settled."""
    rows, size = trail[0][1].shape
    iterations, tolerance = limits
    lag_K = torch.tensor(lags)
    q_NKS = torch.randn(rows, len(lags), size, generator=generator, dtype=torch.float64)
    q_NKS = q_NKS / torch.linalg.vector_norm(q_NKS, dim=-1, keepdim=True)
    before_NK = torch.full((rows, len(lags)), -torch.inf, dtype=torch.float64)
    for _ in range(iterations):
        log_NK = torch.zeros(rows, len(lags), dtype=torch.float64)
        for k in range(lags[-1], 0, -1):
            here = lag_K >= k
            moved = push(step, *trail[k - 1], q_NKS[:, here].mT).mT
            q_NKS[:, here], log_NK[:, here] = _unit(moved, log_NK[:, here])
        # |P q| <= |P| for unit q, and it only grows from one iteration to the next.
        gain_NK = (log_NK - before_NK).abs()
        settled = (gain_NK <= tolerance) | (log_NK == -torch.inf)
        before_NK = log_NK
        if bool(settled.all()):
            return log_NK.exp(), True
        for k in range(1, lags[-1] + 1):
            here = lag_K >= k
            moved = pull(step, *trail[k - 1], q_NKS[:, here])
            q_NKS[:, here], _ = _unit(moved, log_NK[:, here])
    return before_NK.exp(), False


def _unit(moved: Tensor, log: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors scaled to 1 and their logs with the scale; a vector that vanished stays 0."""
    norm = torch.linalg.vector_norm(moved, dim=-1)
    safe = torch.where(norm > 0, norm, 1.0)
    return moved / safe[..., None], log + norm.log()
