"""Which part of a model's output is its answer: of tuples, dicts and named outputs.

Idea     logits before hidden states by name; without names the first tensor that has a row a
         sequence. The choice is made once for a model, by asking it with two numbers of rows, so
         that a state of as many layers as there are rows is never taken for an answer
Shapes   an answer is (B, L, V), (B, L, D), (B, L) or (B, C)
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError, shown

Key: TypeAlias = str | int | None

# In this order: a named output often holds hidden states beside its logits.
NAMES = (
    *("logits", "prediction_scores", "prediction_logits", "predictions"),
    *("sentence_embedding", "last_hidden_state", "hidden_states", "output", "outputs"),
)
REALS = ("sentence_embedding", "last_hidden_state", "hidden_states")  # no logits, whatever follows


def parts(output: object) -> list[tuple[Key, Tensor]]:
    """The tensors an output offers, each with the key that `take` finds it by; best first."""
    whole = _tensor(output)
    if whole is not None:
        return [(None, whole)]
    if hasattr(output, "keys") and hasattr(output, "__getitem__"):
        items = {str(key): output[key] for key in output.keys()}  # noqa: SIM118 - not only dicts
    elif hasattr(output, "_asdict"):  # a named tuple
        items = dict(output._asdict())
    elif isinstance(output, (tuple, list)):
        pairs = [(i, _tensor(part)) for i, part in enumerate(output)]
        return [(i, part) for i, part in pairs if part is not None]
    else:
        found = {name: getattr(output, name, None) for name in NAMES}
        items = {name: part for name, part in found.items() if part is not None}
    known = [name for name in NAMES if name in items]
    order = [*known, *(name for name in items if name not in known)]
    named = [(name, _tensor(items[name])) for name in order]
    return [(name, part) for name, part in named if part is not None]


def take(output: Any, key: Key) -> Any:  # noqa: ANN401 - a stranger's output
    """The part that `key` names; the output itself where it has no such part."""
    return next((part for name, part in parts(output) if name == key), output)


def choose(outputs: Sequence[object], fits: Sequence[Callable[[Tensor], bool]]) -> Key:
    """The key of the first part that fits in every one of the outputs.

    Args:
        outputs: what the model answered to questions of different sizes.
        fits: whether a part may answer the question at the same place.

    Raises:
        UsageError: E-SHAPE where there is none, saying what there is; E-MODEL where several parts
            fit and none has a name that says which is the answer.
    """
    tables = [dict(parts(output)) for output in outputs]
    fitting: list[Key] = []
    for key in tables[0]:
        answers = [table.get(key) for table in tables]
        pairs = zip(answers, fits, strict=True)
        if all(part is not None and part.is_floating_point() and fit(part) for part, fit in pairs):
            fitting.append(key)
    if len(fitting) > 1 and isinstance(fitting[0], str) and fitting[0] not in NAMES:
        names = ", ".join(shown(key) for key in fitting)
        message = f"The model returns {names}, and none of these names says which is the answer."
        raise UsageError("E-MODEL", message, "return logits, or name it 'logits'")
    if fitting:
        return fitting[0]
    found = ", ".join(
        f"{'' if key is None else f'{key}: '}{tuple(part.shape)} of {part.dtype}"
        for key, part in tables[0].items()
    )
    kind = shown(type(outputs[0]).__name__)
    single = isinstance(outputs[0], (int, float))
    message = (
        "A model must return a torch tensor (B, L, V), (B, L) or (B, C) of floating point, alone "
        "or in a tuple, dict or named output; got "
        f"{kind} {'()' if single else found or 'without tensors'}"
    )
    raise UsageError("E-SHAPE", f"{message}.", "wrap the model in a function that returns logits.")


def _tensor(part: object) -> Tensor | None:
    """A tensor, also of a numpy array or of nested lists of numbers; None for all else."""
    if isinstance(part, Tensor):
        return part
    listed = isinstance(part, list) and _numbers(part)
    if not isinstance(part, np.ndarray) and not listed:
        return None
    try:
        return torch.as_tensor(part)
    except (TypeError, ValueError, RuntimeError):  # objects, words, ragged lists
        return None


def _numbers(part: list[Any]) -> bool:
    """Whether the innermost of first items is a number."""
    first: Any = part
    while isinstance(first, list) and first:
        first = first[0]
    return isinstance(first, (int, float))
