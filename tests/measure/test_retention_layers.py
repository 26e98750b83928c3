"""Which layers retention finds in a model, and which state stands for which token."""

import pytest
import torch
from tests.measure import known
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from howfar.core.errors import UsageError
from howfar.measure import probe
from howfar.measure.retention import RetentionOptions, retention
from howfar.measure.retention.layers import find
from howfar.measure.retention.recurrent import layer_states
from howfar.models import build


class Alone(nn.Module):
    """Any module of tokens alone, as `predict`."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, lengths):
        return self.model(tokens)


class Text(nn.Module):
    """Embedding, something, head."""

    def __init__(self, body, width=8, classes=2):
        super().__init__()
        self.embedding = nn.Embedding(8, 6)
        self.body = body
        self.head = nn.Linear(width, classes)

    def forward(self, tokens, lengths):
        return self.head(self.body(self.embedding(tokens)))


class Convolutions(nn.Module):
    """Two convolutions with poolings, channels first, written out as attributes."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 6)
        self.first = nn.Conv1d(6, 32, 3)
        self.pair = nn.MaxPool1d(2)
        self.second = nn.Conv1d(32, 32, 3)
        self.top = nn.AdaptiveMaxPool1d(1)
        self.head = nn.Linear(32, 2)

    def forward(self, tokens, lengths):
        h = self.pair(self.first(self.embedding(tokens).transpose(1, 2)).relu())
        return self.head(self.top(self.second(h).relu())[..., 0])


class Loop(nn.Module):
    """A cell called once a token."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(8, 6)
        self.cell = nn.LSTMCell(6, 8)
        self.head = nn.Linear(8, 2)

    def forward(self, tokens, lengths):
        state, outputs = None, []
        for x in self.embedding(tokens).unbind(1):
            state = self.cell(x, state)
            outputs.append(self.head(state[0]))
        return torch.stack(outputs, dim=1)


def seqs(num=40, length=24, count=8):
    return probe.sequences(known.symbols(num, length, count), None, "last")


def names(model, **options):
    return [layer.name for layer in find(model, seqs(), None, **options).layers]


def ours(family, **settings):
    causal = settings.pop("causal", True)
    return build(family, vocabulary=8, outputs=2, width=12, causal=causal, **settings)


@pytest.mark.parametrize(
    ("model", "want"),
    [
        (
            lambda: ours("lstm", depth=2),
            [
                "embedding",
                "body.blocks.0.mixer.rnn",
                "body.blocks.0",
                "body.blocks.1.mixer.rnn",
                "body.blocks.1",
                "into the head",
            ],
        ),
        (
            lambda: ours("tcn", depth=2),
            ["embedding", "body.blocks.0", "body.blocks.1", "into the head"],
        ),
        (lambda: ours("textcnn"), ["embedding", "body.windows", "into the head"]),
        (
            lambda: Text(nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 8))),
            ["embedding", "body.0", "body.3"],
        ),
        (
            lambda: Text(
                nn.TransformerEncoder(
                    nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
                    2,
                    enable_nested_tensor=False,
                ),
                width=6,
            ),
            ["embedding", "body.layers.0", "body.layers.1"],
        ),
        (lambda: Convolutions(), ["embedding", "first", "pair", "second", "top"]),
        (Loop, ["embedding", "cell"]),
        (
            lambda: Alone(nn.Sequential(nn.Embedding(8, 4), nn.Linear(4, 3), nn.Linear(3, 2))),
            ["model.0", "model.1"],
        ),
    ],
)
def test_layers_are_found_in_order(model, want):
    assert names(model()) == want


def test_a_recurrent_module_is_taken_apart_layer_by_layer():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(8, 6)
            self.rnn = nn.LSTM(6, 5, num_layers=3)
            self.head = nn.Linear(5, 2)

        def forward(self, tokens, lengths):
            return self.head(self.rnn(self.embedding(tokens).transpose(0, 1))[0].transpose(0, 1))

    model = Recurrent()
    want = ["embedding", "rnn layer 1", "rnn layer 2", "rnn layer 3", "into the head"]
    assert names(model) == want
    found = retention(model, known.symbols(60, 24, 8))
    assert found.widths == (6, 10, 10, 10, 5)  # h and c, whatever order of axes


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_first": True},
        {"bidirectional": True},
        {"bias": False},
        {"proj_size": 3},
        {"nonlinearity": "relu"},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_states_taken_apart_are_those_of_the_module(kind, settings):
    if ("proj_size" in settings and kind is not nn.LSTM) or (
        "nonlinearity" in settings and kind is not nn.RNN
    ):
        return
    generator = torch.Generator().manual_seed(0)
    rnn = kind(5, 4, num_layers=3, **settings).double()
    x = torch.randn(6, 7, 5, generator=generator).double()
    rows = 6 if rnn.batch_first else 7
    ways, out = 1 + rnn.bidirectional, rnn.proj_size or 4
    h0 = torch.randn(3 * ways, rows, out, generator=generator).double()
    c0 = torch.randn(3 * ways, rows, 4, generator=generator).double()
    start = (h0, c0) if kind is nn.LSTM else h0
    for given in ((x,), (x, start)):
        with torch.no_grad():
            y, last = rnn(*given)
            states = layer_states(rnn, given, {})
        y = y if rnn.batch_first else y.transpose(0, 1)
        wide = states[-1].shape[-1] // ways
        top = torch.cat([states[-1][..., w * wide : w * wide + out] for w in range(ways)], dim=-1)
        torch.testing.assert_close(top, y)
        h, c = last if kind is nn.LSTM else (last, None)
        for layer, state in enumerate(states):
            torch.testing.assert_close(state[:, -1, :out], h[layer * ways])
            if c is not None:
                torch.testing.assert_close(state[:, -1, out : out + 4], c[layer * ways])


@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_packed_rows_of_both_directions_keep_their_order(kind):
    generator = torch.Generator().manual_seed(0)
    rnn = kind(5, 4, num_layers=2, bidirectional=True, batch_first=True).double()
    x = torch.randn(4, 7, 5, generator=generator).double()
    lengths = torch.tensor([3, 7, 2, 5])
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    h0 = torch.randn(4, 4, 4, generator=generator).double()
    start = (h0, h0 + 1) if kind is nn.LSTM else h0
    with torch.no_grad():
        y = pad_packed_sequence(rnn(packed, start)[0], batch_first=True)[0]
        state = layer_states(rnn, (packed, start), {})[-1]
    wide = state.shape[-1] // 2
    got = torch.cat([state[..., :4], state[..., wide : wide + 4]], dim=-1)
    real = torch.arange(7) < lengths[:, None]
    torch.testing.assert_close(got[real], y[real])


def test_states_that_are_fewer_than_tokens_stand_for_their_newest_token():
    found = find(Convolutions(), seqs(), None)
    parts = {layer.name: layer.parts[0] for layer in found.layers}
    # Valid windows of 3: output j sees tokens j .. j+2; pairs of them, 2j .. 2j+3; then windows
    # of three pairs, 2j .. 2j+7.
    assert (parts["first"].stride, parts["first"].newest) == (1, 2)
    assert (parts["pair"].stride, parts["pair"].newest) == (2, 3)
    assert (parts["second"].stride, parts["second"].newest) == (2, 7)
    assert parts["top"].time is None
    # Of 25 tokens the last one is in no pair: the last pair's newest is still token 23.
    odd = find(Convolutions(), seqs(length=25), None).layers
    assert [layer.parts[0].newest for layer in odd[1:4]] == [2, 3, 7]
    assert found.layers[-1].whole
    options = RetentionOptions(positions=16, lags=tuple(range(-1, 8)))
    tokens = known.symbols(300, 40, 8)
    layers = ["embedding", "first", "pair"]
    result = retention(Convolutions(), tokens, layers=layers, options=options)
    # A pooling window of two holds up to 4 tokens, and no other.
    wide = [
        [lag for lag, held in zip(result.lags, row, strict=True) if held] for row in result.held
    ]
    assert wide[0] == [0]
    assert wide[1] == [0, 1, 2]
    assert set(wide[2]) <= {0, 1, 2, 3}
    assert len(wide[2]) >= 3


def test_a_causal_convolution_holds_its_window():
    class Causal(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(8, 8)
            self.layers = nn.ModuleList(nn.Conv1d(w, 40, 3) for w in (8, 40))
            self.head = nn.Linear(40, 2)

        def forward(self, tokens, lengths):
            h = self.embedding(tokens).transpose(1, 2)
            for layer in self.layers:
                h = layer(nn.functional.pad(h, (2, 0)))
            return self.head(h.transpose(1, 2))

    options = RetentionOptions(positions=16, lags=tuple(range(9)), resamples=200)
    found = retention(Causal(), known.symbols(300, 40, 8), options=options)
    assert found.layers == ("embedding", "layers.0", "layers.1")
    assert found.reach == (0, 2, 4)
    assert found.held.sum(1).tolist() == [1, 3, 5]


def test_one_state_a_sequence_is_read_at_the_end():
    tokens = known.symbols(300, 24, 8)
    model = Convolutions()
    found = retention(model, tokens)
    assert found.num_samples == 195  # one a training sequence
    spread = retention(model, tokens, targets="spread")
    assert spread.layers == ("embedding", "first", "pair", "second")
    assert any("one state a sequence" in said for said in spread.warnings)


def test_named_layers():
    tokens = known.symbols(60, 24, 8)
    model = ours("lstm", depth=2)
    found = retention(model, tokens, layers=["body.blocks.1", "embedding"])
    assert found.layers == ("body.blocks.1", "embedding")
    assert retention(model, tokens, layers=["into the head"]).widths == (12,)
    with pytest.raises(UsageError, match=r"calls no module 'body.block.1'.*'body.blocks.1'"):
        retention(model, tokens, layers=["body.block.1"])
    with pytest.raises(UsageError, match=r"in an nn.Module only"):
        retention(lambda tokens, lengths: tokens, tokens)
    with pytest.raises(UsageError, match="No layers were found"):
        retention(Alone(nn.Identity()), tokens)


def test_the_model_is_left_as_it_was():
    class Dropped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Embedding(8, 6), nn.Dropout(0.5), nn.Linear(6, 6))

        def forward(self, tokens, lengths):
            return self.inner(tokens)

    model = Dropped().train()
    before = torch.random.get_rng_state()
    retention(model, known.symbols(60, 12, 8), layers=["inner.2"])
    assert torch.equal(before, torch.random.get_rng_state())
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_a_model_of_fixed_length():
    class Fixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(8, 6)
            self.blocks = nn.ModuleList([nn.Linear(6, 6), nn.Linear(6, 6)])
            self.head = nn.Linear(24 * 6, 2)

        def forward(self, tokens, lengths):
            h = self.embedding(tokens)
            for block in self.blocks:
                h = block(h)
            return self.head(h.flatten(1))

    assert names(Fixed()) == ["embedding", "blocks.0", "blocks.1", "into the head"]
    found = retention(Fixed(), known.symbols(300, 24, 8), layers=["blocks.1", "into the head"])
    assert found.layers[0] == "blocks.1"


def test_a_module_that_is_used_twice_gives_a_row_a_call():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(8, 6)
            self.blocks = nn.ModuleList([nn.Linear(6, 6)])

        def forward(self, tokens, lengths):
            h = self.embedding(tokens)
            for _ in range(3):
                h = self.blocks[0](h)
            return h + 1

    want = ["embedding", "blocks.0", "blocks.0 call 2", "blocks.0 call 3"]
    assert names(Shared()) == want
    assert retention(Shared(), known.symbols(60, 24, 8)).layers == tuple(want)
