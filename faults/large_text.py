"""A text larger than memory: written, tokenised, read in windows; time and resident memory.

Use      python faults/large_text.py --gigabytes 10 --tokens char --folder /tmp/large
Idea     everything that is measured happens in a process of its own, whose resident memory a
         sampler reads ten times a second; RssAnon is memory of its own, RssFile pages of files
Text     English-like words drawn from a fixed seed, Zipf's law, lines of about 80 characters
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import psutil

from howfar.data.draws import generator
from howfar.data.large import load_large
from howfar.data.mapped import MappedIds
from howfar.data.tokenise import Kind

WORDS = 50_000
BLOCK = 1 << 20  # words drawn at a time
ROWS, LENGTH = 32, 256


def write_text(path: Path, size: int, seed: int) -> None:
    """Write about `size` bytes of text."""
    draws = generator(seed, "words")
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    shares = np.arange(len(letters), 0, -1.0)
    words = sorted(
        {
            "".join(draws.choice(letters, count, p=shares / shares.sum()))
            for count in draws.integers(2, 11, WORDS)
        }
    )
    draws.shuffle(words)
    ends = ["\n" if place % 14 == 13 else " " for place in range(BLOCK)]
    weights = 1 / np.arange(1, len(words) + 1)
    edges = np.cumsum(weights) / weights.sum()
    known = np.array(words, dtype=object)
    with path.open("w", encoding="utf-8", newline="") as file:
        written = 0
        while written < size:
            drawn = known[np.searchsorted(edges, draws.random(BLOCK))]
            text = "".join([part for pair in zip(drawn, ends, strict=True) for part in pair])
            # The same words again in other lines: drawing all of them would take minutes a GB.
            for _ in range(8):
                cut = int(draws.integers(len(text)))
                written += file.write(text[cut:] + text[:cut])


def resident() -> dict[str, float]:
    """Resident MB of this process: RssAnon and RssFile, and their sum."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) / 1e3 for line in lines if "Rss" in line}
    total = psutil.Process().memory_info().rss / 1e6
    return {"Rss": total, "RssAnon": found["RssAnon"], "RssFile": found["RssFile"]}


class Peak:
    """The highest resident memory while the block runs, above that at its start."""

    def __enter__(self) -> "Peak":
        self.start, self.most = resident(), resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        self.began = time.perf_counter()
        self.cpu = time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.began
        self.cpu = time.process_time() - self.cpu
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.1):
            now = resident()
            self.most = {name: max(self.most[name], now[name]) for name in now}

    def __str__(self) -> str:
        above = ", ".join(
            f"{name} {self.most[name] - self.start[name]:+,.0f} MB" for name in self.most
        )
        return f"{self.seconds:.1f} s ({self.cpu:.1f} s CPU), peak above the start: {above}"


def measure(path: Path, folder: Path, tokens: Kind, batches: int, seed: int) -> None:
    """Tokenise, open again, and draw training windows; print what each took."""
    with Peak() as peak:
        corpus = load_large(path, folder=folder, tokens=tokens, length=LENGTH)
    say(f"{tokens}: {corpus.data.train:,} tokens to train on, {corpus.vocabulary:,} ids")
    say(f"{tokens}: tokenised in {peak}")
    with Peak() as peak:
        corpus = load_large(path, folder=folder, tokens=tokens, length=LENGTH)
    say(f"{tokens}: opened again in {peak}")
    ids = corpus.train.ids.flat
    assert isinstance(ids, MappedIds)
    draws, total = generator(seed, "windows"), 0
    with Peak() as peak:
        for _ in range(batches):
            starts = draws.integers(0, len(ids) - LENGTH, ROWS)
            total += int(ids.cut(starts, LENGTH + 1).sum())
    say(f"{tokens}: {batches:,} batches of {ROWS} windows (sum {total:,}) in {peak}")


def say(line: str) -> None:
    """One line of the report, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Write the text once, then measure each kind of tokens in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--tokens", nargs="+", default=["byte", "char"])
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--folder", type=Path, help="on a disk with room; default: a temporary one")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--measure", action="store_true", help="the inner process")
    asked = parser.parse_args()
    if asked.folder is None:
        with tempfile.TemporaryDirectory(prefix="large-text-") as folder:
            report(asked, Path(folder))
        return
    report(asked, asked.folder)


def report(asked: argparse.Namespace, folder: Path) -> None:
    """Write the text and measure; the inner process measures alone."""
    path = folder / "large.txt"
    if asked.measure:
        measure(path, folder / "tokens", asked.tokens[0], asked.batches, asked.seed)
        return
    folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    write_text(path, int(asked.gigabytes * 1e9), asked.seed)
    say(f"{path.stat().st_size / 1e9:.2f} GB written in {time.perf_counter() - began:.1f} s")
    try:
        for tokens in asked.tokens:
            inner = [sys.executable, __file__, "--measure", "--folder", str(folder)]
            inner += ["--tokens", tokens, "--batches", str(asked.batches)]
            subprocess.run([*inner, "--seed", str(asked.seed)], check=True)
            shutil.rmtree(folder / "tokens")
    finally:
        path.unlink()


if __name__ == "__main__":
    main()
