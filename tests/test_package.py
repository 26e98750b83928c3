"""The package as a whole: constraints, shipped files, layering of imports."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def test_constraints_hold_versions_and_no_address():
    text = (HERE / "constraints.txt").read_text("utf-8")
    assert "://" not in text
    assert "@" not in text
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in text.split())
    assert "torch==2.13.0" in text.split()


def test_what_is_shipped_stays_small(tmp_path):
    """The wheel, a zip of these files, stays under 3 MB."""
    files = [
        path
        for path in (HERE / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    wheel = tmp_path / "wheel.zip"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in files:
            packed.write(path)
    assert wheel.stat().st_size < 3_000_000
    assert (HERE / "src" / "howfar" / "py.typed").exists()


def test_every_shipped_set_has_its_licence_beside_it():
    shipped = HERE / "src" / "howfar" / "data" / "shipped"
    for data in shipped.glob("*.gz"):
        name = data.name.partition(".")[0]
        assert (shipped / f"{name}.LICENSE.txt").exists(), data.name
        assert name in (HERE / "NOTICE").read_text("utf-8")


def test_import_howfar_loads_no_torch():
    code = "import sys, howfar; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_are_there():
    import howfar

    for name in howfar.__all__:
        assert getattr(howfar, name) is not None
    assert "compare" in dir(howfar)
    assert set(howfar.families()) >= {"textcnn", "tcn", "elman", "lstm", "gru", "transformer"}
    assert howfar.task("recall", length=16).batch([0]).tokens.shape == (1, 16)


def test_functions_are_not_hidden_by_packages_of_their_name():
    """In a process of its own: what was imported before must not matter."""
    code = """
import inspect, sys
import howfar
assert "torch" not in sys.modules
import howfar.train.loop as loop
import howfar.train, howfar.tasks
from howfar.train import fit
from howfar.api.training import train
assert howfar.train.loop.fit is loop.fit is fit
assert inspect.signature(howfar.train) == inspect.signature(train)
assert "copy" in howfar.tasks()
for given in ((), ("no.csv", "out")):
    for again in range(2):
        try:
            howfar.train(*given)
        except howfar.HowfarError as error:
            assert error.code == "E-NO-FILE" and given
        except TypeError as error:
            assert "missing" in str(error) and not given
        else:
            raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
