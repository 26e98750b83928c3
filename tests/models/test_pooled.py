"""The form by hand: one output a sequence from a causal body, one a position from a whole one."""

import pytest
import torch
from tests.models.counting import counting
from tests.models.variants import VARIANTS, cases

from howfar.core.errors import UsageError
from howfar.models import MODELS, Model, build

VOCABULARY, OUTPUTS = 11, 5
FORMS = {
    label: (name, extras, causal)
    for label, (name, extras, causal) in cases(VARIANTS).items()
    if (name, extras.get("pool")) != ("textcnn", "none")
}
CASES = [pytest.param(*case, id=label) for label, case in FORMS.items()]
CAUSAL = [case for case in CASES if case.values[2]]
WHOLE = [case for case in CASES if not case.values[2]]
LENGTHS = torch.tensor([9, 4, 0, 1])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(name, extras, causal, *, dropout=0.0, dtype=torch.float64, pooled=None):
    """The form that is not the usual one: pooled if causal."""
    model = build(
        name,
        vocabulary=VOCABULARY,
        outputs=OUTPUTS,
        width=14,
        embedding=6,
        causal=causal,
        pooled=causal if pooled is None else pooled,
        dropout=dropout,
        generator=generator(),
        **extras,
    )
    return model.to(dtype).eval()


def ids(rows, length, seed=1):
    return torch.randint(VOCABULARY, (rows, length), generator=generator(seed))


def real(logits, lengths):
    if logits.ndim == 2:
        return logits
    return torch.cat([row[:n] for row, n in zip(logits, lengths.tolist(), strict=True)])


def test_every_family_stands_here_in_both_forms():
    assert {case.values[0] for case in CAUSAL} == set(MODELS)
    assert {case.values[0] for case in WHOLE} == set(MODELS)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_form(name, extras, causal):
    model = made(name, extras, causal)
    assert model.causal is causal
    assert (model.pool in {"mean", "max"}) is causal
    assert (model.pool == "none") is not causal
    assert model(ids(3, 9)).shape == ((3, OUTPUTS) if causal else (3, 9, OUTPUTS))
    assert model(ids(0, 9)).shape == ((0, OUTPUTS) if causal else (0, 9, OUTPUTS))
    assert model(ids(2, 0)).shape == ((2, OUTPUTS) if causal else (2, 0, OUTPUTS))
    assert model(ids(2, 1)).isfinite().all()


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_padding_and_batch_mates_change_nothing(name, extras, causal):
    model = made(name, extras, causal)
    tokens = ids(4, 9)
    together = model(tokens, LENGTHS)
    assert together.isfinite().all()
    want = real(together, LENGTHS)
    longer = torch.cat([tokens, ids(4, 7, seed=3)], dim=1)
    got = real(model(longer, LENGTHS), LENGTHS)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    for row, n in enumerate(LENGTHS.tolist()):
        alone = real(model(tokens[row : row + 1, :n]), torch.tensor([n]))
        want = together[row : row + 1] if causal else together[row, :n]
        torch.testing.assert_close(alone, want, rtol=0, atol=1e-10)
    if causal:
        torch.testing.assert_close(together[2], model.head.bias, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_padding_changes_no_gradient_and_all_learn(name, extras, causal):
    tokens = ids(4, 9)
    found = []
    for batch in (tokens, torch.cat([tokens, ids(4, 6, seed=2)], dim=1)):
        model = made(name, extras, causal)
        real(model(batch, LENGTHS), LENGTHS).square().sum().backward()
        found.append({key: p.grad for key, p in model.named_parameters()})
    for key, one in found[0].items():
        assert one.abs().max() > 0, key
        torch.testing.assert_close(one, found[1][key], rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras", "causal"), CAUSAL)
def test_pooled_is_what_a_hand_makes_of_the_causal_body(name, extras, causal):
    model = made(name, extras, causal)
    tokens = ids(4, 9)
    y_BLD = model.hidden(tokens, LENGTHS)
    rows = []
    for y_LD, n in zip(y_BLD, LENGTHS.tolist(), strict=True):
        if n == 0:
            rows.append(torch.zeros_like(y_LD[0]))
        else:
            rows.append(y_LD[:n].mean(0) if model.pool == "mean" else y_LD[:n].amax(0))
    want = model.head(torch.stack(rows))
    torch.testing.assert_close(model(tokens, LENGTHS), want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras", "causal"), CAUSAL)
def test_pooled_reads_the_states_of_the_causal_form(name, extras, causal):
    model, other = made(name, extras, causal), made(name, extras, causal, pooled=False)
    tokens = ids(2, 9)
    y_BLD = model.hidden(tokens)
    assert torch.equal(y_BLD, other.hidden(tokens)[..., : y_BLD.shape[-1]])
    with pytest.raises(UsageError, match="one token at a time"):
        model.step(tokens[:, 0])
    with pytest.raises(UsageError, match="stop and go on"):
        model.chunk(tokens)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_chosen_positions_cost_the_head_alone(name, extras, causal):
    model = made(name, extras, causal, pooled=False)
    tokens = ids(4, 9)
    chosen = torch.zeros(4, 9, dtype=torch.bool)
    chosen[0, 3], chosen[1, 2], chosen[0, 8] = True, True, True
    got = model.head(model.hidden(tokens, LENGTHS)[chosen])
    torch.testing.assert_close(got, model(tokens, LENGTHS)[chosen], rtol=0, atol=1e-12)


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_prices(name, extras, causal, monkeypatch):
    model, usual = made(name, extras, causal), made(name, extras, causal, pooled=not causal)
    head = 2 * OUTPUTS * model.body.out_width
    assert model.flops(17) == model.body.flops(17) + head * (1 if causal else 17)
    with counting(monkeypatch) as counted:
        model(ids(1, 17))
        assert counted() == model.flops(17)
    sums = 4 * (model if causal else usual).body.out_width
    running = 4 * 14 if name == "textcnn" and causal else 0
    difference = sums - running if causal else -sums
    assert model.state_bytes(12) == usual.state_bytes(12) + difference
    if name != "textcnn":
        assert model.reach(40) == usual.reach(40)


def test_textcnn_looks_as_far_as_its_windows_without_the_running_maximum():
    assert made("textcnn", {}, True).reach(40) == 5
    assert made("textcnn", {"pool": "none"}, False).reach(40) == 5


def test_one_filter_set_answers_alike_in_both_pooled_forms():
    usual = made("textcnn", {}, False, pooled=True)
    torch.testing.assert_close(made("textcnn", {}, True)(ids(3, 9)), usual(ids(3, 9)))


@pytest.mark.parametrize(("name", "extras", "causal"), CASES)
def test_dropout_stands_before_the_head(name, extras, causal):
    model = made(name, extras, causal, dropout=0.9).train()
    seen = []
    model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(ids(30, 9))
    assert float((seen[0] == 0).double().mean()) > 0.8


@pytest.mark.parametrize("name", ["tcn", "transformer", "deepcnn"])
@torch.no_grad()
def test_a_position_of_the_whole_form_reads_ahead(name):
    model = made(name, {}, False)
    tokens = ids(1, 9)
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % VOCABULARY
    assert float((model(changed) - model(tokens))[0, 4].abs().max()) > 1e-9


def test_wrong_value_is_refused():
    with pytest.raises(UsageError, match="pooled must be true or false"):
        build("gru", vocabulary=3, outputs=2, pooled="mean")


def outside(*, vocabulary, outputs, embedding, width, causal, dropout, generator, pooled=None):
    inner = {"width": width, "embedding": embedding, "causal": causal, "dropout": dropout}
    inner |= {"pooled": pooled, "generator": generator}
    return build("gru", vocabulary=vocabulary, outputs=outputs, **inner)


def test_a_model_from_outside_is_told():
    model = build(f"{__name__}:outside", vocabulary=3, outputs=2, pooled=True)
    assert isinstance(model, Model)
    assert model.pool == "mean"
