"""What an evaluation keeps of text: the cost of each token, and answers against references.

Units    nats a token: mean -log p of the scored tokens. Perplexity: e to that. Bits: nats / ln 2.
         Bits per character and byte: all nats of the scored tokens, `end` included, by the code
         points and UTF-8 bytes of the scored text, without `end`. Words tell neither, as they drop
         case and white space; where a character is unknown its bytes are not known
Answers  exact match: ids all equal. BLEU: see `howfar.bundle.bleu`, of the decoded texts. Token
         accuracy: of the next token, given the reference so far. An answer may be as long as one
         of `howfar.bundle.predict`, whatever the references
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from howfar.bundle import metrics
from howfar.bundle.beam import Beams, search
from howfar.bundle.bleu import bleu, bleu_counts, bleu_tokens
from howfar.bundle.bundle import Bundle
from howfar.bundle.predict import LONGER
from howfar.bundle.prompt import banned_ids
from howfar.bundle.tallies import Kept, Result, ratio_score, row_sums, scored
from howfar.bundle.writing import bytes_of
from howfar.core.batch import IGNORED, Batch
from howfar.data.tokenise import PADDING, UNKNOWN, Tokeniser
from howfar.models import Seq2Seq
from howfar.record.comparison import Score


class TextTally:
    """The next token, or a masked one, at every scored place."""

    def __init__(self, tokeniser: Tokeniser, vocabulary: int, *, masked: bool = False) -> None:
        self.tokeniser = tokeniser
        self.sizes_2V = None if masked else text_sizes(tokeniser, vocabulary)
        self.masked = masked
        self.kept = Kept()

    def add(self, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """See `Tally`; what is kept is summed a row."""
        targets = targets.cpu()
        nats = F.cross_entropy(outputs.cpu().double(), targets, reduction="none").numpy()
        right = (outputs.argmax(-1).cpu() == targets).numpy()
        lengths = (batch.targets != IGNORED).sum(-1).cpu().numpy().reshape(-1)
        columns = [nats, right, targets.numpy() == (self.tokeniser.unknown or -1)]
        if self.sizes_2V is not None:
            columns += list(self.sizes_2V[:, targets.numpy()])
        sums = np.stack([row_sums(column, lengths) for column in columns], axis=1)
        self.kept.add(sums=torch.from_numpy(sums), count=torch.from_numpy(lengths))

    def result(self) -> Result:
        """See `Tally`."""
        count = self.kept["count"].astype(np.float64)
        held = count > 0
        count = count[held]
        sums = self.kept["sums"][held].astype(np.float64)
        nats = ratio_score("nats per token", sums[:, 0], count, better="lower")
        accuracy = ratio_score("accuracy", sums[:, 1], count)
        unknown = int(sums[:, 2].sum())
        notes: tuple[str, ...] = ()
        if unknown:
            share = f"{unknown:,} of {int(count.sum()):,} scored tokens"
            notes = (f"W-UNKNOWN: {share} are unknown: what they are costs nothing here.",)
        scores: tuple[Score, ...] = (*accuracy, *nats) if self.masked else ()
        if not self.masked:
            scores = (*self._by_text(sums, unknown), *_bits(nats), *nats, *_perplexity(nats))
            scores = (*scores, *accuracy)
        return Result(scores=scores, targets=int(count.sum()), notes=notes)

    def _by_text(self, sums: metrics.Reals, unknown: int) -> tuple[Score, ...]:
        """Bits per character and per byte; per character stands first where it is exact."""
        found: tuple[Score, ...] = ()
        if self.sizes_2V is None:
            return found
        bits = sums[:, 0] / math.log(2)
        if sums[:, 3].sum():
            found = ratio_score("bits per character", bits, sums[:, 3], better="lower")
        if sums[:, 4].sum() and not unknown:
            found += ratio_score("bits per byte", bits, sums[:, 4], better="lower")
        return found


class AnswerTally:
    """Answers of a sequence-to-sequence model: the next token, and the whole answer it finds."""

    def __init__(self, bundle: Bundle, beams: int, penalty: float) -> None:
        assert bundle.target_tokeniser is not None
        assert bundle.settings.end is not None
        assert isinstance(bundle.model, Seq2Seq)
        self.model, self.tokeniser = bundle.model, bundle.target_tokeniser
        self.end, self.banned = bundle.settings.end, torch.from_numpy(banned_ids(bundle))
        most = LONGER * (bundle.settings.target_length or bundle.settings.length) + 1
        self.how = Beams(beams=beams, penalty=penalty, most=most)
        self.kept = Kept()

    def add(self, outputs: Tensor, targets: Tensor, batch: Batch) -> None:
        """See `Tally`."""
        assert batch.source is not None
        assert batch.source_lengths is not None
        targets = targets.cpu()
        lengths = (batch.targets != IGNORED).sum(1).cpu().numpy()
        nats = F.cross_entropy(outputs.cpu().double(), targets, reduction="none").numpy()
        right = (outputs.argmax(-1).cpu() == targets).numpy()
        found = search(
            self.model,
            batch.source,
            batch.source_lengths,
            end=self.end,
            banned=self.banned,
            how=self.how,
        )
        wanted = [
            tuple(i for i in row if i not in (IGNORED, self.end)) for row in batch.targets.tolist()
        ]
        exact = [
            answer.ids == ids and answer.ended for answer, ids in zip(found, wanted, strict=True)
        ]
        counts = [
            bleu_counts(*(bleu_tokens(self.tokeniser.decode(ids)) for ids in (answer.ids, want)))
            for answer, want in zip(found, wanted, strict=True)
        ]
        self.kept.add(
            nats=torch.from_numpy(row_sums(nats, lengths)),
            right=torch.from_numpy(row_sums(right, lengths)),
            count=torch.from_numpy(lengths),
            exact=torch.tensor(exact),
            bleu=torch.tensor(counts, dtype=torch.float64),
            length=batch.source_lengths,
        )

    def result(self) -> Result:
        """See `Tally`."""
        nats, right, count, sums = (
            self.kept[name].astype(np.float64) for name in ("nats", "right", "count", "bleu")
        )
        exact = self.kept["exact"].astype(bool)
        share = float(exact.mean())
        return Result(
            scores=(
                *scored("exact match", share, metrics.wilson(share, len(exact))),
                *scored("BLEU-4", bleu(sums.sum(0)), metrics.bootstrap(sums, bleu)),
                *ratio_score("token accuracy", right, count),
                *ratio_score("nats per token", nats, count, better="lower"),
            ),
            targets=int(count.sum()),
            by_length=metrics.by_length(self.kept["length"].astype(np.int64), exact),
        )


def text_sizes(tokeniser: Tokeniser, vocabulary: int) -> metrics.Reals | None:
    """(2, V) code points and UTF-8 bytes of each id; None where ids do not tell the text.

    A piece counts the characters that begin in it, so that those of a text add up exactly.
    """
    if tokeniser.kind == "word":
        return None
    size_2V = np.zeros((2, vocabulary))
    bytes_from = bytes_of(tokeniser)
    for index in range(tokeniser.vocabulary):
        if index == PADDING:
            continue
        if bytes_from is None:
            text = tokeniser.token(index).encode() if index != UNKNOWN else b"?"
        else:
            text = bytes_from(index)
        begun = sum(byte & 0xC0 != 0x80 for byte in text)  # not those that go on with one
        size_2V[:, index] = begun, len(text)
    return size_2V


def _bits(nats: tuple[Score, ...]) -> tuple[Score, ...]:
    return _changed(nats, "bits per token", lambda value: value / math.log(2))


def _perplexity(nats: tuple[Score, ...]) -> tuple[Score, ...]:
    # e**709 is the last that a float holds.
    return _changed(nats, "perplexity", lambda value: math.exp(min(value, 709.0)))


def _changed(
    scores: tuple[Score, ...], name: str, change: Callable[[float], float]
) -> tuple[Score, ...]:
    return tuple(
        Score(
            name=name,
            value=change(s.value),
            low=None if s.low is None else change(s.low),
            high=None if s.high is None else change(s.high),
            better=s.better,
        )
        for s in scores
    )
