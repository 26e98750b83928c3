"""The terminal table: its numbers, its width, and texts that would like to be commands."""

import re
from dataclasses import replace

import pytest
from rich.cells import cell_len

from howfar.record.comparison import Comparison, Data
from howfar.report import words
from howfar.report.table import render_text


def line_of(text, name):
    return next(line for line in text.splitlines() if line.startswith(name))


def test_every_number_stands_in_its_family_line(sample):
    text = render_text(sample.recall(), width=200)
    for row in sample.recall().rows:
        line = line_of(text, row.family)
        if row.status == "failed":
            assert line.split() == [row.family, "failed"]
            continue
        last = row.cost[-1]
        card = row.reach.card
        wanted = [
            f"{row.score.value:.3f} [{row.score.low:.3f}, {row.score.high:.3f}]",
            f"{row.parameters:,}",
            f"{row.train_seconds:.1f}",
            f"{last.train_us_per_token:#.3g}",
            f"{row.cost_exponent.value:.2f} [{row.cost_exponent.low:.2f}, "
            f"{row.cost_exponent.high:.2f}]",
            f"{row.state_bytes / 1024:.1f} KiB",
            "all" if card.structural_unbounded else str(card.structural),
        ]
        if row.reach.censored:
            wanted.append("> 256")
        else:
            wanted += [f"{row.reach.value} [{row.reach.low}, {row.reach.high}]", str(card.useful)]
        for cell in wanted:
            assert cell in line


def test_failure_reason_censoring_and_silence_are_said(sample):
    text = render_text(sample.recall())
    assert "rnn failed: the loss was not finite at step 212 in every seed" in text
    assert re.search(r"transformer +0\.988 .* > 256", text)
    assert re.search(r"rnn +3\.900 \S+ \S+ +none", render_text(sample.text()))


def test_data_line_counts_what_was_dropped_and_cut(sample):
    text = " ".join(render_text(sample.labels()).split())
    assert "1,000 rows, 3 dropped, 812 cut (61,204 words left out)" in text


@pytest.mark.parametrize("width", [200, 120, 100, 80, 60, 40])
def test_fits_any_width_without_breaking_a_number(sample, width):
    for comparison in sample.samples():
        text = render_text(comparison, width=width)
        assert max(map(cell_len, text.splitlines())) <= width
        assert "\u2026" not in text
        head = text.split("\n\n")[0]
        if width >= 60:
            score = words.score_text(comparison.rows[0].score)
            assert score in line_of(head, comparison.rows[0].family)


def test_dropped_columns_are_named(sample):
    assert "Left out at this width: chance, best" in render_text(sample.recall(), width=80)
    assert "Left out" not in render_text(sample.recall(), width=200)


def test_baselines_are_marked(sample):
    text = render_text(sample.labels())
    assert re.search(r"^\(majority\) +0\.514$", text, re.MULTILINE)
    assert "Names in brackets are baselines." in text


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_a_long_baseline_name_is_shown_whole(sample, width):
    labels = sample.labels()
    long = replace(labels.baselines[0], name="TF-IDF + logistic regression")
    text = render_text(replace(labels, baselines=(long,)), width=width)
    head = text.split("brackets")[0]
    assert "(TF-IDF + logistic regression)" in head.replace("\n", " ") or re.search(
        r"^\(TF-IDF \+ logistic  .*\nregression\)$", head, re.MULTILINE
    )


def test_distances_with_chance_and_task_reach(sample):
    text = render_text(sample.recall(), width=100).split("Accuracy by distance")[1]
    row = sample.recall().rows[3]
    cells = [f"{p.accuracy:.2f}" for p in row.by_distance]
    assert line_of(text, "cnn").split() == ["cnn", *cells, "7"]
    assert line_of(text, "transformer").endswith(">= 254")
    assert line_of(text, "(chance)").split()[1:] == ["0.125"] * 7


def test_strangers_text_is_shown_and_obeyed_never(sample):
    text = render_text(sample.hostile(), width=200)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", text)
    assert line_of(text, "[bold]x[/bold] [link=...  ")
    for payload in sample.HOSTILE.values():
        assert f"Warning: {words.visible(payload)}" in text


def test_same_text_twice_and_no_colour(sample, monkeypatch):
    first = render_text(sample.recall())
    monkeypatch.setenv("COLUMNS", "50")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert render_text(sample.recall()) == first
    assert "\x1b" not in first


def test_nothing_measured_still_prints(sample):
    empty = Comparison(data=Data(kind="text", name="x", unit="byte"), rows=())
    assert "Data: x:" in render_text(empty)
    bare = replace(sample.text().rows[0], reach=None, cost=(), cost_exponent=None, state_bytes=None)
    text = render_text(replace(sample.text(), rows=(bare,)))
    assert "R95" not in text
    assert "us/token" not in text


def test_a_task_row_holds_chance_and_the_best_shortcut(sample):
    comparison = sample.recall()
    row = line_of(render_text(comparison, width=200), comparison.rows[0].family)
    guess, *rungs = [baseline.score.value for baseline in comparison.baselines]
    assert f"{guess:.3f}" in row
    assert f"{max(rungs):.3f}" in row
    assert f"{comparison.rows[0].tokens_seen:,}" in row
