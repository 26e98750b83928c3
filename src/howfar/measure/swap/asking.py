"""Several models asked alike at every row's target, plain ones and encoder-decoders.

Idea     a measure changes one set of rows; an encoder-decoder is asked with these in one place and
         its other, unchanged rows in the other
Shapes   answers (N, V) a model
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.measure import probe
from howfar.measure.watch import quiet

Decoding = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


class Asking(Protocol):
    """What a design needs of its models.

    tokens: the rows that outputs belong to. passes: over all rows, so far.
    """

    models: list[probe.Asked]
    tokens: Tensor
    passes: float

    def answers(self, changed: probe.Sequences) -> list[Tensor]:
        """Each model's output (N, V) at the targets of changed rows."""
        ...


class Plain:
    """Models of one set of rows."""

    def __init__(self, models: Sequence[Predict], seqs: probe.Sequences, batch: int) -> None:
        self.models = [probe.ask(model, seqs) for model in models]
        self.tokens, self.batch, self.passes = seqs.tokens, batch, 0.0

    def answers(self, changed: probe.Sequences) -> list[Tensor]:
        """(N, V) a model."""
        self.passes += len(self.models)
        return [probe.answers(model, changed, self.batch) for model in self.models]


class Decoders:
    """Encoder-decoders: `predict(tokens, lengths, source, source_lengths)`.

    side: which rows are changed, "self" (the tokens) or "source".
    """

    def __init__(
        self,
        models: Sequence[Decoding],
        seqs: probe.Sequences,
        source: probe.Sequences,
        side: str,
        batch: int,
    ) -> None:
        self.decoders, self.seqs, self.source = list(models), seqs, source
        self.side, self.tokens, self.batch, self.passes = side, seqs.tokens, batch, 0.0
        self.models = [self._asked(model, seqs, source) for model in self.decoders]

    def answers(self, changed: probe.Sequences) -> list[Tensor]:
        """(N, V) a model."""
        if self.side == "source":
            return self.both(self.seqs, changed)
        return self.both(changed, self.source)

    def both(self, tokens: probe.Sequences, source: probe.Sequences) -> list[Tensor]:
        """(N, V) a model, with other tokens and another source."""
        self.passes += len(self.models)
        rows = torch.arange(len(tokens.tokens))
        asked = probe.Sequences(rows[:, None], rows, rows)
        return [
            probe.answers(
                probe.Asked(_AtRows(model, tokens, source), False, found.dtype), asked, self.batch
            )
            for model, found in zip(self.decoders, self.models, strict=True)
        ]

    def _asked(
        self, model: Decoding, tokens: probe.Sequences, source: probe.Sequences
    ) -> probe.Asked:
        """Look at the output for two rows."""
        at_rows, rows = _AtRows(model, tokens, source), torch.arange(2)
        with torch.no_grad(), quiet(at_rows):
            return probe.Asked(at_rows, False, at_rows(rows[:, None], rows).dtype)


class _AtRows(nn.Module):
    """An encoder-decoder as `Predict` of row numbers: both parts of a row are looked up."""

    def __init__(self, model: Decoding, tokens: probe.Sequences, source: probe.Sequences) -> None:
        super().__init__()
        self.model, self.rows, self.source = model, tokens, source

    def forward(self, numbers: Tensor, row_B: Tensor) -> Tensor:
        """The output at the target of each row: (B, 1, V)."""
        tokens, lengths = self.rows.tokens[row_B], self.rows.lengths[row_B]
        source, source_lengths = self.source.tokens[row_B], self.source.lengths[row_B]
        output: object = self.model(tokens, lengths, source, source_lengths)
        shape = tuple(getattr(output, "shape", ()))
        wide = (tokens.shape[1], int(lengths.max()))
        fits = len(shape) in (2, 3) and shape[0] == len(tokens) and shape[1] in wide
        if not isinstance(output, Tensor) or not fits or not output.is_floating_point():
            found = shape or type(output).__name__
            message = f"An encoder-decoder must return (B, L, V) or (B, L) reals, got {found}."
            raise UsageError(
                "E-SHAPE", message, "one answer a token of the decoder, none a source."
            )
        answer = output[torch.arange(len(tokens)), self.rows.targets[row_B]]
        return answer.reshape(len(tokens), 1, -1)
