"""A table larger than memory: written, read, trained on for some steps; time and resident memory.

Use      python faults/large_table.py --gigabytes 1 --format jsonl --aim classification --folder F
Idea     what is measured happens in a process of its own; `Peak` of `large_text` samples it
Table    texts of 40 to 300 English-like words by Zipf's law, the class in one of their words
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from large_text import Peak, say, write_text

from howfar.api.training import CorpusOptions, Place, Recipe, Watching, train_file
from howfar.data.draws import generator

MARKS = {"pos": ("splendid", "wonderful"), "neg": ("dreadful", "boring")}


def texts(folder: Path, seed: int) -> Iterator[tuple[str, str]]:
    """Texts and their labels, without end."""
    source = folder / "words.txt"
    write_text(source, 20_000_000, seed)
    words = source.read_text(encoding="utf-8").split()
    source.unlink()
    draws, row = generator(seed, "rows"), 0
    while True:
        starts = draws.integers(0, len(words) - 300, 1000).tolist()
        for start, size in zip(starts, draws.integers(40, 300, 1000).tolist(), strict=True):
            label = "pos" if draws.random() < 0.5 else "neg"
            row += 1
            yield f"{' '.join(words[start : start + size])} {MARKS[label][row % 2]}, {row}", label


def write_table(path: Path, size: int, seed: int) -> int:
    """Write about `size` bytes of CSV or JSON Lines; returns the rows."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table: Any = csv.writer(file)
        if path.suffix == ".csv":
            table.writerow(["text", "label"])
        for row, (text, label) in enumerate(texts(path.parent, seed)):
            if row % 1000 == 0 and file.tell() >= size:
                return row
            if path.suffix == ".csv":
                table.writerow([text, label])
            else:
                file.write(json.dumps({"text": text, "label": label}) + "\n")
    raise AssertionError("the texts have no end")


def measure(path: Path, aim: str, steps: int) -> None:
    """Train for some steps; print what reading and training took."""
    peak, began, count = Peak(), time.process_time(), [0]

    def told(data: Any) -> None:
        most = peak.most["Rss"] - peak.start["Rss"]
        seconds = time.process_time() - began
        say(f"{aim}: {data.train:,} to train on, read in {seconds:.1f} s of CPU, {most:+,.0f} MB")

    def step(stage: str, moment: Any) -> None:
        count[0] += 1

    with peak:
        train_file(
            path,
            aim,
            reading=CorpusOptions(text="text"),
            recipe=Recipe(family="gru"),
            place=Place(folder=path.parent / "model", overwrite=True),
            watching=Watching(progress=step, stop=lambda: count[0] >= steps),
            say=told,
        )
    say(f"{aim}: {count[0]:,} steps in {peak}")


def main() -> None:
    """Write the table once, then measure in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--format", choices=["jsonl", "csv"], default="jsonl")
    parser.add_argument("--aim", default="classification")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="the inner process")
    asked = parser.parse_args()
    path = asked.folder / f"large.{asked.format}"
    if asked.measure:
        measure(path, asked.aim, asked.steps)
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    try:
        rows = write_table(path, int(asked.gigabytes * 1e9), asked.seed)
        say(f"{path.stat().st_size / 1e9:.2f} GB, {rows:,} rows")
        inner = [sys.executable, __file__, "--measure", "--folder", str(asked.folder)]
        inner += ["--format", asked.format, "--aim", asked.aim, "--steps", str(asked.steps)]
        subprocess.run(inner, check=True)
    finally:
        path.unlink(missing_ok=True)
        shutil.rmtree(asked.folder / "model", ignore_errors=True)


if __name__ == "__main__":
    main()
