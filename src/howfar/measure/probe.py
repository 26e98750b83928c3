"""Ask a model: run a callable over many sequences and compare its answers at the targets.

Idea     clean and changed rows run in batches of the same shape and place, so that float noise
         from batching cannot pass for an effect
Shapes   tokens (N, L) or (N, L, D); the answer at the target: (N, V)
Units    Jensen-Shannon divergence in bits for logits; squared distance for reals
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Predict

DIVERGENCES = ("auto", "js", "kl", "l2")


@dataclass(frozen=True, slots=True)
class Sequences:
    """What is measured on: tokens (N, L[, D]) with real lengths (N,) and a target a row (N,)."""

    tokens: Tensor
    lengths: Tensor
    targets: Tensor

    @property
    def window(self) -> int:
        """Tokens visible to the latest target, itself included."""
        return int(self.targets.max()) + 1


def sequences(tokens: Tensor, lengths: Tensor | None, targets: Tensor | str) -> Sequences:
    """Check shapes and fill in what is implied. `targets`: "last", or positions (N,)."""
    if tokens.ndim not in (2, 3) or tokens.shape[0] < 2 or tokens.shape[1] < 1:
        shape = tuple(tokens.shape)
        message = f"tokens must be (N, L) or (N, L, D) with N >= 2 and L >= 1, got {shape}."
        raise UsageError("E-SHAPE", message, "at least two sequences: one is the other's donor.")
    num, length = tokens.shape[:2]
    if lengths is None:
        lengths = torch.full((num,), length)
    if lengths.shape != (num,) or int(lengths.min()) < 1 or int(lengths.max()) > length:
        message = f"lengths must be {num} numbers in 1 .. {length}."
        raise UsageError("E-SHAPE", message, "leave out empty sequences.")
    if isinstance(targets, str):
        if targets != "last":
            raise UsageError("E-OPTION", f"targets={targets!r} is not known.", 'targets="last".')
        targets = lengths - 1
    if targets.shape != (num,) or bool((targets < 0).any() | (targets >= lengths).any()):
        raise UsageError("E-SHAPE", "Each target must be a real position.", 'targets="last".')
    return Sequences(tokens, lengths, targets)


def answers(predict: Predict, seqs: Sequences, batch: int) -> Tensor:
    """The model's output at each row's target, float64: (N, V).

    Outputs (B, L, V), (B, L) real and (B, C) are understood, and (B, 1, V) where the model has
    answered at the target alone. NaN raises DataError E-OUTPUT.
    """
    rows: list[Tensor] = []
    with torch.no_grad(), _evaluating(predict):
        for start in range(0, len(seqs.tokens), batch):
            part = slice(start, start + batch)
            output = predict(seqs.tokens[part], seqs.lengths[part])
            rows.append(_at_target(output, seqs.tokens[part], seqs.targets[part]))
    answer_NV = torch.cat(rows)
    if bool(answer_NV.isnan().any()):
        row = int(answer_NV.isnan().any(1).nonzero()[0])
        message = f"The model's output at row {row} is not a number."
        raise DataError("E-OUTPUT", message, "check the model for overflow; nothing was measured.")
    return answer_NV


def answers_everywhere(predict: Predict, seqs: Sequences, batch: int) -> Tensor:
    """The model's output at every position, float64: (N, L, V). Whole-sequence models cannot."""
    rows: list[Tensor] = []
    with torch.no_grad(), _evaluating(predict):
        for start in range(0, len(seqs.tokens), batch):
            part = slice(start, start + batch)
            output = predict(seqs.tokens[part], seqs.lengths[part])
            if output.ndim < 2 or output.shape[1] != seqs.tokens.shape[1]:
                message = f"The fast design needs an output a position, got {tuple(output.shape)}."
                raise UsageError("E-SHAPE", message, 'design="paired".')
            rows.append(output.reshape(*output.shape[:2], -1).double())
    return torch.cat(rows)


def divergence_kind(name: str, tokens: Tensor, width: int) -> str:
    """Resolve "auto": Jensen-Shannon for the logits of token models, squared distance for reals."""
    if name not in DIVERGENCES:
        message = f"No divergence is called {name!r}."
        raise UsageError("E-OPTION", message, f"one of {', '.join(DIVERGENCES)}.")
    if name != "auto":
        return name
    return "js" if not tokens.is_floating_point() and width > 1 else "l2"


def diverge(kind: str, clean_NV: Tensor, other_NV: Tensor) -> np.ndarray:
    """D(clean, other) over the last axis: bits for "js", nats for "kl", squared units for "l2"."""
    if kind == "l2":
        return np.asarray((clean_NV - other_NV).square().sum(-1))
    logp, logq = clean_NV.log_softmax(-1), other_NV.log_softmax(-1)
    p, q = logp.exp(), logq.exp()
    if kind == "kl":
        return np.asarray(torch.where(p > 0, p * (logp - logq), 0).sum(-1).clamp(min=0))
    # With m = (p+q)/2 and d = (q-p)/(p+q), each term is m/2 [(1-d)log(1-d) + (1+d)log(1+d)]:
    # never negative, exactly 0 for equal inputs, and accurate where p and q nearly agree.
    total = p + q
    d = torch.where(total > 0, (q - p) / total, 0)
    less, more = 1 - d, 1 + d
    terms = torch.where(less > 0, less * torch.log1p(-d), 0) + torch.where(
        more > 0, more * torch.log1p(d), 0
    )
    return np.asarray(((total / 4 * terms).sum(-1) / np.log(2)).clamp(min=0))


def resolution(kind: str, answer_NV: Tensor, dtype: torch.dtype) -> float:
    """The divergence that rounding alone can make: 8 units in the last place of the output."""
    eps = torch.finfo(dtype if dtype.is_floating_point else torch.float32).eps
    step = 8 * eps * float(answer_NV[answer_NV.isfinite()].abs().amax())
    return step**2 if kind == "l2" else step**2 / 8 / np.log(2)


def output_dtype(predict: Predict, seqs: Sequences) -> torch.dtype:
    """The precision the model answers in."""
    with torch.no_grad(), _evaluating(predict):
        return predict(seqs.tokens[:2], seqs.lengths[:2]).dtype


def donors(num: int, count: int, rng: np.random.Generator) -> list[np.ndarray]:
    """`count` ways to give every sequence another as donor: (N,) indices, no fixed points."""
    ways = []
    for _ in range(count):
        order = rng.permutation(num)
        donor = np.empty(num, dtype=np.int64)
        donor[order] = np.roll(order, 1)
        ways.append(donor)
    return ways


def donor_tokens(seqs: Sequences, donor_N: np.ndarray) -> Tensor:
    """The donors' tokens at the same positions; a shorter donor is repeated to cover the row."""
    index = torch.from_numpy(donor_N)
    position_NL = torch.arange(seqs.tokens.shape[1])[None, :] % seqs.lengths[index][:, None]
    chosen = seqs.tokens[index]
    if chosen.ndim == 3:
        return chosen.gather(1, position_NL[..., None].expand_as(chosen))
    return chosen.gather(1, position_NL)


def where_tokens(mask_NL: Tensor, given: Tensor, tokens: Tensor) -> Tensor:
    """`given` where the mask is true, `tokens` elsewhere; both (N, L) or (N, L, D)."""
    return torch.where(mask_NL[..., None] if tokens.ndim == 3 else mask_NL, given, tokens)


def _at_target(output: Tensor, tokens: Tensor, targets: Tensor) -> Tensor:
    shape = tuple(getattr(output, "shape", ()))
    if len(shape) not in (2, 3):
        message = f"A model must return (B, L, V), (B, L) or (B, C), got {shape}."
        raise UsageError("E-SHAPE", message, "wrap the model in a function that returns logits.")
    rows = torch.arange(len(tokens))
    if output.ndim == 3 and output.shape[1] == 1:
        return output[:, 0].double().cpu()
    if output.ndim == 3:
        return output[rows, targets].double().cpu()
    if output.shape == tokens.shape[:2] and output.shape[1] > 1:
        return output[rows, targets][:, None].double().cpu()
    return output.double().cpu()


class _evaluating:  # noqa: N801 - reads as a word: with _evaluating(model)
    """Put a module into eval mode for a while; other callables are left alone."""

    def __init__(self, predict: object) -> None:
        modules = predict.modules() if isinstance(predict, nn.Module) else ()
        self.training = [module for module in modules if module.training]

    def __enter__(self) -> None:
        for module in self.training:
            module.training = False

    def __exit__(self, *_: object) -> None:
        for module in self.training:
            module.training = True
