"""A file of another format, asked beside the model it was made from.

Idea     the same tokens and lengths, padded rows among them, at batches and lengths that a graph
         traced at one shape gets wrong first: 1, a few, and one more than was trained on
Limits   differences are of logits: absolute where they are below 1, relative above
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from howfar.core.seeds import Seeds
from howfar.models import Model

Form: TypeAlias = Literal["torch", "onnx"]
Ask: TypeAlias = Callable[[Tensor, Tensor], Tensor]

BATCHES = (1, 2, 5)
LENGTHS = (1, 2, 7)
ALLOWED = 1e-4


@dataclass(frozen=True, slots=True)
class Comparison:
    """difference: the largest, found at `worst` (batch, length); NaN where one of both says so."""

    difference: float
    worst: tuple[int, int]
    checked: tuple[tuple[int, int], ...]
    allowed: float = ALLOWED


def reader(data: bytes, format: Form) -> Ask:
    """The file as a function: tokens (B, L) and lengths (B,) -> logits."""
    if format == "torch":
        module = torch.export.load(io.BytesIO(data)).module()

        def ask(tokens_BL: Tensor, lengths: Tensor) -> Tensor:
            logits: Tensor = module(tokens_BL, lengths)
            return logits

        return ask
    onnxruntime = import_module("onnxruntime")  # an extra
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])

    def run(tokens_BL: Tensor, lengths: Tensor) -> Tensor:
        given = {"tokens": tokens_BL.numpy(), "lengths": lengths.numpy()}
        return torch.as_tensor(session.run(None, given)[0])

    return run


def compare(ask: Ask, model: Model, most: int) -> Comparison:
    """Ask both at all shapes; most: the longest row in training."""
    longest = most + 1 if model.longest is None else model.longest
    lengths = [n for n in dict.fromkeys((*LENGTHS, most, most + 1)) if 1 <= n <= longest]
    checked = tuple((rows, length) for rows in BATCHES for length in lengths)
    found = {shape: _difference(ask, model, *shape) for shape in checked}
    # of a NaN no number is larger
    worst = max(found, key=lambda shape: (found[shape] != found[shape], found[shape]))
    return Comparison(found[worst], worst, checked)


@torch.no_grad()
def _difference(ask: Ask, model: Model, rows: int, length: int) -> float:
    generator = Seeds(0).torch(f"exported {rows} {length}")
    ids = len(model.embedding.weight)
    tokens_BL = torch.randint(ids, (rows, length), generator=generator)
    lengths = torch.randint(length + 1, (rows,), generator=generator)
    lengths[0] = length
    want, got = model(tokens_BL, lengths), ask(tokens_BL, lengths)
    if got.shape != want.shape:
        raise ValueError(f"it answers in the shape {tuple(got.shape)}, not {tuple(want.shape)}")
    off = (got - want).abs() / want.abs().clamp(min=1)
    if off.ndim == 3:
        real_BL = torch.arange(length) < lengths[:, None]
        off = off[real_BL]
    return float(off.max()) if off.numel() else 0.0
