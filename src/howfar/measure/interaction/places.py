"""Where pairs of places are drawn: evenly, or half of them where a swap at both ends moves much.

Idea     a text may have two places that matter among hundreds, which even draws rarely hit. With
         e_p the effect of a swap at p, the pair (i, i+d) is drawn with

             q_i = 1/2 1/room + 1/2 sqrt(e_i e_{i+d}) / sum_j sqrt(e_j e_{j+d})

         and its result weighed with 1 / (room q_i) <= 2, so that the mean over places is kept
Shapes   N sequences, L places; room_N first places a sequence
"""

import numpy as np


def even(room_N: np.ndarray, draw_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First places (N,) from uniform draws (N,) in [0, 1), and weights (N,) of 1."""
    first_N = (draw_N * np.maximum(room_N, 1)).astype(np.int64)
    return first_N, np.ones(len(room_N))


def towards(
    effect_L: np.ndarray, lag: int, room_N: np.ndarray, draw_N: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First places (N,) drawn with q, and their weights (N,)."""
    both_I = np.sqrt(effect_L[: len(effect_L) - lag] * effect_L[lag:])
    first_N, weight_N = even(room_N, draw_N)
    for room in np.unique(room_N[room_N >= 1]):
        here_I = both_I[:room]
        if here_I.sum() <= 0:
            continue
        q_I = 0.5 / room + 0.5 * here_I / here_I.sum()
        rows = room_N == room
        found = np.searchsorted(q_I.cumsum(), draw_N[rows] * q_I.sum(), side="right")
        first_N[rows] = found.clip(max=room - 1)
        weight_N[rows] = 1 / (room * q_I[first_N[rows]])
    return first_N, weight_N
