"""A dead network is noticed once and soon; a slow one is waited for."""

import socket
import sys
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from howfar.bundle.hub import from_pretrained
from howfar.core.errors import EnvironmentFault
from howfar.data import network
from howfar.data.anything import open_rows

datasets = pytest.importorskip("datasets")
constants = pytest.importorskip("huggingface_hub.constants")


@contextmanager
def server(answer, after=0.0):
    """A host on this machine; `answer`: its bytes, or None, where it takes calls and is silent."""
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            while True:
                try:
                    call, _ = listening.accept()
                except OSError:
                    return
                with call:
                    calls.append(call.recv(4096))
                    time.sleep(after)
                    if answer is not None:
                        call.sendall(answer)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", calls
        listening.shutdown(socket.SHUT_RDWR)
        serving.join(5)


@pytest.fixture(autouse=True)
def online(monkeypatch, tmp_path):
    """Asking is allowed, nothing is cached, and time-outs are short."""
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "1")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def is_offline():
    return constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE


@pytest.mark.parametrize(
    "read", [lambda: open_rows("hf:a/b"), lambda: from_pretrained("a/b")], ids=["data", "model"]
)
def test_a_dead_network_is_said_within_seconds(read, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    started = time.monotonic()
    with pytest.raises(EnvironmentFault, match="refused") as caught:
        read()
    assert caught.value.code == "E-OFFLINE"
    assert time.monotonic() - started < 5
    assert is_offline() == (False, False)


def test_a_host_that_is_silent_is_not_waited_for(monkeypatch):
    with server(None, after=3) as (address, calls):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        started = time.monotonic()
        with pytest.raises(EnvironmentFault) as caught:
            open_rows("hf:a/b")
        assert time.monotonic() - started < 2.5
        assert caught.value.code == "E-OFFLINE"
        assert len(calls) == 1


def test_a_host_of_many_addresses_is_not_waited_for(monkeypatch):
    """A time-out of a request holds for each address; the wait is for all of them."""
    slow = SimpleNamespace(head=lambda *_, **__: time.sleep(3))
    monkeypatch.setattr("huggingface_hub.get_session", lambda: slow)
    started = time.monotonic()
    with network.reaching() as why:
        assert why == "it did not answer in time"
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "503 Busy"])
def test_a_slow_answer_is_an_answer(status, monkeypatch):
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    with server(answer, after=0.5) as (address, calls):
        monkeypatch.setattr(constants, "ENDPOINT", address)
        with network.reaching() as why:
            assert why == ""
            assert is_offline() == (False, False)
        assert len(calls) == 1


def test_the_cache_is_taken_where_nothing_answers(monkeypatch):
    found = datasets.Dataset.from_dict({"text": ["a"]})
    seen = []

    def load(*_):
        seen.append(is_offline())
        return found

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{closed_port()}")
    assert len(open_rows("hf:a/b")) == 1
    assert seen == [(True, True)]
    assert is_offline() == (False, False)


@pytest.mark.parametrize("module", ["huggingface_hub.constants", "datasets.config"])
def test_nobody_is_asked_where_that_is_forbidden(module, monkeypatch):
    monkeypatch.setattr(f"{module}.HF_HUB_OFFLINE", True)
    asked = []
    monkeypatch.setattr("huggingface_hub.get_session", lambda: asked.append(1))
    with network.reaching() as why:
        assert why == ""
    assert asked in ([], [1])  # a session is no request


def test_the_seconds_are_those_of_the_library(monkeypatch):
    for given, seconds in (("30", 30.0), ("0", 1.0), ("soon", network.SECONDS), ("", 5.0)):
        monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", given)
        assert network._patience() == seconds
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT")
    assert network._patience() == network.SECONDS == 5.0


def test_another_library_asks_in_its_own_way(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace())
    with network.reaching() as why:
        assert why == ""
