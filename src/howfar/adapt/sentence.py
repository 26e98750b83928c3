"""Sentence encoders as `Predict`: ids in, one vector a row out, (B, D) reals.

Idea     a `SentenceTransformer` is called as it calls itself, on ids and a mask; a folder of one is
         read without that package: the encoder, then pooling and scaling as its files say
"""

from typing import Any, cast

from torch import Tensor, nn

from howfar.adapt.huggingface import Pretrained, longest, real
from howfar.adapt.wrapped import Wrapped, check_ids

POOLINGS = ("mean", "cls", "max")


def is_sentence_transformer(model: object) -> bool:
    """Whether a model is a `sentence_transformers.SentenceTransformer`."""
    return any(kind.__name__ == "SentenceTransformer" for kind in type(model).__mro__)


class Sentences(Wrapped):
    """A `SentenceTransformer`."""

    reals = True

    def __init__(self, model: Any) -> None:  # noqa: ANN401
        super().__init__(model)
        inner = getattr(model[0], "auto_model", None)
        table = inner.get_input_embeddings() if inner is not None else None
        self.num_ids = getattr(table, "num_embeddings", None)
        self.trained_length = getattr(model, "max_seq_length", None)
        if self.trained_length is None and inner is not None:
            self.trained_length = longest(inner)

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, D)."""
        if self.num_ids is not None:
            check_ids(tokens, self.num_ids)
        ids = self.placed(tokens)
        features = {"input_ids": ids, "attention_mask": real(ids, lengths)}
        output = self.ask(lambda: self.model(features), tokens)
        return cast("Tensor", output["sentence_embedding"]).to(tokens.device)


class Pooled(Pretrained):
    """An encoder whose hidden states become one vector a row.

    Args:
        model: of `transformers`, without a head.
        pooling: "mean" over real tokens, "cls" (the first) or "max".
        scaled: to length 1.
    """

    reals = True

    def __init__(self, model: Any, *, pooling: str = "mean", scaled: bool = False) -> None:  # noqa: ANN401
        super().__init__(model)
        self.pooling, self.scaled = pooling, scaled

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """(B, D)."""
        hidden_BLD = super().forward(tokens, lengths)
        real_BL1 = real(tokens, lengths)[..., None]
        if self.pooling == "cls":
            vector_BD = hidden_BLD[:, 0]
        elif self.pooling == "max":
            vector_BD = hidden_BLD.masked_fill(real_BL1 == 0, -1e9).amax(1)
        else:
            vector_BD = (hidden_BLD * real_BL1).sum(1) / real_BL1.sum(1).clamp(min=1)
        return nn.functional.normalize(vector_BD, dim=-1) if self.scaled else vector_BD
