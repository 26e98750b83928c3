"""Ctrl-C between two parts of the demo: the parts before it are in the report."""

import json

import pytest
from tests.report import sample

from howfar.cli import main


def test_what_is_finished_before_a_stop_is_kept(tmp_path, monkeypatch, capsys):
    opened = []

    def open_problem(source, options):
        opened.append(source)
        if len(opened) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("howfar.study.sources.open_problem", open_problem)
    monkeypatch.setattr("howfar.study.compare.compare", lambda *_, **__: sample.recall())
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--out", str(tmp_path / "demo"), "--json"])
    assert stopped.value.code == 130
    (found,) = json.loads(capsys.readouterr().out)["comparisons"]
    assert found["interrupted"]
    assert (tmp_path / "demo" / "report.html").exists()


def test_a_stop_before_anything_is_finished_writes_nothing(tmp_path, monkeypatch):
    def open_problem(source, options):
        raise KeyboardInterrupt

    monkeypatch.setattr("howfar.study.sources.open_problem", open_problem)
    with pytest.raises(SystemExit) as stopped:
        main(["demo", "--out", str(tmp_path / "demo")])
    assert stopped.value.code == 130
    assert not (tmp_path / "demo").exists()
