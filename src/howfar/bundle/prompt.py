"""What a model reads before it writes: the prompt of a text, the source of an answer.

Idea     both begin with `start`, which reads and gives the first logits, and go on with `step`,
         one token further
Prompt   of a model with an `end` id: it begins a document, so `end` stands before it. Empty: after
         `end`; where there is none, after a line break; where there is no such token either, the
         first token is drawn evenly from all
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from howfar.bundle.bundle import Bundle
from howfar.core.errors import UsageError, shown
from howfar.core.protocols import State
from howfar.data.tokenise import PADDING, UNKNOWN, Tokeniser
from howfar.models import Model, Seq2Seq
from howfar.models.blocks.placed import Places

PIECE = 4096  # tokens of a prompt that are read at a time


@dataclass(frozen=True, slots=True)
class Start:
    """Where writing begins.

    logits: (1, V) of the first token; of no use where `first` is given, which was drawn evenly.
    state: None before anything was read.
    """

    logits: Tensor
    state: State | None
    notes: tuple[str, ...] = ()
    first: int | None = None


class Prompt:
    """The text that a language model goes on from."""

    def __init__(self, bundle: Bundle, ids: list[int], max_tokens: int) -> None:
        self.bundle, self.ids, self.max_tokens = bundle, ids, max_tokens
        self.model = cast("Model", bundle.model)

    def start(self, draws: np.random.Generator) -> Start:
        """Read the prompt.

        Raises:
            UsageError: E-LENGTH, E-STEP.
        """
        end, tokeniser = self.bundle.settings.end, self.bundle.tokeniser
        read = self.ids if end is None else [end, *self.ids]
        if not read:
            read = [i for i in tokeniser.encode(["\n"])[0].tolist() if i != tokeniser.unknown]
        notes = self._room(len(read))
        if not read:
            known = np.setdiff1d(np.arange(tokeniser.vocabulary), banned_ids(self.bundle))
            return Start(torch.empty(1, 0), None, notes, int(draws.choice(known)))
        tokens_1L = torch.tensor([read], device=device_of(self.model))
        state: State | None = None
        for begin in range(0, len(read) - 1, PIECE):
            piece_1L = tokens_1L[:, begin : min(begin + PIECE, len(read) - 1)]
            state = self.model.advance(piece_1L, state)  # the head is asked once, at the end
        return Start(*self.step(tokens_1L[:, -1], state), notes)

    def step(self, token_1: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One token further."""
        return self.model.step(token_1, state)

    def _room(self, read: int) -> tuple[str, ...]:
        """A note where the text grows longer than what the model was trained on."""
        settings = self.bundle.settings
        total = max(1, read + self.max_tokens - 1)  # the last token is not read
        check_places(self.model, total, self.max_tokens)
        bounded = self.model.reach(total) is not None
        if settings.carry or bounded or total <= settings.length:
            return ()
        unit = self.bundle.tokeniser.unit
        return (
            f"W-LENGTH: up to {total:,} {unit}s are read, and the model was trained on "
            f"{settings.length:,} at a time.",
        )


class Source:
    """What a sequence-to-sequence model answers."""

    def __init__(self, bundle: Bundle, ids: list[int], max_tokens: int) -> None:
        self.bundle, self.max_tokens = bundle, max_tokens
        self.ids, self.notes = _cut(bundle, ids)
        self.model = cast("Seq2Seq", bundle.model)
        check_places(self.model, len(self.ids), None)
        check_places(self.model, max_tokens, max_tokens)

    def batch(self) -> tuple[Tensor, Tensor]:
        """Tokens (1, S) and lengths (1,)."""
        device = device_of(self.model)
        tokens_1S = torch.tensor([self.ids], dtype=torch.long, device=device)
        return tokens_1S, torch.tensor([len(self.ids)], device=device)

    def start(self, draws: np.random.Generator) -> Start:
        """Read the source; nothing is drawn."""
        del draws
        end = cast("int", self.bundle.settings.end)
        end_1 = torch.tensor([end], device=device_of(self.model))
        return Start(*self.model.step(end_1, self.model.start(*self.batch())), self.notes)

    def step(self, token_1: Tensor, state: State | None) -> tuple[Tensor, State]:
        """One token further."""
        return self.model.step(token_1, cast("State", state))


def banned_ids(bundle: Bundle) -> npt.NDArray[np.int64]:
    """Ids that are no text: padding, unknown, the mask, all beyond the tokeniser but `end`."""
    settings = bundle.settings
    tokeniser = bundle.target_tokeniser or bundle.tokeniser
    beyond = range(tokeniser.vocabulary, settings.outputs)
    unknown = [] if tokeniser.kind == "byte" else [UNKNOWN]
    return np.asarray([PADDING, *unknown, *(i for i in beyond if i != settings.end)], np.int64)


def _cut(bundle: Bundle, ids: list[int]) -> tuple[list[int], tuple[str, ...]]:
    """The source as in training: cut to the length that the model was trained on."""
    most = bundle.settings.length
    if len(ids) <= most:
        return ids, ()
    kept = ids[:most] if bundle.settings.keep == "start" else ids[-most:]
    unit = bundle.tokeniser.unit
    return kept, (f"W-TRUNC: the source has {len(ids):,} {unit}s; {most:,} of them are read.",)


def encoded(tokeniser: Tokeniser, prompt: str) -> tuple[list[int], tuple[str, ...]]:
    """Ids of a prompt, and what of it the model does not know.

    Raises:
        DataError: E-ENCODING for half a surrogate pair.
    """
    ids = tokeniser.encode([prompt])[0]
    unknown = tokeniser.count_unknown(ids)
    if not unknown:
        return ids.tolist(), ()
    which = ""
    if tokeniser.kind == "char":
        strange = dict.fromkeys(c for c, i in zip(prompt, ids, strict=True) if i == UNKNOWN)
        more = ", ..." if len(strange) > 10 else ""
        which = f" ({', '.join(shown(c) for c in list(strange)[:10])}{more})"
    note = (
        f"W-UNKNOWN: {unknown:,} of the {len(ids):,} {tokeniser.unit}s of the prompt "
        f"are unknown to the model{which}."
    )
    return ids.tolist(), (note,)


def check_places(model: nn.Module, total: int, max_tokens: int | None) -> None:
    """Refuse before the first token what learned positions have no room for.

    Raises:
        UsageError: E-LENGTH.
    """
    rows = [part.rows for part in model.modules() if isinstance(part, Places) and part.rows]
    if not rows or total <= min(rows):
        return
    fitting = 0 if max_tokens is None else max_tokens - (total - min(rows))
    raise UsageError(
        "E-LENGTH",
        f"{total:,} tokens would be read: this model has learned positions for {min(rows):,}.",
        f"--max-tokens {fitting}" if fitting >= 1 else "a shorter text",
    )


def device_of(model: nn.Module) -> torch.device:
    """Where the model stands."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
