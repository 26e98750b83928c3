"""What to take: a paragraph computed from the numbers.

Rule     no winner is named where intervals overlap; a baseline that beats every network is said
         first; reach and cost are compared only among the families that cannot be told apart
"""

from collections.abc import Sequence
from dataclasses import replace

from howfar.record.comparison import Baseline, Data, Row, Score

CHEAPER = 1.25  # a ratio of times below this is noise of a shared machine


def advise(data: Data, rows: Sequence[Row], baselines: Sequence[Baseline]) -> str:
    """Two to five sentences on quality, baselines, reach and cost."""
    scored = [row for row in rows if row.score is not None]
    if not scored:
        return "No family finished a run, so there is nothing to recommend."
    best = _best(scored)
    leaders = [row for row in scored if _overlap(_score(row), _score(best))]
    beaten, compared = _against(best, leaders, scored, baselines)
    sentences = [*beaten, _quality(best, leaders, scored), *compared]
    if data.kind == "task":
        sentences += _distances(scored)
    sentences += _reaches(leaders, data)
    sentences += _costs(leaders)
    left = [row.family for row in rows if row.score is None]
    if left:
        sentences.append(f"Without a result: {_and(left)}.")
    return " ".join(sentences)


def _quality(best: Row, leaders: Sequence[Row], scored: Sequence[Row]) -> str:
    score = _score(best)
    if len(scored) == 1:
        return f"{best.family} reaches {_value(score)}; nothing stands beside it to compare."
    if len(leaders) == 1:
        return f"{best.family} is best by {score.name}, {_value(score)}, clear of all others."
    near = _and([row.family for row in leaders if row is not best])
    return (
        f"No winner by {score.name}: the best value is {best.family}'s, {_value(score)}, "
        f"but {near} cannot be told apart from it."
    )


def _against(
    best: Row, leaders: Sequence[Row], scored: Sequence[Row], baselines: Sequence[Baseline]
) -> tuple[list[str], list[str]]:
    """What stands before everything else, and what stands behind the quality."""
    if not baselines:
        return [], []
    score = _score(best)
    rival = max(baselines, key=lambda b: _rank(b.score))
    named = f"{rival.name}, {_value(rival.score)}"
    bar = rival.score
    if bar.low is None or bar.high is None:  # known exactly, as chance is
        bar = replace(bar, low=bar.value, high=bar.value)
    if all(_beats(bar, _score(row)) for row in scored):
        return [
            f"The baseline {named}, beats every network: at this budget none is worth its cost."
        ], []
    if not _beats(score, bar):
        return [], [f"No network is clearly better than the baseline {named}."]
    behind = [row.family for row in leaders if not _beats(_score(row), bar)]
    besides = f"; {_and(behind)} may not be" if behind else ""
    return [], [f"{best.family} is better than the best baseline, {named}{besides}."]


def _distances(scored: Sequence[Row]) -> list[str]:
    solved = {row.family: row for row in scored if row.task_reach is not None}
    if not solved:
        return []
    parts = []
    for name, row in sorted(solved.items(), key=lambda item: -(item[1].task_reach or 0)):
        more = " (the longest asked)" if row.task_reach_censored else ""
        parts.append(f"{name} {row.task_reach}{more}")
    return [f"Solved up to a distance of, in tokens: {', '.join(parts)}."]


def _reaches(leaders: Sequence[Row], data: Data) -> list[str]:
    known = [row for row in leaders if row.reach and (row.reach.value or row.reach.censored)]
    if not known:
        return []
    kind = known[0].reach.kind if known[0].reach else ""
    parts = ", ".join(f"{row.family} {_reach(row)}" for row in known)
    if kind == "interaction":
        return [f"Two {data.unit}s are treated jointly up to this many apart: {parts}."]
    return [f"95 % of what the input does comes from the last {data.unit}s: {parts}."]


def _costs(leaders: Sequence[Row]) -> list[str]:
    priced = {row.family: row.cost[-1] for row in leaders if row.cost}
    longest = min((point.length for point in priced.values()), default=0)
    times = {
        row.family: point.train_us_per_token
        for row in leaders
        for point in row.cost
        if point.length == longest and point.train_us_per_token is not None
    }
    if len(times) < 2:
        return []
    order = sorted(times, key=lambda name: times[name])
    first, second = order[0], order[1]
    if times[second] / times[first] < CHEAPER:
        near = [name for name in order if times[name] / times[first] < CHEAPER]
        return [f"At {longest:,} tokens {_and(near)} cost about the same to train."]
    ratio = times[second] / times[first]
    return [
        f"At {longest:,} tokens {first} is the cheapest of them to train a token on, "
        f"{ratio:.1f} times cheaper than {second}."
    ]


def _reach(row: Row) -> str:
    reach = row.reach
    if reach is None:
        return "?"
    if reach.value is None or reach.censored:
        return f"more than {reach.window}"
    if reach.low is None or (reach.low, reach.high) == (reach.value, reach.value):
        return str(reach.value)
    high = "beyond the window" if reach.high is None else reach.high
    return f"{reach.value} [{reach.low}, {high}]"


def _best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: _rank(_score(row)))


def _score(row: Row) -> Score:
    if row.score is None:
        raise AssertionError("only scored rows are compared")
    return row.score


def _rank(score: Score) -> float:
    return score.value if score.better == "higher" else -score.value


def _overlap(one: Score, other: Score) -> bool:
    """Whether either may be the better one; without an interval nobody knows."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return True
    return one.low <= other.high and other.low <= one.high


def _beats(one: Score, other: Score) -> bool:
    return not _overlap(one, other) and _rank(one) > _rank(other)


def _value(score: Score) -> str:
    digits = f"{score.value:.3f}"
    if score.low is None or score.high is None:
        return digits
    return f"{digits} [{score.low:.3f}, {score.high:.3f}]"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
