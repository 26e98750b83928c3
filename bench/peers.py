"""Training documents per CPU second beside other libraries: one run, one thread, in turn.

Idea     every contender is a process of its own that trains the same architecture on the same
         documents and waits for its turn: a block each, again and again, so that a busy machine is
         busy for all. The ratio of each block is taken against ours of the same round
Text     lengths of real reviews (a table with a column `text`), cut at 512 words; ids are drawn
Ours     `howfar.train.fit` on batches of `howfar.data.sources`: length buckets, fused AdamW; once
         more with bfloat16 products
Plain    the loop of a tutorial: shuffled, padded to the batch's longest, AdamW as torch has it
skorch, Trainer   the same torch module and padding in NeuralNetClassifier and in transformers'
Keras    Keras 3 on JAX, the same layers (attention with learned positions in place of rotary ones),
         padded to 512, as compiled programs have one shape
Beside   CPU seconds from the start of the process to the end of its first step; peak memory at the
         end, of the whole process
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEERS = ("ours", "ours bf16", "plain", "skorch", "trainer", "keras")
FAMILIES = ("lstm", "gru", "textcnn", "transformer")
ROWS, LENGTH, CLASSES = 32, 512, 2
VOCABULARY, WIDTH = 20_000, 128
DOCUMENTS = 512  # a block: 16 batches
RATE = 1e-3
PLAIN_WIDTHS = {"textcnn": 300}


def documents(lengths_file):
    """Ids and classes of the documents, the same for everybody."""
    import numpy as np

    lengths = np.load(lengths_file)
    draws = np.random.default_rng(0)
    ids = [draws.integers(2, VOCABULARY, n).astype(np.int32) for n in lengths]
    return ids, draws.integers(0, CLASSES, len(ids))


def torch_model(family):
    import throughput

    throughput.VOCABULARY, throughput.EMBEDDING, throughput.CLASSES = VOCABULARY, WIDTH, CLASSES
    return throughput.PLAIN[family](PLAIN_WIDTHS.get(family, WIDTH))


def collate(rows):
    import torch

    ids = [torch.from_numpy(row).long() for row, _ in rows]
    tokens = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
    lengths = torch.tensor([len(row) for row in ids])
    return tokens, lengths, torch.tensor([int(label) for _, label in rows])


def ours(family, ids, labels, precision="float32"):
    import numpy as np
    import torch

    from howfar.data.examples import Corpus, Examples
    from howfar.data.ragged import Ragged
    from howfar.data.sources import source_for
    from howfar.data.tokenise import train_tokeniser
    from howfar.models import build
    from howfar.record.comparison import Data
    from howfar.train import Budget, TrainOptions, fit

    torch.set_num_threads(1)
    train = Examples(ids=Ragged.of(ids), targets=labels.astype(np.int64))
    short = Examples(ids=train.ids[:2], targets=train.targets[:2])
    corpus = Corpus(
        aim="classification",
        train=train,
        validation=short,
        test=short,
        tokeniser=train_tokeniser("byte", []),
        vocabulary=VOCABULARY,
        length=LENGTH,
        data=Data(kind="labels", name="reviews", unit="word"),
        names=("0", "1"),
    )
    source = source_for(corpus, rows=ROWS, seed=0)
    model = build(
        family,
        vocabulary=VOCABULARY,
        outputs=CLASSES,
        width=PLAIN_WIDTHS.get(family, WIDTH),
        embedding=WIDTH,
        causal=False,
    )
    done = 0

    class Later:
        def batch(self, number):
            return source.batch(done + number)

        def evaluation(self, part):
            return source.evaluation(part)

    def block(steps):
        nonlocal done
        settings = {"learning_rate": RATE, "evaluations": 1, "precision": precision}
        fit(model, Later(), TrainOptions(budget=Budget(steps, "steps"), **settings))
        done += steps

    return block


def plain(family, ids, labels):
    import numpy as np
    import torch
    from torch.nn import functional as F

    torch.set_num_threads(1)
    model = torch_model(family)
    optimiser = torch.optim.AdamW(model.parameters(), lr=RATE)
    draws, order = np.random.default_rng(1), []

    def block(steps):
        nonlocal order
        model.train()
        for _ in range(steps):
            if len(order) < ROWS:
                order = draws.permutation(len(ids)).tolist()
            rows, order = order[:ROWS], order[ROWS:]
            tokens, lengths, targets = collate([(ids[row], labels[row]) for row in rows])
            loss = F.cross_entropy(model(tokens, lengths), targets)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            loss.item()

    return block


def skorch(family, ids, labels):
    import torch
    from skorch import NeuralNetClassifier

    torch.set_num_threads(1)

    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch_model(family)

        def forward(self, tokens, lengths):
            return self.inner(tokens, lengths)

    def batched(rows):
        tokens, lengths, targets = collate(rows)
        return {"tokens": tokens, "lengths": lengths}, targets

    net = NeuralNetClassifier(
        Both,
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=RATE,
        max_epochs=1,
        batch_size=ROWS,
        train_split=None,
        iterator_train__collate_fn=batched,
        iterator_train__shuffle=True,
        verbose=0,
    )
    net.initialize()

    class Pairs(torch.utils.data.Dataset):
        def __init__(self, rows):
            self.rows = rows

        def __len__(self):
            return self.rows

        def __getitem__(self, row):
            return ids[row], labels[row]

    return lambda steps: net.partial_fit(Pairs(steps * ROWS), y=None)


def trainer(family, ids, labels):
    import tempfile

    import torch
    from transformers import Trainer, TrainingArguments

    torch.set_num_threads(1)

    class WithLoss(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = torch_model(family)

        def forward(self, tokens, lengths, labels):
            logits = self.inner(tokens, lengths)
            return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}

    def batched(rows):
        tokens, lengths, targets = collate([(row["ids"], row["label"]) for row in rows])
        return {"tokens": tokens, "lengths": lengths, "labels": targets}

    model = WithLoss()
    data = [{"ids": i, "label": label} for i, label in zip(ids, labels, strict=True)]

    def block(steps):
        plan = TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=ROWS,
            max_steps=steps,
            learning_rate=RATE,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            remove_unused_columns=False,
        )
        Trainer(model=model, args=plan, train_dataset=data, data_collator=batched).train()

    return block


def keras(family, ids, labels):
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    import keras as k
    import numpy as np

    tokens = np.zeros((len(ids), LENGTH), np.int32)
    for place, row in enumerate(ids):
        tokens[place, : len(row)] = row
    given = k.Input((LENGTH,), dtype="int32")
    if family == "textcnn":
        x = k.layers.Embedding(VOCABULARY, WIDTH)(given)
        found = [
            k.layers.GlobalMaxPooling1D()(k.layers.Conv1D(100, n, activation="relu")(x))
            for n in (3, 4, 5)
        ]
        pooled = k.layers.Concatenate()(found)
    else:
        x = k.layers.Embedding(VOCABULARY, WIDTH, mask_zero=True)(given)
        if family == "transformer":
            places = k.layers.Embedding(LENGTH, WIDTH)(k.ops.arange(LENGTH))
            x = x + places
            for _ in range(2):
                h = k.layers.LayerNormalization()(x)
                x = x + k.layers.MultiHeadAttention(2, WIDTH // 2, use_bias=False)(h, h)
                h = k.layers.LayerNormalization()(x)
                h = k.layers.Dense(4 * WIDTH, activation="gelu")(h)
                x = x + k.layers.Dense(WIDTH)(h)
        else:
            layer = {"lstm": k.layers.LSTM, "gru": k.layers.GRU}[family]
            h = k.layers.LayerNormalization()(x)
            x = x + layer(WIDTH, return_sequences=True)(h)
        pooled = k.layers.GlobalAveragePooling1D()(k.layers.LayerNormalization()(x))
    model = k.Model(given, k.layers.Dense(CLASSES)(pooled))
    model.compile(
        optimizer=k.optimizers.AdamW(RATE, clipnorm=1.0),
        loss=k.losses.SparseCategoricalCrossentropy(from_logits=True),
    )

    def block(steps):
        rows = steps * ROWS
        model.fit(tokens[:rows], labels[:rows], batch_size=ROWS, epochs=1, verbose=0)

    return block


MAKERS = {"ours": ours, "plain": plain, "skorch": skorch, "trainer": trainer, "keras": keras}


def child(peer, family, lengths_file):
    """Train when told to, and say what it took."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not ours to read
    ids, labels = documents(lengths_file)
    more = {"precision": "bfloat16"} if peer == "ours bf16" else {}
    block = MAKERS[peer.split()[0]](family, ids, labels, **more)
    block(1)
    print(json.dumps({"cold": time.process_time()}), file=out, flush=True)
    for line in sys.stdin:
        began = time.process_time()
        block(int(line))
        took = time.process_time() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"seconds": took, "peak": peak}), file=out, flush=True)


class Turn:
    """A contender's process."""

    def __init__(self, peer, family, lengths_file):
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        line = [sys.executable, __file__, "--child", peer, "--families", family]
        self.process = subprocess.Popen(
            [*line, "--lengths", str(lengths_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | threads | {"TOKENIZERS_PARALLELISM": "false"},
        )
        self.peer, self.blocks = peer, []
        self.cold = self.hear()["cold"]

    def hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.peer}: {self.process.stderr.read()[-1500:]}")
        return json.loads(line)

    def go(self, steps):
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        self.blocks.append(self.hear())

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def review_lengths(path, folder):
    """Lengths of the first reviews, drawn without order, saved for the children."""
    import numpy as np

    from howfar.data.read import read_table
    from howfar.data.tokenise import train_tokeniser

    texts = read_table(path).texts
    chosen = np.random.default_rng(0).permutation(len(texts))[:DOCUMENTS]
    picked = [texts[i] for i in chosen]
    lengths = [
        min(LENGTH, max(1, len(ids))) for ids in train_tokeniser("word", picked).encode(picked)
    ]
    np.save(folder / "lengths.npy", np.asarray(lengths))
    return folder / "lengths.npy", lengths


def main():
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--texts", type=Path, help="a table of reviews; default: the shipped ones")
    asked.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    asked.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--json", type=Path)
    asked.add_argument("--child", help=argparse.SUPPRESS)
    asked.add_argument("--lengths", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.child:
        child(given.child, given.families[0], given.lengths)
        return
    import tempfile

    from howfar.data.shipped import resolve

    with tempfile.TemporaryDirectory() as folder:
        texts = given.texts or resolve("movie_reviews")
        file, lengths = review_lengths(texts, Path(folder))
        print(
            f"{len(lengths)} reviews, words: median {statistics.median(lengths):.0f}, "
            f"cut at {LENGTH}: {sum(n == LENGTH for n in lengths)}"
        )
        print(
            "family       peer        documents/CPU s   ours is x faster (range)  cold s   peak MB"
        )
        found = []
        for family in given.families:
            turns = [Turn(peer, family, file) for peer in given.peers]
            for _ in range(given.rounds):
                for turn in turns:
                    turn.go(DOCUMENTS // ROWS)
            for turn in turns:
                turn.end()
                found.append(told(family, turn, turns[0]))
                print(found[-1]["line"], flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


def told(family, turn, mine):
    seconds = [block["seconds"] for block in turn.blocks]
    ratios = [s / m["seconds"] for s, m in zip(seconds, mine.blocks, strict=True)]
    rate = DOCUMENTS / statistics.median(seconds)
    peak = turn.blocks[-1]["peak"] / 1e6
    middle = statistics.median(ratios)
    line = (
        f"{family:12} {turn.peer:10} {rate:10.0f} {middle:18.2f} ({min(ratios):.2f}-"
        f"{max(ratios):.2f}) {turn.cold:12.1f} {peak:9.0f}"
    )
    figures = {
        "documents_per_cpu_second": rate,
        "ours_faster": ratios,
        "cold_cpu_seconds": turn.cold,
    }
    return {"family": family, "peer": turn.peer, "peak_mb": peak, **figures, "line": line}


if __name__ == "__main__":
    main()
