"""Names, settings, sizes that fit, and errors a user can act on."""

import functools
import sys
import types

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import MODELS, Model, Sizes, Stack, build, families, fit_width
from howfar.models.blocks import FeedForward
from howfar.models.family import LABELS


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("parameters", [20_000, 60_000, 200_000, 1_000_000])
def test_fitted_width_is_within_five_percent(name, causal, parameters):
    width = fit_width(name, parameters, vocabulary=50, outputs=3, causal=causal)
    model = build(name, vocabulary=50, outputs=3, causal=causal, width=width)
    assert abs(model.count()["body"] - parameters) <= 0.05 * parameters


@functools.cache
def body_sizes(name):
    """Every width's body, by building them all; wide enough for 36,000 parameters."""
    common = {"vocabulary": 1, "outputs": 1, "embedding": 32}
    return {
        width: build(name, width=width, **common).count()["body"]
        for width in range(3, 300 if name == "textcnn" else 140)
    }


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("parameters", [5_000, 9_000, 27_000, 28_000, 30_000, 36_000])
def test_fitted_width_is_the_nearest_of_all(name, parameters):
    sizes = body_sizes(name)
    nearest = min(abs(size - parameters) for size in sizes.values())
    if nearest > 0.05 * parameters:
        with pytest.raises(UsageError, match="No width"):
            fit_width(name, parameters, embedding=32)
    else:
        width = fit_width(name, parameters, embedding=32)
        assert abs(sizes[width] - parameters) == nearest


@pytest.mark.parametrize("name", [name for name in MODELS if name != "textcnn"])
def test_fitted_width_may_be_that_of_the_embedding(name):
    wanted = body_sizes(name)[32]  # without a projection, so smaller than its neighbours suggest
    assert body_sizes(name)[fit_width(name, wanted, embedding=32)] == wanted


def test_fit_width_refuses_what_cannot_be():
    with pytest.raises(UsageError, match="No width gives the body of tcn") as caught:
        fit_width("tcn", 100, depth=4)
    assert caught.value.code == "E-WIDTH"
    assert "the nearest, 1" in caught.value.message


KINDS = {"convolutional", "recurrent", "attention", "linear recurrence", "hybrid"}


def test_families_say_what_they_are():
    assert [family.name for family in families()] == list(MODELS)
    for name, family in MODELS.items():
        assert family.name == name
        assert family.kind in KINDS
        told = [label for label in family.header if label != "Limits"]
        assert told == ["Summary", *LABELS], "a label too many, one missing, or out of order"
        assert all(family.header.values())
        assert "https://" in family.source


@pytest.mark.parametrize(
    ("name", "keywords", "code", "match"),
    [
        ("trasformer", {}, "E-MODEL", "Did you mean 'transformer'"),
        ("zebra", {}, "E-MODEL", "Known: textcnn, tcn, "),
        ("tcn", {"kernal": 3}, "E-SETTING", "Did you mean 'kernel'.*Known: depth, kernel"),
        ("textcnn", {"depth": 2}, "E-SETTING", "Known: kernels, pool"),
        ("gru", {"width": 0}, "E-OPTION", "width must be"),
        ("gru", {"outputs": -1}, "E-OPTION", "outputs must be"),
        ("gru", {"vocabulary": True}, "E-OPTION", "vocabulary must be"),
        ("gru", {"embedding": 2.5}, "E-OPTION", "embedding must be"),
        ("gru", {"depth": 0}, "E-OPTION", "depth must be"),
        ("gru", {"dropout": 1.0}, "E-OPTION", "dropout must be"),
        ("transformer", {"heads": 0}, "E-OPTION", "heads must be"),
        ("no.such.module:thing", {}, "E-MODEL", "Cannot import"),
        ("howfar.models:nothing", {}, "E-MODEL", "Cannot import"),
        (":thing", {}, "E-MODEL", "Cannot import"),
        ("builtins:dict", {}, "E-MODEL", "gave 'dict'"),
    ],
)
def test_errors(name, keywords, code, match):
    with pytest.raises(UsageError, match=match) as caught:
        build(name, **({"vocabulary": 5, "outputs": 2} | keywords))
    assert caught.value.code == code
    assert caught.value.hint


class Still(torch.nn.Module):
    """A stranger's mixer that moves nothing and cannot step."""

    causal = True

    def forward(self, x_BLD, lengths):
        return x_BLD

    def reach(self, length):
        return 1

    def state_bytes(self, length):
        return 0

    def flops(self, length):
        return 0


def test_a_model_from_outside(monkeypatch):
    def still(*, vocabulary, outputs, width, causal, embedding, dropout, generator, gain=1):
        body = Stack(Sizes(embedding, width, causal, dropout), [Still()])
        model = Model(body, vocabulary=vocabulary, outputs=outputs, embedding=embedding)
        model.draw_all(generator)
        model.gain = gain
        return model

    monkeypatch.setitem(sys.modules, "stranger", types.ModuleType("stranger"))
    sys.modules["stranger"].still = still
    model = build("stranger:still", vocabulary=5, outputs=2, width=8, gain=3)
    assert model.gain == 3
    assert model(torch.tensor([[1, 2]])).shape == (1, 2, 2)
    assert model.reach(10) == 1
    with pytest.raises(UsageError, match="Still cannot go one position"):
        model.step(torch.tensor([1]))


def test_default_generator_is_fixed():
    one, two = (build("gru", vocabulary=5, outputs=2).state_dict() for _ in range(2))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_first_loss_is_that_of_a_guess():
    for name in MODELS:
        model = build(name, vocabulary=50, outputs=50)
        logits = model(torch.randint(50, (4, 40), generator=torch.Generator().manual_seed(1)))
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), torch.arange(160).remainder(50)
        )
        assert float(loss.detach()) == pytest.approx(torch.log(torch.tensor(50.0)).item(), abs=0.05)


def test_feed_forward_by_hand():
    layer = FeedForward(1, 0.0)
    layer.widen.weight.data.fill_(1.0)
    layer.widen.bias.data.zero_()
    layer.narrow.weight.data.fill_(0.25)
    layer.narrow.bias.data.fill_(1.0)
    # gelu(1) = Phi(1) = 0.841345
    assert float(layer(torch.ones(1, 1)).detach()) == pytest.approx(1.841345, abs=1e-6)
    assert layer.flops(3) == 2 * 8 * 3
