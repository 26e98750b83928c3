"""The report folder: complete, readable again, and untouched when writing fails."""

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from howfar.report import page, save


def test_records_come_back_equal(sample, folder):
    assert save.read_records(folder / "records.json") == sample.samples()
    assert json.loads((folder / "records.json").read_text("utf-8"))["schema"] == 1


def test_hostile_records_come_back_equal(sample, hostile_folder):
    assert save.read_records(hostile_folder / "records.json") == (sample.hostile(),)
    names = {path.name for path in hostile_folder.rglob("*")}
    assert all(name.replace("-", "").replace(".", "").isalnum() for name in names)


@pytest.mark.parametrize("text", ["[]", "{}", '{"schema": 2, "comparisons": []}'])
def test_foreign_records_are_refused(tmp_path, text):
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(ValueError, match="expected records of schema 1"):
        save.read_records(tmp_path / "r.json")


def test_figures_are_svg_and_png(folder):
    figures = sorted((folder / "figures").iterdir())
    assert len(figures) == 2 * 19
    for path in figures:
        if path.suffix == ".svg":
            assert ElementTree.parse(path).getroot().tag == "{http://www.w3.org/2000/svg}svg"
        else:
            data = path.read_bytes()
            assert data[:8] == b"\x89PNG\r\n\x1a\n"
            width = int.from_bytes(data[16:20], "big")
            assert 2 * 340 <= width <= 2 * 420
    assert "recall-reach.svg" in {path.name for path in figures}


def test_save_figures_names_them_plainly(sample, tmp_path):
    paths = save.save_figures(sample.labels(), tmp_path / "figures")
    assert [p.name for p in paths[:2]] == ["scores.svg", "scores.png"]
    assert all(path.exists() for path in paths)


def test_failed_write_leaves_the_earlier_report(sample, tmp_path, monkeypatch):
    target = tmp_path / "out"
    save.write_report([], target)
    before = {p: p.read_bytes() for p in target.rglob("*") if p.is_file()}
    whole = page.write_whole

    def full(path: Path, content: bytes):
        if path.name == "report.html":
            raise OSError(28, "No space left on device")
        whole(path, content)

    monkeypatch.setattr(page, "write_whole", full)
    with pytest.raises(OSError, match="No space left"):
        save.write_report([], target, "second")
    assert {p: p.read_bytes() for p in target.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_needs_no_torch():
    code = (
        "import sys; import howfar.report.save, howfar.report.table; "
        "sys.exit('torch' in sys.modules or 'howfar.core' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_figures_of_an_earlier_report_do_not_stay(sample, tmp_path):
    save.write_report([sample.recall()], tmp_path)
    stray = tmp_path / "figures" / "notes.svg"
    stray.write_text("<svg/>")
    assert (tmp_path / "figures" / "distance.png").exists()
    save.write_report([sample.text()], tmp_path)
    assert not (tmp_path / "figures" / "distance.png").exists()
    assert (tmp_path / "figures" / "reach.png").exists()
    assert stray.exists()
