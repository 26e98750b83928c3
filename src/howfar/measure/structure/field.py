"""Theoretical receptive field: which inputs a stack of layers lets an output see, by arithmetic.

Idea     output i of a layer with kernel k, stride s, dilation d and `left` zeros before the text
         sees inputs i s - left .. i s - left + (k-1) d. Composed over layers:

             RF = 1 + sum_l (k_l - 1) d_l prod_{i<l} s_i,   jump = prod s_i,
             first = - sum_l left_l prod_{i<l} s_i

         so that output i sees inputs first + i jump .. first + i jump + RF - 1.
         Branches side by side see what any of them sees; attention over a window of w adds w - 1;
         recurrence, attention, pooling or a norm over the whole text see everything on their side
Units    tokens
Limits   exact for stacks that run one after the other; another order of calls cannot be read off
         a list of modules. A LayerNorm is taken to be over features. At the ends of a text, padding
         wider than a kernel and inputs that a stride leaves over make less of a field than said
Source   Araujo, Norris & Sim 2019, https://distill.pub/2019/computing-receptive-fields
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from torch import nn

from howfar.core.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Output i sees inputs first + i jump .. first + i jump + size - 1.

    before, after: everything on that side is seen, whatever first and size say.
    """

    first: int = 0
    size: int = 1
    jump: int = 1
    before: bool = False
    after: bool = False

    @property
    def span(self) -> int | None:
        """Tokens one output sees; None: unbounded."""
        return None if self.before or self.after else self.size

    @property
    def past(self) -> int | None:
        """Tokens before its own that an output sees, where outputs are as many as inputs."""
        return None if self.before else max(0, -self.first)

    @property
    def future(self) -> int | None:
        """Tokens after its own that an output sees, where outputs are as many as inputs."""
        return None if self.after else max(0, self.first + self.size - 1)

    @property
    def kept(self) -> int | None:
        """`past` and the token itself."""
        return None if self.past is None else self.past + 1

    def sees(self, output: int, length: int) -> tuple[int, int] | None:
        """First and last input of a text of `length` that an output sees; None: padding alone."""
        place = self.first + output * self.jump
        low = 0 if self.before else max(place, 0)
        high = length - 1 if self.after else min(place + self.size - 1, length - 1)
        return (low, high) if low <= high else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A convolution or pooling: kernel taps, `dilation` apart; zeros before and after the text."""

    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    left: int = 0
    before: bool = False
    after: bool = False


@dataclass(frozen=True, slots=True)
class Branches:
    """Stacks side by side whose answers are added or joined; an empty one is a residual."""

    stacks: tuple[Sequence["Step"], ...]


Step: TypeAlias = Layer | Branches | nn.Module


def window(tokens: int, *, causal: bool = True) -> Layer:
    """Attention over `tokens` tokens: the last ones, or centred on its own."""
    return Layer(kernel=tokens, left=tokens - 1 if causal else (tokens - 1) // 2)


def everything(*, causal: bool = True) -> Layer:
    """Recurrence or attention over all tokens so far, or, not causal, of the whole text."""
    return Layer(before=True, after=not causal)


def receptive_field(steps: Step | Sequence[Step], start: Field | None = None) -> Field:
    """The receptive field of a stack.

    Args:
        steps: torch modules, `Layer`s and `Branches`, in the order they run; or one of these.
        start: the field of what they read; None: the tokens themselves.

    Raises:
        UsageError: E-MODULE for a module it cannot read; E-OPTION for branches that do not fit.
    """
    field = start or Field()
    for step in [steps] if isinstance(steps, Layer | Branches | nn.Module) else steps:
        if isinstance(step, Layer):
            field = _through(field, step)
        elif isinstance(step, Branches):
            field = _union([receptive_field(stack, field) for stack in step.stacks])
        elif isinstance(step, nn.Sequential):
            field = receptive_field(list(step), field)
        else:
            field = _through(field, layer_of(step))
    return field


def _through(field: Field, layer: Layer) -> Field:
    return replace(
        field,
        first=field.first - layer.left * field.jump,
        size=field.size + (layer.kernel - 1) * layer.dilation * field.jump,
        jump=field.jump * layer.stride,
        before=field.before or layer.before,
        after=field.after or layer.after,
    )


def _union(fields: Sequence[Field]) -> Field:
    if len({field.jump for field in fields}) != 1:
        strides = sorted({field.jump for field in fields})
        message = f"Branches with strides {strides} do not end at the same places."
        raise UsageError("E-OPTION", message, "one or more branches of one total stride.")
    first = min(field.first for field in fields)
    last = max(field.first + field.size for field in fields)
    return Field(
        first=first,
        size=last - first,
        jump=fields[0].jump,
        before=any(field.before for field in fields),
        after=any(field.after for field in fields),
    )


_POINTWISE = (
    nn.Identity,
    nn.Embedding,
    nn.Linear,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.BatchNorm1d,
    nn.Dropout,
    nn.Dropout1d,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Hardtanh,
    nn.PReLU,
    nn.SELU,
    nn.Mish,
)
_EVERYTHING = (
    nn.MultiheadAttention,
    nn.TransformerEncoderLayer,
    nn.TransformerEncoder,
    nn.AdaptiveMaxPool1d,
    nn.AdaptiveAvgPool1d,
    nn.InstanceNorm1d,
    nn.GroupNorm,
)


def layer_of(module: nn.Module) -> Layer:
    """A torch module as a layer.

    Raises:
        UsageError: E-MODULE where it is none of the known ones.
    """
    if isinstance(module, nn.Conv1d):
        return _convolution(module)
    if isinstance(module, nn.MaxPool1d | nn.AvgPool1d):
        return Layer(
            kernel=_one(module.kernel_size),
            stride=_one(module.stride),
            dilation=_one(getattr(module, "dilation", 1)),
            left=_one(module.padding),
        )
    if isinstance(module, nn.ConstantPad1d | nn.ReplicationPad1d | nn.ReflectionPad1d):
        return Layer(left=int(module.padding[0]))
    if isinstance(module, nn.RNNBase):
        return everything(causal=not module.bidirectional)
    if isinstance(module, _EVERYTHING):
        return everything(causal=False)
    if isinstance(module, _POINTWISE):
        return Layer()
    message = f"What {type(module).__name__} sees cannot be read off its settings."
    raise UsageError("E-MODULE", message, "a Layer in its place, or the numeric support.")


def _convolution(module: nn.Conv1d) -> Layer:
    kernel, dilation = _one(module.kernel_size), _one(module.dilation)
    if isinstance(module.padding, str):
        left = (kernel - 1) * dilation // 2 if module.padding == "same" else 0
    else:
        left = _one(module.padding)
    return Layer(kernel=kernel, stride=_one(module.stride), dilation=dilation, left=left)


def _one(value: int | tuple[int, ...]) -> int:
    return int(value[0]) if isinstance(value, tuple) else int(value)
