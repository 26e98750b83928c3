"""States at chosen times: which times, and one pass over the data to collect them.

Idea     only what a probe will see is kept: P times a sequence, every layer, (N, P, D)
Times    every lag must exist at every time, so that one set of states serves all lags: t runs from
         the largest lag to the end. "spread": P of these a sequence, drawn; "last": the end
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import DataError, UsageError, shown
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure.probe import Sequences
from howfar.measure.retention.layers import Found, Part
from howfar.measure.retention.options import RetentionOptions
from howfar.measure.retention.trace import run
from howfar.measure.stats import MIN_SEQUENCES
from howfar.measure.watch import quiet

LONGEST = 64  # largest lag looked at unless lags are named
TARGETS = ("auto", "spread", "last")

States = Callable[[Tensor, Tensor], Mapping[str, Tensor]]


@dataclass(frozen=True, slots=True)
class Times:
    """Rows that are used (N,), the times in each (N, P), the lags, and what was left out."""

    rows: Tensor
    at: Tensor
    lags: tuple[int, ...]
    warnings: tuple[str, ...]


def times(
    seqs: Sequences,
    targets: str | Tensor,
    found: Found | None,
    options: RetentionOptions,
) -> Times:
    """Choose rows, times and lags.

    Raises:
        UsageError: E-OPTION or E-SHAPE where targets are none, E-LAGS where nothing fits.
    """
    parts = [part for layer in found.layers for part in layer.parts] if found else []
    if isinstance(targets, str) and targets not in TARGETS:
        message = f"targets={targets!r} is not known."
        raise UsageError("E-OPTION", message, f"one of {', '.join(TARGETS)}, or positions.")
    spread = targets == "spread" or (targets == "auto" and not (found and found.layers[-1].whole))
    lags, said = _lags(seqs, options, spread)
    # Every lag, every state and the tokens a probe is given must exist at every time.
    first = max([0, *lags, options.recent - 1, *(part.newest for part in parts)])
    last_N = seqs.lengths - 1 + min(0, *lags)
    place_L = torch.arange(seqs.tokens.shape[1])
    fits_NL = (place_L >= first) & (place_L <= last_N[:, None])
    if isinstance(targets, Tensor):
        at_NP = targets[:, None] if targets.ndim == 1 else targets
        if at_NP.shape[0] != len(seqs.tokens) or at_NP.ndim != 2:
            raise UsageError("E-SHAPE", "targets must be (N,) or (N, P).", 'targets="spread".')
        inside = (at_NP >= 0) & (at_NP < seqs.tokens.shape[1])
        good_N = (fits_NL.gather(1, at_NP.clamp(0, len(place_L) - 1)) & inside).all(1)
    elif spread:
        fits_NL = fits_NL & _aligned(place_L, parts, fits_NL)
        at_NP, good_N = _spread(fits_NL, options)
    else:
        at_NP = (seqs.lengths - 1)[:, None]
        good_N = fits_NL.gather(1, at_NP).all(1)
    rows = good_N.nonzero()[:, 0]
    if len(rows) < 2:
        message = f"{len(rows)} sequences are long enough for lags up to {max(lags)}."
        raise UsageError("E-LAGS", message, "smaller lags, or longer sequences.")
    if len(rows) < len(seqs.tokens):
        short = len(seqs.tokens) - len(rows)
        said.append(f"{short} sequences are too short for lags up to {max(lags)}: left out")
    return Times(rows, at_NP[rows], lags, tuple(said))


def _lags(
    seqs: Sequences, options: RetentionOptions, spread: bool
) -> tuple[tuple[int, ...], list[str]]:
    """Lags that at least 30 rows, or all where there are fewer, are long enough for."""
    lengths_N = seqs.lengths.sort(descending=True).values
    if options.lags is None:
        usual = int(lengths_N[int(0.9 * (len(lengths_N) - 1))])
        longest = (usual - 1) // 2 if spread else usual - 1
        return tuple(range(min(LONGEST, longest) + 1)), []
    room = int(lengths_N[min(len(lengths_N), MIN_SEQUENCES) - 1])
    asked = sorted(set(options.lags))
    lags = tuple(d for d in asked if abs(d) < room)
    if not lags:
        message = f"No lag of {shown(asked)} fits sequences of {room} tokens."
        raise UsageError("E-LAGS", message, "smaller lags, or longer sequences.")
    left = len(asked) - len(lags)
    return lags, [f"{left} lags reach beyond sequences of {room} tokens: left out"] if left else []


def _aligned(place_L: Tensor, parts: Sequence[Part], fits_NL: Tensor) -> Tensor:
    """Times at which layers with fewer states than tokens have one that is fresh."""
    fresh_L = torch.ones_like(place_L, dtype=torch.bool)
    for part in parts:
        fresh_L &= (place_L - part.newest) % part.stride == 0
    return fresh_L if bool((fits_NL & fresh_L).any(1).sum() > 1) else torch.ones_like(fresh_L)


def _spread(fits_NL: Tensor, options: RetentionOptions) -> tuple[Tensor, Tensor]:
    """P drawn times a row (N, P), in order, and whether a row has room for them (N,)."""
    room_N = fits_NL.sum(1)
    roomy_N = room_N[room_N > 0].sort(descending=True).values
    usual = int(roomy_N[int(0.9 * (len(roomy_N) - 1))]) if len(roomy_N) else 0
    num = max(1, min(options.positions, usual))
    rng = Seeds(options.seed).numpy("retention times")
    drawn_NL = torch.from_numpy(rng.random(tuple(fits_NL.shape))).masked_fill(~fits_NL, 2.0)
    return drawn_NL.argsort(1)[:, :num].sort(1).values, room_N >= num


def collect(
    source: tuple[Predict, Found] | States, seqs: Sequences, chosen: Times, batch: int
) -> dict[str, Tensor]:
    """Every layer's states at the chosen times: name -> (N, P, D).

    Args:
        source: a model and what to watch in it, or a function (tokens, lengths) -> states by name,
            each (B, T, D), or (B, D) for one state a sequence.
        seqs: all sequences.
        chosen: rows and times.
        batch: rows a pass.

    Raises:
        DataError: E-OUTPUT where a state is not a number, or infinite.
        UsageError: E-LAYERS where a function gives other shapes.
    """
    pieces: dict[str, list[Tensor]] = {}
    for start in range(0, len(chosen.rows), batch):
        rows = chosen.rows[start : start + batch]
        tokens, lengths = seqs.tokens[rows], seqs.lengths[rows]
        at_BP = chosen.at[start : start + batch]
        if callable(source):
            found = _given(source, tokens, lengths, at_BP)
        else:
            found = _watched(*source, tokens, lengths, at_BP)
        for name, x in found.items():
            pieces.setdefault(name, []).append(x.cpu())
    states = {name: torch.cat(parts) for name, parts in pieces.items()}
    for name, x in states.items():
        if not bool(x.isfinite().all()):
            message = f"States of {shown(name)} are not numbers, or infinite."
            raise DataError("E-OUTPUT", message, "check the model for overflow.")
    return states


def _watched(
    predict: Predict, found: Found, tokens: Tensor, lengths: Tensor, at_BP: Tensor
) -> dict[str, Tensor]:
    parts = {part.key: part for layer in found.layers for part in layer.parts}

    def take(key: str, x: Tensor) -> Tensor:
        return at_times(x, parts[key], at_BP) if key in parts else x[:0]

    tensors = run(predict, found.watch, tokens, lengths, take)
    return {
        layer.name: torch.cat([tensors[part.key] for part in layer.parts], dim=-1)
        for layer in found.layers
    }


def _given(states: States, tokens: Tensor, lengths: Tensor, at_BP: Tensor) -> dict[str, Tensor]:
    with torch.no_grad(), quiet(states):
        found = dict(states(tokens, lengths))
    for name, x in found.items():
        wide = (tokens.shape[1], int(lengths.max()))
        fits = x.ndim == 2 or (x.ndim == 3 and x.shape[1] in wide)
        if len(x) != len(tokens) or not fits:
            message = f"States {shown(name)} of {tuple(x.shape)} do not fit {len(tokens)} rows."
            raise UsageError("E-LAYERS", message, "(B, T, D) for rows of T tokens, or (B, D).")
    return {
        name: at_times(x, Part(name, 0, None if x.ndim == 2 else 1), at_BP)
        for name, x in found.items()
    }


def at_times(x: Tensor, part: Part, at_BP: Tensor) -> Tensor:
    """The states that stand for the tokens at these times: a copy, (B, P, D)."""
    if part.time is None:
        return x.movedim(part.batch, 0).flatten(1)[:, None].repeat(1, at_BP.shape[1], 1)
    x = x.movedim((part.batch, part.time), (0, 1))
    x_BTD = x[..., None] if x.ndim == 2 else x
    at_BP = at_BP.to(x.device)
    index_BP = ((at_BP - part.newest).div(part.stride, rounding_mode="floor")).clamp(
        0, x_BTD.shape[1] - 1
    )
    return x_BTD[torch.arange(len(x_BTD), device=x.device)[:, None], index_BP]


def raw(tokens: Tensor, chosen: Times, lags: Sequence[int]) -> np.ndarray:
    """The tokens at each lag of each time: (N, P, K), or (N, P, K, D) for vectors."""
    index_NPK = chosen.at[..., None] - torch.tensor(list(lags), dtype=torch.int64)
    rows = chosen.rows[:, None, None]
    return np.asarray(tokens[rows, index_NPK])
