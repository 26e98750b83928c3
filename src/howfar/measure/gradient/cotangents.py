"""What is sent backwards from an output, so that squared gradients add up to the wanted norm.

Idea     E |J^T A r|^2 = tr(J^T A A^T J) for any r with E r r^T = I: one backward pass a random r.
         Signs rather than normal numbers: no estimate from them varies more
         "plain"    A = I: the squared Frobenius norm of J
         "centred"  A takes the mean off, as softmax ignores it
         "fisher"   A = diag(sqrt p) - p sqrt(p)^T, with A A^T = diag(p) - p p^T, the curvature of
                    KL in nats. Going back from log p(y) with y drawn from p has the same mean, but
                    where the model is nearly sure the draws miss what the rare classes add
         With as many passes as outputs, the columns of A replace the draws: exact
Shapes   answers (B, V); a cotangent (B, V), scaled so that squared norms add up over the passes
Source   Hutchinson 1990, https://doi.org/10.1080/03610919008812866
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from howfar.core.seeds import Seeds


@dataclass(frozen=True, slots=True)
class Cotangents:
    """How to go back. kind: "centred", "plain" or "fisher"; width: V; count: backward passes."""

    kind: str
    width: int
    count: int
    exact: bool

    def stream(self, seed: int) -> list[np.random.Generator]:
        """One source of draws a pass, so that neither batches nor further passes move a draw."""
        seeds = Seeds(seed)
        return [seeds.numpy(f"gradient probe {m}") for m in range(self.count)]

    def draw(self, stream: list[np.random.Generator], rows: int) -> list[np.ndarray]:
        """The next rows' r, one array (rows, V) a pass: signs, or unit vectors."""
        if self.exact:
            return [np.eye(self.width)[[m] * rows] for m in range(self.count)]
        signs = [rng.integers(0, 2, (rows, self.width)) for rng in stream]
        return [(2.0 * sign - 1) / np.sqrt(self.count) for sign in signs]

    def cotangent(self, answer_BV: Tensor, drawn: np.ndarray) -> Tensor:
        """A r: (B, V) to send back from the answers."""
        answer_BV = answer_BV.detach()
        open_BV = answer_BV.isfinite()  # a class that is ruled out takes no part
        r_BV = torch.where(open_BV, torch.from_numpy(drawn).to(answer_BV.device), 0)
        if self.kind == "fisher":
            p_BV = answer_BV.double().softmax(-1)
            r_BV = p_BV.sqrt() * r_BV
            r_BV = r_BV - p_BV * r_BV.sum(-1, keepdim=True)
        elif self.kind == "centred":
            mean_B1 = r_BV.sum(-1, keepdim=True) / open_BV.sum(-1, keepdim=True)
            r_BV = torch.where(open_BV, r_BV - mean_B1, 0)
        return r_BV.to(answer_BV.dtype)


def cotangents(kind: str, width: int, probes: int) -> Cotangents:
    """`probes` random passes, or all `width` of them where that is no more."""
    exact = width <= probes
    return Cotangents(kind, width, width if exact else probes, exact)


def centred(answer_NV: Tensor) -> Tensor:
    """Logits less their mean over the classes: (N, V)."""
    return answer_NV - answer_NV.mean(-1, keepdim=True)
