"""The training loop: one for every family and every aim, so that nothing but the model differs.

Idea     AdamW, warm-up and decay over the share of the budget used, clipping after backward, the
         best weights on the validation part kept
Exact    a step is a function of the weights, the optimiser's state and its own number: batches and
         dropout draw from (seed, number), so a run that was cut goes on with the same bits
Together of several processes the first one's clock and validations decide for all
Stops    a loss or gradient that is not finite never touches the weights
Source   Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101 (AdamW);
         Pascanu et al. 2013, https://arxiv.org/abs/1211.5063 (clipping by norm)
"""

import logging
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from howfar.core.batch import Batch
from howfar.core.failpoints import reached
from howfar.core.protocols import Source, State
from howfar.core.seeds import Seeds
from howfar.record.training import Point
from howfar.train.checkpoint import Checkpoints, RunState
from howfar.train.count import forward_flops
from howfar.train.evaluate import judge
from howfar.train.memory import kept_memory
from howfar.train.objective import Objective, answers
from howfar.train.options import TrainOptions
from howfar.train.processes import World, load_optimiser, load_weights, whole
from howfar.train.schedule import rate_at

FORWARD_AND_BACKWARD = 3  # times the operations of the forward pass


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a run stands: after a step, and after a validation (`point`).

    share: of the budget used. loss: of the last step.
    """

    share: float
    loss: float
    step: int
    tokens: int
    seconds: float
    point: Point | None = None


Progress = Callable[[Moment], None]


@dataclass(slots=True)
class Trained:
    """How a run went. `weights`: the best on validation. `reason` says why a run failed.

    status: "done", "failed", or "stopped" by who asked. skipped: steps left out, as their loss or
    gradient was not finite.
    """

    status: str = "done"
    reason: str | None = None
    steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    flops: int = 0
    skipped: int = 0
    best_step: int = 0
    best_nats: float = math.inf
    points: list[Point] = field(default_factory=list)
    weights: dict[str, Tensor] = field(default_factory=dict)

    @property
    def curve(self) -> list[tuple[int, float]]:
        """Tokens seen and validation loss, at each validation."""
        return [(point.tokens, point.validation) for point in self.points]


def fit(  # noqa: PLR0913 - by keyword only, but the first
    model: nn.Module,
    source: Source,
    options: TrainOptions,
    progress: Progress | None = None,
    *,
    checkpoints: Checkpoints | None = None,
    stop: Callable[[], bool] = lambda: False,
    world: World | None = None,
) -> Trained:
    """Train `model` in place until the budget is spent and return how it went.

    The model ends with its best weights on the validation part. Dropout draws from a stream of its
    own; the caller's random state is left as it was.

    Args:
        model: what to train.
        source: its batches.
        options: how.
        progress: told after every step.
        checkpoints: where to keep the run, and to go on from; None: nowhere.
        stop: asked after every step: True ends the run there, with a checkpoint.
        world: the processes that share the work; None: this one alone.

    Raises:
        EnvironmentFault: a checkpoint cannot be written. StoreError: none can be read, or they are
        of another run.
    """
    with torch.random.fork_rng(), kept_memory():
        run = _Run(model.to(options.device), source, options, world or World())
        if checkpoints is not None:
            run.resume(checkpoints.newest())
            for note in checkpoints.notes:
                logging.getLogger("howfar").warning(note)
        return run.go(progress, checkpoints, stop)


class _Forward(nn.Module):
    """A batch's summed loss as one module, so that whatever wraps it sees a whole forward pass."""

    def __init__(self, model: nn.Module, options: TrainOptions) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.objective = Objective(options.smoothing, options.weights)

    def forward(self, batch: Batch, state: State | None) -> tuple[Tensor, State | None]:
        """The loss, and the state to go on from."""
        with self._precision():
            outputs, targets, after = answers(self.model, batch, state, carry=self.options.carry)
        return self.objective.loss(outputs.float(), targets), after

    def _precision(self) -> AbstractContextManager[Any]:
        if self.options.precision == "float32":
            return nullcontext()
        return torch.autocast(torch.device(self.options.device).type, torch.bfloat16)


class _Run:
    def __init__(
        self, model: nn.Module, source: Source, options: TrainOptions, world: World
    ) -> None:
        self.model, self.source, self.options, self.world = model, source, options, world
        if options.recompute:
            model.recompute = True  # type: ignore[assignment]
        self.inner = _Forward(model, options)
        whole_pass = not options.carry and not options.recompute
        blocks = list(getattr(getattr(model, "body", None), "blocks", [])) if whole_pass else []
        self.forward = world.wrapped(self.inner, blocks)
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
        self.carried: dict[int, State] = {}
        self.since = [0.0, 0.0]  # summed loss and weight since the last point
        self.worse = 0  # validations since the best

    def go(
        self, progress: Progress | None, checkpoints: Checkpoints | None, stop: Callable[[], bool]
    ) -> Trained:
        done, options = self.done, self.options
        self.model.train()
        started = time.perf_counter()
        while self._goes_on():
            reached("step")
            passes = self._passes()
            loss = self._step(self._share())
            done.seconds += self.world.agreed(time.perf_counter() - started)
            if done.status == "failed":
                break
            point = self._validated() if self._passes() > passes else None
            if self.world.total(stop()):  # whoever was asked, all stop
                done.status = "stopped"
            due = options.checkpoint_every and done.steps % options.checkpoint_every == 0
            if checkpoints is not None and (due or done.status == "stopped"):
                self._save(checkpoints)
            if progress is not None:
                progress(
                    Moment(
                        min(self._share(), 1.0), loss, done.steps, done.tokens, done.seconds, point
                    )
                )
            started = time.perf_counter()
        if done.status == "done":
            if checkpoints is not None:
                self._save(checkpoints)
            if done.weights:
                load_weights(self.model, done.weights)
        return done

    def resume(self, state: RunState | None) -> None:
        """Go on where a checkpoint ended."""
        if state is None:
            return
        load_weights(self.model, state.weights)
        load_optimiser(self.optimiser, state.optimiser)
        counters = dict(state.counters)
        counters.pop("checks", None)  # earlier versions counted the passes
        self.since, self.worse = (counters.pop(name) for name in ("since", "worse"))
        points = [Point(**point) for point in counters.pop("points")]
        best = counters.pop("best_nats")
        self.done = Trained(
            **counters,
            points=points,
            best_nats=math.inf if best is None else best,
            weights=state.best,
        )
        mine = set(self.world.slots(self.options.slots))
        self.carried = {slot: held for slot, held in state.carried.items() if slot in mine}

    def _goes_on(self) -> bool:
        tired = self.options.patience is not None and self.worse >= self.options.patience
        return self.done.status == "done" and self._share() < 1 and not tired

    def _share(self) -> float:
        done = self.done
        return self.options.budget.used(done.tokens, done.steps, done.seconds, done.flops)

    def _passes(self) -> int:
        """Validations that are due by now, in exact fractions: of n the k-th at k / n."""
        budget, asked = self.options.budget, self.options.evaluations
        if self._share() >= 1:
            return asked
        return int(Fraction(getattr(self.done, budget.unit)) * asked / Fraction(budget.amount))

    def _step(self, share: float) -> float:
        """One optimiser step; returns the loss a target."""
        options, done, world = self.options, self.done, self.world
        rate = options.learning_rate * rate_at(
            share, schedule=options.schedule, warmup=options.warmup, final=options.final
        )
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        first = done.steps * options.slots
        batches = {slot: self.source.batch(first + slot) for slot in world.slots(options.slots)}
        weight = world.total(sum(self.inner.objective.weight(b) for b in batches.values()))
        self.optimiser.zero_grad(set_to_none=True)
        summed = 0.0
        for slot, batch in batches.items():
            with world.meeting(self.forward, last=slot == max(batches)):
                summed += self._backward(slot, first + slot, batch.to(options.device), weight)
        loss = world.total(summed) / max(weight, 1e-12)
        norm = self._clipped() if math.isfinite(loss) else math.nan
        done.steps += 1
        done.tokens += round(world.total(sum(b.num_tokens for b in batches.values())))
        flops = sum(forward_flops(self.model, batch) for batch in batches.values())
        done.flops += round(world.total(FORWARD_AND_BACKWARD * flops))
        if math.isfinite(norm):
            self.optimiser.step()
            self.since[0] += loss * weight
            self.since[1] += weight
        else:
            self._not_finite(loss, norm)
        return loss

    def _backward(self, slot: int, number: int, batch: Batch, weight: float) -> float:
        """Add one batch's share of the gradient; returns its summed loss."""
        _draw_from(Seeds(self.options.seed).integer(f"dropout {number}"))
        held = self.carried.get(slot) if batch.goes_on else None
        loss, after = self.forward(batch, held)
        if after is not None:
            self.carried[slot] = _cut(after)
        (loss * (self.world.scale() / max(weight, 1e-12))).backward()
        return float(loss.detach())

    def _clipped(self) -> float:
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)
        return float(whole(norm))

    def _not_finite(self, loss: float, norm: float) -> None:
        """The step is left out; the run fails where no more may be."""
        done = self.done
        done.skipped += 1
        self.carried.clear()  # a state may hold what was not finite
        if done.skipped <= self.options.skip_nonfinite:
            return
        done.steps -= 1
        self._failed(f"gradient norm {norm}" if math.isfinite(loss) else f"loss {loss}")

    def _failed(self, what: str) -> None:
        self.done.status = "failed"
        rate = self.options.learning_rate
        self.done.reason = f"{what} at step {self.done.steps}, learning rate {rate:g}"

    def _validated(self) -> Point | None:
        """One validation; None where its loss is not finite, which ends the run."""
        options, done = self.options, self.done
        reached("evaluate")
        batches = (b.to(options.device) for b in self.source.evaluation("validation"))
        with self.world.gathering(self.forward):
            found = judge(self.inner.model, batches, carry=options.carry)
        validation, score = self.world.agreed(found.loss), self.world.agreed(found.score)
        if not math.isfinite(validation):
            self._failed(f"validation loss {validation}")
            return None
        point = Point(
            step=done.steps,
            tokens=done.tokens,
            seconds=done.seconds,
            learning_rate=float(self.optimiser.param_groups[0]["lr"]),
            loss=self.since[0] / max(self.since[1], 1e-12),
            validation=validation,
            score=score,
        )
        self.since = [0.0, 0.0]
        if self._better(point):
            done.best_nats, done.best_step, self.worse = validation, done.steps, 0
            done.weights = whole(self.model.state_dict())
        else:
            self.worse += 1
        done.points.append(point)
        return point

    def _better(self, point: Point) -> bool:
        best = next((p for p in self.done.points if p.step == self.done.best_step), None)
        if best is None or point.score is None or best.score is None:
            return best is None
        if self.options.select == "score" and point.score != best.score:
            return point.score > best.score
        return point.validation < best.validation

    def _save(self, checkpoints: Checkpoints) -> None:
        done, world = self.done, self.world
        plain = set(Trained.__dataclass_fields__) - {"weights", "points", "best_nats", "status"}
        counters = {name: getattr(done, name) for name in sorted(plain)}
        counters |= {
            "best_nats": done.best_nats if math.isfinite(done.best_nats) else None,
            "points": [asdict(point) for point in done.points],
            "since": self.since,
            "worse": self.worse,
        }
        state = RunState(
            step=done.steps,
            weights=whole(self.model.state_dict()),
            best=done.weights,
            optimiser=whole(self.optimiser.state_dict()),
            carried=world.gathered(self.carried),
            counters=counters,
        )
        if world.first:
            checkpoints.save(state)
        world.wait()


def _draw_from(seed: int) -> None:
    """Let dropout draw from here, on every device."""
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)


def _cut(state: State) -> State:
    """The same state without what led to it: gradients end here."""
    return state.detach() if isinstance(state, Tensor) else tuple(_cut(part) for part in state)
