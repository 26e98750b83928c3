"""The one door to files: options of a corpus become options of `howfar.data.anything`."""

from typing import TypeAlias

from howfar.data.aims.options import CorpusOptions
from howfar.data.anything import Rows, open_rows

Source: TypeAlias = object  # what `open_rows` opens, or rows that are open already


def open_source(source: Source, options: CorpusOptions) -> Rows:
    """All rows of a source.

    Raises:
        DataError, UsageError, EnvironmentFault: as for `open_rows`.
    """
    if isinstance(source, Rows):
        return source
    return open_rows(
        source,
        encoding=options.encoding,
        separator=options.separator,
        no_header=options.no_header,
        bad_rows=options.bad_rows,
        max_field=options.max_field,
        encoding_errors=options.encoding_errors,
        rejects=options.rejects,
    )
