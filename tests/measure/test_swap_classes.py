"""Which kind of token carries the effect: masks of classes, and reaches narrowed to them."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.measure import known

from howfar.core.errors import UsageError
from howfar.measure.swap import SwapOptions, frequency_bands, matching, swap_reach, token_class

WORDS = ["the", "\u0120cat", "\u2581sat", "##ing", ".", "\u0120,", "42", "\u25817", "A1", "\n", "-"]


def measure(predict, tokens, only=None, **options):
    settings_ = SwapOptions(**{"resamples": 100, **options})
    return swap_reach(predict, tokens, only=only, options=settings_)


def at(found, k):
    return found.curve.mean[found.curve.x.index(k)]


# Masks.


def test_strings_are_told_without_the_marks_of_spaces():
    ids = torch.arange(len(WORDS))[None]
    held = {name: token_class(name, ids, WORDS)[0].tolist() for name in ("punctuation", "digits")}
    assert [w for w, h in zip(WORDS, held["punctuation"], strict=True) if h] == [
        ".",
        "\u0120,",
        "-",
    ]
    assert [w for w, h in zip(WORDS, held["digits"], strict=True) if h] == ["42", "\u25817"]


@pytest.mark.parametrize(
    ("pattern", "want"),
    [("cat|sat", [1, 2]), ("[a-z]+", [0, 1, 2, 3]), ("ca", []), (r"\d+", [6, 7]), (".t.?", [])],
)
def test_a_pattern_must_match_the_whole_token(pattern, want):
    ids = torch.arange(len(WORDS))[None]
    assert matching(pattern, ids, WORDS)[0].nonzero().flatten().tolist() == want
    assert torch.equal(token_class(f"re:{pattern}", ids, WORDS), matching(pattern, ids, WORDS))


def test_a_vocabulary_may_be_a_mapping_and_pads_need_no_string():
    ids = torch.tensor([[500, 7, -100], [7, 500, 9]])
    names, lengths = {500: "a", 7: "b", 9: "b"}, torch.tensor([2, 3])
    b = matching("b", ids, names, lengths=lengths)
    assert b.tolist() == [[False, True, False], [True, False, True]]
    a = matching("a", ids, names, lengths=lengths)
    assert a.tolist() == [[True, False, False], [False, True, False]]


@pytest.mark.parametrize("wrong", ["(", "*", "[a", "(?P<n>a)(?P<n>b)", "a{99999999999}"])
def test_patterns_that_do_not_compile_are_refused(wrong):
    with pytest.raises(UsageError, match="is no regular expression"):
        matching(wrong, torch.zeros(2, 3, dtype=torch.long), WORDS)


def test_what_does_not_fit_is_refused():
    ids = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(UsageError, match=r"Did you mean 'digits'\?"):
        token_class("digit", ids, WORDS)
    with pytest.raises(UsageError, match="no vocabulary"):
        token_class("digits", ids)
    with pytest.raises(UsageError, match="no string in the vocabulary"):
        matching("a", ids + len(WORDS), WORDS)
    with pytest.raises(UsageError, match="no string in the vocabulary"):
        matching("a", ids, {1: "a"})
    with pytest.raises(UsageError, match="must not be negative"):
        matching("a", ids - 1, WORDS)
    with pytest.raises(UsageError, match="integer tokens"):
        frequency_bands(ids.double())
    for more in ({"edges": (0.5, 0.5)}, {"edges": (0.0, 0.5)}, {"edges": (0.9, 0.1)}):
        with pytest.raises(UsageError, match="do not ascend"):
            frequency_bands(ids, **more)
    with pytest.raises(UsageError, match="3 different names"):
        frequency_bands(ids, names=("a", "b"))
    with pytest.raises(UsageError, match="a number for every id"):
        frequency_bands(ids + 5, counts=torch.ones(3))


def bands_twin(tokens, edges):
    """Ids by count; equal counts stand together, where the last of their occurrences stands."""
    times = Counter(tokens)
    groups = sorted(set(times.values()))
    done, band = 0, {}
    for count in groups:
        members = [token for token, c in times.items() if c == count]
        done += count * len(members)
        for token in members:
            band[token] = sum(edge < done / len(tokens) for edge in edges)
    return band


@given(st.lists(st.integers(0, 30), min_size=4, max_size=200), st.integers(1, 7))
@settings(deadline=None, max_examples=60)
def test_bands_are_their_twin(tokens, num):
    tokens = tokens[: len(tokens) // 2 * 2]
    edges = [i / (num + 1) for i in range(1, num + 1)]
    ids = torch.tensor(tokens).reshape(2, -1)
    bands = frequency_bands(ids, edges=edges)
    twin = bands_twin(tokens, edges)
    for i, mask in enumerate(bands.values()):
        want = [[twin[int(t)] == i for t in row] for row in ids]
        assert mask.tolist() == want
    assert torch.stack(list(bands.values())).sum(0).eq(1).all()


def test_a_token_that_is_most_of_the_text_is_frequent():
    ids = torch.zeros(4, 10, dtype=torch.long)
    ids[:, 0] = torch.arange(1, 5)
    bands = frequency_bands(ids)
    assert bands["frequent"].sum() == 36
    assert bands["rare"].sum() == 4


def test_bands_hold_the_shares_they_are_named_for():
    """Zipf's law: an eighth of the occurrences are rare, an eighth of them are the commonest."""
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(np.minimum(rng.zipf(1.3, (100, 200)), 5000))
    bands = frequency_bands(ids)
    assert bands["rare"].float().mean() == pytest.approx(1 / 8, abs=0.03)
    times = torch.bincount(ids.flatten())
    ordered = [times[ids[mask]] for mask in bands.values() if mask.any()]
    assert all(a.max() < b.min() for a, b in pairwise(ordered))
    octiles = frequency_bands(ids, edges=tuple(i / 8 for i in range(1, 8)))
    assert next(iter(octiles)) == "1 of 8"
    assert len(octiles) == 8
    assert torch.equal(token_class("rare", ids), bands["rare"])


def test_counts_of_elsewhere_and_lengths_are_heeded():
    ids = torch.tensor([[0, 1, 2, 2], [0, 1, 0, 0]])
    lengths = torch.tensor([4, 2])
    counts = torch.tensor([10, 1000, 10])
    bands = frequency_bands(ids, edges=(0.5,), counts=counts, lengths=lengths)
    assert bands["2 of 2"].tolist() == [[False, True, False, False], [False, True, False, False]]
    assert not bands["1 of 2"][1, 2:].any()


# Reaches.


def every(num, length, step, first=0):
    """True at every `step`-th place."""
    return ((torch.arange(length) - first) % step == 0)[None].expand(num, length)


def test_classes_share_the_effect_of_a_window_in_closed_form():
    """Mean of the last 12: tokens at even lags carry half of it, from lags 0, 2, .. 10."""
    num, length = 4000, 40
    only = every(num, length, 2, first=length - 1)
    found = measure(known.boxcar(12), known.iid(num, length), only, batch=num)
    for k in found.curve.x:
        want = sum(1 for d in range(0, 12, 2) if d >= k) / 12
        assert at(found, k) == pytest.approx(want, abs=0.04)
    assert found.value == 11
    assert found.structural == 11
    assert found.own.share.value == pytest.approx(0.5, abs=0.04)
    assert found.own.value == 11
    assert found.own.share.low < 0.5 < found.own.share.high
    assert found.curve.low[0] <= found.curve.mean[0] <= found.curve.high[0] < 0.6
    assert not found.warnings
    other = measure(known.boxcar(12), known.iid(num, length), ~only, batch=num)
    assert other.structural == 12
    assert other.own.share.value + found.own.share.value == pytest.approx(1, abs=0.06)


def test_all_tokens_as_a_class_are_no_class():
    tokens = known.iid(64, 40)
    everything = torch.ones(64, 40, dtype=torch.bool)
    plain, classed = measure(known.boxcar(9), tokens), measure(known.boxcar(9), tokens, everything)
    assert plain.curve == classed.curve
    assert plain.own is classed.own is None
    assert plain.passes == classed.passes


def test_a_model_that_reads_one_class_reads_no_other():
    """Counts the digits of the last 20: only digits carry, though every class may hold one."""
    num = 200
    tokens = known.symbols(num, 40, 11)
    digits = token_class("digits", tokens, WORDS)

    def predict(t, n):
        is_digit = ((t == 6) | (t == 7)).double() * (t - 5)
        return known.boxcar(20)(is_digit, n)

    found = measure(predict, tokens, digits)
    assert found.structural == 20
    assert found.own.share.value > 0.2
    letters = matching("[A-Za-z]+", tokens, WORDS)
    other = measure(predict, tokens, letters)
    # A letter may give way to a digit: the swap of a class is felt where another kind comes in.
    assert other.own.share.value > 0

    def lengths_of(t, n):
        return known.boxcar(20)((t < 4).double(), n)

    blind = measure(lengths_of, tokens, every(num, 40, 40))
    assert (blind.value, blind.censored) == (None, False)
    assert any("these tokens do not move" in said for said in blind.warnings)


def test_a_class_that_is_too_weak_says_so():
    tokens = known.iid(500, 40)
    predict = known.linear([1.0] * 8 + [0.0] * 12 + [0.2])
    only = torch.zeros(500, 40, dtype=torch.bool)
    only[:, 19] = True
    found = measure(predict, tokens, only)
    assert found.value == 0
    assert found.own.share.value == pytest.approx(0.04 / 8.04, rel=0.3)
    assert (found.own.value, found.own.low, found.own.high) == (None, None, None)
    assert found.own.censored
    far = measure(predict, tokens, only | every(500, 40, 40))
    assert (far.value, far.own.value, far.structural) == (0, 21, 21)
    assert any("of what the swap of all does" in said for said in far.warnings)


def test_classes_of_unequal_rows_never_touch_padding():
    lengths = torch.randint(10, 31, (64,), generator=torch.Generator().manual_seed(1))
    tokens = known.symbols(64, 30, 11)
    pads = torch.arange(30)[None] >= lengths[:, None]
    tokens[pads] = 10
    only = token_class("digits", tokens, WORDS, lengths=lengths)
    assert not (only & pads).any()
    seen = []

    def predict(t, n):
        seen.append(t.clone())
        return known.delay(4)(t.double(), n)

    options = SwapOptions(resamples=50)
    swap_reach(predict, tokens, lengths=lengths, only=only, options=options)
    full = [t for t in seen if len(t) == 64]
    changed = torch.stack([t != tokens for t in full]).any(0)
    assert changed.any()
    # The swap of everything, which shares are taken of, changes more than the class.
    narrow = torch.stack([t != tokens for t in full if not (t != tokens)[~only].any()]).any(0)
    assert narrow.any()
    assert not changed[pads].any()


@pytest.mark.parametrize(
    ("only", "match"),
    [
        (torch.ones(40, 20), "only must be bool"),
        (torch.ones(40, 19, dtype=torch.bool), "only must be bool"),
        (torch.zeros(40, 20, dtype=torch.bool), "No token of the class"),
    ],
)
def test_masks_that_do_not_fit_are_refused(only, match):
    with pytest.raises(UsageError, match=match):
        measure(known.delay(3), known.iid(40, 20), only)
    with pytest.raises(UsageError, match="fast design"):
        measure(known.delay(3), known.iid(40, 20), torch.ones(40, 20).bool(), design="fast")
