"""How surprising a language model finds whole texts: summed nats, as minimal pairs are scored.

Idea     - sum_t log p(token_t | tokens before it), after what begins a text for this model: its
         `end` id, else a line break; where it knows neither, the first token is not counted
Shapes   texts (N) -> nats (N,)
"""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from howfar.bundle.bundle import Bundle
from howfar.core.errors import UsageError, shown

ROWS = 64


def surprise(bundle: Bundle, texts: Sequence[str]) -> NDArray[np.float64]:
    """Nats of each text.

    Raises:
        UsageError: E-AIM for a model that is no language model.
    """
    if bundle.settings.aim != "lm":
        message = (
            f"This model's aim is {shown(bundle.settings.aim)}: it gives texts no probability."
        )
        raise UsageError("E-AIM", message, "a language model: howfar train TEXT --aim lm")
    first = _first(bundle)
    rows = [np.concatenate([first, ids]) for ids in bundle.tokeniser.encode(texts)]
    nats = np.zeros(len(rows))
    order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
    for start in range(0, len(order), ROWS):
        chosen = order[start : start + ROWS]
        nats[chosen] = _nats(bundle, [rows[row] for row in chosen])
    return nats


def _first(bundle: Bundle) -> NDArray[np.int32]:
    """What begins a text: no id, or one."""
    if bundle.settings.end is not None:
        return np.array([bundle.settings.end], dtype=np.int32)
    line = bundle.tokeniser.encode(["\n"])[0].astype(np.int32)
    return line if len(line) == 1 and bundle.tokeniser.decode(line.tolist()) == "\n" else line[:0]


@torch.no_grad()
def _nats(bundle: Bundle, rows: Sequence[NDArray[np.int32]]) -> NDArray[np.float64]:
    """Summed nats of some rows, padded to the longest."""
    lengths = [max(0, len(row) - 1) for row in rows]
    read_BL = torch.zeros(len(rows), max(lengths), dtype=torch.long)
    next_BL = torch.full_like(read_BL, -100)
    for place, row in enumerate(rows):
        ids = torch.from_numpy(row.astype(np.int64))
        read_BL[place, : lengths[place]] = ids[:-1]
        next_BL[place, : lengths[place]] = ids[1:]
    if read_BL.shape[1] == 0:
        return np.zeros(len(rows))
    device = next(bundle.model.parameters()).device
    logits_BLC = bundle.model(read_BL.to(device), torch.tensor(lengths, device=device))
    flat = F.cross_entropy(
        logits_BLC.double().flatten(0, 1), next_BL.to(device).flatten(), reduction="none"
    )
    found: NDArray[np.float64] = flat.view(next_BL.shape).sum(1).cpu().numpy()
    return found
