"""`howfar.train` in a script: numbers of numpy are numbers, and other things are one line."""

import numpy as np
import pytest
from tests.cli.conftest import reviews, write_csv

import howfar
from howfar.core.errors import UsageError

QUICK = {"family": "textcnn", "budget": "2 steps", "width": 8, "embedding": 8, "rows": 8}


@pytest.fixture
def table(tmp_path):
    return write_csv(tmp_path / "reviews.csv", reviews(40))


def test_numbers_of_numpy_are_numbers(table, tmp_path):
    given = {"seed": np.int64(3), "width": np.int32(8), "dropout": np.float32(0.25)}
    given |= {"pack": np.bool_(False), "options": {"patience": np.uint8(4)}}
    found = howfar.train(table, tmp_path / "m", **(QUICK | given))
    assert found.training.seed == 3
    assert type(found.training.seed) is int
    again = howfar.load(tmp_path / "m").training
    assert (again.seed, again.settings["patience"]) == (3, 4)


class DataFrame:
    """Stands for one of pandas, which need not be there."""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"budget": 5}, "budget is of type int, and says no unit"),
        ({"budget": np.int64(5)}, "says no unit"),
        ({"seed": "3"}, "seed is of type str, not a whole number"),
        ({"width": 8.5}, "width is of type float, not a whole number"),
        ({"dropout": "0.1"}, "dropout is of type str, not a number"),
        ({"reading": {"length": "8"}}, "length is of type str, not a whole number"),
        ({"source": DataFrame()}, "of type DataFrame cannot be read"),
        ({"source": None}, "of type NoneType cannot be read"),
        ({"out": 5}, "out is of type int, not a folder"),
    ],
)
def test_other_types_are_one_line(table, tmp_path, given, said):
    with pytest.raises(UsageError, match=said) as caught:
        howfar.train(**({"source": table, "out": tmp_path / "m"} | QUICK | given))
    assert caught.value.code == "E-OPTION"
    assert "\n" not in str(caught.value)
