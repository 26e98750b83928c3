"""Ask a model: run a callable over many sequences and compare its answers at the targets.

Idea     clean and changed rows run in batches of the same shape and place, so that float noise
         from batching cannot pass for an effect
Shapes   tokens (N, L) or (N, L, D); the answer at the target: (N, V)
Units    Jensen-Shannon divergence in bits for logits; squared distance for reals
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError
from howfar.core.protocols import Predict
from howfar.measure.watch import quiet

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


@dataclass(frozen=True, slots=True)
class Asked:
    """A callable with what a first look at two rows tells: one answer a position, and its dtype."""

    predict: Predict
    everywhere: bool
    dtype: torch.dtype

    @property
    def eps(self) -> float:
        """One unit in the last place of an output of 1."""
        return torch.finfo(self.dtype).eps


def ask(predict: Predict, seqs: Sequences) -> Asked:
    """Look at the output for the two longest rows.

    A (B, n) output of rows of n tokens may be one real a position or n classes: the rows less
    their last column are asked too, and the one that still answers n wide has classes.

    Raises:
        UsageError: for an output of another shape, of whole numbers, or that stays ambiguous.
    """
    longest = seqs.lengths.argsort(descending=True, stable=True)[:2]
    tokens, lengths = seqs.tokens[longest], seqs.lengths[longest]
    width = tokens.shape[1]
    with torch.no_grad(), quiet(predict):
        output: object = predict(tokens, lengths)  # a stranger's model may return anything
        shape = tuple(getattr(output, "shape", ()))
        if not isinstance(output, Tensor) or len(shape) not in (2, 3) or shape[0] != len(tokens):
            found = shape or type(output).__name__
            message = f"A model must return (B, L, V), (B, L) or (B, C), got {found}."
            raise UsageError(
                "E-SHAPE", message, "wrap the model in a function that returns logits."
            )
        if not output.is_floating_point():
            message = f"The model answers {output.dtype}: neither logits nor real numbers."
            raise UsageError("E-OUTPUT", message, "return logits, or reals as .float().")
        full = shape[1] in (width, int(lengths.max()))
        everywhere = (
            full and width > 1 and (len(shape) == 3 or _follows(predict, tokens, lengths, shape[1]))
        )
    if len(shape) == 3 and not full and shape[1] != 1:
        raise misfit(shape, width)
    return Asked(predict, everywhere, output.dtype)


def answers(asked: Asked, seqs: Sequences, batch: int) -> Tensor:
    """The model's output at each row's target, float64: (N, V).

    Outputs (B, L, V), (B, L) real and (B, C) are understood, and (B, 1, V) where the model has
    answered at the target alone; L may be the longest row's length. NaN and infinity raise
    DataError E-OUTPUT, -infinity (a class that is ruled out) does not.
    """
    answer_NV = torch.cat(
        [_at_target(output, asked, *part) for output, *part in _outputs(asked, seqs, batch)]
    )
    check(answer_NV)
    return answer_NV


def answers_everywhere(asked: Asked, seqs: Sequences, batch: int, places: slice) -> Tensor:
    """The model's output at some positions of every row, float64: (N, places, V)."""
    if not asked.everywhere:
        raise not_everywhere()
    rows = []
    for output, _, _ in _outputs(asked, seqs, batch):
        cut = output[:, places]
        rows.append(cut.reshape(*cut.shape[:2], -1).double().cpu())
    answer_NLV = torch.cat(rows)
    check(answer_NLV)
    return answer_NLV


def divergence_kind(name: str, tokens: Tensor, width: int) -> str:
    """Resolve "auto": Jensen-Shannon for the logits of token models, squared distance for reals."""
    if name not in DIVERGENCES:
        message = f"No divergence is called {name!r}."
        raise UsageError("E-OPTION", message, f"one of {', '.join(DIVERGENCES)}.")
    if name != "auto":
        return name
    return "js" if not tokens.is_floating_point() and width > 1 else "l2"


def diverge(kind: str, clean_NV: Tensor, other_NV: Tensor) -> np.ndarray:
    """D(clean, other) over the last axis: bits for "js", nats for "kl", squared units for "l2".

    Raises:
        DataError: E-OUTPUT where infinite outputs leave it without a value.
    """
    moved = np.asarray(_diverge(kind, clean_NV, other_NV))
    if not np.isfinite(moved).all():
        message = f"Infinite outputs leave the divergence {kind!r} without a value."
        raise DataError(
            "E-OUTPUT", message, 'finite outputs; "js" allows -inf for ruled out classes.'
        )
    return moved


def _diverge(kind: str, clean_NV: Tensor, other_NV: Tensor) -> Tensor:
    if kind == "l2":
        return (clean_NV - other_NV).square().sum(-1)
    logp, logq = clean_NV.log_softmax(-1), other_NV.log_softmax(-1)
    p, q = logp.exp(), logq.exp()
    if kind == "kl":
        return torch.where(p > 0, p * (logp - logq), 0).sum(-1).clamp(min=0)
    # With m = (p+q)/2 and d = (q-p)/(p+q), each term is m/2 [(1-d)log(1-d) + (1+d)log(1+d)]:
    # never negative, exactly 0 for equal inputs, and accurate where p and q nearly agree.
    total = p + q
    d = torch.where(total > 0, (q - p) / total, 0)
    less, more = 1 - d, 1 + d
    terms = torch.where(less > 0, less * torch.log1p(-d), 0) + torch.where(
        more > 0, more * torch.log1p(d), 0
    )
    bits: Tensor = (total / 4 * terms).sum(-1) / np.log(2)
    return bits.clamp(min=0)


def resolution(kind: str, answer_NV: Tensor, eps: float) -> float:
    """The divergence that rounding alone can make: 8 units in the last place of the output."""
    step = 8 * eps * float(answer_NV[answer_NV.isfinite()].abs().amax())
    return step**2 if kind == "l2" else step**2 / 8 / np.log(2)


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


def _outputs(asked: Asked, seqs: Sequences, batch: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Each batch's output with its tokens and targets."""
    with torch.no_grad(), quiet(asked.predict):
        for start in range(0, len(seqs.tokens), batch):
            part = slice(start, start + batch)
            tokens, lengths = seqs.tokens[part], seqs.lengths[part]
            output = asked.predict(tokens, lengths)
            wide = (tokens.shape[1], int(lengths.max())) if asked.everywhere else (1,)
            fits = output.shape[1] in wide if asked.everywhere or output.ndim == 3 else True
            if len(output) != len(tokens) or not fits:
                raise misfit(tuple(output.shape), tokens.shape[1])
            yield output, tokens, seqs.targets[part]


def _at_target(output: Tensor, asked: Asked, tokens: Tensor, targets: Tensor) -> Tensor:
    if asked.everywhere:
        output = output[torch.arange(len(tokens)), targets]
        output = output[:, None] if output.ndim == 1 else output
    return output.reshape(len(output), -1).double().cpu()


def _follows(predict: Predict, tokens: Tensor, lengths: Tensor, num: int) -> bool:
    """Whether a (B, num) output for num tokens is one a position: it shrinks with the tokens."""
    try:
        shape = tuple(predict(tokens[:, : num - 1], lengths.clamp(max=num - 1)).shape)
    except Exception:  # a stranger's model may fail on another length in any way
        shape = ()
    if shape == (len(tokens), num - 1):
        return True
    if shape == (len(tokens), num):
        return False
    message = (
        f"An output of ({len(tokens)}, {num}) for {num} tokens: a real a position, or classes?"
    )
    raise UsageError("E-SHAPE", message, "return (B, L, 1) for positions, (B, 1, C) for classes.")


def not_everywhere() -> UsageError:
    """For a model that answers once a row where an answer a position is needed."""
    message = "This needs an output a position, and the model gives one a sequence."
    return UsageError("E-SHAPE", message, 'swap reach with design="paired".')


def misfit(shape: tuple[int, ...], length: int) -> UsageError:
    """For an output of another shape than the first look told."""
    message = f"An output of {shape} does not fit rows of {length} tokens."
    return UsageError("E-SHAPE", message, "one answer a position, or one a row, for every row.")


def check(answer: Tensor, rows: Tensor | None = None) -> None:
    """Refuse answers that are no numbers; rows: their numbers, where these are not 0, 1, ..."""
    if answer.numel() and not bool(answer.amax() < torch.inf):  # not a number is not less either
        wrong = answer.isnan() | (answer == torch.inf)
        row = int(wrong.flatten(1).any(1).nonzero()[0])
        row = row if rows is None else int(rows[row])
        message = f"The model's output at row {row} is not a number, or infinite."
        raise DataError("E-OUTPUT", message, "check the model for overflow; nothing was measured.")
