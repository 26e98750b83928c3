"""One function a measure: any model and tokens in, a curve, one number and its doubt out.

Idea     named arguments are the measure's own, or fields of its options; see `howfar.api.engine`
"""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from howfar.api.engine import AnyModel, measure

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
