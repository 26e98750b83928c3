"""Study files: what is read, and that all that is wrong is refused with its place."""

from pathlib import Path

import pytest

from howfar.core.errors import DataError, UsageError
from howfar.study.grid import Settings
from howfar.study.grid_cost import cost
from howfar.study.study_file import read_study
from howfar.train import Budget

EXAMPLES = Path(__file__).parents[2] / "docs" / "studies"
SMALL = """version = 1
name = "small"
[axes]
family = ["lstm", "gru"]
length = [8, 6]
rate = [0.01]
seeds = 2
[data]
task = "copy"
[data.settings]
data = 2
[budget]
steps = 3
[settings]
batch = 4
[measure]
reach = false
cost_lengths = [8, 16]
"""
BARE = """version = 1
name = "bare"
[axes]
family = ["gru"]
rate = [1]
seed = [7]
"""


@pytest.fixture
def read(tmp_path):
    def one(text, name="study.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_study(path)

    return one


def refused(read, text, *parts):
    with pytest.raises(UsageError) as found:
        read(text)
    assert found.value.code == "E-CONFIG"
    assert "study.toml" in found.value.message
    for part in parts:
        assert part in str(found.value)
    assert str(found.value).isprintable()
    assert len(str(found.value)) < 1000


def test_a_file_is_a_grid(read):
    study = read(SMALL)
    cells = study.cells()
    assert study.name == "small"
    order = [(c.family, c.length, c.seed) for c in cells]
    assert order == [(f, n, s) for f in ("lstm", "gru") for n in (8, 6) for s in (0, 1)]
    assert {c.budget for c in cells} == {Budget(3.0, "steps")}
    assert cells[0].settings == Settings(batch=4)
    assert cells[0].measure.cost_lengths == (8, 16)
    assert dict(cells[0].data.settings)["data"] == 2
    assert cells[0].problem().length == 8


def test_the_order_of_keys_and_the_name_decide_nothing(read):
    blocks = SMALL.split("[")
    turned = '[axes]\nseeds = 2\nrate = [1e-2]\nlength = [8, 6]\nfamily = ["lstm", "gru"]\n'
    rest = "[budget]\nsteps = 3\n[data.settings]\ndata = 2\n[data]\ntask = 'copy'\n"
    rest += "[measure]\ncost_lengths = [8, 16]\nreach = false\n[settings]\nbatch = 4\n"
    assert len(blocks) > 1
    first, second = read(SMALL), read('name = "other"\nversion = 1\n' + turned + rest)
    assert [c.run for c in first.cells()] == [c.run for c in second.cells()]
    assert first.fingerprint == second.fingerprint


def test_one_cell_with_all_that_is_usual(read):
    (cell,) = read(BARE + '[data]\ntask = "recall"\n[budget]\ntokens = 10_000\n').cells()
    assert (cell.length, cell.rate, cell.seed, cell.parameters) == (128, 1.0, 7, 60_000)
    assert cell.settings == Settings()
    full = '[data]\ntask = "recall"\n[data.settings]\nlength = 128\n[budget]\ntokens = 1e4\n'
    full += "[settings]\nbatch = 32\nembedding = 64\nthreads = 1\ndevice = 'cpu'\n"
    assert read(BARE + full).cells()[0].run == cell.run
    shorter = full.replace("length = 128", "length = 64")
    assert read(BARE + shorter).cells()[0].length == 64


def test_files_lie_beside_the_study(read, tmp_path, monkeypatch):
    (tmp_path / "play.txt").write_text("to be or not to be\n" * 400)
    (tmp_path / "rows.csv").write_text(
        "text,label\n" + "".join(f"w{i},{'ab'[i % 2]}\n" for i in range(50))
    )
    (tmp_path / "hard.toml").write_text('task = "recall"\nlength = 32\ncues = 4\n')
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")
    budget = "\n[budget]\nseconds = 2\n"
    (text,) = read(BARE + '[data]\ntext = "play.txt"' + budget).cells()
    assert (text.length, text.problem().causal) == (128, True)
    (table,) = read(BARE + '[data]\ntable = "rows.csv"' + budget).cells()
    assert (table.length, table.problem().outputs) == (None, 2)
    (made,) = read(BARE + '[data]\ntask = "hard.toml"' + budget).cells()
    assert (made.length, made.problem().outputs) == (32, 4)
    other = BARE.replace("rate", "length = [16]\nrate") + '[data]\ntask = "hard.toml"' + budget
    assert read(other).cells()[0].length == 16
    planted = '[data]\ntask = "planted"\nsettings = {path = "play.txt", words = 2}' + budget
    assert read(BARE + planted).cells()[0].data.sha256 == text.data.sha256


BAD = {
    "unknown key": ("[settings]", "[setings]", "setings", "Did you mean 'settings'"),
    "unknown key below": ("batch", "batchs", "settings.batchs", "Did you mean 'batch'"),
    "unknown axis": ("rate =", "rates =", "axes.rates", "Did you mean 'rate'"),
    "search": ("[measure]", "[search]", "search: no such key"),
    "duplicate key": ("batch = 4", "batch = 4\nbatch = 5", "line 16", "batch = 5", "[settings]"),
    "duplicate table": ("[measure]", "[axes]", "('axes',) twice"),
    "not a number": ("0.01", "nan", "axes.rate[0]: nan is not a finite number"),
    "infinite": ("0.01", "1e999", "axes.rate[0]: inf is not a finite number"),
    "infinite below": ("data = 2", "data = -inf", "data.settings.data"),
    "deep lists": ("0.01", "[" * 5000, "nested too deeply"),
    "deep tables": ("batch", "batch." + "a." * 5000 + "b", "settings.batch: a table is not"),
    "deep setting": ("data = 2", "data." + "a." * 5000 + "b = 1", "data.settings.data: is not one"),
    "wrong type": ("batch = 4", 'batch = "4"', "settings.batch: '4' is not a whole number"),
    "a flag is no number": ("batch = 4", "batch = true", "settings.batch: true is not a whole"),
    "a share is not whole": ("[8, 6]", "[8, 6.0]", "axes.length[1]: 6.0 is not a whole number"),
    "no list": ("[0.01]", "0.01", "axes.rate: 0.01 is not a list"),
    "no table": ("[budget]\nsteps = 3", "[budget]\nsteps = {a = 1}", "budget.steps: a table is"),
    "a list for a table": ("[budget]\nsteps = 3", "[[budget]]\nsteps = 3", "budget: a list is not"),
    "no flag": ("reach = false", "reach = 0", "measure.reach: 0 is not true or false"),
    "newer version": ("version = 1", "version = 2\nnews = 1", "version: 2 is newer"),
    "older version": ("version = 1", "version = 0", "version: 0 is of no known form"),
    "version of no type": ("version = 1", "version = 1.0", "version: 1.0 is not a whole number"),
    "no version": ("version = 1", "", "version: is missing"),
    "no name": ('name = "small"', "", "name: is missing"),
    "bad name": ('"small"', '"../small"', "name: '../small' is not 1 to 64"),
    "hiding name": ('"small"', '"a\\u202eb"', "a\\u202eb"),
    "hiding key": ("batch", '"\\u202ebatch"', "\\u202ebatch"),
    "control in a key": ("batch", '"a\\u001b[31m"', "settings.a\\x1b[31m"),
    "empty axis": ("[0.01]", "[]", "axes: The axis rate is empty"),
    "no axis": ("rate = [0.01]", "", "axes.rate: is missing"),
    "twice on an axis": ("[0.01]", "[1e-2, 0.01]", "axis rate holds '0.01' more than once"),
    "no seeds": ("seeds = 2", "", "axes: holds none of seed, seeds"),
    "seeds twice": ("seeds = 2", "seeds = 2\nseed = [1]", "axes: holds seed and seeds of"),
    "seeds out of range": ("seeds = 2", "seeds = 0", "axes.seeds: seeds='0' is out of range"),
    "family": ('"gru"', '"gruu"', "axes.family[1]: No family", "Did you mean 'gru'"),
    "rate": ("0.01", "-1", "axes.rate[0]"),
    "length": ("[8, 6]", "[8, 1]", "axes.length[1]: length=1 is not in 2"),
    "impossible length": ("[8, 6]", "[8, 4]", "axes.length[1]: copy needs 2 * data + 1 <= length"),
    "parameters": ("seeds", "parameters = [5]\nseeds", "axes.parameters[0]"),
    "huge": ("seeds = 2", "seed = [0x" + "f" * 6000 + "]", "axes.seed[0]: the number has more"),
    "huge decimal": ("seeds = 2", "seed = [" + "9" * 5000 + "]", "is no TOML", "digits"),
    "budget of none": ("steps = 3", "", "budget: holds none of tokens"),
    "budget twice": ("steps = 3", "steps = 3\ntokens = 4", "budget: holds tokens and steps of"),
    "no budget": ("[budget]\nsteps = 3", "", "budget: is missing"),
    "budget of nothing": ("steps = 3", "steps = 0", "budget.steps: 0 is not above 0"),
    "endless budget": ("steps = 3", "tokens = 1e16", "budget.tokens"),
    "epochs": ("steps = 3", "epochs = 3", "budget.epochs", "no such key"),
    "data of none": ('task = "copy"', "", "data: holds none of task"),
    "data twice": ('task = "copy"', 'task = "copy"\ntext = "a"', "data: holds task and text of"),
    "task": ('"copy"', '"coppy"', "data.task: No task", "Did you mean 'copy'"),
    "task's setting": ("data = 2", "dota = 2", "data.settings: The task copy has no setting"),
    "length twice": ("data = 2", "length = 8", "data.settings.length"),
    "settings of a text": ('task = "copy"', 'text = "tinyshakespeare"', "data.settings: only"),
    "range": ("batch = 4", "batch = 0", "settings.batch: batch='0' is out of range"),
    "dropout": ("batch = 4", "dropout = 1", "settings.dropout"),
    "device": ("batch = 4", 'device = "abacus"', "settings.device: 'abacus' is no device"),
    "cost": ("[8, 16]", "[8, 0]", "measure.cost_lengths"),
    "no TOML": ("version = 1", "version: 1", "is no TOML", "line 1"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_refused_with_its_place(read, name):
    old, new, *said = BAD[name]
    assert SMALL.count(old) >= 1
    refused(read, SMALL.replace(old, new), *said)


def test_missing_data_is_of_its_key(read):
    lines = '[data]\ntext = "nowhere.txt"\n[budget]\nsteps = 1\n'
    refused(read, BARE + lines, "data.text: No file")
    refused(read, BARE + lines.replace("text", "task").replace(".txt", ".toml"), "data.task: There")


def test_a_text_that_is_too_short_is_said_when_it_is_planned(read, tmp_path):
    (tmp_path / "play.txt").write_text("to be or not to be\n" * 4)
    study = read(BARE + '[data]\ntext = "play.txt"\n[budget]\nsteps = 1\n')
    with pytest.raises(DataError, match="too short for windows of 128"):
        cost(study)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"name = '\xe9'", b"a = 1\n" * 200_000])
def test_what_is_no_study_at_all(read, content):
    refused(read, content)


def test_a_byte_order_mark_and_windows_lines_are_read(read):
    study = read(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    assert study == read(SMALL)


@pytest.mark.parametrize("name", ["nowhere.toml", "", "a\0b"])
def test_no_file(tmp_path, name):
    with pytest.raises(UsageError) as found:
        read_study(f"{tmp_path}/{name}")
    assert found.value.code == "E-NO-FILE"


def test_ten_thousand_cells_and_no_more(read):
    lines = "[data]\n{}\n[budget]\nsteps = 1\n"
    many = BARE.replace("[7]", str(list(range(10_000))))
    assert len(read(many + lines.format('task = "copy"')).cells()) == 10_000
    more = BARE.replace("[7]", str(list(range(10_001))))
    # the grid is refused before the data is looked for
    refused(read, more + lines.format('text = "nowhere"'), "10,001 cells", "10,001 seed")


@pytest.mark.parametrize("name", ["recall", "shakespeare"])
def test_examples_are_as_large_as_they_say(name):
    study = read_study(EXAMPLES / f"{name}.toml")
    axes = study.axes
    sizes = [len(each) for each in (axes.family, axes.length, axes.rate, axes.seed)]
    assert (study.name, sizes) == (name, [6, 3, 3, 3])
    assert len(study.cells()) == 162
    assert cost(study).total.tokens == 162 * 200_000
