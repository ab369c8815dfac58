"""Programs by address: kept by content, bounded, and nothing is left of those that are refused."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from market.errors import InvalidParameters
from node.actions import binaries
from node.actions.binaries import Binaries
from node.actions.files import Files
from tests.fakes import MemoryStorage


class FakeDownloads:
    """Chunks by URL; a URL that is not known is refused after the first chunk."""

    def __init__(self, **known: tuple[bytes, ...]) -> None:
        self._known = known

    async def fetch(self, url: str) -> AsyncIterator[bytes]:
        for chunk in self._known.get(url, (b"half",)):
            yield chunk
        if url not in self._known:
            raise InvalidParameters("binary_url must be a file", field="binary_url", value=url)


def a_store(folder: Path) -> Files:
    peers: Any = None
    return Files(folder, peers, MemoryStorage())


def test_a_program_is_kept_by_its_content(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    file = asyncio.run(Binaries(FakeDownloads(a=(b"pro", b"gram")), store).fetch("a"))
    assert (file.path, file.size, file.digest) == ("agent", 7, hashlib.sha256(b"program").hexdigest())
    assert store.path(file.digest).read_bytes() == b"program"


@pytest.mark.parametrize("url", ["large", "broken"])
def test_a_program_that_is_refused_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(binaries, "MAX_BINARY", 5)
    with pytest.raises(InvalidParameters) as caught:
        asyncio.run(Binaries(FakeDownloads(large=(b"abc", b"def")), a_store(tmp_path)).fetch(url))
    assert caught.value.details["field"] == "binary_url"
    assert list(tmp_path.iterdir()) == []
