"""The model under audit: asked in a known mode, with known noise, and its answers in one shape.

Idea     every call starts from the same global random state, in evaluation mode unless said, and
         on its own copy of the tokens; so that what differs between two answers is what was asked
Shapes   an answer is (B, P, V): P positions, or 1 for a model with one output a sequence
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from howfar.core.errors import HowfarError, UsageError, shown
from howfar.measure.audit.exact import exactly
from howfar.measure.audit.guard import Guard, same
from howfar.measure.audit.rows import Rows
from howfar.measure.watch import quiet

AGREES = 0.05  # of the output: what float64 may differ by and still be the same model
CLASSES = 1024  # compared of an output's last axis
DROPPING = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)


class Refused(Exception):  # noqa: N818 - a statement, not a mistake of ours
    """The model raised, or its answer has a shape that does not fit what was asked."""


def raised(error: Exception) -> str:
    """What a stranger's code raised, in one line; our own errors say it already."""
    if isinstance(error, HowfarError):
        return error.message.rstrip(".")
    return f"the model raised {type(error).__name__}: {shown(error, 160)}"


@dataclass(frozen=True, slots=True)
class How:
    """The manner of a call.

    mode: "eval"; "given", as the model was handed over; "train" with what is random or depends on
    the batch by design (dropout, batch normalisation) left in evaluation mode.
    exact: in float64. noise: which global random state. gradients: recorded or not.
    """

    mode: str = "eval"
    exact: bool = False
    noise: int = 0
    gradients: bool = False


EVAL = How()
Question = Callable[[How], Tensor]


class Subject:
    """A callable with what is known about it.

    everywhere: one output a position. dtype: of the outputs. calls: made so far.
    classes: of the last axis, those compared; None: all. sample: rows to try float64 on.
    overwrites: the model was seen to write into its tokens.
    resetting: put the modules' state back before each call. mixing: rows of a batch depend on one
    another. noise: what equal calls differ by if nothing helps against it. randomness: what the
    global random state moves, rounding: what float64 moves if that is much; both are the same for
    equal shapes only.
    """

    def __init__(
        self,
        predict: Callable[..., object],
        modules: list[nn.Module],
        guard: Guard,
        draw_from: Callable[[int], None],
        *,
        takes_lengths: bool,
    ) -> None:
        self.predict, self.modules, self.guard = predict, modules, guard
        self.draw_from, self.takes_lengths = draw_from, takes_lengths
        self.calls = 0
        self.everywhere = False
        self.resetting = self.mixing = self.overwrites = False
        self.classes: Tensor | None = None
        self.noise = self.randomness = self.rounding = 0.0
        self.dtype = torch.float32
        self.sample: Rows | None = None
        self._exact: bool | None = None

    @contextmanager
    def asking(self, how: How = EVAL) -> Iterator[None]:
        """Everything set for calls in this manner, and set back."""
        if self.resetting:
            self.guard.restore()
        with ExitStack() as stack:
            if how.exact:
                # what the model remembers of a call in float64 is of no use to others
                stack.callback(self.guard.reattach)
            stack.enter_context(torch.set_grad_enabled(how.gradients))
            if how.mode == "eval":
                for module in self.modules:
                    stack.enter_context(quiet(module))
            elif how.mode == "train":
                stack.enter_context(_learning(self.modules))
            if how.exact:
                stack.enter_context(exactly(self.modules))
            self.draw_from(how.noise)
            yield

    def raw(self, rows: Rows, how: How = EVAL) -> Tensor:
        """One call inside `asking`; the output as it is.

        Raises:
            Refused: the model raised, or answers something else than a tensor of reals.
        """
        self.calls += 1
        given = tokens = rows.tokens.clone()
        if how.exact and tokens.is_floating_point():
            tokens = tokens.double()
        try:
            if self.takes_lengths:
                output = self.predict(tokens, rows.lengths.clone())
            else:
                output = self.predict(tokens)
        except Exception as error:
            raise Refused(raised(error)) from error
        self.overwrites |= given is tokens and not same(tokens, rows.tokens)
        if not isinstance(output, Tensor) or not output.is_floating_point():
            kind = output.dtype if isinstance(output, Tensor) else type(output).__name__
            raise Refused(f"the model answers {kind}, not a tensor of real numbers")
        if output.ndim == 0 or len(output) != len(tokens):
            raise Refused(f"an output of {tuple(output.shape)} for {len(tokens)} rows")
        return output.detach()

    def shaped(self, output: Tensor, rows: Rows) -> Tensor:
        """(B, P, V) on the CPU, P covering at least the real positions.

        Raises:
            Refused: fewer or other positions.
        """
        if self.classes is not None:
            output = output[..., self.classes.to(output.device)]
        output = output.cpu()
        if not self.everywhere:
            return output.reshape(len(output), 1, -1)
        if output.ndim < 2 or output.shape[1] not in (rows.width, int(rows.lengths.max())):
            raise Refused(f"an output of {tuple(output.shape)} for rows of {rows.width} tokens")
        return output.reshape(*output.shape[:2], -1)

    def answer(self, rows: Rows, how: How = EVAL) -> Tensor:
        """Ask: (B, P, V)."""
        with self.asking(how):
            output = self.raw(rows, how)
        if how.exact and output.dtype != torch.float64:
            raise Refused("no float64 answer")
        return self.shaped(output, rows)

    def real(self, rows: Rows) -> Tensor:
        """Which answers count: real positions (B, L), or each row's one (B, 1)."""
        return rows.real_BL if self.everywhere else torch.ones(len(rows.tokens), 1).bool()

    @property
    def can_be_exact(self) -> bool:
        """Whether float64 works and says the same; tried once, on `sample`."""
        if self._exact is None:
            self._exact = self.sample is not None and self._agrees(self.sample)
        return self._exact

    def _agrees(self, rows: Rows) -> bool:
        try:
            plain = self.answer(rows).double()
            wide = self.answer(rows, replace(EVAL, exact=True))
        except (Refused, RuntimeError):
            return False
        finite = plain[plain.isfinite()].abs()
        size = float(finite.max()) if finite.numel() else 0.0
        apart = float((plain - wide).nan_to_num().abs().max())
        if apart > AGREES * size:
            # a model that amplifies rounding this much gives any shape its own answer
            self.rounding = apart
        return apart <= AGREES * size


@contextmanager
def _learning(modules: list[nn.Module]) -> Iterator[None]:
    """Training mode, without dropout layers and batch normalisation."""
    parts = [part for module in modules for part in module.modules()]
    modes = [part.training for part in parts]
    shares = [
        (part, part.dropout)
        for part in parts
        if isinstance(part, nn.RNNBase | nn.MultiheadAttention)
    ]
    try:
        for part in parts:
            part.training = not isinstance(part, DROPPING)
        for part, _ in shares:
            part.dropout = 0.0
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
        for part, share in shares:
            part.dropout = share


def takes_lengths(predict: object) -> bool:
    """Whether a callable wants `(tokens, lengths)`; with `(tokens)` alone it knows no padding.

    A second argument that may be left out is an attention mask or a state unless its name speaks
    of lengths.
    """
    called = predict.forward if isinstance(predict, nn.Module) else predict
    if isinstance(predict, functools.partial) and isinstance(predict.func, nn.Module):
        called = functools.partial(predict.func.forward, *predict.args, **predict.keywords)
    try:
        signature = inspect.signature(called)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True
    try:
        signature.bind(None, None)
    except TypeError:
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    places = [p for p in signature.parameters.values() if p.kind in kinds]
    second = places[1] if len(places) > 1 else None
    return second is None or second.default is second.empty or "len" in second.name


def check_tokens(tokens: Tensor, lengths: Tensor | None) -> Rows:
    """Rows from what a user gives.

    Raises:
        UsageError: E-SHAPE.
    """
    if tokens.ndim not in (2, 3) or tokens.shape[0] < 1 or tokens.shape[1] < 1:
        message = f"tokens must be (N, L) or (N, L, D), not {tuple(tokens.shape)}."
        raise UsageError("E-SHAPE", message, "at least one row of tokens.")
    num, width = tokens.shape[:2]
    if lengths is None:
        return Rows(tokens, torch.full((num,), width, device=tokens.device))
    lengths = torch.as_tensor(lengths)
    fits = lengths.shape == (num,) and not lengths.is_floating_point()
    if not fits or int(lengths.min()) < 0 or int(lengths.max()) > width:
        raise UsageError("E-SHAPE", f"lengths must be {num} whole numbers in 0 .. {width}.", "(N,)")
    if int(lengths.max()) == 0:
        raise UsageError("E-SHAPE", "All rows are empty.", "rows with tokens.")
    return Rows(tokens, lengths)
