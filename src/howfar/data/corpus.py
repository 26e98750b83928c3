"""Any source becomes a corpus for any aim.

Idea     one loader an aim; where no aim is named, running text is for the next token, and a table
         with labels for classes
"""

from dataclasses import replace

from howfar.core.errors import DataError, UsageError, closest, shown
from howfar.data.aims.documents import load_documents
from howfar.data.aims.labels import load_classes, load_several
from howfar.data.aims.numbers import load_numbers
from howfar.data.aims.opening import Source, open_source
from howfar.data.aims.options import CorpusOptions
from howfar.data.aims.pairs import load_pairs
from howfar.data.aims.roles import text_and_label
from howfar.data.aims.tagging import load_tags
from howfar.data.anything import Rows
from howfar.data.examples import AIMS, Aim, Corpus

__all__ = ["CorpusOptions", "guess_aim", "load_corpus"]

_LOADERS = {
    "classification": load_classes,
    "multilabel": load_several,
    "tagging": load_tags,
    "regression": load_numbers,
    "seq2seq": load_pairs,
}


def load_corpus(
    source: Source, aim: Aim | None = None, options: CorpusOptions | None = None
) -> Corpus:
    """Read, split, tokenise and cut a source for an aim.

    Args:
        source: whatever `howfar.data.anything.open_rows` opens.
        aim: what is to be learned; None guesses, and says so in the notes.
        options: see `CorpusOptions`.

    Raises:
        DataError: whatever is wrong with the content.
        UsageError: E-OPTION, E-NO-FILE, E-REMOTE.
        EnvironmentFault: E-PERMISSION, E-READ.
    """
    chosen = options or CorpusOptions()
    if aim is None:
        rows = open_source(source, chosen)
        aim = guess_aim(rows, chosen)
        corpus = load_corpus(rows, aim, chosen)
        said = f"The aim {aim} was guessed; --aim names another."
        return replace(corpus, data=replace(corpus.data, notes=(said, *corpus.data.notes)))
    if aim not in AIMS:
        near = closest(str(aim), AIMS)
        message = f"No aim is called {shown(aim)}. {near}Known: {', '.join(AIMS)}."
        raise UsageError("E-OPTION", message, "--aim classification")
    if aim in ("lm", "masked"):
        return load_documents(source, aim, chosen)
    return _LOADERS[aim](source, chosen)


def guess_aim(rows: Rows, options: CorpusOptions) -> Aim:
    """The aim that suits: "lm" for texts alone, "classification" for texts with labels.

    Raises:
        DataError: E-COLUMN for a table whose columns tell nothing; else as `load_corpus`.
    """
    if rows.kind == "text" or (len(rows.names) == 1 and options.label is None):
        return "lm"
    try:
        text_and_label(rows, (options.text, options.label))
    except DataError as unclear:
        if unclear.code != "E-COLUMN" or options.text or options.label:
            raise
        message = f"{unclear.message} So it is not clear what is to be learned."
        hint = f"--aim, one of {', '.join(AIMS)}; or {unclear.hint}"
        raise DataError("E-COLUMN", message, hint) from unclear
    return "classification"
