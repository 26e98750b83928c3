"""Embedding, body and head: from token ids to one output a position, or one a sequence.

Idea     logits = head(body(embedding(tokens))), pooled over real positions in between if the
         model reads the whole sequence at once
Shapes   tokens (B, L) -> (B, L, outputs) causal, (B, outputs) whole-sequence
Padding  on the right; what stands there changes nothing
"""

import torch
from torch import Generator, Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import State
from howfar.models.blocks import (
    FLOAT_BYTES,
    Body,
    Chunking,
    Stepping,
    has_padding,
    initialise,
    real_positions,
)


class Model(nn.Module):
    """A body with an embedding (V, E) in front and a linear head behind.

    Args:
        body: (B, L, E) -> (B, L, out_width); its `causal` decides the form of the model.
        vocabulary: ids, V.
        outputs: logits a position, or a sequence.
        embedding: E.
        dropout: share dropped after the embedding and before the head.

    Attributes:
        causal: one output a position, or one a sequence.
        pool: "none" (causal), "mean" or "max" over real positions.
    """

    def __init__(
        self, body: Body, *, vocabulary: int, outputs: int, embedding: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.body = body
        self.head = nn.Linear(body.out_width, outputs)
        self.dropout = nn.Dropout(dropout)
        self.causal = body.causal
        self.pool = "none" if body.causal else body.pool

    def draw_all(self, generator: Generator) -> None:
        """Draw every parameter from `generator`.

        The head starts ten times smaller than a layer inside: the first loss is then the
        logarithm of the number of outputs, not more. Embeddings start at 0.3 instead of 1, as a
        compromise between families: recurrent ones learn text better from 0.1 (by 0.3 bits a
        character), convolutions and attention from 1 (by 0.15), and labels are learned better
        from small ones, where rare words carry little chance of their own.
        """
        initialise(self, generator)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.embedding.weight.mul_(0.3)

    def forward(self, tokens_BL: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits.

        Args:
            tokens_BL: integer ids; padding on the right, any valid id.
            lengths: (B,) real tokens a row; None: all of them.

        Returns:
            (B, L, outputs) if causal (what stands on padding is meaningless), else (B, outputs);
            a row of length 0 is pooled to zeros.
        """
        lengths = _given(tokens_BL, lengths)
        y_BLD = self.hidden(tokens_BL, lengths)
        if self.causal:
            logits_BLC: Tensor = self.head(y_BLD)
            return logits_BLC
        logits_BC: Tensor = self.head(self.dropout(self._pooled(y_BLD, lengths)))
        return logits_BC

    def hidden(self, tokens_BL: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, out_width), what the head reads (causal) or what is pooled (whole-sequence).

        Causal: `head(hidden(...)[chosen])` is `forward(...)[chosen]`, at the cost of the chosen.
        """
        if tokens_BL.numel() == 0:  # no row, or rows without a token
            return self.head.weight.new_zeros(*tokens_BL.shape, self.body.out_width)
        x_BLE = self.dropout(self.embedding(tokens_BL))
        y_BLD = self.body(x_BLE, _given(tokens_BL, lengths))
        return self.dropout(y_BLD) if self.causal else y_BLD

    def _pooled(self, y_BLD: Tensor, lengths: Tensor) -> Tensor:
        length = y_BLD.shape[1]
        if length == 0:
            return y_BLD.sum(1)
        real_BL1 = real_positions(lengths, length)[..., None]
        if self.pool == "max":
            # features that are maximised stand behind a ReLU: 0 is below none of them
            if has_padding(lengths, length):
                y_BLD = y_BLD.masked_fill(~real_BL1, 0.0)
            return y_BLD.amax(1)
        share_BL1 = real_BL1.to(y_BLD.dtype) / lengths.clamp(min=1)[:, None, None]
        return (y_BLD * share_BL1).sum(1)

    def step(self, tokens_B: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One token a row: (B,) -> (B, outputs) and the state to go on with.

        Args:
            tokens_B: integer ids.
            state: what the last step returned; None: the start.

        Raises:
            UsageError: E-STEP if the model reads whole sequences or its body cannot step.
        """
        if not self.causal or not isinstance(self.body, Stepping):
            raise UsageError(
                "E-STEP", "This model cannot go one token at a time.", "build it with causal=True"
            )
        y_BD, after = self.body.step(self.dropout(self.embedding(tokens_B)), state)
        return self.head(self.dropout(y_BD)), after

    def chunk(self, tokens_BL: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next tokens of every row: (B, L) -> (B, L, outputs) and the state to go on with.

        Chunk by chunk equals all at once, whatever the chunks; steps may stand between them.
        Gradients pass from chunk to chunk through the state.

        Args:
            tokens_BL: integer ids, L >= 1, without padding.
            state: what the last chunk or step returned, never changed in place; None: the start.

        Raises:
            UsageError: E-STEP if the model reads whole sequences or its body cannot go on.
        """
        y_BLD, after = self._go_on(tokens_BL, state)
        return self.head(self.dropout(y_BLD)), after

    def advance(self, tokens_BL: Tensor, state: State | None = None) -> State:
        """The state after `chunk`, without what the head costs."""
        return self._go_on(tokens_BL, state)[1]

    def _go_on(self, tokens_BL: Tensor, state: State | None) -> tuple[Tensor, State]:
        if not self.causal or not isinstance(self.body, Chunking):
            raise UsageError(
                "E-STEP", "This model cannot stop and go on.", "build it with causal=True"
            )
        return self.body.chunk(self.dropout(self.embedding(tokens_BL)), state)

    def count(self) -> dict[str, int]:
        """Parameters of "embedding", "body" and "head"."""
        counts = {"embedding": 0, "body": 0, "head": 0}
        for name, parameter in self.named_parameters():
            counts[name.partition(".")[0]] += parameter.numel()
        return counts

    def reach(self, length: int) -> int | None:
        """Tokens that can meet, as the body is built, even if longer than `length`; None: all."""
        return self.body.reach(length)

    def state_bytes(self, length: int) -> int:
        """Bytes to go on after `length` tokens, float32, one sequence; with the sum of a mean."""
        pooled = FLOAT_BYTES * self.body.out_width if self.pool == "mean" else 0
        return self.body.state_bytes(length) + pooled

    def flops(self, length: int) -> int:
        """Forward pass of one sequence, multiply-add = 2, head included, embedding 0."""
        heads = length if self.causal else 1
        return self.body.flops(length) + 2 * self.head.weight.numel() * heads


def _given(tokens_BL: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is not None:
        return lengths
    return torch.full(tokens_BL.shape[:1], tokens_BL.shape[1], device=tokens_BL.device)
