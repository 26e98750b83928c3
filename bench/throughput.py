"""Training documents per CPU second, one thread: howfar against a plain PyTorch loop.

Idea     both train the same architecture: the plain model of each family is written here from
         torch's own modules, is given howfar's weights and must answer the same before it is timed
Ours     `howfar.train.fit`: fused AdamW, clipping, checks for nan, schedule, best weights kept
Plain    AdamW as torch has it by default, clip_grad_norm_, loss.item() every step
Full     ready batches of 32 documents of 512 tokens; nothing to gain from the data
Natural  log-normal lengths (median 174, 95th percentile 636, cut at 512); ours in length buckets by
         `LabelSource`, the plain loop in random batches padded to their longest
Times    CPU seconds of this process, plain and ours in turn; median of the ratios, and their range
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from howfar.core.batch import Batch
from howfar.data.batch import LabelSource
from howfar.data.labelled import Part
from howfar.models import MODELS, build, fit_width
from howfar.train import Budget, TrainOptions, fit

ROWS, LENGTH, VOCABULARY, EMBEDDING, CLASSES = 32, 512, 5_000, 64, 4
BODY = 60_000  # parameters, within 5 %
MEDIAN, P95 = 174, 636  # tokens a document
RATE = 1e-3
DOCUMENTS = 1_024  # of natural length: an epoch of 32 batches
STEPS = {"full": 4, "natural": 16}  # a block


class PlainStack(nn.Module):
    """Residual layers, a norm, the mean over real positions."""

    def __init__(self, width, layers):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.project = nn.Linear(EMBEDDING, width) if width != EMBEDDING else nn.Identity()
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, CLASSES)

    def forward(self, tokens, lengths):
        real = torch.arange(tokens.shape[1]) < lengths[:, None]
        mask = None if bool((lengths == tokens.shape[1]).all()) else real
        x = self.project(self.embedding(tokens))
        for layer in self.layers:
            x = layer(x, mask)
        x = self.norm(x) * real[..., None]
        return self.head(x.sum(1) / lengths[:, None])


class PlainRecurrent(nn.Module):
    def __init__(self, rnn, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rnn = rnn(width, width, batch_first=True)

    def forward(self, x, mask):
        return x + self.rnn(self.norm(x))[0]


class PlainTcn(nn.Module):
    def __init__(self, width, dilation):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)
        self.second = nn.Conv1d(width, width, 3, padding=dilation, dilation=dilation)

    def forward(self, x, mask):
        h = self.norm(x).transpose(1, 2)
        h = h if mask is None else h * mask[:, None]
        h = F.relu(self.first(h))
        h = h if mask is None else h * mask[:, None]
        return x + self.second(h).transpose(1, 2)


class PlainTransformer(nn.Module):
    """Norm first, heads of an even size, rotary positions from a table, scaled_dot_product."""

    def __init__(self, width, heads=2):
        super().__init__()
        self.heads, size = heads, 2 * round(width / heads / 2)
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * size, bias=False)
        self.out = nn.Linear(heads * size, width, bias=False)
        self.ff_norm = nn.LayerNorm(width)
        self.ff = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        angle = torch.outer(
            torch.arange(LENGTH), 10_000.0 ** (-torch.arange(0, size, 2) / size)
        ).repeat(1, 2)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def turn(self, x):
        one, two = x.chunk(2, -1)
        length = x.shape[-2]
        return x * self.cos[:length] + torch.cat([-two, one], -1) * self.sin[:length]

    def forward(self, x, mask):
        rows, length, _ = x.shape
        qkv = self.qkv(self.norm(x)).view(rows, length, 3, self.heads, -1)
        q, k, v = (part.transpose(1, 2) for part in qkv.unbind(2))
        mask = None if mask is None else mask[:, None, None]
        y = F.scaled_dot_product_attention(self.turn(q), self.turn(k), v, attn_mask=mask)
        x = x + self.out(y.transpose(1, 2).reshape(rows, length, -1))
        return x + self.ff(self.ff_norm(x))


class PlainTextCnn(nn.Module):
    def __init__(self, filters):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        even, left = divmod(filters, 3)
        self.windows = nn.ModuleList(
            nn.Conv1d(EMBEDDING, even + (place < left), kernel)
            for place, kernel in enumerate((3, 4, 5))
        )
        self.head = nn.Linear(filters, CLASSES)

    def forward(self, tokens, lengths):
        x = self.embedding(tokens).transpose(1, 2)
        padding = torch.arange(tokens.shape[1]) >= lengths[:, None]
        found = [
            F.relu(window(F.pad(x, (window.kernel_size[0] - 1, 0)))) for window in self.windows
        ]
        return self.head(torch.cat(found, 1).masked_fill(padding[:, None], 0.0).amax(2))


PLAIN = {
    "textcnn": PlainTextCnn,
    "tcn": lambda width: PlainStack(width, [PlainTcn(width, 2**block) for block in range(4)]),
    "elman": lambda width: PlainStack(width, [PlainRecurrent(nn.RNN, width)]),
    "lstm": lambda width: PlainStack(width, [PlainRecurrent(nn.LSTM, width)]),
    "gru": lambda width: PlainStack(width, [PlainRecurrent(nn.GRU, width)]),
    "transformer": lambda width: PlainStack(width, [PlainTransformer(width) for _ in range(2)]),
}


@dataclass(frozen=True)
class Result:
    """Documents per CPU second over all blocks; ratios ours : plain, one a block."""

    family: str
    documents: str
    body: int
    plain: float
    ours: float
    ratios: tuple[float, ...]


class From:
    """A source that starts at another step; its validation is one short row, as good as none.

    Times are taken between the second batch and the one after the last: memory has been asked for
    by then, and what `fit` does once at its end is left out.
    """

    def __init__(self, batch, first):
        self.at, self.first, self.seconds = batch, first, []

    def batch(self, step):
        self.seconds.append(time.process_time())
        return self.at(self.first + step)

    def spent(self):
        return self.seconds[-1] - self.seconds[1]

    def evaluation(self, part):
        tokens = torch.ones(1, 8, dtype=torch.int64)
        yield Batch(tokens, torch.tensor([8]), torch.tensor([0]))


def same_models(family):
    """Our model and the plain one, with the same weights and, checked, the same answers."""
    width = fit_width(family, BODY, causal=False, embedding=EMBEDDING)
    ours = build(
        family,
        vocabulary=VOCABULARY,
        outputs=CLASSES,
        width=width,
        causal=False,
        embedding=EMBEDDING,
    )
    plain = PLAIN[family](width)
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
            theirs.copy_(mine)
        tokens, lengths = torch.randint(1, VOCABULARY, (3, 64)), torch.tensor([64, 40, 1])
        for given in (lengths, torch.full((3,), 64)):
            torch.testing.assert_close(ours(tokens, given), plain(tokens, given))
    return ours, plain


def train_ours(model, batch, first, steps):
    """CPU seconds of so many steps."""
    source = From(batch, first)
    options = TrainOptions(budget=Budget(steps + 2, "steps"), learning_rate=RATE, evaluations=1)
    done = fit(model, source, options)
    assert done.status == "done", done.reason
    return source.spent()


def train_plain(model, batch, first, steps, fused):
    """The loop of a tutorial; CPU seconds of so many steps."""
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, fused=fused or None)
    source = From(batch, first)
    model.train()
    for step in range(steps + 2):
        given = source.batch(step)
        loss = F.cross_entropy(model(given.tokens, given.lengths), given.targets)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        loss.item()
    return source.spent()


def full_batches(draws):
    """Three ready batches, in turn."""
    ready = [
        Batch(
            torch.from_numpy(draws.integers(1, VOCABULARY, (ROWS, LENGTH))),
            torch.full((ROWS,), LENGTH),
            torch.from_numpy(draws.integers(0, CLASSES, ROWS)),
        )
        for _ in range(3)
    ]
    return lambda step: ready[step % 3]


def natural_part(draws):
    """Documents with the lengths of a text classification set."""
    spread = np.log(P95 / MEDIAN) / 1.645  # 95th percentile of a normal law
    lengths = np.exp(draws.normal(np.log(MEDIAN), spread, DOCUMENTS)).round().astype(int)
    ids = tuple(
        draws.integers(1, VOCABULARY, length).astype(np.int32) for length in lengths.clip(1, LENGTH)
    )
    return Part(ids, draws.integers(0, CLASSES, DOCUMENTS), ("",) * DOCUMENTS)


def random_batches(part, draws):
    """Shuffled documents, each batch padded to its longest: the usual collate function."""
    order = draws.permutation(DOCUMENTS)

    def batch(step):
        rows = np.take(order, np.arange(step * ROWS, (step + 1) * ROWS), mode="wrap")
        ids = [torch.from_numpy(part.ids[row]).long() for row in rows]
        tokens = nn.utils.rnn.pad_sequence(ids, batch_first=True)
        lengths = torch.tensor([len(row) for row in ids])
        return Batch(tokens, lengths, torch.from_numpy(part.labels[rows]))

    return batch


def measure(family, documents, blocks, fused):
    """Time `blocks` blocks of each loop, in turn."""
    draws = np.random.default_rng(0)
    if documents == "full":
        mine = theirs = full_batches(draws)
    else:
        part = natural_part(draws)
        labelled = SimpleNamespace(train=part, validation=part, test=part)
        mine = LabelSource(labelled, rows=ROWS, seed=0).batch
        theirs = random_batches(part, draws)
    ours, plain = same_models(family)
    steps = STEPS[documents]
    pairs = []
    for block in range(blocks):
        first = block * steps
        slow = train_plain(plain, theirs, first, steps, fused)
        pairs.append((slow, train_ours(ours, mine, first, steps)))
    rates = [blocks * steps * ROWS / sum(times) for times in zip(*pairs, strict=True)]
    ratios = tuple(slow / fast for slow, fast in pairs)
    return Result(family, documents, ours.count()["body"], *rates, ratios)


def show(result):
    middle, low, high = (f(result.ratios) for f in (statistics.median, min, max))
    print(
        f"{result.documents:8} {result.family:12} {result.body:7,} {result.plain:9.0f}"
        f" {result.ours:9.0f} {middle:9.2f}  {low:.2f} - {high:.2f}",
        flush=True,
    )


def main():
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--families", nargs="+", choices=list(MODELS), default=list(MODELS))
    asked.add_argument("--documents", nargs="+", choices=list(STEPS), default=list(STEPS))
    asked.add_argument("--blocks", type=int, default=4, help="timed blocks of each loop")
    asked.add_argument("--fused", action="store_true", help="the plain loop with fused AdamW too")
    asked.add_argument("--json", action="store_true", help="one JSON object a line, no table")
    given = asked.parse_args()
    torch.set_num_threads(1)
    if not given.json:
        print("lengths  family          body  plain/s    ours/s     ratio  range")
    for documents in given.documents:
        for family in given.families:
            result = measure(family, documents, given.blocks, given.fused)
            if given.json:
                print(json.dumps(asdict(result)), flush=True)
            else:
                show(result)


if __name__ == "__main__":
    main()
