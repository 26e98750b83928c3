"""The page: only the template's elements, no request, every payload as text, true numbers."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from howfar.record.comparison import Comparison, Data
from howfar.report import page, words
from howfar.report.grid import main_grid

ELEMENTS = set(
    """
    html head meta title style body header h1 h2 h3 nav ul li a main section p div table thead
    tbody tr th td bdi figure details summary dl dt dd pre code footer
    svg g path text rect line defs clippath
    """.split()  # noqa: SIM905 - a list of forty words reads worse
)
VOID = {"meta"}


class Reader(HTMLParser):
    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.texts, self.open = [], [], [], []
        self.tables, self._cell = [], None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = self.tables[-1][-1]

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        self.texts.append(data)
        if self._cell is not None:
            self._cell[-1] += data


def render(*comparisons):
    return page.render_page(page.sections(comparisons))


@pytest.fixture(scope="module")
def read(folder):
    return Reader((folder / "report.html").read_text("utf-8"))


def test_elements_are_the_templates(read, hostile_page):
    hostile = Reader(hostile_page)
    assert set(read.tags) <= ELEMENTS
    assert set(hostile.tags) <= ELEMENTS
    assert read.open == []
    assert hostile.open == []
    assert "<script" not in hostile_page.lower()


def test_payloads_stand_as_text(sample, hostile_page):
    texts = {text.strip() for text in Reader(hostile_page).texts}
    for payload in sample.HOSTILE.values():
        assert words.visible(payload).strip() in texts
    assert "49" not in texts


@pytest.mark.parametrize("which", ["sample", "hostile"])
def test_nothing_is_requested_or_run(folder, hostile_page, which):
    html = (folder / "report.html").read_text("utf-8") if which == "sample" else hostile_page
    reader = Reader(html)
    for tag, name, value in reader.attributes:
        assert not name.startswith("on"), (tag, name)
        assert name not in ("src", "srcset", "action", "data", "xlink:href", "ping", "srcdoc")
        if name == "href":
            assert value.startswith("#")
        if name == "style":
            assert "url(" not in value
    assert "@import" not in html
    assert re.findall(r"url\((?!#)", html) == []
    policy = [v for t, n, v in reader.attributes if t == "meta" and v and "default-src" in v]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_ids_are_unique_and_links_lead_somewhere(read):
    ids = [value for _, name, value in read.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {value[1:] for _, name, value in read.attributes if name == "href"}
    assert links
    assert links <= set(ids)
    clips = {v[5:-1] for _, name, v in read.attributes if name == "clip-path"}
    assert clips <= set(ids)


def test_main_table_is_the_record(sample, read):
    mains = [t for t in read.tables if "training seconds" in [head.strip() for head in t[0]]]
    for comparison, table in zip(sample.samples(), mains, strict=True):
        rows = {row[0].strip(): [cell.strip() for cell in row] for row in table}
        head = [h.strip() for h in table[0]]
        for row in comparison.rows:
            cells = dict(zip(head, rows[row.family], strict=False))
            if row.status == "failed":
                assert rows[row.family][1:] == [f"failed: {row.reason}"]
                continue
            s = row.score
            assert cells[s.name] == f"{s.value:.3f} [{s.low:.3f}, {s.high:.3f}]"
            assert cells["parameters"] == f"{row.parameters:,}"
            assert cells["training seconds"] == f"{row.train_seconds:.1f}"
            if row.cost:
                last = row.cost[-1].train_us_per_token
                assert cells["us/token at 1,024"] == f"{last:#.3g}"
            reach = "R95" if row.reach.kind == "swap" else "interaction lag"
            assert cells[reach] == words.reach_text(row.reach)
            if row.reach.card:
                assert cells["useful"] == words.card_text(row.reach, "useful")
        for baseline in comparison.baselines:
            assert rows[baseline.name][1] == words.score_text(baseline.score)


def test_each_figure_is_followed_by_its_numbers(sample, read):
    assert read.tags.count("figure") == read.tags.count("details") == 19
    curve = sample.recall().rows[1].reach.curve
    table = next(t for t in read.tables if t[0][0].strip() == "kept tokens")
    column = [h.strip() for h in table[0]].index("gru")
    cells = [row[column].strip() for row in table[1:]]
    assert cells == [
        f"{words.number(m)} [{words.number(a)}, {words.number(b)}]"
        for m, a, b in zip(curve.mean, curve.low, curve.high, strict=True)
    ]


def test_how_reach_was_measured(read):
    table = next(t for t in read.tables if "noise floor" in [head.strip() for head in t[0]])
    gru = next(row for row in table if row[0].strip() == "gru")
    assert [c.strip() for c in gru[1:]] == [
        "swap", "paired", "256", "240", "1e-07", "1", "96, 96"
    ]  # fmt: skip
    assert "replacing the whole input changed" in " ".join(read.texts)


def test_contents_language_viewport_and_cut(read, folder):
    html = (folder / "report.html").read_text("utf-8")
    assert '<html lang="en">' in html
    assert "width=device-width, initial-scale=1" in html
    assert "prefers-color-scheme: dark" in html
    assert read.tags.count("nav") == 1
    text = " ".join(read.texts)
    assert "812 cut (61,204 words left out)" in text
    assert "This comparison was interrupted" in text
    assert "howfar compare --task recall --length 256" in text
    assert "0.620 *" in text


def test_one_family_without_reach_or_cost(sample):
    row = replace(sample.text().rows[0], reach=None, cost=(), cost_exponent=None, learning=(),
                  state_bytes=None, learning_rates=None)  # fmt: skip
    html = render(replace(sample.text(), rows=(row,), baselines=(), demand=()))
    reader = Reader(html)
    assert reader.tags.count("figure") == 1
    assert reader.tags.count("nav") == 0
    assert "1 family of models" in html


def test_no_families_and_no_comparisons():
    empty = Comparison(data=Data(kind="labels", name="", unit=""), rows=())
    assert "No family was measured." in render(empty)
    assert "No comparison was given" in render()
    assert main_grid(empty).lines == ()


def test_only_failures(sample):
    html = render(replace(sample.recall(), rows=sample.recall().rows[-1:], baselines=()))
    assert "failed: the loss was not finite" in html
    assert "<figure" not in html


def test_slugs_are_unique_and_plain():
    assert page.slugs(["a b", "a-b", "</svg>", "日本"]) == ["a-b", "a-b-2", "svg", "data"]


def test_same_record_same_page(sample):
    assert render(sample.labels()) == render(sample.labels())


def test_write_page_is_whole_or_untouched(tmp_path, monkeypatch):
    target = tmp_path / "page.html"
    assert page.write_page([], target, "first") == target
    before = target.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        page.write_page([], target, "second")
    assert target.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
