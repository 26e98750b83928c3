"""How quickly made tasks make their items, and that memory does not grow with their number.

Run      python bench/tasks.py [--only copy,recall] [--million recall]
Idea     batches of 64 items, at 512 tokens where a task has a length; CPU seconds of one thread.
         MB are of token ids as they come, 8 bytes each (numbers: 4 bytes a channel)
Beside   tokens a CPU second that a small GRU (width 64) trains on, which is what must be fed
"""

import argparse
import resource
import time

import torch

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.tasks import TASKS, Task, task

ROWS, LENGTH, SECONDS = 64, 512, 2.0


def sized(name: str) -> Task:
    try:
        return task(name).at_length(LENGTH)
    except UsageError:
        return task(name)


def rate(made: Task) -> tuple[float, float]:
    """Tokens and bytes a CPU second."""
    made.batch(range(ROWS))
    tokens = size = step = 0
    begin = time.process_time()
    while time.process_time() - begin < SECONDS:
        step += 1
        batch = made.batch(range(step * ROWS, (step + 1) * ROWS))
        tokens += int(batch.lengths.sum())
        size += batch.tokens.numel() * batch.tokens.element_size()
    spent = time.process_time() - begin
    return tokens / spent, size / spent


def training(length: int) -> float:
    """Tokens a CPU second of a small GRU."""
    model = build("gru", vocabulary=64, outputs=8, width=64, embedding=64)
    tokens = torch.randint(64, (ROWS, length))
    optimiser = torch.optim.AdamW(model.parameters(), fused=True)
    begin, steps = time.process_time(), 0
    while time.process_time() - begin < SECONDS:
        model(tokens)[:, -1].square().mean().backward()
        optimiser.step()
        optimiser.zero_grad()
        steps += 1
    return steps * tokens.numel() / (time.process_time() - begin)


def growth(name: str, items: int) -> float:
    """MB that the process grows while this many items are made, after the first thousand."""
    made = task(name)
    peak = [0, 0]
    for part, stretch in enumerate((range(1000), range(1000, items))):
        for start in range(stretch.start, stretch.stop, 1000):
            made.batch(range(start, start + 1000))
        peak[part] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return (peak[1] - peak[0]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", default=",".join(name for name in TASKS if name != "mnist"))
    parser.add_argument("--million", default="recall", help="task whose million items are made")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.million:
        print(f"a million items of {given.million}: {growth(given.million, 10**6):+.1f} MB")
    print(f"a GRU of width 64 trains on {training(LENGTH):,.0f} tokens a CPU second")
    for name in given.only.split(","):
        made = sized(name)
        tokens, size = rate(made)
        print(f"{name:<22} {made.length:>6} {tokens:>14,.0f} tokens/s {size / 1e6:>9,.1f} MB/s")


if __name__ == "__main__":
    main()
