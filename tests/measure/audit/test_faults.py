"""Every planted fault is found, named, and shown by an example that holds when asked again."""

import pytest
import torch
from tests.measure.audit.faults import BlockLeak, OffByOne, fourier_leak, planted, sign_leak
from tests.measure.audit.healthy import draw, ids, ours, reals

import howfar
from howfar.measure.audit import AuditOptions, audit

PLANTED = planted()


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", PLANTED)
def test_the_fault_is_found_and_nothing_else(name):
    model, tokens, lengths, kinds = PLANTED[name]
    found = audit(model, tokens, lengths=lengths)
    assert set(found.kinds) == kinds
    assert not found.ok
    for kind, message, example in found.findings:
        assert message.endswith(".")
        assert len(example.tokens) <= len(tokens)
        assert kind in kinds


@pytest.mark.parametrize("name", PLANTED)
def test_the_fault_is_found_through_the_adapted_model(name):
    model, tokens, lengths, kinds = PLANTED[name]
    assert set(howfar.audit(model, tokens, lengths=lengths).kinds) == kinds


def answer(model, tokens, lengths):
    with torch.no_grad():
        try:
            return model(tokens, lengths)
        except TypeError:
            return model(tokens)


SHOWN_BY_ASKING = [
    name
    for name, (_, _, _, kinds) in PLANTED.items()
    if kinds & {"future_leak", "padding", "batch_mates", "batch_order"}
]


@pytest.mark.parametrize("name", SHOWN_BY_ASKING)
def test_the_example_shows_the_fault_when_it_is_asked_again(name):
    model, tokens, lengths, _ = PLANTED[name]
    for _, _, example in audit(model, tokens, lengths=lengths).findings:
        one = answer(model, example.tokens, example.lengths)[example.row]
        two = answer(model, example.changed, example.changed_lengths)[example.changed_row]
        if example.target is not None:
            one, two = one[example.target], two[example.target]
        effect = float((one - two).abs().max())
        assert effect == pytest.approx(example.effect, rel=0.2)
        assert effect > example.floor


def test_an_example_of_a_leak_changes_one_later_token_of_the_shortest_row():
    found = audit(BlockLeak(16).eval(), ids()).findings[0].example
    assert (found.target, found.source) == (15, 16)
    assert found.tokens.shape == (1, 17)
    changed = (found.tokens != found.changed)[0].nonzero().flatten().tolist()
    assert changed == [16]


def test_the_message_names_the_only_places_that_leak():
    message = audit(BlockLeak(16).eval(), ids()).findings[0].message
    assert "only where the future begins at 16, 32" in message


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("length", [12, 33, 64])
def test_leaks_are_found_with_any_seed(seed, length):
    options = AuditOptions(seed=seed, checks=("future_leak",))
    floats = reals(length=length, seed=seed)
    for predict in (sign_leak, fourier_leak):
        assert audit(predict, floats, options=options).kinds == ("future_leak",)
    tokens = ids(length=length, seed=seed)
    for model in (draw(OffByOne(), seed), BlockLeak(8).eval()):
        assert audit(model, tokens, options=options).kinds == ("future_leak",)


def test_a_leak_at_any_single_place_is_found():
    base = ours("tcn", True)
    for place in (0, 7, 31, 46):

        def predict(tokens, lengths, place=place):
            y = base(tokens, lengths)
            y[:, place] += 1e-4 * y[:, place + 1]
            return y

        found = audit(predict, ids(), options=AuditOptions(checks=("future_leak",)))
        example = found.findings[0].example
        assert f"begins at {place + 1};" in found.findings[0].message.replace(".", ";")
        assert example.source == example.target + 1


def test_a_leak_far_ahead_is_found_at_its_source():
    def predict(x, lengths):
        y = x.cumsum(1)
        y[:, 3] += 0.1 * x[:, 40]
        return y

    found = audit(predict, reals()).findings[0].example
    assert found.source - found.target == 37


def test_a_bug_that_only_two_symbols_have_is_found():
    def predict(x, lengths):
        following = torch.nn.functional.pad(x[:, 1:], (0, 2), value=1.0)
        return x * following[:, :-1] * following[:, 1:]

    signs = reals().sign()
    assert audit(predict, signs).kinds == ("future_leak",)


def test_only_what_is_asked_for_is_looked_for():
    model, tokens, _, _ = PLANTED["batch norm in training mode"]
    found = audit(model, tokens, options=AuditOptions(checks=("train_eval",)))
    assert found.kinds == ("train_eval",)
    assert found.checked == ("train_eval",)


def test_the_modules_in_training_mode_are_named():
    model, tokens, _, _ = PLANTED["dropout left on"]
    assert "(body.blocks.0.dropout, dropout)" in audit(model, tokens).findings[0].message
    model, tokens, _, _ = PLANTED["batch norm in training mode"]
    found = {kind: message for kind, message, _ in audit(model, tokens).findings}
    assert "(norm)" in found["train_eval"]


def test_padding_is_drawn_as_well_as_filled_with_one_id():
    def predict(tokens, lengths):
        # counts changes from token to token, on padding too
        changes = (tokens[:, 1:] != tokens[:, :-1]).float()
        real = torch.arange(tokens.shape[1] - 1) < lengths[:, None] - 1
        real |= torch.arange(tokens.shape[1] - 1) >= lengths[:, None]
        return (changes * real).sum(1, keepdim=True)

    options = AuditOptions(checks=("padding",))
    assert audit(predict, ids(), options=options).kinds == ("padding",)
