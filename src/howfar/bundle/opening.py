"""From what a user names to a corpus: small data is held in memory, a large text stays on disk."""

import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from howfar.data.aims.opening import refuse_on_text
from howfar.data.corpus import CorpusOptions, load_corpus
from howfar.data.examples import Aim, Corpus
from howfar.data.large import is_large, load_large

__all__ = ["CorpusOptions", "open_corpus"]

WINDOW = 128  # tokens, of a large text


def open_corpus(
    source: Any,  # noqa: ANN401 - a path, "-", "hf:NAME" or a data set
    aim: Aim | None,
    options: CorpusOptions,
    progress: Callable[[float], None] | None = None,
) -> Corpus:
    """Read a corpus; what is too large for memory goes to `options.folder`, tokenised.

    Raises:
        DataError, UsageError, EnvironmentFault: whatever is wrong with it, in one line.
    """
    path = isinstance(source, (str, os.PathLike)) and source != "-"
    if path and aim in (None, "lm") and options.folder is not None and is_large(source):
        refuse_on_text(os.fspath(source), asdict(options))
        return load_large(
            source,
            tokens=options.tokens,
            length=options.length or WINDOW,
            folder=options.folder,
            encoding=options.encoding,
            encoding_errors=options.encoding_errors,
            max_vocabulary=options.max_vocabulary,
            progress=progress,
        )
    return load_corpus(source, aim, options)
