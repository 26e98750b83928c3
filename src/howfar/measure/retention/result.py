"""What a measurement of retention says: a map of layers by lags, and what is read off it."""

from dataclasses import dataclass, field

import numpy as np

from howfar.measure.curve import Curve


@dataclass(frozen=True, slots=True)
class Loss:
    """Where the token `lag` back is last held, and the next layer up, which no longer holds it.

    kept: None: no layer holds it. lost: None: the last layer still holds it. sure: the upper ends
    of all layers from `lost` on are below the threshold too.
    """

    lag: int
    kept: str | None
    lost: str | None
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What each layer still holds of the token d back, for every lag d.

    value: largest lag that the last layer before the head holds; None: none. low, high: percentile
    interval; low None: some samples hold nothing. censored: it is the largest lag measured.
    curve: the row of that layer. layers: rows, bottom first. lags: columns. widths: units a layer.
    unit: "bits" or "R2". map, map_low, map_high: (layers, lags), NaN where there is no interval.
    control: the same of another sequence's tokens at the same positions: what position alone tells.
    entropy: (lags,) bits there are to know (R2: ones).
    accuracy: (layers, lags) of the best guess, 0: the commonest symbol, 1: always right; bits only.
    held: (layers, lags): the lower end is above eps of the entropy and above the control.
    reach: largest lag held, of each layer; reach_low, reach_high: its interval. capacity: sum of a
    row: memory capacity for R2; of bits only meaningful where tokens are independent.
    losses: one a lag. predictable: (lags,) bits or R2 that the `recent` raw tokens alone give, and
    beyond, beyond_low: what the state adds to them; NaN without `recent`.
    logistic, logistic_low, compression: (layers, lags), NaN for lags that were not asked.
    num_held_out: sequences all numbers come from; num_samples: states the probes were fitted on.
    """

    value: int | None
    low: int | None
    high: int | None
    censored: bool
    curve: Curve
    num_sequences: int
    warnings: tuple[str, ...]
    layers: tuple[str, ...]
    lags: tuple[int, ...]
    unit: str
    eps: float
    widths: tuple[int, ...]
    map: np.ndarray = field(compare=False, repr=False)
    map_low: np.ndarray = field(compare=False, repr=False)
    map_high: np.ndarray = field(compare=False, repr=False)
    control: np.ndarray = field(compare=False, repr=False)
    entropy: np.ndarray = field(compare=False, repr=False)
    accuracy: np.ndarray = field(compare=False, repr=False)
    held: np.ndarray = field(compare=False, repr=False)
    reach: tuple[int | None, ...]
    reach_low: tuple[int | None, ...]
    reach_high: tuple[int | None, ...]
    capacity: tuple[float, ...]
    losses: tuple[Loss, ...]
    predictable: np.ndarray = field(compare=False, repr=False)
    beyond: np.ndarray = field(compare=False, repr=False)
    beyond_low: np.ndarray = field(compare=False, repr=False)
    logistic: np.ndarray = field(compare=False, repr=False)
    logistic_low: np.ndarray = field(compare=False, repr=False)
    compression: np.ndarray = field(compare=False, repr=False)
    num_held_out: int
    num_samples: int

    @property
    def share(self) -> np.ndarray:
        """The map as a share of what there is to know; 0 where there is nothing to know."""
        known_K = np.where(self.entropy > 0, self.entropy, 1)
        return np.asarray(np.where(self.entropy > 0, self.map / known_K, 0.0))

    def table(self, most: int = 10) -> str:
        """The map as text: percent of what there is to know, `.` where it is not held.

        most: lags shown; where there are more, about evenly spaced on a logarithmic scale.
        """
        places = columns(len(self.lags), most)
        head = ["layer", *(f"d={self.lags[k]}" for k in places), "reach"]
        rows = [head]
        for i, name in enumerate(self.layers):
            shares = [f"{100 * self.share[i, k]:.0f}%" if self.held[i, k] else "." for k in places]
            reach = "-" if self.reach[i] is None else str(self.reach[i])
            more = ">=" if self.reach[i] == self.lags[-1] else ""
            rows.append([name, *shares, more + reach])
        lost = [loss.lost or ("(kept)" if loss.kept else "-") for loss in self.losses]
        rows.append(["lost at", *(lost[k] for k in places), ""])
        widths = [max(len(row[c]) for row in rows) for c in range(len(head))]
        lines = [
            "  ".join(
                cell.ljust(wide) if c == 0 else cell.rjust(wide)
                for c, (cell, wide) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        return "\n".join(lines)


def columns(num: int, most: int) -> list[int]:
    """At most `most` of 0 .. num - 1, first and last among them, closer together at the start."""
    if num <= most:
        return list(range(num))
    spaced = np.geomspace(1, num, most).round().astype(int) - 1
    return sorted({0, num - 1, *spaced.tolist()})


def losses(
    layers: tuple[str, ...], lags: tuple[int, ...], held_LK: np.ndarray, maybe_LK: np.ndarray
) -> tuple[Loss, ...]:
    """For every lag the last layer that holds it and the one above.

    held_LK: (layers, lags). maybe_LK: whether the upper end is above the threshold.
    """
    found = []
    for k, lag in enumerate(lags):
        rows = np.flatnonzero(held_LK[:, k])
        if rows.size == 0:
            found.append(Loss(lag, None, None, not maybe_LK[:, k].any()))
            continue
        top = int(rows[-1])
        lost = layers[top + 1] if top + 1 < len(layers) else None
        found.append(Loss(lag, layers[top], lost, not maybe_LK[top + 1 :, k].any()))
    return tuple(found)
