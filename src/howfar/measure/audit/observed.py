"""Does looking inside change the answer?

Idea     the same rows with a hook on every module, with gradients recorded, with attention weights
         asked for, with attention computed the plain way, and from a tensor that is laid out
         otherwise: answers at real positions must stay. Finds masks that one way has and the other
         drops, such as when attention is returned
Limits   attention is asked for by the usual names of the argument or attribute (`ASKING`)
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from howfar.measure.audit.judge import OTHER_SHAPE, Moved, Pair, judge, shrunk
from howfar.measure.audit.report import Finding, Outcome, same_rows
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import EVAL, How, Refused, Subject

ASKING = (
    "need_weights",
    "output_attentions",
    "return_attention",
    "return_attentions",
    "return_attn",
    "return_weights",
    "return_attention_weights",
    "return_attn_weights",
    "need_attention",
    "need_attn",
    "output_attention",
    "with_attention",
)

Watching = Callable[[Subject, Rows], AbstractContextManager[Any]]
Way = tuple[str, Watching, How]


def check_observed(subject: Subject, material: Material) -> Outcome:
    """Whether an answer differs when the model is watched."""
    rows = material.ragged() if subject.takes_lengths else material.rows
    notes = []
    for name, watching, how in _ways(subject):
        asked = _Asked(subject, watching, how)
        try:
            found = asked.differ(rows)
        except Refused as refusal:
            notes.append(f"observed, {name}: {refusal}")
            continue
        if found:
            return Outcome((_finding(asked, rows, found, name),), notes=tuple(notes))
    return Outcome(notes=tuple(notes))


def _ways(subject: Subject) -> list[Way]:
    ways: list[Way] = [
        ("gradients are recorded", lambda subject, rows: nullcontext(), How(gradients=True)),
        ("its tokens are laid out otherwise in memory", _strided, EVAL),
    ]
    if subject.modules:
        ways.append(("its modules are watched", _hooked, EVAL))
    if any(_switches(part) for part in _parts(subject)) or _named(subject.predict):
        ways.append(("attention is returned", _returning, EVAL))
    if any(_held(part) for part in _parts(subject)):
        ways.append(("attention is returned (set as an attribute)", _set, EVAL))
    if any(hasattr(module, "set_attn_implementation") for module in _parts(subject)):
        ways.append(("attention is computed the plain way", _eager, EVAL))
    return ways


class _Asked:
    """Rows asked as usual and while watched."""

    def __init__(self, subject: Subject, watching: Watching, how: How) -> None:
        self.subject, self.watching, self.how = subject, watching, how

    def differ(self, rows: Rows) -> Moved | None:
        subject = self.subject

        def ask(how: How) -> Pair:
            usual = subject.answer(rows, How(exact=how.exact))
            manner = How(exact=how.exact, gradients=self.how.gradients)
            with subject.asking(manner), _undone(subject), self.watching(subject, rows):
                subject.draw_from(manner.noise)
                watched = subject.shaped(subject.raw(rows, manner), rows)
            return Pair(usual, watched, subject.real(rows))

        return judge(subject, ask, units=OTHER_SHAPE)


@contextmanager
def _undone(subject: Subject) -> Iterator[None]:
    """What watching leaves behind when the model raises within it is not left behind."""
    try:
        yield
    except BaseException:
        subject.guard.restore()
        raise


def _finding(asked: _Asked, rows: Rows, found: Moved, name: str) -> Finding:
    subject = asked.subject
    rows, found = shrunk(asked.differ, rows, found)
    where = f" at position {found.place}" if subject.everywhere else ""
    message = f"The answer{where} {found.words()} when {name}."
    example = same_rows(rows, found, everywhere=subject.everywhere)
    return Finding("observed", message, example)


def _parts(subject: Subject) -> list[nn.Module]:
    return list(subject.guard.parts.values())


class _Seen(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Any,  # noqa: ANN401 - any function of torch
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        return func(*args, **(kwargs or {}))


@contextmanager
def _hooked(subject: Subject, rows: Rows) -> Iterator[None]:
    """A hook that does nothing on every module, a mode that lets every function of torch pass.

    torch's fused attention, which skips hooks, is off.
    """
    fused = torch.backends.mha.get_fastpath_enabled()
    handles = [
        part.register_forward_hook(lambda module, given, output: None) for part in _parts(subject)
    ]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        with _Seen():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
        for handle in handles:
            handle.remove()


@contextmanager
def _strided(subject: Subject, rows: Rows) -> Iterator[None]:
    """Every second column of a wider tensor in place of a tensor of its own."""
    predict = subject.predict

    def spread(tokens: Tensor, *rest: Tensor) -> object:
        wide = tokens.repeat_interleave(2, dim=1)
        return predict(wide[:, ::2], *rest)

    subject.predict = spread
    try:
        yield
    finally:
        subject.predict = predict


@contextmanager
def _returning(subject: Subject, rows: Rows) -> Iterator[None]:
    """Attention asked for by argument, wherever a module's `forward` has one for it.

    A module that answers a tensor unless asked is made to hand its caller that tensor alone.
    """
    asked = [part for part in _parts(subject) if _switches(part)]
    alone = _alone(subject, rows, asked)

    def before(module: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> Any:  # noqa: ANN401
        bound = inspect.signature(module.forward).bind(*given, **named)
        bound.arguments[_switches(module)] = True
        return bound.args, bound.kwargs

    handles = [part.register_forward_pre_hook(before, with_kwargs=True) for part in asked]
    handles += _plain(asked, alone)
    predict, name = subject.predict, _named(subject.predict)
    if name and not isinstance(predict, nn.Module):
        subject.predict = lambda *given: _first(predict(*given, **{name: True}))
    try:
        yield
    finally:
        subject.predict = predict
        for handle in handles:
            handle.remove()


def _alone(subject: Subject, rows: Rows, parts: list[nn.Module]) -> dict[int, torch.Size]:
    """Of modules with a switch that is off, those that answer a tensor by itself: id -> shape."""
    found: dict[int, torch.Size] = {}

    def look(module: nn.Module, given: object, output: object) -> None:
        if isinstance(output, Tensor):
            found[id(module)] = output.shape

    handles = [part.register_forward_hook(look) for part in parts]
    try:
        subject.raw(rows)
    finally:
        for handle in handles:
            handle.remove()
    return found


def _plain(parts: list[nn.Module], alone: dict[int, torch.Size]) -> list[RemovableHandle]:
    """Make modules hand on the tensor that they hand on without weights, and it alone."""

    def after(module: nn.Module, given: object, output: object) -> object:
        return _like(output, alone[id(module)]) if id(module) in alone else None

    return [part.register_forward_hook(after) for part in parts]


def _like(output: object, shape: torch.Size) -> object:
    """The first of several tensors that has this shape."""
    if not isinstance(output, tuple | list):
        return output
    fitting = [part for part in output if isinstance(part, Tensor) and part.shape == shape]
    return fitting[0] if fitting else _first(output)


@contextmanager
def _set(subject: Subject, rows: Rows) -> Iterator[None]:
    """Attention asked for by an attribute of a module."""
    held = [part for part in _parts(subject) if _held(part)]
    handles = _plain(held, _alone(subject, rows, held))
    changed = [(part, name) for part in held for name in _held(part)]
    try:
        for part, name in changed:
            setattr(part, name, True)
        yield
    finally:
        for part, name in changed:
            setattr(part, name, False)
        for handle in handles:
            handle.remove()


@contextmanager
def _eager(subject: Subject, rows: Rows) -> Iterator[None]:
    """The plain attention of a Hugging Face model in place of its fused one."""
    changed: list[tuple[Any, str]] = []
    try:
        for part in _parts(subject):
            config = getattr(part, "config", None)
            before = getattr(config, "_attn_implementation", None)
            if hasattr(part, "set_attn_implementation") and isinstance(before, str):
                changed.append((part, before))
        for part, _ in changed:
            with suppress(ValueError):
                part.set_attn_implementation("eager")
        yield
    finally:
        for part, before in changed:
            part.set_attn_implementation(before)


def _switches(part: nn.Module) -> str:
    """The argument of `forward` that asks for weights and is off unless given; else ""."""
    return _named(part.forward)


def _named(called: object) -> str:
    called = called.forward if isinstance(called, nn.Module) else called
    try:
        known = inspect.signature(called).parameters  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    return next((name for name in ASKING if name in known), "")


def _held(part: nn.Module) -> list[str]:
    """Attributes that ask for weights and are off."""
    return [name for name in ASKING if vars(part).get(name) is False]


def _first(output: object) -> object:
    return output[0] if isinstance(output, tuple | list) and output else output
