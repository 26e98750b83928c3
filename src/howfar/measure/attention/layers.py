"""One layer's attention, head by head, as numbers."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from howfar.measure.attention.tally import Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerAttention:
    """What the heads of one layer look at: arrays (H,), means over sequences and queries.

    name: the module; kind: how its weights were had; length: its positions.
    mean_distance: E sum A |t - s|; uniform_ratio: over that of uniform attention.
    entropy_nats; entropy_share: of the most there could be; effective: E e^entropy.
    sink_share, self_share, ahead_share: of the mass.
    reach: kept tokens without sinks, with_sinks: with them; -1: nothing of the past is attended to.
    past: (H, K) mass by lag t - s, sinks included; ahead: (H, K) mass by s - t.
    weighted_by: "W_O v", "v", or "" where no values were seen; weighted_distance, weighted_reach:
    with the weights times their norms, sinks included.
    """

    name: str
    kind: str
    length: int
    mean_distance: np.ndarray
    uniform_ratio: np.ndarray
    entropy_nats: np.ndarray
    entropy_share: np.ndarray
    effective: np.ndarray
    sink_share: np.ndarray
    self_share: np.ndarray
    ahead_share: np.ndarray
    reach: np.ndarray
    with_sinks: np.ndarray
    past: np.ndarray = field(repr=False)
    ahead: np.ndarray = field(repr=False)
    weighted_by: str
    weighted_distance: np.ndarray | None
    weighted_reach: np.ndarray | None

    @property
    def heads(self) -> int:
        """H."""
        return len(self.reach)


def reach_of(mass_K: np.ndarray, eps: float) -> int | None:
    """min{k : share of the mass at places >= k is at most eps}; None: there is no mass."""
    tail_K = np.append(mass_K[::-1].cumsum()[::-1], 0.0)
    # a share of 1/20 that is made of rounded parts is still at most 0.05
    return int(np.argmax(tail_K <= (eps + 1e-9) * tail_K[0])) if tail_K[0] > 0 else None


def layers_of(
    tally: Tally, uniform: Sequence[dict[str, float]], rows: int, eps: float
) -> tuple[LayerAttention, ...]:
    """The layers of a tally over `rows` sequences."""
    return tuple(
        _layer(tally, layer, uniform[layer], rows, eps) for layer in range(len(tally.names))
    )


def _layer(
    tally: Tally, layer: int, uniform: dict[str, float], rows: int, eps: float
) -> LayerAttention:
    sums, mass = tally.numbers[layer], tally.mass[layer]

    def share(name: str, whole: float) -> np.ndarray:
        return sums[name] / whole if whole > 0 else np.full_like(sums[name], np.nan)

    weighted = mass.get("weighted")
    return LayerAttention(
        name=tally.names[layer],
        kind=tally.kinds[layer],
        length=tally.lengths[layer],
        mean_distance=share("distance", rows),
        uniform_ratio=share("distance", uniform["distance"]),
        entropy_nats=share("entropy", rows),
        entropy_share=share("entropy", uniform["entropy"]),
        effective=share("effective", rows),
        sink_share=share("sink", rows),
        self_share=share("itself", rows),
        ahead_share=share("ahead", rows),
        reach=_reaches(mass["bare"], eps),
        with_sinks=_reaches(mass["past"], eps),
        past=mass["past"] / rows,
        ahead=mass["ahead"] / rows,
        weighted_by=tally.weighted_by[layer],
        weighted_distance=None if weighted is None else share("weighted", rows),
        weighted_reach=None if weighted is None else _reaches(weighted, eps),
    )


def _reaches(mass_HK: np.ndarray, eps: float) -> np.ndarray:
    found = [reach_of(mass_K, eps) for mass_K in mass_HK]
    return np.array([-1 if reach is None else reach for reach in found])
