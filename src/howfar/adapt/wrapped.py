"""The part all adapters share: a module that answers `predict(tokens, lengths)` for another.

Idea     an ordinary module with the model as its child, so that hooks and evaluation mode reach the
         model's own modules; what the model declares (`reach`, `chunk`, `step`) is passed
         on; tokens go to the model's device, answers come back to where the tokens were
Limits   nothing in the model is changed: settings are given with each call, not stored
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from howfar.core.errors import DataError, EnvironmentFault, HowfarError, UsageError, shown

T = TypeVar("T")
DECLARED = ("reach", "chunk", "step", "state_bytes")


class Wrapped(nn.Module):
    """A model as `Predict`.

    Attributes:
        model: the model itself, unchanged.
        reals: its answers are real numbers (hidden states, embeddings), not logits.
        trained_length: tokens it says it was made for; None: it does not say.
    """

    reals = False
    trained_length: int | None = None

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.training = model.training

    def declare(self, owner: object) -> None:
        """Pass on what the model declares of itself."""
        for name in DECLARED:
            promise = getattr(owner, name, None)
            # As an attribute of the instance, where protocols look for it.
            if callable(promise) and not hasattr(self, name):
                object.__setattr__(self, name, promise)

    def placed(self, tokens: Tensor) -> Tensor:
        """Tokens where the model is: whole numbers as int64, reals in its floating point type."""
        held: Iterator[Tensor] = chain(self.model.parameters(), self.model.buffers())
        own = next(held, None)
        device = None if own is None else own.device
        if not tokens.is_floating_point():
            return tokens.to(device=device, dtype=torch.int64)
        kind = own.dtype if own is not None and own.is_floating_point() else tokens.dtype
        return tokens.to(device=device, dtype=kind)

    def ask(self, call: Callable[[], T], tokens: Tensor) -> T:
        """Call the model; whatever it raises becomes one line."""
        return asked(call, tokens, self.model, self.trained_length)


def asked(
    call: Callable[[], T], tokens: Tensor, model: object = None, positions: int | None = None
) -> T:
    """Call a stranger's code; whatever it raises becomes one line, its own error the cause.

    Args:
        call: what is called.
        tokens: (B, L) what it is asked with.
        model: whose embeddings are named in the error.
        positions: tokens a row it says it was made for.

    Raises:
        DataError: E-SHAPE for rows longer than the model's positions, E-VOCABULARY for ids outside
            an embedding, E-MODEL for the rest.
        EnvironmentFault: E-MEMORY.
    """
    try:
        return call()
    except (HowfarError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        text = " ".join(str(error).split())
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in text:
            message = f"Memory ran out in the model at {tuple(tokens.shape)} tokens."
            raise EnvironmentFault("E-MEMORY", message, "a smaller batch, or shorter rows") from (
                error
            )
        if positions is not None and tokens.ndim > 1 and tokens.shape[1] > positions:
            said = f"{type(error).__name__}: {shown(text, 200)}"
            raise _too_long(tokens.shape[1], positions, said) from error
        if isinstance(error, IndexError) and not tokens.is_floating_point():
            outside = _outside(tokens, model, error)
            if outside is not None:
                raise outside from error
        message = f"The model raised {type(error).__name__} at {tuple(tokens.shape)} tokens"
        message = f"{message}: {shown(text, 300)}." if text else f"{message}."
        raise DataError("E-MODEL", message, "call the model on these tokens by hand") from error


def check_ids(tokens: Tensor, num: int) -> None:
    """Refuse ids that an embedding of `num` rows does not have.

    Raises:
        DataError: E-VOCABULARY.
    """
    low, high = int(tokens.min()), int(tokens.max())
    if low >= 0 and high < num:
        return
    message = (
        f"Token ids {low:,} to {high:,} do not fit an embedding of {num:,}: a tokeniser that does "
        "not fit the model."
    )
    raise DataError("E-VOCABULARY", message, "the tokeniser that the model was trained with")


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; modes, attributes and buffers are put back afterwards.

    A model that keeps a state between calls is then found as it was before it was asked.
    """
    modules = list(model.modules())
    attributes = [dict(module.__dict__) for module in modules]
    buffers = [
        {name: None if b is None else b.clone() for name, b in module._buffers.items()}
        for module in modules
    ]
    try:
        for module in modules:
            module.training = False
        yield
    finally:
        for module, kept, held in zip(modules, attributes, buffers, strict=True):
            module.__dict__.clear()
            module.__dict__.update(kept)
            module._buffers.clear()
            module._buffers.update(held)


def unwrapped(model: Any) -> Any:  # noqa: ANN401 - anything that can be called
    """The module inside torch.compile and DataParallel, whose fast paths may skip hooks."""
    for name in ("_orig_mod", "module"):
        inner = getattr(model, name, None)
        shell = type(model).__name__ in ("OptimizedModule", "DataParallel")
        shell = shell or type(model).__name__ == "DistributedDataParallel"
        if shell and isinstance(inner, nn.Module):
            return unwrapped(inner)
    return model


def as_tensor(answer: object) -> Tensor:
    """The answer, if it is a tensor.

    Raises:
        UsageError: E-SHAPE.
    """
    if isinstance(answer, Tensor):
        return answer
    message = f"A model must return a torch tensor, got {shown(type(answer).__name__)}."
    raise UsageError("E-SHAPE", message, "wrap the model in a function that returns logits.")


def _outside(tokens: Tensor, model: object, error: BaseException) -> DataError | None:
    """Which table was too small: of positions, or of the vocabulary; None: neither."""
    table, looked = _looked_up(error)
    sizes = []
    if isinstance(model, nn.Module):
        sizes = [m.num_embeddings for m in model.modules() if isinstance(m, nn.Embedding)]
    if table is not None and looked is not None and not _same(looked, tokens):
        # Places, not tokens, were looked up.
        needed = int(looked.max()) + 1
        long = needed in tokens.shape[:2] and needed > table.num_embeddings
        return _too_long(needed, table.num_embeddings) if long else None
    high = int(tokens.max())
    if table is None and sizes and int(tokens.min()) >= 0 and high < min(sizes):
        return None
    held = f"its embeddings hold {', '.join(f'{size:,}' for size in sizes)}" if sizes else ""
    message = (
        f"The model looked up an id it does not have: ids go from {int(tokens.min()):,} to "
        f"{high:,}, rows have {tokens.shape[1]:,} tokens{'; ' if held else ''}{held}."
    )
    hint = "the tokeniser that the model was trained with, or shorter rows"
    return DataError("E-VOCABULARY", message, hint)


def _looked_up(error: BaseException) -> tuple[nn.Embedding | None, Tensor | None]:
    """The embedding that raised, and what it was given."""
    trace = error.__traceback__
    table: nn.Embedding | None = None
    looked: Tensor | None = None
    while trace is not None:
        held = trace.tb_frame.f_locals
        if isinstance(held.get("self"), nn.Embedding) and isinstance(held.get("input"), Tensor):
            table, looked = held["self"], held["input"]
        trace = trace.tb_next
    return table, looked


def _same(looked: Tensor, tokens: Tensor) -> bool:
    """Whether the ids looked up are those of the tokens, in whatever order."""
    same = looked.numel() == tokens.numel()
    return same and torch.equal(looked.flatten().sort()[0], tokens.flatten().sort()[0])


def _too_long(length: int, positions: int, said: str = "") -> DataError:
    message = f"Rows of {length:,} tokens, but the model has {positions:,} positions"
    message = f"{message}; it raised {said}." if said else f"{message}."
    return DataError("E-SHAPE", message, f"--length {positions} (length={positions})")
