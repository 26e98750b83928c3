"""Ask a model with the last c tokens alone: the loss at every target, batch by batch.

Idea     windows of equal length are cut from the rows and run together, read at their last
         position and reduced to one loss each at once: what is held is tokens of one batch, never
         an output a position of all rows
Limits   rows are cut, never padded: a row shorter than c keeps the answer to all it has
         a window starts where a text would: positions are counted anew, and what stood at the
         text's beginning is gone; `prefix` puts it back
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.errors import DataError, UsageError, closest, shown
from howfar.core.protocols import Predict, State, Streaming
from howfar.measure import probe
from howfar.measure.context.options import ContextOptions
from howfar.measure.context.targets import Targets
from howfar.measure.watch import quiet

FOLDS = 8  # a row's average prediction is that of the seven eighths of rows it is not among
OUTPUTS = 2**26  # numbers a model may answer in one pass: 256 MB
LOOK = 32  # tokens of the windows by which a model's form of answer is found out


class Windows:
    """The losses of one model: `losses(c)` at the last c tokens, (M,) in nats.

    zero: (M,) the loss without any input. With a prefix: the prefix alone; else the model's own
    average prediction over the targets of other rows with the full context.
    noise: largest change of a loss in a repeated pass. rounding: what float arithmetic may move a
    loss by. passes: cost in forward passes over all targets.
    """

    def __init__(self, predict: Predict, targets: Targets, options: ContextOptions) -> None:
        self.predict, self.targets, self.options = predict, targets, options
        self.prefix = _prefix(targets.tokens, options.prefix)
        self.known: dict[int, np.ndarray] = {}
        self.tokens_read = 0
        every = torch.arange(len(targets.row))
        with self._ready():
            self.asked, self.classes = self._look()
            self.rounding = 0.0
            self.share_FV = torch.zeros(0, dtype=torch.float64)
            self.known[targets.window] = self._by_length(targets.full, every, first=True)
            again = every[: min(len(every), self._rows(targets.window))]
            once = self.known[targets.window][again.numpy()]
            self.noise = float(np.abs(self._by_length(targets.full, again) - once).max())
            self.zero = self._without()

    @property
    def passes(self) -> float:
        """Cost in forward passes of the full context over all targets."""
        return self.tokens_read / int(self.targets.full.sum() + self._extra * len(self.zero))

    @property
    def _extra(self) -> int:
        return 0 if self.prefix is None else len(self.prefix)

    def losses(self, context: int) -> np.ndarray:
        """-log p(label) given the last `context` tokens: (M,). Remembered."""
        if context == 0:
            return self.zero
        if context not in self.known:
            found = self.known[self.targets.window].copy()
            cut = (self.targets.full > context).nonzero()[:, 0]
            with self._ready():
                found[cut.numpy()] = self._by_length(
                    torch.full_like(self.targets.full, context), cut
                )
            self.known[context] = found
        return self.known[context]

    @contextmanager
    def _ready(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(torch.no_grad())
            stack.enter_context(quiet(self.predict))
            if self.options.head is not None:
                stack.enter_context(_last_only(self.predict, self.options.head))
            yield

    def _look(self) -> tuple[probe.Asked, int]:
        """What form the answers have and how many classes, from two short windows."""
        width = min(self.targets.window, LOOK)
        enough = (self.targets.full >= width).nonzero()[:, 0]
        two = enough[torch.tensor([0, len(enough) - 1])]
        tokens = self._cut(two, width)
        lengths = torch.full((2,), tokens.shape[1])
        seqs = probe.Sequences(tokens, lengths, lengths - 1)
        asked = probe.ask(self.predict, seqs)
        return asked, probe.answers(asked, seqs, 2).shape[1]

    def _by_length(self, length_M: Tensor, index: Tensor, *, first: bool = False) -> np.ndarray:
        """Losses of some targets, each with its own length of window."""
        nats = np.empty(len(index))
        for length in np.unique(length_M[index].numpy()).tolist():
            here = (length_M[index] == length).nonzero()[:, 0]
            for part in torch.split(here, self._rows(length)):
                answer_BV = self._answers(self._cut(index[part], length))
                nats[part.numpy()] = self._nats(answer_BV, self.targets.label[index[part]])
                if first:
                    self._note(answer_BV, index[part])
        return nats

    def _note(self, answer_BV: Tensor, index: Tensor) -> None:
        """Add predictions to the sum of their rows' fold; see how large the outputs are."""
        if len(self.share_FV) == 0:
            self.share_FV = answer_BV.new_zeros(FOLDS, answer_BV.shape[1])
        self.share_FV.index_add_(0, self.targets.row[index] % FOLDS, answer_BV.softmax(-1))
        largest = float(answer_BV[answer_BV.isfinite()].abs().max())
        self.rounding = max(self.rounding, 8 * self.asked.eps * largest)

    def _rows(self, length: int) -> int:
        """How many windows of a length run together."""
        width = length + self._extra
        if self._streams(width):
            width = self._piece
        return max(1, min(self.options.budget, OUTPUTS // self.classes) // width)

    @property
    def _piece(self) -> int:
        """Tokens at a time of a model that can go on: fewer where it has many outputs."""
        return min(self.options.chunk, max(1, OUTPUTS // self.classes))

    def _streams(self, width: int) -> bool:
        # a model with one answer a sequence reads all of it at once, and has no pieces to run in
        everywhere = self.asked.everywhere or self.options.head is not None
        return isinstance(self.predict, Streaming) and everywhere and width > self._piece

    def _cut(self, index: Tensor, length: int) -> Tensor:
        """The last `length` tokens of some targets, behind the prefix: (B, P + length[, D])."""
        back = torch.arange(length - 1, -1, -1)
        place = self.targets.place[index][:, None] - back[None, :]
        tokens = self.targets.tokens[self.targets.row[index][:, None], place]
        if self.prefix is None:
            return tokens
        return torch.cat([self.prefix.expand(len(index), -1), tokens], dim=1)

    def _answers(self, tokens: Tensor) -> Tensor:
        """The answer at the last position of every window: (B, V), float64."""
        self.tokens_read += tokens.shape[0] * tokens.shape[1]
        lengths = torch.full((len(tokens),), tokens.shape[1])
        asked = self.asked
        if self._streams(tokens.shape[1]) and isinstance(self.predict, Streaming):
            chunked = _Chunked(self.predict, self._piece)
            asked = probe.Asked(chunked, everywhere=False, dtype=asked.dtype)
        seqs = probe.Sequences(tokens, lengths, lengths - 1)
        return probe.answers(asked, seqs, len(tokens))

    def _nats(self, answer_BV: Tensor, label_B: Tensor) -> np.ndarray:
        classes = answer_BV.shape[1]
        if classes < 2 or int(label_B.max()) >= classes:
            message = f"A label at a target is none of the output's {classes} classes."
            raise UsageError(
                "E-LABEL", message, "labels below the number of outputs, below 0: none."
            )
        nats = -answer_BV.log_softmax(-1).gather(1, label_B[:, None])[:, 0]
        if not bool(nats.isfinite().all()):
            message = "The model gives a label no probability at all: its loss is infinite."
            raise DataError("E-OUTPUT", message, "finite logits.")
        return np.asarray(nats)

    def _without(self) -> np.ndarray:
        """The loss at every target without its input: (M,)."""
        label = self.targets.label
        if self.prefix is not None:
            answer_BV = self._answers(self.prefix[None].expand(2, -1))
            answer_BV = answer_BV[:1].expand(len(label), -1)
            return self._nats(answer_BV, label)
        fold_M = self.targets.row % FOLDS
        count_F = fold_M.bincount(minlength=FOLDS)
        if int(count_F.max()) == len(label):  # one fold has all: there are no other rows
            fold_M, others_F = torch.zeros_like(fold_M), count_F.sum()[None]
            others_FV = self.share_FV.sum(0, keepdim=True)
        else:
            others_F = count_F.sum() - count_F
            others_FV = self.share_FV.sum(0) - self.share_FV
        share_M = others_FV[fold_M, label] / others_F[fold_M]
        least = 1 / others_FV.shape[1] / (len(label) + 1)
        return np.asarray(-share_M.clamp(min=least).log())


class _Chunked:
    """A streaming model run over long rows in pieces; outputs but the last are let go."""

    def __init__(self, model: Streaming, size: int) -> None:
        self.model, self.size = model, size

    def __call__(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) -> (B, 1, V), the answer at the last position."""
        state: State | None = None
        last = tokens.new_empty(0)
        for piece in torch.split(tokens, self.size, dim=1):
            output, state = self.model.chunk(piece, state)
            last = output[:, -1:].clone()
        return last


def _prefix(tokens: Tensor, ids: tuple[int, ...]) -> Tensor | None:
    if not ids:
        return None
    if tokens.is_floating_point():
        raise UsageError("E-OPTION", "A prefix of ids needs integer tokens.", "prefix=().")
    return torch.tensor(ids, dtype=tokens.dtype, device=tokens.device)


@contextmanager
def _last_only(predict: object, name: str) -> Iterator[None]:
    """Give a module the last position of what it is given: (B, L, D) -> (B, 1, D)."""
    known = dict(predict.named_modules()) if isinstance(predict, nn.Module) else {}
    if name not in known:
        message = f"The model has no module called {shown(name)}. {closest(name, known)}"
        raise UsageError("E-MODULE", message.strip(), "head=a name from model.named_modules().")

    def narrow(module: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...] | None:
        return (given[0][:, -1:], *given[1:]) if given else None

    handle = known[name].register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        handle.remove()
