"""`howfar reach` and `howfar audit`: any model, any rows, one line for whatever is wrong."""

import subprocess
import sys

import numpy as np
import pytest
import torch

MODELS = """
import torch
from torch import nn

class Net(nn.Module):
    "Names the byte 5 back, time first."
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(256, 256)
        self.table.weight.data = 5 * torch.eye(256)
    def forward(self, tokens):
        return torch.roll(self.table(tokens), 5, dims=0)

def net():
    return Net()
def delay(tokens):
    return 3 * nn.functional.one_hot(torch.roll(tokens, 5, 1), 50).float()
def pooled(tokens):
    return nn.functional.one_hot(tokens, 50).float().mean(1)
def constant(tokens):
    return torch.zeros(*tokens.shape, 5)
def nan(tokens):
    return delay(tokens) / 0 * 0
def averaged(tokens, lengths):
    real = torch.arange(tokens.shape[1]) < lengths[:, None]
    one = nn.functional.one_hot(tokens, 50).float() * real[..., None]
    return one.sum(1) / lengths[:, None]
def perposition(tokens):
    return torch.roll(tokens, 5, 1).float()
def both(tokens, lengths):
    x = nn.functional.one_hot(tokens, 50).float()
    return 3 * torch.roll(x, 2, 1) + 5 * torch.roll(x, -3, 1)
def talks(tokens):
    print("hello from the model")
    return delay(tokens)
class Interrupted(nn.Module):
    calls = 0
    def forward(self, tokens):
        Interrupted.calls += 1
        if Interrupted.calls > 60:
            raise KeyboardInterrupt
        return delay(tokens)
interrupted = Interrupted()
def raises(tokens):
    raise RuntimeError("first\\nsecond")
def leaks(tokens):
    return 3 * nn.functional.one_hot(torch.roll(tokens, -1, 1), 50).float()
lstm = nn.LSTM(3, 4)
def rows():
    return torch.arange(640).reshape(40, 16) % 50
def ragged():
    return torch.arange(640).reshape(40, 16) % 50, torch.arange(40) % 9 + 8
def no_rows():
    raise OSError("gone")
"""


@pytest.fixture
def models(tmp_path):
    """The working folder holds a module `given`."""
    (tmp_path / "given.py").write_text(MODELS)
    words = np.random.default_rng(0).choice(["the", "cat", "saw", "a", "dog", "bird,"], 3000)
    (tmp_path / "text.txt").write_text(" ".join(words))
    yield tmp_path
    sys.modules.pop("given", None)


def test_a_function_on_drawn_symbols(howfar, models):
    ended = howfar("reach", "given:delay", "--random", 50, "--length", 24)
    assert ended.code == 0
    assert "swap: 6 [6, 6] kept tokens" in ended.out
    said = ("used99      6", "used50      6", "structural  >= 6", "64 sequences, design paired")
    for line in said:
        assert line in ended.out
    assert "measuring: swap" in ended.err


def test_one_json_document(howfar, models):
    ended = howfar("reach", "given:delay", "--random", 50, "--length", 24, "--json")
    found = ended.document
    assert (found["schema"], found["data"]["rows"], found["data"]["length"]) == (1, 64, 24)
    swap = found["measures"][0]
    assert (swap["kind"], swap["value"], swap["low"], swap["high"]) == ("swap", 6, 6, 6)
    assert swap["card"] == {
        "structural": 6, "detectable": 6, "used99": 6, "used95": 6, "used50": 6
    }  # fmt: skip
    assert not swap["censored"]
    assert swap["curve"]["x"][:3] == [0, 1, 2]
    assert swap["curve"]["unit"] == "share of the effect"
    again = howfar("reach", "given:delay", "--random", 50, "--length", 24, "--json")
    assert again.out == ended.out


def test_text_by_bytes_time_first_with_figures(howfar, models):
    ended = howfar(
        *("reach", "given:net", "text.txt", "--tokens", "byte", "--length", 32, "--next"),
        *("--measure", "swap,gradient", "--out", "figures"),
    )
    assert ended.code == 0, ended.err
    assert "swap: 6 [6, 6] kept tokens" in ended.out
    assert "gradient: 6 [6, 6] kept tokens" in ended.out
    assert "useful" in ended.out
    for name in ("swap.svg", "swap.png", "gradient.svg", "gradient.png"):
        assert (models / "figures" / name).stat().st_size > 1000
        assert f"figures/{name}" in ended.out


@pytest.mark.parametrize("kind", ["char", "word", "table.json"])
def test_other_tokens(howfar, models, kind):
    (models / "table.json").write_text('{"a": 1, "c": 2, "t": 3, "h": 4, "e": 5, " ": 6}')
    ended = howfar("reach", "given:delay", "text.txt", "--tokens", kind, "--length", 16)
    assert ended.code == 0, ended.err
    assert "swap: 6" in ended.out


def test_a_table_gives_a_row_a_text(howfar, models, table):
    ended = howfar(
        "reach", "given:pooled", "reviews.csv", "--tokens", "word", "--length", 12, "--json"
    )
    assert ended.code == 0, ended.err
    data = ended.document["data"]
    assert (data["rows"], data["length"], data["unit"]) == (64, 12, "word")
    assert "are cut to 12 tokens" in data["notes"][0]
    assert ended.document["measures"][0]["kind"] == "interaction"  # one answer a row
    assert ended.document["measures"][0]["result"].startswith("no")


def test_arrays_and_rows_of_a_module(howfar, models):
    rng = np.random.default_rng(0)
    np.save(models / "ids.npy", rng.integers(50, size=(80, 16)))
    np.save(models / "stream.npy", rng.integers(50, size=5000))
    np.save(models / "real.npy", rng.standard_normal((40, 16, 3)))
    for data in ("ids.npy", "stream.npy", "given:rows", "given:ragged"):
        ended = howfar("reach", "given:delay", data, "--length", 16)
        assert ended.code == 0, ended.err
    ended = howfar("reach", "given:lstm", "real.npy", "--json")
    assert ended.document["data"] == {
        "name": "real.npy", "rows": 40, "length": 16, "unit": "token"
    }  # fmt: skip
    assert howfar("reach", "given:lstm", "--random", "normal:3").code == 0


def test_a_constant_model_is_a_stated_result(howfar, models):
    ended = howfar("reach", "given:constant", "--random", 9, "--length", 8, "--json")
    swap = ended.document["measures"][0]
    assert ended.code == 0
    assert "value" not in swap
    assert swap["result"].startswith("no influence")


def test_one_measure_of_several_that_does_not_apply(howfar, models):
    ended = howfar(
        "reach", "given:delay", "--random", 50, "--length", 16, "--measure", "swap,gradient"
    )
    assert ended.code == 1
    assert "swap: 6" in ended.out
    assert "gradient: not measured: " in ended.out
    ended = howfar(
        *("reach", "given:delay", "--random", 50, "--length", 16, "--measure", "swap,gradient"),
        "--json",
    )
    assert (ended.code, ended.document["failed"][0]["kind"]) == (1, "gradient")


WRONG = {
    "raises": (["given:raises", "--random", 50], 3, "E-MODEL", "RuntimeError"),
    "not a number": (["given:nan", "--random", 50], 3, "E-OUTPUT", "not a number"),
    "ids": (["given:net", "--random", 300], 3, "E-VOCABULARY", "its embeddings hold 256"),
    "no model": (["nothing", "text.txt"], 2, "E-MODEL", "No model is called 'nothing'"),
    "no attribute": (["given:dela", "text.txt"], 2, "E-MODEL", "Did you mean 'delay'"),
    "a folder": ([".", "text.txt"], 2, "E-MODEL", "bundles"),
    "no data": (["given:delay"], 2, "E-OPTION", "Neither DATA nor --random"),
    "both": (["given:delay", "text.txt", "--random", 5], 2, "E-OPTION", "Both DATA"),
    "random": (["given:delay", "--random", "-3"], 2, "E-OPTION", "no number of symbols"),
    "random width": (["given:delay", "--random", "normal:x"], 2, "E-OPTION", "--random"),
    "no tokeniser": (["given:delay", "text.txt"], 2, "E-OPTION", "no tokeniser"),
    "tokens": (["given:delay", "text.txt", "--tokens", "syllable"], 2, "E-OPTION", "syllable"),
    "no file": (["given:delay", "none.txt", "--tokens", "byte"], 2, "E-NO-FILE", "none.txt"),
    "no array": (["given:delay", "none.npy"], 2, "E-NO-FILE", "none.npy"),
    "pickle": (["given:delay", "objects.npy"], 3, "E-FORMAT", "objects.npy"),
    "too long": (["given:delay", "text.txt", "--tokens", "byte", "--length", 9999], 3,
                 "E-TOO-SHORT", "too few for two rows"),
    "rows raise": (["given:delay", "given:no_rows"], 2, "E-DATA", "OSError"),
    "measure": (["given:delay", "--random", 5, "--measure", "swop"], 2, "E-OPTION", "'swap'"),
    "option": (["given:delay", "--random", 5, "--measure", "interaction", "--design", "fast"], 2,
               "E-OPTION", "--design has no effect on interaction"),
    "reals": (["given:lstm", "--random", 5], 3, "E-SHAPE", "vectors"),
    "hub": (["hf:nobody/none", "text.txt"], 2, "E-MODEL", "HF_HUB_OFFLINE"),
    "device": (["given:delay", "--random", 5, "--device", "meta"], 2, "E-DEVICE", "meta"),
    "out": (["given:delay", "--random", 5, "--out", "given.py/x"], 4, "E-PERMISSION", "given.py"),
}  # fmt: skip


REACH_ALONE = {"measure", "option", "out"}
CASES = [(command, case) for command in ("reach", "audit") for case in WRONG]


@pytest.mark.parametrize(
    ("command", "case"), [c for c in CASES if c[0] == "reach" or c[1] not in REACH_ALONE]
)
def test_whatever_is_wrong_is_one_line(howfar, models, monkeypatch, case, command):
    arguments, code, name, part = WRONG[case]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    np.save(models / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    ended = howfar(command, *arguments)
    last = ended.err.splitlines()[-1]
    assert ended.code == code, ended.err
    assert last.startswith(f"howfar: error[{name}]: ")
    assert part in last
    assert ended.err.count("error[") == 1
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_audit_finds_a_leak_and_says_so(howfar, models):
    good = howfar("audit", "given:delay", "--random", 50, "--length", 16, "--causal")
    leak = howfar("audit", "given:leaks", "--random", 50, "--length", 16, "--causal")
    assert (leak.code, good.code) == (1, 1)  # the delay's roll brings the end to the front
    assert "future_leak: " in leak.out
    assert "example     [" in leak.out
    ended = howfar("audit", "given:constant", "--random", 50, "--length", 16, "--json")
    assert ended.document["ok"] == (ended.code == 0)
    clean = howfar("audit", "given:lstm", "--random", "normal:3", "--length", 16)
    assert clean.code == 0, clean.out
    assert "no fault found" in clean.out
    found = howfar("audit", "given:leaks", "--random", 50, "--length", 16, "--causal", "--json")
    assert found.code == 1
    assert found.document["findings"][0]["kind"] == "future_leak"


def test_audit_says_where_an_answer_is_no_number(howfar, models):
    ended = howfar("audit", "given:averaged", "--random", 50, "--length", 16)
    assert ended.code == 1, ended.err
    assert "empty_row: A row of length 0 makes its answer not a number" in ended.out
    assert "the answer is not a finite number" in ended.out


def test_what_a_model_prints_stays_out_of_the_document(howfar, models):
    ended = howfar("reach", "given:talks", "--random", 50, "--length", 24, "--json")
    assert ended.document["measures"][0]["value"] == 6
    assert "hello from the model" in ended.err
    assert ended.document["seed"] == 0
    assert ended.document["command"].startswith("howfar")


def test_a_stop_keeps_the_measures_before_it(howfar, models):
    asked = ("reach", "given:interrupted", "--random", 50, "--length", 24)
    ended = howfar(*asked, "--measure", "swap,interaction,influence", "--json")
    assert ended.code == 130
    assert [found["kind"] for found in ended.document["measures"]] == ["swap"]
    assert [fault["code"] for fault in ended.document["failed"]] == ["E-STOPPED"]


def test_the_future_side_asks_in_the_middle(howfar, models):
    ended = howfar("reach", "given:both", "--random", 50, "--length", 24, "--side", "future")
    assert ended.code == 0, ended.err
    assert "swap: 4 [4, 4] kept tokens" in ended.out


def test_a_real_a_position_is_no_class(howfar, models):
    ended = howfar("reach", "given:perposition", "--random", 50, "--length", 24)
    assert ended.code == 0, ended.err
    assert "swap: 6 " in ended.out


def test_a_support_that_is_not_declared_is_a_bound(howfar, models):
    ended = howfar("reach", "given:delay", "--random", 50, "--length", 24)
    assert "structural  >= 6" in ended.out


def test_a_map_of_layers_is_printed_and_in_json(howfar, models):
    asked = ("reach", "given:net", "--random", 50, "--length", 24, "--measure", "retention")
    ended = howfar(*asked)
    assert ended.code == 0, ended.err
    assert "lost at" in ended.out
    (found,) = howfar(*asked, "--json").document["measures"]
    assert len(found["map"]) == len(found["layers"])


@pytest.mark.parametrize("command", ["reach", "audit"])
def test_help_needs_no_torch(command):
    code = (
        "import sys\nfrom howfar.cli import cli\n"
        f"cli.main([{command!r}, '--help'], standalone_mode=False)\n"
        "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert ended.returncode == 0
    assert b"MODEL" in ended.stdout


def test_a_folder_of_hugging_face(howfar, models, monkeypatch):
    pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    from tests.adapt.test_huggingface import SIZES, made

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = models / "llama"
    made("LlamaForCausalLM", SIZES).float().save_pretrained(folder)
    vocabulary = {c: i for i, c in enumerate(["<s>", *"abcdefghijklmnopqrstuvwxyz ,.\n"])}
    library = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<s>"))
    library.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    library.save(str(folder / "tokenizer.json"))
    ended = howfar("reach", "hf:llama", "text.txt", "--length", 16, "--sequences", 40, "--json")
    assert ended.code == 0, ended.err
    assert ended.document["model"]["trained_length"] == 64
    swap = ended.document["measures"][0]
    assert swap.get("value", 0) >= 1 or swap["censored"], swap
    assert "useful" in swap["card"] or swap["useful_censored"]  # the next token is known
    assert howfar("audit", "hf:llama", "text.txt", "--length", 16).code == 0
    assert torch.get_num_threads() == 1
