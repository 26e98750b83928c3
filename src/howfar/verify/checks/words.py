"""How many words back a trained word-level language model really looks, asked three ways.

Idea      the first nine tenths of a text train (and validate) the model, the last tenth is read:
          swap reach, R95: the last words that carry 95 % of what the input does to the output;
          context: the shortest context whose loss is not measurably above that of `window` words;
          order: the smallest b such that shuffling the words more than b back costs no more than
          `tolerance` nats (after Khandelwal et al. 2018, figure 3)
Settings  text (a shipped set's name, or a path), families, window, rows, tolerance,
          max_vocabulary, and fields of `howfar.bundle.recipe.Recipe`
Numbers   "FAMILY swap", "FAMILY context", "FAMILY order", in words; "FAMILY perplexity"
"""

import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from howfar.api.training import train as train_model
from howfar.bundle.bundle import Bundle
from howfar.core.seeds import Seeds
from howfar.data.read import read_text
from howfar.data.shipped import resolve
from howfar.measure import ContextOptions, SwapOptions, context_curve, swap_reach
from howfar.verify.verdict import Measured

OWN = ("text", "families", "window", "rows", "tolerance", "max_vocabulary")
GRID = (1, 2, 3, 5, 8, 12, 18, 27, 40, 60, 90)


def words(settings: dict[str, Any], say: Callable[[str], None]) -> dict[str, Measured]:
    """Train and ask every family."""
    text = read_text(resolve(settings["text"]))[0]
    cut = text.rfind(" ", 0, len(text) * 9 // 10)
    recipe = {name: value for name, value in settings.items() if name not in OWN}
    found: dict[str, Measured] = {}
    for family in settings["families"]:
        say(f"{family}: training on {cut:,} characters")
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "text.txt"
            source.write_text(text[:cut], encoding="utf-8")
            ended = train_model(
                source,
                Path(folder) / "model",
                aim="lm",
                reading={"tokens": "word", "max_vocabulary": settings["max_vocabulary"]},
                family=family,
                **recipe,
            )
        if ended.bundle is None:
            raise RuntimeError(ended.training.reason or "the training did not end")
        say(f"{family}: measuring")
        rows = windows(ended.bundle, text[cut:], settings["window"] + 1, settings["rows"])
        found |= asked(family, ended.bundle, rows, float(settings["tolerance"]))
    return found


def windows(bundle: Bundle, text: str, length: int, rows: int) -> Tensor:
    """(N, length) stretches of a text, spread evenly, none overlapping another."""
    ids = torch.from_numpy(bundle.tokeniser.encode([text])[0].astype(np.int64))
    count = min(rows, len(ids) // length)
    starts = np.linspace(0, len(ids) - length, count).astype(int)
    return torch.stack([ids[start : start + length] for start in starts])


def asked(family: str, bundle: Bundle, rows_NL: Tensor, tolerance: float) -> dict[str, Measured]:
    """The three reaches of one model."""
    model = bundle.model
    window = rows_NL.shape[1] - 1
    swap = swap_reach(model, rows_NL[:, :-1], options=SwapOptions(seed=0))
    context = context_curve(model, rows_NL, options=ContextOptions(tolerance_nats=tolerance))
    order, at_order = _order(model, rows_NL, tolerance)
    return {
        f"{family} swap": _kept(swap.value, swap.low, swap.high, window),
        f"{family} context": _kept(context.value, context.low, context.high, window),
        f"{family} order": order,
        f"{family} perplexity": Measured.exactly(math.exp(at_order), "with the whole window"),
    }


def _kept(value: int | None, low: int | None, high: int | None, window: int) -> Measured:
    """A reach as a measurement; what is censored goes to the window."""
    known = window if value is None else value
    return Measured(known, known if low is None else low, window if high is None else high, "words")


def _order(
    model: Callable[..., Tensor], rows_NL: Tensor, tolerance: float
) -> tuple[Measured, float]:
    """The order horizon with its interval, and the mean loss without any shuffling."""
    plain_N = _last_nats(model, rows_NL)
    extra = {}
    for kept in (b for b in GRID if b < rows_NL.shape[1] - 2):
        extra[kept] = _last_nats(model, _shuffled(rows_NL, kept)) - plain_N
    half = {b: 1.96 * float(e.std()) / len(e) ** 0.5 for b, e in extra.items()}
    mean = {b: float(e.mean()) for b, e in extra.items()}
    most = max(extra)

    def horizon(cost: Callable[[int], float]) -> int:
        """The smallest b from which on the cost stays within the tolerance."""
        over = [b for b in extra if cost(b) > tolerance]
        later = [b for b in extra if b > max(over, default=0)]
        return min(later, default=most)

    found = Measured(
        horizon(lambda b: mean[b]),
        horizon(lambda b: mean[b] - half[b]),
        horizon(lambda b: mean[b] + half[b]),
        "words",
    )
    return found, float(plain_N.mean())


def _shuffled(rows_NL: Tensor, kept: int) -> Tensor:
    """Rows whose tokens more than `kept` before the last one stand in random order."""
    length = rows_NL.shape[1] - 1 - kept
    draws = Seeds(0).torch(f"order {kept}")
    order_NL = torch.rand(len(rows_NL), length, generator=draws).argsort(1)
    return torch.cat([rows_NL[:, :length].gather(1, order_NL), rows_NL[:, length:]], 1)


@torch.no_grad()
def _last_nats(model: Callable[..., Tensor], rows_NL: Tensor) -> Tensor:
    """(N,) loss of each row's last token."""
    parts = [
        F.cross_entropy(model(rows[:, :-1])[:, -1].double(), rows[:, -1], reduction="none")
        for rows in torch.split(rows_NL, 64)
    ]
    return torch.cat(parts)
