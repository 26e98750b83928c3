"""Predicted documents per CPU second, one thread: howfar against transformers' pipeline; open time.

Idea     the same texts and the same words as tokens, cut at the same length; a BERT of transformers
         and ours, with as many parameters: the transformer of the same width, depth and heads, and
         other families whose body is as large. All weights are drawn
Theirs   `pipeline("text-classification")` over a list of texts, at the best of several batch sizes
         (1 is its default); ours `Bundle.predictions`, with labels and probabilities like theirs
Times    CPU seconds of this process, theirs and ours in turn; median of the ratios, and their range
Open     a fresh process imports howfar and opens the bundle: seconds in all, and CPU seconds
Run      python bench/predict.py --data ../shared/data/imdb/test.jsonl.gz
"""

import argparse
import gzip
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from howfar.bundle.build import model_of
from howfar.bundle.bundle import Bundle
from howfar.bundle.save import save
from howfar.bundle.settings import Settings
from howfar.data.tokenise import train_tokeniser
from howfar.models import fit_width

WIDTH, HEADS, LENGTH, VOCABULARY = 128, 2, 512, 20_000
FAMILIES = ("transformer", "gru", "lstm", "textcnn")
BATCHES = (1, 8, 32)
OPEN = (
    "import time; began = time.perf_counter()\n"
    "from howfar.bundle.load import load\n"
    "load({path!r})\n"
    "print(time.perf_counter() - began, time.process_time())"
)


def texts_of(path, count):
    """Texts of real length: of a file of IMDb, or drawn with its lengths."""
    if path is not None and Path(path).is_file():
        with gzip.open(path, "rt", encoding="utf-8") as file:
            found = [json.loads(line)["text"] for line in file]
        return found[:: max(1, len(found) // count)][:count], "IMDb"
    draw = torch.Generator().manual_seed(0)
    lengths = torch.empty(count).log_normal_(5.16, 0.79, generator=draw).clamp(5, 2400).int()
    words = torch.randint(VOCABULARY, (int(lengths.sum()),), generator=draw)
    parts = words.split(lengths.tolist())
    return [" ".join(f"w{word}" for word in part.tolist()) for part in parts], "drawn"


def ours(family, tokeniser, depth, body=None):
    """A bundle of a family; `body`: parameters between embedding and head."""
    extras = {"heads": HEADS} if family == "transformer" else {}
    width, depths = WIDTH, {"depth": depth if family == "transformer" else None}
    if body is not None:
        width = fit_width(family, body, causal=False, embedding=WIDTH, **depths, **extras)
    settings = Settings(
        aim="classification",
        family=family,
        tokens="word",
        vocabulary=tokeniser.vocabulary,
        outputs=2,
        length=LENGTH,
        width=width,
        embedding=WIDTH,
        causal=False,
        pooled=True,
        extras=extras,
        names=("negative", "positive"),
        **depths,
    )
    model = model_of(settings, torch.Generator().manual_seed(0)).eval()
    return Bundle(settings=settings, model=model, tokeniser=tokeniser)


def theirs(bundle, depth):
    """A model of transformers with its own fast tokeniser of the same words."""
    from transformers import (
        BertConfig,
        BertForSequenceClassification,
        PreTrainedTokenizerFast,
        pipeline,
    )

    words = bundle.tokeniser.library.get_vocab()
    words = {{0: "[PAD]", 1: "[UNK]"}.get(code, word): code for word, code in words.items()}
    library = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    library.normalizer = normalizers.Lowercase()
    library.pre_tokenizer = pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "removed", invert=True)
    tokeniser = PreTrainedTokenizerFast(
        tokenizer_object=library, pad_token="[PAD]", unk_token="[UNK]", model_max_length=LENGTH
    )
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=WIDTH,
        num_hidden_layers=depth,
        num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=LENGTH,
        num_labels=2,
    )
    model = BertForSequenceClassification(config).eval()
    made = pipeline("text-classification", model=model, tokenizer=tokeniser, device="cpu")
    return made, sum(p.numel() for p in model.parameters())


def seconds(call):
    began = time.process_time()
    found = call()
    return time.process_time() - began, found


def open_times(bundle, repeats):
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "model")
        save(bundle, path)
        found = []
        for _ in range(repeats + 1):  # the first fills the system's file cache
            done = subprocess.run(
                [sys.executable, "-c", OPEN.format(path=path)],
                capture_output=True,
                text=True,
                check=True,
            )
            found.append(tuple(map(float, done.stdout.split())))
    return [statistics.median(column) for column in zip(*found[1:], strict=True)]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", default=None, help="test.jsonl.gz of IMDb")
    parser.add_argument("--documents", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--depth", type=int, default=2, help="blocks of both transformers")
    options = parser.parse_args()
    torch.set_num_threads(1)
    texts, kind = texts_of(options.data, options.documents)
    tokeniser = train_tokeniser("word", texts, max_vocabulary=VOCABULARY)
    first = ours("transformer", tokeniser, options.depth)
    whole, cpu = open_times(first, options.repeats)
    print(f"open in a fresh process: {whole:.2f} s, {cpu:.2f} CPU s")
    pipe, size = theirs(first, options.depth)
    print(f"{len(texts)} texts ({kind}); parameters of theirs {size:,}")

    def ask(batch):
        return pipe(texts, batch_size=batch, truncation=True, max_length=LENGTH, top_k=None)

    pipe(texts[:8], truncation=True, max_length=LENGTH)
    tried = {batch: seconds(lambda batch=batch: ask(batch))[0] for batch in BATCHES}
    best = min(tried, key=tried.get)
    told = ", ".join(f"{batch}: {len(texts) / spent:.1f}" for batch, spent in tried.items())
    print(f"theirs by batch size, documents per CPU second: {told}")
    body = first.model.count()["body"]
    for family in FAMILIES:
        bundle = first if family == "transformer" else ours(family, tokeniser, None, body)
        for precision in ("float32", "bfloat16"):
            compare(bundle, texts, lambda: ask(best), options.repeats, precision)


def compare(bundle, texts, theirs_asked, repeats, precision):
    """One line of one family."""
    bundle.predictions(texts[:32], precision=precision)
    ratios, speeds = [], []
    for _ in range(repeats):
        slow, answers = seconds(theirs_asked)
        fast, found = seconds(lambda: bundle.predictions(texts, precision=precision))
        assert len(answers) == len(found) == len(texts)
        ratios.append(slow / fast)
        speeds.append((len(texts) / fast, len(texts) / slow))
    fast, slow = (statistics.median(column) for column in zip(*speeds, strict=True))
    print(
        f"{bundle.settings.family:12} {precision:8} {bundle.parameters:,} parameters,"
        f" documents per CPU second: ours {fast:.1f}, theirs {slow:.1f};"
        f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
