"""The one door to files: options of a corpus become options of `howfar.data.anything`."""

from collections.abc import Mapping
from typing import TypeAlias, cast

from howfar.core.errors import UsageError
from howfar.data.aims.options import CorpusOptions
from howfar.data.anything import Rows, open_rows
from howfar.data.faults import place
from howfar.data.large_table import is_large_table, open_large_table
from howfar.data.read import checked_options

Source: TypeAlias = object  # what `open_rows` opens, or rows that are open already
_OF_TABLES = {  # options that only a table gives a meaning -> what they are where nobody named them
    "label": None,
    "text": None,
    "group": None,
    "time": None,
    "separator": None,
    "no_header": False,
    "quote": '"',
    "label_separator": "|",
}


def open_source(source: Source, options: CorpusOptions) -> Rows:
    """All rows of a source; those of a large table lie in a file of `options.folder`.

    Raises:
        DataError, UsageError, EnvironmentFault: as for `open_rows`.
    """
    if isinstance(source, Rows):
        return source
    if options.folder is not None and is_large_table(source):
        how = checked_options(
            encoding=options.encoding,
            separator=options.separator,
            no_header=options.no_header,
            quote=options.quote,
            max_field=options.max_field,
            encoding_errors=options.encoding_errors,
            bad_rows=options.bad_rows,
        )
        return open_large_table(
            cast("str", source),
            how,
            folder=options.folder,
            bad_rows=options.bad_rows,
            rejects=options.rejects,
        )
    return open_rows(
        source,
        encoding=options.encoding,
        separator=options.separator,
        no_header=options.no_header,
        quote=options.quote,
        bad_rows=options.bad_rows,
        max_field=options.max_field,
        encoding_errors=options.encoding_errors,
        rejects=options.rejects,
    )


def refuse_on_text(path: str, given: Mapping[str, object]) -> None:
    """Refuse options of tables where a running text is read: they would be ignored.

    Args:
        path: of the text, for the message.
        given: options by name; of others than those of tables nothing is said.

    Raises:
        UsageError: E-OPTION.
    """
    for name, usual in _OF_TABLES.items():
        if given.get(name, usual) != usual:
            flag = "--sep" if name == "separator" else f"--{name.replace('_', '-')}"
            message = f"{flag} has no effect here: {place(path)} is a plain text."
            raise UsageError("E-OPTION", message, f"the same without {flag}, or a table")
