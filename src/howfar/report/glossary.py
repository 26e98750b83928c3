"""The words a page uses, explained where they apply, and the question in plain English."""

from dataclasses import dataclass

from howfar.record.comparison import Comparison
from howfar.report.grid import reach_kinds


@dataclass(frozen=True, slots=True)
class Term:
    """A word and what it means here."""

    name: str
    meaning: str


_SWAP = (
    Term(
        "kept tokens",
        "the number of most recent tokens left as they are; everything older is replaced by "
        "another sequence's tokens. 1 kept token is the newest one alone.",
    ),
    Term(
        "R95",
        "the swap reach: with this many tokens kept, at most 5 % of the change is left that "
        "replacing the whole input makes to the output. R99 leaves at most 1 %.",
    ),
    Term("structural", "the furthest token that could matter by construction; all: no limit."),
    Term("detectable", "the furthest point where a change can still be told from noise."),
    Term(
        "useful",
        "beyond this many tokens, seeing more lowers the loss by no more than 0.01 nats a target.",
    ),
)
_INTERACTION = (
    Term(
        "interaction lag",
        "the interaction reach: the greatest distance between two tokens at which changing both "
        "does something else than the two single changes added up. Such a model treats the pair "
        "jointly; one that only adds up single words has none.",
    ),
)
_ALWAYS = (
    Term("> N", "more than the window could show: N is a lower bound, not the reach."),
    Term("none", "the measure ran and found nothing above its noise floor."),
    Term("-", "does not apply, or was not measured."),
    Term("[a, b]", "the 95 % interval of the number before it."),
)
_TASK = (
    Term(
        "task reach",
        "the largest distance that a family solves, having solved every shorter one as well.",
    ),
)
_COST = (
    Term(
        "us/token",
        "microseconds for one token, forward and backward, one sequence at a time, at the longest "
        "length measured.",
    ),
    Term(
        "exponent p",
        "how the time for a whole sequence grows with its length n, as n to the power p: 1 is "
        "proportional, 2 is four times the time for twice the length.",
    ),
    Term("state", "bytes that must be carried to go on with the next token."),
)


def terms(comparison: Comparison) -> tuple[Term, ...]:
    """The words that this comparison's tables use, in the order a reader meets them."""
    kinds = reach_kinds(comparison)
    found: tuple[Term, ...] = ()
    found += _SWAP if "swap" in kinds else ()
    found += _INTERACTION if "interaction" in kinds else ()
    found += _TASK if any(row.by_distance for row in comparison.rows) else ()
    found += _COST if any(row.cost for row in comparison.rows) else ()
    return found + _ALWAYS


def lead(comparison: Comparison) -> str:
    """The one or two sentences that the main table needs beside it."""
    kinds = reach_kinds(comparison)
    said = []
    if "swap" in kinds:
        said.append(
            "R95 is how many of the most recent tokens (kept tokens) account for 95 % of what the "
            "input does to the output; structural is the most that the architecture allows, and "
            "useful is where looking further stops lowering the loss."
        )
    if "interaction" in kinds:
        said.append(
            "Interaction lag is the greatest distance at which two tokens are treated jointly, "
            "beyond the sum of what each does alone."
        )
    return " ".join([*said, "Brackets hold 95 % intervals."])


def question(comparison: Comparison) -> str:
    """What was asked, in one or two sentences."""
    data = comparison.data
    families = f"{len(comparison.rows)} famil{'y' if len(comparison.rows) == 1 else 'ies'}"
    what = {
        "labels": f"learned to label rows of {data.name}, read {data.unit} by {data.unit}",
        "text": f"learned to predict the next {data.unit} of {data.name}",
        "task": f"learned the made task {data.name}, whose answer and distance are known",
    }.get(data.kind, f"learned from {data.name}")
    return (
        f"{families} of models {what}, in sequences of up to {data.length:,} tokens. "
        "How well does each do, how far back does it look, and what does that cost?"
    )
