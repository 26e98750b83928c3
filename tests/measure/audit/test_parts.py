"""The audit's parts by hand: float64 by force, comparison, cuts, guard, shrinking."""

import functools

import pytest
import torch
from tests.measure.audit.healthy import CausalConv, draw, hugging, ids, ours, reals
from torch import nn

from howfar.measure.audit.exact import exactly
from howfar.measure.audit.guard import Guard, modules_of, same
from howfar.measure.audit.judge import Pair, fewest, moved, scale
from howfar.measure.audit.leak import ON_EACH, _cuts, _plan
from howfar.measure.audit.rows import Material, Rows
from howfar.measure.audit.subject import takes_lengths


def rows(num=8, length=48):
    return Rows(ids(num, length), torch.full((num,), length))


def material(num=8, length=48):
    return Material(rows(num, length), 8, 256, 0)


@pytest.mark.parametrize("name", ["textcnn", "tcn", "elman", "lstm", "gru", "transformer"])
def test_a_model_asked_exactly_is_that_model_in_float64(name):
    model = ours(name, True).eval()
    lengths = torch.full((8,), 48)
    before = [(p.data_ptr(), p.dtype) for p in model.parameters()]
    with torch.no_grad():
        with exactly([model]):
            wide = model(ids(), lengths)
        plain = model(ids(), lengths)
        assert [(p.data_ptr(), p.dtype) for p in model.parameters()] == before
        doubled = model.double()(ids(), lengths)
    assert wide.dtype == torch.float64
    assert float((wide - doubled).abs().max()) < 1e-12
    assert 0 < float((plain - doubled).abs().max()) < 1e-5


def test_a_cast_inside_is_widened_and_weights_outside_modules_too():
    weight = torch.tensor([1 / 3])

    def predict(x):
        return torch.softmax(x.float() * weight.to(torch.bfloat16), -1, dtype=torch.float32)

    x = torch.tensor([[0.1, 0.7]], dtype=torch.float64)
    with exactly([]):
        got = predict(x)
    wanted = (x * weight.double()).softmax(-1)
    assert float((got - wanted).abs().max()) < 1e-15


def test_hugging_face_rounds_to_float32_inside_but_not_when_asked_exactly():
    model = hugging("llama")
    lengths = torch.full((8,), 48)
    with torch.no_grad(), exactly([model]):
        one = model(ids(), lengths)
        two = model(ids()[:1], lengths[:1])
    assert float((one[:1] - two).abs().max()) < 1e-13


def test_weights_come_back_when_the_model_raises():
    model = draw(CausalConv())
    with pytest.raises(ZeroDivisionError), exactly([model]):
        raise ZeroDivisionError
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert torch.backends.mkldnn.enabled


def test_differences_by_hand():
    nan, inf = torch.nan, torch.inf
    one = torch.tensor([[[1.0, 2.0], [nan, 1.0], [nan, 1.0], [-inf, 0.0]]])
    two = torch.tensor([[[1.0, 2.5], [nan, 1.0], [0.0, 1.0], [-inf, 0.0]]])
    counts = torch.ones(1, 4).bool()
    assert moved(Pair(one, two, counts)).tolist() == [[0.5, 0.0, inf, 0.0]]
    counts[0, 2] = False
    assert moved(Pair(one, two, counts)).tolist() == [[0.5, 0.0, 0.0, 0.0]]
    assert scale(Pair(one, two, counts)) == 2.5


@pytest.mark.parametrize("wanted", range(1, 21))
def test_fewest_finds_a_threshold(wanted):
    assert fewest(lambda n: n >= wanted, 20) == wanted


@pytest.mark.parametrize("length", [2, 3, 9, 48, 256])
def test_every_cut_is_tried_on_two_rows(length):
    made = material(8, length)
    plan = _plan([length] * 8, 256, made)
    tried = plan[plan < length].tolist()
    assert sorted(set(tried)) == list(range(1, length))
    assert all(tried.count(cut) == ON_EACH for cut in set(tried))


def test_cuts_of_long_rows_have_the_end_and_borders_of_blocks():
    cuts = _cuts(2000, 256, material(2, 2000))
    assert len(cuts) == 256
    assert {1, 1000, 1999, 128, 256, 1920, 64, 1984} <= set(cuts)


def test_short_rows_get_the_cuts_they_have():
    plan = _plan([48, 5, 2], 256, material())
    for row, length in enumerate([48, 5, 2]):
        cuts = [int(cut) for cut in plan[:, row] if cut < length]
        assert all(1 <= cut < length for cut in cuts)


def test_swapped_tokens_differ_and_occur_in_the_data():
    made = material()
    for purpose in range(5):
        other = made.different(made.rows.tokens, f"test {purpose}")
        assert not bool((other == made.rows.tokens).any())
        assert set(other.flatten().tolist()) <= set(made.rows.tokens.flatten().tolist())
    vectors = Material(Rows(reals(3, 8).reshape(3, 4, 2), torch.full((3,), 4)), 8, 256, 0)
    other = vectors.different(vectors.rows.tokens, "test")
    assert not bool((other == vectors.rows.tokens).all(-1).any())


def test_a_swap_always_changes_its_first_place_and_nothing_before():
    made = material()
    first = torch.arange(8) * 5 + 1
    other = made.swapped(made.rows, first, made.rows.lengths, "test")
    changed = other.tokens != made.rows.tokens
    for row, place in enumerate(first.tolist()):
        assert not bool(changed[row, :place].any())
        assert bool(changed[row, place])
        assert float(changed[row, place:].double().mean()) > 0.2 or place > 40


def test_padding_is_made_of_what_stands_there_in_the_data():
    tokens, lengths = ids(), torch.tensor([48, 3, 4, 5, 6, 7, 8, 9])
    tokens[torch.arange(48) >= lengths[:, None]] = 17
    made = Material(Rows(tokens, lengths), 8, 256, 0)
    wide = made.widened(made.ragged(), 53)
    assert wide.tokens.shape == (8, 53)
    assert set(wide.tokens[~wide.real_BL].tolist()) == {17}


def test_stretched_rows_are_the_datas_tokens_one_after_another():
    made = Material(Rows(torch.arange(12).reshape(3, 4), torch.tensor([4, 2, 3])), 8, 256, 0)
    assert made.stretched(12).tokens[0].tolist() == [0, 1, 2, 3, 8, 9, 10, 4, 5, 0, 1, 2]


def test_who_takes_lengths():
    assert takes_lengths(lambda x, lengths: x)
    assert takes_lengths(lambda x, lengths=None: x)
    assert takes_lengths(lambda *given: given)
    assert takes_lengths(max)
    assert not takes_lengths(lambda x: x)
    assert not takes_lengths(lambda x, mask=None: x)
    assert not takes_lengths(nn.Linear(2, 2))
    assert not takes_lengths(functools.partial(ours("gru", True), lengths=None))


def test_modules_behind_callables():
    model = draw(CausalConv())

    class Holder:
        def __init__(self):
            self.net = model

        def __call__(self, tokens):
            return self.net(tokens)

    def outer(tokens):
        return inner(tokens)

    def inner(tokens):
        return model(tokens)

    for predict in (model, model.forward, Holder(), outer, inner, Holder().__call__):
        assert modules_of(predict) == [model]
    assert modules_of(torch.sin) == []


def test_the_guard_names_what_changed_and_puts_it_back():
    model = nn.BatchNorm1d(3)
    model.extra, model.listed = torch.zeros(2), [torch.zeros(1)]
    guard = Guard([model])
    assert guard.changed() == []
    model(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    model.extra.add_(1)
    model.listed[0].add_(1)
    model.listed.append(torch.ones(1))
    model.fresh = 1
    named = ["extra", "fresh", "listed.0", "num_batches_tracked", "running_mean", "running_var"]
    assert guard.changed() == named
    assert set(guard.stored()) == {"weight", "bias", *named[3:]}
    guard.restore()
    assert guard.changed() == []
    assert model.listed[0].tolist() == [0]
    assert len(model.listed) == 1


def test_same_means_equal_numbers_of_one_type():
    nan = torch.tensor([torch.nan, 1.0])
    assert same(nan, nan.clone())
    assert not same(nan, torch.tensor([1.0, 1.0]))
    assert not same(torch.ones(2), torch.ones(2).double())
    assert not same(torch.ones(2), torch.ones(3))
