"""Put a run's own output and figure into the README.

    howfar compare recall --length 64 --batch 16 --budget '400k tokens' --out run
    python bench/readme.py run

The table between the markers of README.md is then what the program prints for that record;
`tests/test_readme.py` holds the two together. The record is kept in docs/readme/.
"""

import shutil
import sys
from pathlib import Path

from howfar.report.save import read_records
from howfar.report.table import render_text

HERE = Path(__file__).resolve().parent.parent
KEPT = HERE / "docs" / "readme"
START, END = "<!-- output -->\n```text\n", "```\n<!-- /output -->"
WIDTH = 100


def with_output(readme: str, output: str) -> str:
    """The README with the program's output between its markers."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    return before + START + output + END + after


def output() -> str:
    """What the program prints for the kept record."""
    (record,) = read_records(KEPT / "records.json")
    lines = render_text(record, width=WIDTH).rstrip().split("\n")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def main() -> None:
    """Copy the record and the figure of a run, and write the README."""
    run = Path(sys.argv[1])
    KEPT.mkdir(parents=True, exist_ok=True)
    shutil.copy(run / "records.json", KEPT / "records.json")
    shutil.copy(run / "figures" / "distance.svg", KEPT / "distance.svg")
    readme = HERE / "README.md"
    readme.write_text(with_output(readme.read_text("utf-8"), output()), "utf-8")


if __name__ == "__main__":
    main()
