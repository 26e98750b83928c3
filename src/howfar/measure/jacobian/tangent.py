"""The Jacobian of one step, explicit or as it acts on vectors.

Idea     pull: u -> J^T u is one backward pass; rows are repeated so that many u share it
         push: q -> J q is the derivative of J^T u by u, which is linear in u: backward twice. This
         needs no forward-mode rules, which torch's LSTM on a CPU lacks
         Where a step cannot be differentiated twice (custom functions, cuDNN), J itself is used
Shapes   states (B, S), columns (B, S, M), Jacobians (B, S, S) as [row, out, in], all float64
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.measure.jacobian.step import Call, Step
from howfar.measure.watch import quiet

ROWS_AT_ONCE = 8192  # repeated rows in a backward pass


@contextmanager
def still(step: Step | Call) -> Iterator[None]:
    """Gradients on, and the step's module in evaluation mode."""
    module = step.module if isinstance(step, Step) else step
    with torch.inference_mode(False), torch.enable_grad(), quiet(module, gradients=True):
        yield


def begin(step: Step | Call, inputs: Tensor, start: Tensor | None) -> tuple[Tensor, Tensor]:
    """The state to begin from, (N, S), and the inputs still to come.

    Raises:
        UsageError: inputs that are no sequences; a plain function without a start.
    """
    if inputs.ndim not in (2, 3) or inputs.shape[1] < 2:
        message = f"inputs must be (N, L) or (N, L, D) with L >= 2, got {tuple(inputs.shape)}."
        raise UsageError("E-SHAPE", message, "one row a sequence.")
    inputs = inputs.detach().clone()
    if start is not None:
        start = start.detach().clone()
        return start.expand(len(inputs), start.shape[-1]), inputs
    if not isinstance(step, Step):
        message = "A plain step function does not say where its state starts."
        raise UsageError("E-OPTION", message, "start=a tensor of (S,) or (N, S).")
    with torch.no_grad():
        return step.first(inputs[:, 0]), inputs[:, 1:]


def advance(step: Step | Call, x: Tensor, state_BS: Tensor) -> Tensor:
    """The next state, without a graph.

    Raises:
        UsageError: another shape. DataError: states that are not finite.
    """
    with torch.no_grad():
        after_BS = step(x, state_BS)
    if after_BS.shape != state_BS.shape:
        message = f"A step from {tuple(state_BS.shape)} gave {tuple(after_BS.shape)}."
        raise UsageError("E-STEP", message, "state in, state out, both (B, S).")
    if not bool(after_BS.isfinite().all()):
        raise DataError("E-OUTPUT", "The state is not finite.", "check the model for overflow.")
    return after_BS


def pull(step: Step | Call, x: Tensor, state_BS: Tensor, u_BMS: Tensor) -> Tensor:
    """J^T u for M vectors a row: (B, M, S) -> (B, M, S)."""
    rows, size = state_BS.shape
    made = []
    at_once = max(1, ROWS_AT_ONCE // rows)
    for some_BmS in torch.split(u_BMS, at_once, dim=1):
        m = some_BmS.shape[1]
        many = state_BS.detach().repeat_interleave(m, 0).requires_grad_()
        after = step(x.repeat_interleave(m, 0), many)
        if not after.requires_grad:
            made.append(torch.zeros_like(some_BmS))
            continue
        sent = some_BmS.reshape(rows * m, size).to(after)
        (back,) = torch.autograd.grad(after, many, sent, allow_unused=True, materialize_grads=True)
        made.append(back.detach().double().cpu().reshape(rows, m, size))
    pulled_BMS = torch.cat(made, 1)
    if not bool(pulled_BMS.isfinite().all()):
        raise DataError("E-GRADIENT", "A step's gradient is not finite.", "look for overflow.")
    return pulled_BMS


def jacobian(step: Step | Call, x: Tensor, state_BS: Tensor) -> Tensor:
    """Dh' / dh of every row: (B, S, S)."""
    rows, size = state_BS.shape
    return pull(step, x, state_BS, torch.eye(size, dtype=torch.float64).expand(rows, size, size))


def push(step: Step | Call, x: Tensor, state_BS: Tensor, q_BSM: Tensor) -> Tensor:
    """J q for M vectors a row: (B, S, M) -> (B, S, M).

    Raises:
        RuntimeError: of torch, where the step cannot be differentiated twice.
    """
    rows, size, count = q_BSM.shape
    many = state_BS.detach().repeat_interleave(count, 0).requires_grad_()
    after = step(x.repeat_interleave(count, 0), many)
    u = torch.zeros_like(after, requires_grad=True)
    (back,) = torch.autograd.grad(after, many, u, create_graph=True)
    sent = q_BSM.mT.reshape(rows * count, size).to(after)
    (along,) = torch.autograd.grad(back, u, sent)
    return along.detach().double().cpu().reshape(rows, count, size).mT


def can_push(step: Step | Call, x: Tensor, state_BS: Tensor, generator: torch.Generator) -> bool:
    """Whether `push` works for this step, and agrees with `pull`: u . (J q) = (J^T u) . q."""
    q_BS1 = torch.randn(*state_BS.shape, 1, generator=generator, dtype=torch.float64)
    u_B1S = torch.randn(len(state_BS), 1, state_BS.shape[1], generator=generator).double()
    try:
        along = (u_B1S @ push(step, x, state_BS, q_BS1)).flatten()
    except RuntimeError:
        return False
    back = (pull(step, x, state_BS, u_B1S) @ q_BS1).flatten()
    size = float(torch.linalg.vector_norm(back)) + float(torch.linalg.vector_norm(along))
    tolerance = 1e3 * torch.finfo(state_BS.dtype).eps
    return bool(torch.linalg.vector_norm(along - back) <= tolerance * size)
