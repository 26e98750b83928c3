"""How a gradient fades through a recurrent state, against the largest eigenvalue of its matrix.

Idea      an Elman network whose state stays near 0, where tanh is the identity: the gradient over
          a lag is U^lag, so its amplitude is multiplied by the spectral radius of U a step, once
          lesser eigenvalues have died out
Settings  radii: spectral radii of U; width; lags: [first, last] that the rate is fitted over
Numbers   "radius R": exp(-rate), rate the slope of log amplitude against the lag, averaged over
          `draws` random matrices; interval of the mean over them
"""

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch

from howfar.core.seeds import Seeds
from howfar.models import build
from howfar.verify.verdict import Measured

NEAR_ZERO = 1e-12  # of inputs: tanh is the identity, even where the state grows for long


def vanishing(settings: dict[str, Any], say: Callable[[str], None]) -> dict[str, Measured]:
    """Fit the rate at every radius."""
    first, last = settings["lags"]
    found = {}
    for radius in settings["radii"]:
        say(f"elman: spectral radius {radius:g}")
        ratios = [
            fitted(float(radius), int(settings["width"]), first, last, seed)
            for seed in range(int(settings["draws"]))
        ]
        mean = statistics.mean(ratios)
        half = 1.96 * statistics.stdev(ratios) / math.sqrt(len(ratios))
        note = f"{len(ratios)} matrices, lags {first} to {last}"
        found[f"radius {radius:g}"] = Measured(mean, mean - half, mean + half, note)
    return found


def fitted(radius: float, width: int, first: int, last: int, seed: int) -> float:
    """What the gradient's amplitude is multiplied by, a step."""
    draws = Seeds(seed).torch("vanishing")
    model = build(
        "elman",
        vocabulary=0,
        channels=1,
        outputs=width,
        width=width,
        embedding=width,
        generator=draws,
    ).double()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "bias" in name:
                weight.zero_()
            if "weight_hh" in name:
                drawn = torch.randn(weight.shape, generator=draws, dtype=torch.float64)
                weight.copy_(drawn * radius / torch.linalg.eigvals(drawn).abs().max())
    shape = (1, last + 1, width)
    x_BLD = torch.randn(shape, generator=draws, dtype=torch.float64) * NEAR_ZERO
    x_BLD.requires_grad_()
    layer = next(part for part in model.modules() if isinstance(part, torch.nn.RNNBase))
    h_BLD = layer(x_BLD)[0]
    probe_D = torch.randn(width, generator=draws, dtype=torch.float64)
    (slope_BLD,) = torch.autograd.grad((h_BLD[0, -1] * probe_D).sum(), x_BLD)
    size_K = slope_BLD[0].norm(dim=1).flip(0)[first : last + 1].log()
    lags_K = torch.arange(first, last + 1, dtype=torch.float64)
    centred_K = lags_K - lags_K.mean()
    return math.exp(float((centred_K * size_K).sum() / centred_K.square().sum()))
