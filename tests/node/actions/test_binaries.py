"""Programs by address: kept by content, bounded, and nothing is left of those that are refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from market.errors import InvalidParameters, QuotaExceeded
from node.actions import binaries
from node.actions.binaries import Binaries
from node.actions.files import Files
from node.actions.holdings import Holdings, Quotas
from node.records import Account
from tests.builders import NOW
from tests.fakes import FakeClock, MemoryStorage

ACCOUNT = Account(id="user_1", name="one", created_at=NOW)


class FakeDownloads:
    """Chunks by URL; a URL that is not known is refused after the first chunk."""

    def __init__(self, **known: tuple[bytes, ...]) -> None:
        self._known = known

    async def fetch(self, url: str) -> AsyncIterator[bytes]:
        for chunk in self._known.get(url, (b"half",)):
            yield chunk
        if url not in self._known:
            raise InvalidParameters("binary_url must be a file", field="binary_url", value=url)


def a_store(folder: Path, **quotas: int) -> Holdings:
    peers: Any = None
    storage = MemoryStorage()
    return Holdings(storage, FakeClock(), Files(folder, peers, storage), Quotas(**quotas))


def test_a_program_is_kept_by_its_content(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    file = asyncio.run(Binaries(FakeDownloads(a=(b"pro", b"gram")), store).fetch(ACCOUNT, "a"))
    assert (file.path, file.size, file.digest) == ("agent", 7, hashlib.sha256(b"program").hexdigest())
    path = store.path(ACCOUNT.id, file.digest)
    assert path is not None
    assert path.read_bytes() == b"program"
    assert not store.has("user_2", file.digest)


def test_a_program_that_the_account_has_no_room_for_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(QuotaExceeded):
        asyncio.run(Binaries(FakeDownloads(a=(b"pro", b"gram")), a_store(tmp_path, free=6)).fetch(ACCOUNT, "a"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["large", "broken"])
def test_a_program_that_is_refused_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(binaries, "MAX_BINARY", 5)
    with pytest.raises(InvalidParameters) as caught:
        asyncio.run(Binaries(FakeDownloads(large=(b"abc", b"def")), a_store(tmp_path)).fetch(ACCOUNT, url))
    assert caught.value.details["field"] == "binary_url"
    assert list(tmp_path.iterdir()) == []
