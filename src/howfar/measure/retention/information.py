"""How many bits about a token a probe finds in a state: V-information.

Idea     I_V = H_V - CE: the bits by which the probe's probabilities beat the symbol frequencies,
         both fitted on the training part and both read on held-out rows. At most the true mutual
         information on average; below 0 where a probe has learned only noise
Linear   a ridge probe of the one-hot token gives scores s_v; with symbol frequencies f_v
             logit_v = log f_v + a (s_v - f_v) + b (s_v - f_v) / f_v - c m_v / 2
         the second term is the discriminant of equal Gaussian classes and m_v its value at the
         class means; a, b, c >= 0 are fitted on left-out scores: at 0 the probe says what the
         frequencies say, so noise is not taken for certainty
Unseen   a probe that is sure of what it has seen would be infinitely wrong about a symbol it has
         not: a share of its belief stays with the frequencies, the share of symbols that occur
         once (Good-Turing), at least one in n
Logistic the same features, multinomial, penalty chosen on an inner split by sequences
Code     bits to send the training tokens one block after another, each coded by a probe of those
         before it; compression = bits without the states / bits with them
Units    bits a token
Source   Xu et al. 2020, https://arxiv.org/abs/2002.10689; Voita & Titov 2020,
         https://arxiv.org/abs/2003.12298
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from howfar.measure.retention.probes import Fit, Ridge

CALIBRATION_ROWS = 2000  # three numbers are fitted: more rows would bring nothing
LARGEST = 1e3
BLOCKS = (0.1, 0.2, 0.4, 0.8, 1.0)  # block ends of the online code, as shares of the sequences
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True, slots=True)
class Gain:
    """Of every held-out row: bits gained over the frequencies, and whether the guess was right."""

    bits: np.ndarray
    right: np.ndarray


def frequencies(class_N: np.ndarray, count: int) -> np.ndarray:
    """Symbol frequencies (C,), half an occurrence added to each: none is impossible."""
    seen_C = np.bincount(class_N, minlength=count) + 0.5
    return np.asarray(seen_C / seen_C.sum())


def doubt(class_N: np.ndarray) -> float:
    """The share of belief that stays with the frequencies."""
    return float(max(1, (np.bincount(class_N) == 1).sum()) / (len(class_N) + 1))


def _mixed(logp: np.ndarray, frequency: np.ndarray, share: float) -> np.ndarray:
    """Natural logarithms of (1 - share) p + share f, elementwise."""
    return np.asarray(np.logaddexp(np.log1p(-share) + logp, np.log(share) + np.log(frequency)))


class Calibrated:
    """A ridge probe of classes that gives probabilities."""

    def __init__(self, ridge: Ridge, class_N: np.ndarray, count: int) -> None:
        self.fit: Fit = ridge.fit_classes(class_N, count)
        self.frequency_C = frequencies(class_N, count)
        self.doubt = doubt(class_N)
        some = np.linspace(0, ridge.num - 1, min(ridge.num, CALIBRATION_ROWS)).astype(int)
        said_MC = self.fit.scores(ridge.rotated_ND[some])
        lever_M1 = np.minimum(ridge.leverage(self.fit.penalty)[some], 0.999)[:, None]
        hot_MC = np.eye(count)[class_N[some]]
        left_out_MC = said_MC - (hot_MC - said_MC) * lever_M1 / (1 - lever_M1)
        self.middle_C = self._middles(left_out_MC, hot_MC)
        self.amount_3 = self._calibrate(left_out_MC, class_N[some])

    def log2(self, rotated_ND: np.ndarray) -> np.ndarray:
        """log2 of the probabilities: (N, C)."""
        logit_NC = self._logits(self._parts(self.fit.scores(rotated_ND)), self.amount_3)
        logp_NC = _mixed(_log_softmax(logit_NC), self.frequency_C, self.doubt)
        return np.asarray(logp_NC / np.log(2))

    def gain(self, rotated_ND: np.ndarray, class_N: np.ndarray) -> Gain:
        """Held-out rows, (N, D) and (N,); a probe that learned nothing gains exactly 0."""
        if not self.amount_3.any():
            return Gain(np.zeros(len(class_N)), class_N == self.frequency_C.argmax())
        log2_NC = self.log2(rotated_ND)
        return _gain(log2_NC, class_N, self.frequency_C)

    def _middles(self, score_MC: np.ndarray, hot_MC: np.ndarray) -> np.ndarray:
        """The discriminant's mean over the rows of each class; 0 for classes that never occur."""
        apart_MC = (score_MC - self.fit.mean) / self.frequency_C
        seen_C = hot_MC.sum(0)
        middle_C = (hot_MC * apart_MC).sum(0) / np.maximum(seen_C, 1)
        return np.asarray(np.maximum(middle_C, 0))

    def _parts(self, score_NC: np.ndarray) -> tuple[np.ndarray, ...]:
        apart_NC = score_NC - self.fit.mean
        return (
            apart_NC,
            apart_NC / self.frequency_C,
            np.broadcast_to(-self.middle_C / 2, apart_NC.shape),
        )

    def _logits(self, parts: tuple[np.ndarray, ...], amount_3: np.ndarray) -> np.ndarray:
        logit = np.log(self.frequency_C)
        for amount, part in zip(amount_3, parts, strict=True):
            logit = logit + amount * part
        return np.asarray(logit)

    def _calibrate(self, score_MC: np.ndarray, class_M: np.ndarray) -> np.ndarray:
        parts = self._parts(score_MC)
        rows = np.arange(len(class_M))

        def loss(amount_3: np.ndarray, share: float) -> tuple[float, np.ndarray]:
            plain_MC = _log_softmax(self._logits(parts, amount_3))
            plain_M, p_MC = plain_MC[rows, class_M], np.exp(plain_MC)
            right_M = _mixed(plain_M, self.frequency_C[class_M], share) if share else plain_M
            own_M = np.exp(np.log1p(-share) + plain_M - right_M)
            slope = [
                float((own_M * ((p_MC * part).sum(1) - part[rows, class_M])).mean())
                for part in parts
            ]
            return -float(right_M.mean()), np.array(slope)

        # Without the share of doubt the loss is convex: its minimum is a safe place to start from.
        bounds = [(0.0, LARGEST)] * 3
        start_3 = minimize(loss, np.zeros(3), (0.0,), jac=True, method="L-BFGS-B", bounds=bounds).x
        found = minimize(loss, start_3, (self.doubt,), jac=True, method="L-BFGS-B", bounds=bounds)
        return np.asarray(found.x)


def _gain(log2_NC: np.ndarray, class_N: np.ndarray, frequency_C: np.ndarray) -> Gain:
    rows = np.arange(len(class_N))
    bits_N = log2_NC[rows, class_N] - np.log2(frequency_C)[class_N]
    return Gain(bits_N, log2_NC.argmax(1) == class_N)


def _log_softmax(logit_NC: np.ndarray) -> np.ndarray:
    off_NC = logit_NC - logit_NC.max(1, keepdims=True)
    return np.asarray(off_NC - np.log(np.exp(off_NC).sum(1, keepdims=True)))


def logistic_gain(
    train: tuple[np.ndarray, np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    count: int,
) -> Gain:
    """A multinomial logistic probe.

    Args:
        train: rotated states (n, D), classes (n,) and the sequence of each row (n,).
        test: rotated states (N, D) and classes (N,).
        count: classes, C.
    """
    state_ND, class_N, sequence_N = train
    names = np.unique(sequence_N)
    inner_N = np.isin(sequence_N, names[: max(1, len(names) // 4)])
    scores = []
    for strength in STRENGTHS:
        if inner_N.all():
            scores.append(strength)  # one sequence: nothing to choose on, the strongest is taken
            continue
        log2_NC = _logistic(state_ND[~inner_N], class_N[~inner_N], count, strength)(
            state_ND[inner_N]
        )
        inner = log2_NC[np.arange(int(inner_N.sum())), class_N[inner_N]]
        scores.append(float(inner.mean()))
    best = STRENGTHS[int(np.argmax(scores))]
    frequency_C = frequencies(class_N, count)
    log_NC = _logistic(state_ND, class_N, count, best)(test[0]) * np.log(2)
    log2_NC = _mixed(log_NC, frequency_C, doubt(class_N)) / np.log(2)
    return _gain(log2_NC, test[1], frequency_C)


class _Logistic:
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        self.weight, self.bias = weight, bias

    def __call__(self, state_ND: np.ndarray) -> np.ndarray:
        logit = torch.from_numpy(state_ND) @ self.weight + self.bias
        return np.asarray(logit.log_softmax(-1) / np.log(2))


def _logistic(state_ND: np.ndarray, class_N: np.ndarray, count: int, strength: float) -> _Logistic:
    """Fitted by L-BFGS in float64; the loss is convex and starts at the frequencies."""
    state, label = torch.from_numpy(state_ND), torch.from_numpy(class_N)
    weight = torch.zeros(state.shape[1], count, dtype=torch.float64, requires_grad=True)
    bias = torch.from_numpy(np.log(frequencies(class_N, count))).requires_grad_()
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(state @ weight + bias, label)
        loss = loss + strength / 2 * weight.square().sum()
        torch.autograd.backward(loss)
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return _Logistic(weight.detach(), bias.detach())


def compression(
    state_ND: np.ndarray,
    class_N: np.ndarray,
    sequence_N: np.ndarray,
    count: int,
    ridge: tuple[tuple[float, ...], float],
) -> float:
    """Bits of the online code without the states over bits with them; 1: the states say nothing.

    Both codes send the first block by the uniform code, at log2 C bits a token, and each further
    block by what was fitted on all before it: the frequencies alone, or the probe.
    """
    names = np.unique(sequence_N)
    ends = sorted({max(1, round(share * len(names))) for share in BLOCKS})
    begun_N = np.isin(sequence_N, names[: ends[0]])
    plain = coded = float(begun_N.sum() * np.log2(count))
    for start, end in pairwise(ends):
        past_N = np.isin(sequence_N, names[:start])
        here_N = np.isin(sequence_N, names[start:end])
        probes = Ridge(state_ND[past_N], *ridge)
        probe = Calibrated(probes, class_N[past_N], count)
        gain = probe.gain(probes.rotate(state_ND[here_N]), class_N[here_N])
        bits = -float(np.log2(probe.frequency_C)[class_N[here_N]].sum())
        plain += bits
        coded += bits - float(gain.bits.sum())
    return plain / coded if coded > 0 else float("inf")
