"""What the forward-only measures and the gradient profile cost, in forward passes.

Idea     F is one pass of the model over all rows, asked in the same batches; every round times F
         and each measure in turn, and the median of the ratios stands
Times    CPU seconds of one thread, everything a call does: looks, intervals, the summary
Captum   FeatureAblation of the last target by every position: T + 1 passes, of which the first
         few are timed and the rest counted as like them
Memory   peak of a process of its own, above what the loaded model holds after a short call

    python bench/measures.py                 the table
    python bench/measures.py --only memory   one part: swap, gradient, influence, captum, memory
    python bench/measures.py --long gru swap 16384 4    one row of the memory table, as JSON
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import torch
from torch import nn

from howfar.measure import SwapOptions, swap_reach
from howfar.measure.gradient import gradient_reach
from howfar.measure.influence import influence_reach
from howfar.models import build

SYMBOLS, WIDTH, LENGTH, ROWS = 64, 128, 512, 64
LAGS = 11
ABLATED = 8  # positions timed
PARTS = ("swap", "gradient", "influence", "captum", "memory")


class Lstm(nn.Module):
    """torch's own, two layers of 256."""

    def __init__(self, symbols=SYMBOLS, width=256):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.rnn = nn.LSTM(width, width, 2, batch_first=True)
        self.head = nn.Linear(width, symbols)

    def forward(self, tokens, lengths=None):
        return self.head(self.rnn(self.embedding(tokens))[0])


class StreamingGru(nn.Module):
    """torch's own with a `chunk`."""

    def __init__(self, symbols=SYMBOLS, width=WIDTH):
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.rnn = nn.GRU(width, width, batch_first=True)
        self.head = nn.Linear(width, symbols)

    def forward(self, tokens, lengths=None):
        return self.chunk(tokens, None)[0]

    def chunk(self, tokens, state):
        y_BLD, state = self.rnn(self.embedding(tokens), state)
        return self.head(y_BLD), state


def ours(name, symbols=SYMBOLS):
    return build(name, vocabulary=symbols, outputs=symbols, width=WIDTH, depth=2).eval()


def plain_callable(model):
    return lambda tokens, lengths: model(tokens, lengths)


def drawn(rows, length, symbols=SYMBOLS):
    return torch.randint(symbols, (rows, length), generator=torch.Generator().manual_seed(0))


def seconds(run):
    begin = time.process_time()
    run()
    return time.process_time() - begin


def ratios(model, tokens, calls, repeats):
    """Median over rounds of each call's time by that of F, and F in seconds."""
    lengths = torch.full((len(tokens),), tokens.shape[1])

    def forward():
        with torch.no_grad():
            model(tokens, lengths)

    for run in (forward, *calls.values()):
        run()
    found, base = {name: [] for name in calls}, []
    for _ in range(repeats):
        base.append(seconds(forward))
        for name, run in calls.items():
            found[name].append(seconds(run) / base[-1])
    return {name: statistics.median(some) for name, some in found.items()}, statistics.median(base)


def line(part, model, what, asked, ratio, fine):
    print(f"{part:10} {model:12} {what:44} {asked:>10} {ratio:>9} {'ok' if fine else 'MISSED'}")


def fast(model, tokens):
    return lambda: swap_reach(model, tokens, options=SwapOptions(design="fast"))


def swap_part(repeats):
    """(a) the whole swap curve."""
    tokens = drawn(ROWS, LENGTH)
    for name in ("gru", "torch LSTM", "transformer", "tcn"):
        model = Lstm().eval() if name == "torch LSTM" else ours(name)
        calls = {"as a plain callable": fast(plain_callable(model), tokens)}
        if name != "torch LSTM":
            calls["streaming"] = fast(model, tokens)
        found, base = ratios(model, tokens, calls, repeats)
        for call, ratio in found.items():
            what = f"whole swap curve, {call}, F {base:.2f} s"
            line("swap", name, what, "<= 2.5 F", f"{ratio:.2f} F", ratio <= 2.5)


def gradient_part(repeats):
    """(b) all lags of the gradient profile."""
    tokens = drawn(ROWS, LENGTH)
    for name in ("gru", "torch LSTM", "transformer"):
        model = Lstm().eval() if name == "torch LSTM" else ours(name)
        run = {"gradient": lambda model=model: gradient_reach(model, tokens)}
        found, base = ratios(model, tokens, run, repeats)
        ratio = found["gradient"]
        what = f"gradient profile of all lags, F {base:.2f} s"
        line("gradient", name, what, "<= 4 F", f"{ratio:.2f} F", ratio <= 4)


def influence_part(repeats):
    """(c) from the source's side, against a forward pass a lag."""
    tokens = drawn(ROWS, LENGTH)
    for name in ("gru", "torch LSTM", "transformer"):
        model = Lstm().eval() if name == "torch LSTM" else ours(name)
        run = {"influence": lambda model=model: influence_reach(model, tokens)}
        ratio = ratios(model, tokens, run, repeats)[0]["influence"]
        gain = LAGS / ratio
        what = f"{LAGS} forwards by influence at all lags"
        line("influence", name, what, ">= 3 x", f"{gain:.1f} x", gain >= 3)


def captum_part(repeats):
    """(d) against one ablation a position."""
    from captum.attr import FeatureAblation

    tokens = drawn(ROWS, LENGTH)
    lengths = torch.full((ROWS,), LENGTH)
    for name in ("gru", "torch LSTM", "transformer"):
        model = Lstm().eval() if name == "torch LSTM" else ours(name)
        ablation = FeatureAblation(lambda x, model=model: model(x, lengths)[:, -1].amax(-1))
        # the first positions one at a time, all others as one feature more
        mask = torch.arange(LENGTH).clamp(max=ABLATED)[None]
        times = {"captum": [], "swap": [], "influence": []}
        for _ in range(max(1, repeats // 2)):
            with torch.no_grad():
                part = seconds(lambda a=ablation, m=mask: a.attribute(tokens, feature_mask=m))
            times["captum"].append(part / (ABLATED + 2) * (LENGTH + 1))
            times["swap"].append(seconds(fast(model, tokens)))
            times["influence"].append(seconds(lambda m=model: influence_reach(m, tokens)))
        total = {key: statistics.median(some) for key, some in times.items()}
        for key in ("swap", "influence"):
            gain = total["captum"] / total[key]
            what = f"ablation {total['captum']:.0f} s (estimate), {key} {total[key]:.2f} s"
            line("captum", name, what, ">= 100 x", f"{gain:.0f} x", gain >= 100)


LONG_MODELS = {
    "gru": lambda: ours("gru", 256),
    "transformer": lambda: ours("transformer", 256),
    "torch": lambda: StreamingGru(256).eval(),
    "plain": lambda: plain_callable(ours("gru", 256)),
}
LONG_MEASURES = {
    "swap": lambda model, tokens: fast(model, tokens)(),
    "influence": influence_reach,
}


def peak():
    """The most bytes this process has held; getrusage would begin at what its parent held."""
    status = Path("/proc/self/status")
    if status.exists():
        high = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(high.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def long(name, measure, length, rows):
    """Bytes above the loaded model at the peak, CPU seconds, passes and the window."""
    model, tokens = LONG_MODELS[name](), drawn(rows, length, 256)
    LONG_MEASURES[measure](model, tokens[:, :64])
    loaded = psutil.Process().memory_info().rss
    begin = time.process_time()
    found = LONG_MEASURES[measure](model, tokens)
    spent = time.process_time() - begin
    return {
        "bytes": peak() - loaded,
        "seconds": spent,
        "passes": float(found.passes),
        "window": found.window,
    }


def memory_part(length, rows):
    """(e) rows of 16,384 tokens on a CPU."""
    for name in LONG_MODELS:
        for measure in LONG_MEASURES:
            command = [sys.executable, __file__, "--long", name, measure, str(length), str(rows)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            what = f"{measure}, {rows} x {length}, {found['seconds']:.1f} s"
            what += f", {found['passes']:.2f} passes"
            ok = found["bytes"] <= 2e9
            line("memory", name, what, "<= 2 GB", f"{found['bytes'] / 1e6:.0f} MB", ok)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--repeats", type=int, default=5, help="rounds (default: 5)")
    parser.add_argument("--length", type=int, default=16_384, help="of the memory table's rows")
    parser.add_argument("--rows", type=int, default=4, help="of the memory table")
    parser.add_argument("--long", nargs=4, metavar=("MODEL", "MEASURE", "LENGTH", "ROWS"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.long:
        name, measure, length, rows = given.long
        print(json.dumps(long(name, measure, int(length), int(rows))))
        return
    parts = {
        "swap": lambda: swap_part(given.repeats),
        "gradient": lambda: gradient_part(given.repeats),
        "influence": lambda: influence_part(given.repeats),
        "captum": lambda: captum_part(given.repeats),
        "memory": lambda: memory_part(given.length, given.rows),
    }
    print(f"{ROWS} rows of {LENGTH} tokens, {SYMBOLS} symbols; one thread, CPU seconds")
    for part in given.only or PARTS:
        parts[part]()


if __name__ == "__main__":
    main()
