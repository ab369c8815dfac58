"""What an account has in the content store: listed, let go of, and nobody else's."""

import hashlib

import httpx
import pytest

from node.actions.holdings import Quotas
from tests.builders import NOW, a_file, a_job, a_workload
from tests.node.api.fakes import ALICE, OTHER_KEY, World

pytestmark = pytest.mark.anyio


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def test_files_are_listed_those_used_last_first_with_what_they_take(
    client: httpx.AsyncClient, world: World
) -> None:
    for number, content in enumerate((b"one", b"two!", b"three")):
        world.clock.time = NOW + 1000 * number
        await client.put("/v1/files", content=content)
    page = (await client.get("/v1/files?limit=2")).json()
    assert [(file["digest"], file["size"]) for file in page["files"]] == [
        (digest_of(b"three"), 5),
        (digest_of(b"two!"), 4),
    ]
    assert (page["bytes"], page["limit"], page["pagination"]["total"]) == (12, Quotas().free, 3)
    rest = (await client.get("/v1/files", params={"limit": 2, "cursor": page["pagination"]["nextCursor"]})).json()
    [last] = rest["files"]
    assert (last["digest"], last["usedAt"] < last["keptUntil"]) == (digest_of(b"one"), True)
    assert rest["pagination"]["hasMore"] is False


async def test_a_deleted_file_is_gone_and_counts_no_longer(client: httpx.AsyncClient) -> None:
    digest = (await client.put("/v1/files", content=b"words")).json()["digest"]
    gone = await client.delete(f"/v1/files/{digest}")
    assert (gone.status_code, gone.json()) == (200, {"success": True, "message": "File deleted", "id": digest})
    assert (await client.get("/v1/files")).json()["bytes"] == 0
    assert (await client.delete(f"/v1/files/{digest}")).status_code == 404


async def test_a_file_of_somebody_else_is_like_one_that_is_not_there(client: httpx.AsyncClient) -> None:
    digest = (await client.put("/v1/files", content=b"words")).json()["digest"]
    theirs = await client.delete(f"/v1/files/{digest}", headers={"x-api-key": OTHER_KEY})
    missing = await client.delete(f"/v1/files/{digest_of(b'')}", headers={"x-api-key": OTHER_KEY})
    assert (theirs.status_code, theirs.json()["error"]["code"]) == (404, missing.json()["error"]["code"])
    assert (await client.get("/v1/files", headers={"x-api-key": OTHER_KEY})).json()["files"] == []
    assert (await client.get("/v1/files")).json()["bytes"] == 5


async def test_a_file_that_a_job_works_with_stays(client: httpx.AsyncClient, world: World) -> None:
    stored = (await client.put("/v1/files", content=b"words")).json()
    needs = a_workload(inputs=(a_file(digest=stored["digest"], size=5),))
    await world.storage.write(lambda tx: tx.put(a_job(account=ALICE.id, workload=needs)))
    refused = await client.delete(f"/v1/files/{stored['digest']}")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "CONFLICT")
    assert (await client.get("/v1/files")).json()["bytes"] == 5
