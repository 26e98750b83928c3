"""The advice: no winner where intervals overlap, baselines honoured, costs compared."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.record.comparison import Baseline, CostPoint, Data, Reach, Row, Score
from howfar.study.advice import advise

TEXT = Data(kind="text", name="play", unit="character")
LABELS = Data(kind="labels", name="reviews", unit="word")
TASK = Data(kind="task", name="recall", unit="symbol")


def score(value, half=0.01, better="higher"):
    name = "accuracy" if better == "higher" else "bits per character"
    if half is None:
        return Score(name=name, value=value, better=better)
    return Score(name=name, value=value, low=value - half, high=value + half, better=better)


def row(family, value, half=0.01, better="higher", **fields):
    return Row(family=family, kind="recurrent", score=score(value, half, better), **fields)


def baseline(value, half=0.01, better="higher", name="majority"):
    return Baseline(name=name, score=score(value, half, better))


@pytest.mark.parametrize(("better", "good", "bad"), [("higher", 0.9, 0.7), ("lower", 0.7, 0.9)])
def test_a_clear_winner_is_named(better, good, bad):
    text = advise(LABELS, [row("gru", bad, better=better), row("tcn", good, better=better)], [])
    assert text.startswith("tcn is best by ")
    assert f"{good:.3f} [{good - 0.01:.3f}, {good + 0.01:.3f}]" in text
    assert "gru" not in text


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_no_winner_where_intervals_overlap(better):
    rows = [row(name, v, 0.02, better) for name, v in (("gru", 0.80), ("tcn", 0.81))]
    text = advise(
        LABELS, [*rows, row("elman", 0.5 if better == "higher" else 1, better=better)], []
    )
    first, near = ("tcn", "gru") if better == "higher" else ("gru", "tcn")
    assert "is best" not in text
    assert text.startswith("No winner by ")
    assert f"{first}'s" in text
    assert f"{near} cannot be told apart" in text
    assert "elman" not in text


def test_touching_intervals_overlap():
    rows = [
        Row(family=n, kind="recurrent", score=Score(name="accuracy", value=v, low=lo, high=hi))
        for n, v, lo, hi in (("gru", 0.7, 0.6, 0.8), ("tcn", 0.9, 0.8, 1.0))
    ]
    assert advise(LABELS, rows, []).startswith("No winner")


def test_without_intervals_nobody_wins():
    text = advise(TEXT, [row("gru", 2.1, None, "lower"), row("tcn", 1.5, None, "lower")], [])
    assert text.startswith("No winner by bits per character: the best value is tcn's, 1.500")
    beaten = [baseline(1.0, None, "lower")]
    text = advise(TEXT, [row("gru", 2.1, None, "lower"), row("tcn", 1.5, None, "lower")], beaten)
    assert "beats every network" not in text
    assert "No network is clearly better" in text


@pytest.mark.parametrize(("better", "network", "base"), [("higher", 0.8, 0.9), ("lower", 2.0, 1.5)])
def test_a_baseline_that_beats_every_network_is_said_first(better, network, base):
    rows = [row("gru", network, better=better), row("tcn", network, better=better)]
    rivals = [baseline(base, better=better, name="5-gram"), baseline(network, better=better)]
    text = advise(LABELS, rows, rivals)
    assert text.startswith(f"The baseline 5-gram, {base:.3f} [")
    assert "beats every network" in text


def test_a_baseline_must_beat_the_unsure_networks_too():
    rows = [row("gru", 0.80, 0.01), row("tcn", 0.79, 0.2)]
    text = advise(LABELS, rows, [baseline(0.9)])
    assert "beats every network" not in text
    assert "No network is clearly better than the baseline majority" in text


def test_chance_is_known_exactly():
    chance = [baseline(0.125, None, name="chance")]
    text = advise(TASK, [row("gru", 0.9)], chance)
    assert "gru is better than the best baseline, chance, 0.125." in text
    assert "No network is clearly better than the baseline chance" in advise(
        TASK, [row("gru", 0.13)], chance
    )


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_a_baseline_within_the_interval_is_said(better):
    text = advise(LABELS, [row("gru", 0.8, better=better)], [baseline(0.805, better=better)])
    assert "No network is clearly better than the baseline majority" in text
    assert text.startswith("gru reaches 0.800 [0.790, 0.810]; nothing stands beside it")


def test_a_better_network_is_said_with_those_that_may_not_be():
    rows = [row("gru", 0.80, 0.01), row("tcn", 0.79, 0.1)]
    text = advise(LABELS, rows, [baseline(0.7), baseline(0.1, name="other")])
    assert "gru is better than the best baseline, majority, 0.700 [0.690, 0.710]" in text
    assert "tcn may not be" in text
    alone = advise(LABELS, rows[:1], [baseline(0.7)])
    assert "may not be" not in alone


def test_the_best_baseline_of_losses_is_the_lowest():
    rivals = [baseline(3.0, better="lower", name="unigram"), baseline(2.5, better="lower")]
    text = advise(TEXT, [row("gru", 2.0, better="lower")], rivals)
    assert "than the best baseline, majority, 2.500" in text


def test_reaches_are_given_with_their_doubt():
    def reach(**fields):
        return Reach(kind="swap", window=127, **fields)

    rows = [
        row("a", 0.8, reach=reach(value=7, low=7, high=7)),
        row("b", 0.8, reach=reach(value=9, low=6, high=None)),
        row("c", 0.8, reach=reach(censored=True)),
        row("d", 0.8, reach=reach()),
        row("e", 0.8, reach=reach(value=5)),
        row("far", 0.5, reach=reach(value=99, low=98, high=99)),
    ]
    text = advise(TEXT, rows, [])
    want = "last characters: a 7, b 9 [6, beyond the window], c more than 127, e 5."
    assert want in text
    assert "99" not in text


def test_interaction_is_named_as_such():
    rows = [row("a", 0.8, reach=Reach(kind="interaction", window=63, value=4, low=3, high=6))]
    assert "Two words are treated jointly up to this many apart: a 4 [3, 6]." in advise(
        LABELS, rows, []
    )


def test_costs_are_compared_among_equals_alone():
    def cost(*pairs):
        points = [
            CostPoint(length=n, forward_us_per_token=us / 3, train_us_per_token=us)
            for n, us in pairs
        ]
        return {"cost": tuple(points)}

    rows = [
        row("gru", 0.8, **cost((128, 9.0), (512, 8.0))),
        row("tcn", 0.8, **cost((128, 1.0), (512, 2.0), (2048, 2.0))),
        row("bad", 0.3, **cost((128, 0.1), (512, 0.1))),
    ]
    text = advise(LABELS, rows, [])
    assert "At 512 tokens tcn is the cheapest of them to train a token on, 4.0 times" in text
    near = [row("gru", 0.8, **cost((512, 1.2))), row("tcn", 0.8, **cost((512, 1.0)))]
    assert "At 512 tokens tcn and gru cost about the same" in advise(LABELS, near, [])
    assert "tokens" not in advise(LABELS, rows[1:], [])


def test_a_task_says_what_was_solved():
    rows = [
        row("gru", 0.5, task_reach=4),
        row("tcn", 0.9, task_reach=127, task_reach_censored=True),
        row("elman", 0.2, task_reach=0),
        row("lost", 0.2),
    ]
    text = advise(TASK, rows, [])
    assert "in tokens: tcn 127 (the longest asked), gru 4, elman 0." in text


def test_failures_are_named_and_nothing_is_recommended_without_a_score():
    lost = Row(family="lstm", kind="recurrent", status="failed", reason="loss nan")
    assert advise(LABELS, [lost], [baseline(0.5)]).startswith("No family finished")
    assert advise(LABELS, [lost, row("gru", 0.8)], []).endswith("Without a result: lstm.")


scores = st.tuples(st.floats(0.1, 0.9), st.one_of(st.none(), st.floats(0.001, 0.3)))


@given(st.lists(scores, min_size=1, max_size=5), scores, st.sampled_from(["higher", "lower"]))
@settings(deadline=None)
def test_what_is_claimed_holds(networks, rival, better):
    """Whatever the scores: "best" and "beats" only where every interval stands apart."""
    rows = [row(f"m{i}", v, half, better) for i, (v, half) in enumerate(networks)]
    text = advise(LABELS, rows, [baseline(*rival, better=better)])
    sign = 1 if better == "higher" else -1

    exact = (rival[0], rival[1] or 0.0)

    def above(one, other):
        if one[1] is None or other[1] is None:
            return False
        return sign * (one[0] - other[0]) > one[1] + other[1] + 1e-12

    best = max(networks, key=lambda n: sign * n[0])
    if "is best" in text:
        assert all(above(best, n) or n is best for n in networks)
    if "beats every network" in text:
        assert all(above(exact, n) for n in networks)
    if "is better than the best baseline" in text:
        assert above(best, exact)
