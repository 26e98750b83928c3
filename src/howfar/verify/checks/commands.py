"""SCAN: commands as actions, the length split, and a sequence-to-sequence model trained on it.

Idea      the grammar gives every command with its actions, 20,910 of them; commands of up to 22
          actions train, those of 24 to 48 are the test
              C -> S and S | S after S | S     S -> V | V twice | V thrice
              V -> U | D | D opposite | D around, with D = U left | U right | turn left | turn right
Settings  seeds, and the fields of `howfar.bundle.recipe.Recipe`: family, budget, learning_rate, ...
Numbers   "commands", "train", "test": how many there are; "exact match" on the test part
Source    Lake & Baroni 2018, https://arxiv.org/abs/1711.00350, figures 6 and 7
"""

import csv
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from howfar.api.training import train as train_model
from howfar.measure.stats import wilson
from howfar.verify.verdict import Measured

PRIMITIVES = ("walk", "look", "run", "jump")
LONGEST_TRAINED = 22
Pair = tuple[str, tuple[str, ...]]


def pairs() -> Iterator[Pair]:
    """Every command with its actions."""
    simple = list(_repeated())
    yield from simple
    for first, then in simple:
        for other, last in simple:
            yield f"{first} and {other}", then + last
            yield f"{first} after {other}", last + then


def _repeated() -> Iterator[Pair]:
    for words, actions in _verbs():
        yield words, actions
        yield f"{words} twice", actions * 2
        yield f"{words} thrice", actions * 3


def _verbs() -> Iterator[Pair]:
    for verb in (*PRIMITIVES, "turn"):
        own = () if verb == "turn" else (f"I_{verb.upper()}",)
        if own:
            yield verb, own
        for side in ("left", "right"):
            turn = (f"I_TURN_{side.upper()}",)
            yield f"{verb} {side}", turn + own
            yield f"{verb} opposite {side}", turn * 2 + own
            yield f"{verb} around {side}", (turn + own) * 4


def commands(settings: dict[str, Any], say: Callable[[str], None]) -> dict[str, Measured]:
    """Count the grammar, and train on the length split."""
    made = list(pairs())
    train = [pair for pair in made if len(pair[1]) <= LONGEST_TRAINED]
    test = [pair for pair in made if len(pair[1]) > LONGEST_TRAINED]
    sizes = {"commands": len(made), "train": len(train), "test": len(test)}
    found = {what: Measured.exactly(size) for what, size in sizes.items()}
    recipe = {key: value for key, value in settings.items() if key != "seeds"}
    shares = []
    for seed in range(int(settings["seeds"])):
        say(f"scan: seed {seed}, training")
        shares.append(learned(train, test, recipe | {"seed": seed}))
    return found | {"exact match": _together(shares, len(test))}


def learned(train: Sequence[Pair], test: Sequence[Pair], recipe: dict[str, Any]) -> float:
    """The share of test commands whose actions a trained model gives exactly."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, rows in (("train", train), ("test", test)):
            with (place / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                out = csv.writer(file)
                out.writerow(("source", "target"))
                out.writerows((words, " ".join(actions)) for words, actions in rows)
        reading = {"text": "source", "label": "target", "tokens": "word"}
        reading["test"] = str(place / "test.csv")
        ended = train_model(
            place / "train.csv", place / "model", aim="seq2seq", reading=reading, **recipe
        )
    if ended.evaluation is None:
        raise RuntimeError(ended.training.reason or "the training did not end")
    return next(s.value for s in ended.evaluation.scores if s.name == "exact match")


def _together(shares: Sequence[float], rows: int) -> Measured:
    """Mean over seeds; as wide as their spread, and no narrower than Wilson's interval."""
    mean = statistics.mean(shares)
    low, high = wilson(round(mean * rows), rows, 0.95)
    return Measured(mean, min(low, *shares), max(high, *shares), f"{len(shares)} seeds")
