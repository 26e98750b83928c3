"""Writing: choices by hand, text in whole characters, caches equal to reading everything again."""

import itertools
import math

import numpy as np
import pytest
import torch

from howfar.bundle.beam import Beams, search
from howfar.bundle.bundle import Bundle
from howfar.bundle.generate import generate
from howfar.bundle.prompt import banned_ids
from howfar.bundle.sampling import Sampling, choose, probabilities
from howfar.bundle.settings import Settings
from howfar.bundle.writing import Decoding, Writer
from howfar.core.errors import DataError, StoreError, UsageError
from howfar.core.seeds import Seeds
from howfar.data.tokenise import train_tokeniser
from howfar.models import MODELS, build, build_seq2seq

TEXT = "to be, or not to be: that is the question.\nwhether 'tis nobler in the mind, 你好 é\n" * 9


def lm(family="gru", tokens="char", *, text=TEXT, end=False, dtype=torch.float64, **extras):
    """An untrained language model whose answers are far from even."""
    tokeniser = train_tokeniser(tokens, [text], max_vocabulary=300)
    vocabulary = tokeniser.vocabulary + end
    sizes = {"width": 12, "embedding": 8}
    generator = torch.Generator().manual_seed(5)
    model = build(
        family, vocabulary=vocabulary, outputs=vocabulary, generator=generator, **sizes, **extras
    )
    with torch.no_grad():
        model.head.weight.mul_(20)
        model.embedding.weight.mul_(3)
    settings = Settings(
        aim="lm", family=family, tokens=tokens, vocabulary=vocabulary, outputs=vocabulary,
        length=16, end=vocabulary - 1 if end else None, extras=extras, **sizes,
    )  # fmt: skip
    return Bundle(settings, model.to(dtype).eval(), tokeniser)


def translator(family="gru", *, letters="abcd", seed=3):
    source, target = train_tokeniser("char", ["abcdefgh"]), train_tokeniser("char", [letters])
    end = target.vocabulary
    model = build_seq2seq(
        family, source_vocabulary=source.vocabulary, vocabulary=end + 1, width=12, embedding=8,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip
    with torch.no_grad():
        model.head.weight.mul_(30)
        model.embedding.weight.mul_(3)
        model.source_embedding.weight.mul_(3)
    settings = Settings(
        aim="seq2seq", family=family, tokens="char", vocabulary=end + 1, outputs=end + 1,
        length=6, width=12, embedding=8, source_vocabulary=source.vocabulary, end=end,
    )  # fmt: skip
    return Bundle(settings, model.double().eval(), source, target)


class Scripted(torch.nn.Module):
    """Answers a fixed list of ids, whatever it reads; the state is the place in the list."""

    def __init__(self, ids, vocabulary):
        super().__init__()
        self.ids, self.vocabulary = ids, vocabulary

    def step(self, tokens_B, state):
        place = 0 if state is None else state
        logits_BV = torch.full((1, self.vocabulary), -5.0)
        logits_BV[0, self.ids[place]] = 5.0
        return logits_BV, place + 1

    def advance(self, tokens_BL, state):
        return 0

    def reach(self, length):
        return 1


def scripted(text, tokens="byte", then=()):
    tokeniser = train_tokeniser(tokens, [text, text, TEXT], max_vocabulary=300)
    ids = [*tokeniser.encode([text])[0].tolist(), *then]
    vocabulary = tokeniser.vocabulary + 1
    settings = Settings(
        aim="lm", family="gru", tokens=tokens, vocabulary=vocabulary, outputs=vocabulary,
        length=8, width=1, embedding=1, end=vocabulary - 1,
    )  # fmt: skip
    return Bundle(settings, Scripted(ids, vocabulary), tokeniser), ids


# choosing


P = np.log([0.1, 0.4, 0.2, 0.3])


@pytest.mark.parametrize(
    ("how", "want"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 9}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_p": 0.4}, [0, 1, 0, 0]),
        ({"top_p": 0.41}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 1.0}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        # k first: of .4, .3, .2 the first two hold .7 / .9 of what is left
        ({"top_k": 3, "top_p": 0.75}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 3, "top_p": 0.8}, [0, 4 / 9, 2 / 9, 3 / 9]),
        # temperature first: 16 / 30 is more than half
        ({"temperature": 0.5, "top_p": 0.5}, [0, 1, 0, 0]),
    ],
)
def test_what_is_left_to_draw_from(how, want):
    np.testing.assert_allclose(probabilities(P, Sampling(**how)), want, atol=1e-12)


def test_of_equals_the_lower_id_stays():
    even = np.zeros(4)
    np.testing.assert_allclose(probabilities(even, Sampling(top_k=2)), [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(probabilities(even, Sampling(top_p=0.5)), [0.5, 0.5, 0, 0])
    assert choose(even, Sampling(temperature=0), Seeds(0).numpy("x")) == 0


def test_draws_are_as_often_as_their_probability():
    draws = Seeds(1).numpy("x")
    how = Sampling(temperature=0.5, top_k=3)
    found = np.bincount([choose(P, how, draws) for _ in range(20_000)], minlength=4) / 20_000
    np.testing.assert_allclose(found, probabilities(P, how), atol=0.012)
    assert found[0] == 0


def test_extreme_logits():
    draws = Seeds(2).numpy("x")
    wide = np.asarray([-1e30, 0.0, 1e30, -np.inf])
    for how in ({}, {"temperature": 1e-3}, {"temperature": 100.0}, {"top_p": 0.9, "top_k": 1}):
        assert choose(wide, Sampling(**how), draws) == 2
    for bad in ([0.0, np.nan], [-np.inf, -np.inf]):
        with pytest.raises(StoreError) as caught:
            choose(np.asarray(bad), Sampling(), draws)
        assert caught.value.code == "E-NAN"


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -1}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": 0},
        {"top_p": 0}, {"top_p": 1.5}, {"max_tokens": 0}, {"stop": [""]}, {"stop": "abc"},
        {"beams": 2}, {"beams": 0},
    ],
)  # fmt: skip
def test_options_out_of_range(wrong):
    with pytest.raises(UsageError) as caught:
        generate(lm(), "to", **wrong)
    assert caught.value.code == "E-OPTION"


# writing


def pieces(text, size):
    return [text[i : i + size] for i in range(0, len(text), size)]


def stopped_slowly(text, stop):
    """Character by character; of several that end together the longest."""
    for end in range(1, len(text) + 1):
        full = [s for s in stop if text[:end].endswith(s)]
        if full:
            return text[: end - max(map(len, full))]
    return None


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize(
    "stop",
    [["\n\n"], ["aab"], ["ab", "b"], ["b", "cab", "zz"], ["abcabd", "bca"], ["nowhere"], []],
)
def test_stop_strings_cut_exactly_whatever_the_pieces(stop, size):
    for text in ("aaab\n\nx", "abcabcabd", "zzz", "aaaaab", "xcab", ""):
        got = []
        writer = Writer(stop, got.append)
        ended = any(writer.add(piece) for piece in pieces(text, size))
        writer.finish()
        want = stopped_slowly(text, stop)
        assert ended == (want is not None)
        assert writer.text == "".join(got) == (text if want is None else want)


def test_only_what_may_become_a_stop_string_is_held_back():
    got = []
    writer = Writer(["END"], got.append)
    assert not writer.add("one E")
    assert got == ["one "]
    assert not writer.add("N")
    assert not writer.add("d EN")
    assert got == ["one ", "ENd "]
    assert writer.add("D of it")
    assert writer.text == "one ENd "


@pytest.mark.parametrize("tokens", ["byte", "char", "bpe", "unigram", "word"])
def test_streaming_never_shows_half_a_character(tokens):
    text = "é 你好 🙂 to be e\u0301 👩\u200d🚀"
    bundle, ids = scripted(text, tokens)
    got = []
    found = generate(bundle, "x", max_tokens=len(ids), stream=got.append)
    assert "\ufffd" not in "".join(got)
    assert found.text == "".join(got) == bundle.tokeniser.decode(ids)
    assert found.reason == "length"


@pytest.mark.parametrize("tokens", ["byte", "bpe", "unigram"])
def test_half_a_character_at_the_end_is_left_out(tokens):
    bundle, ids = scripted("ab🙂", tokens)
    for most in range(1, len(ids)):
        assert generate(bundle, "", max_tokens=most).text in ("a", "ab")
    assert generate(bundle, "", max_tokens=len(ids)).text == "ab🙂"


def test_what_is_no_utf8_is_replaced_as_in_decode():
    tokeniser = train_tokeniser("byte", [])
    ids = [b + 1 for b in b"a\xff\xe4\xbdb\xf0\x9f\x99\x82"]
    decoding = Decoding(tokeniser)
    assert "".join(decoding.add(i) for i in ids) == tokeniser.decode(ids)


def test_stop_string_over_several_tokens_and_end():
    bundle, ids = scripted("ab🙂cd", "byte")
    found = generate(bundle, "", stop=["🙂c"], max_tokens=99)
    assert (found.text, found.reason, found.tokens) == ("ab", "stop", len(ids) - 1)
    bundle, ids = scripted("abc", "char", then=[999])
    bundle.model.ids[-1] = bundle.settings.end
    found = generate(bundle, "", stop=["cd"], max_tokens=99)
    assert (found.text, found.reason, found.tokens) == ("abc", "end", 3)


# going on


def recomputed(bundle, prompt, count, how, seed):
    """The slow twin: the whole text is read again for every token."""
    ids = bundle.tokeniser.encode([prompt])[0].tolist()
    draws, begun = Seeds(seed).numpy("generate"), len(ids)
    with torch.no_grad():
        while len(ids) < begun + count:
            logits_V = bundle.model(torch.tensor([ids]))[0, -1].numpy().copy()
            logits_V[banned_ids(bundle)] = -np.inf
            ids.append(choose(logits_V, how, draws))
    return tuple(ids[begun:])


@pytest.mark.parametrize("family", MODELS)
def test_cached_equals_reading_everything_again(family, monkeypatch):
    monkeypatch.setattr("howfar.bundle.prompt.PIECE", 7)
    bundle = lm(family)
    for how in ({"temperature": 0.0}, {"temperature": 1.3, "top_k": 9, "top_p": 0.95}):
        got = generate(bundle, "to be, or not", max_tokens=30, seed=4, **how)
        assert got.ids == recomputed(bundle, "to be, or not", 30, Sampling(**how), 4)
        assert got.text == bundle.tokeniser.decode(got.ids)
    assert len(set(got.ids)) > 3


@pytest.mark.parametrize("family", ["elman", "gru", "lstm", "mamba", "transformer", "tcn"])
def test_no_token_costs_more_than_its_step(family):
    bundle = lm(family)
    seen = []
    handle = bundle.model.embedding.register_forward_hook(lambda *a: seen.append(a[2].numel() // 8))
    generate(bundle, "to be, or not to be", max_tokens=12)
    handle.remove()
    assert seen == [18, *([1] * 12)]


def test_seed_decides_alone():
    bundle = lm()
    texts = [generate(bundle, "to", max_tokens=40, seed=s).text for s in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    state = torch.random.get_rng_state()
    generate(bundle, "to", max_tokens=3)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not bundle.model.training


def test_unknown_characters_of_the_prompt_are_said():
    found = generate(lm(), "to Ω be\u202e Ω", max_tokens=2)
    assert found.notes == (
        "W-UNKNOWN: 3 of the 10 characters of the prompt are unknown to the model "
        "('Ω', '\\u202e').",
    )
    assert generate(lm(tokens="byte"), "Ω", max_tokens=2).notes == ()
    with pytest.raises(DataError):
        generate(lm(), "\ud800", max_tokens=2)


def test_where_an_empty_prompt_begins():
    fed = []

    def watched(bundle, prompt):
        handle = bundle.model.embedding.register_forward_hook(lambda _, a, o: fed.append(a[0]))
        fed.clear()
        found = generate(bundle, prompt, max_tokens=4)
        handle.remove()
        return found, [int(i) for t in fed for i in t.flatten()]

    bundle = lm(end=True)
    _, read = watched(bundle, "")
    assert read[0] == bundle.settings.end
    _, read = watched(bundle, "to")
    assert read[:3] == [bundle.settings.end, *bundle.tokeniser.encode(["to"])[0]]
    bundle = lm()
    _, read = watched(bundle, "")
    assert read[0] == bundle.tokeniser.encode(["\n"])[0][0]
    for tokens, text in (("word", TEXT), ("char", "abc def")):
        bundle = lm(tokens=tokens, text=text)
        found, read = watched(bundle, "")
        assert read == list(found.ids[:-1])
        firsts = {generate(bundle, "", max_tokens=1, seed=s).ids[0] for s in range(60)}
        assert firsts == set(range(2, bundle.tokeniser.vocabulary)) or tokens == "word"
        assert len(found.ids) == 4


def test_longer_than_trained_on():
    assert "W-LENGTH" in generate(lm(), "to be", max_tokens=20).notes[0]
    assert generate(lm("tcn", depth=1), "to be", max_tokens=20).notes == ()  # it sees no further
    assert generate(lm(), "to be", max_tokens=12).notes == ()  # 16 are read
    bundle = lm("transformer", positions="learned", max_length=20)
    assert generate(bundle, "to be", max_tokens=16).tokens == 16
    with pytest.raises(UsageError, match="--max-tokens 16") as caught:
        generate(bundle, "to be", max_tokens=17)
    assert caught.value.code == "E-LENGTH"
    with pytest.raises(UsageError, match="shorter text"):
        generate(bundle, "to be or not to be or not", max_tokens=1)


def test_only_models_of_text_write():
    bundle = lm()
    settings = Settings(
        aim="classification", family="gru", tokens="char", vocabulary=9, outputs=2, length=8,
        width=1, embedding=1, names=("a", "b"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="classification") as caught:
        generate(Bundle(settings, bundle.model, bundle.tokeniser), "to")
    assert caught.value.code == "E-AIM"


# answers


def greedy_slowly(bundle, text, most):
    source = torch.tensor([bundle.tokeniser.encode([text])[0].tolist()], dtype=torch.long)
    ids = [bundle.settings.end]
    with torch.no_grad():
        while len(ids) <= most:
            logits_V = bundle.model(source, torch.tensor([ids]))[0, -1].numpy().copy()
            logits_V[banned_ids(bundle)] = -np.inf
            ids.append(int(logits_V.argmax()))
            if ids[-1] == bundle.settings.end:
                return tuple(ids[1:-1])
    return tuple(ids[1:])


@pytest.mark.parametrize("family", MODELS)
def test_greedy_and_one_beam_equal_reading_everything_again(family):
    bundle = translator(family)
    texts = ["abc", "h", "gfedcb", "ag"]
    want = [greedy_slowly(bundle, text, 9) for text in texts]
    assert [generate(bundle, text, max_tokens=9).ids for text in texts] == want
    assert [f.ids for f in searched(bundle, texts, Beams(beams=1, most=9))] == want


def searched(bundle, texts, how):
    ids = bundle.tokeniser.encode(texts)
    lengths = torch.tensor([len(row) for row in ids])
    source = torch.zeros(len(ids), int(lengths.max()), dtype=torch.long)
    for i, row in enumerate(ids):
        source[i, : len(row)] = torch.from_numpy(row)
    banned = torch.from_numpy(banned_ids(bundle))
    return search(bundle.model, source, lengths, end=bundle.settings.end, banned=banned, how=how)


def every_answer(bundle, text, most):
    """Every answer of at most `most` tokens with `end`, and its log p."""
    end = bundle.settings.end
    letters = [i for i in range(end) if i not in banned_ids(bundle)]
    source = torch.tensor([bundle.tokeniser.encode([text])[0].tolist()])
    for size in range(most + 1):
        for ids in itertools.product(letters, repeat=size):
            wanted = [*ids, end] if size < most else list(ids)
            with torch.no_grad():
                read = torch.tensor([[end, *wanted[:-1]]])
                logits_LV = bundle.model(source, read)[0]
            logits_LV[:, torch.from_numpy(banned_ids(bundle))] = -torch.inf
            nats = logits_LV.log_softmax(-1)[range(len(wanted)), wanted]
            yield ids, float(nats.sum()), len(wanted)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("seed", [3, 4])
def test_a_beam_of_all_finds_the_best_of_all(penalty, seed):
    bundle = translator(letters="abc", seed=seed)
    for text in ("abc", "hg"):
        every = [(p / n**penalty, ids, p) for ids, p, n in every_answer(bundle, text, 4)]
        assert sum(math.exp(p) for _, _, p in every) == pytest.approx(1)
        score, ids, log_p = max(every)
        found = searched(bundle, [text], Beams(beams=len(every), penalty=penalty, most=4))[0]
        assert found.ids == ids
        assert found.log_p == pytest.approx(log_p)
        assert found.score == pytest.approx(score)
        wider = [searched(bundle, [text], Beams(beams=k, penalty=0.0, most=4))[0] for k in (1, 200)]
        assert wider[1].log_p >= wider[0].log_p - 1e-12


@pytest.mark.parametrize("family", ["gru", "transformer", "mamba", "textcnn", "hybrid"])
def test_sources_searched_together_equal_each_alone(family):
    bundle = translator(family)
    texts = ["abc", "h", "gfedcb", "agag"]
    how = Beams(beams=3, most=7)
    for together, text in zip(searched(bundle, texts, how), texts, strict=True):
        alone = searched(bundle, [text], how)[0]
        assert together.ids == alone.ids
        assert together.log_p == pytest.approx(alone.log_p, abs=1e-9)


def test_beams_of_the_public_function():
    bundle = translator()
    got = []
    found = generate(bundle, "abc", beams=4, max_tokens=9, stream=got.append)
    assert found.text == "".join(got)
    assert found.ids == searched(bundle, ["abc"], Beams(beams=4, most=9))[0].ids
    long = generate(bundle, "abcdefgh", max_tokens=3)
    assert "W-TRUNC: the source has 8 characters; 6 of them are read." in long.notes
    assert generate(bundle, "", max_tokens=3).prompt_tokens == 0
    sampled = {generate(bundle, "abc", temperature=3.0, seed=s, max_tokens=5).ids for s in range(9)}
    assert len(sampled) > 2
