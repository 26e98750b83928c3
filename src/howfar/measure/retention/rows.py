"""One row of the map: the probes of one layer at every lag, and their controls.

Idea     targets, split and controls are the same for all layers; a layer brings its states, is
         factorised once, and is asked about every lag
Shapes   states (N, P, D); values by held-out sequence and lag, (N', K): their means are the map
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError
from howfar.measure.retention.data import Data
from howfar.measure.retention.information import (
    Calibrated,
    compression,
    frequencies,
    logistic_gain,
)
from howfar.measure.retention.options import RetentionOptions
from howfar.measure.retention.probes import Ridge
from howfar.measure.stats import interval


@dataclass(slots=True)
class Row:
    """What was measured of one layer.

    value, scale: (N', K) by held-out sequence; the map is sum(value) / sum(scale).
    added: as value, but what the states add to the recent tokens.
    """

    name: str
    width: int
    moving: int
    value: np.ndarray
    scale: np.ndarray
    added: np.ndarray
    control: np.ndarray
    accuracy: np.ndarray
    capacity: float
    logistic_value: np.ndarray
    compression: np.ndarray

    @property
    def point(self) -> np.ndarray:
        """The row of the map, (K,)."""
        return _ratio(self.value.sum(0), self.scale.sum(0))

    @property
    def added_point(self) -> np.ndarray:
        """As `point`, beyond the recent tokens."""
        return _ratio(self.added.sum(0), self.scale.sum(0))

    @property
    def logistic(self) -> np.ndarray:
        """Bits that the logistic probe finds; NaN where it was not asked."""
        return np.asarray(self.logistic_value.mean(0))

    def resampled(self, weight_RN: np.ndarray, added: bool = False) -> np.ndarray:
        """The row in every bootstrap sample, (R, K), or that of `added`."""
        value = self.added if added else self.value
        return _ratio(weight_RN @ value, weight_RN @ self.scale)

    def logistic_limit(self, weight_RN: np.ndarray, ci: float) -> np.ndarray:
        """Lower ends of `logistic`, (K,)."""
        return interval(weight_RN @ self.logistic_value, ci)[0]


class Rows:
    """Measures layers one after another; `measure` does not depend on what went before."""

    def __init__(self, data: Data, options: RetentionOptions) -> None:
        self.data, self.options = data, options
        self.num_test = int((~data.train).sum())
        self.num_train = int(data.train.sum()) * data.target.shape[1]
        self.unit = "bits" if data.count else "R2"
        self.matrix_unit = "bits" if data.count else "share of the variance"
        for name in ("logistic", "codelength"):
            self._known(name, getattr(options, name))
        self.plain = [self._part(data.target, test) for test in (False, True)]
        self.entropy = self._entropy()
        self.predictable = np.full(len(data.lags), np.nan)
        self.without = np.zeros((self.num_test, len(data.lags)))
        if options.recent:
            self._ask_recent()

    def measure(self, name: str, state_NPD: Tensor) -> Row:
        """Fit and ask every probe of one layer."""
        resolution = float(torch.finfo(state_NPD.dtype).eps)
        state = state_NPD.double().numpy()
        train, test = self._part(state, False), self._part(state, True)
        ridge = Ridge(_flat(train), self.options.ridge, resolution)
        turned = ridge.rotate(_flat(test))
        value, scale, accuracy, capacity = self._ask(ridge, turned, self.plain)
        control = np.zeros(len(self.data.lags))
        if min(len(part) for part in self.plain) > 1:
            others = [self._part(self.data.control, test) for test in (False, True)]
            asked, against, *_ = self._ask(ridge, turned, others)
            control = _ratio(asked.sum(0), against.sum(0))
        return Row(
            name=name,
            width=state.shape[-1],
            moving=ridge.moving,
            value=value,
            scale=scale,
            added=self._added(train, test, resolution, value),
            control=control,
            accuracy=accuracy,
            capacity=capacity,
            logistic_value=self._logistic(ridge, turned),
            compression=self._compression(train, resolution),
        )

    def _part(self, x: np.ndarray, test: bool) -> np.ndarray:
        return np.asarray(x[~self.data.train] if test else x[self.data.train])

    def _known(self, name: str, asked: tuple[int, ...]) -> None:
        missing = [d for d in asked if d not in self.data.lags]
        if missing or (asked and not self.data.count):
            message = f"{name}={asked} asks for lags that are not measured, or of real inputs."
            raise UsageError("E-OPTION", message, "lags of integer tokens among `lags`.")

    def _entropy(self) -> np.ndarray:
        """Bits there are to know at each lag, on held-out rows; 1 for reals; 0: no variation."""
        train, test = self.plain
        varies = [len(np.unique(_flat(self.data.target[:, :, k]), axis=0)) > 1 for k in self._lags]
        if not self.data.count:
            return np.array(varies, dtype=float)
        bits = [
            -np.log2(frequencies(train[:, :, k].ravel(), self.data.count))[test[:, :, k]].mean()
            for k in self._lags
        ]
        return np.where(varies, bits, 0.0)

    @property
    def _lags(self) -> range:
        return range(len(self.data.lags))

    def _ask(
        self,
        ridge: Ridge,
        turned_ND: np.ndarray,
        targets: list[np.ndarray],
        lags: Sequence[int] | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Value and scale (N', K), accuracy (K,), capacity; `lags`: columns to fill, None: all."""
        train, test = targets
        value, scale = np.zeros((2, self.num_test, len(self.data.lags)))
        accuracy = np.full(len(self.data.lags), np.nan)
        capacity = 0.0
        for k in self._lags if lags is None else lags:
            if not self.entropy[k]:
                scale[:, k] = 1.0 if self.data.count else 0.0
            elif self.data.count:
                value[:, k], accuracy[k] = self._bits(
                    ridge, turned_ND, train[:, :, k], test[:, :, k]
                )
                scale[:, k] = 1.0
                capacity += float(value[:, k].mean())
            else:
                fit = ridge.fit(_flat(train[:, :, k]))
                off = _flat(test[:, :, k]) - fit.mean
                left = off - turned_ND @ fit.weight
                capacity += float(_ratio((off**2 - left**2).sum(0), (off**2).sum(0)).sum())
                scale[:, k] = (off**2).reshape(self.num_test, -1).sum(1)
                value[:, k] = scale[:, k] - (left**2).reshape(self.num_test, -1).sum(1)
        total_K = np.where(scale.sum(0) > 0, scale.mean(0), 1.0)
        return value / total_K, scale / total_K, accuracy, capacity

    def _bits(
        self, ridge: Ridge, turned_ND: np.ndarray, train_NP: np.ndarray, test_NP: np.ndarray
    ) -> tuple[np.ndarray, float]:
        """Bits by held-out sequence, and accuracy over that of the commonest symbol."""
        model = Calibrated(ridge, train_NP.ravel(), self.data.count)
        gain = model.gain(turned_ND, test_NP.ravel())
        chance = float((test_NP == model.frequency_C.argmax()).mean())
        over = (float(gain.right.mean()) - chance) / (1 - chance) if chance < 1 else 0.0
        return gain.bits.reshape(self.num_test, -1).mean(1), over

    def _given(self, test: bool, num: int) -> np.ndarray:
        """The newest `num` raw tokens as features, (n, P, num C)."""
        recent = self._part(self.data.recent[:, :, :num], test)
        if self.data.count:
            recent = np.eye(self.data.count)[recent]
        return recent.reshape(*recent.shape[:2], int(np.prod(recent.shape[2:])))

    def _groups(self) -> dict[int, list[int]]:
        """Columns by how many recent tokens their probe is given: those newer than the lag."""
        most = self.options.recent
        found: dict[int, list[int]] = {}
        for k, d in enumerate(self.data.lags):
            found.setdefault(min(most, d) if d >= 0 else most, []).append(k)
        return found

    def _ask_recent(self) -> None:
        for num, lags in self._groups().items():
            if num == 0:
                self.predictable[lags] = 0.0
                continue
            features = [_flat(self._given(test, num)) for test in (False, True)]
            ridge = Ridge(features[0], self.options.ridge, np.finfo(float).eps)
            value, scale, *_ = self._ask(ridge, ridge.rotate(features[1]), self.plain, lags)
            self.without[:, lags] = value[:, lags]
            self.predictable[lags] = _ratio(value.sum(0), scale.sum(0))[lags]

    def _added(
        self, train: np.ndarray, test: np.ndarray, resolution: float, plain: np.ndarray
    ) -> np.ndarray:
        """What the states add to the recent tokens, by held-out sequence and lag."""
        if not self.options.recent:
            return np.full_like(plain, np.nan)
        added = plain.copy()
        for num, lags in self._groups().items():
            if num:
                both = [
                    _flat(np.concatenate([part, self._given(side, num)], axis=-1))
                    for part, side in ((train, False), (test, True))
                ]
                ridge = Ridge(both[0], self.options.ridge, resolution)
                value, *_ = self._ask(ridge, ridge.rotate(both[1]), self.plain, lags)
                added[:, lags] = value[:, lags] - self.without[:, lags]
        return added

    def _logistic(self, ridge: Ridge, turned_ND: np.ndarray) -> np.ndarray:
        value = np.full((self.num_test, len(self.data.lags)), np.nan)
        train, test = self.plain
        sequence_N = np.repeat(np.arange(len(train)), train.shape[1])
        # Directions in which the states do not vary would be divided by 0.
        keep_D = ridge.value_D > 1e-6 * max(float(ridge.value_D.max(initial=0)), 1e-300)
        for lag in self.options.logistic:
            k = self.data.lags.index(lag)
            gain = logistic_gain(
                (ridge.rotated_ND[:, keep_D], train[:, :, k].ravel(), sequence_N),
                (turned_ND[:, keep_D], test[:, :, k].ravel()),
                self.data.count,
            )
            value[:, k] = gain.bits.reshape(self.num_test, -1).mean(1)
        return value

    def _compression(self, train: np.ndarray, resolution: float) -> np.ndarray:
        found = np.full(len(self.data.lags), np.nan)
        target = self.plain[0]
        sequence_N = np.repeat(np.arange(len(target)), target.shape[1])
        for lag in self.options.codelength:
            k = self.data.lags.index(lag)
            found[k] = compression(
                _flat(train),
                target[:, :, k].ravel(),
                sequence_N,
                self.data.count,
                (self.options.ridge, resolution),
            )
        return found


def _flat(x: np.ndarray) -> np.ndarray:
    """(N, P, ...) -> (N P, ...)."""
    return x.reshape(-1, *x.shape[2:])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """The ratio, 0 where there is nothing below."""
    return np.asarray(np.where(below > 0, above / np.where(below > 0, below, 1), 0.0))
