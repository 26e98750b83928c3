"""The hidden attention of linear recurrences: what weight an output gives to each input.

Idea     a state that decays and is added to, S_t = A_t * S_{t-1} + B_t x_t, y_t = C_t . S_t, is a
         weighted sum of its inputs, with no softmax and no matrix T x T:

             y_t = sum_{s <= t} alpha_ts x_s,  alpha_ts = C_t . (prod_{j=s+1..t} A_j) * B_s

         linear attention is the same with B = phi(k), C = phi(q), and A = 1 or a gate. The product
         is exp of a difference of running sums of log |A|, its sign counted apart, for M rows t
Shapes   decay, write, read broadcast to (B, T, D, N): sequences, tokens, channels, state a channel
         (a head is a channel of linear attention, N its key size). alpha (B, D, M, T)
Units    a reading by lag is that of |alpha|, scaled to a sum of 1 a row and channel
Limits   |alpha| leaves out signs, and what gates and other layers make of the sum; a decay of
         exactly 0 forgets. `LinearLayer` is exact where channels do not mix, and checks that
Source   Ali, Zimerman & Wolf 2024, https://arxiv.org/abs/2403.01590 (hidden attention of Mamba);
         Katharopoulos et al. 2020, https://arxiv.org/abs/2006.16236 (linear attention as an RNN)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.measure.attention.gather import Take
from howfar.measure.attention.options import AttentionOptions
from howfar.measure.attention.reach import AttentionReach, measured
from howfar.measure.attention.rows import Attended


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """One layer: three tensors that broadcast to (B, T, D, N), real or complex.

    decay: A_t; write: B_t; read: C_t. Of complex ones the real part of alpha is taken.
    """

    decay: Tensor
    write: Tensor
    read: Tensor

    def __post_init__(self) -> None:
        parts = (self.decay, self.write, self.read)
        sizes = [set(size) - {1} for size in zip(*(part.shape for part in parts), strict=False)]
        if any(part.ndim != 4 for part in parts) or any(len(size) > 1 for size in sizes):
            given = ", ".join(str(tuple(part.shape)) for part in parts)
            message = f"decay, write and read must broadcast to (B, T, D, N), got {given}."
            raise UsageError("E-SHAPE", message, "ones where something is shared: (B, T, 1, N).")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, T, D, N)."""
        parts = (self.decay.shape, self.write.shape, self.read.shape)
        batch, length, channels, state = (max(sizes) for sizes in zip(*parts, strict=True))
        return batch, length, channels, state

    def part(self, index: Tensor, length: int) -> "Recurrence":
        """Some sequences, and of them the first tokens."""
        batch, whole = self.shape[:2]
        decay, write, read = (
            part.expand(batch, whole, *part.shape[2:])[index, :length]
            for part in (self.decay, self.write, self.read)
        )
        return Recurrence(decay=decay, write=write, read=read)

    def rows(self, place_M: Tensor) -> Tensor:
        """The weights alpha of some outputs t: (M,) -> (B, D, M, T), float64, 0 for s > t."""
        batch, length, channels, _ = self.shape
        found = torch.zeros(batch, channels, len(place_M), length, dtype=torch.float64)
        for b in range(batch):
            # one sequence at a time: its (T, D, N) numbers are what is held
            one = self.part(torch.tensor([b]), length)
            write, read = (part[0].to(_exact(part)) for part in (one.write, one.read))
            log, turn, gone = _running(one.decay[0])
            for i, t in enumerate(place_M.tolist()):
                seen = slice(0, t + 1)
                kept = (log[t] - log[seen]).exp() * (gone[t] == gone[seen])
                sign = _sign(turn[t] - turn[seen], complex_=self.decay.is_complex())
                alpha = (read[t] * (kept * sign) * write[seen]).sum(-1)
                real = alpha.real if alpha.is_complex() else alpha
                found[b, :, i, : t + 1] = real.expand(t + 1, channels).T.cpu()
        return found


@dataclass(frozen=True, slots=True)
class LinearLayer:
    """Any layer that is linear in its values and keeps channels apart: one vjp a row.

    layer: values (B, T, D) -> (B, T, D), all gates held fixed; values: those it had, which change
    nothing of the weights but are what they are checked by. index: which sequences.
    """

    layer: Callable[[Tensor], Tensor]
    values: Tensor
    index: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, T, D, 1)."""
        batch, length, channels = self.values.shape
        return batch if self.index is None else len(self.index), length, channels, 1

    def part(self, index: Tensor, length: int) -> "LinearLayer":
        """Some sequences; the layer still runs all of them, as its gates are theirs."""
        return LinearLayer(self.layer, self.values, index)

    def rows(self, place_M: Tensor) -> Tensor:
        """As `Recurrence.rows`.

        Raises:
            UsageError: E-LINEAR where sum_s alpha_ts v_s is not what the layer returned.
        """
        slopes = []
        with torch.enable_grad():
            values = self.values.detach().requires_grad_()
            output = self.layer(values)
            for t in place_M.tolist():
                (slope,) = torch.autograd.grad(output[:, t].sum(), values, retain_graph=True)
                slopes.append(slope.detach())
        alpha_BDMT = torch.stack(slopes, 1).permute(0, 3, 1, 2)
        made = torch.einsum("bdmt,btd->bmd", alpha_BDMT, values.detach())
        most = float(alpha_BDMT.abs().sum(-1).max()) * float(values.detach().abs().max())
        if float((made - output.detach()[:, place_M]).abs().max()) > most * _slack(made):
            message = "The layer is not a weighted sum of its values, channel by channel."
            raise UsageError("E-LINEAR", message, "hold its gates fixed, and no bias.")
        alpha_BDMT = alpha_BDMT.double().cpu()
        return alpha_BDMT if self.index is None else alpha_BDMT[self.index]


def linear_attention(queries: Tensor, keys: Tensor, gates: Tensor | None = None) -> Recurrence:
    """Linear attention as a recurrence: phi(q), phi(k) (B, H, T, N), without their normaliser.

    gates: (B, H, T) one a head, or (B, H, T, N); None: nothing is forgotten.
    """
    read, write = queries.transpose(1, 2), keys.transpose(1, 2)
    if gates is None:
        decay = torch.ones(1, 1, 1, 1, dtype=queries.dtype, device=queries.device)
    else:
        decay = (gates[..., None] if gates.ndim == 3 else gates).transpose(1, 2)
    return Recurrence(decay=decay, write=write, read=read)


def hidden_attention(
    layers: Sequence[Recurrence | LinearLayer],
    *,
    lengths: Tensor | None = None,
    options: AttentionOptions | None = None,
) -> AttentionReach:
    """Measure where the hidden attention of linear recurrences lies; channels stand for heads.

    Args:
        layers: one a layer, of the same B and T.
        lengths: (B,) real tokens a row; None: all.
        options: see `AttentionOptions`; sinks=() where the first token is as good as any.

    Returns:
        As `attention_reach`, of |alpha| scaled to a sum of 1 a row; no values, no rollout.
    """
    options = replace(options or AttentionOptions(), rollout=0)
    sizes = {layer.shape[:2] for layer in layers}
    if len(sizes) != 1:
        message = f"Layers must be of one number of rows and tokens, got {sorted(sizes)}."
        raise UsageError("E-SHAPE", message, "at least one layer, all of one batch.")
    batch, length = sizes.pop()
    index_BT = torch.arange(batch)[:, None].expand(batch, length)

    def run(row_BT: Tensor, lengths: Tensor, take: Take) -> int:
        for number, layer in enumerate(layers):
            part = layer.part(row_BT[:, 0], row_BT.shape[1])
            rows = _scaled(part.rows, row_BT.shape[1])
            take(Attended(f"layer {number}", "hidden", part.shape[2], row_BT.shape[1], rows))
        return 0

    return measured(run, index_BT, lengths, options)


def _scaled(rows: Callable[[Tensor], Tensor], length: int) -> Callable[[Tensor], Tensor]:
    def shares(place_M: Tensor) -> Tensor:
        size_BDMT = rows(place_M)[..., :length].abs()
        total = size_BDMT.sum(-1, keepdim=True)
        return torch.where(total > 0, size_BDMT / total, 0.0)

    return shares


def _slack(values: Tensor) -> float:
    return 1e3 * torch.finfo(values.dtype).eps


def _exact(part: Tensor) -> torch.dtype:
    return torch.complex128 if part.is_complex() else torch.float64


def _running(decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(T, D, N) -> running sums along T: of log |A|, of its sign or angle, of how often it is 0."""
    decay = decay.to(_exact(decay))
    zero = decay == 0
    log = torch.where(zero, 1.0, decay.abs()).log().cumsum(0)
    turn = decay.angle() if decay.is_complex() else (decay < 0).double()
    return log, turn.cumsum(0), zero.cumsum(0)


def _sign(turn: Tensor, *, complex_: bool) -> Tensor:
    """exp(i angle), or (-1) to the number of negative factors."""
    return torch.polar(torch.ones_like(turn), turn) if complex_ else 1 - 2 * (turn % 2)
