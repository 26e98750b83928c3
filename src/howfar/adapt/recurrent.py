"""`nn.RNN`, `nn.GRU` and `nn.LSTM` as they are, and torch's encoders: reals in, reals out.

Shapes   (B, L, D) -> (B, L, H), whichever axis the layer calls time; (B, L) where D is 1
Padding  on the right: nothing in it reaches a real position of a layer that runs forwards. Layers
         that also run backwards get packed rows, and answer 0 on padding
State    h, and for an LSTM its cell, each (layers, B, H), as torch returns them
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from howfar.adapt.wrapped import Wrapped
from howfar.core.errors import DataError
from howfar.core.protocols import State


class Recurrent(Wrapped):
    """A recurrent layer of torch; `chunk` goes on from a state where it runs forwards alone."""

    reals = True

    def __init__(self, model: nn.RNNBase) -> None:
        super().__init__(model)
        self.size = model.input_size
        self.rows_first = model.batch_first
        self.backwards = model.bidirectional
        if not self.backwards:
            object.__setattr__(self, "chunk", self._chunk)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, H)."""
        x_BLD = self._vectors(tokens)
        if self.backwards and int(lengths.min()) < x_BLD.shape[1]:
            return self.ask(lambda: self._packed(x_BLD, lengths), x_BLD).to(tokens.device)
        y_BLD, _ = self._run(x_BLD, None)
        return y_BLD.to(tokens.device)

    def _chunk(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """(B, C, D) and what the last chunk returned -> (B, C, H) and the state after it."""
        y_BCH, after = self._run(self._vectors(tokens), state)
        return y_BCH.to(tokens.device), after

    def _run(self, x_BLD: Tensor, state: State | None) -> tuple[Tensor, State]:
        x = x_BLD if self.rows_first else x_BLD.transpose(0, 1)
        y, after = self.ask(lambda: self.model(x, state), x_BLD)
        return (y if self.rows_first else y.transpose(0, 1)), cast("State", after)

    def _packed(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(
            x_BLD, lengths.cpu().to(torch.int64), batch_first=True, enforce_sorted=False
        )
        y_BLH, _ = pad_packed_sequence(
            self.model(packed)[0], batch_first=True, total_length=x_BLD.shape[1]
        )
        return y_BLH

    def _vectors(self, tokens: Tensor) -> Tensor:
        if not tokens.is_floating_point():
            name = type(self.model).__name__
            message = f"nn.{name} reads vectors (N, L, {self.size}), and was given token ids."
            hint = "real inputs, or a module with the embedding in front"
            raise DataError("E-SHAPE", message, hint)
        x = self.placed(tokens)
        x = x[..., None] if x.ndim == 2 else x
        if x.shape[-1] == self.size:
            return x
        message = f"The layer reads vectors of {self.size}, and was given {x.shape[-1]}."
        raise DataError("E-SHAPE", message, f"tokens (N, L, {self.size})")


class Encoder(Wrapped):
    """`nn.TransformerEncoder` or one of its layers; padding is masked, no position is hidden."""

    reals = True

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        inner = [m for m in model.modules() if isinstance(m, nn.MultiheadAttention)]
        self.rows_first = all(m.batch_first for m in inner)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        x_BLD = self.placed(tokens)
        place_L = torch.arange(x_BLD.shape[1], device=x_BLD.device)
        padding_BL = place_L[None, :] >= lengths.to(x_BLD.device)[:, None]
        # Without padding the mask is left out, and so is the path that packs rows together.
        mask = padding_BL if bool(padding_BL.any()) else None
        x = x_BLD if self.rows_first else x_BLD.transpose(0, 1)
        y = self.ask(lambda: self.model(x, src_key_padding_mask=mask), x_BLD)
        y_BLD = cast("Tensor", y if self.rows_first else y.transpose(0, 1))
        # Packed rows come back no wider than the longest of them.
        missing = x_BLD.shape[1] - y_BLD.shape[1]
        return nn.functional.pad(y_BLD, (0, 0, 0, missing)).to(tokens.device)
