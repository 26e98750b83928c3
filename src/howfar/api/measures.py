"""One function a measure: any model and tokens in, a curve, one number and its doubt out.

Idea     adapt the model, fill in what it says of itself (its length, whether it answers logits or
         reals), call the measure. Named arguments are the measure's own or fields of its options
"""

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from howfar.adapt import adapt, as_it_asks, at_last
from howfar.api.options import options as built
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import Predict

if TYPE_CHECKING:
    from howfar.measure.attention import AttentionReach
    from howfar.measure.audit import Audit
    from howfar.measure.context import ContextReach
    from howfar.measure.fragments import Fragments, FragmentSwap
    from howfar.measure.gradient import GradientReach
    from howfar.measure.influence import Influence
    from howfar.measure.interaction import InteractionReach
    from howfar.measure.retention import Retention
    from howfar.measure.structure import Structure
    from howfar.measure.swap import SwapReach

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


def reach(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    labels: Tensor | None = None,
    targets: Tensor | str = "last",
    **options: Any,  # noqa: ANN401 - the fields of SwapOptions, and more
) -> "SwapReach":
    """Swap reach of any model: how many of the last tokens carry the effect of the input.

    Args:
        model: any callable, `model(tokens)` or `model(tokens, lengths)`; an nn.Module of any
            layout; a Hugging Face model; "hf:FOLDER"; or several models trained alike.
        tokens: integer (N, L), or real (N, L) or (N, L, D); rows are each other's donors.
        lengths: (N,) real tokens a row, padding on the right; None: all.
        labels: (N, L) classes, for the benefit curve and `useful`; None: without.
        targets: "last", "middle", or (N,) positions.
        **options: eps=0.05, side="past", design="paired" or "fast", how="swap",
            divergence="auto", donors=1, ci=0.95, seed=0 and the other fields of
            `howfar.measure.SwapOptions`; `source` and `source_lengths` of an encoder-decoder;
            `only`, the tokens that may change; `batch_first` where a module's layout is unclear.

    Returns:
        `.value` in kept tokens (None: no influence, or `.censored`), `.low`, `.high`, `.r50`,
        `.ladder`, `.detectable`, `.structural`, `.useful`, `.curve`, `.noise_floor`, `.warnings`.

    Raises:
        UsageError: shapes or options that do not fit. DataError: a model that raises or answers
        NaN.
    """
    options |= {"labels": labels, "targets": targets}
    found: SwapReach = measure("swap", model, tokens, lengths=lengths, **options)
    return found


def interaction(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401
) -> "InteractionReach":
    """Interaction reach: how far apart two tokens may stand and still be treated jointly.

    Args:
        model: as for `reach`.
        tokens: as for `reach`.
        lengths: as for `reach`.
        **options: eps=0.05, span=1, lags=None, pairs=1, ci=0.95, seed=0, ...
    """
    found: InteractionReach = measure("interaction", model, tokens, lengths=lengths, **options)
    return found


def gradient(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401
) -> "GradientReach":
    """Gradient reach: how many of the last tokens hold the output's local sensitivity.

    Args:
        model: as for `reach`; for token ids a module that embeds them.
        tokens: as for `reach`.
        lengths: as for `reach`.
        **options: eps=0.05, output="auto", probes, targets="last", side, ci=0.95, seed=0, ...

    Returns:
        `.value` in kept tokens, `.half_life`, `.fit`, `.curve` and the rest.
    """
    found: GradientReach = measure("gradient", model, tokens, lengths=lengths, **options)
    return found


def influence(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401
) -> "Influence":
    """Single-token influence: how far a change of one token is felt in later outputs.

    Args:
        model: as for `reach`, with an answer a position.
        tokens: as for `reach`.
        lengths: as for `reach`.
        **options: sources=1, labels=None, eps=0.05, ci=0.95, seed=0, ...
    """
    found: Influence = measure("influence", model, tokens, lengths=lengths, **options)
    return found


def context(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401
) -> "ContextReach":
    """Context length: how the loss grows when the model is given the last c tokens alone.

    Args:
        model: as for `reach`, with logits; rows of any length.
        tokens: integer (N, L); the next token is the label unless `labels` are given.
        lengths: as for `reach`.
        **options: labels=None, groups=None, tolerance_nats=0.01, targets, longest, prefix, ...
    """
    found: ContextReach = measure("context", model, tokens, lengths=lengths, **options)
    return found


def retention(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401
) -> "Retention":
    """Retention: what each layer and each time step still holds of the tokens before it.

    Args:
        model: as for `reach`; an nn.Module, or anything where `layers` is a function.
        tokens: as for `reach`.
        lengths: as for `reach`.
        **options: layers=None, targets="auto", lags=None, recent=0, classes=256, ...
    """
    found: Retention = measure("retention", model, tokens, lengths=lengths, **options)
    return found


def attention(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401
) -> "AttentionReach":
    """Attention by distance: where the weights of every layer and head lie.

    Args:
        model: as for `reach`; fused attention is recomputed, nothing in the model is changed.
        tokens: as for `reach`.
        lengths: as for `reach`.
        **options: weights=None, eps=0.05, ci=0.95, seed=0, ...
    """
    found: AttentionReach = measure("attention", model, tokens, lengths=lengths, **options)
    return found


def structure(model: AnyModel, tokens: Tensor, **options: Any) -> "Structure":  # noqa: ANN401
    """Structure: what could matter, by arithmetic on the layers and by swapping in float64.

    Args:
        model: as for `reach`.
        tokens: full rows, as for `reach`.
        **options: layers=None, tolerance=0.0, effective=True, seed=0, ...
    """
    found: Structure = measure("structure", model, tokens, **options)
    return found


def audit(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    **options: Any,  # noqa: ANN401
) -> "Audit":
    """Look for faults: leaks from the future, padding that matters, a state between calls, ...

    Args:
        model: as for `reach`.
        tokens: as for `reach`, of the data the model is used on.
        lengths: as for `reach`.
        **options: causal=None, step=None, checks=("future_leak", "padding", ...), seed=0, ...

    Returns:
        `.ok`, `.findings` (kind, message, example), `.checked`, `.skipped`, `.warnings`.
    """
    found: Audit = measure("audit", model, tokens, lengths=lengths, **options)
    return found


def fragments(
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    text: int | None = None,
    **options: Any,  # noqa: ANN401
) -> "Fragments | FragmentSwap":
    """Which n-grams drive a class: exact sums for a TextCNN, swapped windows for any model.

    Args:
        model: as for `reach`.
        tokens: integer (N, L).
        lengths: as for `reach`.
        text: None: take a TextCNN apart over all texts. A row's number: rank the windows of that
            text by how much swapping them moves the answer of any model.
        **options: names of the ids, and the fields of `FragmentsOptions` (`SwapFragmentsOptions`).
    """
    if text is not None:
        return measure("fragment_swap", model, tokens, lengths=lengths, text=text, **options)  # type: ignore[no-any-return]
    return measure("fragments", model, tokens, lengths=lengths, **options)  # type: ignore[no-any-return]


def measure(
    kind: str,
    model: AnyModel,
    tokens: Tensor,
    *,
    lengths: Tensor | None = None,
    batch_first: bool | None = None,
    **given: Any,  # noqa: ANN401
) -> Any:  # noqa: ANN401 - what the measure returns
    """Any measure by its name in `KINDS`; the functions above say what each takes.

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
