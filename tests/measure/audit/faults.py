"""Models with one planted fault each: name -> (model, tokens, lengths, kinds to be found)."""

import torch
from tests.measure.audit.healthy import (
    VOCABULARY,
    CausalConv,
    Encoder,
    Recurrent,
    draw,
    fourier,
    ids,
    mean,
    ours,
    real_BL,
    reals,
)
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence


def sign_leak(x, lengths):
    following = F.pad(x[:, 1:], (0, 1))
    return x * following.sign()


def small_leak(x, lengths):
    return x + 1e-5 * F.pad(x[:, 1:], (0, 1))


def fourier_leak(x, lengths):
    return fourier(x, lengths) + 1e-6 * F.pad(x[:, 1:], (0, 1))


class BlockLeak(nn.Module):
    """The last position of each block knows the first of the next."""

    def __init__(self, block=16):
        super().__init__()
        self.block = block
        self.inner = draw(CausalConv())

    def forward(self, tokens, lengths):
        y = self.inner(tokens)
        following = F.pad(y[:, 1:], (0, 0, 0, 1))
        last = torch.arange(tokens.shape[1]) % self.block == self.block - 1
        return torch.where(last[:, None], y + 0.1 * following, y)


class OffByOne(nn.Module):
    """Attention with a causal mask that lets the next token through."""

    def __init__(self, off=1):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.head = nn.Linear(16, 5)
        self.off = off

    def forward(self, tokens):
        x = self.embedding(tokens)
        length = tokens.shape[1]
        mask = torch.ones(length, length).triu(1 + self.off).bool()
        return self.head(x + self.attention(x, x, x, attn_mask=mask, need_weights=False)[0])


class PooledOverPadding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens, lengths):
        return self.head(self.embedding(tokens).mean(1))


class Normalised(nn.Module):
    """Batch normalisation between embedding and head; `always`: by the batch even in use."""

    def __init__(self, always=False):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.norm = nn.BatchNorm1d(8, track_running_stats=not always)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens, lengths):
        return self.head(self.norm(mean(self.embedding(tokens), lengths)))


class AlwaysDropping(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = draw(CausalConv())

    def forward(self, tokens):
        return F.dropout(self.inner(tokens), 0.1)


class Keeping(nn.Module):
    """A recurrence that goes on from its last state."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, 5)
        self.state = None

    def forward(self, tokens):
        state = self.state
        if state is not None and state.shape[1] != len(tokens):
            state = None
        y, self.state = self.rnn(self.embedding(tokens), state)
        return self.head(y)


class Counting(nn.Module):
    """A buffer that every call writes to."""

    def __init__(self):
        super().__init__()
        self.inner = draw(CausalConv())
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, tokens):
        self.seen += 1
        return self.inner(tokens)


class Attending(nn.Module):
    """Attention of its own that forgets its mask when it returns the weights."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.attention = Dropping()
        self.head = nn.Linear(16, 5)

    def forward(self, tokens, lengths, return_attention=False):
        y, weights = self.attention(self.embedding(tokens), lengths, need_weights=return_attention)
        y = self.head(y)
        return (y, weights) if return_attention else y


class Dropping(nn.Module):
    def forward(self, x, lengths, need_weights=False):
        length = x.shape[1]
        scores = x @ x.mT / 4
        seen = torch.ones(length, length).tril().bool()
        if need_weights:
            weights = scores.softmax(-1)
            return weights @ x, weights
        return scores.masked_fill(~seen, -torch.inf).softmax(-1) @ x, None


class DroppingMha(nn.MultiheadAttention):
    """The same inside torch's own layer."""

    def forward(self, query, key, value, *args, need_weights=True, **named):
        if need_weights:
            named["attn_mask"] = None
            named["is_causal"] = False
        return super().forward(query, key, value, *args, need_weights=need_weights, **named)


def dropping_encoder():
    model = Encoder(causal=True)
    for layer in model.encoder.layers:
        layer.self_attn = DroppingMha(16, 2, batch_first=True)
    return draw(model)


class AttributeAttending(nn.Module):
    """Switched by an attribute, and seen by no argument."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.head = nn.Linear(16, 5)
        self.output_attentions = False

    def forward(self, tokens, lengths):
        x = self.embedding(tokens)
        scores, seen = x @ x.mT / 4, torch.ones(tokens.shape[1], tokens.shape[1]).tril().bool()
        if self.output_attentions:
            weights = scores.softmax(-1)
            return self.head(weights @ x), weights
        return self.head(scores.masked_fill(~seen, -torch.inf).softmax(-1) @ x)


class Watched(nn.Module):
    """Another path when hooks are there."""

    def __init__(self):
        super().__init__()
        self.inner = draw(CausalConv())

    def forward(self, tokens):
        y = self.inner(tokens)
        return y if not self.inner.layers[0]._forward_hooks else y.flip(1)


class EmptyNan(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens, lengths):
        x = self.embedding(tokens) * real_BL(tokens, lengths)[..., None]
        return self.head(x.sum(1) / lengths[:, None])


class Stepping(nn.Module):
    """A step that forgets its state at one place, or changes the state it is given."""

    def __init__(self, fault="forgets"):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.cell = nn.GRUCell(16, 16)
        self.head = nn.Linear(16, 5)
        self.fault = fault

    def forward(self, tokens):
        state, out = None, []
        for place in range(tokens.shape[1]):
            state = self.cell(self.embedding(tokens[:, place]), state)
            out.append(self.head(state))
        return torch.stack(out, 1)

    def step(self, tokens_B, state):
        place, hidden = (0, None) if state is None else state
        if self.fault == "forgets" and place == 9:
            hidden = None
        new = self.cell(self.embedding(tokens_B), hidden)
        if self.fault == "in place" and hidden is not None:
            hidden.copy_(new)
        return self.head(new), (place + 1, new)


class Cut(nn.Module):
    """Rows are cut at 64 tokens without a word."""

    def __init__(self, inner, fill=False, limit=64):
        super().__init__()
        self.inner, self.fill, self.limit = inner, fill, limit

    def forward(self, tokens, lengths):
        y = self.inner(tokens[:, : self.limit], lengths.clamp(max=self.limit))
        if self.fill and tokens.shape[1] > self.limit:
            y = F.pad(y, (0, 0, 0, tokens.shape[1] - self.limit))
        return y


class Skewed(nn.Module):
    """Masks in training mode only."""

    def __init__(self):
        super().__init__()
        self.inner = draw(CausalConv())

    def forward(self, tokens):
        y = self.inner(tokens)
        return y * 2 if self.training else y


class Mixing(nn.Module):
    """A little of the row before in the batch."""

    def __init__(self):
        super().__init__()
        self.inner = draw(CausalConv())

    def forward(self, tokens):
        y = self.inner(tokens)
        return y + 1e-4 * y.roll(1, 0)


class Unsorted(nn.Module):
    """Results stay in the order of their lengths."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 16)
        self.rnn = nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, 5)

    def forward(self, tokens, lengths):
        sizes, order = lengths.clamp(min=1).sort(descending=True, stable=True)
        x = pack_padded_sequence(self.embedding(tokens)[order], sizes, batch_first=True)
        return self.head(self.rnn(x)[1][0])


class PlaceInBatch(nn.Module):
    """A weight that hangs on the place in the batch."""

    def __init__(self):
        super().__init__()
        self.inner = draw(CausalConv())

    def forward(self, tokens):
        return self.inner(tokens) * (1 + 1e-3 * torch.arange(len(tokens)))[:, None, None]


def planted():
    """name -> (model, tokens, lengths, kinds that must be found and no others)."""
    some = torch.tensor([48, 20, 48, 7, 33, 48, 2, 40])
    longer = ids(length=100)
    return {
        "leak x sign(x_next)": (sign_leak, reals(), None, {"future_leak"}),
        "leak 1e-5": (small_leak, reals(), None, {"future_leak"}),
        "leak 1e-5 float64": (small_leak, reals(dtype=torch.float64), None, {"future_leak"}),
        "leak under rounding": (fourier_leak, reals(), None, {"future_leak"}),
        "leak at a block": (BlockLeak().eval(), ids(), None, {"future_leak"}),
        "mask off by one": (draw(OffByOne()), ids(), None, {"future_leak"}),
        "missing mask": (
            draw(Encoder(causal=False, pooled=True, masked=False)),
            ids(),
            some,
            {"padding"},
        ),
        "missing mask, positions": (
            draw(Encoder(causal=False, masked=False)),
            ids(),
            some,
            {"padding"},
        ),
        "pooled over padding": (draw(PooledOverPadding()), ids(), some, {"padding"}),
        "unpacked bi-LSTM": (
            draw(Recurrent(nn.LSTM, both=True, packed=False)),
            ids(),
            some,
            {"padding"},
        ),
        "unpacked bi-LSTM, pooled": (
            draw(Recurrent(nn.LSTM, both=True, packed=False, pooled=True)),
            ids(),
            None,
            {"padding"},
        ),
        "batch norm in training mode": (
            draw(Normalised()).train(),
            ids(),
            None,
            {"batch_mates", "train_eval"},
        ),
        "batch norm always": (draw(Normalised(always=True)), ids(), None, {"batch_mates"}),
        "dropout left on": (
            ours("gru", True, dropout=0.1).train(),
            ids(),
            None,
            {"train_eval"},
        ),
        "dropout in a recurrence": (
            draw(Encoder(causal=True, dropout=0.1)).train(),
            ids(),
            None,
            {"train_eval"},
        ),
        "dropout always": (AlwaysDropping().eval(), ids(), None, {"train_eval"}),
        "training computes another thing": (Skewed().eval(), ids(), None, {"train_eval"}),
        "state kept": (draw(Keeping()), ids(), None, {"stateful"}),
        "buffer written": (Counting().eval(), ids(), None, {"stateful"}),
        "mask dropped with attention": (draw(Attending()), ids(), None, {"observed"}),
        "mask dropped by torch's layer": (dropping_encoder(), ids(), None, {"observed"}),
        "mask dropped by an attribute": (draw(AttributeAttending()), ids(), None, {"observed"}),
        "another path when watched": (Watched().eval(), ids(), None, {"observed"}),
        "NaN on an empty row": (draw(EmptyNan()), ids(), some, {"empty_row"}),
        "step forgets": (draw(Stepping()), ids(), None, {"step_parallel"}),
        "step changes its state": (draw(Stepping("in place")), ids(), None, {"step_parallel"}),
        "cut at 64": (Cut(ours("gru", True)), longer, None, {"truncation"}),
        "cut at 64 and filled": (Cut(ours("tcn", True), fill=True), longer, None, {"truncation"}),
        "cut at 64, pooled": (Cut(ours("transformer", False)), longer, None, {"truncation"}),
        "cut at 64, last state": (Cut(ours("lstm", False)), longer, None, {"truncation"}),
        "cut beyond the data": (Cut(ours("elman", False)), ids(length=40), None, {"truncation"}),
        "rows mixed": (Mixing().eval(), ids(), None, {"batch_mates", "batch_order"}),
        "rows out of order": (draw(Unsorted()), ids(), some, {"batch_mates", "batch_order"}),
        "place in the batch": (PlaceInBatch().eval(), ids(), None, {"batch_order", "batch_mates"}),
    }
