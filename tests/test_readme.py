"""The README says what the program says."""

import re
import runpy
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent.parent
README = (HERE / "README.md").read_text("utf-8")


@pytest.fixture(scope="module")
def script():
    return runpy.run_path(str(HERE / "bench" / "readme.py"))


def test_output_is_the_programs_own(script):
    assert script["with_output"](README, script["output"]()) == README
    assert len(script["output"]().splitlines()) > 10


def test_the_command_is_the_one_that_was_run(script):
    (record,) = script["read_records"](HERE / "docs" / "readme" / "records.json")
    command = re.sub(r" --out \S+", "", record.command)
    assert f"`{command}`" in README


def test_the_figure_is_there_and_install_comes_early():
    lines = README.splitlines()
    assert next(i for i, line in enumerate(lines, 1) if "## Install" in line) <= 25
    for name in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (HERE / name).exists(), name


def test_the_python_example_runs(capsys):
    code = re.search(r"```python\n(.*?)```", README, re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102 - our own README
    assert capsys.readouterr().out == "7 7 7\n"
