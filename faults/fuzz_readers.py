"""Random and damaged files through every reader: each must give rows or a HowfarError.

python faults/fuzz_readers.py --files 10000 --seed 1

Prints how often each outcome came, the slowest file, and the peak memory of this process and of
its children. A file that breaks the rule is kept beside the working folder, and the exit code is 1.
"""

import argparse
import collections
import re
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.data.hostile import Maker


def peak():
    """Most MiB that this process ever held; not what its parent held before it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(re.search(r"VmHWM:\s+(\d+)", status.read_text(encoding="ascii"))[1]) / 1024


def main():
    asked = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    asked.add_argument("--files", type=int, default=10_000)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--columnar", type=float, default=0.02, help="share of Parquet and Arrow")
    options = asked.parse_args()
    maker = Maker(options.seed, options.columnar)
    outcomes, by_suffix = collections.Counter(), collections.Counter()
    slowest, wrong, before = (0.0, ""), 0, peak()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.files):
            suffix, data = maker.file()
            path = Path(folder) / f"f{suffix}"
            path.write_bytes(data)
            start = time.monotonic()
            try:
                outcomes[maker.outcome(path)] += 1
            except Exception:
                wrong += 1
                outcomes["WRONG"] += 1
                kept = Path(f"fuzz-{options.seed}-{number}{suffix}")
                kept.write_bytes(data)
                sys.stdout.write(f"{kept}\n{traceback.format_exc()}\n")
            by_suffix[suffix] += 1
            slowest = max(slowest, (time.monotonic() - start, f"{number}{suffix}"))
            path.unlink()
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    for name, counts in (("outcomes", outcomes), ("files", by_suffix)):
        told = ", ".join(f"{key} {count:,}" for key, count in counts.most_common())
        sys.stdout.write(f"{name}: {told}\n")
    sys.stdout.write(
        f"slowest: {slowest[0]:.1f} s ({slowest[1]}); peak memory: {peak():.0f} MiB "
        f"({before:.0f} before the first file), children {children:.0f} MiB\n"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
