"""Whether our evaluator agrees with every label of the ListOps files of Nangia & Bowman.

Prints   by file: rows, rows whose label our evaluator gives, and the first that differ

    python bench/listops_labels.py FOLDER
"""

import argparse
import sys
from pathlib import Path

from howfar.tasks.listops_values import evaluate, read_nangia


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="holds *.tsv or *.tsv.gz")
    folder = parser.parse_args().folder
    paths = sorted([*folder.glob("*.tsv"), *folder.glob("*.tsv.gz")])
    if not paths:
        parser.error(f"{folder} holds no *.tsv or *.tsv.gz")
    wrong = 0
    for path in paths:
        rows = [(evaluate(tokens), label) for tokens, label in read_nangia(path)]
        differ = [number for number, (got, want) in enumerate(rows, start=1) if got != want]
        print(f"{path.name}: {len(rows) - len(differ):,} of {len(rows):,} labels agree")
        for number in differ[:5]:
            print(f"  row {number}: evaluator {rows[number - 1][0]}, label {rows[number - 1][1]}")
        wrong += len(differ)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
