"""From one sequence to another: an encoder of a family, and a decoder of it that looks back.

Idea     memory = encoder(source); every block of the decoder is mixer, then attention from the
         target's positions to the memory, then feed-forward where the family has one:
         x + cross(norm(x), memory). A body without blocks looks at the memory once, at its end.
         Recurrent families look as Bahdanau's network does: before each step, with their last
         answer q, c = sum_j a_j m_j, a = softmax_j(v . tanh(W q + U m_j)); the step reads [E(y), c]
         and the head [h, c]; their encoder runs in both directions
Shapes   source (B, S), target (B, L) -> (B, L, outputs): position t saw target tokens up to t
Reach    the whole source from every target position; in the target, that of the family
State    keys and values (or, for Bahdanau's, the memory and U m) of every source token, and the
         state of the decoder
Source   Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.1; Bahdanau, Cho &
         Bengio 2014, https://arxiv.org/abs/1409.0473, section 3 and appendix A. Theirs starts the
         decoder from the encoder's last state; ours starts it as the family does, and the first
         question is tanh(W_0 mean(memory))
"""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, cast

import torch
from torch import Generator, Tensor, nn

from howfar.core.protocols import State
from howfar.models.blocks import (
    AdditiveDecoder,
    Body,
    CrossDecoder,
    Decoder,
    Linear,
    Sizes,
    Stack,
    initialise,
    recomputes,
    set_recompute,
)

HEADS = 2  # of the attention to the memory, where the family has none of its own


class Seq2Seq(nn.Module):
    """Encoder, decoder, head.

    Args:
        encoder: (B, S, E) -> (B, S, M).
        decoder: see `CrossDecoder`, `AdditiveDecoder`.
        source_vocabulary: ids of the source.
        vocabulary: ids of the target.
        outputs: logits a target position.
        embedding: E.
        dropout: share dropped after both embeddings, after the encoder and before the head.
    """

    def __init__(  # noqa: PLR0913 - by keyword only
        self,
        *,
        encoder: Body,
        decoder: Decoder,
        source_vocabulary: int,
        vocabulary: int,
        outputs: int,
        embedding: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.source_embedding = nn.Embedding(source_vocabulary, embedding)
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.encoder = encoder
        self.decoder = decoder
        self.head = Linear(decoder.out_width, outputs)
        self.dropout = nn.Dropout(dropout)

    @property
    def recompute(self) -> bool:
        """Whether blocks are run again on the way back, instead of remembered."""
        return recomputes(self)

    @recompute.setter
    def recompute(self, value: bool) -> None:
        set_recompute(self, value)

    def draw_all(self, generator: Generator) -> None:
        """Draw every parameter, as `Model.draw_all` does."""
        initialise(self, generator)
        with torch.no_grad():
            self.head.weight.mul_(0.1)
            self.embedding.weight.mul_(0.3)
            self.source_embedding.weight.mul_(0.3)

    def forward(
        self,
        source_BS: Tensor,
        target_BL: Tensor,
        source_lengths: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """Logits (B, L, outputs); position t saw target tokens 0 .. t and the whole source.

        Args:
            source_BS: integer ids, padding on the right.
            target_BL: integer ids, padding on the right: the target one place late for training.
            source_lengths: (B,) real source tokens; None: all. An empty source is read as zeros.
            lengths: (B,) real target tokens; not needed, as nothing looks ahead.
        """
        return self.chunk(target_BL, self.start(source_BS, source_lengths))[0]

    def start(self, source_BS: Tensor, source_lengths: Tensor | None = None) -> State:
        """Read the source: the state from which `step` and `chunk` go on."""
        rows, length = source_BS.shape
        if source_lengths is None:
            source_lengths = torch.full((rows,), length, device=source_BS.device)
        if length == 0:  # a single pad is as empty, and every encoder can read it
            source_BS = source_BS.new_zeros(rows, 1)
        x_BSE = self.dropout(self.source_embedding(source_BS))
        memory_BSM = self.dropout(self.encoder(x_BSE, source_lengths))
        return (self.decoder.remember(memory_BSM, source_lengths),)

    def chunk(self, target_BL: Tensor, state: State) -> tuple[Tensor, State]:
        """The next target tokens (B, L) -> (B, L, outputs) and the state to go on with."""
        remembered, *held = cast("tuple[State, ...]", state)
        x_BLE = self.dropout(self.embedding(target_BL))
        y_BLD, after = self.decoder.chunk(x_BLE, held[0] if held else None, remembered)
        logits_BLC: Tensor = self.head(self.dropout(y_BLD))
        return logits_BLC, (remembered, after)

    def step(self, tokens_B: Tensor, state: State) -> tuple[Tensor, State]:
        """One target token a row: (B,) -> (B, outputs) and the state to go on with."""
        logits_B1C, state = self.chunk(tokens_B[:, None], state)
        return logits_B1C[:, 0], state

    def state_bytes(self, source: int, length: int) -> int:
        """Bytes to go on after `length` target tokens, float32, one sequence."""
        return self.decoder.state_bytes(source, length)

    def flops(self, source: int, length: int) -> int:
        """Forward pass of one pair of sequences, multiply-add = 2, embeddings 0."""
        head = 2 * self.head.weight.numel() * length
        return self.encoder.flops(source) + self.decoder.flops(source, length) + head


def assemble(  # noqa: PLR0913 - by keyword only
    build_body: Callable[..., Body],
    settings: Any,  # noqa: ANN401 - the family's own
    sizes: Sizes,
    *,
    attention: str,
    source_vocabulary: int,
    vocabulary: int,
    outputs: int,
) -> Seq2Seq:
    """A model on the meta device; `sizes` are those of the decoder, attention as checked."""
    known = {field.name for field in fields(settings)}
    both = {"bidirectional": True} if "bidirectional" in known else {}
    one = {"bidirectional": False} if "bidirectional" in known else {}
    with torch.device("meta"):
        encoder = build_body(replace(sizes, causal=False), replace(settings, **both))
        memory = encoder.out_width
        decoder: CrossDecoder | AdditiveDecoder
        if attention == "additive":
            wider = replace(sizes, embedding=sizes.embedding + memory)
            body = build_body(wider, replace(settings, **one))
            decoder = AdditiveDecoder(cast("Stack", body), memory)
        else:
            body = build_body(sizes, replace(settings, **one))
            heads = getattr(settings, "heads", HEADS)
            decoder = CrossDecoder(body, memory, heads, sizes.dropout)
        return Seq2Seq(
            encoder=encoder,
            decoder=decoder,
            source_vocabulary=source_vocabulary,
            vocabulary=vocabulary,
            outputs=outputs,
            embedding=sizes.embedding,
            dropout=sizes.dropout,
        )
