"""What an audit promises besides its findings: the model as it was, and plain words."""

import functools
import itertools
import json
import random

import numpy as np
import pytest
import torch
from tests.measure import known
from tests.measure.audit.faults import Keeping, Stepping, planted
from tests.measure.audit.healthy import (
    CausalConv,
    Encoder,
    Recurrent,
    draw,
    hugging,
    ids,
    ours,
    reals,
)
from torch import nn
from torch.nn import functional as F

from howfar.core.errors import DataError, UsageError
from howfar.measure.audit import KINDS, AuditOptions, audit

LEAK = AuditOptions(checks=("future_leak",))


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def skipped(found, kind):
    return dict(found.skipped).get(kind, "")


def test_a_finding_unpacks():
    model, tokens, lengths, _ = planted()["pooled over padding"]
    found = audit(model, tokens, lengths=lengths)
    kind, message, example = found.findings[0]
    assert kind == "padding" == found.findings[0].kind
    assert "padding" in message
    assert example.effect > 100 * example.floor
    assert found.ok is False


def test_every_kind_is_checked_or_said_to_be_skipped():
    found = audit(ours("gru", True), ids())
    assert {*found.checked, *dict(found.skipped)} == set(KINDS)
    assert not found.skipped
    assert found.calls > 0


def test_the_result_is_json():
    model, tokens, lengths, _ = planted()["mask off by one"]
    text = json.dumps(audit(model, tokens, lengths=lengths).plain(), allow_nan=False)
    assert json.loads(text)["findings"][0]["kind"] == "future_leak"


def test_infinite_effects_are_json_too():
    model, tokens, lengths, _ = planted()["NaN on an empty row"]
    text = json.dumps(audit(model, tokens, lengths=lengths).plain(), allow_nan=False)
    assert json.loads(text)["findings"][0]["example"]["effect"] is None


def test_equal_seeds_give_equal_findings():
    model, tokens, lengths, _ = planted()["missing mask"]
    one, two = (audit(model, tokens, lengths=lengths).plain() for _ in range(2))
    assert one == two


class Everything(nn.Module):
    """Writes buffers, keeps attributes, makes caches, and may raise."""

    def __init__(self, fails=None):
        super().__init__()
        self.inner = draw(CausalConv())
        self.register_buffer("count", torch.zeros(1))
        self.kept, self.log, self.calls = None, [], 0
        self.hidden = torch.zeros(2)
        self.fails, self.count_up = fails, itertools.count(1)

    def forward(self, tokens):
        self.calls += 1
        if self.fails is not None and next(self.count_up) >= self.fails[0]:
            raise self.fails[1]
        self.count += 1
        self.hidden.add_(1)
        self.log.append(torch.ones(1))
        self.kept = tokens
        self.new = 3
        return self.inner(tokens) + 0 * torch.rand(1) + random.random() * 0


def fingerprint(model):
    held = {
        name: {key: value for key, value in vars(part).items() if not key.startswith("_")}
        for name, part in model.named_modules()
    }
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.modules()]
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    places = [(tensor.data_ptr(), tensor.dtype) for tensor in model.state_dict().values()]
    modes = [part.training for part in model.modules()]
    return held, hooks, state, places[:-1], modes


@pytest.mark.parametrize("fails", [None, (9, KeyboardInterrupt()), (1, ValueError("no"))])
@pytest.mark.parametrize("train", [True, False])
def test_the_model_and_random_state_are_left_as_they_were(fails, train):
    model = Everything(fails).train(train)
    before = fingerprint(model)
    streams = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    fused = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    if fails:
        with pytest.raises((KeyboardInterrupt, UsageError)):
            audit(model, ids())
    else:
        assert audit(model, ids()).kinds == ("stateful",)
    after = fingerprint(model)
    assert after[1] == before[1]
    assert after[3:] == before[3:]
    assert all(torch.equal(after[2][name], tensor) for name, tensor in before[2].items())
    assert after[0].keys() == before[0].keys()
    assert {k: v for k, v in after[0][""].items() if k != "hidden"} == {
        k: v for k, v in before[0][""].items() if k != "hidden"
    }
    assert model.calls == 0
    assert model.kept is None
    assert model.log == []
    assert not hasattr(model, "new")
    assert model.hidden.tolist() == [0, 0]
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert random.getstate() == streams[1]
    assert (np.random.get_state()[1] == streams[2]).all()  # noqa: NPY002
    assert fused == (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled)
    assert torch.is_grad_enabled()


def test_a_hugging_face_model_keeps_its_attention():
    model = hugging("llama")
    audit(model, ids())
    assert model.model.config._attn_implementation == "sdpa"


def test_a_model_inside_a_function_is_found():
    model = ours("gru", True, dropout=0.3).train()

    def enclosing(tokens):
        return model(tokens)

    for predict in (enclosing, functools.partial(model, lengths=None), model.forward):
        assert audit(predict, ids()).kinds == ("train_eval",)
        assert model.training
    model.eval()
    assert audit(enclosing, ids()).ok


class TestSides:
    def test_a_model_that_reads_both_sides_is_not_blamed_unless_it_must_not(self):
        for model in (
            draw(Encoder(causal=False)),
            draw(Recurrent(nn.GRU, both=True)),
        ):
            found = audit(model, ids(), options=LEAK)
            assert found.ok
            assert skipped(found, "future_leak") == "the model reads both sides"
            assert "reads both sides" in found.notes[0]
            assert audit(model, ids(), causal=True, options=LEAK).kinds == ("future_leak",)
            assert audit(model, ids(), causal=False, options=LEAK).ok

    @pytest.mark.parametrize(
        ("weights", "leaks"),
        [
            # next token beside a longer past: a shift too far
            ([0.2, 0.2, 0.2, 0.3, 0.1], True),
            # as much ahead as behind: meant so
            ([0.3, 0.4, 0.3], False),
            ([0.1, 0.2, 0.4, 0.2, 0.1], False),
        ],
    )
    def test_extent_decides(self, weights, leaks):
        ahead = 1 if leaks else len(weights) // 2

        def predict(x, lengths):
            y = F.pad(x, (len(weights) - 1 - ahead, ahead))
            return F.conv1d(y[:, None], torch.tensor([[weights]]))[:, 0]

        found = audit(predict, reals(), options=LEAK)
        assert found.kinds == (("future_leak",) if leaks else ())

    def test_a_weak_look_at_everything_is_a_leak(self):
        def predict(x, lengths):
            return x.cumsum(1) + 1e-5 * x.mean(1, keepdim=True)

        assert audit(predict, reals()).kinds == ("future_leak",)

    def test_a_look_ahead_that_is_weak_beside_the_past_is_a_leak(self):
        decay = known.decay(0.8)

        def predict(x, lengths, share):
            return decay(x, None) + share * decay(x.flip(1), None).flip(1)

        tokens = reals(dtype=torch.float64)
        for share, kinds in ((1.0, ()), (0.1, ()), (3e-3, ("future_leak",))):

            def weighted(x, lengths, share=share):
                return predict(x, lengths, share)

            assert audit(weighted, tokens, options=LEAK).kinds == kinds

    def test_a_model_that_says_it_is_causal_is_held_to_it(self):
        model = draw(Encoder(causal=False))
        model.causal = True
        found = audit(model, ids())
        assert found.kinds == ("future_leak",)
        assert "Encoder.causal is True" in found.findings[0].message


class TestLengths:
    def test_a_model_without_lengths_is_not_asked_about_padding(self):
        found = audit(draw(CausalConv()), ids())
        assert found.ok
        assert "knows no padding" in skipped(found, "padding")
        assert "knows no padding" in skipped(found, "empty_row")

    def test_unless_lengths_are_given(self):
        def predict(tokens):
            return F.one_hot(tokens, 20).float().mean(1)

        lengths = torch.tensor([48, 20, 30, 40, 48, 9, 10, 11])
        assert audit(predict, ids(), lengths=lengths).kinds == ("padding",)
        assert audit(predict, ids()).ok

    def test_a_mask_by_id_is_understood(self):
        def predict(tokens):
            real = (tokens != 0)[..., None]
            return (F.one_hot(tokens, 20) * real).sum(1) / real.sum(1).clamp(min=1)

        tokens, lengths = ids() % 19 + 1, torch.tensor([48, 20, 30, 40, 48, 9, 10, 11])
        tokens[torch.arange(48) >= lengths[:, None]] = 0
        assert audit(predict, tokens, lengths=lengths).ok

    def test_empty_rows_of_the_data_are_left_out(self):
        lengths = torch.tensor([48, 0, 30, 0, 48, 9, 10, 11])
        assert audit(ours("gru", False), ids(), lengths=lengths).ok

    def test_a_refused_empty_row_is_said(self):
        class Strict(nn.Module):
            def forward(self, tokens, lengths):
                if int(lengths.min()) < 1:
                    raise ValueError("empty")
                mask = torch.arange(tokens.shape[1]) < lengths[:, None]
                return F.one_hot(tokens * mask, 20).float().sum(1) * 0 + (tokens * mask).sum(
                    1, keepdim=True
                )

        found = audit(Strict(), ids())
        assert found.ok
        assert any("row of length 0 is refused" in note for note in found.notes)


class TestSteps:
    def test_a_given_step_is_compared(self):
        good = draw(Stepping("none"))
        assert audit(good, ids(), options=AuditOptions(checks=("step_parallel",))).ok

        def wrong(tokens_B, state):
            y, state = good.step(tokens_B, state)
            return y + 1e-4, state

        found = audit(CallOnly(good), ids(), step=wrong)
        assert found.kinds == ("step_parallel",)
        assert found.findings[0].example.target == 0

    def test_our_families_go_step_by_step_and_chunk_by_chunk(self):
        found = audit(ours("lstm", True), ids(), options=AuditOptions(checks=("step_parallel",)))
        assert found.checked == ("step_parallel",)
        assert found.ok

    def test_a_step_that_fails_late_is_found(self):
        model = draw(Stepping("none"))

        def fails(tokens_B, state):
            if state is not None and state[0] == 5:
                raise RuntimeError("five")
            return model.step(tokens_B, state)

        found = audit(CallOnly(model), ids(), step=fails)
        assert found.kinds == ("step_parallel",)
        assert "five" in found.findings[0].message


class CallOnly(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, tokens):
        return self.inner(tokens)


class TestState:
    def test_what_is_kept_is_named(self):
        message = audit(draw(Keeping()), ids()).findings[0].message
        assert "What changed: state" in message

    def test_a_model_that_writes_into_its_tokens(self):
        found = audit(lambda tokens: tokens.mul_(2).float()[..., None], ids())
        assert found.kinds == ("stateful",)
        assert "writes into the tokens" in found.findings[0].message

    def test_state_outside_modules_is_found_and_said_to_hide_the_rest(self):
        kept = [0.0]

        def predict(tokens):
            y = tokens.float().cumsum(1) + kept[0]
            kept[0] = float(y.mean())
            return y

        found = audit(predict, ids())
        assert found.kinds == ("stateful",)
        assert any("equal calls differ" in said for said in found.warnings)

    def test_caches_that_change_nothing_are_no_state(self):
        class Caching(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner, self.mask, self.calls = draw(CausalConv()), None, 0

            def forward(self, tokens):
                self.calls += 1
                if self.mask is None or len(self.mask) != tokens.shape[1]:
                    self.mask = torch.ones(tokens.shape[1])
                return self.inner(tokens) * self.mask[:, None]

        assert audit(Caching().eval(), ids()).ok


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("four axes", "E-SHAPE"),
            ("ids", "E-MODEL"),
            ("nothing", "E-MODEL"),
            ("raises", "E-MODEL"),
            ("other rows", "E-MODEL"),
        ],
    )
    def test_outputs_that_are_not_understood(self, name, code):
        predict = {
            "four axes": lambda x: torch.zeros(len(x), 2, 2, 2),
            "ids": lambda x: x,
            "nothing": lambda x: None,
            "raises": lambda x: 1 / 0,
            "other rows": lambda x: torch.zeros(3, 3),
        }[name]
        with pytest.raises(UsageError) as caught:
            audit(predict, ids())
        assert caught.value.code == code

    def test_nan_everywhere(self):
        with pytest.raises(DataError, match="not a number"):
            audit(lambda x: torch.full((len(x), 3), torch.nan), ids())

    @pytest.mark.parametrize(
        ("shape", "lengths"),
        [((3,), None), ((2, 0), None), ((8, 48), 0), ((8, 48), 49), ((8, 48), 4.0), ((8, 48), 1)],
    )
    def test_tokens_that_do_not_fit(self, shape, lengths):
        # the last case: all tokens are the same
        tokens = torch.zeros(shape).long()
        lengths = None if lengths is None else torch.full((8,), lengths)
        with pytest.raises(UsageError) as caught:
            audit(ours("gru", True), tokens, lengths=lengths)
        assert caught.value.code == "E-SHAPE"

    @pytest.mark.parametrize(
        ("name", "value"),
        [("rows", 1), ("length", 1), ("checks", ("leak",)), ("checks", ()), ("longest", 8)],
    )
    def test_options_out_of_range(self, name, value):
        with pytest.raises(UsageError, match=name):
            AuditOptions(**{name: value})


class TestForms:
    def test_a_constant_has_no_faults(self):
        assert audit(lambda x, n: torch.zeros(len(x), x.shape[1], 3), ids()).ok
        assert audit(lambda x, n: torch.ones(len(x), 3), ids()).ok

    def test_answers_every_other_token_are_not_taken_for_cut_rows(self):
        found = audit(lambda x, n: F.avg_pool1d(x.float()[:, None], 2)[:, 0][..., None], ids())
        assert found.ok
        assert "not one a token" in skipped(found, "truncation")

    def test_an_end_that_is_left_out_by_design_is_no_cut(self):
        # the last 8 tokens of any row, not all behind a place
        def predict(x, n):
            return F.one_hot(x, 20).float()[:, : max(x.shape[1] - 8, 1)].sum(1)

        assert audit(predict, ids(), options=AuditOptions(checks=("truncation",))).ok

    def test_real_vectors(self):
        weight = torch.ones(3, 2)
        assert audit(lambda x, n: x.cumsum(1) @ weight, reals(8, 90).reshape(8, 30, 3)).ok

    def test_many_classes_are_sampled_and_rows_cut(self):
        model = nn.Sequential(nn.Embedding(20, 2), nn.Linear(2, 90_000)).eval()
        options = AuditOptions(checks=("batch_mates",))
        found = audit(model, ids(length=64), options=options)
        assert found.ok
        assert "1024 of 90000 outputs were compared" in found.warnings
        assert "rows were cut to 44 tokens, but for truncation" in found.warnings

    def test_a_ruled_out_class_is_no_difference(self):
        def predict(x, n):
            y = F.one_hot(x, 20).float()
            y[..., 3] = -torch.inf
            return y

        assert audit(predict, ids()).ok

    def test_a_model_of_one_length_is_audited_at_it(self):
        model = nn.Sequential(nn.Embedding(20, 4), nn.Flatten(), nn.Linear(4 * 48, 3)).eval()
        found = audit(model, ids())
        assert found.ok
        assert any("are refused" in note for note in found.notes)

    def test_a_slow_model_ends_in_time_and_says_so(self):
        found = audit(ours("gru", True), ids(), options=AuditOptions(seconds=1e-9))
        assert found.ok
        assert any("time was up" in note for note in found.notes)
