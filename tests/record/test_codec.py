"""Records round-trip through JSON; what does not apply is absent; what is unknown is refused."""

import dataclasses
import json
import math

import pytest

from howfar.record.codec import dumps, loads, printable, to_data
from howfar.record.comparison import Comparison, Curve, Data, Reach, Row, Score


def comparison():
    curve = Curve(axis="kept tokens", x=(1, 2), mean=(1.0, 0.5), low=(0.9, 0.4), high=(1.1, 0.6))
    reach = Reach(kind="swap", window=64, value=7, low=6, high=9, curve=curve, per_seed=(7, None))
    row = Row(
        family="gru",
        kind="recurrent",
        score=Score(name="accuracy", value=1.0),
        reach=reach,
        learning_rates={"0.001": 2.0},
    )
    data = Data(kind="labels", name="x.csv", unit="word", labels={"a": 3, "\u202eb": 4})
    return Comparison(data=data, rows=(row,), settings={"seeds": 2, "cost": True, "rate": 0.5})


def test_round_trip():
    record = comparison()
    assert loads(Comparison, dumps(record)) == record
    assert dumps(loads(Comparison, dumps(record))) == dumps(record)


def test_absent_fields_are_left_out():
    data = json.loads(dumps(comparison()))
    assert "card" not in data["rows"][0]["reach"]
    assert "by_distance" not in data["rows"][0]
    assert data["rows"][0]["reach"]["per_seed"] == [7, None]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(value):
    with pytest.raises(ValueError, match="may not hold"):
        to_data(Score(name="x", value=value))


def test_unknown_and_missing_fields_are_refused():
    data = to_data(comparison())
    with pytest.raises(ValueError, match="unknown field 'colour'"):
        loads(Comparison, json.dumps(data | {"colour": 1}))
    with pytest.raises(ValueError, match="rows"):
        loads(Comparison, json.dumps({key: data[key] for key in data if key != "rows"}))
    with pytest.raises(ValueError, match="expected int"):
        loads(Comparison, json.dumps(data | {"schema": "1"}))


def test_every_field_of_a_record_has_a_json_form():
    for kind in (Comparison, Row, Reach, Data, Score, Curve):
        assert dataclasses.is_dataclass(kind)


def test_bytes_that_are_no_text_can_be_written_and_come_back():
    data = Data(kind="labels", name="f\udcff", unit="word", labels={"\udcc3": 1, "caf\u00e9": 2})
    text = dumps(data)
    assert text.encode("utf-8").decode("utf-8") == text
    assert loads(Data, text) == data
    assert printable(data.name) == r"f\udcff"
    assert printable("caf\u00e9 \u3042") == "caf\u00e9 \u3042"
