"""The hub's manners: a local folder, a cache of links, no network where none is wanted."""

import hashlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tests.bundle.making import TEXTS, bundle

from howfar.api.bundles import load
from howfar.bundle.bundle import Bundle
from howfar.bundle.hub import from_pretrained, save_pretrained
from howfar.bundle.save import FILES, save
from howfar.core.errors import EnvironmentFault, StoreError, UsageError


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for huggingface_hub that notes what it is asked."""
    asked = []

    def answer(with_what):
        def download(name, **options):
            asked.append((name, options))
            if isinstance(with_what, Exception):
                raise with_what
            return str(with_what)

        monkeypatch.setitem(
            sys.modules, "huggingface_hub", SimpleNamespace(snapshot_download=download)
        )
        return asked

    return answer


def cache_of(made, root):
    """As the hub keeps files: blobs by hash, and a snapshot of links to them."""
    save(made, root / "whole")
    (root / "blobs").mkdir()
    (root / "snapshot").mkdir()
    for path in (root / "whole").iterdir():
        data = path.read_bytes()
        blob = root / "blobs" / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (root / "snapshot" / path.name).symlink_to(blob)
    return root / "snapshot"


def test_a_local_folder_there_and_back(tmp_path):
    made = bundle(scale=30.0)
    made.save_pretrained(tmp_path / "m")
    save_pretrained(made, tmp_path / "m")  # gives way
    for found in (Bundle.from_pretrained(tmp_path / "m"), from_pretrained(str(tmp_path / "m"))):
        assert np.array_equal(found.probabilities(TEXTS), made.probabilities(TEXTS))


def test_from_the_hub(tmp_path, hub):
    made = bundle(scale=30.0)
    asked = hub(cache_of(made, tmp_path))
    found = from_pretrained("owner/name", revision="v1")
    assert found.predict(TEXTS) == made.predict(TEXTS)
    assert asked == [("owner/name", {"revision": "v1", "allow_patterns": list(FILES)})]
    assert not any(pattern.endswith((".bin", ".pt", ".pkl", ".py", "*")) for pattern in FILES)
    assert load("hf:owner/name").predict(TEXTS) == made.predict(TEXTS)


def test_a_damaged_snapshot(tmp_path, hub):
    hub(cache_of(bundle(), tmp_path))
    blob = (tmp_path / "snapshot" / "weights.safetensors").resolve()
    data = bytearray(blob.read_bytes())
    data[-1] ^= 4
    blob.write_bytes(data)
    with pytest.raises(StoreError) as caught:
        from_pretrained("owner/name")
    assert caught.value.code == "E-DAMAGED"


def test_a_path_that_is_not_there_asks_no_network(tmp_path, hub, monkeypatch):
    asked = hub(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("model", "./a/b", "/a/b", "a/b/c", "../x/y", "a b/c", "hf:model"):
        with pytest.raises(UsageError) as caught:
            from_pretrained(name)
        assert caught.value.code == "E-NO-BUNDLE"
    with pytest.raises(UsageError):
        load("owner/name")  # a path, unless hf: stands in front
    assert asked == []


def test_a_local_folder_goes_before(tmp_path, hub, monkeypatch):
    asked = hub(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner").mkdir()
    save(bundle(), tmp_path / "owner" / "name")
    from_pretrained("owner/name")
    assert asked == []


def test_no_network_and_no_such_repository(tmp_path, hub):
    hub(OSError("no route\nto host"))
    with pytest.raises(EnvironmentFault, match="no route to host") as caught:
        from_pretrained("owner/name")
    assert caught.value.code == "E-OFFLINE"
    kind = type("RepositoryNotFoundError", (Exception,), {})
    hub(kind("404"))
    with pytest.raises(UsageError, match="owner/name"):
        from_pretrained("owner/name")


def test_without_the_hubs_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(EnvironmentFault, match="huggingface_hub") as caught:
        from_pretrained("owner/name")
    assert caught.value.code == "E-EXTRA"


def test_the_real_package_stays_offline_when_told(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises((EnvironmentFault, UsageError)):
        from_pretrained("owner/name")
