"""Modules with a known cost, importable by the measuring process."""

import os
import time

import torch
from torch import nn

MIB = 2**20


class Known(nn.Module):
    """Does `act(length)` in the forward pass and returns something with a gradient."""

    def __init__(self, act):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.act = act

    def forward(self, tokens_BL, lengths_B):
        assert lengths_B.tolist() == [tokens_BL.shape[1]]
        self.act(tokens_BL.shape[1])
        return (self.weight * tokens_BL[:, :1].float()).view(1, 1)


def one_block(length):
    torch.ones(64 * MIB // 4)


def many_pieces(length):
    pieces = [torch.ones(4000) for _ in range(64 * MIB // 16000)]
    # The last piece pins the end of the heap, as a small survivor does in a real model.
    KEPT.append(torch.ones(4000))
    del pieces


KEPT = []


def burn(length):
    """20 us of CPU a token, and as long asleep."""
    end = time.process_time() + length * 20e-6
    while time.process_time() < end:
        pass
    time.sleep(length * 20e-6)


def burn_square(length):
    end = time.process_time() + length**2 * 20e-6
    while time.process_time() < end:
        pass


def mebibyte_a_token(length):
    torch.ones(length * MIB // 4)


def sudden_gibibyte(length):
    if length > 4:
        torch.ones(2**28)


def die(length):
    if length > 4:
        os.abort()


def hang(length):
    if length > 4:
        time.sleep(60)


def chatter(length):
    os.write(1, b"noise\n")


class Square(nn.Module):
    """(L x L) of 4 bytes saved for the backward pass: exp keeps its output."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, tokens_BL, lengths_B):
        x_L1 = self.weight * tokens_BL.float().mT / 64
        return (x_L1 @ x_L1.mT).exp_()[None]


def broken_build():
    raise ValueError("no such family")
