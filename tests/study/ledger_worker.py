"""A worker of the tests: PATH DEED. It tells what it does on its standard output."""

import fcntl
import os
import sys
import time
from pathlib import Path

from howfar.study import journal
from howfar.study.ledger import Ledger, Lost
from howfar.study.owner import me


def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def work(path):
    """Wait for a line, then do cells until none is left."""
    ledger = Ledger(path)
    tell("ready")
    sys.stdin.readline()
    while ledger.counts()["waiting"] + ledger.counts()["running"]:
        if (claim := ledger.claim(me())) is None:
            time.sleep(0.02)
            continue
        time.sleep(0.005)
        ledger.finish(claim, "done", {"pid": os.getpid(), "run": claim.run})
        tell(claim.run)


def hold(path):
    """Claim a cell, wait for a line, then finish it."""
    ledger = Ledger(path)
    claim = ledger.claim(me())
    tell(claim.run, claim.token)
    sys.stdin.readline()
    for deed in (lambda: ledger.beat(claim), lambda: ledger.finish(claim, "done", {"by": "old"})):
        try:
            deed()
            tell("kept")
        except Lost:
            tell("lost")


def churn(path):
    """Claim and give back for ever."""
    ledger = Ledger(path)
    tell("ready")
    while True:
        ledger.release(ledger.claim(me()))


def append(path):
    """Append 200 records of different lengths."""
    for number in range(200):
        journal.append(path, {"pid": os.getpid(), "number": number, "text": "é" * (number % 50)})


def append_unlocked(path):
    """The same where `flock` does nothing, as on some network file systems."""
    fcntl.flock = lambda descriptor, operation: None
    append(path)


if __name__ == "__main__":
    globals()[sys.argv[2]](Path(sys.argv[1]))
