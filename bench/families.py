"""What families and kernels cost, forward and backward, beside torch and the machine's limit.

Rate     the limit: float32 matrix products of 512 x 512 by 512 x 512, measured in the same rounds
Models   every family, 128 wide, 2 blocks: B=32 L=512 and B=8 L=2048, milliseconds and the share of
         the limit that its declared FLOPs reach (forward and backward: 3 times the forward)
Claims   kernels and layers against what torch, a loop, or transformers need for the same answer;
         checked to be equal before they are timed (Mamba's
         numbers in tests/models/test_mamba.py)
Memory   freed memory is kept, as in training (`train.memory`), for both sides alike
Long     every linear family, 128 wide, 2 blocks, one row of 4,096 to 65,536 tokens, each length in
         a fresh process: highest memory, and the exponent with which time grows
Times    wall clock, one thread and two; all sides take turns, round after round; a claim is
         the median of the ratios of its rounds, with their range
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from howfar.models import MODELS, build, kernels
from howfar.models.blocks import Recurrence
from howfar.train.memory import kept_memory

WIDTH, DEPTH, VOCABULARY, OUTPUTS = 128, 2, 256, 16
SIZES = {"B=32 L=512": (32, 512), "B=8 L=2048": (8, 2048)}
LONG = (4096, 16384, 65536)
MEMORY_LIMIT = 8e9
EXPONENT_LIMIT = 1.1


def spent(work, times=1):
    """Seconds of one call, the mean of so many."""
    start = time.perf_counter()
    for _ in range(times):
        work()
    return (time.perf_counter() - start) / times


def enough(work):
    """Calls that take a twentieth of a second together: a clock needs them where one is short."""
    return max(1, round(0.05 / spent(work)))


def gemm():
    """A function that does 2 * 512**3 * 20 FLOPs, and that number."""
    a, b, c = torch.randn(512, 512), torch.randn(512, 512), torch.empty(512, 512)

    def work():
        for _ in range(20):
            torch.mm(a, b, out=c)

    return work, 2 * 512**3 * 20


def drawn(*shape, seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed + sum(shape))
    return torch.randn(*shape, generator=generator).mul_(scale)


def asked(*tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def there_and_back(call, leaves):
    """Forward, backward with ones; gradients are dropped."""

    def work():
        y = call(*leaves)
        y = y if isinstance(y, torch.Tensor) else y[0]
        y.sum().backward()
        for leaf in leaves:
            leaf.grad = None

    return work


# models


def model_work(name, rows, length):
    """One training pass without the optimiser, and its FLOPs."""
    depth = {"hybrid": 1}.get(name, DEPTH)  # a hybrid's depth is repeats of its pattern
    depth = None if name == "textcnn" else depth
    model = build(
        name, vocabulary=VOCABULARY, outputs=OUTPUTS, width=WIDTH, embedding=WIDTH, depth=depth
    )
    tokens = torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(1))

    def work():
        model(tokens).sum().backward()
        model.zero_grad(set_to_none=True)

    return work, 3 * rows * model.flops(length)


def models_table(names, rounds, report):
    for label, (rows, length) in SIZES.items():
        sides = {name: model_work(name, rows, length) for name in names}
        limit, limit_flops = gemm()
        for work, _ in sides.values():
            work()  # first memory, first compilation
        seconds = {name: [] for name in names}
        rates = []
        for _ in range(rounds):
            for name, (work, _) in sides.items():
                rates.append(limit_flops / spent(limit))
                seconds[name].append(spent(work))
        rate = statistics.median(rates)
        for name, (_, flops) in sides.items():
            middle = statistics.median(seconds[name])
            report(
                {
                    "part": "models",
                    "threads": torch.get_num_threads(),
                    "size": label,
                    "family": name,
                    "ms": round(middle * 1e3, 1),
                    "tokens_per_second": round(rows * length / middle),
                    "gflops_per_second": round(flops / middle / 1e9, 2),
                    "share_of_gemm": round(flops / middle / rate, 3),
                    "gemm_gflops_per_second": round(rate / 1e9, 1),
                }
            )


# claims: each gives {side: work}, the first is ours, and what is promised


def layers(kind, rows, length):
    """Two layers of ours and of torch, same weights."""
    ours = [Recurrence(kind(WIDTH, WIDTH, batch_first=True), "zeros") for _ in range(DEPTH)]
    theirs = kind(WIDTH, WIDTH, num_layers=DEPTH, batch_first=True)
    with torch.no_grad():
        for place, layer in enumerate(ours):
            for name, parameter in layer.rnn.named_parameters():
                parameter.copy_(getattr(theirs, name.replace("_l0", f"_l{place}")))
    x_BLD = drawn(rows, length, WIDTH)
    lengths = torch.full((rows,), length)

    def through(x_BLD):
        for layer in ours:
            x_BLD = layer(x_BLD, lengths)
        return x_BLD

    same(through(x_BLD), theirs(x_BLD)[0])
    return (
        there_and_back(through, asked(x_BLD)),
        there_and_back(lambda x: theirs(x)[0], asked(x_BLD)),
    )


def same(mine, theirs, tolerance=2e-3):
    """Within float32, whatever the order of its sums."""
    error = float((mine - theirs).detach().abs().max() / theirs.detach().abs().max())
    assert error < tolerance, f"the two sides differ by {error:.1e}"


def elman_claims():
    for rows, length in SIZES.values():
        ours, theirs = layers(nn.RNN, rows, length)
        yield f"Elman B={rows} L={length} against nn.RNN", {"ours": ours, "nn.RNN": theirs}, 1.5


def gru_claims():
    for rows, length in SIZES.values():
        ours, theirs = layers(nn.GRU, rows, length)
        _, lstm = layers(nn.LSTM, rows, length)
        promise = 2.0 if length == 2048 else None
        name = f"GRU B={rows} L={length}"
        yield f"{name} against nn.GRU", {"ours": ours, "nn.GRU": theirs}, promise
        faster = 1.0 if length == 2048 else None
        yield f"{name} against nn.LSTM", {"ours": ours, "nn.LSTM": lstm}, faster


def scan_claims():
    for rows, width in ((4, WIDTH), (8, 2 * WIDTH)):
        for length in (512, 4096, 16384):
            a_BLD = torch.sigmoid(drawn(rows, length, width))
            b_BLD = drawn(rows, length, width)
            fast = kernels.linear_recurrence(a_BLD, b_BLD)
            same(fast, kernels.linear_recurrence_slow(a_BLD, b_BLD))
            leaves = asked(a_BLD, b_BLD)
            slow = there_and_back(kernels.linear_recurrence_slow, leaves)
            work = there_and_back(kernels.linear_recurrence, leaves)
            for form, promise in (("torch", 4.0), ("compiled", 12.0)):
                if form == "torch" or kernels.installed():
                    sides = {"ours": within(form, work), "loop": slow}
                    yield f"scan {form} B={rows} D={width} L={length}", sides, promise


def within(form, work):
    """The same work with this form of the kernels."""

    def run():
        with kernels.using(form):
            work()

    return run


def attention_claims():
    length, heads = 4096, 4
    parts = [drawn(1, heads, length, WIDTH // heads, seed=seed, scale=0.2) for seed in range(3)]
    decay_BHL = -F.softplus(drawn(1, heads, length))
    for label, extra in (("no decay", ()), ("decay a head", (decay_BHL,))):
        given = [*parts, *extra]
        same(
            kernels.gated_linear_attention(*given)[0],
            kernels.gated_linear_attention_slow(*given)[0],
        )
        ours = there_and_back(kernels.gated_linear_attention, asked(*given))
        slow = there_and_back(kernels.gated_linear_attention_slow, asked(*given))
        full = there_and_back(causal_attention, asked(*parts))
        name = f"linear attention ({label}) L={length}"
        yield f"{name} against its loop", {"ours": ours, "loop": slow}, 40.0
        yield f"{name} against causal SDPA", {"ours": ours, "SDPA": full}, 4.0


def causal_attention(q_BHLD, k_BHLD, v_BHLD):
    return F.scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD, is_causal=True)


def window_claims():
    length, heads, window = 8192, 4, 256
    parts = [drawn(1, heads, length, WIDTH // heads, seed=seed) for seed in range(3)]
    few = [part[:, :, :1000] for part in parts]
    same(
        kernels.windowed_attention(*few, window),
        kernels.windowed_attention_slow(*few, window),
    )
    ours = there_and_back(
        lambda q, k, v: kernels.windowed_attention(q, k, v, window), asked(*parts)
    )
    full = there_and_back(causal_attention, asked(*parts))
    yield f"window of {window} L={length} against causal SDPA", {"ours": ours, "SDPA": full}, 2.5


def mamba_claims():
    config = MambaConfig(hidden_size=WIDTH, state_size=16, expand=2, use_mambapy=False)
    theirs = MambaMixer(config, layer_idx=0)
    ours = build("mamba", vocabulary=2, outputs=2, width=WIDTH, depth=1).body.blocks[0].mixer
    x_BLD, lengths = drawn(8, 256, WIDTH), torch.full((8,), 256)
    sides = {
        "ours": there_and_back(lambda x: ours(x, lengths), asked(x_BLD)),
        "transformers": there_and_back(theirs._slow_forward, asked(x_BLD)),
    }
    yield "Mamba B=8 L=256 against transformers' slow path", sides, 10.0


CLAIMS = {
    "gru": gru_claims,
    "elman": elman_claims,
    "scan": scan_claims,
    "attention": attention_claims,
    "window": window_claims,
    "mamba": mamba_claims,
}


def claims_table(chosen, rounds, report):
    for group in chosen:
        for name, sides, promise in CLAIMS[group]():
            for work in sides.values():
                work()
            calls = {side: enough(work) for side, work in sides.items()}
            times = {side: [] for side in sides}
            for _ in range(rounds):
                for side, work in sides.items():
                    times[side].append(spent(work, calls[side]))
            mine, theirs = times.values()
            ratios = [slow / fast for fast, slow in zip(mine, theirs, strict=True)]
            middle = statistics.median(ratios)
            report(
                {
                    "part": "claims",
                    "threads": torch.get_num_threads(),
                    "claim": name,
                    "ratio": round(middle, 2),
                    "range": [round(min(ratios), 2), round(max(ratios), 2)],
                    "promised": promise,
                    "met": None if promise is None else middle >= promise,
                    "ms": {s: round(statistics.median(t) * 1e3, 1) for s, t in times.items()},
                }
            )


# long texts


def long_one(name, length):
    """In a process of its own: highest memory above the start, and seconds of the best of three."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    model = build(
        name, vocabulary=VOCABULARY, outputs=OUTPUTS, width=WIDTH, embedding=WIDTH, depth=DEPTH
    )
    source = torch.Generator().manual_seed(1)
    short = torch.randint(VOCABULARY, (1, 256), generator=source)
    model(short).sum().backward()  # what is compiled is compiled here
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tokens = torch.randint(VOCABULARY, (1, length), generator=source)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        model(tokens).sum().backward()
        times.append(time.perf_counter() - start)
        model.zero_grad(set_to_none=True)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": min(times), "bytes": after - before, "total_bytes": after}))


def long_table(names, report):
    for name in names:
        found = {}
        for length in LONG:
            command = [sys.executable, __file__, "--one", name, str(length)]
            answer = subprocess.run(command, capture_output=True, text=True, check=True)
            found[length] = json.loads(answer.stdout)
        first, last = found[LONG[0]], found[LONG[-1]]
        growth = math.log(last["seconds"] / first["seconds"]) / math.log(LONG[-1] / LONG[0])
        report(
            {
                "part": "long",
                "family": name,
                "exponent": round(growth, 3),
                "seconds": {n: round(one["seconds"], 2) for n, one in found.items()},
                "gigabytes": {n: round(one["total_bytes"] / 1e9, 2) for n, one in found.items()},
                "met": growth <= EXPONENT_LIMIT and last["total_bytes"] <= MEMORY_LIMIT,
            }
        )


def lines(row):
    """A row for people."""
    if row["part"] == "models":
        return (
            f"{row['threads']} thr  {row['size']:<11} {row['family']:<17} {row['ms']:9.1f} ms"
            f" {row['tokens_per_second']:>9,} tokens/s  {row['gflops_per_second']:7.1f} GFLOP/s"
            f"  {row['share_of_gemm']:6.1%} of {row['gemm_gflops_per_second']:.0f}"
        )
    if row["part"] == "claims":
        said = {True: "met", False: "NOT MET", None: ""}[row["met"]]
        promised = "" if row["promised"] is None else f"promised {row['promised']:g}x: "
        low, high = row["range"]
        return (
            f"{row['threads']} thr  {row['claim']:<60} {row['ratio']:7.2f}x"
            f" ({low}-{high})  {promised}{said}  {row['ms']}"
        )
    said = "met" if row["met"] else "NOT MET"
    return (
        f"long  {row['family']:<17} exponent {row['exponent']:.2f}  GB {row['gigabytes']}"
        f"  s {row['seconds']}  {said}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=["models", "claims", "long"])
    parser.add_argument("--families", nargs="+", choices=list(MODELS))
    parser.add_argument("--claims", nargs="+", choices=list(CLAIMS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--one", nargs=2, metavar=("FAMILY", "LENGTH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with kept_memory():
            long_one(options.one[0], int(options.one[1]))
        return
    parts = options.only or ["models", "claims", "long"]
    names = options.families or list(MODELS)

    def report(row):
        print(json.dumps(row) if options.json else lines(row), flush=True)

    for threads in options.threads:
        torch.set_num_threads(threads)
        if "models" in parts:
            with kept_memory():
                models_table(names, options.rounds, report)
        if "claims" in parts:
            with kept_memory():
                claims_table(options.claims or list(CLAIMS), options.rounds, report)
    if "long" in parts:
        linear = [name for name in names if MODELS[name].kind == "linear recurrence"]
        long_table(options.families or linear, report)


if __name__ == "__main__":
    main()
