"""Models of `transformers` as `Predict`: causal, masked, classes, encoders, encoder-decoders.

Idea     the settings a measure needs (no cache, named outputs) hold during each call alone, in the
         call and in the configurations, where parts of a model look for them; padding is said by
         `attention_mask`, on the right
Classes  heads that find the last token by comparing ids with the padding's are read at each row's
         last real token instead, whatever its id
State    of `chunk`: keys and values of every layer, (B, heads, tokens, D) each; never changed
Limits   `transformers` is not imported here: a model is known by the names of its classes
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

import torch
from torch import Tensor, nn

from howfar.adapt.outputs import REALS, Key, choose, take
from howfar.adapt.wrapped import Wrapped, as_tensor, check_ids
from howfar.core.errors import UsageError
from howfar.core.protocols import State

SETTINGS = {"use_cache": False, "return_dict": True}


def is_pretrained(model: object) -> bool:
    """Whether a model is one of `transformers`."""
    return any(kind.__name__ == "PreTrainedModel" for kind in type(model).__mro__)


def longest(model: Any) -> int | None:  # noqa: ANN401 - a model with a `config`
    """Tokens the model's configuration says it was made for."""
    for module in model.modules():
        # RoBERTa and its kin count positions from behind the padding's id.
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            name = next(n for n, m in model.named_modules() if m is module)
            if name.endswith("position_embeddings"):
                return int(module.num_embeddings - module.padding_idx - 1)
    for name in ("max_position_embeddings", "n_positions", "max_seq_len"):
        found = getattr(model.config, name, None)
        if isinstance(found, int) and found > 0:
            return found
    return None


class Pretrained(Wrapped):
    """A model that answers `predict(tokens, lengths)`.

    Causal and masked models give (B, L, V) logits, classifiers (B, C), encoders (B, L, D) reals.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__(model)
        names = inspect.signature(model.forward).parameters
        loose = any(p.kind is p.VAR_KEYWORD for p in names.values())
        self.settings = {k: v for k, v in SETTINGS.items() if k in names or loose}
        self.masked = "attention_mask" in names
        self.short = "logits_to_keep" in names
        self.trained_length = longest(model)
        self.config = model.config
        table = model.get_input_embeddings()
        self.num_ids = getattr(table, "num_embeddings", None)
        self.key: Key = None
        # A head a position under a pooled answer: it can be read at any position.
        self.score = getattr(model, "score", None) if _classifies(model) else None
        if self.short and _grows(model):
            object.__setattr__(self, "chunk", self._chunk)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, L) ids and (B,) lengths -> logits, or hidden states of a model without a head."""
        given = self._given(tokens, lengths)
        if self.score is not None:
            answer = self.ask(lambda: self._scored(given, lengths), tokens)
        else:
            answer = self._read(self._output(given, tokens), len(tokens))
        return answer.to(tokens.device)

    def last(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, 1, V): a causal model's logits at each row's last token, without all the others."""
        if not self.short or int(lengths.min()) < tokens.shape[1]:
            answer = self(tokens, lengths)
            return cast("Tensor", answer[torch.arange(len(tokens)), lengths - 1][:, None])
        given = self._given(tokens, lengths) | {"logits_to_keep": 1}
        return self._read(self._output(given, tokens), len(tokens))[:, -1:].to(tokens.device)

    def _chunk(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """The next tokens (B, C) and the state so far -> logits (B, C, V) and the state after."""
        cache = _cache(self.config, cast("tuple[tuple[Tensor, Tensor], ...] | None", state))
        given = {"input_ids": self._ids(tokens), "past_key_values": cache, "use_cache": True}
        output = self._output(self.settings | given, tokens)
        after = tuple((layer.keys, layer.values) for layer in cache.layers)
        return self._read(output, len(tokens)).to(tokens.device), after

    def _output(self, given: dict[str, Any], tokens: Tensor) -> Any:  # noqa: ANN401
        with _set(self.model, **SETTINGS):
            return self.ask(lambda: self.model(**given), tokens)

    def _given(self, tokens: Tensor, lengths: Tensor) -> dict[str, Any]:
        given: dict[str, Any] = {"input_ids": self._ids(tokens), **self.settings}
        if self.masked:
            given["attention_mask"] = real(given["input_ids"], lengths)
        return given

    def _ids(self, tokens: Tensor) -> Tensor:
        if tokens.is_floating_point() or tokens.ndim != 2:
            message = f"The model reads token ids (N, L), and was given {tuple(tokens.shape)} of "
            raise UsageError("E-SHAPE", f"{message}{tokens.dtype}.", "whole numbers (N, L)")
        if self.num_ids is not None:
            check_ids(tokens, self.num_ids)
        return self.placed(tokens)

    def _read(self, output: object, rows: int) -> Tensor:
        if self.key is None:
            self.key = choose([output], [lambda part: part.ndim in (2, 3) and len(part) == rows])
            self.reals = self.key in REALS
        return as_tensor(take(output, self.key))

    def _scored(self, given: dict[str, Any], lengths: Tensor) -> Tensor:
        """The head's answer at each row's last real token: (B, C)."""
        caught: list[Tensor] = []
        assert self.score is not None
        handle = self.score.register_forward_hook(lambda module, x, y: caught.append(y))
        try:
            # Such heads refuse a batch where no padding id is set, even without padding.
            unset = self.config.get_text_config().pad_token_id is None
            with _set(self.model, **SETTINGS, **({"pad_token_id": 0} if unset else {})):
                output = self.model(**given)
        finally:
            handle.remove()
        if len(caught) != 1 or caught[0].ndim != 3:  # this one scores a pooled vector
            self.score = None
            return self._read(output, len(lengths))
        rows = torch.arange(len(lengths), device=caught[0].device)
        return caught[0][rows, lengths.to(caught[0].device) - 1]


class Translator(Wrapped):
    """An encoder-decoder: `predict(tokens, lengths, source, source_lengths)`.

    tokens (B, L) are what the decoder reads, its start id first; source (B, S) what the encoder
    reads. Returns (B, L, V) logits, or (B, L, D) reals of a model without a head.
    """

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__(model)
        self.num_ids = getattr(model.get_input_embeddings(), "num_embeddings", None)
        self.trained_length = longest(model)
        self.key: Key = None

    def forward(
        self,
        tokens: Tensor,
        lengths: Tensor,
        source: Tensor | None = None,
        source_lengths: Tensor | None = None,
    ) -> Tensor:
        """Logits at every position of `tokens`, given `source`."""
        if source is None:
            message = "An encoder-decoder needs what its encoder reads beside the decoder's tokens."
            raise UsageError("E-SOURCE", message, "source=ids (N, S)")
        for ids in (tokens, source) if self.num_ids is not None else ():
            check_ids(ids, cast("int", self.num_ids))
        full = torch.full((len(source),), source.shape[1])
        read, decoded = self.placed(source), self.placed(tokens)
        given = {
            "input_ids": read,
            "attention_mask": real(read, full if source_lengths is None else source_lengths),
            "decoder_input_ids": decoded,
            "decoder_attention_mask": real(decoded, lengths),
            **SETTINGS,
        }
        with _set(self.model, **SETTINGS):
            output = self.ask(lambda: self.model(**given), tokens)
        if self.key is None:
            rows = len(tokens)
            self.key = choose([output], [lambda part: part.ndim == 3 and len(part) == rows])
            self.reals = self.key in REALS
        return as_tensor(take(output, self.key)).to(tokens.device)


def real(tokens: Tensor, lengths: Tensor) -> Tensor:
    """1 at real positions, 0 at padding: (B, L) int64."""
    place_L = torch.arange(tokens.shape[1], device=tokens.device)
    return (place_L[None, :] < lengths.to(tokens.device)[:, None]).long()


def _classifies(model: object) -> bool:
    return any(kind.__name__.endswith("ForSequenceClassification") for kind in type(model).__mro__)


@contextmanager
def _set(model: nn.Module, **settings: Any) -> Iterator[None]:  # noqa: ANN401
    """Settings in every configuration of the model's parts for a while, then as they were."""
    configs = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    before = [
        (config, name, getattr(config, name))
        for config in configs.values()
        for name in settings
        if hasattr(config, name)
    ]
    try:
        for config, name, _ in before:
            setattr(config, name, settings[name])
        yield
    finally:
        for config, name, value in before:
            setattr(config, name, value)


def _grows(model: Any) -> bool:  # noqa: ANN401
    """Whether the cache is keys and values of all tokens, so that tensors alone restore it."""
    if getattr(model, "_is_stateful", False):
        return False
    try:
        layers = _cache(model.config, None).layers
    except (AttributeError, KeyError, TypeError, ValueError):  # no attention to cache
        return False
    return bool(layers) and all(type(layer).__name__ == "DynamicLayer" for layer in layers)


def _cache(config: Any, state: tuple[tuple[Tensor, Tensor], ...] | None) -> Any:  # noqa: ANN401
    """A cache that holds the state; it grows by concatenation, so the state stays as it is."""
    library: Any = import_module("transformers")
    return library.DynamicCache(ddp_cache_data=state, config=None if state else config)


class Last(Wrapped):
    """A causal model that answers at each row's last token alone: (B, 1, V)."""

    def __init__(self, predict: Pretrained) -> None:
        super().__init__(predict.model)
        self.predict = [predict]  # in a list, so that the model is not listed twice
        self.trained_length = predict.trained_length

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Logits at position lengths - 1."""
        return self.predict[0].last(tokens, lengths)
