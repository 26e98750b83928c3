"""How often the 95 % intervals of swap reach hold the truth, by simulation.

Idea     half of the sequences fade with 0.8, half with 0.97 (case G11): the reach has a closed
         form, so each repeat draws new sequences and asks whether the interval holds it
Prints   a table over designs and numbers of sequences: coverage, misses on either side, width

    python bench/intervals.py --repeats 150
"""

import argparse

import numpy as np
import torch
from scipy.signal import lfilter

from howfar.measure import SwapOptions, swap_reach

LENGTH, DECAYS, EPS = 128, (0.8, 0.97), 0.05


def truth(design):
    """Smallest k with r(k) <= eps; the fast design's history grows with k."""
    history = LENGTH if design == "paired" else LENGTH // 2
    for k in range(LENGTH):
        last = history if design == "paired" else history + k
        beyond = sum(a ** (2 * d) for a in DECAYS for d in range(k, last))
        whole = sum(a ** (2 * d) for a in DECAYS for d in range(history))
        if beyond / whole <= EPS:
            return k
    raise AssertionError


def one(design, num, seed, donors):
    """One interval, with the beyond-the-window end as infinity."""
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(rng.standard_normal((num, LENGTH)))
    slow = rng.integers(2, size=num)

    def predict(tokens, lengths):
        rows = slow[: len(tokens), None]  # the whole batch, or the first rows of it
        near, far = (lfilter([1.0], [1.0, -a], tokens.numpy(), axis=1) for a in DECAYS)
        return torch.from_numpy(np.where(rows > 0, far, near))

    options = SwapOptions(design=design, batch=num, seed=seed, donors=donors)
    found = swap_reach(predict, x, options=options)
    low = np.inf if found.low is None else found.low
    return low, np.inf if found.high is None else found.high


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=150)
    parser.add_argument("--donors", type=int, default=1)
    parser.add_argument("--sequences", type=int, nargs="+", default=[32, 64, 128])
    asked = parser.parse_args()
    print(
        f"{'design':8} {'N':>4} {'truth':>5} {'coverage':>8} {'below':>6} {'above':>6} {'width':>6}"
    )
    for design in ("paired", "fast"):
        want = truth(design)
        for num in asked.sequences:
            ends = np.array(
                [one(design, num, 10_000 * num + i, asked.donors) for i in range(asked.repeats)]
            )
            below, above = ends[:, 1] < want, ends[:, 0] > want
            held = 1 - below.mean() - above.mean()
            width = np.median(ends[:, 1] - ends[:, 0])
            print(
                f"{design:8} {num:4} {want:5} {held:8.3f} {below.mean():6.3f} "
                f"{above.mean():6.3f} {width:6.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
