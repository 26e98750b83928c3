"""A bundle's model as one file for other programs: `torch.export` (.pt2) or ONNX.

Idea     the model is traced with every recurrence as one operation (`howfar.models.kernels.graph`),
         for any batch and length >= 1; the file is loaded again and asked beside the model, at
         lengths up to one more than it was trained on, before it is put in its place
Shapes   tokens (B, L) int64, padded on the right, and lengths (B,) int64 -> logits (B, outputs),
         or (B, L, outputs), where what stands on padding is meaningless. Of regression the number
         in the units of the data, (B, 1): mean and deviation are folded into the head
Limits   models of one sequence, not of sequence to sequence. A loop over positions runs inside the
         file, so a recurrence is slower there than here. The tokeniser stays in the bundle;
         settings, with names of the answers, go along
Source   https://docs.pytorch.org/docs/stable/export.html; https://onnx.ai
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from howfar.bundle.bundle import Bundle
from howfar.bundle.exported import Form, compare, reader
from howfar.core.errors import EnvironmentFault, HowfarError, StoreError, UsageError, shown
from howfar.core.store import check_writable, write_file
from howfar.models import Model
from howfar.models.kernels import using

MEANT = "howfar.json"  # settings inside the file
ENDINGS: dict[str, Form] = {".pt2": "torch", ".onnx": "onnx"}
NEEDED = ("onnx", "onnxscript", "onnxruntime")
NOISY = (
    "torch.onnx",
    "torch.export",
    "torch._export",
    "torch._dynamo",
    "torch.fx",
    "onnxscript",
    "onnx_ir",
)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. checked: (batch, length) asked; largest_difference: from the model's."""

    path: Path
    format: Form
    largest_difference: float
    checked: tuple[tuple[int, int], ...]


class Asked(nn.Module):
    """The model with names for what it is given."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.model(tokens, lengths)
        return logits


def export(bundle: Bundle, path: str | Path, *, format: Form | None = None) -> Exported:
    """Write the model of a bundle to one file, and only if it answers as the model does.

    Args:
        bundle: its model reads one sequence: classification, tagging, language modelling and so on.
        path: of the file; what is there is replaced when the new one is complete.
        format: "torch" for a .pt2 of `torch.export.load`, "onnx" for ONNX; None: as the path's
            ending says, torch where it says nothing.

    Raises:
        UsageError: E-OPTION for a format that is not known or not that of the ending; E-EXPORT for
            a model of sequence to sequence.
        EnvironmentFault: E-EXTRA without onnx; E-PERMISSION, E-DISK or E-WRITE.
        StoreError: E-EXPORT if the model cannot be traced, or the file answers otherwise.
    """
    path = Path(path)
    format = _form(path, format)
    model = _checked(bundle, format)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    check_writable(path.parent, 2 * size)
    with _quiet():
        data = _written(bundle, model, format)
        try:
            found = compare(reader(data, format), model, bundle.settings.length)
        except Exception as error:
            raise _impossible(bundle, format, error) from error
    if not found.difference <= found.allowed:
        message = (
            f"The {format} file of {bundle.settings.family} answers otherwise than the model, by"
            f" {found.difference:.2g} at (batch, length) = {found.worst}; nothing was written."
        )
        other = "torch" if format == "onnx" else "onnx"
        raise StoreError("E-EXPORT", message, f"--format {other}")
    write_file(path, data)
    return Exported(path, format, found.difference, found.checked)


def _form(path: Path, asked: Form | None) -> Form:
    """The format that was asked for, or that the path's ending names.

    Raises:
        UsageError: E-OPTION.
    """
    if asked is not None and asked not in get_args(Form):
        raise UsageError("E-OPTION", f"format cannot be {shown(asked)}.", "torch or onnx")
    meant = ENDINGS.get(path.suffix.lower())
    if asked is not None and meant is not None and meant != asked:
        message = f"The name {shown(path.name)} is one of format {meant}, not {asked}."
        other = next(end for end, form in ENDINGS.items() if form == asked)
        raise UsageError("E-OPTION", message, f"--format {meant}, or a name that ends in {other}")
    return asked or meant or "torch"


def _checked(bundle: Bundle, format: Form) -> Model:
    """A copy of the model that can be traced: float32, on the CPU, nothing to learn."""
    if not isinstance(bundle.model, Model):
        message = "Only models of one sequence are exported, not those of sequence to sequence."
        raise UsageError("E-EXPORT", message, "`howfar generate`, which runs the bundle itself")
    if format == "onnx" and (missing := [name for name in NEEDED if find_spec(name) is None]):
        message = f"ONNX needs {', '.join(missing)}, not installed here."
        raise EnvironmentFault("E-EXTRA", message, "pip install 'howfar[onnx]'")
    model = copy.deepcopy(bundle.model).cpu().float().eval().requires_grad_(False)
    model.recompute = False
    if bundle.settings.scale is not None:
        mean, deviation = bundle.settings.scale
        model.head.weight.mul_(deviation)
        model.head.bias.mul_(deviation).add_(mean)
    return model


def _written(bundle: Bundle, model: Model, format: Form) -> bytes:
    """The bytes of the file."""
    # without the scale: who reads it here would apply it twice
    meant = json.dumps(asdict(replace(bundle.settings, scale=None)), sort_keys=True)
    try:
        traced = _traced(model)
        return _as_torch(traced, meant) if format == "torch" else _as_onnx(traced, meant)
    except HowfarError:
        raise
    except Exception as error:
        raise _impossible(bundle, format, error) from error


def _traced(model: Model) -> ExportedProgram:
    """The graph, for any batch and any length the model takes."""
    batch, length = Dim("batch", min=1), Dim("length", min=1, max=model.longest)
    # more than one of each, and no two sizes alike, lest they be taken for the same
    tokens_BL = torch.zeros(3, 5, dtype=torch.long)
    lengths = torch.tensor([5, 2, 4])
    shapes = {"tokens": {0: batch, 1: length}, "lengths": {0: batch}}
    with torch.no_grad(), using("graph"):
        return torch.export.export(Asked(model), (tokens_BL, lengths), dynamic_shapes=shapes)


def _as_torch(traced: ExportedProgram, meant: str) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(traced, buffer, extra_files={MEANT: meant})
    return buffer.getvalue()


def _as_onnx(traced: ExportedProgram, meant: str) -> bytes:
    with torch.no_grad():
        program = torch.onnx.export(
            traced, dynamo=True, verbose=False, input_names=["tokens", "lengths"],
            output_names=["logits"],
        )  # fmt: skip
    proto = cast("Any", program).model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = MEANT, meant
    return cast("bytes", proto.SerializeToString())


def _impossible(bundle: Bundle, format: Form, error: Exception) -> StoreError:
    """What went wrong, in one line: of a chain of errors the first tells most."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    told = " ".join(str(error).split()) or type(error).__name__
    family = bundle.settings.family
    message = f"A model of {shown(family)} cannot be exported as {format}: {shown(told, 200)}."
    other = "torch" if format == "onnx" else "onnx"
    return StoreError("E-EXPORT", message, f"--format {other}, or another family")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporters say of themselves."""
    loggers = [logging.getLogger(name) for name in NOISY]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
