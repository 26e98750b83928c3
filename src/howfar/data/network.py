"""Whether the hub answers: asked once, since its libraries ask a dead network again and again.

Idea     one request for the front page, through the library's own session (its endpoint, its
         proxies); where none comes back in time, the libraries are offline for the while: they take
         what is in their caches, or fail at once
Slow     any answer is one, whatever it says; HF_HUB_ETAG_TIMEOUT gives a slow network more seconds
Source   https://huggingface.co/docs/huggingface_hub/package_reference/environment_variables
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from os import environ
from threading import Thread
from typing import Any

SECONDS = 5.0
_SETTINGS = ("huggingface_hub.constants", "datasets.config")
_OFFLINE = "HF_HUB_OFFLINE"


@contextmanager
def reaching() -> Iterator[str]:
    """Within: the hub's libraries ask the network where it answers, and else their caches alone.

    Yields:
        Why the hub cannot be reached; "" where it answers, or where nobody may ask it.
    """
    why = _silence()
    if not why:
        yield ""
        return
    modules = [sys.modules[name] for name in _SETTINGS if name in sys.modules]
    before = [getattr(module, _OFFLINE, False) for module in modules]
    try:
        for module in modules:
            setattr(module, _OFFLINE, True)
        yield why
    finally:
        for module, was in zip(modules, before, strict=True):
            setattr(module, _OFFLINE, was)


def _silence() -> str:
    """Why no answer came from the hub; "" where one came, or where none may be asked for."""
    try:
        hub: Any = import_module("huggingface_hub")
        constants: Any = import_module("huggingface_hub.constants")
        session, address = hub.get_session(), constants.ENDPOINT
    except (ImportError, AttributeError):
        return ""  # another version of the library: it asks in its own way
    if any(getattr(sys.modules.get(name), _OFFLINE, False) for name in _SETTINGS):
        return ""
    seconds, found = _patience(), ["it did not answer in time"]

    def ask() -> None:
        try:
            session.head(address, timeout=seconds)
            found[0] = ""
        except Exception as error:  # whatever a network can do
            found[0] = " ".join(str(error).split()) or type(error).__name__

    # A host of many addresses is tried at each of them: no timeout of a request bounds that.
    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(seconds)
    return found[0]


def _patience() -> float:
    """Seconds to wait: the library's own setting where it is set."""
    with suppress(ValueError):
        return max(1.0, float(int(environ.get("HF_HUB_ETAG_TIMEOUT", ""))))
    return SECONDS
