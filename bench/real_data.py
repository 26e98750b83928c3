"""Train on public data sets, one command each, and print what came out.

Run      python bench/real_data.py FOLDER_OF_ORIGINALS [--only trec,imdb] [--out real-data]
Idea     each set is written once as a file that howfar reads, then `howfar train` runs as a user
         would run it; the figures are read from its JSON and printed with the command
Folds    MR and Subj have no test part: one fold in ten is held out, as many folds as --folds says
Sources  see docs/results.md for what each set is and where published numbers come from
"""

import argparse
import csv
import gzip
import json
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path

CNN = (
    "--family textcnn --set kernels=3,4,5 --width 300 --embedding 300 --dropout 0.3 "
    "--rate 1e-3 --batch 50 "
    "--budget '12 epochs' --evaluations 24 --patience 8 --threads 1"
)


def lines_of(path, encoding="latin-1"):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding=encoding, newline="\n") as file:
        return [line.rstrip("\r\n") for line in file if line.strip()]


def table(path, rows, header=("text", "label")):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])


def labels_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [row["label"] for row in csv.DictReader(file)]


def label_first(lines):
    found = (line.partition(" ") for line in lines)
    return [(text.strip(), label) for label, _, text in found if text.strip()]


def trec(data, out):
    parts = {"train": "TREC.train.all.gz", "test": "TREC.test.all.gz"}
    for part, name in parts.items():
        table(out / f"trec_{part}.csv", label_first(lines_of(data / "kim2014" / name)))
    return [f"{out}/trec_train.csv --test {out}/trec_test.csv --empty drop {CNN}"]


def sst2(data, out):
    for part in ("train", "dev", "test"):
        lines = lines_of(data / "kim2014" / f"stsa.binary.{part}.gz")
        table(out / f"sst2_{part}.csv", label_first(lines))
    files = f"{out}/sst2_train.csv --validation {out}/sst2_dev.csv --test {out}/sst2_test.csv"
    return [f"{files} {CNN}"]


def folded(name, original):
    def commands(data, out):
        rows = label_first(lines_of(data / "kim2014" / original))
        random.Random(0).shuffle(rows)
        made = []
        for fold in range(10):
            table(out / f"{name}_{fold}_test.csv", rows[fold::10])
            kept = [row for place, row in enumerate(rows) if place % 10 != fold]
            table(out / f"{name}_{fold}_train.csv", kept)
            files = f"{out}/{name}_{fold}_train.csv --test {out}/{name}_{fold}_test.csv"
            made.append(f"{files} {CNN}")
        return made

    return commands


def imdb(data, out):
    files = f"{data}/imdb/train.jsonl.gz --test {data}/imdb/test.jsonl.gz"
    return [
        f"{files} --text text --label label --family textcnn --set kernels=1,2,3 --width 300 "
        "--embedding 100 --max-vocabulary 30000 --length 400 --dropout 0.5 --rate 4e-3 "
        "--batch-tokens 12000 --budget '8 epochs' --evaluations 10 --threads 1"
    ]


def newsgroups(data, out):
    for part in ("train", "test"):
        rows = lines_of(data / "20newsgroups" / f"20newsgroups-{part}.tab.gz")[3:]
        found = (row.partition("\t") for row in rows)
        table(out / f"news_{part}.csv", [(text, label) for label, _, text in found if text.strip()])
    return [
        f"{out}/news_train.csv --test {out}/news_test.csv --family textcnn --set kernels=1,2,3 "
        "--width 600 --embedding 150 --max-vocabulary 40000 --length 400 --dropout 0.3 "
        "--rate 3e-3 --budget '12 epochs' --evaluations 12 --threads 1"
    ]


def hotel(data, out):
    path = data / "chnsenticorp_hotel" / "ChnSentiCorp_htl_all.csv"
    return [
        f"{path} --text review --label label --empty drop --tokens char --family textcnn "
        "--set kernels=1,2,3,4 --width 400 --embedding 128 --length 400 --dropout 0.3 "
        "--rate 3e-3 --budget '10 epochs' --evaluations 10 --threads 1"
    ]


def shakespeare(data, out):
    families = (
        "textcnn tcn deepcnn gatedconv hyena elman lstm gru indrnn mingru minlstm transformer s4d "
        "lru mamba rglru linear_attention retention gla mamba2 deltanet gated_deltanet hybrid"
    )
    shape = "--parameters 200000 --embedding 64 --no-carry --length 128 --batch 32"
    how = "--budget '600k tokens' --evaluations 6 --rate 3e-3 --threads 1"
    return [f"tinyshakespeare --aim lm --family {f} {shape} {how}" for f in families.split()]


def scan(split):
    def commands(data, out):
        for part in ("train", "test"):
            rows = lines_of(data / "scan" / f"tasks_{part}_{split}.txt.gz")
            pairs = (row.removeprefix("IN: ").partition(" OUT: ") for row in rows)
            made = [(source, target) for source, _, target in pairs]
            table(out / f"scan_{split}_{part}.csv", made, ("source", "target"))
        files = f"{out}/scan_{split}_train.csv --test {out}/scan_{split}_test.csv"
        return [
            f"{files} --aim seq2seq --text source --label target --tokens word --family gru "
            "--width 128 --embedding 64 --dropout 0.1 --budget '12 epochs' --rate 3e-3 --threads 1"
        ]

    return commands


def cogs(data, out):
    for part in ("train", "dev", "test"):
        rows = [line.split("\t")[:2] for line in lines_of(data / "cogs" / f"{part}.tsv.gz")]
        table(out / f"cogs_{part}.csv", rows, ("source", "target"))
    files = f"{out}/cogs_train.csv --validation {out}/cogs_dev.csv --test {out}/cogs_test.csv"
    return [
        f"{files} --aim seq2seq --text source --label target --tokens word --family lstm "
        "--set attention=cross --width 192 --embedding 96 --dropout 0.1 --budget '10 epochs' "
        "--rate 2e-3 --threads 1"
    ]


def tatoeba(data, out):
    rows = [
        line.split("\t")[:2] for line in lines_of(data / "tatoeba_cmn_eng" / "cmn.txt", "utf-8")
    ]
    table(out / "tatoeba.csv", rows, ("english", "chinese"))
    return [
        f"{out}/tatoeba.csv --aim seq2seq --text english --label chinese --family gru "
        "--set attention=cross --width 256 --embedding 128 --dropout 0.2 --budget '12 epochs' "
        "--rate 2e-3 --threads 1"
    ]


SETS = {
    "trec": trec,
    "sst2": sst2,
    "mr": folded("mr", "rt-polarity.all.gz"),
    "subj": folded("subj", "subj.all.gz"),
    "imdb": imdb,
    "20newsgroups": newsgroups,
    "hotel": hotel,
    "shakespeare": shakespeare,
    "scan_simple": scan("simple"),
    "scan_length": scan("length"),
    "cogs": cogs,
    "tatoeba": tatoeba,
}


def run(command, model):
    """One `howfar train`; its record, and the seconds of the whole command."""
    started = time.perf_counter()
    line = f"{sys.executable} -m howfar train {command} --out {model} --json"
    ended = subprocess.run(line, shell=True, capture_output=True, text=True, check=False)
    if ended.returncode:
        print(ended.stderr[-2000:], flush=True)
        return None, time.perf_counter() - started
    return json.loads(ended.stdout), time.perf_counter() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="the folder of originals")
    parser.add_argument("--only", default=",".join(SETS), help=", ".join(SETS))
    parser.add_argument("--out", type=Path, default=Path("real-data"))
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--json", type=Path, help="where to write all records")
    given = parser.parse_args()
    given.out.mkdir(exist_ok=True)
    records = {}
    for name in given.only.split(","):
        scores, commands = {}, SETS[name](given.data, given.out)
        folded = len(commands) == 10
        for place, command in enumerate(commands[: given.folds] if folded else commands):
            model = given.out / f"model-{name}-{place}-{time.time_ns()}"
            record, seconds = run(command, model)
            if record is None:
                continue
            records[f"{name} {place}"] = record | {"command": command, "wall_seconds": seconds}
            told = record.get("scores", []) + [
                b["score"] | {"name": b["name"]} for b in record.get("baselines", [])
            ]
            for score in told:
                scores.setdefault(score["name"], []).append(score["value"])
            texts = ", ".join(f"{score['name']} {score['value']:.4f}" for score in told)
            print(f"{name} {record['family']} {seconds:.0f} s: {texts}", flush=True)
            print(f"  howfar train {command}", flush=True)
        if folded:
            means = {what: statistics.mean(values) for what, values in scores.items()}
            print(f"{name}, mean of folds: {means}", flush=True)
    if given.json:
        given.json.write_text(json.dumps(records, indent=1))


if __name__ == "__main__":
    main()
