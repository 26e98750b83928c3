"""Figures: which ones are drawn, with which points, and that they are valid files."""

from dataclasses import replace
from xml.etree import ElementTree

from howfar.record.comparison import Curve, Reach
from howfar.report import draw, layers, plot
from howfar.report.style import LOOKS, looks


def drawn(chart, layer):
    """The points of a layer; where all layers share them, altair keeps them in the chart."""
    return getattr(layer.data, "values", None) or chart.data.values


def lines(chart):
    return drawn(chart, next(x for x in chart.layer if x.mark.type == "line"))


def values(chart):
    """Every point of the lines, by family."""
    found = {}
    for value in lines(chart):
        found.setdefault(value["family"], []).append((value["x"], value["y"]))
    return found


def test_figures_that_apply(sample):
    names = [list(plot.figures(comparison)) for comparison in sample.samples()]
    assert names == [
        ["scores", "reach", "benefit", "distance", "time", "memory", "learning"],
        ["scores", "demand", "reach", "benefit", "time", "memory", "learning"],
        ["scores", "interaction", "time", "memory", "learning"],
    ]


def test_points_are_the_record(sample):
    comparison = sample.recall()
    charts = plot.figures(comparison)
    gru = comparison.rows[1]
    curve = gru.reach.curve
    assert values(charts["reach"])["gru"] == list(zip(curve.x, curve.mean, strict=True))[1:]
    assert values(charts["time"])["gru"] == [(p.length, p.train_us_per_token) for p in gru.cost]
    assert values(charts["memory"])["gru"] == [(p.length, p.peak_bytes) for p in gru.cost]
    accuracy = [y for _, y in values(charts["distance"])["gru"]]
    assert accuracy == [p.accuracy for p in gru.by_distance]


def test_line_stops_at_zero_and_marks_its_last_point(sample):
    """Three points, the third zero: two are drawn and the second is marked; k = 0 is left out."""
    curve = Curve(axis="kept tokens", x=(0, 1, 2, 4), mean=(1.0, 0.5, 0.1, 0.0),
                  low=(1.0, 0.4, 0.0, 0.0), high=(1.0, 0.6, 0.2, 0.0))  # fmt: skip
    row = replace(sample.text().rows[0], reach=Reach(kind="swap", window=4, value=3, curve=curve))
    chart = plot.figures(replace(sample.text(), rows=(row,)))["reach"]
    assert [(p["x"], p["y"], p["last"]) for p in lines(chart)] == [
        (1.0, 0.5, False),
        (2.0, 0.1, True),
    ]
    marked = [
        x.data.values for x in chart.layer if str(getattr(x.mark, "shape", "")).startswith("M")
    ]
    assert [[p["x"] for p in points] for points in marked] == [[2.0]]


def test_structural_edge_stands_where_declared(sample):
    charts = plot.figures(sample.recall())

    def rules(chart):
        found = [drawn(chart, x)[0] for x in chart.layer if x.mark.type == "rule"]
        return sorted(value["x"] for value in found if "y" not in value)

    assert rules(charts["reach"]) == [9, 127]
    assert rules(charts["distance"]) == [8, 126]


def test_noise_floor_out_of_sight_is_not_drawn_elsewhere():
    points = [layers.Point("a", 0.5, 1.0), layers.Point("a", 0.1, 2.0)]
    far = layers.log10_axis("y", points, 1e-12)
    near = layers.log10_axis("y", points, 1e-4)
    assert far.ends == (0.1, 0.5)
    assert layers.level(1e-12, "noise floor", points, far) == []
    assert near.ends[0] <= 1e-4
    assert len(layers.level(1e-4, "noise floor", points, near)) == 2


def test_looks_never_repeat_and_known_families_keep_theirs():
    first = looks(["gru", "mine", "tcn"])
    second = looks(["tcn", "other", "lstm", "gru"])
    assert first["gru"] == second["gru"]
    assert first["tcn"] == second["tcn"]
    many = looks(f"f{i}" for i in range(2 * len(LOOKS)))
    assert len({(look.colour, look.shape) for look in many.values()}) == 2 * len(LOOKS)
    assert len({(look.colour, look.dash) for look in many.values()}) == 2 * len(LOOKS)
    assert looks(["cnn", "textcnn"])["cnn"] != looks(["cnn", "textcnn"])["textcnn"]
    eight = looks(["gru", "tcn", "lstm", "rnn", "cnn", "transformer", "a", "b"]).values()
    assert len({look.colour for look in eight}) == 8


def test_every_chart_names_itself_and_its_axes(sample):
    for comparison in sample.samples():
        for chart in plot.figures(comparison).values():
            data = chart.to_dict()
            assert data["title"]["text"]
            assert data["title"]["subtitle"]
            assert data["description"]
            encodings = [layer["encoding"] for layer in data["layer"]]
            titles = {e["x"]["axis"].get("title") for e in encodings if "axis" in e.get("x", {})}
            assert all(titles)
            assert titles


def test_svg_is_the_same_twice_with_ids_of_its_own(sample):
    chart = plot.figures(sample.recall())["reach"]
    first, second = draw.svg(chart, "one"), draw.svg(chart, "one")
    assert first == second
    other = ElementTree.fromstring(draw.svg(chart, "two"))
    ids = {e.get("id") for e in ElementTree.fromstring(first).iter() if e.get("id")}
    assert ids
    assert not ids & {e.get("id") for e in other.iter()}
    used = {v[5:-1] for e in other.iter() for v in e.attrib.values() if v.startswith("url(#")}
    assert used <= {e.get("id") for e in other.iter()}


def test_texts_in_svg_stay_texts(sample):
    names = set()
    for chart in plot.figures(sample.hostile()).values():
        root = ElementTree.fromstring(draw.svg(chart, "h"))
        names |= {e.tag.rpartition("}")[2] for e in root.iter()}
        for element in root.iter():
            assert not any(key.startswith("on") or key.endswith("href") for key in element.attrib)
    assert names <= {"svg", "g", "path", "text", "tspan", "rect", "line", "defs", "clipPath"}


def test_demand_and_reach_stand_on_one_axis(sample):
    """A found need is a hollow square, a censored one an arrow head, a missing one is left out."""
    chart = plot.figures(sample.text())["demand"]
    marks = {
        layer.data.values[0]["family"]: layer for layer in chart.layer if layer.mark.type == "point"
    }
    assert "nothing" not in marks
    assert marks["mutual information"].data.values[0]["y"] == 48
    assert marks["counting and copying"].data.values[0]["y"] == 2048
    assert marks["counting and copying"].mark.shape == "triangle-right"
    assert marks["mutual information"].mark.shape == "square"
    assert marks["gru"].data.values[0]["y"] == 9


def test_each_need_has_its_curve(sample):
    charts = plot.need_charts(sample.text().demand)
    assert list(charts) == ["mutual information"]  # the others have none
    assert values(charts["mutual information"])["mutual information"] == [
        (1.0, 1.2),
        (16.0, 0.02),
        (48.0, 0.002),
    ]
    ElementTree.fromstring(draw.svg(charts["mutual information"], "need"))
