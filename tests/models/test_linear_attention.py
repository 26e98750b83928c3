"""Linear attention against the masked quadratic form of the same weights."""

import pytest
import torch
from torch.nn import functional as F

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.linear_attention import LinearAttention, LinearAttentionSettings, feature

EPS = 1e-6  # written again here: a change of the family's own must show


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def drawn(mixer, seed=0):
    for index, parameter in enumerate(mixer.parameters()):
        torch.nn.init.normal_(parameter, std=0.5, generator=generator(seed + index))
    return mixer.double()


def quadratic(mixer, x_BLD):
    """All pairs at once, masked, every row divided by its sum."""
    rows, length, _ = x_BLD.shape
    q, k, v = (
        (x_BLD @ weight.T).view(rows, length, mixer.heads, mixer.size)
        for weight in mixer.qkv.weight.chunk(3)
    )
    score = torch.einsum("bthk,bshk->bhts", F.elu(q) + 1, F.elu(k) + 1).tril()
    weight = score / (score.sum(-1, keepdim=True) + EPS)
    return torch.einsum("bhts,bshv->bthv", weight, v).flatten(2) @ mixer.out.weight.T


def answers(mixer, run, x_BLD):
    mixer.zero_grad()
    x_BLD = x_BLD.clone().requires_grad_()
    y_BLD = run(x_BLD)
    (y_BLD * reals(*y_BLD.shape, seed=9)).sum().backward()
    return [y_BLD, x_BLD.grad, *(p.grad.clone() for p in mixer.parameters())]


def test_two_tokens_by_hand():
    mixer = LinearAttention(1, 1).double()
    for weight in mixer.parameters():
        torch.nn.init.ones_(weight)
    y = mixer(torch.tensor([1.0, 3.0]).double().view(1, 2, 1), None).flatten().tolist()
    # f(1) = 2, f(3) = 4: the second answer is 4 (2 * 1 + 4 * 3) / (4 (2 + 4))
    assert y == pytest.approx([4 / (4 + EPS), 56 / (24 + EPS)], abs=1e-14)
    assert y[1] == pytest.approx(7 / 3, abs=1e-6)


@pytest.mark.parametrize(("width", "heads", "length"), [(6, 2, 1), (7, 3, 40), (5, 1, 130)])
def test_equals_the_quadratic_form(width, heads, length):
    mixer = drawn(LinearAttention(width, heads))
    x_BLD = reals(3, length, width)
    want = answers(mixer, lambda x: quadratic(mixer, x), x_BLD)
    got = answers(mixer, lambda x: mixer(x, None), x_BLD)
    for one, two in zip(got, want, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_equal_values_are_given_back_whatever_the_weights():
    mixer = drawn(LinearAttention(4, 2))
    x_BLD = reals(2, 30, 4)
    x_BLD[..., 0] = 1.0
    with torch.no_grad():
        mixer.qkv.weight[2 * 4 :, 1:] = 0.0  # values read the constant channel alone
        value_X = mixer.qkv.weight[2 * 4 :, 0]
    want = (value_X @ mixer.out.weight.T).expand(2, 30, 4)
    torch.testing.assert_close(mixer(x_BLD, None), want, rtol=1e-4, atol=1e-5)


def test_feature_is_elu_plus_one_and_stays_above_zero():
    x = torch.linspace(-8, 8, 401, dtype=torch.float64).requires_grad_()
    torch.testing.assert_close(feature(x), F.elu(x) + 1, rtol=1e-12, atol=0)
    got = torch.autograd.grad(feature(x).sum(), x)[0]
    want = torch.autograd.grad((F.elu(x) + 1).sum(), x)[0]
    torch.testing.assert_close(got, want, rtol=1e-12, atol=0)
    far = torch.tensor([-1e4, -60.0, 0.0, 1e4])
    assert feature(far).isfinite().all()
    assert feature(far)[1] > 0


@pytest.mark.parametrize("scale", [1e-30, 1e3])
def test_extreme_inputs_stay_finite(scale):
    mixer = drawn(LinearAttention(6, 2)).float()
    x_BLD = (reals(2, 9, 6) * scale).float().requires_grad_()
    y_BLD = mixer(x_BLD, None)
    y_BLD.sum().backward()
    assert y_BLD.isfinite().all()
    assert x_BLD.grad.isfinite().all()


def test_nothing_is_forgotten_and_places_do_not_count():
    """The last answer is the same whatever the order of what came before."""
    mixer = drawn(LinearAttention(6, 2))
    x_BLD = reals(1, 50, 6)
    turned = torch.cat([x_BLD[:, :49].flip(1), x_BLD[:, 49:]], 1)
    torch.testing.assert_close(mixer(turned, None)[:, -1], mixer(x_BLD, None)[:, -1])


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"heads": 0}, {"heads": 1.5}])
def test_settings_are_checked(wrong):
    with pytest.raises(UsageError, match="whole number"):
        LinearAttentionSettings(**wrong)


def test_a_block_has_a_feed_forward():
    model = build("linear_attention", vocabulary=5, outputs=2, width=8, embedding=8)
    assert all(block.ff is not None for block in model.body.blocks)
    assert len(model.body.blocks) == 2
