"""Embedding, body and head: from token ids to one output a position, or one a sequence.

Idea     logits = head(body(embedding(tokens))), pooled over real positions in between if one
         answer a sequence is wanted: by default where the body reads the whole sequence at once
Shapes   tokens (B, L), or numbers (B, L, channels) -> (B, L, outputs), or pooled (B, outputs)
Padding  on the right; what stands there changes nothing. `packed` reads documents without any
"""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import State
from howfar.models.blocks import (
    FLOAT_BYTES,
    Body,
    Chunking,
    Linear,
    Places,
    Stack,
    Stepping,
    has_padding,
    initialise,
    real_positions,
    recomputes,
    set_recompute,
)

STEPPING = "build it with causal=True and one output a position"


class Model(nn.Module):
    """A body with an embedding (V, E) in front and a linear head behind.

    Args:
        body: (B, L, E) -> (B, L, out_width).
        vocabulary: ids, V.
        outputs: logits a position, or a sequence.
        embedding: E.
        dropout: share dropped after the embedding and before the head.
        pooled: one output a sequence, or one a position; None: a position if the body is causal.
            "last": one a sequence, read at its last real position alone, so that nothing is
            carried there but by the body.
        channels: real numbers a position in place of ids; they are mapped linearly to E.

    Attributes:
        causal: whether a position knows nothing of later ones.
        pool: "none" (one output a position), "mean" or "max" over real positions, or "last".
    """

    def __init__(  # noqa: PLR0913 - by keyword only
        self,
        body: Body,
        *,
        vocabulary: int,
        outputs: int,
        embedding: int,
        dropout: float = 0.0,
        pooled: bool | Literal["last"] | None = None,
        channels: int = 0,
    ) -> None:
        super().__init__()
        self.embedding = (
            Linear(channels, embedding) if channels else nn.Embedding(vocabulary, embedding)
        )
        self.body = body
        self.head = Linear(body.out_width, outputs)
        self.dropout = nn.Dropout(dropout)
        self.causal = body.causal
        pooled = not body.causal if pooled is None else pooled
        self.pool = "last" if pooled == "last" else body.pool if pooled else "none"

    @property
    def recompute(self) -> bool:
        """Whether blocks are run again on the way back, instead of remembered: less memory.

        A body without blocks (textcnn) has nothing to forget, and stays False.
        """
        return recomputes(self)

    @recompute.setter
    def recompute(self, value: bool) -> None:
        set_recompute(self, value)

    @property
    def longest(self) -> int | None:
        """Tokens a text may have: as many as there are learned places; None: any number."""
        tables = (part.rows for part in self.modules() if isinstance(part, Places))
        return min((rows for rows in tables if rows is not None), default=None)

    @property
    def packs(self) -> bool:
        """Whether the body can read documents that stand one after another: `packed`."""
        return isinstance(self.body, Stack) and self.body.packs and self.pool != "last"

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
            if isinstance(self.embedding, nn.Embedding):
                self.embedding.weight.mul_(0.3)

    def forward(self, tokens_BL: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Logits.

        Args:
            tokens_BL: integer ids, or real numbers (B, L, channels); padding on the right, any.
            lengths: (B,) real tokens a row; None: all of them.

        Returns:
            (B, L, outputs), where what stands on padding is meaningless; pooled (B, outputs),
            where a row of length 0 is pooled to zeros.
        """
        lengths = _given(tokens_BL, lengths)
        y_BLD = self.hidden(tokens_BL, lengths)
        if self.pool == "none":
            logits_BLC: Tensor = self.head(y_BLD)
            return logits_BLC
        logits_BC: Tensor = self.head(self.dropout(self._pooled(y_BLD, lengths)))
        return logits_BC

    def hidden(self, tokens_BL: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, L, out_width), what the head reads, or what is pooled.

        One output a position: `head(hidden(...)[chosen])` is `forward(...)[chosen]`, at the cost
        of the chosen.
        """
        if tokens_BL.numel() == 0:  # no row, or rows without a token
            return self.head.weight.new_zeros(*tokens_BL.shape[:2], self.body.out_width)
        x_BLE = self.dropout(self.embedding(tokens_BL))
        y_BLD = self.body(x_BLE, _given(tokens_BL, lengths))
        return self.dropout(y_BLD) if self.pool == "none" else y_BLD

    def packed(self, tokens_T: Tensor, lengths_N: Tensor) -> Tensor:
        """Logits of documents that stand one after another, without padding.

        What a document is answered depends on no other one, to the last bit.

        Args:
            tokens_T: integer ids of all documents.
            lengths_N: (N,) tokens of each, which add up to T; zeros allowed.

        Returns:
            (T, outputs); pooled (N, outputs), from zeros for a document of length 0.

        Raises:
            UsageError: E-PACK if the body cannot, E-SHAPE for lengths that do not add up.
        """
        body = self.body
        if not isinstance(body, Stack) or not self.packs:
            raise UsageError(
                "E-PACK", "This model cannot read packed documents.", "pad them; or a transformer"
            )
        if tokens_T.ndim != 1 or int(lengths_N.sum()) != len(tokens_T):
            message = f"Documents of {int(lengths_N.sum()):,} tokens, but tokens of the shape"
            hint = "one row of tokens (T,), and lengths that add up to T"
            raise UsageError("E-SHAPE", f"{message} {tuple(tokens_T.shape)}.", hint)
        y_TD = self.head.weight.new_zeros(0, body.out_width)
        if len(tokens_T):
            y_TD = body.packed(self.dropout(self.embedding(tokens_T)), lengths_N)
        if self.pool != "none":
            y_TD = _means(y_TD, lengths_N)
        logits: Tensor = self.head(self.dropout(y_TD))
        return logits

    def _pooled(self, y_BLD: Tensor, lengths: Tensor) -> Tensor:
        length = y_BLD.shape[1]
        if length == 0:
            return y_BLD.sum(1)
        if self.pool == "last":
            rows_B = torch.arange(len(y_BLD), device=y_BLD.device)
            last_BD = y_BLD[rows_B, lengths.clamp(min=1) - 1]
            return last_BD.masked_fill((lengths == 0)[:, None], 0.0)
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
            UsageError: E-STEP if the model reads or sums up whole sequences, or its body cannot
                step.
        """
        if not self._forward_only() or not isinstance(self.body, Stepping):
            raise UsageError("E-STEP", "This model cannot go one token at a time.", STEPPING)
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
            UsageError: E-STEP if the model reads or sums up whole sequences, or its body cannot
                go on.
        """
        y_BLD, after = self._go_on(tokens_BL, state)
        return self.head(self.dropout(y_BLD)), after

    def advance(self, tokens_BL: Tensor, state: State | None = None) -> State:
        """The state after `chunk`, without what the head costs."""
        return self._go_on(tokens_BL, state)[1]

    def _go_on(self, tokens_BL: Tensor, state: State | None) -> tuple[Tensor, State]:
        if not self._forward_only() or not isinstance(self.body, Chunking):
            raise UsageError("E-STEP", "This model cannot stop and go on.", STEPPING)
        return self.body.chunk(self.dropout(self.embedding(tokens_BL)), state)

    def _forward_only(self) -> bool:
        return self.causal and self.pool == "none"

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
        """Bytes to go on after `length` tokens, float32, one sequence; with what is pooled."""
        pooled = 0 if self.pool in {"none", "last"} else FLOAT_BYTES * self.body.out_width
        return self.body.state_bytes(length) + pooled

    def flops(self, length: int) -> int:
        """Forward pass of one sequence, multiply-add = 2, head included, embedding of ids 0."""
        heads = length if self.pool == "none" else 1
        mapped = 0 if isinstance(self.embedding, nn.Embedding) else self.embedding.weight.numel()
        return self.body.flops(length) + 2 * self.head.weight.numel() * heads + 2 * mapped * length


def _means(y_TD: Tensor, lengths_N: Tensor) -> Tensor:
    """(N, D): the mean of each document; zeros where it has no token."""
    documents_N = torch.arange(len(lengths_N), device=lengths_N.device)
    sums_ND = y_TD.new_zeros(len(lengths_N), y_TD.shape[1])
    sums_ND = sums_ND.index_add(0, documents_N.repeat_interleave(lengths_N), y_TD)
    return sums_ND / lengths_N.clamp(min=1)[:, None]


def _given(tokens_BL: Tensor, lengths: Tensor | None) -> Tensor:
    if lengths is not None:
        return lengths
    return torch.full(tokens_BL.shape[:1], tokens_BL.shape[1], device=tokens_BL.device)
