"""How far back LSTM and GRU language models look in real books: the check behind `twenty_words`.

Idea     `howfar verify twenty_words --text FILE` asks with the receipt's settings, which are small
         enough for a laptop and a play or two; here they are larger, for a shelf of books
Numbers  words: swap reach, the shortest context that loses nothing, the horizon of order; each with
         its interval. Perplexity beside them
Run      zcat books/*.gz > books.txt; python bench/words.py books.txt
"""

import argparse
import time

import torch

from howfar.verify.checks.words import words

SETTINGS = {
    "families": ["lstm", "gru"],
    "window": 256,
    "rows": 400,
    "tolerance": 0.02,
    "max_vocabulary": 10_000,
    "width": 256,
    "embedding": 128,
    "depth": 1,
    "dropout": 0.2,
    "learning_rate": 3e-3,
    "budget": "2 epochs",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("text")
    parser.add_argument("--budget", default=SETTINGS["budget"])
    parser.add_argument("--families", nargs="+", default=SETTINGS["families"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {"text": options.text, "budget": options.budget, "families": options.families}
    began = time.perf_counter()
    found = words(SETTINGS | chosen, lambda line: print(line, flush=True))
    for name, one in found.items():
        print(f"{name}: {one.text} {one.note}")
    print(f"{time.perf_counter() - began:.0f} seconds, settings {SETTINGS | chosen}")


if __name__ == "__main__":
    main()
