"""Any measure by its name: adapt the model, fill in what it says of itself, call the measure.

Idea     the measures know no model; what a model says (the length it was made for, whether it
         answers logits or reals, how many ids it has) becomes options, and what the caller gives
         goes before
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, TypeAlias

import torch
from torch import Tensor

from howfar.adapt import adapt, as_it_asks, at_last
from howfar.api.options import options as built
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import Predict

# A function, a module, a named model, or several trained alike.
AnyModel: TypeAlias = Any

# Name -> module, function, options: imported when asked for, as some need much.
KINDS: dict[str, tuple[str, str, str]] = {
    "swap": ("howfar.measure.swap", "swap_reach", "SwapOptions"),
    "gradient": ("howfar.measure.gradient", "gradient_reach", "GradientOptions"),
    "influence": ("howfar.measure.influence", "influence_reach", "InfluenceOptions"),
    "context": ("howfar.measure.context", "context_curve", "ContextOptions"),
    "retention": ("howfar.measure.retention", "retention", "RetentionOptions"),
    "interaction": ("howfar.measure.interaction", "interaction_reach", "InteractionOptions"),
    "fragments": ("howfar.measure.fragments", "fragments", "FragmentsOptions"),
    "attention": ("howfar.measure.attention", "attention_reach", "AttentionOptions"),
    "structure": ("howfar.measure.structure", "structure", "StructureOptions"),
    "audit": ("howfar.measure.audit", "audit", "AuditOptions"),
    "fragment_swap": ("howfar.measure.fragments", "fragment_swap", "SwapFragmentsOptions"),
}
MODULES = ("embedding", "head", "layers")  # arguments that name modules
MOST_LOGITS = 2**28  # in one forward pass
MANY_LOGITS = 2**22  # a row: then those that nobody reads are not made


def measure(
    kind: str,
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    batch_first: bool | None = None,
    **given: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401 - what the measure returns
    """Any measure by its name in `KINDS`; `howfar.api.measures` says what each takes.

    Raises:
        UsageError: E-OPTION for an option that the measure does not have.
    """
    function, settings = parts(kind)
    own = set(inspect.signature(function).parameters) - {"predict", "tokens", "options"}
    if lengths is not None and "lengths" not in own:
        raise UsageError("E-OPTION", f"{kind} takes full rows, and no lengths.", "full rows")
    more = {name: given.pop(name) for name in list(given) if name in own}
    for settled in (more, given):
        settled |= {name: _inside(name, value) for name, value in settled.items()}
    rows = as_tokens(tokens)
    sizes = None if lengths is None else torch.as_tensor(lengths)
    if isinstance(model, (list, tuple)):
        predict: Any = [adapt(m, rows, lengths=sizes, batch_first=batch_first) for m in model]
    else:
        predict = adapt(model, rows, lengths=sizes, batch_first=batch_first)
    known = settings.__dataclass_fields__
    first = predict[0] if isinstance(predict, list) else predict
    implied = {name: value for name, value in _implied(first, rows).items() if name in known}
    chosen = built(settings, implied | given)
    if kind == "audit":
        predict = as_it_asks(predict)
    if kind == "structure" and "layers" not in more:
        more |= _readable(predict)
    if _at_last_alone(kind, more, chosen) and _wide(first, rows) > MANY_LOGITS:
        predict = at_last(predict)
    if sizes is not None:
        more["lengths"] = sizes
    return function(predict, rows, options=chosen, **more)


def _inside(name: str, value: Any) -> Any:  # noqa: ANN401
    """Names of modules as they are in the adapted model, which has the user's as a child."""
    if name not in MODULES:
        return value
    if isinstance(value, str):
        return f"model.{value}" if value else "model"
    if isinstance(value, (list, tuple)) and all(isinstance(part, str) for part in value):
        return [f"model.{part}" if part else "model" for part in value]
    return value


def parts(kind: str) -> tuple[Callable[..., Any], Any]:
    """A measure's function and its options."""
    where, function, options = KINDS[kind]
    module = import_module(where)
    return getattr(module, function), getattr(module, options)


def as_tokens(tokens: Any) -> Tensor:  # noqa: ANN401 - tensors, arrays, lists
    """Rows of tokens as a tensor on the CPU; whole numbers become int64.

    Raises:
        UsageError: E-SHAPE for what is no rectangular array of numbers.
    """
    try:
        rows = torch.as_tensor(tokens).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"tokens must be numbers (N, L) or (N, L, D), got {shown(type(tokens).__name__)}."
        raise UsageError("E-SHAPE", message, "rows of one length, with `lengths`") from error
    if rows.ndim not in (2, 3) or 0 in rows.shape:
        message = f"tokens must be (N, L) or (N, L, D), got {tuple(rows.shape)}."
        raise UsageError("E-SHAPE", message, "tokens[None] for a single row")
    return rows if rows.is_floating_point() else rows.long()


def _readable(predict: Predict) -> dict[str, Any]:
    """The layers of a sequence of modules that can be read by arithmetic; nothing of others."""
    model = getattr(predict, "model", None)
    field: Any = import_module("howfar.measure.structure").receptive_field
    if not isinstance(model, torch.nn.Sequential):
        return {}
    try:
        field(model)
    except UsageError:
        return {}
    return {"layers": model}


def _implied(predict: Predict, rows: Tensor) -> dict[str, Any]:
    """What a model says of itself, as options; what the caller gives goes before."""
    found: dict[str, Any] = {}
    made_for = getattr(predict, "trained_length", None)
    if made_for is not None:
        found["trained_length"] = made_for
    if getattr(predict, "reals", False) and not rows.is_floating_point():
        # "auto" goes by the tokens, and would take the vectors of an encoder for logits.
        found |= {"divergence": "l2", "output": "plain"}
    wide = _wide(predict, rows)
    if wide:
        found["batch"] = max(1, min(64, MOST_LOGITS // wide))
    return found


def _wide(predict: Predict, rows: Tensor) -> int:
    """Logits a row of a model with a large vocabulary; 0: not known."""
    ids = getattr(predict, "num_ids", None)
    return 0 if ids is None or getattr(predict, "reals", False) else int(ids) * rows.shape[1]


def _at_last_alone(kind: str, more: dict[str, Any], chosen: Any) -> bool:  # noqa: ANN401
    """Whether the measure reads the answer at each row's last token and nowhere else."""
    if kind == "interaction":
        return True
    one_side = getattr(chosen, "side", "past") == "past" and more.get("source") is None
    targets = more.get("targets", "last")
    last = isinstance(targets, str) and targets == "last"
    return kind == "swap" and chosen.design == "paired" and one_side and last
