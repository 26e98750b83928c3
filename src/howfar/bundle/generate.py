"""Text from a language model, token by token, and answers of a sequence-to-sequence model.

Idea     the prompt is read once; then every token costs one step from the state (recurrent
         families) or the cached keys and values (attention), never the whole text again
Prompt   see `howfar.bundle.prompt`
Answers  never contain padding, unknown tokens or a mask
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from howfar.bundle.beam import Beams, search
from howfar.bundle.bundle import MASKED_HINT, Bundle
from howfar.bundle.prompt import Prompt, Source, Start, banned_ids, device_of, encoded
from howfar.bundle.sampling import Reals, Sampling, choose
from howfar.bundle.writing import Decoding, Writer
from howfar.core.errors import UsageError
from howfar.core.protocols import State
from howfar.core.seeds import Seeds
from howfar.models import Seq2Seq

Step = Callable[[Tensor, State | None], tuple[Tensor, State]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Generated:
    """What was written.

    text: without the prompt, and without a stop string. tokens: chosen, `end` not counted.
    reason: "length", "stop" or "end". per_token_seconds: mean time of a chosen token, without
    reading the prompt; 0 for a beam. ids: the tokens chosen, also those that a stop string cut off.
    """

    text: str
    tokens: int
    reason: str
    per_token_seconds: float
    ids: tuple[int, ...]
    prompt_tokens: int
    notes: tuple[str, ...] = ()


def generate(  # noqa: PLR0913 - each is an option of the command line
    bundle: Bundle,
    prompt: str,
    *,
    max_tokens: int = 200,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Sequence[str] = (),
    seed: int = 0,
    stream: Callable[[str], None] | None = None,
    beams: int = 1,
    length_penalty: float = 1.0,
) -> Generated:
    """Go on from a prompt (aim lm), or answer a source (aim seq2seq).

    Args:
        bundle: with a model in eval mode.
        prompt: any text.
        max_tokens: the most tokens that are chosen.
        temperature: 0 takes the most likely token; None: 1 for lm, 0 for seq2seq.
        top_k: see `howfar.bundle.sampling`.
        top_p: likewise.
        stop: strings before which the text ends.
        seed: of what is drawn; the same seed, the same text.
        stream: is given the text piece by piece, in whole characters.
        beams: of seq2seq at temperature 0: see `howfar.bundle.beam`.
        length_penalty: likewise.

    Raises:
        UsageError: E-AIM for a model with another aim, E-OPTION, E-LENGTH where the model has
            learned positions for fewer tokens, E-STEP for a model that cannot go on.
        DataError: E-ENCODING for half a surrogate pair in the prompt.
        StoreError: E-NAN where the model does not answer with numbers.
    """
    aim = bundle.settings.aim
    if aim not in ("lm", "seq2seq"):
        message = f"This model was trained for {aim}: it does not write text."
        raise UsageError("E-AIM", message, MASKED_HINT if aim == "masked" else "`howfar predict`")
    if max_tokens < 1:
        raise UsageError("E-OPTION", f"max_tokens={max_tokens} is less than 1.", "max_tokens=200")
    warmth = temperature if temperature is not None else 1.0 if aim == "lm" else 0.0
    how = Sampling(temperature=warmth, top_k=top_k, top_p=top_p)
    searched = Beams(beams=beams, penalty=length_penalty, most=max_tokens)
    if beams > 1 and (aim == "lm" or warmth > 0):
        message = f"beams={beams} searches the answer of a seq2seq model at temperature 0."
        raise UsageError("E-OPTION", message, "beams=1")
    writer = Writer(stop, stream)
    ids, notes = encoded(bundle.tokeniser, prompt)
    if beams > 1:
        return _searched(bundle, Source(bundle, ids, max_tokens), searched, writer, notes)
    draws = Seeds(seed).numpy("generate")
    reading = Prompt(bundle, ids, max_tokens) if aim == "lm" else Source(bundle, ids, max_tokens)
    with torch.no_grad():
        start = reading.start(draws)
        going = _Going(bundle, how, draws, writer, reading.step)
        reason = going.go(start, max_tokens)
    writer.finish()
    return Generated(
        text=writer.text,
        tokens=len(going.ids),
        reason=reason,
        per_token_seconds=going.seconds / max(1, len(going.ids)),
        ids=tuple(going.ids),
        prompt_tokens=len(ids),
        notes=(*notes, *start.notes),
    )


class _Going:
    """The loop: choose, write, step."""

    def __init__(
        self,
        bundle: Bundle,
        how: Sampling,
        draws: np.random.Generator,
        writer: Writer,
        step: Step,
    ) -> None:
        self.how, self.draws, self.writer, self.step = how, draws, writer, step
        self.end = bundle.settings.end
        tokeniser = bundle.target_tokeniser or bundle.tokeniser
        self.decoding = Decoding(tokeniser)
        self.banned = banned_ids(bundle)
        self.device = device_of(bundle.model)
        self.ids: list[int] = []
        self.seconds = 0.0

    def go(self, start: Start, most: int) -> str:
        """Write until something ends the text; returns the reason."""
        logits_1V, state, chosen = start.logits, start.state, start.first
        began = time.perf_counter()
        while True:
            if chosen is None:
                chosen = choose(self._open(logits_1V), self.how, self.draws)
            reason = self._wrote(chosen, most)
            if reason is not None:
                self.seconds = time.perf_counter() - began
                return reason
            token_1 = torch.tensor([chosen], device=self.device)
            logits_1V, state = self.step(token_1, state)
            chosen = None

    def _wrote(self, chosen: int, most: int) -> str | None:
        """Write one token; what ends the text with it."""
        if chosen == self.end:
            return "end"
        self.ids.append(chosen)
        if self.writer.add(self.decoding.add(chosen)):
            return "stop"
        return "length" if len(self.ids) == most else None

    def _open(self, logits_1V: Tensor) -> Reals:
        logits_V: Reals = logits_1V[0].cpu().double().numpy().copy()
        logits_V[self.banned] = np.where(np.isnan(logits_V[self.banned]), np.nan, -np.inf)
        return logits_V


def _searched(
    bundle: Bundle, source: Source, how: Beams, writer: Writer, notes: tuple[str, ...]
) -> Generated:
    found = search(
        cast("Seq2Seq", bundle.model),
        *source.batch(),
        end=cast("int", bundle.settings.end),
        banned=torch.from_numpy(banned_ids(bundle)),
        how=how,
    )[0]
    assert bundle.target_tokeniser is not None
    stopped = writer.add(bundle.target_tokeniser.decode(found.ids))
    writer.finish()
    return Generated(
        text=writer.text,
        tokens=len(found.ids),
        reason="stop" if stopped else "end" if found.ended else "length",
        per_token_seconds=0.0,
        ids=found.ids,
        prompt_tokens=len(source.ids),
        notes=(*notes, *source.notes),
    )
