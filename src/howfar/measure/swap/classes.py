"""Masks of token classes: which kind of far token carries the effect.

Idea     rare, middle, frequent    by how often a token occurs: bands of occurrences, not of types,
                                   so that a band of 1/8 holds about an eighth of the text; equally
                                   frequent tokens share a band
         punctuation, digits       every character is punctuation or a symbol, or a digit
         a pattern                 the whole token matches a regular expression
Shapes   tokens (N, L) integers; masks (N, L) bool, false on padding
Units    the marks that tokenisers put for a space before or after a word do not count as text
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from howfar.core.errors import UsageError, closest, shown

BANDS = ("rare", "middle", "frequent")
MARKS = "\u0120\u2581\u010a"  # byte-level and sentence-piece marks of a space or a new line
Vocabulary = Sequence[str] | Mapping[int, str]


def token_class(
    name: str,
    tokens: Tensor,
    vocabulary: Vocabulary | None = None,
    *,
    lengths: Tensor | None = None,
) -> Tensor:
    """The mask of a class by name, for `swap_reach(..., only=...)`: (N, L) bool.

    Args:
        name: "rare", "middle", "frequent", "punctuation", "digits", or "re:" and a pattern.
        tokens: integer (N, L).
        vocabulary: the string of every id; needed for all but the bands.
        lengths: (N,) real tokens a row.

    Raises:
        UsageError: an unknown name, a pattern that does not compile, an id without a string.
    """
    if name in BANDS:
        return frequency_bands(tokens, lengths=lengths)[name]
    if vocabulary is None:
        message = f"The class {shown(name)} is one of strings, and no vocabulary was given."
        raise UsageError("E-OPTION", message, "vocabulary=[...], the string of every id.")
    if name.startswith("re:"):
        return matching(name[3:], tokens, vocabulary, lengths=lengths)
    if name not in KINDS:
        near = closest(name, (*BANDS, *KINDS))
        message = f"There is no token class {shown(name)}. {near}".strip()
        raise UsageError("E-OPTION", message, f"{', '.join((*BANDS, *KINDS))}, re:PATTERN.")
    return _where(KINDS[name], tokens, vocabulary, lengths)


def frequency_bands(
    tokens: Tensor,
    *,
    edges: Sequence[float] = (1 / 8, 7 / 8),
    names: Sequence[str] | None = None,
    counts: Tensor | None = None,
    lengths: Tensor | None = None,
) -> dict[str, Tensor]:
    """Masks by how often tokens occur, from the rarest band to the most frequent.

    Args:
        tokens: integer (N, L).
        edges: ascending shares of all occurrences, where the next band begins.
        names: one more than edges; None: rare, middle, frequent for two edges, else "1 of 8" ...
        counts: (V,) how often each id occurs elsewhere, such as in training; None: in `tokens`.
        lengths: (N,) real tokens a row.

    Raises:
        UsageError: E-OPTION for edges, names or counts that do not fit, E-SHAPE for tokens.
    """
    real_NL = _real(tokens, lengths)
    num = len(edges) + 1
    if names is None:
        names = BANDS if num == len(BANDS) else [f"{i + 1} of {num}" for i in range(num)]
    if list(edges) != sorted(set(edges)) or not all(0 < e < 1 for e in edges):
        raise UsageError("E-OPTION", f"edges={tuple(edges)} do not ascend in 0 .. 1.", "1/8, 7/8")
    if len(names) != num or len(set(names)) != num:
        raise UsageError("E-OPTION", f"{num} bands need {num} different names.", "names=None")
    times_V = torch.bincount(tokens[real_NL].long()) if counts is None else counts
    if times_V.ndim != 1 or int(tokens[real_NL].max()) >= len(times_V):
        message = "counts must be (V,), a number for every id in the tokens."
        raise UsageError("E-OPTION", message, "counts=None counts the tokens themselves.")
    band_V = np.searchsorted(np.asarray(edges), _standing(times_V.numpy()), side="left")
    band_NL = torch.from_numpy(band_V)[tokens.long().where(real_NL, 0)]
    return {name: (band_NL == i) & real_NL for i, name in enumerate(names)}


def matching(
    pattern: str, tokens: Tensor, vocabulary: Vocabulary, *, lengths: Tensor | None = None
) -> Tensor:
    """Tokens whose whole string matches a regular expression: (N, L) bool.

    Raises:
        UsageError: E-OPTION for a pattern that does not compile, or an id without a string.
    """
    try:
        compiled = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        message = f"{shown(pattern)} is no regular expression: {error}."
        raise UsageError("E-OPTION", message, r"re.escape(...) for literal text.") from error
    return _where(lambda text: compiled.fullmatch(text) is not None, tokens, vocabulary, lengths)


def _is_punctuation(text: str) -> bool:
    return bool(text) and all(unicodedata.category(c)[0] in "PS" for c in text)


KINDS: dict[str, Callable[[str], bool]] = {"punctuation": _is_punctuation, "digits": str.isdigit}


def _where(
    holds: Callable[[str], bool],
    tokens: Tensor,
    vocabulary: Vocabulary,
    lengths: Tensor | None,
) -> Tensor:
    """Where the string of an id has a property; each id is asked once."""
    real_NL = _real(tokens, lengths)
    ids, place_NL = torch.unique(tokens.where(real_NL, tokens[0, 0]), return_inverse=True)
    try:
        texts = [_text(vocabulary[int(i)]) for i in ids]
    except (IndexError, KeyError) as error:
        message = "An id in the tokens has no string in the vocabulary."
        raise UsageError("E-OPTION", message, "one string an id.") from error
    held = torch.tensor([holds(text) for text in texts])
    return held[place_NL] & real_NL


def _text(token: str) -> str:
    """A token without spaces and the marks that stand for them."""
    bare = token.strip().strip(MARKS)
    return bare.removeprefix("##") if len(bare) > len("##") else bare


def _real(tokens: Tensor, lengths: Tensor | None) -> Tensor:
    if tokens.ndim != 2 or tokens.is_floating_point() or tokens.numel() == 0:
        message = f"Token classes need integer tokens (N, L), got {tuple(tokens.shape)}."
        raise UsageError("E-SHAPE", message, "a mask of one's own for other inputs.")
    real_NL = torch.ones(tokens.shape, dtype=torch.bool)
    if lengths is not None:
        real_NL = torch.arange(tokens.shape[1])[None, :] < lengths[:, None]
    if not bool(real_NL.any()) or int(tokens[real_NL].min()) < 0:
        raise UsageError("E-SHAPE", "Token ids must not be negative.", "lengths, where rows end.")
    return real_NL


def _standing(times_V: np.ndarray) -> np.ndarray:
    """Share of all occurrences up to and with each id's group, sorted by frequency.

    The most frequent group is thus always in the highest band, however large it is.
    """
    _, group_V = np.unique(times_V, return_inverse=True)
    occurrences = np.bincount(group_V, weights=times_V)
    behind = np.cumsum(occurrences)
    share = behind / max(behind[-1], 1)
    return np.asarray(share[group_V])
