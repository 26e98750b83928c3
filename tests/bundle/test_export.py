"""A file for other programs answers as the model does, at any batch and length, or is not there."""

import importlib.util
import json
import warnings

import numpy as np
import pytest
import torch
from tests.bundle.making import bundle

import howfar.bundle.export as room
from howfar.bundle.export import MEANT, Exported, export
from howfar.bundle.exported import compare, reader
from howfar.core.errors import EnvironmentFault, StoreError, UsageError
from howfar.models.kernels import as_graph

SHAPES = tuple((rows, length) for rows in (1, 2, 5) for length in (1, 2, 7, 8, 9))
# torch's own exporters walk through parts of torch that warn
pytestmark = pytest.mark.filterwarnings("default")


def asked(length=6, rows=3):
    tokens = torch.randint(9, (rows, length), generator=torch.Generator().manual_seed(1))
    return tokens, torch.tensor([length, 1, 0][:rows])


@pytest.mark.parametrize(
    ("family", "aim"),
    [
        *(("textcnn", "classification"), ("tcn", "lm"), ("deepcnn", "tagging")),
        *(("gru", "masked"), ("gla", "classification")),
    ],
)
def test_torch(family, aim, tmp_path):
    made = bundle(aim, family, scale=20.0)
    path = tmp_path / "model.pt2"
    found = export(made, path)
    assert found == Exported(path, "torch", found.largest_difference, SHAPES)
    assert found.largest_difference < 1e-5
    extra = {MEANT: ""}
    loaded = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra[MEANT])["family"] == family
    for rows, length in ((1, 1), (3, 30)):
        tokens, lengths = asked(length, rows)
        with torch.no_grad():
            want, got = made.model(tokens, lengths), loaded(tokens, lengths)
        if want.ndim == 3:
            real = torch.arange(length) < lengths[:, None]
            want, got = want[real], got[real]
        torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("family", "aim"),
    [("textcnn", "classification"), ("gru", "lm")],
)
def test_onnx(family, aim, tmp_path):
    import onnxruntime

    made = bundle(aim, family, scale=20.0)
    path = tmp_path / "model.onnx"
    found = export(made, path, format="onnx")
    assert found.checked == SHAPES
    assert found.largest_difference < 1e-5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_inputs()] == ["tokens", "lengths"]
    assert [one.name for one in session.get_outputs()] == ["logits"]
    meant = json.loads(session.get_modelmeta().custom_metadata_map[MEANT])
    assert meant["names"] == list(made.settings.names)
    tokens, lengths = asked(30)
    got = session.run(None, {"tokens": tokens.numpy(), "lengths": lengths.numpy()})[0]
    with torch.no_grad():
        want = made.model(tokens, lengths).numpy()
    if want.ndim == 3:
        real = np.arange(30) < lengths.numpy()[:, None]
        want, got = want[real], got[real]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


def test_windows_sinks_and_shared_heads(tmp_path):
    extras = {"window": 4, "sinks": 2, "kv_heads": 1, "positions": "relative"}
    made = bundle("lm", "transformer", extras=extras)
    assert export(made, tmp_path / "m.pt2").largest_difference < 1e-5


def test_learned_places_end_where_they_end(tmp_path):
    made = bundle("lm", "transformer", extras={"positions": "learned", "max_length": 8})
    found = export(made, tmp_path / "m.pt2")
    assert max(length for _, length in found.checked) == 8
    loaded = torch.export.load(tmp_path / "m.pt2").module()
    with pytest.raises(AssertionError):
        loaded(*asked(9))


def test_the_bundle_is_left_as_it_was(tmp_path):
    made = bundle("classification", "textcnn")
    made.model.recompute = True
    before = {key: tensor.clone() for key, tensor in made.model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export(made, tmp_path / "m.pt2")
    assert not as_graph()
    assert all(p.requires_grad for p in made.model.parameters())
    assert all(torch.equal(made.model.state_dict()[key], one) for key, one in before.items())


def other_answers(monkeypatch, change):
    """The file as it is read back, changed."""

    def changed(data, format):
        ask = reader(data, format)
        return lambda tokens, lengths: change(ask(tokens, lengths))

    monkeypatch.setattr(room, "reader", changed)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y + 2e-4, "answers otherwise"),
        (lambda y: y * torch.nan, "answers otherwise"),
        (lambda y: y[:, :1], "answers in the shape"),
    ],
    ids=["off", "nan", "shape"],
)
def test_a_file_that_answers_otherwise_is_not_there(change, said, monkeypatch, tmp_path):
    other_answers(monkeypatch, change)
    path = tmp_path / "m.pt2"
    path.write_bytes(b"an older one")
    with pytest.raises(StoreError, match=said) as caught:
        export(bundle("classification", "textcnn"), path)
    assert caught.value.code == "E-EXPORT"
    assert [one.name for one in tmp_path.iterdir()] == ["m.pt2"]
    assert path.read_bytes() == b"an older one"


def test_a_hair_of_difference_is_let_through(monkeypatch, tmp_path):
    other_answers(monkeypatch, lambda y: y + 5e-5)
    found = export(bundle("classification", "textcnn"), tmp_path / "m.pt2")
    assert 4e-5 < found.largest_difference < 6e-5


def test_padding_is_not_compared():
    made = bundle("lm", "tcn")

    def ask(tokens, lengths):
        logits = made.model(tokens, lengths)
        return logits + 9.0 * (torch.arange(tokens.shape[1]) >= lengths[:, None])[..., None]

    assert compare(ask, made.model, 8).difference == 0.0


def test_what_cannot_be_traced_says_so(tmp_path):
    made = bundle("classification", "textcnn")
    made.model.body.forward = lambda x_BLE, lengths: x_BLE[:, : int(lengths.max())]
    with pytest.raises(StoreError, match="cannot be exported as torch") as caught:
        export(made, tmp_path / "m.pt2")
    assert caught.value.code == "E-EXPORT"
    assert list(tmp_path.iterdir()) == []


def test_refusals(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="one sequence") as caught:
        export(bundle("seq2seq"), tmp_path / "m.pt2")
    assert caught.value.code == "E-EXPORT"
    with pytest.raises(UsageError, match="format cannot be 'tf'"):
        export(bundle("lm"), tmp_path / "m.pb", format="tf")
    found = importlib.util.find_spec
    monkeypatch.setattr(room, "find_spec", lambda name: None if name == "onnx" else found(name))
    with pytest.raises(EnvironmentFault, match="ONNX needs onnx, not") as caught:
        export(bundle("lm"), tmp_path / "m.onnx", format="onnx")
    assert caught.value.code == "E-EXTRA"
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EnvironmentFault):
        export(bundle("lm"), tmp_path / "file" / "m.pt2")


@pytest.mark.parametrize("name", ["m.pt2", "m.onnx"])
def test_a_number_is_in_the_units_of_the_data(name, tmp_path):
    """The number that `predict` gives, not the standardised one, mean 10 and deviation 2."""
    made = bundle("regression", "textcnn", scale=30.0)
    found = export(made, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    ask = reader(data, found.format)
    for text in ("the film was good", "a boring story"):
        ids = torch.from_numpy(made.tokeniser.encode([text])[0][None].astype(np.int64))
        (want,) = made.predict([text])
        assert float(ask(ids, torch.tensor([ids.shape[1]]))) == pytest.approx(want, rel=1e-5)
        with torch.no_grad():
            bare = float(made.model(ids, torch.tensor([ids.shape[1]])))
        assert bare * 2.0 + 10.0 == pytest.approx(want, rel=1e-5)
    assert b'"scale": null' in data


def test_the_ending_says_the_format(tmp_path):
    made = bundle("classification", "textcnn")
    assert export(made, tmp_path / "M.ONNX").format == "onnx"
    assert export(made, tmp_path / "m").format == "torch"
    for name, format in (("x.onnx", "torch"), ("x.pt2", "onnx")):
        with pytest.raises(UsageError, match="is one of format") as caught:
            export(made, tmp_path / name, format=format)
        assert caught.value.code == "E-OPTION"
        assert not (tmp_path / name).exists()
