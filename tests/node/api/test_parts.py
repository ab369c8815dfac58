"""What the node is made of, in the documented shape."""

import httpx
import pytest

from node.api.parts import spell

pytestmark = pytest.mark.anyio


async def test_the_parts_are_listed_and_looked_at(client: httpx.AsyncClient) -> None:
    found = (await client.get("/v1/services")).json()["services"]
    assert found[0] == {"name": "api", "status": "healthy", "version": "1.0.0", "uptime": "5d 12h 30m"}
    chain = (await client.get("/v1/services/chain/status")).json()
    assert (chain["status"], chain["reason"]) == ("unhealthy", "no answer")
    missing = await client.get("/v1/services/mail/status")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("ms", "text"),
    [(0, "0m"), (59_999, "0m"), (60_000, "1m"), (3_600_000, "1h 0m"), (86_400_000, "1d 0h 0m"), (-5, "0m")],
)
def test_times_are_written_as_people_do(ms: int, text: str) -> None:
    assert spell(ms) == text
