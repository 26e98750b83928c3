"""Effective receptive field: how the sensitivity of one output is spread over what it can see.

Idea     g2(p) = E_x |d out / d e_p|_F^2, by Hutchinson probes: v ~ N(0, I) on the output, one
         backward pass each, E |J^T v|^2 = |J|_F^2. Its root |g|(p) is the profile Luo et al. draw

             sigma of |g|: root of sum |g|(p) (p - mean)^2 / sum |g|(p);  sigma of g2: with g2(p)

         For uniform linear kernels |g| is a convolution of boxes, and its sigma is exactly
         sqrt(sum_l d_l^2 (k_l^2 - 1) / 12); that of g2 is smaller, by sqrt(2) where |g| is Gaussian
Size     places where |g| is above 1 - 0.9545 of its maximum; its share of the theoretical field
Units    tokens; g2 in squared units of the output per unit of the embedding
Limits   squared norms, as signed gradients cancel over channels and texts. Local sensitivity: what
         saturates has none
Source   Luo, Li, Urtasun & Zemel 2016, https://arxiv.org/abs/1701.04128, sections 2 and 4
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError, in_range
from howfar.core.protocols import Predict
from howfar.core.seeds import Seeds
from howfar.measure.curve import Curve, curve_of
from howfar.measure.stats import MIN_SEQUENCES, Bootstrap, interval
from howfar.measure.structure.support import exact
from howfar.measure.watch import embedded, quiet

BELOW = 1 - 0.9545  # share of the maximum under which a place is outside, as Luo et al. count


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """The spread of an output's sensitivity.

    sigma, with its interval: of |g|. sigma_squared: of g2. mean: the centre of |g|, as a place.
    size: places above the threshold; share: of the field it was given, None without one.
    curve: |g| by place, its maximum 1; matrix: g2 by text and place.
    """

    sigma: float
    sigma_low: float | None
    sigma_high: float | None
    sigma_squared: float
    mean: float
    size: int
    share: float | None
    output: int
    curve: Curve
    num_sequences: int
    warnings: tuple[str, ...]


def sigma_of_uniform(kernels: Sequence[int], dilations: Sequence[int]) -> float:
    """Sigma of |g| in tokens of a stack of uniform linear kernels, in closed form."""
    pairs = zip(kernels, dilations, strict=True)
    return float(np.sqrt(sum(d**2 * (k**2 - 1) / 12 for k, d in pairs)))


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveOptions:
    """How to measure.

    probes: random cotangents a text. embedding: name of the embedding module, where it is no
    `nn.Embedding`.
    """

    probes: int = 4
    embedding: str | None = None
    ci: float = 0.95
    seed: int = 0
    resamples: int = 1000

    def __post_init__(self) -> None:
        checks = {
            "probes": self.probes >= 1,
            "ci": 0 < self.ci < 1,
            "resamples": self.resamples >= 1,
        }
        in_range(self, checks, "`help(howfar.structure)` says more.")


def effective_field(
    predict: Predict,
    tokens: Tensor,
    *,
    output: int | None = None,
    span: int | None = None,
    options: EffectiveOptions | None = None,
) -> Effective | None:
    """Measure the effective receptive field of one output; None where every gradient is zero.

    Args:
        predict: an nn.Module that embeds integer tokens, or any callable on real ones; a module
            is copied to float64.
        tokens: integer (N, L), or real (N, L) or (N, L, D).
        output: which output; negative: from the end; None: the one in the middle.
        span: the theoretical field in tokens, for the share.
        options: see `EffectiveOptions`.

    Raises:
        UsageError: E-EMBEDDING where gradients have nowhere to begin.
    """
    options = options or EffectiveOptions()
    asked, inputs = exact(predict, tokens)
    generator = Seeds(options.seed).torch("effective probes")
    with quiet(asked, hooks=True, gradients=True), torch.enable_grad():
        starts, out_NV, output = _answers(asked, inputs, output, options.embedding)
        g2_NL = torch.zeros(tokens.shape[:2], dtype=torch.float64)
        for _ in range(options.probes):
            v_NV = torch.randn(out_NV.shape, generator=generator, dtype=torch.float64)
            found = torch.autograd.grad(
                out_NV, starts, v_NV.to(out_NV.dtype), retain_graph=True, materialize_grads=True
            )
            g_NLE = torch.stack(found).sum(0).double().reshape(*tokens.shape[:2], -1)
            g2_NL += g_NLE.square().sum(-1) / options.probes
    if not bool(g2_NL.any()):
        return None
    return _spread(g2_NL.numpy(), output, span, options)


def _answers(
    predict: Predict, tokens: Tensor, output: int | None, embedding: str | None
) -> tuple[list[Tensor], Tensor, int]:
    """Where gradients begin, the chosen output (N, V), and its place."""
    lengths = torch.full((len(tokens),), tokens.shape[1])
    if tokens.is_floating_point():
        starts = [tokens.detach().clone().requires_grad_()]
        whole = predict(starts[0], lengths)
    else:
        with embedded(predict, tokens, embedding) as caught:
            whole = predict(tokens, lengths)
        starts = caught.parts
    if not starts or not whole.requires_grad:
        message = "No gradient comes back from the output to the tokens' embeddings."
        raise UsageError("E-EMBEDDING", message, "embedding='its.name', or real-valued inputs.")
    if whole.ndim == 2:  # a real a token, or classes of a whole text
        whole = whole[..., None] if whole.shape[1] == tokens.shape[1] else whole[:, None]
    count = whole.shape[1]
    place = count // 2 if output is None else range(count)[output]
    return starts, whole[:, place].reshape(len(tokens), -1), place


def _spread(
    g2_NL: np.ndarray,
    output: int,
    span: int | None,
    options: EffectiveOptions,
) -> Effective:
    num, length = g2_NL.shape
    rng = Seeds(options.seed).numpy("effective bootstrap")
    bootstrap = Bootstrap((1, num), options.resamples, rng)
    means_RL = np.stack([bootstrap.means(g2_NL[None, :, p]) for p in range(length)], axis=1)
    abs_L = np.sqrt(g2_NL.mean(0))
    centre, sigma = _moments(abs_L)
    few = num < MIN_SEQUENCES
    sigmas_R = np.array([_moments(np.sqrt(row_L))[1] for row_L in means_RL])
    low, high = interval(sigmas_R, options.ci)
    shape_L = abs_L / abs_L.max()
    bounds = interval(np.sqrt(means_RL) / abs_L.max(), options.ci)
    size = int((shape_L > BELOW).sum())
    said = f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed"
    return Effective(
        sigma=sigma,
        sigma_low=None if few else float(low),
        sigma_high=None if few else float(high),
        sigma_squared=_moments(g2_NL.mean(0))[1],
        mean=centre,
        size=size,
        share=None if span is None else size / min(span, length),
        output=output,
        curve=curve_of(
            range(length),
            shape_L,
            shape_L if few else bounds[0],
            shape_L if few else bounds[1],
            g2_NL[None],
            axis="place",
            unit="share of the largest gradient norm",
            matrix_unit="squared gradient",
            design="gradient",
            passes=1 + 2 * options.probes,
        ),
        num_sequences=num,
        warnings=(said,) if few else (),
    )


def _moments(weight_L: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of the place under these weights."""
    place_L = np.arange(len(weight_L))
    total = max(float(weight_L.sum()), np.finfo(float).tiny)
    centre = float((weight_L * place_L).sum() / total)
    return centre, float(np.sqrt((weight_L * (place_L - centre) ** 2).sum() / total))
