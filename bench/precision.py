"""Does bfloat16 change a score? The same trainings in float32 and bfloat16, seed by seed.

Run      python bench/precision.py FOLDER_OF_ORIGINALS [--seeds 6] [--only sst2,imdb]
Idea     every seed is trained twice, by `howfar train` on the command line, and once more the model
         of float32 is read in bfloat16; the mean difference of test accuracy over seeds with its
         95 % interval (Student's t), and the share of test texts whose answer changes
Verdict  "unchanged" where the whole interval lies within 0.01 of zero
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

import real_data

CLOSE = 0.01
SHORT = "--batch 50 --dropout 0.3 --rate 1e-3 --evaluations 8 --threads 1"
LONG = "--batch 32 --length 256 --max-vocabulary 20000 --evaluations 4 --threads 1"
FAMILIES = {
    "textcnn": "--family textcnn --set kernels=3,4,5 --width 300 --embedding 128",
    "transformer": "--family transformer --width 128 --embedding 128",
}
T_95 = (0, 12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # by degrees of freedom


def sst2(data, out):
    files = real_data.sst2(data, out)[0].partition(" --family")[0]
    return f"{files} {SHORT} --budget '6 epochs'", out / "sst2_test.csv"


def imdb(data, out, rows=4000):
    for part in ("train", "test"):
        found = [json.loads(line) for line in real_data.lines_of(data / f"imdb/{part}.jsonl.gz")]
        step = len(found) // rows
        made = [(row["text"], row["label"]) for row in found[::step]][:rows]
        real_data.table(out / f"imdb_{part}_{rows}.csv", made)
    files = f"{out}/imdb_train_{rows}.csv --test {out}/imdb_test_{rows}.csv"
    return f"{files} {LONG} --rate 2e-3 --budget '4 epochs'", out / f"imdb_test_{rows}.csv"


SETS = {"sst2": sst2, "imdb": imdb}


def called(line):
    ended = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise SystemExit(f"{line}\n{ended.stderr[-2000:]}")
    return ended.stdout


def accuracy(record):
    return next(score["value"] for score in record["scores"] if score["name"] == "accuracy")


def answers(model, texts, precision, out):
    """The answered label of every text."""
    called(
        f"{sys.executable} -m howfar predict {model} {texts} --precision {precision} --out {out} "
        "--threads 1"
    )
    with out.open(encoding="utf-8") as file:
        return [json.loads(line)["prediction"] for line in file]


def told(name, differences):
    """Mean difference and its interval, in words."""
    mean, many = statistics.mean(differences), len(differences)
    half = T_95[many - 1] * statistics.stdev(differences) / math.sqrt(many) if many > 1 else 1.0
    close = "unchanged" if max(abs(mean - half), abs(mean + half)) <= CLOSE else "not shown"
    print(f"  {name}: {mean:+.4f} [{mean - half:+.4f}, {mean + half:+.4f}] {close}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="the folder of originals")
    parser.add_argument("--only", default=",".join(SETS), help=", ".join(SETS))
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--out", type=Path, default=Path("real-data"))
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    for name in given.only.split(","):
        line, texts = SETS[name](given.data, given.out)
        for family in given.families.split(","):
            trained, read, changed = [], [], []
            print(f"{name} {family}: howfar train {line} {FAMILIES[family]}", flush=True)
            for seed in range(given.seeds):
                scores = {}
                for precision in ("float32", "bfloat16"):
                    model = given.out / f"model-{time.time_ns()}"
                    made = f"{line} {FAMILIES[family]} --seed {seed} --precision {precision}"
                    command = f"{sys.executable} -m howfar train {made} --out {model} --json"
                    scores[precision] = accuracy(json.loads(called(command))), model
                plain = answers(scores["float32"][1], texts, "float32", given.out / "a.jsonl")
                rough = answers(scores["float32"][1], texts, "bfloat16", given.out / "b.jsonl")
                right = real_data.labels_of(texts)
                trained.append(scores["bfloat16"][0] - scores["float32"][0])
                hits = [
                    statistics.mean(map(float, map(str.__eq__, found, right)))
                    for found in (plain, rough)
                ]
                read.append(hits[1] - hits[0])
                changed.append(statistics.mean(map(float, map(str.__ne__, plain, rough))))
                shown = " and ".join(f"{score:.4f}" for score, _ in scores.values())
                print(f"  seed {seed}: accuracy {shown}; read {hits[1]:.4f}", flush=True)
            told("trained in bfloat16", trained)
            told("read in bfloat16", read)
            print(f"  answers changed by reading: {statistics.mean(changed):.4f}", flush=True)


if __name__ == "__main__":
    main()
