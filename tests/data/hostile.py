"""Files for fuzzing the readers: random bytes, and valid files of every format, damaged."""

import gzip
import io
import json
import random

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from howfar.core.errors import HowfarError
from howfar.data.anything import iterate, open_rows
from howfar.data.read import read_table, read_text
from howfar.data.texts import read_texts

COLUMNAR = (".parquet", ".arrow", ".ipc", ".feather")
PLAIN = (".csv", ".tsv", ".jsonl", ".ndjson", ".txt", ".md", ".csv.gz", ".jsonl.gz", ".txt.gz")
TOKENS = (
    *(b'"', b'""', b",", b"\t", b";", b"\n", b"\r", b"\r\n", b"\0", b"{", b"}", b"[", b"]"),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xfe\xff",
        b"\xff",
        b"\xed\xa0\x80",
        b"\xc0\xaf",
        b"\xe2\x80",
    ),
    *(b"\xe2\x80\xa8", b"\xc2\x85", b"\x1c", b'"\\ud800"', b'"\\u0000"', b"NaN", b"1e999", b"null"),
    *(b"text", b"label", b'{"text": "a", "label": 1}\n', b"[" * 2000, b"9" * 5000, b"PK\x03\x04"),
    *(b"PAR1", b"ARROW1", b"\x1f\x8b", b"\x80\x04\x95", b"\x28\xb5\x2f\xfd", b" ", b"\xff" * 8),
)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 40)
ENCODINGS = ("utf-16", "gb18030", "shift_jis", "latin-1", "utf-8-sig", "utf-32")


def samples():
    """Valid files: suffix -> contents."""
    texts = [
        "fine film",
        "caf\xe9 \u2028 x",
        "\u6211\u4eec, \u4f4f",
        'a "quoted"\nline',
        "",
        "z" * 400,
    ]
    labels = ["pos", "neg", "pos", "neg", "pos", "neg"]
    rows = [["text", "label"], *zip(texts, labels, strict=True)]
    quoted = "".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\r\n" for row in rows
    )
    objects = "".join(
        json.dumps({"text": text, "label": label, "tags": [1, {"a": None}]}) + "\n"
        for text, label in rows[1:]
    )
    tabs = "text\tlabel\nfine film\tpos\nnot so\tneg\n"
    prose = "A first line.\r\nA second, \u201cquoted\u201d line.\n\nThe end.\n" * 5
    plain = {".csv": quoted, ".tsv": tabs, ".jsonl": objects, ".ndjson": objects}
    plain |= {".txt": prose, ".md": prose}
    made = {
        suffix: [*[text.encode()] * 8, text.encode("utf-16"), text.encode("gb18030")]
        for suffix, text in plain.items()
    }
    table = pa.table(
        {
            "text": texts * 20,
            "label": pa.array(labels * 20).dictionary_encode(),
            "score": pa.array([1.5, None] * 60),
            "tags": [["a", "b"], None, [], ["c"]] * 30,
            "object": [{"a": 1}, None] * 60,
            "bytes": pa.array([b"a", b"\xff"] * 60),
        }
    )
    return made | {".parquet": _parquets(table)} | _arrows(table)


def _parquets(table):
    made = []
    for options in (
        {"compression": "snappy"},
        {"compression": "zstd", "data_page_version": "2.0"},
        {"compression": "none", "use_dictionary": False, "row_group_size": 40},
        {"compression": "gzip", "store_schema": False},
    ):
        out = io.BytesIO()
        pq.write_table(table, out, **options)
        made.append(out.getvalue())
    return made


def _arrows(table):
    made = {".arrow": [], ".ipc": [], ".feather": []}
    for packing in (None, "lz4", "zstd"):
        options = pa.ipc.IpcWriteOptions(compression=packing)
        for suffix, opener in ((".arrow", pa.ipc.new_file), (".ipc", pa.ipc.new_stream)):
            out = io.BytesIO()
            with opener(out, table.schema, options=options) as writer:
                writer.write_table(table, max_chunksize=50)
            made[suffix].append(out.getvalue())
    made[".feather"] = made[".arrow"]
    return made


class Maker:
    """Makes one file after another, the same for the same seed."""

    def __init__(self, seed, columnar):
        """columnar: the share of Parquet and Arrow files, each of which costs a process."""
        self.random = random.Random(seed)
        self.columnar = columnar
        self.samples = samples()

    def file(self):
        """A suffix and bytes."""
        draw = self.random
        suffix = draw.choice(COLUMNAR if draw.random() < self.columnar else PLAIN)
        kind = suffix.removesuffix(".gz")
        if draw.random() < 0.05:
            kind = draw.choice(list(self.samples))  # the content of another format
        if draw.random() < 0.15:
            data = draw.randbytes(draw.choice((0, 1, 2, 7, 8, 60, 500, 5000)))
        else:
            data = draw.choice(self.samples[kind])
            for _ in range(draw.choice((0, 1, 1, 2, 4, 10))):
                data = self.damaged(data, kind)
        if suffix.endswith(".gz"):
            data = gzip.compress(data, mtime=0)
            if draw.random() < 0.4:
                data = self.damaged(data, ".gz")
        return suffix, data

    def damaged(self, data, kind):
        """`data` with one thing wrong."""
        draw = self.random
        at = draw.randrange(len(data) + 1)
        # The end of a Parquet or Arrow file says where everything else is.
        if kind in COLUMNAR and draw.random() < 0.5:
            at = max(0, len(data) - draw.randrange(1, 1500))
        end = min(len(data), at + draw.choice((1, 2, 8, 40)))
        way = draw.randrange(8)
        if way == 0 and data and at < len(data):
            changed = bytes([data[at] ^ (1 << draw.randrange(8))])
            return data[:at] + changed + data[at + 1 :]
        if way == 1:
            return data[:at]
        if way == 2:
            return data[:at] + draw.choice(TOKENS) * draw.choice((1, 1, 3, 200)) + data[at:]
        if way == 3:
            return data[:at] + draw.choice(TOKENS) + data[end:]
        if way == 4:
            return data[:at] + data[end:]
        if way == 5:
            width = draw.choice((2, 4, 8))
            number = (draw.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, "little")
            return data[:at] + number + data[at + width :]
        if way == 6:
            other = draw.choice(draw.choice(list(self.samples.values())))
            return data[:at] + other[draw.randrange(len(other)) :]
        return data[:at] + draw.randbytes(end - at) + data[end:]

    def options(self):
        """Options of `read_table`."""
        draw = self.random
        return {
            "encoding": draw.choice(ENCODINGS) if draw.random() < 0.2 else None,
            "bad_rows": draw.choice(("error", "skip")),
            "encoding_errors": draw.choice(("strict", "strict", "replace")),
            "no_header": draw.random() < 0.2,
            "separator": draw.choice((None, None, "auto", ";")),
        }

    def outcome(self, path):
        """What a reader drawn at random says of the file: "rows", or the code of an error.

        Raises:
            Exception: anything else, which is a fault of the reader.
        """
        draw, options = self.random, self.options()
        prose = ".txt" in path.name or ".md" in path.name
        first = _text if prose or draw.random() < 0.05 else _table
        reader = draw.choice((first, _rows, _one_by_one, _texts))
        try:
            reader(path, options)
        except HowfarError as error:
            return _said(error)
        return "rows"


def _said(error):
    """The error's code, with a word where the process that reads ended by a signal."""
    said = f"{error.code} {error}"
    assert error.code.startswith("E-"), said
    assert error.exit_code in (2, 3, 4), said
    assert said.isprintable(), said  # one line, no half surrogates, no escapes
    return f"{error.code}{' crash' if 'with status -' in said else ''}"


def _table(path, options):
    table = read_table(path, **options)
    assert table.num_rows == len(table.labels) == len(table.lines) > 0
    assert all(isinstance(text, str) for text in table.texts)
    for text in (*table.texts, *table.labels):
        text.encode()


def _rows(path, options):
    rows = open_rows(path, **options)
    assert len(rows) > 0
    for index in range(len(rows.names)):
        assert len(rows.column(index)) == len(rows.lines)


def _one_by_one(path, options):
    for line, row in iterate(path, **options):
        assert line > 0
        assert isinstance(row, dict)


def _texts(path, options):
    found = read_texts(path, encoding=options["encoding"])
    assert all(text.strip() for text in found.texts)


def _text(path, options):
    guess = options["bad_rows"] == "skip"
    text, _, _ = read_text(path, encoding=options["encoding"], guess=guess)
    text.encode()
