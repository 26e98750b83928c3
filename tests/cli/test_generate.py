"""`howfar generate`: text as it is written, the same for the same seed, clean when stopped."""

import io
import os
import signal
import subprocess
import sys

import pytest
import torch
from tests.bundle.making import bundle

from howfar.bundle.generate import generate
from howfar.bundle.save import save


@pytest.fixture(autouse=True)
def registered():
    """The command, also where the group does not list it."""
    from howfar.cli import cli
    from howfar.cli.generate import generate_command

    if "generate" not in cli.commands:
        cli.add_command(generate_command)


@pytest.fixture
def model(tmp_path):
    save(bundle("lm", tokens="char", scale=10.0), tmp_path / "model")
    return bundle("lm", tokens="char", scale=10.0)


def test_text_goes_to_stdout_and_notes_to_stderr(howfar, model):
    ended = howfar("generate", "model", "--prompt", "the Ω", "--max-tokens", "30", "--seed", "3")
    want = generate(model, "the Ω", max_tokens=30, seed=3).text
    assert (ended.code, ended.out.removesuffix("\n")) == (0, want.removesuffix("\n"))
    assert "W-UNKNOWN: 1 of the 5 characters" in ended.err
    echoed = howfar(*("generate", "model", "--prompt", "the", "--echo", "--temperature", "0"))
    assert echoed.out.startswith("the")
    assert echoed.out.endswith("\n")


def test_options_reach_the_model(howfar, model):
    given = {"temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 8, "max_tokens": 25}
    flags = [part for name, v in given.items() for part in (f"--{name.replace('_', '-')}", v)]
    ended = howfar("generate", "model", "--prompt", "", *flags, "--stop", "zz\\n", "--json")
    found = generate(model, "", stop=["zz\n"], **given)
    told = ended.document
    assert (told["text"], told["reason"], told["tokens"]) == (
        found.text,
        found.reason,
        found.tokens,
    )
    assert told["us_per_token"] > 0
    assert told["notes"] == list(found.notes)


def test_prompt_on_standard_input(howfar, model, monkeypatch):
    def given(data):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
        return howfar("generate", "model", "--prompt", "-", "--json", "--max-tokens", "3")

    assert given(b"the\r\nfilm\n").document["prompt"] == "the\nfilm"
    assert given(b"").code == 0
    ended = given(b"the \xff")
    assert (ended.code, ended.document["error"]["code"]) == (3, "E-ENCODING")


@pytest.mark.parametrize(
    "wrong",
    [
        ("--temperature", "nan"), ("--temperature", "-1"), ("--top-p", "0"), ("--top-p", "2"),
        ("--top-k", "0"), ("--max-tokens", "1_0"), ("--seed", "-1"), ("--stop", ""),
        ("--beams", "3"),
    ],
)  # fmt: skip
def test_wrong_options(howfar, model, wrong):
    ended = howfar("generate", "model", "--prompt", "the", *wrong)
    assert (ended.code, ended.out) == (2, "")
    assert "error[E-OPTION]" in ended.err
    assert "Traceback" not in ended.err


def test_a_model_that_does_not_write(howfar, tmp_path):
    save(bundle(), tmp_path / "model")
    ended = howfar("generate", "model", "--prompt", "the")
    assert ended.code == 2
    assert "error[E-AIM]" in ended.err
    assert howfar("generate", "nowhere", "--prompt", "x").code == 2


def test_a_sequence_to_sequence_model_answers(howfar, tmp_path):
    made = bundle("seq2seq", scale=30.0)
    save(made, tmp_path / "model")
    ended = howfar("generate", "model", "--prompt", "the film", "--beams", "3", "--json")
    assert ended.document["text"] == generate(made, "the film", beams=3).text


MAIN = """
import sys
from howfar.cli import cli, main
from howfar.cli.generate import generate_command
if "generate" not in cli.commands:
    cli.add_command(generate_command)
main(sys.argv[1:])
"""


@pytest.fixture
def endless(tmp_path):
    """A model that never ends its text."""
    made = bundle("lm", tokens="char", scale=10.0)
    with torch.no_grad():
        made.model.head.bias[made.settings.end] = -1e4
    save(made, tmp_path / "model")
    return str(tmp_path / "model")


def started(model, tokens):
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, "generate", model, "--prompt", "the", "--max-tokens", tokens],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_stopped_while_writing(endless):
    process = started(endless, "1000000")
    assert len(process.stdout.read(40)) == 40
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert out.endswith(b"\n")
    assert b"stopped" in err


def test_stopped_with_json(howfar, endless, monkeypatch):
    from howfar.bundle import generate as room

    drawn, choose = [], room.choose

    def stopping(*arguments):
        if len(drawn) == 12:
            raise KeyboardInterrupt
        drawn.append(1)
        return choose(*arguments)

    monkeypatch.setattr(room, "choose", stopping)
    ended = howfar("generate", "model", "--prompt", "the", "--json")
    assert ended.code == 130
    assert ended.document["reason"] == "interrupted"
    assert len(ended.document["text"]) == 12


def test_a_reader_that_goes_away(endless):
    process = started(endless, "3000")
    process.stdout.read(5)
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 0
    assert b"Traceback" not in err
