"""The comparison as a table for a terminal: families, baselines, advice, warnings, data.

Idea     columns go, least important first, until the table fits; numbers are never broken
Safety   every text is a rich `Text`, never markup, and holds no control character
"""

import io
import textwrap
from collections.abc import Iterator, Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from howfar.record.comparison import Comparison, Demand
from howfar.report import words
from howfar.report.grid import Column, Grid, Line, distance_grid, main_grid

_GAP = 2  # blank columns between two cells
_NAME_LIMIT = 24


def comparison_table(comparison: Comparison) -> RenderableType:
    """A renderable that lays the comparison out for whatever width it is printed at."""
    return _Sheet(words.shown(comparison))


def render_text(comparison: Comparison, width: int = 100) -> str:
    """The comparison as plain text: no colour, no markup, the same on every machine."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=width,
        color_system=None,
        force_terminal=False,
        legacy_windows=False,
        _environ={},
    )
    console.print(comparison_table(comparison))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()).strip("\n") + "\n"


def render_demand(demand: Demand, width: int = 100) -> str:
    """How far the data reaches, one line a way of asking, as plain text."""
    needs = words.shown(demand).needs
    numbers = [words.need_text(need) for need in needs]
    name = max((len(need.name) for need in needs), default=0)
    digits = max(map(len, numbers), default=0)
    lines = []
    for need, number in zip(needs, numbers, strict=True):
        head = f"{need.name:<{name}}  {number:>{digits}}  "
        lines += textwrap.wrap(
            head + need.says, width, subsequent_indent=" " * len(head), drop_whitespace=True
        )
    lines.append(f"Data: {words.data_line(words.shown(demand).data)}")
    return "\n".join(lines) + "\n"


class _Sheet:
    def __init__(self, comparison: Comparison) -> None:
        self._comparison = comparison

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        comparison = self._comparison
        yield from _sheet(main_grid(comparison), options.max_width)
        if comparison.baselines:
            yield Text("Names in brackets are baselines.", style="dim")
        for row in comparison.rows:
            if (message := words.failure(row)) is not None:
                yield Text(f"{words.cut(row.family, _NAME_LIMIT)} {message}")
        distances = distance_grid(comparison)
        if distances is not None:
            yield Text(f"\n{distances.title}", style="bold")
            yield from _sheet(distances, options.max_width)
        if comparison.advice:
            yield Text(f"\n{comparison.advice}")
        if comparison.demand:
            parts = (f"{need.name} {words.need_text(need)}" for need in comparison.demand)
            yield Text(f"The data itself reaches, in tokens: {'; '.join(parts)}.")
        if comparison.interrupted:
            yield Text("\nThis comparison was interrupted: the families after that are missing.")
        for warning in comparison.warnings:
            yield Text(f"Warning: {warning}", style="yellow")
        yield Text(f"Data: {words.data_line(comparison.data)}")


def _sheet(grid: Grid, width: int) -> Iterator[RenderableType]:
    kept = _fit(grid, width)
    if _width(grid, kept) > width:
        yield from _stacked(grid, kept)
        return
    yield _table(grid, kept)
    left_out = [_flat(c.header) for i, c in enumerate(grid.columns) if i not in kept]
    if left_out:
        yield Text(f"Left out at this width: {', '.join(left_out)}.", style="dim")


def _table(grid: Grid, kept: Sequence[int]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for i in kept:
        column = grid.columns[i]
        table.add_column(
            Text(_header(column)), justify="right" if column.numeric else "left", no_wrap=True
        )
    for before, line in zip((None, *grid.lines), grid.lines, strict=False):
        if before is not None and before.kind != line.kind:
            table.add_section()
        style = "dim" if line.kind == "baseline" else ""
        table.add_row(*(Text(_cell(line, i)) for i in kept), style=style)
    return table


def _stacked(grid: Grid, kept: Sequence[int]) -> Iterator[RenderableType]:
    for line in grid.lines:
        cells = ((grid.columns[i], _cell(line, i)) for i in kept[1:])
        pairs = (f"{_flat(_header(column))} {cell}" for column, cell in cells if cell)
        yield Text(f"{_flat(_cell(line, 0))}: {', '.join(pairs)}")


def _cell(line: Line, index: int) -> str:
    if index == 0 and line.kind == "baseline":
        # Ours, not a stranger's: shown whole, on two lines where it is long.
        name = words.cut(line.cells[0], 2 * _NAME_LIMIT)
        return "\n".join(textwrap.wrap(f"({name})", _NAME_LIMIT, break_on_hyphens=False))
    if index == 0:
        return words.cut(line.cells[0], _NAME_LIMIT)
    if line.message is not None:
        return line.message.split(":")[0] if index == 1 else ""
    return line.cells[index]


def _fit(grid: Grid, width: int) -> list[int]:
    kept = list(range(len(grid.columns)))
    while _width(grid, kept) > width:
        last = max(kept, key=lambda i: grid.columns[i].priority)
        if grid.columns[last].priority == 0:
            break
        kept.remove(last)
    return kept


def _width(grid: Grid, kept: Sequence[int]) -> int:
    return sum(_column_width(grid, i) for i in kept) + _GAP * (len(kept) - 1)


def _column_width(grid: Grid, index: int) -> int:
    column: Column = grid.columns[index]
    texts = [_header(column), *(_cell(line, index) for line in grid.lines)]
    return max(cell_len(part) for text in texts for part in text.split("\n"))


def _header(column: Column) -> str:
    return words.cut(column.header, _NAME_LIMIT)


def _flat(header: str) -> str:
    return header.replace("-\n", "").replace("\n", " ")
