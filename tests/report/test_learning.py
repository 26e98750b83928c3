"""The learning curve of one run: every validation, the step that was kept, units."""

import math
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from howfar.record.comparison import Data
from howfar.record.training import Point, Training
from howfar.report.learning import MOST, learning_chart, learning_svg

DATA = Data(
    kind="table", name="a", unit="word", train=8, validation=1, test=1, vocabulary=9, length=4
)


def run(points, best=3, **more):
    made = [
        Point(
            step=step,
            tokens=tokens,
            seconds=1.0,
            learning_rate=0.1,
            loss=loss,
            validation=validation,
        )
        for step, tokens, loss, validation in points
    ]
    given = {"aim": "classification", "settings": {"select": "score"}} | more
    return Training(
        family="gru",
        seed=0,
        budget="5 steps",
        learning_rate=0.1,
        status="done",
        steps=5,
        tokens=50,
        seconds=1.0,
        flops=1,
        parameters={},
        data=DATA,
        points=tuple(made),
        best_step=best,
        **given,
    )


POINTS = [(1, 10, 0.7, 0.75), (3, 30, 0.5, 0.6), (5, 50, 0.25, 0.65)]


def drawn(chart):
    found = {}
    for value in chart.data.values if hasattr(chart.data, "values") else chart.layer[0].data.values:
        found.setdefault(value["family"], []).append((value["x"], value["y"]))
    return found


def titles(chart):
    encoding = next(x for x in chart.to_dict()["layer"] if x["mark"]["type"] == "line")["encoding"]
    return tuple(encoding[name]["axis"]["title"] for name in "xy")


def ruled(chart):
    return [x.data.values[0]["x"] for x in chart.layer if x.mark.type == "rule"]


def test_every_validation_and_the_step_that_was_kept():
    chart = learning_chart(run(POINTS))
    assert drawn(chart) == {
        "training": [(10, 0.7), (30, 0.5), (50, 0.25)],
        "validation": [(10, 0.75), (30, 0.6), (50, 0.65)],
    }
    assert ruled(chart) == [30]
    said = chart.title.subtitle
    assert said[1] == "vertical line: step 3, kept for its best validation score"
    assert titles(chart) == ("tokens seen", "loss, nats a target")


def test_the_unit_of_numbers():
    chart = learning_chart(run(POINTS, aim="regression"))
    assert titles(chart) == ("tokens seen", "loss, squared standard deviations")


def test_equal_records_give_equal_files():
    text = learning_svg(run(POINTS))
    assert text == learning_svg(run(POINTS))
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "tokens seen" in text
    for foreign in ("<script", "<image", "href=", "@import", "<foreignObject"):
        assert foreign not in text


def test_losses_that_are_no_numbers_leave_no_trace():
    nan, inf = math.nan, math.inf
    chart = learning_chart(run([(1, 10, inf, 0.7), (2, 20, 0.5, nan), (3, 30, nan, -inf)]))
    assert drawn(chart) == {"training": [(20, 0.5)], "validation": [(10, 0.7)]}
    assert "NaN" not in learning_svg(run([(1, 10, inf, 0.7), (3, 30, 0.5, nan)]))
    assert learning_svg(run([(1, 10, nan, nan)])) is None
    assert learning_svg(run([])) is None


def test_one_point_or_no_best_one():
    one = run(POINTS[:1], best=1)
    assert ruled(learning_chart(one)) == [10]
    assert learning_svg(one)
    chart = learning_chart(run(POINTS, best=0))
    assert ruled(chart) == []
    assert len(chart.title.subtitle) == 1
    assert learning_svg(run([(1, 0, 0.7, 0.7)]))  # no token yet


@pytest.mark.parametrize("count", [MOST, MOST + 1, 10_000])
def test_of_very_many_points_some_are_drawn(count):
    points = [(i, 10 * i, 1 / i, 2 / i) for i in range(1, count + 1)]
    chart = learning_chart(run(points, best=37))
    seen = [x for x, _ in drawn(chart)["validation"]]
    assert len(seen) in (MOST, MOST + 1)
    assert seen == sorted(seen)
    assert {10, 370, 10 * count} <= set(seen)
    assert len(learning_svg(replace(run(points), best_step=37))) < 100_000
