"""Where gradients begin: real inputs themselves, or what the embedding made of the tokens.

Idea     an input token's squared gradient is tr(J Sigma J^T) = |J Sigma^(1/2)|_F^2, with Sigma the
         covariance of the inputs over the data's real positions: to first order, how much the
         output varies because this one input does
Shapes   gradients (B, L, E); root of Sigma (E, E)
Limits   several embeddings of the same tokens count as one input: equal ones are added up, others
         stand side by side with their joint covariance
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError
from howfar.core.protocols import Predict
from howfar.measure.probe import Sequences, ask
from howfar.measure.watch import embedded, quiet

IDS_AT_ONCE = 4096


class Door:
    """Lets gradients begin at the inputs, and weighs them.

    root: (E, E), a root of Sigma, or None for the identity. asked: what a first look at two rows
    told of the model. passes: forward passes it took to know Sigma.
    """

    def __init__(
        self, predict: Predict, seqs: Sequences, sigma: str, name: str | None, batch: int
    ) -> None:
        self.predict, self.name = predict, name
        self.real = seqs.tokens.is_floating_point()
        self.passes = 0.0
        self.modules: list[nn.Module] = []
        self.shape: tuple[int, ...] = ()
        self.equal = True
        with quiet(predict):
            self.asked = replace(ask(self._look, seqs), predict=predict)
        self.root: Tensor | None = None
        if sigma == "data":
            self.root = _root(self._inputs(seqs, batch))

    @property
    def width(self) -> int:
        """Outputs a target."""
        shape = self.shape
        if self.asked.everywhere:
            return shape[2] if len(shape) == 3 else 1
        return int(np.prod(shape[1:]))

    def _look(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """The model, watched while it is asked for the first time."""
        with self.open(tokens) as (given, ends):
            output = self.predict(given, lengths)
            parts = ends()
        if not self.shape:
            self.shape = tuple(getattr(output, "shape", ()))
            self.equal = all(torch.equal(parts[0], part) for part in parts)
        return output

    @contextmanager
    def open(self, tokens: Tensor) -> Iterator[tuple[Tensor, Callable[[], Sequence[Tensor]]]]:
        """What to give the model for `tokens`, and, asked after its pass, where to end."""
        if self.real:
            given = tokens.detach().clone().requires_grad_()
            yield given, lambda: [given]
            return
        with embedded(self.predict, tokens, self.name) as found:

            def parts() -> Sequence[Tensor]:
                self._check(found.parts, tokens)
                self.modules = found.modules
                return found.parts

            yield tokens, parts

    def energy(
        self, parts: Sequence[Tensor], grads: Sequence[Tensor | None], tokens: Tensor
    ) -> Tensor:
        """Squared norm at every position, float64: (B, L). A part without influence has None."""
        pairs = list(zip(parts, grads, strict=True))
        known = [grad for grad in grads if grad is not None]
        if not known:
            return torch.zeros(tokens.shape[:2], dtype=torch.float64)
        if self.real:
            grad_BLE = known[0].reshape(*tokens.shape[:2], -1)
        elif self.equal:
            grad_BLE = torch.stack(known).sum(0)
        else:
            grad_BLE = torch.cat(
                [torch.zeros_like(part) if grad is None else grad for part, grad in pairs], -1
            )
        if grad_BLE.dtype != torch.float64:
            grad_BLE = grad_BLE.float()
        if self.root is not None:
            grad_BLE = grad_BLE @ self.root.to(grad_BLE)
        energy_BL: Tensor = grad_BLE.double().square().sum(-1).cpu()
        return energy_BL

    def _check(self, parts: Sequence[Tensor], tokens: Tensor) -> None:
        if not parts:
            message = "No embedding module was asked for the tokens as they were given."
            raise UsageError("E-EMBEDDING", message, "embedding='its.name', or real-valued inputs.")
        odd = [part for part in parts if part.ndim != 3 or part.shape[:2] != tokens.shape]
        if odd:
            shape = tuple(odd[0].shape)
            message = f"The embedding gives {shape} for tokens of {tuple(tokens.shape)}."
            raise UsageError("E-EMBEDDING", message, "a module that answers (B, L, E).")

    def _inputs(self, seqs: Sequences, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The data's inputs (n, E) with how often each occurs (n,), piece by piece."""
        num, length = seqs.tokens.shape[:2]
        real_NL = torch.arange(length)[None, :] < seqs.lengths[:, None]
        if self.real:
            inputs = seqs.tokens[real_NL]
            yield inputs.detach().reshape(len(inputs), -1), torch.ones(len(inputs))
        elif all(isinstance(module, nn.Embedding) for module in self.modules):
            chosen = self.modules[:1] if self.equal else self.modules
            ids, counts = torch.unique(seqs.tokens[real_NL], return_counts=True)
            for start in range(0, len(ids), IDS_AT_ONCE):
                some = slice(start, start + IDS_AT_ONCE)
                parts = [_rows(module, ids[some]) for module in chosen]
                yield torch.cat(parts, -1), counts[some]
        else:
            self.passes = 1.0
            for start in range(0, num, batch):
                some = slice(start, start + batch)
                tokens, lengths, real = seqs.tokens[some], seqs.lengths[some], real_NL[some]
                with torch.no_grad(), quiet(self.predict), self.open(tokens) as (given, parts_of):
                    self.predict(given, lengths)
                    made = list(parts_of())
                made = made[:1] if self.equal else made
                yield torch.cat(made, -1).detach()[real], torch.ones(int(real.sum()))


def _rows(module: nn.Module, ids: Tensor) -> Tensor:
    """What the embedding makes of some ids: (n, E)."""
    table = next(module.parameters(), ids)
    with torch.no_grad():
        rows: Tensor = module(ids[None].to(table.device))[0]
    return rows


def _root(pieces: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
    """A root R of the covariance, R R^T, float64: (E, E)."""
    count, origin = 0.0, None
    total = products = torch.zeros((), dtype=torch.float64)
    for inputs, counts in pieces:
        origin = inputs[0].double().cpu() if origin is None else origin
        # Products are taken from one of the inputs on: a mean far from 0 must not eat the digits.
        x_nE = inputs.double().cpu() - origin
        weight_n1 = counts.double().cpu()[:, None]
        count += float(counts.sum())
        total = total + (weight_n1 * x_nE).sum(0)
        products = products + x_nE.T @ (weight_n1 * x_nE)
    mean_E = total / count
    covariance_EE = products / count - torch.outer(mean_E, mean_E)
    value_E, vector_EE = torch.linalg.eigh(covariance_EE)
    rounding = np.finfo(float).eps * len(value_E) * float(value_E.abs().amax())
    value_E = torch.where(value_E > rounding, value_E, 0)
    root_EE: Tensor = vector_EE * value_E.sqrt()
    return root_EE
