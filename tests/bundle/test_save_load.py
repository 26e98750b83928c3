"""A bundle comes back as it was, and nothing that was changed comes back at all."""

import dataclasses
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from tests.bundle.making import AIMS, TEXTS, bundle, settings

from howfar.bundle.build import bare, expected, model_of
from howfar.bundle.load import load
from howfar.bundle.save import CONFIG, CURVE, FILES, KIND, WEIGHTS, save
from howfar.bundle.settings import settings_text
from howfar.core.errors import StoreError, UsageError
from howfar.core.store import MANIFEST, write_folder
from howfar.core.weights import pack
from howfar.models import MODELS


@pytest.fixture
def saved(tmp_path):
    save(bundle(), tmp_path / "model")
    return tmp_path / "model"


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def sealed_again(folder, **changed):
    """The folder with other bytes under a manifest that fits: what an attacker would send."""
    files = {name: data for name, data in contents(folder).items() if name != MANIFEST}
    files |= changed.pop("files", {})
    about = {"kind": KIND, **changed.pop("about", {})}
    write_folder(folder, files, about=about, replace=True)
    return folder


def with_config(folder, edit):
    data = json.loads((folder / CONFIG).read_text("utf-8"))
    edit(data)
    return sealed_again(folder, files={CONFIG: json.dumps(data).encode()})


@pytest.mark.parametrize("aim", AIMS)
def test_what_is_loaded_is_what_was_saved(aim, tmp_path):
    made = bundle(aim)
    save(made, tmp_path / "a")
    found = load(tmp_path / "a")
    assert found.settings == made.settings
    assert found.training == made.training
    assert found.notes == ()
    assert not found.model.training
    state, before = found.model.state_dict(), made.model.state_dict()
    assert list(state) == list(before)
    assert all(torch.equal(state[name], before[name]) for name in before)
    assert all(
        np.array_equal(*both)
        for both in zip(*(b.tokeniser.encode(TEXTS) for b in (found, made)), strict=True)
    )
    save(found, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) <= set(FILES)


def test_a_learning_curve_is_part_of_the_bundle(saved, tmp_path):
    assert load(saved).curve is None  # bundles without one are whole
    assert CURVE not in (saved / "README.md").read_text()
    drawn = dataclasses.replace(load(saved), curve=b"<svg/>")
    save(drawn, tmp_path / "a")
    assert f"]({CURVE})" in (tmp_path / "a" / "README.md").read_text()
    assert CURVE in json.loads((tmp_path / "a" / MANIFEST).read_text())["files"]
    found = load(tmp_path / "a")
    assert found.curve == b"<svg/>"
    assert found.notes == ()
    save(found, tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    (tmp_path / "a" / CURVE).write_bytes(b"<svg >")
    with pytest.raises(StoreError) as caught:
        load(tmp_path / "a")
    assert caught.value.code == "E-DAMAGED"
    (tmp_path / "a" / CURVE).unlink()
    with pytest.raises(StoreError) as caught:
        load(tmp_path / "a")
    assert caught.value.code == "E-DAMAGED"


@pytest.mark.parametrize("family", sorted(MODELS))
@pytest.mark.parametrize("aim", ["classification", "tagging", "lm", "seq2seq"])
def test_the_shapes_on_the_meta_device_are_those_of_the_model(family, aim):
    for given in (
        {},
        {"depth": 3} if "depth" in MODELS[family].settings.__dataclass_fields__ else {},
    ):
        made = settings(aim, family, width=12, **given)
        model = bare(made)
        assert all(tensor.is_meta for tensor in model.state_dict().values())
        assert expected(model) == expected(model_of(made, torch.Generator()))
        assert {n for n, _ in model.named_buffers()} <= set(model.state_dict())


@pytest.mark.parametrize("family", ["textcnn", "gru", "elman", "transformer"])
def test_same_answers_after_loading(family, tmp_path):
    extras = {"kernels": (2, 3)} if family == "textcnn" else {}
    made = bundle(family=family, extras=extras, scale=10.0)
    save(made, tmp_path / "m")
    found = load(tmp_path / "m")
    assert found.settings.extras == extras
    assert np.array_equal(found.probabilities(TEXTS), made.probabilities(TEXTS))


@pytest.mark.parametrize("tokens", ["byte", "char", "word", "bpe"])
def test_every_tokeniser(tokens, tmp_path):
    made = bundle(tokens=tokens)
    save(made, tmp_path / "m")
    assert load(tmp_path / "m").predict(TEXTS) == made.predict(TEXTS)


def test_every_single_bit_flip_is_seen(saved):
    rng = random.Random(20_240_117)
    whole = contents(saved)
    places = [(name, bit) for name, data in whole.items() for bit in range(8 * len(data))]
    # every file gets its share: the weights alone are most of the bytes
    chosen = rng.sample(places, 600)
    for name in whole:
        mine = [place for place in places if place[0] == name]
        chosen += rng.sample(mine, 400 // len(whole) + 1)
    assert len(chosen) >= 1000
    silent = []
    for name, bit in chosen:
        data = bytearray(whole[name])
        data[bit // 8] ^= 1 << bit % 8
        (saved / name).write_bytes(data)
        try:
            load(saved)
        except StoreError:
            pass
        else:
            silent.append((name, bit))
        (saved / name).write_bytes(whole[name])
    assert silent == []
    load(saved)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "config.json", "tokenizer.json", "README.md", "training.json"]
)
def test_a_missing_or_cut_file(name, saved):
    data = (saved / name).read_bytes()
    for size in (0, 1, 7, 8, 9, len(data) - 1):
        (saved / name).write_bytes(data[:size])
        with pytest.raises(StoreError, match=name) as caught:
            load(saved)
        assert caught.value.code == "E-DAMAGED"
    (saved / name).unlink()
    with pytest.raises(StoreError, match=name) as caught:
        load(saved)
    assert caught.value.code == "E-DAMAGED"


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "tokenizer.json"])
def test_files_swapped_between_two_bundles(name, saved, tmp_path):
    save(bundle(seed=1, width=16, names=("x", "y", "z"), tokens="char"), tmp_path / "other")
    (saved / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(StoreError, match=name):
        load(saved)


def test_weights_of_a_model_of_the_same_shape_are_seen_too(saved, tmp_path):
    save(bundle(seed=1), tmp_path / "other")
    (saved / WEIGHTS).write_bytes((tmp_path / "other" / WEIGHTS).read_bytes())
    with pytest.raises(StoreError, match="bytes"):
        load(saved)


def test_an_extra_file_is_said_and_not_read(saved):
    (saved / "extra.pkl").write_bytes(pickle.dumps(1))
    assert "extra.pkl" in load(saved).notes[0]


def test_a_needed_file_that_the_manifest_does_not_name(saved):
    files = {
        name: data
        for name, data in contents(saved).items()
        if name not in (MANIFEST, "tokenizer.json")
    }
    write_folder(saved, files, about={"kind": KIND}, replace=True)
    with pytest.raises(StoreError, match=r"has no tokenizer.json"):
        load(saved)


def test_a_saved_folder_of_another_kind(tmp_path):
    write_folder(tmp_path / "x", {"a.json": b"{}"}, about={"kind": "checkpoint"})
    with pytest.raises(StoreError, match="checkpoint"):
        load(tmp_path / "x")


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_are_never_opened(saved, tmp_path):
    canary = tmp_path / "canary"
    evil = pickle.dumps(Canary(canary))
    torch.save({"x": Canary(canary)}, tmp_path / "evil.pt")
    zipped = (tmp_path / "evil.pt").read_bytes()
    assert zipfile.is_zipfile(tmp_path / "evil.pt")
    for data in (evil, zipped):
        (tmp_path / "model.bin").write_bytes(data)
        with pytest.raises(StoreError) as caught:
            load(tmp_path / "model.bin")
        assert caught.value.code == "E-UNSAFE"
        folder = tmp_path / "foreign"
        folder.mkdir(exist_ok=True)
        (folder / "pytorch_model.safetensors").write_bytes(data)  # the wrong name helps nobody
        with pytest.raises(StoreError) as caught:
            load(folder)
        assert caught.value.code == "E-UNSAFE"
        sealed_again(saved, files={WEIGHTS: data})
        with pytest.raises(StoreError) as caught:
            load(saved)
        assert caught.value.code == "E-UNSAFE"
    assert not canary.exists()


def test_a_family_from_outside_is_not_imported_unasked(saved, tmp_path, monkeypatch):
    canary = tmp_path / "canary"
    (tmp_path / "evil_family.py").write_text(
        f"import os\nos.mkdir({str(canary)!r})\n"
        "from howfar.models import build as _build\n"
        "def make(**given):\n    given['name'] = 'gru'\n    return _build(**given)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with_config(saved, lambda data: data.update(family="evil_family:make"))
    with pytest.raises(StoreError, match="not run unasked") as caught:
        load(saved)
    assert caught.value.code == "E-UNSAFE"
    assert not canary.exists()
    assert "evil_family" not in sys.modules
    assert load(saved, trust_code=True).predict(["the film"])[0] in ("bad", "good", "fine")
    assert canary.exists()


def test_weights_of_other_names_shapes_and_types(saved):
    state = bundle().model.state_dict()
    first = next(iter(state))
    for wrong in (
        {k: v for k, v in state.items() if k != first},
        state | {"more": torch.zeros(1)},
        state | {first: state[first][:-1]},
        state | {first: state[first].double()},
        state | {first: torch.full_like(state[first], torch.nan)},
        state | {first: torch.full_like(state[first], torch.inf)},
    ):
        sealed_again(saved, files={WEIGHTS: pack(wrong)})
        with pytest.raises(StoreError) as caught:
            load(saved)
        assert caught.value.code == "E-CKPT"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 2**17),
        ("width", 2**31 - 1),
        ("vocabulary", 2**31 - 1),
        ("embedding", 2**30),
        ("outputs", 2**31 - 1),
    ],
)
def test_huge_sizes_are_refused_before_memory_is_taken(field, value, saved):
    def grow(data):
        data[field] = value
        if field == "outputs":
            data |= {"aim": "lm", "names": []}

    with_config(saved, grow)
    with pytest.raises(StoreError) as caught:
        load(saved)
    # sizes whose product no 64 bits hold give no model at all
    assert caught.value.code == (
        "E-CONFIG" if (field, value) == ("width", 2**31 - 1) else "E-TOO-LARGE"
    )


def test_the_limit_on_memory(saved):
    size = 4 * bundle().parameters
    assert load(saved, max_model_bytes=size).parameters == bundle().parameters
    with pytest.raises(StoreError, match="allowed"):
        load(saved, max_model_bytes=size - 1)


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda d: d.update(family="trasformer"), "transformer"),
        (lambda d: d.update(extras={"heads": 3}), "heads"),
        (lambda d: d.update(extras={"vocabulary": 3}), "vocabulary"),
        (lambda d: d.update(tokens="char"), "tokeniser"),
        (lambda d: d.update(vocabulary=5), "tokeniser|shape|embedding"),
        (lambda d: d.update(family="textcnn", width=1), "width"),
    ],
)
def test_settings_that_fit_nothing(edit, what, saved):
    with_config(saved, edit)
    with pytest.raises(StoreError, match=what) as caught:
        load(saved)
    assert caught.value.code in ("E-CONFIG", "E-CKPT")


def test_a_broken_training_record(saved):
    for broken in (b"[]", b"{}", b'{"aim": 3}', b"\xff", b"nonsense", b"[" * 100_000):
        sealed_again(saved, files={"training.json": broken})
        with pytest.raises(StoreError, match=r"training\.json"):
            load(saved)


def test_places_without_a_bundle(tmp_path, saved):
    with pytest.raises(UsageError, match=r"Did you mean 'model'"):
        load(tmp_path / "modle")
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoreError, match=MANIFEST):
        load(tmp_path / "empty")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UsageError, match="a file"):
        load(tmp_path / "notes.txt")
    hub = tmp_path / "hub"
    hub.mkdir()
    (hub / "config.json").write_text("{}")
    (hub / "model.safetensors").write_bytes(b"\0" * 16)
    with pytest.raises(StoreError, match="Hugging Face"):
        load(hub)


def test_a_bundle_is_never_written_over_unasked(saved):
    before = contents(saved)
    with pytest.raises(StoreError) as caught:
        save(bundle(seed=5), saved)
    assert caught.value.code == "E-EXISTS"
    assert contents(saved) == before
    save(bundle(seed=5), saved, replace=True)
    assert contents(saved) != before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["model"]


def test_a_moved_or_copied_bundle_opens(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "copy")
    shutil.move(tmp_path / "copy", tmp_path / "elsewhere")
    assert load(tmp_path / "elsewhere").settings == load(saved).settings


def test_loading_moves_no_random_state(saved):
    before = torch.get_rng_state()
    load(saved)
    assert torch.equal(before, torch.get_rng_state())


def test_loading_imports_neither_training_nor_reports(saved):
    code = (
        "import sys\nfrom howfar.bundle.load import load\n"
        f"load({str(saved)!r})\n"
        "bad = [m for m in ('sklearn', 'scipy', 'pyarrow', 'altair', 'transformers',"
        " 'howfar.train', 'howfar.study', 'huggingface_hub') if m in sys.modules]\n"
        "print(bad)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_settings_text_is_canonical():
    made = settings("classification", extras={"kernels": (3, 4), "pool": "max"}, family="textcnn")
    assert settings_text(made) == settings_text(made)
    assert json.loads(settings_text(made))["extras"] == {"kernels": [3, 4], "pool": "max"}
