"""Convolution, textcnn and tcn against explicit loops and numbers worked by hand."""

import pytest
import torch

from howfar.core.errors import UsageError
from howfar.models import build
from howfar.models.blocks import Convolution, Sizes
from howfar.models.tcn import TcnSettings
from howfar.models.tcn import build_body as build_tcn
from howfar.models.textcnn import TextCnn, TextCnnSettings


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(module, seed=0):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, generator=generator(seed))
    return module.double()


def reals(*shape, seed=1):
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def loop(convolution, x_BLD, offset=0):
    """y_t = b + sum_i W_i x_{t + offset - (kernel-1-i) * dilation}, one product at a time."""
    rows, length, _ = x_BLD.shape
    kernel = convolution.weight.shape[2]
    y = convolution.bias.detach().expand(rows, length, -1).clone()
    for t in range(length):
        for i in range(kernel):
            source = t + offset - (kernel - 1 - i) * convolution.dilation
            if 0 <= source < length:
                y[:, t] += x_BLD[:, source] @ convolution.weight.detach()[:, :, i].T
    return y


def test_causal_convolution_by_hand():
    convolution = Convolution(1, 1, 2, dilation=2).double()
    convolution.weight.data.copy_(torch.tensor([[[10.0, 1.0]]]))
    convolution.bias.data.fill_(0.5)
    x_BLD = torch.tensor([1.0, 2, 3, 4, 5]).double().reshape(1, 5, 1)
    # y_t = x_t + 10 x_{t-2} + 0.5
    assert convolution(x_BLD).flatten().tolist() == [1.5, 2.5, 13.5, 24.5, 35.5]


def test_centred_convolution_by_hand():
    convolution = Convolution(1, 1, 3, dilation=1, causal=False).double()
    convolution.weight.data.copy_(torch.tensor([[[100.0, 10.0, 1.0]]]))
    convolution.bias.data.zero_()
    x_BLD = torch.tensor([1.0, 2, 3]).double().reshape(1, 3, 1)
    assert convolution(x_BLD).flatten().tolist() == [12.0, 123.0, 230.0]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 3, 12])
def test_convolution_equals_loop(kernel, dilation, length):
    x_BLD = reals(2, length, 3)
    causal = drawn(Convolution(3, 4, kernel, dilation=dilation))
    torch.testing.assert_close(causal(x_BLD), loop(causal, x_BLD), rtol=0, atol=1e-12)
    if kernel % 2:
        centred = drawn(Convolution(3, 4, kernel, dilation=dilation, causal=False))
        want = loop(centred, x_BLD, offset=centred.past // 2)
        torch.testing.assert_close(centred(x_BLD), want, rtol=0, atol=1e-12)


def test_convolution_gradient_equals_loop():
    convolution, x_BLD = drawn(Convolution(3, 4, 3, dilation=2)), reals(2, 9, 3)
    x_BLD.requires_grad_()
    convolution(x_BLD).square().sum().backward()
    got = x_BLD.grad.clone()
    x_BLD.grad = None
    loop(convolution, x_BLD).square().sum().backward()
    torch.testing.assert_close(got, x_BLD.grad, rtol=0, atol=1e-10)


def test_convolution_leaves_positions_in_order_in_memory():
    y_BLD = Convolution(8, 8, 3)(torch.randn(2, 16, 8, generator=generator()))
    assert y_BLD.is_contiguous()  # what comes next needs no copy


def test_textcnn_by_hand():
    body = TextCnn(Sizes(1, 2, True, 0.0), TextCnnSettings(kernels=(1, 2))).double()
    one, two = body.windows
    one.weight.data.fill_(1.0)
    two.weight.data.copy_(torch.tensor([[[-1.0, 1.0]]]))  # x_t - x_{t-1}
    one.bias.data.zero_()
    two.bias.data.zero_()
    x_BLE = torch.tensor([2.0, -1, 4, 3]).double().reshape(1, 4, 1)
    y_LF = body(x_BLE, torch.tensor([4]))[0]
    assert y_LF.tolist() == [
        [2.0, 2.0, 2.0, 2.0],
        [0.0, 0.0, 2.0, 2.0],
        [4.0, 5.0, 4.0, 5.0],
        [3.0, 0.0, 4.0, 5.0],
    ]


def test_textcnn_equals_loop():
    body = drawn(TextCnn(Sizes(3, 7, False, 0.0), TextCnnSettings(kernels=(2, 3))))
    x_BLE = reals(2, 9, 3)
    want = torch.cat([loop(window, x_BLE).clamp(min=0) for window in body.windows], -1)
    got = body(x_BLE, torch.tensor([9, 9]))
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    causal = TextCnn(Sizes(3, 7, True, 0.0), TextCnnSettings(kernels=(2, 3))).double()
    causal.load_state_dict(body.state_dict())
    running = torch.stack([want[:, : t + 1].amax(1) for t in range(9)], dim=1)
    got = causal(x_BLE, torch.tensor([9, 9]))
    torch.testing.assert_close(got, torch.cat([want, running], -1), rtol=0, atol=1e-12)


def test_textcnn_pools_the_maximum_over_real_positions():
    model = build("textcnn", vocabulary=9, outputs=3, width=6, embedding=4, causal=False).double()
    tokens = torch.randint(9, (2, 8), generator=generator())
    y_BLF = model.hidden(tokens)
    pooled = torch.stack([y_BLF[0, :8].amax(0), y_BLF[1, :3].amax(0)])
    got = model(tokens, torch.tensor([8, 3]))
    torch.testing.assert_close(got, model.head(pooled), rtol=0, atol=1e-12)
    assert model.pool == "max"


@pytest.mark.parametrize(("width", "split"), [(6, [2, 2, 2]), (7, [3, 2, 2]), (3, [1, 1, 1])])
def test_textcnn_splits_filters_evenly(width, split):
    body = TextCnn(Sizes(2, width, False, 0.0), TextCnnSettings())
    assert [window.bias.numel() for window in body.windows] == split
    assert body.out_width == width
    assert TextCnn(Sizes(2, width, True, 0.0), TextCnnSettings()).out_width == 2 * width


@pytest.mark.parametrize(
    ("causal", "width", "extras", "match"),
    [
        (False, 6, {"pool": "none"}, "needs its maximum"),
        (True, 2, {}, "without a filter"),
        (True, 6, {"kernels": ()}, "kernels cannot be"),
        (True, 6, {"kernels": (3, 0)}, "at least 1"),
        (True, 6, {"pool": "sum"}, "pool cannot be"),
    ],
)
def test_textcnn_refuses(causal, width, extras, match):
    with pytest.raises(UsageError, match=match) as caught:
        build("textcnn", vocabulary=5, outputs=2, width=width, causal=causal, **extras)
    assert caught.value.code == "E-OPTION"


def test_tcn_mixer_equals_loop():
    for causal in (True, False):
        stack = build_tcn(Sizes(4, 4, causal, 0.0), TcnSettings(depth=2, kernel=3))
        mixer = drawn(stack.blocks[1].mixer)
        assert mixer.first.dilation == mixer.second.dilation == 2
        x_BLD = reals(2, 13, 4)
        offset = 0 if causal else 2
        want = loop(mixer.second, loop(mixer.first, x_BLD, offset).clamp(min=0), offset)
        got = mixer(x_BLD, torch.tensor([13, 13]))
        torch.testing.assert_close(got, want, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("kernel", "depth", "reach"), [(3, 4, 61), (2, 3, 15), (5, 1, 9)])
def test_tcn_reach_by_hand(kernel, depth, reach):
    model = build("tcn", vocabulary=5, outputs=2, kernel=kernel, depth=depth)
    assert model.reach(1000) == reach == 1 + 2 * (kernel - 1) * (2**depth - 1)
    assert model.state_bytes(1000) == 4 * 64 * (reach - 1)


def test_tcn_refuses_an_even_kernel_in_the_whole_form():
    with pytest.raises(UsageError, match="kernel 4 has no centre") as caught:
        build("tcn", vocabulary=5, outputs=2, causal=False, kernel=4)
    assert caught.value.code == "E-OPTION"
