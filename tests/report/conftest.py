"""The made comparisons, and what is written from them, once for all report tests."""

import importlib.util
from pathlib import Path

import pytest

from howfar.report import save


@pytest.fixture(scope="session")
def sample():
    spec = importlib.util.spec_from_file_location("sample", Path(__file__).with_name("sample.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def folder(sample, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "report"
    save.write_report(sample.samples(), target)
    return target


@pytest.fixture(scope="session")
def hostile_folder(sample, tmp_path_factory):
    target = tmp_path_factory.mktemp("out") / "hostile"
    save.write_report([sample.hostile()], target, sample.HOSTILE["script"])
    return target


@pytest.fixture(scope="session")
def hostile_page(hostile_folder):
    return (hostile_folder / "report.html").read_text("utf-8")
