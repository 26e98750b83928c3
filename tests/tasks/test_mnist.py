"""MNIST files: reading, splits, damage, and the ladder on made pictures."""

import gzip

import numpy as np
import pytest
import torch

from howfar.core.batch import IGNORED
from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.tasks.base import distances, scored
from howfar.tasks.idx import read_idx
from howfar.tasks.mnist import Mnist
from howfar.tasks.rows import SPLITS


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


def write(folder, stem, pictures, labels, *, packed=True):
    folder.mkdir(exist_ok=True)
    for name, array in (("images-idx3", pictures), ("labels-idx1", labels)):
        data = idx(array)
        path = folder / f"{stem}-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(data) if packed else data)
    return folder


def made(count, seed=0):
    """Noise with a bright row whose place is the class, so that a linear rule can tell it."""
    random = Seeds(seed).numpy("pictures")
    labels = np.arange(count) % 10
    pictures = random.integers(0, 200, (count, 28, 28))
    pictures[np.arange(count), 10 + labels] = 255
    return pictures, labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("mnist") / "one", "t10k", *made(300))


@pytest.mark.parametrize("levels", [2, 16, 256])
@pytest.mark.parametrize("permuted", [False, True])
def test_oracle_bounds_and_quantised_pixels(folder, levels, permuted):
    task = Mnist(path=str(folder), levels=levels, permuted=permuted)
    pictures, labels = made(300)
    order = task.draws("permutation", [0]).orders(784)[0] if permuted else np.arange(784)
    want = {}
    for picture, label in zip(pictures.reshape(300, 784).tolist(), labels.tolist(), strict=True):
        row = torch.tensor([1 + pixel * levels // 256 for pixel in picture])
        want[tuple(row[order].tolist())] = label
    for split, size in zip(SPLITS, (210, 30, 60), strict=True):
        assert task.size(split) == size
        batch = task.batch(range(size), split=split)
        assert torch.equal(task.oracle(batch), scored(batch))
        assert batch.tokens.max() < task.vocabulary == len(task.symbols) == levels + 1
        assert batch.tokens.min() >= 1
        assert (batch.targets[:, :-1] == IGNORED).all()
        for row, label, back in zip(
            batch.tokens.tolist(), scored(batch).tolist(), distances(batch).tolist(), strict=True
        ):
            assert want[tuple(row)] == label
            assert back == 783 - next(t for t, pixel in enumerate(row) if pixel > 1)
    assert task.chance == 0.1


def test_both_pairs_keep_their_split(tmp_path):
    """A picture of the test file that training has too is trained on by nobody."""
    test_pictures, test_labels = made(20, seed=1)
    pictures, labels = made(100, seed=2)
    pictures[0] = test_pictures[0]
    write(tmp_path / "two", "t10k", test_pictures, test_labels)
    folder = write(tmp_path / "two", "train", pictures, labels, packed=False)
    task = Mnist(path=str(folder), levels=256)
    assert [task.size(split) for split in SPLITS] == [89, 10, 20]  # of class 0 nine are left
    rows = {split: task.batch(range(task.size(split)), split=split).tokens for split in SPLITS}
    found = {tuple(row) for row in rows["test"].tolist()}
    assert found == {tuple(1 + p for p in row) for row in test_pictures.reshape(20, 784).tolist()}
    assert not found & {tuple(row) for row in rows["train"].tolist()}


def test_the_ladder(folder):
    task = Mnist(path=str(folder))
    batch = task.batch(range(60), split="test")
    score = {
        name: float((rule(batch) == scored(batch)).double().mean())
        for name, rule in task.shortcuts.items()
    }
    assert score["majority"] == 0.1
    assert score["logistic regression on all pixels"] == 1.0  # the bright row is one of ten
    assert score["logistic regression on the last 196 pixels"] < 0.35  # rows 21 .. 27: noise


def test_one_class_only_has_a_ladder(tmp_path):
    pictures, _ = made(20)
    task = Mnist(path=str(write(tmp_path / "same", "t10k", pictures, np.full(20, 7))))
    batch = task.batch(range(4), split="test")
    for rule in task.shortcuts.values():
        assert rule(batch).tolist() == [7] * 4
    assert task.chance == 1.0


def test_seeds_orders_and_shards(folder):
    task, other = Mnist(path=str(folder)), Mnist(path=str(folder), seed=1)
    together = task.batch(range(200, 214)).tokens
    assert torch.equal(task.batch(range(200, 214, 2)).tokens, together[::2])
    assert not torch.equal(other.batch(range(200, 214)).tokens, together)


def test_idx_by_hand(tmp_path):
    path = tmp_path / "small"
    path.write_bytes(bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 255]))
    assert read_idx(path, 2).tolist() == [[1, 2, 3], [4, 5, 255]]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\0\x08\x01",
        b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0",  # floats
        b"\0\0\x08\x02\0\0\0\x01\0\0\0\x01\0",  # two dimensions
        b"\0\0\x08\x01\0\0\0\x03\x01\x02",  # cut
        b"\0\0\x08\x01\0\0\0\x01\x01\x02",  # too long
        b"\0\0\x08\x01\xff\xff\xff\xff\x01",  # says 4 GB: nothing is set aside for it
    ],
)
def test_a_damaged_file_is_refused(tmp_path, data):
    path = tmp_path / "bad\nname"
    path.write_bytes(data)
    with pytest.raises(DataError, match="bad") as caught:
        read_idx(path, 1)
    assert caught.value.code == "E-FORMAT"
    assert "\n" not in str(caught.value)


def test_a_cut_gzip_file_is_refused(tmp_path, folder):
    data = (folder / "t10k-images-idx3-ubyte.gz").read_bytes()
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match="Cannot unpack"):
        Mnist(path=str(tmp_path)).batch([0])


def test_files_that_do_not_fit_are_refused(tmp_path):
    pictures, labels = made(20)
    small = write(tmp_path / "small", "t10k", pictures[:, :8, :8], labels)
    with pytest.raises(DataError, match="8 x 8, not 28 x 28"):
        Mnist(path=str(small)).batch([0])
    fewer = write(tmp_path / "fewer", "t10k", pictures, labels[:19])
    with pytest.raises(DataError, match="20 pictures, for 19 labels"):
        Mnist(path=str(fewer)).batch([0])
    letters = write(tmp_path / "letters", "t10k", pictures, labels + 5)
    with pytest.raises(DataError, match="class 14"):
        Mnist(path=str(letters)).batch([0])
    few = write(tmp_path / "few", "t10k", pictures[:3], labels[:3])
    with pytest.raises(DataError, match="no test items"):
        _ = Mnist(path=str(few)).chance
    (fewer / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UsageError, match="No file"):
        Mnist(path=str(fewer), levels=4).batch([0])


def test_bad_settings_are_named(tmp_path):
    for settings, match in (
        ({"path": "x", "length": 64}, "length == 784"),
        ({"path": "x", "levels": 1}, "2 <= levels <= 256"),
        ({"path": "x", "levels": 257}, "2 <= levels <= 256"),
        ({}, "path != ''"),
    ):
        with pytest.raises(UsageError, match=match):
            Mnist(**settings)
    for missing in (str(tmp_path / "none"), str(tmp_path), "a\0b"):
        with pytest.raises(UsageError, match="t10k-images-idx3-ubyte"):
            Mnist(path=missing).batch([0])
    with pytest.raises(UsageError, match="address"):
        Mnist(path="https://example.org/mnist").batch([0])
