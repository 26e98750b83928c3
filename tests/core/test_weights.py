"""Tensors in files: the same bits back, and nothing believed that does not hold together."""

import io
import json
import pickle
import random
import tracemalloc
import zipfile

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from howfar.core.errors import StoreError
from howfar.core.seeds import Seeds
from howfar.core.weights import DTYPES, HEADER_BYTES, Packed, pack, unpack


def made(dtype, shape=(3, 2)):
    """Random bits, read as numbers of this type."""
    generator = Seeds(0).torch(str(dtype))
    size = torch.empty(shape, dtype=dtype).numel() * dtype.itemsize
    high = 2 if dtype == torch.bool else 256
    raw = torch.randint(high, (size,), generator=generator).to(torch.uint8)
    return raw.view(dtype).reshape(shape)


def bits(tensor):
    return tensor.dtype, tuple(tensor.shape), bytes(tensor.reshape(-1).view(torch.uint8).numpy())


def same(one, two):
    return {k: bits(v) for k, v in one.items()} == {k: bits(v) for k, v in two.items()}


def raw(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def entry(shape=(2,), offsets=(0, 8), dtype="F32"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def refused(data, **more):
    with pytest.raises(StoreError) as caught:
        unpack(data, **more)
    assert caught.value.exit_code == 5
    return caught.value


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
    @pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 2), (2, 0, 5)], ids=str)
    def test_every_type(self, dtype, shape):
        tensors = {"x": made(dtype, shape)}
        assert same(unpack(pack(tensors)), tensors)

    def test_nothing_at_all(self):
        assert unpack(pack({})) == {}

    def test_odd_numbers_keep_their_bits(self):
        values = torch.tensor([0.0, -0.0, float("nan"), float("inf"), 5e-324], dtype=torch.float64)
        assert same(unpack(pack({"x": values})), {"x": values})

    def test_the_file_by_hand(self):
        header = b'{"x":{"dtype":"I16","shape":[2],"data_offsets":[0,4]}}  '
        expected = (56).to_bytes(8, "little") + header + b"\x01\x00\xff\xff"
        assert pack({"x": torch.tensor([1, -1], dtype=torch.int16)}) == expected

    def test_views_links_and_gradients(self):
        base = torch.arange(12.0).reshape(3, 4)
        tensors = {"t": base.T, "row": base[1], "tied": base, "base": base}
        weight = torch.nn.Parameter(base.clone())
        back = unpack(pack({**tensors, "w": weight}))
        assert same(
            {k: v for k, v in back.items() if k != "w"},
            {k: v.contiguous() for k, v in tensors.items()},
        )
        assert not back["w"].requires_grad

    def test_a_conjugate(self):
        x = torch.tensor([1 + 2j, 3 - 1j]).conj()
        assert unpack(pack({"x": x}))["x"].tolist() == [1 - 2j, 3 + 1j]

    def test_equal_tensors_give_equal_bytes(self):
        one = {"a": torch.ones(3), "b": torch.ones(2, dtype=torch.float64)}
        two = dict(reversed([(k, v.clone()) for k, v in one.items()]))
        assert pack(one) == pack(two)
        assert pack(unpack(pack(one))) == pack(one)

    def test_the_library_agrees(self):
        tensors = {name: made(dtype) for name, dtype in DTYPES.items() if name != "C64"}
        assert same(safetensors.torch.load(pack(tensors)), tensors)
        assert same(unpack(safetensors.torch.save(tensors)), tensors)
        assert same(unpack(safetensors.torch.save(tensors, {"format": "pt"})), tensors)

    def test_what_is_read_can_be_changed(self):
        data = pack({"x": torch.zeros(3), "y": torch.zeros(3)})
        back = unpack(data)
        back["x"] += 1
        assert back["y"].tolist() == [0, 0, 0]
        assert unpack(data)["x"].tolist() == [0, 0, 0]

    def test_memory_is_aligned_as_torch_does_it(self):
        back = unpack(pack({"a": torch.zeros(1, dtype=torch.uint8), "b": torch.zeros(5)}))
        assert all(tensor.data_ptr() % 64 == 0 for tensor in back.values())

    def test_a_stream_holds_no_second_model(self):
        tensors = {str(n): torch.zeros(250_000) for n in range(8)}
        packed = Packed(tensors)
        sizes = []

        class Sink(io.RawIOBase):
            def write(self, data):
                sizes.append(memoryview(data).nbytes)
                return sizes[-1]

        tracemalloc.start()
        packed(Sink())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert sum(sizes) == packed.size == len(pack(tensors))
        assert peak < 100_000

    @pytest.mark.parametrize(
        "name", ["", "/x", "a/../b", "a\nb", "a\\b", "__metadata__", "x" * 513]
    )
    def test_a_name_that_cannot_be(self, name):
        with pytest.raises(ValueError, match="cannot be stored"):
            pack({name: torch.zeros(1)})
        refused(raw({name: entry()}, b"\0" * 8))

    def test_what_the_format_cannot_hold(self):
        for tensor in (torch.zeros(2, dtype=torch.complex128), torch.zeros(2, 2).to_sparse()):
            with pytest.raises(ValueError, match="cannot be stored"):
                pack({"x": tensor})
        with pytest.raises(ValueError, match="header"):
            pack({f"{n:0100}": torch.zeros(0) for n in range(8_000)})


class TestRefusals:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"\0" * 7,
            b"\0" * 8,
            raw({}, size=1 << 60),
            raw({}, size=3),
            raw(b"{}" + b" " * HEADER_BYTES),
            raw(b"null"),
            raw(b"[]"),
            raw(b"\xff{}"),
            raw(b"{" * 100_000),
            raw(b'{"x":' + b"[" * 100_000),
            raw({"x": 1}),
            raw({"x": {**entry(), "more": 1}}, b"\0" * 8),
            raw({"x": entry(dtype="F33")}, b"\0" * 8),
            raw({"x": entry(dtype=["F32"])}, b"\0" * 8),
            raw({"x": entry(shape=[1 << 40])}, b"\0" * 8),
            raw({"x": entry(shape=[1 << 32, 1 << 32], offsets=(0, 0))}),
            raw({"x": entry(shape=[0, 1 << 62], offsets=(0, 0))}),
            raw({"x": entry(shape=[1] * 33, offsets=(0, 4))}, b"\0" * 4),
            raw({"x": entry(shape=[-2])}, b"\0" * 8),
            raw({"x": entry(shape=[True, 2])}, b"\0" * 8),
            raw({"x": entry(shape=[2.0])}, b"\0" * 8),
            raw(b'{"x":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', b"\0" * 8),
            raw(b'{"x":{"dtype":"F32","shape":[' + b"9" * 9_000 + b'],"data_offsets":[0,8]}}'),
            raw({"x": entry(offsets=(8, 0))}, b"\0" * 8),
            raw({"x": entry(offsets=(0, 8, 8))}, b"\0" * 8),
            raw({"x": entry(offsets=(0, 9))}, b"\0" * 9),
            raw({"x": entry(offsets=(4, 12))}, b"\0" * 12),
            raw({"x": entry(), "y": entry()}, b"\0" * 8),
            raw({"x": entry(), "y": entry(offsets=(4, 12))}, b"\0" * 12),
            raw({"x": entry(), "y": entry(offsets=(12, 20))}, b"\0" * 20),
            raw({"x": entry()}, b"\0" * 9),
            raw({"x": entry()}, b"\0" * 7),
            raw(b"{%s,%s}" % ((b'"x":' + json.dumps(entry()).encode(),) * 2), b"\0" * 8),
            raw({"__metadata__": {"a": 1}}),
            raw({"__metadata__": 1}),
            raw({"x": entry(dtype="BOOL", offsets=(0, 2))}, b"\x01\x02"),
        ],
        ids=range(37),
    )  # fmt: skip
    def test_malformed(self, data):
        assert refused(data).code == "E-CKPT"

    def test_a_million_tensors(self):
        header = b"{" + b",".join(b'"%d":0' % n for n in range(1_000_000)) + b"}"
        assert refused(raw(header)).code == "E-CKPT"

    @pytest.mark.parametrize("protocol", range(2, 6))
    def test_pickles_are_never_opened(self, protocol, tmp_path):
        canary = tmp_path / "canary"

        class Bad:
            def __reduce__(self):
                return open, (str(canary), "w")

        for thing in (Bad(), {"x": Bad()}, [1]):
            assert refused(pickle.dumps(thing, protocol)).code == "E-UNSAFE"
        assert not canary.exists()

    def test_zips_are_never_opened(self):
        for files in ({}, {"data.pkl": b"\x80\x02"}):
            file = io.BytesIO()
            with zipfile.ZipFile(file, "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
            assert refused(file.getvalue()).code == "E-UNSAFE"
        file = io.BytesIO()
        torch.save({"x": torch.zeros(1)}, file)
        assert refused(file.getvalue(), name="model.safetensors").code == "E-UNSAFE"

    def test_a_header_as_long_as_a_pickle_begins(self):
        text = json.dumps({"x": entry()}).encode()
        data = raw(text + b" " * (0x0280 - len(text)), b"\0" * 8)
        assert data[:2] == b"\x80\x02"
        assert unpack(data)["x"].tolist() == [0, 0]

    def test_messages_name_the_file(self):
        error = refused(b"", name="best.safetensors")
        assert error.message.startswith("best.safetensors cannot be used: ")

    def test_finite(self):
        for dtype in (
            torch.float32,
            torch.bfloat16,
            torch.float64,
            torch.complex64,
            torch.float8_e5m2,
        ):
            for bad in (float("nan"), float("inf")):
                data = pack({"x": torch.tensor([1.0, bad]).to(dtype)})
                assert unpack(data)["x"].dtype == dtype
                assert "'x' holds nan" in refused(data, finite=True).message
        assert unpack(
            pack({"x": torch.ones(2), "n": torch.ones(2, dtype=torch.int64)}), finite=True
        )


EXPECTED = {"a": ((2, 3), torch.float32), "b": ((4,), torch.int64)}
GOOD = {"a": torch.zeros(2, 3), "b": torch.zeros(4, dtype=torch.int64)}


class TestExpected:
    def test_the_same(self):
        assert same(unpack(pack(GOOD), EXPECTED), GOOD)
        assert unpack(pack({}), {}) == {}

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"a": None}, "'a' is missing"),
            ({"c": torch.zeros(1)}, "'c' does not belong"),
            ({"a": torch.zeros(3, 2)}, r"\(3, 2\), expected torch.float32 \(2, 3\)"),
            ({"a": torch.zeros(2, 3, dtype=torch.int32)}, "int32"),
            ({"b": torch.zeros(4, dtype=torch.float64)}, "float64"),
        ],
        ids=range(5),
    )
    def test_another(self, change, said):
        tensors = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
        with pytest.raises(StoreError, match=said):
            unpack(pack(tensors), EXPECTED)

    def test_nothing_is_allocated_before(self, monkeypatch):
        data = pack({"a": torch.zeros(1_000)})
        monkeypatch.setattr(torch, "empty", None)
        refused(data, expected=EXPECTED)


def test_cut_anywhere():
    data = pack({"a": made(torch.float32), "b": made(torch.int64, ())})
    for size in range(len(data)):
        refused(data[:size])


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_mangled_bytes_give_tensors_or_a_clear_error(data):
    whole = pack(
        {"a": made(torch.float32), "b": made(torch.bool, (5,)), "c": made(torch.int64, ())}
    )
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    mangled = bytearray(whole)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(mangled))
        kind = rng.randrange(4)
        if kind == 0:
            mangled[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del mangled[at : at + rng.randrange(9)]
        elif kind == 2:
            mangled[at:at] = rng.randbytes(rng.randrange(9))
        else:
            mangled[at : at + 2] = rng.choice([b'"x', b"[]", b"99", b"{}", b"-1", b"\x80\x02"])
        if not mangled:
            break
    try:
        tensors = unpack(bytes(mangled))
    except StoreError:
        return
    assert sum(t.numel() * t.itemsize for t in tensors.values()) <= len(mangled)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_give_tensors_or_a_clear_error(data):
    code = "read"
    try:
        unpack(data)
    except StoreError as error:
        code = error.code
    assert code in ("read", "E-CKPT", "E-UNSAFE")
