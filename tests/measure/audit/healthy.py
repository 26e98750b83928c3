"""Models in which an audit must find nothing."""

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from howfar.models import build

VOCABULARY = 20


def generator(seed):
    return torch.Generator().manual_seed(seed)


def ids(num=8, length=48, seed=0, count=VOCABULARY):
    return torch.randint(count, (num, length), generator=generator(seed))


def reals(num=8, length=48, seed=0, dtype=torch.float32):
    return torch.randn(num, length, generator=generator(seed)).to(dtype)


def draw(model, seed=0, gain=1.0):
    """Every parameter from a generator, 1 / sqrt(fan-in)."""
    source = generator(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            fan = parameter.shape[-1] if parameter.ndim > 1 else 10
            parameter.copy_(torch.randn(parameter.shape, generator=source) * gain / fan**0.5)
    return model.eval()


def real_BL(tokens, lengths):
    return torch.arange(tokens.shape[1]) < lengths[:, None]


def mean(y_BLD, lengths):
    """Mean over real positions; zeros for an empty row."""
    mask = real_BL(y_BLD, lengths)[..., None]
    return (y_BLD * mask).sum(1) / lengths.clamp(min=1)[:, None]


class Recurrent(nn.Module):
    """Embedding, a packed nn.RNN / GRU / LSTM, a head at each position or on the mean."""

    def __init__(self, kind=nn.GRU, pooled=False, both=False, packed=True, width=16):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.rnn = kind(width, width, batch_first=True, bidirectional=both)
        self.head = nn.Linear(width * (2 if both else 1), 5)
        self.pooled, self.packed = pooled, packed

    def forward(self, tokens, lengths):
        x = self.embedding(tokens)
        if self.packed:
            sizes = lengths.clamp(min=1).cpu()
            x = pack_padded_sequence(x, sizes, batch_first=True, enforce_sorted=False)
        y = self.rnn(x)[0]
        if self.packed:
            y = pad_packed_sequence(y, batch_first=True, total_length=tokens.shape[1])[0]
        return self.head(mean(y, lengths) if self.pooled else y)


class Encoder(nn.Module):
    """nn.TransformerEncoder with the masks it needs."""

    def __init__(self, causal, pooled=False, masked=True, width=16, layers=2, dropout=0.0):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.place = nn.Embedding(4096, width)
        layer = nn.TransformerEncoderLayer(width, 2, 32, dropout=dropout, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers)
        self.head = nn.Linear(width, 5)
        self.causal_mask, self.pooled, self.masked = causal, pooled, masked

    def forward(self, tokens, lengths):
        length = tokens.shape[1]
        x = self.embedding(tokens) + self.place(torch.arange(length))
        mask = None
        if self.causal_mask:
            mask = torch.ones(length, length).triu(1).bool()
        padding = ~real_BL(tokens, lengths.clamp(min=1)) if self.masked else None
        y = self.encoder(x, mask=mask, src_key_padding_mask=padding, is_causal=self.causal_mask)
        if y.shape[1] < length:
            y = F.pad(y, (0, 0, 0, length - y.shape[1]))
        return self.head(mean(y, lengths) if self.pooled else y)


class CausalConv(nn.Module):
    """Dilated causal convolutions."""

    def __init__(self, width=16, layers=3):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 3, dilation=2**i) for i in range(layers)
        )
        self.head = nn.Linear(width, 5)

    def forward(self, tokens):
        x = self.embedding(tokens).transpose(1, 2)
        for i, layer in enumerate(self.layers):
            x = x + torch.tanh(layer(F.pad(x, (2 * 2**i, 0))))
        return self.head(x.transpose(1, 2))


class FourierConv(nn.Module):
    """A causal convolution as long as the row, by Fourier transform: rounding everywhere."""

    def __init__(self, single=False, width=8, seed=0):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.kernel = nn.Parameter(torch.zeros(width, 2048))
        self.head = nn.Linear(width, 5)
        self.single = single
        draw(self, seed)
        with torch.no_grad():
            shape = self.kernel.shape
            self.kernel.copy_(torch.randn(shape, generator=generator(seed)))

    def forward(self, tokens, lengths):
        x = self.embedding(tokens).transpose(1, 2)
        kernel = self.kernel[:, : x.shape[-1]]
        if self.single:
            x, kernel = x.float(), kernel.float()
        size = 2 * x.shape[-1]
        y = torch.fft.irfft(torch.fft.rfft(x, n=size) * torch.fft.rfft(kernel, n=size), n=size)
        return self.head(y[..., : x.shape[-1]].transpose(1, 2).to(self.head.weight.dtype))


def fourier(x, lengths):
    """The same on reals, as a plain function: (B, L) -> (B, L)."""
    length = x.shape[1]
    g = 0.9 ** torch.arange(length, dtype=x.dtype)
    y = torch.fft.irfft(torch.fft.rfft(x, n=2 * length) * torch.fft.rfft(g, n=2 * length))
    return y[:, :length]


def convolution(x, lengths):
    """Plain causal convolution on reals."""
    g = torch.tensor([0.5, 0.3, 0.2], dtype=x.dtype)
    return F.conv1d(F.pad(x, (2, 0))[:, None], g[None, None])[:, 0]


class FewFilters(nn.Module):
    """Maximum of a few filters: the last tokens rarely win it."""

    def __init__(self, filters=4):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.filters = nn.Conv1d(8, filters, 3)
        self.head = nn.Linear(filters, 2)

    def forward(self, tokens, lengths):
        x = self.embedding(tokens) * real_BL(tokens, lengths)[..., None]
        return self.head(self.filters(F.pad(x.transpose(1, 2), (1, 1))).relu().amax(-1))


class Backward(nn.Module):
    """Reads from the end to the beginning and fades: far tokens round to nothing."""

    def __init__(self, keep=0.5):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, 8)
        self.head = nn.Linear(8, 2)
        self.keep = keep

    def forward(self, tokens, lengths):
        x = self.embedding(tokens) * real_BL(tokens, lengths)[..., None]
        weight = self.keep ** torch.arange(tokens.shape[1], dtype=x.dtype)
        return self.head((x * weight[:, None]).sum(1))


class Wrapped(nn.Module):
    """A Hugging Face model from a configuration, with the mask made from lengths."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, tokens, lengths):
        mask = real_BL(tokens, lengths.clamp(min=1)).long()
        return self.model(input_ids=tokens, attention_mask=mask).logits


def hugging(name, seed=0):
    import transformers as hf

    size = {"vocab_size": VOCABULARY, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    wide = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 256,
    }
    if name == "llama":
        model = hf.LlamaForCausalLM(hf.LlamaConfig(**size, **wide, num_key_value_heads=1))
    elif name == "gpt2":
        config = hf.GPT2Config(**size, n_embd=16, n_layer=2, n_head=2, n_positions=256)
        model = hf.GPT2LMHeadModel(config)
    elif name == "neox":
        model = hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**size, **wide))
    else:
        model = hf.BertForSequenceClassification(hf.BertConfig(**size, **wide, num_labels=3))
    return Wrapped(draw(model, seed, gain=1.0))


def ours(name, causal, seed=0, **extras):
    return build(
        name,
        vocabulary=VOCABULARY,
        outputs=5,
        width=16,
        embedding=16,
        causal=causal,
        generator=generator(seed),
        **extras,
    )
