"""Models named on the command line: folders of Hugging Face, factories, and what is no model."""

import importlib
import json
import os
import subprocess
import sys

import pytest
import torch
from tests.adapt.test_huggingface import SIZES, made
from torch import nn

from howfar.adapt import adapt, hub, open_model
from howfar.core.errors import EnvironmentFault, HowfarError, StoreError, UsageError

FACTORIES = """
import torch
from torch import nn
model = nn.Linear(2, 2)
class Net(nn.Module):
    def forward(self, x):
        return x
def factory():
    return nn.Linear(2, 2)
def options(width=3):
    return nn.Linear(width, width)
def of_tokens(tokens, lengths=None):
    return tokens
def optional(x=None):
    return x
def fails():
    raise ValueError("no file\\nhere")
def leaves():
    raise SystemExit(3)
def number():
    return 3
class Holder:
    net = Net()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A folder on the path with a module `mine`."""
    (tmp_path / "mine.py").write_text(FACTORIES)
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    (tmp_path / "wrong.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "mine"
    for name in ("mine", "broken", "wrong"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model", nn.Linear),
        ("factory", nn.Linear),
        ("options", nn.Linear),
        ("Net", nn.Module),
        ("Holder.net", nn.Module),
    ],
)
def test_a_factory_a_class_or_the_model_itself(module, name, kind):
    assert isinstance(open_model(f"mine:{name}").model, kind)


@pytest.mark.parametrize("name", ["of_tokens", "optional"])
def test_a_function_of_tokens_is_the_model(module, name):
    assert open_model(f"mine:{name}").model.__name__ == name
    tokens = torch.zeros(2, 3)
    assert adapt(f"mine:{name}")(tokens, torch.tensor([3, 3])) is tokens


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine:fails", "'mine:fails' raised ValueError: 'no file here'"),
        ("mine:leaves", "raised SystemExit: '3'"),
        ("mine:number", "gives a int, which cannot be called"),
        ("mine:factorx", "Did you mean 'factory'"),
        ("mine:Holder.none", "nothing called 'Holder.none'"),
        ("none_such:x", "no module that can be imported"),
        ("none.such:x", "no module that can be imported"),
        ("broken:x", "'nothing_of_this_name', which is not installed"),
        ("wrong:x", "Importing 'wrong' raised ZeroDivisionError"),
        ("gru", "No model is called 'gru'"),
        ("mine:", "No model is called"),
        ("", "No model is called"),
        ("hf:", "names no model"),
        ("hf:./none", "no folder './none'"),
        ("hf:a/b/c", "no folder"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line(module, name, message):
    with pytest.raises(HowfarError) as raised:
        open_model(name)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.hint


def test_folders_that_are_no_model(tmp_path):
    with pytest.raises(UsageError, match="bundles of trained models are not known to this version"):
        open_model(str(tmp_path))
    with pytest.raises(UsageError, match=r"has no config\.json"):
        open_model(f"hf:{tmp_path}")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UsageError) as raised:
        open_model(str(tmp_path))
    assert f"hf:{tmp_path}" in raised.value.hint
    with pytest.raises(StoreError, match="no weights"):
        open_model(f"hf:{tmp_path}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(StoreError, match="opening that may run code") as refused:
        open_model(f"hf:{tmp_path}")
    assert "save_pretrained" in refused.value.hint
    (tmp_path / "model.safetensors").write_bytes(b"no")
    with pytest.raises(StoreError, match="cannot be loaded"):
        open_model(f"hf:{tmp_path}")


@pytest.fixture
def folder(tmp_path):
    """A tiny causal model with a character tokeniser that puts <s> before each row."""
    tokenizers = pytest.importorskip("tokenizers")
    made("LlamaForCausalLM", SIZES).float().save_pretrained(tmp_path)
    vocabulary = {c: i for i, c in enumerate(["<s>", "<u>", *"abcdefghijklmnopqrstuvwxyz ,.\n"])}
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<u>"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    library.post_processor = tokenizers.processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    library.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def test_a_folder_gives_model_tokeniser_and_special_ids(folder):
    opened = open_model(f"hf:{folder}")
    assert type(opened.model).__name__ == "LlamaForCausalLM"
    assert not opened.model.training
    assert list(opened.encode("ab a")) == [2, 3, 28, 2]
    assert (opened.before, opened.after, opened.notes) == ((0,), (), ())
    predict = adapt(opened.model)
    assert predict.trained_length == 64


def test_missing_weights_are_said(folder):
    safetensors = pytest.importorskip("safetensors.torch")
    weights = safetensors.load_file(folder / "model.safetensors")
    weights.pop("lm_head.weight")
    safetensors.save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    notes = open_model(f"hf:{folder}").notes
    assert any("drawn at random, such as 'lm_head.weight'" in note for note in notes)


def test_an_architecture_that_needs_code_of_its_own_is_refused(folder):
    config = (folder / "config.json").read_text().replace("LlamaForCausalLM", "MyOwnModel")
    (folder / "config.json").write_text(config)
    with pytest.raises(UsageError, match="'MyOwnModel', which transformers does not have"):
        open_model(f"hf:{folder}")


def test_a_folder_without_a_tokeniser_says_so(folder):
    for path in folder.glob("tokenizer*"):
        path.unlink()
    opened = open_model(f"hf:{folder}")
    assert opened.encode is None
    assert "no tokeniser could be read" in opened.notes[0]


def test_without_the_extra(folder, monkeypatch):
    def missing(name, *rest):
        if name == "transformers":
            raise ImportError(name)
        return importlib.import_module(name, *rest)

    monkeypatch.setattr(hub, "import_module", missing)
    with pytest.raises(EnvironmentFault) as raised:
        open_model(f"hf:{folder}")
    assert raised.value.code == "E-EXTRA"
    assert "pip install 'howfar[hf]'" in raised.value.hint


def test_names_are_not_looked_up_offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE"):
        open_model("hf:nobody/no-such-model")


def test_settings_of_the_library_are_put_back(folder):
    transformers = pytest.importorskip("transformers")
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    open_model(f"hf:{folder}")
    (folder / "model.safetensors").write_bytes(b"no")
    with pytest.raises(StoreError):
        open_model(f"hf:{folder}")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_code_of_a_folder_is_never_run(folder):
    """A model_type that transformers knows is loaded by its own class, and that is said."""
    path = folder / "config.json"
    (folder / "own.py").write_text("raise SystemExit('run')")
    config = json.loads(path.read_text()) | {"auto_map": {"AutoConfig": "own.Config"}}
    path.write_text(json.dumps(config))
    opened = open_model(f"hf:{folder}")
    assert type(opened.model).__name__ == "LlamaForCausalLM"
    assert any("code of its own, which is not used" in note for note in opened.notes)
    path.write_text(json.dumps(config | {"model_type": "of_its_own"}))
    with pytest.raises(UsageError, match="code of its own folder, which howfar never runs"):
        open_model(f"hf:{folder}")


def test_a_tokeniser_without_a_vocabulary_is_none(folder):
    """As save_pretrained leaves a folder of a GPT-2 that was given no tokeniser's files."""
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert open_model(f"hf:{folder}").encode is None


def test_a_name_nobody_answers_for_is_asked_once():
    """No network: one line, soon, and nothing else on stderr."""
    pytest.importorskip("transformers")
    code = "import sys; from howfar.cli import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "audit", "hf:nobody/none", "--random", "9"]
    closed = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": "0"}
    ended = subprocess.run(command, env=closed, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    lines = ended.stderr.splitlines()
    assert len(lines) == 1, ended.stderr
    assert "No model 'nobody/none' could be loaded" in lines[0]
