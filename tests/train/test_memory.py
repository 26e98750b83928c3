"""Freed memory stays within the process while a model trains, and only then."""

import os
import platform
import sys
from pathlib import Path

import pytest
import torch

from howfar.train import memory
from howfar.train.memory import kept_memory

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in memory.TUNED),
    reason="needs glibc with its own settings",
)


def resident_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def test_freed_memory_is_kept_within_and_given_back_after():
    def use_100_mib():
        torch.empty(100 * 2**18).fill_(1.0)

    use_100_mib()
    before = resident_mib()
    with kept_memory():
        use_100_mib()
        assert resident_mib() - before > 90
    assert resident_mib() - before < 10


def test_the_limits_return_after_an_error(monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "_set", seen.append)
    with pytest.raises(ZeroDivisionError), kept_memory():
        raise ZeroDivisionError
    assert seen == [memory.KEPT, memory.USUAL]


def test_an_environment_that_tunes_its_allocator_is_left_alone(monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "_set", seen.append)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1")
    with kept_memory():
        pass
    monkeypatch.delenv("MALLOC_TRIM_THRESHOLD_")
    monkeypatch.setattr(sys, "platform", "win32")
    with kept_memory():
        pass
    assert seen == []
