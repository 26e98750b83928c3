"""Attention as models compute it: every way must give the rows an explicit softmax gives."""

import math

import numpy as np
import pytest
import torch
from tests.measure import known
from tests.measure.test_trained import LAG, SYMBOLS, Copying, trained
from torch import nn
from torch.nn import functional as F

import howfar
from howfar.core.errors import UsageError
from howfar.measure.attention import AttentionOptions, attention_reach
from howfar.measure.attention.watching import watched
from howfar.measure.context import context_curve

B, T, V, H, E = 4, 20, 16, 4, 8
TOKENS = known.symbols(B, T, V)
PLACES = torch.tensor([0, 5, 19])


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def reference(q, k, mask=None, scale=None):
    """Explicit softmax of (B, H, T, T) scores."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    return (scores if mask is None else scores + mask).softmax(-1)


CAUSAL = torch.full((T, T), -torch.inf).triu(1).double()


def calls(function, batch=B, length=T):
    """The attention calls of a function: rows at PLACES, and value norms, and the call."""
    found = []

    def take(attended):
        found.append((attended.rows(PLACES), attended.value_norms(), attended))

    with torch.no_grad(), watched(function, batch, length, take) as watch:
        result = function()
    return found, watch, result


BIAS = normal(B, H, T, T, seed=8)
SEEN = BIAS > -0.5
SEEN[..., 0] = True


@pytest.mark.parametrize(
    ("given", "mask"),
    [
        ({}, None),
        ({"is_causal": True}, CAUSAL),
        ({"attn_mask": BIAS}, BIAS),
        ({"attn_mask": BIAS[:, :1]}, BIAS[:, :1]),
        ({"attn_mask": BIAS[0, 0]}, BIAS[0, 0]),
        ({"attn_mask": SEEN}, torch.zeros(B, H, T, T).masked_fill(~SEEN, -torch.inf)),
        (
            {"attn_mask": SEEN[:, :1, :1]},
            torch.zeros(B, 1, 1, T).masked_fill(~SEEN[:, :1, :1], -torch.inf),
        ),
        ({"scale": 0.05}, None),
    ],
)
def test_dot_product_rows(given, mask):
    q, k, v = (normal(B, H, T, E, seed=s) for s in range(3))
    found, watch, result = calls(lambda: F.scaled_dot_product_attention(q, k, v, **given))
    weights = reference(q, k, mask, given.get("scale"))
    ((rows, norms, attended),) = found
    torch.testing.assert_close(rows, weights[:, :, PLACES])
    torch.testing.assert_close(norms, v.norm(dim=-1))
    torch.testing.assert_close(result, weights @ v)
    assert (attended.kind, attended.heads, watch.left_out) == ("dot product", H, 0)


def test_grouped_queries_and_positional_arguments():
    q, k, v = normal(B, 4, T, E), normal(B, 2, T, E, seed=1), normal(B, 2, T, 3, seed=2)
    both = [x.repeat_interleave(2, 1) for x in (k, v)]
    found, _, result = calls(
        lambda: F.scaled_dot_product_attention(q, k, v, None, 0.0, True, enable_gqa=True)
    )
    weights = reference(q, both[0], CAUSAL)
    torch.testing.assert_close(found[0][0], weights[:, :, PLACES])
    torch.testing.assert_close(found[0][1], both[1].norm(dim=-1))
    torch.testing.assert_close(result, weights @ both[1])


def test_other_shapes_of_a_batch():
    q, k, v = (normal(B * H, T, E, seed=s) for s in range(3))
    want = reference(q, k).reshape(B, H, T, T)[:, :, PLACES]
    found, _, _ = calls(lambda: F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(found[0][0], want)
    q, k, v = (x.reshape(B, 2, 2, T, E) for x in (q, k, v))
    found, _, _ = calls(lambda: F.scaled_dot_product_attention(q, k, v))
    torch.testing.assert_close(found[0][0], want)


def test_rows_that_see_nothing_and_half_precision():
    q, k, v = (normal(B, H, T, E, seed=s) for s in range(3))
    seen = torch.ones(T, T).tril(-1).bool()
    found, _, _ = calls(lambda: F.scaled_dot_product_attention(q, k, v, attn_mask=seen))
    assert float(found[0][0][:, :, 0].abs().max()) == 0
    half = [x.bfloat16() for x in (q, k, v)]
    found, _, _ = calls(lambda: F.scaled_dot_product_attention(*half))
    assert found[0][0].dtype == torch.float32
    torch.testing.assert_close(
        found[0][0], reference(half[0].float(), half[1].float())[:, :, PLACES]
    )


def test_attention_to_another_sequence_is_left_out():
    q, k = normal(B, H, T, E), normal(B, H, T + 3, E)
    found, watch, _ = calls(lambda: F.scaled_dot_product_attention(q, k, k))
    assert (found, watch.left_out) == ([], 1)
    other = normal(B + 1, H, T, E)
    found, watch, _ = calls(lambda: F.scaled_dot_product_attention(other, other, other))
    assert (found, watch.left_out) == ([], 1)


@pytest.mark.parametrize("given", [{}, {"need_weights": False}, {"average_attn_weights": False}])
@pytest.mark.parametrize("masked", [False, True])
def test_multi_head_attention_runs_as_it_was_called(given, masked):
    layer = nn.MultiheadAttention(H * E, H, batch_first=True).double().eval()
    nn.init.normal_(layer.in_proj_bias, generator=torch.Generator().manual_seed(0))
    x = normal(B, T, H * E)
    if masked:
        given = {**given, "attn_mask": CAUSAL, "is_causal": True}
    with torch.no_grad():
        before = layer(x, x, x, **given)
        weights = layer(x, x, x, attn_mask=CAUSAL if masked else None, average_attn_weights=False)[
            1
        ]
    found, _, after = calls(lambda: layer(x, x, x, **given))
    for a, b in zip(before, after, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b)
    torch.testing.assert_close(found[0][0], weights[:, :, PLACES])
    v = (x @ layer.in_proj_weight[-H * E :].T + layer.in_proj_bias[-H * E :]).detach()
    out = layer.out_proj.weight.detach().reshape(H * E, H, E)
    want = torch.einsum("bthe,dhe->bhtd", v.reshape(B, T, H, E), out).norm(dim=-1)
    torch.testing.assert_close(found[0][1], want)
    assert found[0][2].kind == "multi-head"


def test_padding_masks_of_multi_head_attention():
    layer = nn.MultiheadAttention(H * E, H, kdim=5, vdim=6, batch_first=True).double().eval()
    q, k, v = normal(B, T, H * E), normal(B, T, 5), normal(B, T, 6)
    pads = torch.arange(T) > torch.tensor([[19], [9], [14], [3]])
    with torch.no_grad():
        weights = layer(q, k, v, key_padding_mask=pads, average_attn_weights=False)[1]
    found, _, _ = calls(lambda: layer(q, k, v, key_padding_mask=pads))
    torch.testing.assert_close(found[0][0], weights[:, :, PLACES])
    assert found[0][1].shape == (B, H, T)


def test_encoder_layers_off_their_fused_path():
    layer = nn.TransformerEncoderLayer(H * E, H, 32, batch_first=True).double().eval()
    x = normal(B, T, H * E)
    options = AttentionOptions(queries=T, first=0)
    fused = torch.backends.mha.get_fastpath_enabled()
    found = attention_reach(lambda x, n: layer(x), x, options=options)
    with torch.no_grad():
        weights = layer.self_attn(x, x, x, average_attn_weights=False)[1]
    far = (torch.arange(T)[:, None] - torch.arange(T)).abs()
    want = (weights * far).sum(-1).mean((0, 2))
    np.testing.assert_allclose(found.layers[0].mean_distance, want, rtol=1e-10)
    assert not found.causal
    assert torch.backends.mha.get_fastpath_enabled() == fused


class ByHand(nn.Module):
    """Attention written out, with a map behind."""

    def __init__(self, width=H * E):
        super().__init__()
        self.embedding = nn.Embedding(V, width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width, bias=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(parameter.numel()))
        self.softmax = nn.Softmax(-1)
        self.drop = nn.Dropout(0.5)
        self.double()

    def parts(self, tokens):
        qkv = self.qkv(self.embedding(tokens))
        return (x.unflatten(-1, (H, E)).transpose(1, 2) for x in qkv.chunk(3, -1))

    def weights(self, q, k):
        length = q.shape[2]
        hidden = torch.ones(length, length).triu(1).bool()
        scores = q @ k.mT / E**0.5 / 20
        return self.drop(self.softmax(scores.masked_fill(hidden, -torch.inf)))

    def forward(self, tokens, lengths):
        q, k, v = self.parts(tokens)
        return self.out((self.weights(q, k) @ v).transpose(1, 2).flatten(2))


class Fused(ByHand):
    def forward(self, tokens, lengths):
        q, k, v = self.parts(tokens)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=E**-0.5 / 20)
        return self.out(y.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("kind", [ByHand, Fused])
def test_values_and_the_map_behind_them_are_recognised(kind):
    model = kind()
    found = attention_reach(model, TOKENS, options=AttentionOptions(queries=T, first=0))
    assert model.training
    model.eval()
    with torch.no_grad():
        q, k, v = model.parts(TOKENS)
        weights = model.weights(q, k)
        out = model.out.weight.reshape(H * E, H, E)
        # the full map of every head, as Kobayashi et al. write it
        added = torch.einsum("bhts,bhse,dhe->bhtsd", weights, v, out).norm(dim=-1)
    share = added / added.sum(-1, keepdim=True)
    far = (torch.arange(T)[:, None] - torch.arange(T)).abs()
    (layer,) = found.layers
    assert layer.weighted_by == "W_O v"
    np.testing.assert_allclose(layer.weighted_distance, (share * far).sum(-1).mean((0, 2)))
    np.testing.assert_allclose(layer.mean_distance, (weights * far).sum(-1).mean((0, 2)))
    assert found.weighted is not None
    assert not any("values alone" in said for said in found.warnings)
    assert layer.name == ("softmax" if kind is ByHand else "")


@pytest.mark.parametrize("turned", [False, True])
def test_maps_stored_either_way_round(turned):
    """`F.linear` takes (D, H E), `torch.addmm` (as GPT-2's map) takes (H E, D)."""
    weight = normal(7, H * E)
    q, k, v = (normal(B, H, T, E, seed=s) for s in range(3))

    def run():
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B * T, H * E)
        return torch.addmm(torch.zeros(7).double(), y, weight.T) if turned else F.linear(y, weight)

    found, _, _ = calls(run)
    want = torch.einsum("bhte,dhe->bhtd", v, weight.reshape(7, H, E)).norm(dim=-1)
    torch.testing.assert_close(found[0][1], want)


def test_a_map_that_is_not_next_is_not_taken():
    class Gated(Fused):
        def forward(self, tokens, lengths):
            q, k, v = self.parts(tokens)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return self.out(2 * y.transpose(1, 2).flatten(2))

    found = attention_reach(Gated(), TOKENS)
    assert found.layers[0].weighted_by == "v"
    assert any("values alone" in said for said in found.warnings)


@pytest.mark.parametrize("causal", [True, False])
def test_transformers_of_our_own(causal):
    model = howfar.build("transformer", vocabulary=V, outputs=V, width=32, depth=3, causal=causal)
    tokens = known.symbols(32, T, V)
    found = attention_reach(model, tokens, options=AttentionOptions(queries=T, first=0))
    assert len(found.layers) == 3
    assert [layer.name for layer in found.layers] == [f"body.blocks.{i}.mixer" for i in range(3)]
    assert found.causal == causal
    assert {layer.weighted_by for layer in found.layers} == {"W_O v"}
    # fresh weights attend to everything nearly alike
    assert found.uniform_ratio == pytest.approx(1, abs=0.1)
    assert found.rollout.heads == 1
    assert (found.ahead is None) == causal


@pytest.mark.parametrize("length", [50, 150])
@pytest.mark.parametrize(
    "settings",
    [
        {"window": 9},
        {"window": 9, "kv_heads": 1},
        {"window": 9, "positions": "alibi"},
        {"positions": "relative"},
        {"kv_heads": 1, "positions": "learned"},
    ],
    ids=str,
)
def test_every_kind_of_attention_is_seen(settings, length):
    """A kernel of ours says what it is in torch's calls; a window ends where it is declared."""
    tokens = known.symbols(8, length, 12)
    model = howfar.build("transformer", vocabulary=12, outputs=3, width=16, depth=1, **settings)
    found = attention_reach(model.double().eval(), tokens, options=AttentionOptions(eps=1e-9))
    assert not any("left out" in warning for warning in found.warnings)
    if "window" in settings:
        assert found.value == 9
    else:
        assert found.value > 40


def test_padding_of_ragged_rows_does_not_reach_the_model():
    model = howfar.build("transformer", vocabulary=V, outputs=3, width=16, depth=1, causal=False)
    lengths = torch.tensor([5, 9, 20, 9])
    found = attention_reach(model, TOKENS, lengths=lengths)
    other = TOKENS.clone()
    other[torch.arange(T) >= lengths[:, None]] = 1
    assert attention_reach(model, other, lengths=lengths).curve.mean == found.curve.mean


def hugging_face(name, **options):
    transformers = pytest.importorskip("transformers")
    sizes = {"vocab_size": V, "attn_implementation": options.pop("kind")}
    if name == "gpt2":
        config = transformers.GPT2Config(
            n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=0, **sizes
        )
        return transformers.GPT2LMHeadModel(config)
    sizes |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"intermediate_size": 32, "max_position_embeddings": 64}
    if name == "bert":
        return transformers.BertModel(transformers.BertConfig(**sizes))
    sizes |= {"num_key_value_heads": 2, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes))


class Logits(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, lengths):
        return self.model(tokens)[0]


@pytest.mark.parametrize("name", ["gpt2", "bert", "llama"])
def test_hugging_face_models_either_way(name):
    """Rows from `sdpa` and `eager` agree with what output_attentions gives."""
    generator = torch.Generator().manual_seed(0)
    eager, sdpa = (hugging_face(name, kind=kind).double() for kind in ("eager", "sdpa"))
    for parameter in eager.parameters():
        nn.init.normal_(parameter, std=0.3, generator=generator)
    sdpa.load_state_dict(eager.state_dict())
    options = AttentionOptions(queries=T, first=0)
    found = [attention_reach(Logits(model), TOKENS, options=options) for model in (eager, sdpa)]
    with torch.no_grad():
        weights = eager.eval()(TOKENS, output_attentions=True).attentions
    far = (torch.arange(T)[:, None] - torch.arange(T)).abs()
    for one in found:
        assert len(one.layers) == 2
        assert one.causal == (name != "bert")
        for layer, full in zip(one.layers, weights, strict=True):
            want = (full * far).sum(-1).mean((0, 2))
            np.testing.assert_allclose(layer.mean_distance, want, rtol=1e-6)
            assert layer.weighted_by == "W_O v"
    assert [layer.kind for layer in found[0].layers] == ["softmax"] * 2
    assert [layer.kind for layer in found[1].layers] == ["dot product"] * 2
    for a, b in zip(found[0].layers, found[1].layers, strict=True):
        np.testing.assert_allclose(a.weighted_distance, b.weighted_distance, rtol=1e-6)
        assert a.name == b.name
    assert eager.config._attn_implementation == "eager"
    assert sdpa.config._attn_implementation == "sdpa"


def test_everything_is_restored_after_an_exception():
    model = Fused()
    original = F.scaled_dot_product_attention

    def broken(x):
        raise RuntimeError("no more")

    model.out.forward = broken
    with pytest.raises(RuntimeError, match="no more"):
        attention_reach(model, TOKENS)
    assert F.scaled_dot_product_attention is original
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    seen = []
    del model.out.forward
    with watched(model, B, T, seen.append):
        pass
    model(TOKENS, None)
    assert seen == []


def test_models_without_attention_are_told():
    model = howfar.build("gru", vocabulary=V, outputs=V, width=8, depth=1, causal=True)
    with pytest.raises(UsageError, match="No attention was seen") as told:
        attention_reach(model, TOKENS)
    assert told.value.code == "E-ATTENTION"
    assert "weights=" in told.value.hint
    other = normal(1, 1, 3, 4)
    with pytest.raises(UsageError, match="calls to another sequence"):
        attention_reach(
            lambda t, n: F.scaled_dot_product_attention(
                other.expand(len(t), -1, -1, -1),
                other.expand(len(t), -1, -1, -1)[:, :, :2],
                other.expand(len(t), -1, -1, -1)[:, :, :2],
            ),
            TOKENS,
        )


def test_a_position_in_front_is_said():
    """A model that puts one position before the tokens."""

    def predict(tokens, lengths):
        x = normal(V, E)[tokens][:, None]
        x = torch.cat([torch.zeros(len(x), 1, 1, E).double(), x], 2)
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)[:, 0, 1:]

    found = attention_reach(predict, TOKENS)
    assert found.layers[0].length == T + 1
    assert any(f"{T + 1} positions for {T} tokens" in said for said in found.warnings)


def test_a_trained_delay_is_found():
    """Queries and keys that single out the position 7 back: reach 8."""
    places = torch.arange(T + 20).double()
    angle = places[:, None] * torch.tensor([math.pi / 40, math.pi / 13, math.pi / 5, math.pi / 2])

    def predict(tokens, lengths):
        here = angle[: tokens.shape[1]]
        k = torch.cat([here.cos(), here.sin()], -1).expand(len(tokens), 1, -1, -1)
        back = here - 7 * angle[1]
        q = 30 * torch.cat([back.cos(), back.sin()], -1).expand(len(tokens), 1, -1, -1)
        return F.scaled_dot_product_attention(q, k, k, is_causal=True)[:, 0]

    found = attention_reach(predict, known.symbols(32, T, V))
    assert (found.value, found.low, found.high) == (8, 8, 8)


def test_long_rows_need_no_square():
    """4,096 positions: the weights of one head alone would be 134 MB as doubles."""
    x = torch.zeros(1, 1, 4096, 4, dtype=torch.float64)
    largest = 0

    def predict(tokens, lengths):
        return F.scaled_dot_product_attention(x, x, x, is_causal=True)

    def take(attended):
        nonlocal largest
        rows = attended.rows(torch.tensor([4095]))
        largest = rows.numel()

    with watched(predict, 1, 4096, take):
        predict(None, None)
    assert largest == 4096
    found = attention_reach(
        predict, torch.zeros(1, 4096, dtype=torch.long), options=AttentionOptions(queries=8)
    )
    assert found.uniform_ratio == pytest.approx(1, abs=1e-9)


@pytest.mark.slow
def test_a_trained_copier_attends_to_its_lag_and_needs_that_much_context():
    size = {"vocabulary": SYMBOLS, "outputs": SYMBOLS}
    model = trained("transformer", Copying(), 500, 3e-3, **size, width=64, depth=1)
    tokens = Copying().rows("attention", 96)
    found = attention_reach(model, tokens)
    past = found.layers[0].past.max(0)
    assert past.argmax() == LAG
    assert past[LAG] > 0.5
    assert found.value >= LAG + 1
    context = context_curve(model, tokens, labels=torch.roll(tokens, LAG, dims=1))
    assert (context.value, context.low, context.high) == (LAG + 1,) * 3
    assert context.curve.mean[context.curve.x.index(LAG)] > 1
