"""Rows on threads, large results, and compiling where no folder can be written."""

import os
import signal
import threading

import numpy as np
import pytest
import torch

from howfar.models import kernels
from howfar.models.kernels import memory, threads


@pytest.fixture(params=[1, 2, 5])
def count(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 100])
def test_parts_make_up_all_rows(count, rows):
    seen, lock = [], threading.Lock()

    def work(first, last):
        with lock:
            seen.append((first, last))

    threads.in_parts(rows, work)
    assert len(seen) == min(count, rows)
    assert sorted(row for part in seen for row in range(*part)) == list(range(rows))


def test_few_rows_are_not_worth_a_thread(count):
    seen = []
    threads.in_parts(6, lambda first, last: seen.append((first, last)), least=4)
    assert seen == [(0, 6)]


@pytest.mark.parametrize("bad", [0, 3])
def test_an_exception_of_any_part_is_raised(count, bad):
    def work(first, last):
        if first <= bad < last:
            raise ValueError("row")

    with pytest.raises(ValueError, match="row"):
        threads.in_parts(5, work)


def test_parts_in_parts_do_not_wait_for_each_other(count, monkeypatch):
    # torch counts for each thread: where OMP_NUM_THREADS is 1, a new one would say 1
    monkeypatch.setattr(torch, "get_num_threads", lambda: count)
    monkeypatch.setattr(threads, "_pool", threads.Pool())
    seen = []
    threads.in_parts(
        4, lambda first, last: threads.in_parts(last - first, lambda a, b: seen.append(b - a))
    )
    assert sum(seen) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(count):
    threads.in_parts(8, lambda first, last: None)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        done = np.zeros(8)
        threads.in_parts(8, lambda first, last: done[first:last].fill(1))
        os._exit(0 if done.all() else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex128, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(), (3, 0), (5, 7), (3, 1 << 20)], ids=str)
def test_empty_has_the_shape_and_type_asked_for(shape, dtype):
    x = memory.empty(torch.zeros(1, dtype=dtype), *shape)
    assert x.shape == shape
    assert x.dtype == dtype
    assert x.is_contiguous()
    x.fill_(1)
    assert x.sum().real.item() == x.numel() or dtype == torch.bfloat16


def test_empty_stays_on_the_device():
    assert memory.empty(torch.zeros(1, device="meta"), 3, 1 << 21).is_meta


def test_arrays_share_memory_where_they_can():
    x = torch.arange(6.0).view(2, 3).requires_grad_()
    memory.array(x)[0, 0] = 9
    assert x[0, 0] == 9
    assert memory.array(x.mT).tolist() == x.mT.tolist()
    assert memory.array(torch.tensor([1j]).conj()).tolist() == [-1j]


@pytest.mark.skipif(not kernels.installed(), reason="needs numba")
def test_compiled_without_a_folder_to_write_to(monkeypatch):
    from howfar.models.kernels import jit

    tried, plain = [], jit.njit

    def njit(cache=False, **options):
        tried.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return plain(**options)

    monkeypatch.setattr(jit, "njit", njit)

    @jit.jit()
    def double(x):
        return 2 * x

    assert double(3) == 6
    assert tried == [True, False]
