"""The training loop: one for every family, so that nothing but the family differs.

Idea     AdamW, linear warm-up and cosine decay over the share of the budget used, clipping after
         backward, the best weights on the validation part kept
Stops    a loss or gradient that is not finite ends the run before it touches the weights
Source   Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101 (AdamW);
         Pascanu et al. 2013, https://arxiv.org/abs/1211.5063 (clipping by norm)
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.core.protocols import Source
from howfar.core.seeds import Seeds
from howfar.train.budget import Budget
from howfar.train.evaluate import evaluate, scored_logits
from howfar.train.memory import kept_memory

Progress = Callable[[float, float], None]  # share of the budget used, last loss in nats


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """Everything but the family, the data and the weights' start.

    warmup, final: shares of the budget and of the peak rate. evaluations: validation passes,
    spread evenly; the best one's weights are kept.
    """

    budget: Budget
    learning_rate: float
    seed: int = 0
    warmup: float = 0.1
    final: float = 0.1
    clip: float = 1.0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.98)
    evaluations: int = 6
    device: str = "cpu"

    def __post_init__(self) -> None:
        fine = math.isfinite(self.learning_rate) and self.learning_rate > 0
        if not fine or self.evaluations < 1:
            message = f"learning_rate={self.learning_rate}, evaluations={self.evaluations}"
            raise UsageError("E-OPTION", f"Out of range: {message}.", "positive, finite numbers.")


@dataclass(slots=True)
class Trained:
    """How a run went. `weights`: the best on validation. `reason` says why a run failed."""

    status: str = "done"
    reason: str | None = None
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_nats: float = math.inf
    curve: list[tuple[int, float]] = field(default_factory=list)  # tokens seen, validation nats
    weights: dict[str, Tensor] = field(default_factory=dict)


def fit(
    model: nn.Module, source: Source, options: TrainOptions, progress: Progress | None = None
) -> Trained:
    """Train `model` in place until the budget is spent and return how it went.

    The model ends with its best weights on the validation part. Dropout draws from a stream of its
    own; the caller's random state is left as it was.
    """
    with torch.random.fork_rng(), kept_memory():
        torch.default_generator.manual_seed(Seeds(options.seed).integer("dropout"))
        return _Run(model.to(options.device), source, options).go(progress)


class _Run:
    def __init__(self, model: nn.Module, source: Source, options: TrainOptions) -> None:
        self.model, self.source, self.options = model, source, options
        matrices = [p for p in model.parameters() if p.ndim > 1]
        vectors = [p for p in model.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": options.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(
            groups, lr=options.learning_rate, betas=options.betas, fused=True
        )
        self.done = Trained()

    def go(self, progress: Progress | None) -> Trained:
        done, budget = self.done, self.options.budget
        checks = 0
        self.model.train()
        started = time.perf_counter()
        while (share := budget.used(done.tokens, done.steps, done.seconds)) < 1:
            nats = self._step(share)
            done.seconds += time.perf_counter() - started
            if done.status != "done":
                break
            share = budget.used(done.tokens, done.steps, done.seconds)
            if share >= (checks + 1) / self.options.evaluations:
                checks = int(share * self.options.evaluations)
                self._validate()
            if progress is not None:
                progress(min(share, 1.0), nats)
            started = time.perf_counter()
        if done.weights:
            self.model.load_state_dict(done.weights)
        return done

    def _step(self, share: float) -> float:
        """One optimiser step; returns the loss in nats a target."""
        batch = self.source.batch(self.done.steps).to(self.options.device)
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.learning_rate * _shape(share, self.options)
        logits, target = scored_logits(self.model, batch)
        loss = F.cross_entropy(logits, target)
        nats = float(loss.detach())
        if not math.isfinite(nats):
            return self._diverged(nats, "loss")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip))
        if not math.isfinite(norm):
            return self._diverged(norm, "gradient norm")
        self.optimiser.step()
        self.done.steps += 1
        self.done.tokens += batch.num_tokens
        return nats

    def _diverged(self, value: float, what: str) -> float:
        self.done.status = "failed"
        rate = self.options.learning_rate
        self.done.reason = f"{what} {value} at step {self.done.steps}, learning rate {rate:g}"
        return value

    def _validate(self) -> None:
        batches = (b.to(self.options.device) for b in self.source.evaluation("validation"))
        nats = evaluate(self.model, batches).mean_nats
        self.done.curve.append((self.done.tokens, nats))
        if nats < self.done.best_nats:
            self.done.best_nats = nats
            self.done.weights = copy.deepcopy(self.model.state_dict())


def _shape(share: float, options: TrainOptions) -> float:
    """Learning rate as a share of its peak: linear warm-up, then cosine down to `final`."""
    if share < options.warmup:
        return max(share / options.warmup, 0.05)
    progress = (share - options.warmup) / (1 - options.warmup)
    return options.final + (1 - options.final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
