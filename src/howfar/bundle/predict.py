"""What a model says of texts: classes, labels, numbers, tags or answers, with probabilities.

Idea     rows of like length go together, the longest first, up to a budget of padded tokens; the
         answers come back in the order of the texts
Texts    become ids as in training, and are cut as there. A text of white space or of unknown tokens
         alone is `empty`: its answer is finite, and says nothing of the text
Numbers  a text alone and among others gets the same answer within 1e-5 (in float32)
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from howfar.bundle.beam import Beams, search
from howfar.bundle.bundle import MASKED_HINT, Bundle
from howfar.core.errors import UsageError, shown
from howfar.data.tokenise import PADDING, UNKNOWN
from howfar.train.memory import kept_memory

Reals: TypeAlias = npt.NDArray[np.float64]
Label: TypeAlias = str | tuple[str, ...] | float | list[str]
Progress: TypeAlias = Callable[[int, int], None]
Precision: TypeAlias = Literal["float32", "bfloat16"]

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
BATCH_TOKENS = 2_048  # as many as stay in the cache of a processor; a GPU likes more
LONGER = 2  # an answer may be this many times as long as any in training
_AT_ONCE = 4096  # texts that become ids together
_CHANCE = ("classification", "multilabel")  # aims with a probability for every name


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """The answer to one text.

    label: by aim, the class, the labels, the number, the tag of every token read, the answer.
    probabilities: of every class or label, where there are any. tokens: of the text, uncut.
    cut: not all of it was read. empty: no known token was in it.
    """

    label: Label
    probabilities: dict[str, float] | None
    tokens: int
    cut: bool
    empty: bool


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """Texts as ids, in order. ids: cut; tokens: before the cut; empty: no known token."""

    ids: list[npt.NDArray[np.int32]]
    tokens: list[int]
    empty: list[bool]


def predict(
    bundle: Bundle,
    texts: Sequence[str],
    *,
    batch_tokens: int = BATCH_TOKENS,
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> list[Prediction]:
    """Ask a model about texts.

    Args:
        bundle: the model.
        texts: any number, of any length.
        batch_tokens: padded tokens read at once; a longer text is read alone.
        precision: "float32", or "bfloat16", which is quicker where the machine has it, and moves
            answers by about the third digit.
        progress: called with texts done and all.

    Returns:
        One answer a text, in the same order.

    Raises:
        UsageError: E-AIM for a model that has no answer to a text, E-OPTION.
        DataError: E-ENCODING for half of a surrogate pair.
    """
    rows = encode(bundle, texts)
    answers = answer(
        bundle, rows, batch_tokens=batch_tokens, precision=precision, progress=progress
    )
    names = bundle.settings.names
    found = []
    for place, (label, chance) in enumerate(_labels(bundle, answers)):
        known = None if chance is None else dict(zip(names, chance.tolist(), strict=True))
        found.append(
            Prediction(
                label=label,
                probabilities=known,
                tokens=rows.tokens[place],
                cut=rows.tokens[place] > len(rows.ids[place]),
                empty=rows.empty[place],
            )
        )
    return found


def probabilities(
    bundle: Bundle,
    texts: Sequence[str],
    *,
    batch_tokens: int = BATCH_TOKENS,
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> Reals:
    """(texts, names) probability of every class (rows sum to 1) or label (each for itself).

    Raises:
        UsageError: E-AIM for a model without them, E-OPTION.
    """
    aim = bundle.settings.aim
    if aim not in _CHANCE:
        message = f"A model for {aim} gives no probability for every name."
        raise UsageError("E-AIM", message, f"a model for {' or '.join(_CHANCE)}")
    rows = encode(bundle, texts)
    answers = answer(
        bundle, rows, batch_tokens=batch_tokens, precision=precision, progress=progress
    )
    return _chances(aim, answers, len(bundle.settings.names))


def encode(bundle: Bundle, texts: Sequence[str]) -> Encoded:
    """Ids as in training, cut to the model's length.

    Raises:
        UsageError: E-OPTION for one text in place of many, or what is no text.
        DataError: E-ENCODING.
    """
    if isinstance(texts, str):
        raise UsageError("E-OPTION", "texts is one text, not a list of texts.", "[text]")
    given: Sequence[object] = texts
    for text in given:
        if not isinstance(text, str):
            message = f"texts holds {shown(text, 40)}, a {type(text).__name__} and no text."
            raise UsageError("E-OPTION", message, "a list of str")
    length, tokeniser = bundle.settings.length, bundle.tokeniser
    from_end = bundle.settings.keep == "end"
    found = Encoded([], [], [])
    for start in range(0, len(texts), _AT_ONCE):
        some = texts[start : start + _AT_ONCE]
        for text, ids in zip(some, tokeniser.encode(some), strict=True):
            kept = ids[-length:] if from_end else ids[:length]
            blank = not text.strip() or tokeniser.count_unknown(kept) == len(kept)
            found.ids.append(kept)
            found.tokens.append(len(ids))
            found.empty.append(blank)
    return found


def answer(
    bundle: Bundle,
    rows: Encoded,
    *,
    batch_tokens: int = BATCH_TOKENS,
    precision: Precision = "float32",
    progress: Progress | None = None,
) -> list[Any]:
    """The model's bare answer to every row: logits (outputs,) or (tokens, outputs), or target ids.

    Raises:
        UsageError: E-AIM, E-OPTION.
    """
    if batch_tokens < 1:
        raise UsageError("E-OPTION", f"batch_tokens={batch_tokens} is below 1.", "2048")
    if precision not in PRECISIONS:
        known = ", ".join(PRECISIONS)
        raise UsageError(
            "E-OPTION", f"No precision is called {shown(precision)}.", f"one of {known}"
        )
    ask = _asking(bundle)
    device = next(bundle.model.parameters()).device.type
    halved = torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16")
    found: list[Any] = [None] * len(rows.ids)
    done = 0
    groups = list(batches([len(ids) for ids in rows.ids], batch_tokens))
    with kept_memory() if len(groups) > 1 else nullcontext():
        for group in groups:
            tokens_BL, lengths = padded([rows.ids[i] for i in group])
            with torch.inference_mode(), halved:
                for i, one in zip(group, ask(tokens_BL, lengths), strict=True):
                    found[i] = one
            done += len(group)
            if progress is not None:
                progress(done, len(found))
    return found


def batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Rows that go together, the longest first: rows x longest <= budget, or a single row."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    start = 0
    while start < len(order):
        rows = max(1, budget // max(1, lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def padded(rows: Sequence[npt.NDArray[np.int32]]) -> tuple[Tensor, Tensor]:
    """(B, L) ids padded on the right, L at least 1, and (B,) lengths."""
    lengths = [len(row) for row in rows]
    tokens_BL = np.full((len(rows), max(1, *lengths)), PADDING, dtype=np.int64)
    for row, ids in zip(tokens_BL, rows, strict=True):
        row[: len(ids)] = ids
    return torch.from_numpy(tokens_BL), torch.tensor(lengths)


def _asking(bundle: Bundle) -> Callable[[Tensor, Tensor], Sequence[Any]]:
    """How the model of this aim is asked about a batch."""
    settings, model = bundle.settings, bundle.model
    if settings.aim in ("lm", "masked"):
        message = f"A model for {settings.aim} has no answer to a whole text."
        hint = "generate goes on from a text" if settings.aim == "lm" else MASKED_HINT
        raise UsageError("E-AIM", message, hint)
    device = next(model.parameters()).device
    if settings.aim == "seq2seq":
        return lambda tokens, lengths: _answers(bundle, tokens.to(device), lengths.to(device))

    def ask(tokens_BL: Tensor, lengths: Tensor) -> Sequence[Any]:
        logits: Tensor = model(tokens_BL.to(device), lengths.to(device)).float().cpu()
        if settings.aim != "tagging":
            return list(logits.numpy())
        return [row[:length].numpy() for row, length in zip(logits, lengths.tolist(), strict=True)]

    return ask


def _answers(bundle: Bundle, source_BS: Tensor, lengths: Tensor) -> list[list[int]]:
    """Greedy answers to sources, as target ids."""
    settings, target = bundle.settings, bundle.target_tokeniser
    assert target is not None
    assert settings.end is not None
    most = LONGER * (settings.target_length or settings.length) + 1
    banned = [PADDING] if target.unknown is None else [PADDING, UNKNOWN]
    found = search(
        bundle.model,  # type: ignore[arg-type]  # the model of this aim is a Seq2Seq
        source_BS,
        lengths,
        end=settings.end,
        banned=torch.tensor(banned),
        how=Beams(most=most),
    )
    return [list(one.ids) for one in found]


def _labels(bundle: Bundle, answers: list[Any]) -> Iterator[tuple[Label, Reals | None]]:
    """The label of every row, and the probability of every name where there is one."""
    aim, names = bundle.settings.aim, bundle.settings.names
    if aim in _CHANCE:
        for chance in _chances(aim, answers, len(names)):
            if aim == "classification":
                yield names[int(chance.argmax())], chance
            else:
                yield tuple(n for n, p in zip(names, chance, strict=True) if p > 0.5), chance
    elif aim == "tagging":
        yield from (([names[code] for code in one.argmax(-1)], None) for one in answers)
    elif aim == "regression":
        mean, deviation = bundle.settings.scale or (0.0, 1.0)
        yield from ((float(one[0]) * deviation + mean, None) for one in answers)
    else:
        assert bundle.target_tokeniser is not None
        yield from ((bundle.target_tokeniser.decode(ids), None) for ids in answers)


def _chances(aim: str, answers: list[Any], names: int) -> Reals:
    """(rows, names), in float64 so that rows sum to 1 as closely as can be told."""
    if not answers:
        return np.empty((0, names))
    logits = np.stack(answers).astype(np.float64)
    if aim == "multilabel":
        chances: Reals = 0.5 * (1 + np.tanh(0.5 * logits))  # the sigmoid, without overflow
        return chances
    powers: Reals = np.exp(logits - logits.max(axis=1, keepdims=True))
    normed: Reals = powers / powers.sum(axis=1, keepdims=True)
    return normed
