"""Documents one after another in one row: the same answers as a padded batch, none seen twice."""

from itertools import pairwise

import pytest
import torch
from tests.models.variants import VARIANTS, cases

from howfar.core.errors import UsageError
from howfar.models import MODELS, build

LENGTHS = torch.tensor([9, 4, 0, 1, 4, 12])
VOCABULARY, OUTPUTS = 11, 5
MORE = [
    *VARIANTS,
    ("hybrid", {"pattern": "attention:2"}, "both"),
    ("transformer", {"depth": 3, "window": 3, "positions": "learned"}, "both"),
]
FORMS = {
    f"{label}-{'pooled' if pooled else 'each'}": (*case, pooled)
    for label, case in cases(MORE).items()
    for pooled in (True, False)
    if (case[0], case[1].get("pool")) != ("textcnn", "none")
}
CASES = [pytest.param(*case, id=label) for label, case in FORMS.items()]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(name, extras, causal, pooled, *, dropout=0.0, dtype=torch.float64):
    sizes = {"vocabulary": VOCABULARY, "outputs": OUTPUTS, "width": 14, "embedding": 6}
    form = {"causal": causal, "pooled": pooled, "dropout": dropout, "generator": generator()}
    return build(name, **sizes, **form, **extras).to(dtype).eval()


PACKING = [case for case in CASES if made(*case.values).packs]
OTHERS = [case for case in CASES if not made(*case.values).packs]


def documents(lengths=LENGTHS, seed=1):
    return torch.randint(VOCABULARY, (int(lengths.sum()),), generator=generator(seed))


def padded(tokens_T, lengths=LENGTHS):
    rows = torch.zeros(len(lengths), int(lengths.max()), dtype=torch.long)
    for row, part in zip(rows, tokens_T.split(lengths.tolist()), strict=True):
        row[: len(part)] = part
    return rows


def real(logits, lengths=LENGTHS):
    if logits.ndim == 2:
        return logits
    return torch.cat([row[:n] for row, n in zip(logits, lengths.tolist(), strict=True)])


def test_all_kinds_of_attention_can():
    can = {case.values[0] for case in PACKING}
    assert can == {"transformer", "hybrid"}
    told = {case.values[1].get("positions") for case in PACKING}
    assert told >= {"none", "learned", "sinusoidal", "alibi", "relative", None}
    assert {case.values[0] for case in OTHERS} == set(MODELS) - {"transformer"}


@pytest.mark.parametrize(("name", "extras", "causal", "pooled"), PACKING)
def test_equals_the_padded_batch_and_its_gradients(name, extras, causal, pooled):
    tokens_T = documents()
    found = []
    for packed in (True, False):
        model = made(name, extras, causal, pooled)
        if packed:
            logits = model.packed(tokens_T, LENGTHS)
        else:
            logits = real(model(padded(tokens_T), LENGTHS))
        logits.square().sum().backward()
        found.append([logits.detach(), *(p.grad for p in model.parameters())])
    assert len(found[0][0]) == (len(LENGTHS) if pooled else len(tokens_T))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "extras", "causal", "pooled"), PACKING)
@torch.no_grad()
def test_one_document_changes_no_bit_of_another(name, extras, causal, pooled):
    model = made(name, extras, causal, pooled, dtype=torch.float32)
    tokens_T = documents()
    before = model.packed(tokens_T, LENGTHS)
    starts = [0, *LENGTHS.cumsum(0).tolist()]
    for document, (first, last) in enumerate(pairwise(starts)):
        changed = tokens_T.clone()
        changed[first:last] = (changed[first:last] + 1) % VOCABULARY
        after = model.packed(changed, LENGTHS)
        other = torch.ones(len(before), dtype=torch.bool)
        other[document if pooled else slice(first, last)] = False
        assert torch.equal(after[other], before[other])
        assert last == first or not torch.equal(after[~other], before[~other])


@pytest.mark.parametrize(("name", "extras", "causal", "pooled"), PACKING)
@torch.no_grad()
def test_no_document_and_empty_ones(name, extras, causal, pooled):
    model = made(name, extras, causal, pooled)
    none = torch.zeros(0, dtype=torch.long)
    assert model.packed(none, none).shape == (0, OUTPUTS)
    empty = model.packed(none, torch.zeros(3, dtype=torch.long))
    assert empty.shape == (3 if pooled else 0, OUTPUTS)
    if pooled:
        assert torch.equal(empty, model.head.bias.expand(3, -1))


@pytest.mark.parametrize(("name", "extras", "causal", "pooled"), OTHERS)
def test_others_say_so(name, extras, causal, pooled):
    with pytest.raises(UsageError, match="cannot read packed") as caught:
        made(name, extras, causal, pooled).packed(documents(), LENGTHS)
    assert caught.value.code == "E-PACK"


@pytest.mark.parametrize("tokens", [documents()[:-1], documents()[None]])
def test_lengths_that_do_not_add_up(tokens):
    with pytest.raises(UsageError, match="Documents of 30 tokens") as caught:
        made("transformer", {}, True, True).packed(tokens, LENGTHS)
    assert caught.value.code == "E-SHAPE"


def test_dropout_and_recomputing_work_packed():
    found = []
    for recompute in (False, True):
        model = made("transformer", {}, False, True, dropout=0.5).train()
        model.recompute = recompute
        with torch.random.fork_rng():
            torch.default_generator.manual_seed(0)
            model.packed(documents(), LENGTHS).square().sum().backward()
        found.append([p.grad for p in model.parameters()])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))
    assert found[0][1].abs().max() > 0
