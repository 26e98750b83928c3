"""The report folder: the page, each figure as SVG and PNG, and all numbers as JSON.

Idea     everything is made in a folder inside the target and then moved file by file, so that a
         full disk or an interruption leaves the earlier report as it was
"""

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from howfar.record import codec
from howfar.record.comparison import SCHEMA, Comparison, Demand
from howfar.report import draw, page, plot, words

NEEDS = (
    "mutual-information",
    "counting-and-copying",
    "tf-idf-last-tokens",
    "tf-idf-first-tokens",
)
PAGE, RECORDS, FIGURES, DEMAND = "report.html", "records.json", "figures", "demand.json"


def write_report(
    comparisons: Sequence[Comparison], folder: str | Path, title: str = page.TITLE
) -> Path:
    """Write `report.html`, `figures/NAME.svg`, `figures/NAME.png` and `records.json`.

    Args:
        comparisons: one section of the page each.
        folder: created where missing; other files in it are left alone.
        title: the page's heading.

    Returns:
        The path of the page.

    Raises:
        OSError: the folder or a file in it cannot be written.
    """
    target = Path(folder)
    parts = page.sections(comparisons)
    files: dict[str, bytes] = {}
    for part in parts:
        # One comparison needs no prefix; several keep their figures apart by it.
        prefix = f"{part.key}-" if len(parts) > 1 else ""
        drawn = {f"{prefix}{f.name}": f.svg for f in (*part.figures, *part.learning)}
        files |= {f"{FIGURES}/{name}": data for name, data in _pictures(drawn).items()}
    files[RECORDS] = records_text(comparisons).encode("utf-8", "backslashreplace")
    files[PAGE] = page.render_page(parts, title).encode()
    _place(files, target)
    _drop_stale(target / FIGURES, {name for name in files if name.startswith(FIGURES)})
    return target / PAGE


def _drop_stale(folder: Path, fresh: set[str]) -> None:
    """Remove figures of an earlier report that this one does not have: they would mislead."""
    for path in folder.glob("*.*"):
        ours = path.suffix in (".svg", ".png") and path.stem.rpartition("-")[2] in plot.FIGURES
        if ours and f"{FIGURES}/{path.name}" not in fresh:
            path.unlink()


def save_demand(demand: Demand, folder: str | Path) -> list[Path]:
    """Write each measure of demand as NAME.svg and NAME.png, and all numbers as demand.json.

    Raises:
        OSError: the folder or a file in it cannot be written.
    """
    target = Path(folder)
    charts = plot.need_charts(words.shown(demand).needs)
    keys = page.slugs(list(charts))
    pictures = zip(keys, charts.values(), strict=True)
    files = _pictures({key: draw.svg(chart, key) for key, chart in pictures})
    text = json.dumps(codec.to_data(demand), indent=2, ensure_ascii=False, allow_nan=False)
    files[DEMAND] = f"{text}\n".encode("utf-8", "backslashreplace")
    _place(files, target)
    for name in NEEDS:  # an earlier run on other data may have had more
        for path in (target / f"{name}.svg", target / f"{name}.png"):
            if path.name not in files:
                path.unlink(missing_ok=True)
    return [target / name for name in files]


def save_figures(comparison: Comparison, folder: str | Path) -> list[Path]:
    """Write every figure that applies as NAME.svg and NAME.png; returns the paths.

    Raises:
        OSError: the folder or a file in it cannot be written.
    """
    target = Path(folder)
    part = page.sections([comparison])[0]
    files = _pictures({f.name: f.svg for f in (*part.figures, *part.learning)})
    _place(files, target)
    return [target / name for name in files]


def records_text(comparisons: Sequence[Comparison]) -> str:
    """All records as one JSON document, `{"schema": ..., "comparisons": [...]}`."""
    document = {"schema": SCHEMA, "comparisons": codec.to_data(tuple(comparisons))}
    return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_records(path: str | Path) -> tuple[Comparison, ...]:
    """Read a `records.json`.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not JSON, of another schema, or has unknown or missing fields.
    """
    document = json.loads(Path(path).read_text("utf-8"))
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise ValueError(f"{path}: expected records of schema {SCHEMA}, found {found!r}.")
    return tuple(codec.from_data(Comparison, item) for item in document["comparisons"])


def _pictures(drawn: Mapping[str, str]) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for name, text in drawn.items():
        files[f"{name}.svg"] = text.encode()
        files[f"{name}.png"] = draw.png(text)
    return files


def _place(files: Mapping[str, bytes], target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target, prefix=".howfar-"))
    try:
        for name, data in files.items():
            (beside / name).parent.mkdir(exist_ok=True)
            page.write_whole(beside / name, data)
        for name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (beside / name).replace(target / name)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
