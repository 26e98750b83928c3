"""Small state-space and linear-attention models trained to copy the symbol six back: reach 7."""

import pytest
import torch
from torch import nn

from howfar.measure.swap import SwapOptions, swap_reach, swap_sides

pytestmark = pytest.mark.slow
SYMBOLS, LENGTH, LAG, WIDTH = 8, 40, 6, 48


def rows(count, seed):
    shape = (count, LENGTH)
    return torch.randint(SYMBOLS, shape, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / shape[0] ** 0.5


class StateSpace(nn.Module):
    """One diagonal complex state space a channel, between an embedding and a head.

    h_t = exp(lambda) h_{t-1} + u_t and y_t = Re(c h_t) + d u_t, computed as a convolution.
    """

    def __init__(self, states=16):
        super().__init__()
        self.embed = nn.Parameter(normal(SYMBOLS, WIDTH, seed=1))
        self.decay = nn.Parameter(torch.full((WIDTH, states), -2.0))
        turns = torch.linspace(0, torch.pi, states).expand(WIDTH, states)
        self.turn = nn.Parameter(turns.clone())
        self.out = nn.Parameter(normal(states, WIDTH, 2, seed=2).transpose(0, 1).clone())
        self.skip = nn.Parameter(torch.zeros(WIDTH))
        self.mix = nn.Parameter(normal(WIDTH, WIDTH, seed=3))
        self.head = nn.Parameter(normal(WIDTH, SYMBOLS, seed=4))

    def kernel(self, length):
        rate = torch.complex(-self.decay.exp(), self.turn)
        powers = (rate[..., None] * torch.arange(length)).exp()
        return torch.einsum("dn,dnl->dl", torch.view_as_complex(self.out), powers).real

    def forward(self, tokens, lengths):
        u_BDL = self.embed[tokens].transpose(1, 2)
        length = tokens.shape[1]
        lag_LL = torch.arange(length)[:, None] - torch.arange(length)
        filter_DLL = torch.where(lag_LL >= 0, self.kernel(length)[:, lag_LL.clamp(min=0)], 0)
        y_BLD = torch.einsum("dts,bds->btd", filter_DLL, u_BDL) + self.skip * u_BDL.transpose(1, 2)
        return nn.functional.gelu(y_BLD @ self.mix) @ self.head


class LinearAttention(nn.Module):
    """One head without softmax, by place alone: y_t = sum_s (q_t . k_s) v_s, over s <= t or all."""

    def __init__(self, causal=True):
        super().__init__()
        self.causal = causal
        self.embed = nn.Parameter(normal(SYMBOLS, WIDTH, seed=5))
        self.place = nn.Parameter(normal(LENGTH, WIDTH, seed=6) * LENGTH**0.5)
        self.ask, self.tell, self.value = (
            nn.Parameter(normal(WIDTH, WIDTH, seed=seed)) for seed in (7, 8, 9)
        )
        self.head = nn.Parameter(normal(WIDTH, SYMBOLS, seed=10))

    def forward(self, tokens, lengths):
        place_LD = self.place[: tokens.shape[1]]
        q_LD, k_LD = place_LD @ self.ask, place_LD @ self.tell
        weight_LL = (q_LD @ k_LD.T).tril() if self.causal else q_LD @ k_LD.T
        return torch.einsum("ts,bsd->btd", weight_LL, self.embed[tokens] @ self.value) @ self.head


def trained(model, steps, rate, shift):
    torch.set_num_threads(1)
    adam = torch.optim.Adam(model.parameters(), rate)
    for step in range(steps):
        tokens = rows(32, 100 + step)
        wanted = torch.roll(tokens, shift, dims=1)
        asked = slice(LAG, LENGTH - LAG) if shift < 0 else slice(LAG, None)
        logits = model(tokens, None)[:, asked]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), wanted[:, asked].flatten())
        adam.zero_grad()
        loss.backward()
        adam.step()
    tokens = rows(96, 1)
    right = (model(tokens, None).argmax(-1) == torch.roll(tokens, shift, dims=1))[:, asked]
    assert right.float().mean() > 0.999
    return model.eval()


@pytest.mark.parametrize(
    ("build", "steps", "rate"),
    [(StateSpace, 300, 1e-2), (LinearAttention, 500, 1e-2)],
    ids=["state space", "linear attention"],
)
def test_a_trained_copier_reaches_exactly_its_lag(build, steps, rate):
    model = trained(build(), steps, rate, LAG)
    tokens = rows(96, 2)
    for design in ("paired", "fast"):
        found = swap_reach(model, tokens, options=SwapOptions(design=design))
        assert (found.value, found.r50, found.low, found.high) == (LAG + 1,) * 4, design
        assert not found.warnings
    shuffled = swap_reach(model, tokens, options=SwapOptions(how="shuffle"))
    assert (shuffled.value, shuffled.own.value) == (LAG + 1, LAG + 1)


def test_a_trained_copier_from_the_future_reaches_there():
    model = trained(LinearAttention(causal=False), 500, 1e-2, -LAG)
    found = swap_sides(model, rows(96, 2))
    assert (found.future.value, found.future.r50, found.future.low, found.future.high) == (7,) * 4
    assert found.future_share.value > 0.95
    assert found.past_share.value < 0.05
    alone = swap_reach(model, rows(96, 2), targets="middle")
    assert any("looks both ways" in said for said in alone.warnings)
