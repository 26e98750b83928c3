"""A character LSTM trained by somebody else in Keras, rebuilt in torch from its HDF5 weights.

Model    textgenrnn, MIT licence: embedding 465 x 100, two CuDNN LSTM layers of 128, an average over
         the 40 positions of [embedding, layer 1, layer 2] weighted by softmax(x . W), softmax over
         465 characters
Window   40 characters; index 0 is padding and stands on the left where a text is shorter, as
         Keras pads. The original masks nothing: padding is embedded, and gets attention
Layout   CuDNN: gates i, f, c, o side by side; each gate's matrices are stored transposed (the input
         ones as a transposed block of the same shape); two biases, which add up
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

HERE = Path(__file__).resolve().parents[2].parent / "shared" / "data"
FOLDER = HERE / "textgenrnn"
WINDOW, UNITS = 40, 128


def needed(path):
    """The path; without the shared data the test is skipped, except in CI."""
    if not path.exists():
        if os.environ.get("CI"):
            pytest.fail(f"{path.name} of the shared data is missing in CI")
        pytest.skip(f"../shared/data/{path.relative_to(HERE)} is not here")
    return path


class CharacterLstm(nn.Module):
    """(B, L) ids, at most 40 of them read -> (B, 465) logits of the next character."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(465, 100)
        self.first = nn.LSTM(100, UNITS, batch_first=True)
        self.second = nn.LSTM(UNITS, UNITS, batch_first=True)
        self.weigh = nn.Linear(356, 1, bias=False)
        self.output = nn.Linear(356, 465)

    def forward(self, tokens):
        tokens = tokens[:, -WINDOW:]
        tokens = nn.functional.pad(tokens, (WINDOW - tokens.shape[1], 0))
        x = self.embedding(tokens)
        one, _ = self.first(x)
        two, _ = self.second(one)
        all_BLD = torch.cat([x, one, two], dim=-1)
        share_BL1 = self.weigh(all_BLD).softmax(dim=1)
        return self.output((all_BLD * share_BL1).sum(1))


class EveryPosition(nn.Module):
    """The same model slid along: (B, L) -> (B, L, 465), each position with its own window."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens):
        padded = nn.functional.pad(tokens, (WINDOW - 1, 0))
        windows = padded.unfold(1, WINDOW, 1)
        logits = self.model(windows.reshape(-1, WINDOW))
        return logits.reshape(*tokens.shape, -1)


def _recurrent(layer, group):
    kernel, inner, bias = (np.asarray(group[f"{name}:0"]) for name in
                           ("kernel", "recurrent_kernel", "bias"))  # fmt: skip
    # A gate's block (in, units) holds the (units, in) matrix row by row: read it as such.
    into = [gate.T.reshape(gate.shape, order="F").T for gate in np.hsplit(kernel, 4)]
    turned = list(np.hsplit(inner, 4))
    with torch.no_grad():
        layer.weight_ih_l0.copy_(torch.from_numpy(np.concatenate(into)))
        layer.weight_hh_l0.copy_(torch.from_numpy(np.concatenate(turned)))
        layer.bias_ih_l0.copy_(torch.from_numpy(bias[: 4 * UNITS]))
        layer.bias_hh_l0.copy_(torch.from_numpy(bias[4 * UNITS :]))


def character_lstm():
    """The trained model and its table from characters to ids."""
    h5py = pytest.importorskip("h5py")
    needed(FOLDER)
    model = CharacterLstm()
    with h5py.File(FOLDER / "textgenrnn_weights.hdf5") as file, torch.no_grad():
        model.embedding.weight.copy_(torch.from_numpy(file["embedding/embedding/embeddings:0"][:]))
        _recurrent(model.first, file["rnn_1/rnn_1"])
        _recurrent(model.second, file["rnn_2/rnn_2"])
        weigh = file["attention/attention/attention_W:0"][:]
        model.weigh.weight.copy_(torch.from_numpy(weigh.T))
        model.output.weight.copy_(torch.from_numpy(file["output/output/kernel:0"][:].T))
        model.output.bias.copy_(torch.from_numpy(file["output/output/bias:0"][:]))
    table = json.loads((FOLDER / "textgenrnn_vocab.json").read_text("utf-8"))
    return model.eval(), table


def text_ids(path, table):
    """(tokens,) ids of a text; characters that the model does not know are left out."""
    text = needed(path).read_text("utf-8")
    return torch.tensor([table[c] for c in text if c in table])


def windows(ids, count, length, seed=0):
    """(count, length + 1) windows at places drawn without overlap."""
    apart = len(ids) // (length + 1)
    order = torch.randperm(apart, generator=torch.Generator().manual_seed(seed))[:count]
    return ids[order[:, None] * (length + 1) + torch.arange(length + 1)]
