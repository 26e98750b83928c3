"""Linear probes that share their work: one factorisation of a layer serves every lag and penalty.

Idea     standardised states Z (n, D), G = Z'Z/n = Q diag(e) Q'; for any targets Y (n, C)
             W(p) = Q (e + p)^-1 Q' Z'(Y - mean)/n
         so that a lag costs one product and a penalty p costs nothing. Eigenvectors instead of a
         Cholesky factor: the penalty may then differ from lag to lag at no further cost
Penalty  least n RSS(p) / (n - dof(p))^2 on the training part (generalised cross-validation)
Left out what the probe says of a training row when fitted without it follows from the leverage
         h_i = 1/n + sum_j (Z Q)_ij^2 / (n (e_j + p)):  s_i - (y_i - s_i) h_i / (1 - h_i)
Source   Golub, Heath & Wahba 1979, https://doi.org/10.1080/00401706.1979.10489751
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LARGEST_DOF = 0.9  # of n: beyond this cross-validation divides rounding by rounding


@dataclass(frozen=True, slots=True)
class Fit:
    """One lag's probe: `mean` (C,) plus rotated states times `weight` (D, C); `penalty` chosen."""

    mean: np.ndarray
    weight: np.ndarray
    penalty: float

    def scores(self, rotated_ND: np.ndarray) -> np.ndarray:
        """What the probe says: (N, C)."""
        return np.asarray(self.mean + rotated_ND @ self.weight)


class Ridge:
    """All probes of one layer.

    Args:
        states_ND: training states, (n, D).
        penalties: to choose from.
        resolution: what one rounding step of a state is, relative to the layer's size; units that
            vary less than a few of these are taken as constant.
    """

    def __init__(
        self, states_ND: np.ndarray, penalties: Sequence[float], resolution: float
    ) -> None:
        self.num = len(states_ND)
        self.mean_D = states_ND.mean(0)
        spread_D = states_ND.std(0)
        size = float(np.sqrt((states_ND**2).mean())) if states_ND.size else 0.0
        moves_D = spread_D > 32 * resolution * np.maximum(np.abs(self.mean_D), size)
        self.scale_D = np.where(moves_D, 1 / np.where(moves_D, spread_D, 1), 0.0)
        self.moving = int(moves_D.sum())
        z_ND = (states_ND - self.mean_D) * self.scale_D
        if z_ND.shape[1] <= self.num:
            value_D, self.turn_DD = np.linalg.eigh(z_ND.T @ z_ND / self.num)
        else:  # more units than states: the same from the states themselves, and cheaper
            _, root_N, turn_ND = np.linalg.svd(z_ND, full_matrices=False)
            value_D, self.turn_DD = root_N**2 / self.num, turn_ND.T
        self.value_D = np.maximum(value_D, 0)
        self.rotated_ND = z_ND @ self.turn_DD
        self.penalties = tuple(sorted(penalties))
        self._leverage: dict[float, np.ndarray] = {}

    def rotate(self, states_ND: np.ndarray) -> np.ndarray:
        """States of any rows as `Fit.scores` wants them."""
        return np.asarray(((states_ND - self.mean_D) * self.scale_D) @ self.turn_DD)

    def fit(self, target_NC: np.ndarray) -> Fit:
        """The probe of real targets, (n, C)."""
        mean_C = target_NC.mean(0)
        off_NC = target_NC - mean_C
        cross_DC = self.rotated_ND.T @ off_NC / self.num
        return self._solve(mean_C, cross_DC, float((off_NC**2).sum()) / self.num)

    def fit_classes(self, class_N: np.ndarray, count: int) -> Fit:
        """The probe of classes 0 .. count - 1, as if one-hot, without their matrix."""
        mean_C = np.bincount(class_N, minlength=count) / self.num
        order_N = np.argsort(class_N, kind="stable")
        used, first = np.unique(class_N[order_N], return_index=True)
        cross_CD = np.zeros((count, len(self.value_D)))
        cross_CD[used] = np.add.reduceat(self.rotated_ND[order_N], first, axis=0)
        # Rotated states have mean 0, so centring the targets changes nothing.
        return self._solve(mean_C, cross_CD.T / self.num, float(1 - (mean_C**2).sum()))

    def leverage(self, penalty: float) -> np.ndarray:
        """The leverages h, (n,)."""
        if penalty not in self._leverage:
            inverse_D = 1 / (self.value_D + penalty)
            self._leverage[penalty] = (1 + self.rotated_ND**2 @ inverse_D) / self.num
        return self._leverage[penalty]

    def _solve(self, mean_C: np.ndarray, cross_DC: np.ndarray, variance: float) -> Fit:
        power_D = (cross_DC**2).sum(1)
        best, chosen = np.inf, self.penalties[-1]
        for penalty in self.penalties:
            shrink_D = 1 / (self.value_D + penalty)
            dof = 1 + float((self.value_D * shrink_D).sum())
            if dof > LARGEST_DOF * self.num:
                continue
            rss = variance - float((power_D * shrink_D * (2 - self.value_D * shrink_D)).sum())
            score = max(rss, 0.0) / (1 - dof / self.num) ** 2
            if score < best:
                best, chosen = score, penalty
        weight_DC = cross_DC / (self.value_D + chosen)[:, None]
        return Fit(mean_C, weight_DC, chosen)
