"""Files by content: a name is a digest, a lease opens only its own files, and hostile bytes end nowhere."""

import hashlib
import math
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from market.dialogue import MAX_CHUNK, GetFile
from market.errors import BadMessage, InvalidParameters, Refused, Unavailable
from market.leases import LeaseState
from market.messages import Kind
from market.workloads import File
from node.actions.files import PART_KEPT
from node.actions.stores import LENT_KEPT
from tests.builders import DIGEST, NOW, a_file, a_receipt, a_workload
from tests.node.actions.stage import LEASE, Stage, staged

S = LeaseState
LARGE = bytes(range(256)) * 4096 * 3 + b"end"
"""A little more than three chunks."""


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def left_over(stage: Stage, owner: str = "buyer") -> list[str]:
    return [path.name for path in stage.node(owner).files.folder.iterdir() if path.suffix == ".part"]


@pytest.mark.parametrize("digest", ["", "ab", "../" * 21 + "x", "AB" * 32, "ab" * 32 + "\n"])
def test_only_a_digest_is_a_name(tmp_path: Path, digest: str) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(InvalidParameters):
            stage.buyer.files.path(digest)

    staged(tmp_path, play)


def test_equal_content_is_one_file(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        first, second = (stage.buyer.files.put(b"words") for _ in range(2))
        assert first == second
        assert stage.buyer.files.path(first.digest).read_bytes() == b"words"
        assert len(list(stage.buyer.files.folder.iterdir())) == 1

    staged(tmp_path, play)


def test_an_upload_is_stored_under_its_digest(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stored = await stage.buyer.files.store(chunks(b"wo", b"rds"), limit=5)
        assert (stored.digest, stored.size) == (digest_of(b"words"), 5)
        assert stage.buyer.files.has(stored.digest)

    staged(tmp_path, play)


def test_an_upload_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        with pytest.raises(InvalidParameters):
            await stage.buyer.files.store(chunks(b"wo", b"rds"), limit=4)
        assert list(stage.buyer.files.folder.iterdir()) == []

    staged(tmp_path, play)


# --- what a lease opens --------------------------------------------------------------------------------------------


async def with_output(stage: Stage, content: bytes = b"result") -> File:
    stored = stage.seller.lent.put(content)
    file = a_file(path="out", digest=stored.digest, size=len(content))
    await stage.lease("seller", S.FINISHED, receipt=a_receipt(outputs=(file,)))
    return file


def test_the_requester_reads_the_outputs_of_its_lease(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        file = await with_output(stage, LARGE)
        path = await stage.buyer.files.fetch("peer-seller", LEASE, file)
        assert (path.name, path.read_bytes()) == (digest_of(LARGE), LARGE)
        assert left_over(stage) == []

    staged(tmp_path, play)


def test_the_provider_reads_the_inputs_of_its_lease(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stored = stage.buyer.files.put(b"input")
        file = a_file(digest=stored.digest, size=5)
        await stage.lease("buyer", S.ACCEPTED, workload=a_workload(inputs=(file,)))
        path = await stage.seller.lent.fetch("peer-buyer", LEASE, file)
        assert path.read_bytes() == b"input"

    staged(tmp_path, play)


def test_nobody_else_reads_them_and_no_other_file_is_opened(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        file = await with_output(stage)
        secret = stage.seller.lent.put(b"somebody else's")
        for digest, lease, by in (
            (file.digest, LEASE, "stranger"),
            (file.digest, "lse_000009", "buyer"),
            (secret.digest, LEASE, "buyer"),
            (DIGEST, LEASE, "buyer"),
        ):
            await stage.is_refused("NOT_FOUND", "seller", Kind.FILE, GetFile(lease, digest, 0), by)

    staged(tmp_path, play)


def test_inputs_are_not_read_by_the_requester_and_outputs_not_by_the_provider(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stored = stage.buyer.files.put(b"input")
        file = a_file(digest=stored.digest, size=5)
        await stage.lease("buyer", S.ACCEPTED, workload=a_workload(inputs=(file,)))
        await stage.is_refused("NOT_FOUND", "buyer", Kind.FILE, GetFile(LEASE, file.digest, 0), "buyer")

    staged(tmp_path, play)


# --- fetching from whoever answers ---------------------------------------------------------------------------------


def answering(stage: Stage, answer: Any) -> None:
    async def give(envelope: Any, message: GetFile) -> bytes:
        return answer(message)  # type: ignore[no-any-return]

    stage.seller.peers.on(Kind.FILE, GetFile, give)


def test_a_fetch_goes_on_where_the_last_one_stopped(tmp_path: Path) -> None:
    asked: list[int] = []

    async def play(stage: Stage) -> None:
        def broken(message: GetFile) -> bytes:
            asked.append(message.offset)
            if message.offset >= 2 * MAX_CHUNK and len(asked) < 5:
                raise Unavailable("cut off")
            return LARGE[message.offset : message.offset + message.length]

        answering(stage, broken)
        file = a_file(digest=digest_of(LARGE), size=len(LARGE))
        part = stage.buyer.files.folder / f"{file.digest}.{LEASE}.part"
        part.write_bytes(LARGE[: MAX_CHUNK + 7])
        with pytest.raises(Refused):
            await stage.buyer.files.fetch("peer-seller", LEASE, file)
        asked.clear()
        asked.extend([0] * 5)
        assert (await stage.buyer.files.fetch("peer-seller", LEASE, file)).read_bytes() == LARGE
        assert min(asked[5:]) == MAX_CHUNK + 7

    staged(tmp_path, play)


def test_bytes_without_their_digest_are_thrown_away(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        answering(stage, lambda message: b"x" * 100)
        with pytest.raises(BadMessage):
            await stage.buyer.files.fetch("peer-seller", LEASE, a_file(size=100))
        assert list(stage.buyer.files.folder.iterdir()) == []

    staged(tmp_path, play)


@pytest.mark.parametrize("answer", [b"", b"x" * 101], ids=["nothing", "too much"])
def test_a_file_without_its_size_is_refused(tmp_path: Path, answer: bytes) -> None:
    async def play(stage: Stage) -> None:
        answering(stage, lambda message: answer)
        with pytest.raises(Refused) as caught:
            await stage.buyer.files.fetch("peer-seller", LEASE, a_file(size=100))
        assert caught.value.details["codes"] == ("BAD_FILE",)
        assert not stage.buyer.files.has(DIGEST)

    staged(tmp_path, play)


def test_two_leases_that_fetch_one_file_do_not_write_into_each_others_part(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        honest = a_file(digest=digest_of(b"right"), size=5)
        evil = stage.buyer.files.folder / f"{honest.digest}.lse_000002.part"
        evil.write_bytes(b"wron")
        await with_output(stage, b"right")
        assert (await stage.buyer.files.fetch("peer-seller", LEASE, honest)).read_bytes() == b"right"
        assert evil.read_bytes() == b"wron"

    staged(tmp_path, play)


def test_what_is_here_already_is_not_asked_for(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stored = stage.buyer.files.put(b"words")
        path = await stage.buyer.files.fetch("nobody", LEASE, a_file(digest=stored.digest, size=5))
        assert path.read_bytes() == b"words"

    staged(tmp_path, play)


# --- what is kept --------------------------------------------------------------------------------------------------


def aged(path: Path, seconds: float) -> Path:
    os.utime(path, (NOW / 1000 - seconds, NOW / 1000 - seconds))
    return path


def test_a_file_that_is_used_again_stays(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        stored = stage.seller.lent.put(b"again")
        aged(stage.seller.lent.path(stored.digest), 10**9)
        await stage.seller.lent.fetch("nobody", LEASE, a_file(digest=stored.digest, size=5))
        assert stage.seller.lent.sweep((), LENT_KEPT, time.time()) == 0

    staged(tmp_path, play)


def test_parts_of_transfers_that_nobody_ends_go_after_a_day(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        folder = stage.buyer.files.folder
        for name, age in (("old.part", PART_KEPT + 1), ("new.part", PART_KEPT - 1)):
            (folder / name).write_bytes(b"x")
            aged(folder / name, age)
        assert stage.buyer.files.sweep((), math.inf, NOW / 1000) == 1
        assert [path.name for path in folder.iterdir()] == ["new.part"]

    staged(tmp_path, play)


def test_parts_of_a_lease_go_with_it(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        lent = stage.seller.lent
        for lease in (LEASE, "lse_000002"):
            (lent.folder / f"{'0' * 64}.{lease}.part").write_bytes(b"x")
        lent.drop_parts(LEASE)
        lent.drop_parts(LEASE)
        assert [path.name for path in lent.folder.iterdir()] == [f"{'0' * 64}.lse_000002.part"]

    staged(tmp_path, play)


def test_a_peer_that_gives_a_file_in_crumbs_is_not_fetched_from(tmp_path: Path) -> None:
    async def play(stage: Stage) -> None:
        async def crumb(envelope: Any, message: GetFile) -> bytes:
            return b"x"

        stage.seller.peers.on(Kind.FILE, GetFile, crumb)
        with pytest.raises(Refused):
            await stage.buyer.files.fetch("peer-seller", LEASE, a_file(size=100))

    staged(tmp_path, play)
