"""A module of transformers that works in float64 where its authors wrote float32."""

import torch


class _Exact:
    """Torch, but for its float32."""

    float32 = torch.float64

    def __getattr__(self, name):
        return getattr(torch, name)


def in_float64(monkeypatch, module):
    """For the time of a test: `module` sees float64 as float32, and x.float() is x.double()."""
    monkeypatch.setattr(module, "torch", _Exact())
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def answers(mixer, run, x_BLD, weight_BLD):
    """Output, and gradients of the input and of every parameter by name."""
    mixer.zero_grad()
    x_BLD = x_BLD.clone().requires_grad_()
    y_BLD = run(x_BLD)
    (y_BLD * weight_BLD).sum().backward()
    return y_BLD.detach(), x_BLD.grad, {name: p.grad for name, p in mixer.named_parameters()}


def close(got, want, relative):
    """Equal to within a share of the largest value."""
    bound = relative * float(want.abs().max())
    torch.testing.assert_close(got.double(), want.double(), rtol=0, atol=bound)
