"""Models whose reach is known exactly, as plain callables. G-numbers are those of the cases."""

import torch
from scipy.signal import lfilter


def iid(num, length, seed=0):
    """Real i.i.d. inputs (num, length), float64."""
    return torch.randn(num, length, generator=torch.Generator().manual_seed(seed)).double()


def signs(num, length, seed=0):
    """Random +-1 inputs, float64."""
    bits = torch.randint(2, (num, length), generator=torch.Generator().manual_seed(seed))
    return (2 * bits - 1).double()


def symbols(num, length, count, seed=0):
    """Random integer tokens."""
    return torch.randint(count, (num, length), generator=torch.Generator().manual_seed(seed))


def linear(weights):
    """y_t = sum_d g_d x_{t-d}: (B, L) -> (B, L)."""
    g = torch.as_tensor(weights, dtype=torch.float64)

    def predict(x, lengths):
        length = x.shape[1]
        padded = torch.cat([x.new_zeros(len(x), len(g) - 1), x], dim=1)
        return padded.unfold(1, len(g), 1)[:, :length] @ g.flip(0)

    return predict


def decay(a):
    """G1: h_t = a h_{t-1} + x_t."""

    def predict(x, lengths):
        return torch.from_numpy(lfilter([1.0], [1.0, -a], x.numpy(), axis=1))

    return predict


def delay(steps):
    """G2: y_t = x_{t-steps}."""
    return linear([0.0] * steps + [1.0])


def boxcar(width):
    """G3: mean of the last `width`."""
    return linear([1 / width] * width)


def cumulative_mean(x, lengths):
    """G4: mean of all inputs so far."""
    return x.cumsum(1) / torch.arange(1, x.shape[1] + 1)


def parity(width):
    """G8: product of the last `width` signs (ones before the start)."""

    def predict(x, lengths):
        padded = torch.cat([x.new_ones(len(x), width - 1), x], dim=1)
        return padded.unfold(1, width, 1).prod(-1)

    return predict


def dilated(seed=0):
    """G7: causal convolutions k=3 with dilation 1, 2, 4 and tanh; structural reach 15."""
    generator = torch.Generator().manual_seed(seed)
    weights = [
        torch.randn(8, 1 if i == 0 else 8, 3, generator=generator).double() for i in range(3)
    ]

    def predict(x, lengths):
        h = x[:, None]
        for i, weight in enumerate(weights):
            h = torch.nn.functional.pad(h, (2 * 2**i, 0))
            h = torch.tanh(torch.nn.functional.conv1d(h, weight, dilation=2**i) / 3)
        return h.transpose(1, 2)

    return predict


def copy_language_model(lag, num_symbols, confidence=0.9):
    """G12: p(next) = confidence on the symbol `lag` back, the rest spread evenly."""

    def predict(tokens, lengths):
        old = torch.roll(tokens, lag, dims=1)
        old[:, :lag] = 0
        flat = (1 - confidence) / num_symbols
        onehot = torch.nn.functional.one_hot(old, num_symbols).double()
        return (confidence * onehot + flat).log()

    return predict
