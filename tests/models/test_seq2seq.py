"""Sequence to sequence, for every family: the promises of models, with a source beside."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.counting import counting

from howfar.core.errors import UsageError
from howfar.models import MODELS, build_seq2seq

SOURCE, TARGET, OUTPUTS = 11, 7, 5
RECURRENT = [name for name, family in MODELS.items() if family.kind == "recurrent"]
CASES = [(name, "cross") for name in MODELS] + [(name, "additive") for name in RECURRENT]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def made(name, attention, seed=0, dtype=torch.float64, **extras):
    model = build_seq2seq(
        name,
        source_vocabulary=SOURCE,
        vocabulary=TARGET,
        outputs=OUTPUTS,
        width=14,
        embedding=6,
        attention=attention,
        generator=generator(seed),
        **extras,
    )
    return model.to(dtype).eval()


def pair(rows=3, source=9, length=8, seed=1):
    return (
        torch.randint(SOURCE, (rows, source), generator=generator(seed)),
        torch.randint(TARGET, (rows, length), generator=generator(seed + 1)),
    )


def held_bytes(state):
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    return sum(held_bytes(part) for part in state)


def close(got, want):
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("name", "attention"), CASES)
@torch.no_grad()
def test_padding_and_mates_change_nothing(name, attention):
    model = made(name, attention)
    source, target = pair()
    lengths, kept = torch.tensor([9, 4, 1]), torch.tensor([8, 2, 5])
    want = model(source, target, lengths, kept)
    assert want.shape == (3, 8, OUTPUTS)
    longer = torch.cat([source, pair(source=5, seed=5)[0]], 1)
    places = torch.arange(longer.shape[1]) >= lengths[:, None]
    longer = torch.where(places, (longer + 3) % SOURCE, longer)
    more = torch.cat([target, pair(length=3, seed=6)[1]], 1)
    close(model(longer, more, lengths, kept)[:, :8], want)
    for row, (n, m) in enumerate(zip(lengths.tolist(), kept.tolist(), strict=True)):
        alone = model(source[row : row + 1, :n], target[row : row + 1, :m])
        close(alone, want[row : row + 1, :m])


@pytest.mark.parametrize(("name", "attention"), CASES)
@torch.no_grad()
def test_steps_and_chunks_equal_all_at_once(name, attention):
    model = made(name, attention)
    source, target = pair()
    lengths = torch.tensor([9, 4, 1])
    want = model(source, target, lengths)
    for sizes in ([1] * 8, [3, 1, 4], [8]):
        state, found = model.start(source, lengths), []
        for part in target.split(sizes, dim=1):
            logits, state = model.chunk(part, state)
            found.append(logits)
        close(torch.cat(found, 1), want)
    state = model.start(source, lengths)
    for place, token_B in enumerate(target.unbind(1)):
        logits, state = model.step(token_B, state)
        close(logits, want[:, place])


@pytest.mark.parametrize(("name", "attention"), CASES)
@torch.no_grad()
def test_sees_the_whole_source_and_no_target_ahead(name, attention):
    model = made(name, attention)
    source, target = pair(rows=1, source=12)
    before = model(source, target)
    for place in range(12):
        changed = source.clone()
        changed[0, place] = (changed[0, place] + 1) % SOURCE
        assert ((model(changed, target) - before).abs().amax(-1) > 1e-13).all(), place
    for place in range(8):
        changed = target.clone()
        changed[0, place] = (changed[0, place] + 1) % TARGET
        moved = (model(source, changed) - before).abs().amax(-1)[0]
        assert float(moved[:place].sum()) == 0.0
        assert float(moved[place]) > 1e-13


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_every_parameter_gets_a_gradient(name, attention):
    model = made(name, attention)
    source, target = pair(rows=8, source=21, length=21)
    model(source, target).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_empty_source_is_finite(name, attention):
    model = made(name, attention)
    source, target = pair()
    lengths = torch.tensor([9, 0, 3])
    logits = model(source, target, lengths)
    assert logits.isfinite().all()
    mates = torch.tensor([0, 2])
    close(logits[mates], model(source[mates], target[mates], lengths[mates]))
    logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(("name", "attention"), CASES)
@torch.no_grad()
def test_lengths_of_one_and_float32(name, attention):
    model = made(name, attention)
    source, target = pair(source=1, length=1)
    assert model(source, target).shape == (3, 1, OUTPUTS)
    source, target = pair(source=20, length=20)
    exact = model(source, target).float()
    got = made(name, attention, dtype=torch.float32)(source, target)
    torch.testing.assert_close(got, exact, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("name", "attention"), CASES)
@torch.no_grad()
def test_state_bytes_are_the_bytes_held(name, attention):
    model = made(name, attention, dtype=torch.float32)
    source, target = pair(rows=1)
    state = model.start(source)
    for place, token_B in enumerate(target.unbind(1)):
        _, state = model.step(token_B, state)
        assert held_bytes(state) == model.state_bytes(9, place + 1)


@pytest.mark.parametrize(("name", "attention"), CASES)
def test_declared_flops_are_counted(name, attention, monkeypatch):
    model = made(name, attention)
    source, target = pair(rows=1, source=13, length=17)
    declared = model.flops(13, 17)
    with counting(monkeypatch) as counted:
        model(source, target)
        assert counted() == declared


@pytest.mark.parametrize(("name", "attention"), CASES)
@torch.no_grad()
def test_what_is_saved_is_loaded(name, attention, tmp_path):
    model = made(name, attention)
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    other = made(name, attention, seed=9)
    source, target = pair()
    assert not torch.equal(other(source, target), model(source, target))
    other.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    assert torch.equal(other(source, target), model(source, target))


def test_global_random_state_is_left_alone():
    before = torch.get_rng_state()
    one, same = made("gru", "additive", seed=3), made("gru", "additive", seed=3)
    assert torch.equal(before, torch.get_rng_state())
    for key, tensor in one.state_dict().items():
        assert torch.equal(tensor, same.state_dict()[key])


def test_defaults_follow_the_family():
    assert type(made("gru", None).decoder).__name__ == "AdditiveDecoder"
    assert type(made("transformer", None).decoder).__name__ == "CrossDecoder"
    assert made("gru", None).encoder.blocks[0].mixer.reach(9) is None


@pytest.mark.parametrize(
    ("name", "attention", "said"),
    [("gru", "dot", "attention cannot be"), ("transformer", "additive", "recurrent")],
)
def test_wrong_attention_is_refused(name, attention, said):
    with pytest.raises(UsageError, match=said):
        made(name, attention)


@torch.no_grad()
def test_additive_attention_by_hand():
    """The weights of one step from the paper's equations, written out."""
    model = made("elman", "additive")
    decoder = model.decoder
    source, target = pair(rows=1, source=5, length=1)
    lengths = torch.tensor([5])
    memory = model.encoder(model.source_embedding(source), lengths)[0]
    asked = torch.tanh(decoder.first(memory.mean(0)))
    scores = torch.stack(
        [decoder.weigh_D @ torch.tanh(decoder.ask(asked) + decoder.know.weight @ m) for m in memory]
    )
    weights = scores.exp() / scores.exp().sum()
    context = sum(w * m for w, m in zip(weights, memory, strict=True))
    read = torch.cat([model.embedding(target[0, 0]), context])
    h, _ = decoder.body.step(read[None], None)
    want = model.head(torch.cat([h[0], context]))
    close(model(source, target)[0, 0], want)
