"""Look inside a model while it runs, and leave it as it was.

Idea     forward hooks on the model's own modules: `embedded` catches what the embedding makes of
         the tokens and lets gradients begin there; `captured` keeps what named modules return.
         No argument of the model is replaced, so any model that calls its modules can be watched
Limits   a fused fast path that skips its modules skips their hooks too: `quiet(hooks=True)` turns
         torch's off. A model that looks its embeddings up without `nn.Embedding` needs its module
         named
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from howfar.core.errors import UsageError, closest, shown


@contextmanager
def quiet(predict: object, *, hooks: bool = False, gradients: bool = False) -> Iterator[None]:
    """Evaluation mode for a while, everything restored afterwards; plain callables are let be.

    Args:
        predict: an nn.Module, or any callable.
        hooks: also turn off torch's fused attention path, which calls no hooks.
        gradients: also let gradients pass cuDNN's recurrent layers (they ask for training mode;
            their dropout is set to 0 meanwhile) and stop those of parameters, which nobody reads.
    """
    modules = list(predict.modules()) if isinstance(predict, nn.Module) else []
    training = [module for module in modules if module.training]
    recurrent = [module for module in modules if isinstance(module, nn.RNNBase)]
    dropout = [module.dropout for module in recurrent]
    learning = [p for module in modules for p in module.parameters(recurse=False)]
    learning = [parameter for parameter in learning if parameter.requires_grad]
    fused = torch.backends.mha.get_fastpath_enabled()
    try:
        for module in training:
            module.training = False
        if hooks or gradients:
            torch.backends.mha.set_fastpath_enabled(False)
        if gradients:
            for module in recurrent:
                module.dropout, module.training = 0.0, True
            for parameter in learning:
                parameter.requires_grad_(False)
        yield
    finally:
        for module, share in zip(recurrent, dropout, strict=True):
            module.dropout, module.training = share, False
        for module in training:
            module.training = True
        for parameter in learning:
            parameter.requires_grad_(True)
        torch.backends.mha.set_fastpath_enabled(fused)


class Embedded:
    """What the embedding made of the tokens: `parts`, each (B, L, E), where gradients begin.

    Usually one part; more where one forward pass embeds the same tokens several times (tied
    encoder and decoder): the gradient of an input token is then the sum over parts.
    `modules`: which module made each part.
    """

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.modules: list[nn.Module] = []


@contextmanager
def embedded(predict: object, tokens: Tensor, name: str | None = None) -> Iterator[Embedded]:
    """Catch the embeddings of `tokens` in the passes made inside, with gradients from there on.

    Args:
        predict: an nn.Module that embeds integer tokens (B, L) by an `nn.Embedding`.
        tokens: what the passes inside will be asked; a module that is given other ids (positions,
            segments) is not taken for the embedding.
        name: of the embedding module, where it is no `nn.Embedding` or several would do.

    Raises:
        UsageError: E-EMBEDDING where there is none.
    """
    modules = _named(predict, [name]) if name else _embeddings(predict)
    found = Embedded()

    def catch(module: nn.Module, given: tuple[Any, ...], output: Tensor) -> Tensor | None:
        ids = given[0] if given else None
        straight = isinstance(ids, Tensor) and _equal(ids, tokens)
        # Where time is first the same ids come turned; parts are rows first all the same.
        turned = not straight and isinstance(ids, Tensor) and _equal(ids.mT, tokens)
        if not name and not straight and not turned:
            return None
        part = output.detach()
        part = (part.transpose(0, 1) if turned else part).requires_grad_()
        found.parts.append(part)
        found.modules.append(module)
        return part.transpose(0, 1) if turned else part

    handles = [module.register_forward_hook(catch) for module in modules]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def captured(
    predict: object, names: Sequence[str], keep: Callable[[Any], Any] | None = None
) -> Iterator[dict[str, list[Any]]]:
    """Keep what the named modules return in the passes made inside: name -> one entry a call.

    `keep` is applied to each output at once, such as a slice, so that memory stays small; by
    default the output's first tensor, detached.
    """
    modules = _named(predict, names)
    found: dict[str, list[Any]] = {name: [] for name in names}
    take = keep or (lambda output: _first(output).detach())

    def watcher(name: str) -> Callable[..., None]:
        return lambda module, given, output: found[name].append(take(output))

    handles = [
        module.register_forward_hook(watcher(name))
        for name, module in zip(names, modules, strict=True)
    ]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def passing(
    predict: object, names: Sequence[str], see: Callable[[str, nn.Module, Any, Any, Any], None]
) -> Iterator[None]:
    """Show every call of the named modules: `see(name, module, args, keywords, output)`."""
    modules = _named(predict, names)

    def watcher(name: str) -> Callable[..., None]:
        return lambda module, args, keywords, output: see(name, module, args, keywords, output)

    handles = [
        module.register_forward_hook(watcher(name), with_kwargs=True)
        for name, module in zip(names, modules, strict=True)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _equal(ids: Tensor, tokens: Tensor) -> bool:
    """The same numbers, wherever they are and whatever their width."""
    return ids.shape == tokens.shape and torch.equal(ids.to(tokens), tokens)


def _first(output: Any) -> Tensor:  # noqa: ANN401 - whatever a stranger's module returns
    """The first tensor of a tuple, a dict or a named output."""
    while not isinstance(output, Tensor):
        parts = list(output.values()) if hasattr(output, "values") else list(output)
        output = parts[0]
    return output


def _embeddings(predict: object) -> list[nn.Module]:
    modules = list(predict.modules()) if isinstance(predict, nn.Module) else []
    found: list[nn.Module] = [module for module in modules if isinstance(module, nn.Embedding)]
    if not found:
        message = "No embedding module was found, so there is nowhere gradients could begin."
        raise UsageError("E-EMBEDDING", message, "embedding='its.name', or real-valued inputs.")
    return found


def _named(predict: object, names: Sequence[str | None]) -> list[nn.Module]:
    known = dict(predict.named_modules()) if isinstance(predict, nn.Module) else {}
    for name in names:
        if name not in known:
            near = closest(str(name), known)
            message = f"The model has no module called {shown(name)}. {near}"
            raise UsageError("E-MODULE", message.strip(), "a name from model.named_modules().")
    return [known[str(name)] for name in names]
