"""Two processes give what one gives, are cut and go on as two and as one, whole or in shares."""

import pytest
import torch
from tests.train.test_processes import AT, equal, run


@pytest.mark.parametrize("family", ["gru", "transformer"])
def test_two_processes_are_cut_and_go_on_as_two_and_as_one(tmp_path, family):
    alone = run(tmp_path / "one", 1, family=family)
    both = run(tmp_path / "two", 2, family=family)
    assert equal(alone, both)
    assert alone["curve"] == both["curve"]
    assert alone["tokens"] == both["tokens"]
    assert run(tmp_path / "cut", 2, stop=AT, family=family) is None
    assert equal(run(tmp_path / "cut", 1, family=family), alone)
    assert run(tmp_path / "again", 2, stop=AT, family=family) is None
    assert equal(run(tmp_path / "again", 2, family=family), alone)


def test_shared_parameters_are_cut_and_go_on(tmp_path):
    whole = run(tmp_path / "two", 2, way="fsdp", family="transformer")
    assert run(tmp_path / "cut", 2, stop=AT, way="fsdp", family="transformer") is None
    assert equal(run(tmp_path / "cut", 2, way="fsdp", family="transformer"), whole)
    assert run(tmp_path / "again", 2, stop=AT, way="fsdp", family="transformer") is None
    as_one = run(tmp_path / "again", 1, family="transformer")
    for name, value in whole["weights"].items():
        torch.testing.assert_close(as_one["weights"][name], value, rtol=1e-4, atol=1e-5)
