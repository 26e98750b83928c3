"""One self-contained HTML page from comparisons: no script, no request, readable anywhere.

Idea     a template with autoescape over cleaned records; figures are inline SVG, each with its
         numbers as a table
Safety   the page forbids itself everything but its own styles by a content security policy
"""

import contextlib
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from howfar.record.comparison import Comparison, Data
from howfar.report import draw, glossary, numbers, words
from howfar.report.grid import Grid, distance_grid, main_grid
from howfar.report.plot import figures
from howfar.report.style import Look, looks

TITLE = "How far back do they look?"


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawn figure: its name, its SVG, and the table behind it."""

    name: str
    svg: str
    table: Grid | None

    @property
    def inline(self) -> Markup:
        """The SVG for the page. Its texts were escaped where it was serialised."""
        return Markup(self.svg)


@dataclass(frozen=True, slots=True)
class Section:
    """One comparison, ready for the template."""

    key: str
    record: Comparison
    main: Grid
    distances: Grid | None
    figures: tuple[Figure, ...]
    learning: tuple[Figure, ...]
    reaches: Grid | None
    notes: tuple[tuple[str, str], ...]
    baselines: Grid | None
    training: Grid | None
    rates: Grid | None
    asked: str
    lead: str
    data_line: str
    terms: tuple[glossary.Term, ...]


def write_page(comparisons: Sequence[Comparison], path: str | Path, title: str = TITLE) -> Path:
    """Write one page about all comparisons; a reader sees the old file or the new, never half.

    Args:
        comparisons: one section each, in this order.
        path: the HTML file; its folder must exist.
        title: the page's heading.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(path)
    write_whole(target, render_page(sections(comparisons), title).encode())
    return target


def sections(comparisons: Sequence[Comparison]) -> tuple[Section, ...]:
    """Draw and tabulate each comparison; a family looks the same in all of them."""
    clean = [words.shown(comparison) for comparison in comparisons]
    styles = looks(row.family for comparison in clean for row in comparison.rows)
    keys = slugs([comparison.data.name for comparison in comparisons])
    return tuple(
        _section(key, comparison, styles) for key, comparison in zip(keys, clean, strict=True)
    )


def render_page(parts: Sequence[Section], title: str = TITLE) -> str:
    """The page as text."""
    source = resources.files("howfar.report").joinpath("page.html.jinja").read_text("utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(source)
    return template.render(parts=parts, title=words.visible(title), data_pairs=_data_pairs)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it is whole or untouched: beside it first, then moved over it."""
    beside = path.parent / f".howfar-{secrets.token_hex(6)}"
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def slugs(names: Sequence[str]) -> list[str]:
    """A short, unique key of lower-case letters, digits and hyphens for each name."""
    keys: list[str] = []
    for number, name in enumerate(names, start=1):
        key = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:24].strip("-") or "data"
        keys.append(f"{key}-{number}" if key in keys else key)
    return keys


def _section(key: str, comparison: Comparison, styles: Mapping[str, Look]) -> Section:
    charts = figures(comparison, styles)
    tables = numbers.figure_numbers(comparison)
    drawn = [
        Figure(name, draw.svg(chart, f"{key}-{name}"), tables.get(name))
        for name, chart in charts.items()
    ]
    return Section(
        key=key,
        record=comparison,
        main=main_grid(comparison),
        distances=distance_grid(comparison),
        figures=tuple(figure for figure in drawn if figure.name != "learning"),
        learning=tuple(figure for figure in drawn if figure.name == "learning"),
        reaches=numbers.reach_grid(comparison),
        notes=tuple(
            (row.family, note)
            for row in comparison.rows
            for note in (*(row.reach.warnings if row.reach else ()), *row.notes)
        ),
        baselines=numbers.baseline_grid(comparison),
        training=numbers.training_grid(comparison),
        rates=numbers.rate_grid(comparison),
        asked=glossary.question(comparison),
        lead=glossary.lead(comparison),
        data_line=words.data_line(comparison.data),
        terms=glossary.terms(comparison),
    )


def _data_pairs(data: Data) -> dict[str, str]:
    counts = {
        "rows": data.rows,
        "dropped": data.dropped,
        "cut": data.truncated_rows,
        f"{data.unit}s cut off": data.truncated_tokens,
        "duplicates": data.duplicates,
        "vocabulary": data.vocabulary,
        "outside the vocabulary": data.unknown_tokens,
    }
    pairs = {name: words.count(value) for name, value in counts.items() if value}
    if data.licence is not None:
        pairs["licence"] = data.licence
    if data.sha256 is not None:
        pairs["sha256"] = data.sha256
    return pairs
