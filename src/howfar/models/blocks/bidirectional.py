"""A recurrence that reads each row from both ends.

Idea     y_t = [h_t of a layer that reads from the first token; h_t of one that reads from the last
         real token]. Rows are turned inside their length, so padding is read last in either way
Shapes   (B, L, D) -> (B, L, D): D / 2 units each, of an odd width one more for the first direction
Reach    unbounded, both ways; whole sequences only
State    the state of the first direction and every input so far, D floats a token: the second
         direction begins anew at each new last token
Source   Schuster & Paliwal 1997, https://doi.org/10.1109/78.650093
"""

import torch
from torch import Tensor, nn

from howfar.models.blocks.base import FLOAT_BYTES, has_padding
from howfar.models.blocks.recurrence import Recurrence


def turned(x_BLD: Tensor, lengths: Tensor) -> Tensor:
    """Each row backwards inside its length; padding stays where it is."""
    if not has_padding(lengths, x_BLD.shape[1]):
        return x_BLD.flip(1)
    place_L = torch.arange(x_BLD.shape[1], device=x_BLD.device)
    from_BL = lengths.to(x_BLD.device)[:, None] - 1 - place_L
    from_BL = torch.where(from_BL < 0, place_L, from_BL)
    return x_BLD.gather(1, from_BL[..., None].expand_as(x_BLD))


class Bidirectional(nn.Module):
    """Two recurrences side by side; `back` reads the turned rows."""

    causal = False

    def __init__(self, ahead: Recurrence, back: Recurrence) -> None:
        super().__init__()
        self.ahead = ahead
        self.back = back

    def forward(self, x_BLD: Tensor, lengths: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, H + H')."""
        ahead_BLD = self.ahead(x_BLD, lengths)
        back_BLD = turned(self.back(turned(x_BLD, lengths), lengths), lengths)
        return torch.cat([ahead_BLD, back_BLD], dim=-1)

    def reach(self, length: int) -> int | None:
        """Unbounded: the states may keep anything."""
        return None

    def state_bytes(self, length: int) -> int:
        """The first direction's state, and all inputs for the second."""
        return self.ahead.state_bytes(length) + FLOAT_BYTES * self.ahead.rnn.input_size * length

    def flops(self, length: int) -> int:
        """Both directions."""
        return self.ahead.flops(length) + self.back.flops(length)
