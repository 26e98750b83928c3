"""`howfar export`: a folder in, a file out; one line for whatever is wrong."""

import json

import pytest
import torch
from click.testing import CliRunner
from tests.bundle.making import bundle

from howfar.bundle.save import save
from howfar.cli.export import export_command
from howfar.core.errors import EnvironmentFault, HowfarError

pytestmark = pytest.mark.filterwarnings("default")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("kept") / "model"
    save(bundle("classification", "textcnn"), path)
    return path


def run(*arguments):
    return CliRunner().invoke(export_command, [str(one) for one in arguments])


def test_a_file_that_torch_opens(folder, tmp_path):
    out = tmp_path / "new" / "model.pt2"
    found = run(folder, "--out", out)
    assert found.exit_code == 0, found.output
    assert "torch, any batch and length. Asked at 15 shapes up to 9 tokens" in found.output
    loaded = torch.export.load(out).module()
    logits = loaded(torch.zeros(2, 30, dtype=torch.long), torch.tensor([30, 2]))
    assert logits.shape == (2, 3)


def test_json(folder, tmp_path):
    found = run(folder, "--out", tmp_path / "m.onnx", "--format", "onnx", "--json")
    told = json.loads(found.stdout)
    assert told["path"] == str(tmp_path / "m.onnx")
    assert told["format"] == "onnx"
    assert [1, 1] in told["checked"]
    assert told["largest_difference"] < 1e-4


def test_what_is_wrong(folder, tmp_path):
    assert "Invalid value for '--format'" in run(folder, "--out", "x", "--format", "tf").output
    assert "Missing option '--out'" in run(folder).output
    missing = run(tmp_path / "no", "--out", tmp_path / "m.pt2").exception
    assert isinstance(missing, HowfarError)
    assert missing.exit_code == 2
    (tmp_path / "file").write_text("")
    wrong = run(folder, "--out", tmp_path / "file" / "m.pt2").exception
    assert isinstance(wrong, EnvironmentFault)
