"""Hugging Face models built from a configuration: every kind, its padding, chunks and settings."""

import pytest
import torch
from torch import nn

transformers = pytest.importorskip("transformers")

from howfar.adapt import adapt  # noqa: E402
from howfar.core.errors import DataError, UsageError  # noqa: E402
from howfar.core.protocols import Streaming  # noqa: E402
from howfar.measure import SwapOptions, swap_reach  # noqa: E402

SIZES = {
    "vocab_size": 50,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
WINDOWED = {"sliding_window": 4, "num_key_value_heads": 2}
GPT = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
GPT |= {"bos_token_id": 0, "eos_token_id": 0}
T5 = {"vocab_size": 50, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
BART = {"vocab_size": 50, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32}
BART |= {"decoder_ffn_dim": 32, "max_position_embeddings": 64}

MODELS = {
    "causal": ("LlamaForCausalLM", SIZES, (50,), False),
    "causal, learned positions": ("GPT2LMHeadModel", GPT, (50,), False),
    "causal, no head": ("GPT2Model", GPT, (16,), True),
    "windowed": ("MistralForCausalLM", SIZES | WINDOWED, (50,), False),
    "masked": ("BertForMaskedLM", SIZES, (50,), False),
    "encoder": ("BertModel", SIZES, (16,), True),
    "positions from behind the padding": ("RobertaModel", SIZES, (16,), True),
    "classes, pooled": ("BertForSequenceClassification", SIZES | {"num_labels": 3}, None, False),
    "classes, last": ("LlamaForSequenceClassification", SIZES | {"num_labels": 3}, None, False),
    "classes, last, learned": ("GPT2ForSequenceClassification", GPT | {"num_labels": 3}, None, 0),
    "tokens": ("BertForTokenClassification", SIZES | {"num_labels": 3}, (3,), False),
    "encoder of two": ("T5EncoderModel", T5, (16,), True),
}
ROWS, LENGTH = 8, 12
IDS = torch.randint(5, 50, (ROWS, LENGTH), generator=torch.Generator().manual_seed(0))
FULL = torch.full((ROWS,), LENGTH)
RAGGED = torch.tensor([12, 1, 5, 12, 7, 8, 9, 10])


def made(name, sizes, **more):
    """A model with weights drawn once, ten times larger than usual, in eval mode, float64."""
    kind = getattr(transformers, name)
    with torch.random.fork_rng():
        torch.random.default_generator.manual_seed(0)
        model = kind(kind.config_class(**sizes, **more)).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(10)
    return model.double()


@pytest.mark.parametrize("kind", MODELS)
def test_every_kind_answers_as_it_does_itself(kind):
    name, sizes, wide, reals = MODELS[kind]
    model = made(name, sizes)
    before = model.config.to_dict()
    predict = adapt(model, IDS)
    assert predict.reals == reals
    with torch.no_grad():
        got = predict(IDS, FULL)
        for row in range(ROWS):  # one by one, without padding or a mask
            own = model(IDS[row : row + 1])
            want = own.logits if hasattr(own, "logits") else own.last_hidden_state
            torch.testing.assert_close(got[row : row + 1], want)
    assert tuple(got.shape) == ((ROWS, 3) if wide is None else (ROWS, LENGTH, *wide))
    assert model.config.to_dict() == before


@pytest.mark.parametrize("padding", [0, 1, 7])
@pytest.mark.parametrize("kind", MODELS)
def test_padding_changes_nothing(kind, padding):
    name, sizes, wide, _ = MODELS[kind]
    model = made(name, sizes)
    padded = IDS.clone()
    for row, real in enumerate(RAGGED.tolist()):
        padded[row, real:] = padding
    predict = adapt(model)
    with torch.no_grad():
        got = predict(padded, RAGGED)
        for row, real in enumerate(RAGGED.tolist()):
            want = predict(IDS[row : row + 1, :real], RAGGED[row : row + 1])[0]
            found = got[row] if wide is None else got[row, :real]
            torch.testing.assert_close(found, want)


def test_a_classifier_of_the_last_token_may_see_the_padding_id_as_a_token():
    model = made("LlamaForSequenceClassification", SIZES, num_labels=3, pad_token_id=9)
    ids = IDS.clone()
    ids[:, -1] = 9
    want = made("LlamaForSequenceClassification", SIZES, num_labels=3)
    want.load_state_dict(model.state_dict())
    with torch.no_grad():
        got = adapt(model)(ids, FULL)
        torch.testing.assert_close(got[:1], want(ids[:1]).logits)
    assert model.config.pad_token_id == 9
    assert want.config.pad_token_id is None


@pytest.mark.parametrize("kind", ["causal", "causal, learned positions"])
def test_chunks_equal_the_whole_and_states_stay_as_they_are(kind):
    predict = adapt(made(*MODELS[kind][:2]))
    assert isinstance(predict, Streaming)
    state, parts, kept = None, [], []
    with torch.no_grad():
        for start, end in ((0, 5), (5, 6), (6, 12)):
            logits, state = predict.chunk(IDS[:, start:end], state)
            parts.append(logits)
            kept.append((state, [part.clone() for layer in state for part in layer]))
        again, _ = predict.chunk(IDS[:, 6:12], kept[1][0])
        torch.testing.assert_close(torch.cat(parts, 1), predict(IDS, FULL))
        torch.testing.assert_close(again, parts[2], atol=0, rtol=0)
    for given, copies in kept:
        held = [part for layer in given for part in layer]
        assert all(torch.equal(a, b) for a, b in zip(held, copies, strict=True))


@pytest.mark.parametrize("kind", ["windowed", "masked", "encoder", "classes, last"])
def test_what_tensors_cannot_carry_on_is_no_stream(kind):
    assert not isinstance(adapt(made(*MODELS[kind][:2])), Streaming)


def test_the_last_logits_alone():
    predict = adapt(made(*MODELS["causal"][:2]))
    with torch.no_grad():
        whole = predict(IDS, FULL)
        torch.testing.assert_close(predict.last(IDS, FULL), whole[:, -1:])
        got = predict.last(IDS, RAGGED)
        torch.testing.assert_close(got[:, 0], whole[torch.arange(ROWS), RAGGED - 1])


@pytest.mark.parametrize(
    ("name", "sizes"), [("T5ForConditionalGeneration", T5), ("BartForConditionalGeneration", BART)]
)
def test_an_encoder_decoder_takes_a_source(name, sizes):
    model = made(name, sizes)
    predict = adapt(model, IDS)
    with torch.no_grad():
        got = predict(IDS, FULL, IDS.flip(0), RAGGED)
        assert got.shape == (ROWS, LENGTH, 50)
        for row, real in enumerate(RAGGED.tolist()):
            source = IDS.flip(0)[row : row + 1, :real]
            want = model(input_ids=source, decoder_input_ids=IDS[row : row + 1]).logits
            torch.testing.assert_close(got[row : row + 1], want)
    with pytest.raises(UsageError, match="encoder reads"):
        predict(IDS, FULL)
    with pytest.raises(DataError, match="a tokeniser that does not fit"):
        predict(IDS, FULL, IDS + 40, FULL)
    found = swap_reach(predict, IDS.repeat(4, 1), source=IDS.repeat(4, 1).flip(0))
    assert found.num_sequences == 32
    assert found.value is not None or found.censored


def test_ids_and_inputs_that_do_not_fit():
    predict = adapt(made(*MODELS["causal"][:2]))
    with pytest.raises(DataError, match="5 to 50 do not fit an embedding of 50") as raised:
        predict(torch.tensor([[5, 50]]), torch.tensor([2]))
    assert raised.value.code == "E-VOCABULARY"
    with pytest.raises(UsageError, match="token ids"):
        predict(torch.zeros(2, 3), torch.tensor([3, 3]))
    learned = adapt(made(*MODELS["causal, learned positions"][:2]))
    with pytest.raises(DataError, match="Rows of 65 tokens, but the model has 64"):
        learned(torch.zeros(2, 65, dtype=torch.long), torch.tensor([65, 65]))


@pytest.mark.parametrize(
    ("kind", "length"),
    [("causal", 64), ("causal, learned positions", 64), ("positions from behind the padding", 62)],
)
def test_the_length_it_was_made_for(kind, length):
    assert adapt(made(*MODELS[kind][:2])).trained_length == length


def test_settings_of_the_model_are_left_alone_when_it_raises():
    model = made("LlamaForSequenceClassification", SIZES, num_labels=3).train()
    model.config.use_cache = True
    model.config.return_dict = False
    hooks = sum(len(m._forward_hooks) for m in model.modules())

    def fail(module, given, output):
        raise RuntimeError("on purpose")

    handle = model.model.norm.register_forward_hook(fail)
    with pytest.raises(DataError, match="on purpose"):
        adapt(model, IDS)
    handle.remove()
    assert (model.config.use_cache, model.config.return_dict) == (True, False)
    assert model.config.pad_token_id is None
    assert model.training
    assert sum(len(m._forward_hooks) for m in model.modules()) == hooks
    assert adapt(model.eval(), IDS)(IDS, FULL).shape == (ROWS, 3)


def test_tied_embeddings_count_once():
    model = made("GPT2LMHeadModel", GPT, tie_word_embeddings=True)
    predict = adapt(model, IDS)
    names = [name for name, _ in predict.named_parameters()]
    assert len(names) == len(set(names)) == len(list(model.parameters()))


def test_the_window_of_a_windowed_model_is_its_reach():
    """Two layers that see 4 tokens each: 7 kept tokens are all there is."""
    model = made("MistralForCausalLM", SIZES | WINDOWED)
    ids = torch.randint(5, 50, (64, 24), generator=torch.Generator().manual_seed(1))
    found = swap_reach(adapt(model, ids), ids, options=SwapOptions(levels=(0.05, 0.001)))
    assert found.structural == 7
    assert found.curve.mean[-1] == 0
    assert all(mean == 0 for k, mean in zip(found.curve.x, found.curve.mean, strict=True) if k >= 7)


def test_an_adapter_gives_the_same_reach_as_a_function_of_ids():
    model = made(*MODELS["causal"][:2])
    ids = torch.randint(5, 50, (40, 16), generator=torch.Generator().manual_seed(2))
    found = swap_reach(adapt(model, ids), ids)
    plain = swap_reach(lambda t, n: model(t, use_cache=False).logits, ids)
    assert found.value == plain.value
    assert isinstance(model, nn.Module)
    torch.testing.assert_close(found.curve.mean, plain.curve.mean, rtol=1e-9, atol=0)
