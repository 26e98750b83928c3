"""Which part of a model's output is its answer: of tuples, dicts and named outputs.

Idea     logits before hidden states by name; without names the first tensor that has a row a
         sequence. The choice is made once for a model, by asking it with two numbers of rows, so
         that a state of as many layers as there are rows is never taken for an answer
Shapes   an answer is (B, L, V), (B, L, D), (B, L) or (B, C)
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

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
    if isinstance(output, Tensor):
        return [(None, output)]
    if hasattr(output, "keys") and hasattr(output, "__getitem__"):
        items = {str(key): output[key] for key in output.keys()}  # noqa: SIM118 - not only dicts
    elif hasattr(output, "_asdict"):  # a named tuple
        items = dict(output._asdict())
    elif isinstance(output, (tuple, list)):
        return [(i, part) for i, part in enumerate(output) if isinstance(part, Tensor)]
    else:
        found = {name: getattr(output, name, None) for name in NAMES}
        items = {name: part for name, part in found.items() if part is not None}
    known = [name for name in NAMES if name in items]
    order = [*known, *(name for name in items if name not in known)]
    return [(name, items[name]) for name in order if isinstance(items[name], Tensor)]


def take(output: Any, key: Key) -> Any:  # noqa: ANN401 - a stranger's output
    """The part that `key` names; the output itself where it has no such part."""
    return next((part for name, part in parts(output) if name == key), output)


def choose(outputs: Sequence[object], fits: Sequence[Callable[[Tensor], bool]]) -> Key:
    """The key of the first part that fits in every one of the outputs.

    Args:
        outputs: what the model answered to questions of different sizes.
        fits: whether a part may answer the question at the same place.

    Raises:
        UsageError: E-SHAPE where there is none, saying what there is.
    """
    tables = [dict(parts(output)) for output in outputs]
    for key in tables[0]:
        answers = [table.get(key) for table in tables]
        pairs = zip(answers, fits, strict=True)
        if all(part is not None and part.is_floating_point() and fit(part) for part, fit in pairs):
            return key
    found = ", ".join(
        f"{'' if key is None else f'{key}: '}{tuple(part.shape)}" for key, part in parts(outputs[0])
    )
    message = (
        "A model must return (B, L, V), (B, L) or (B, C) of floating point, alone or in a tuple, "
        f"dict or named output; got {shown(type(outputs[0]).__name__)} {found or 'without tensors'}"
    )
    raise UsageError("E-SHAPE", f"{message}.", "wrap the model in a function that returns logits.")
