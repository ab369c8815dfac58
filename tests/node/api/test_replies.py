"""Pages of lists that are in memory: each goes on behind the last item of the one before, whatever changed since."""

from typing import Any, NamedTuple

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidParameters
from market.jobs import BidSeen
from market.units import Rate, Timestamp
from node.api.merging import place_of
from node.api.providers import book_page
from node.api.replies import Page, cursor_behind, cut, key_in, listing
from node.records import ApiKey, Webhook
from tests.builders import NOW, PROVIDER, an_address, an_offer, an_order
from tests.node.api.fakes import ALICE, World, a_job

pytestmark = pytest.mark.anyio
AGENT = {"image": "nginx:1"}
IMAGE: dict[str, Any] = {"customImage": "nginx:1", "ports": [80], "maxPricePerHour": "0.5"}


class Item(NamedTuple):
    created_at: int
    id: str


def a_page(cursor: str = "", limit: int = 2) -> Page:
    return Page(limit=limit, cursor=cursor, offset=0, number=None)


items = st.lists(st.builds(Item, st.integers(0, 3), st.text("ab", max_size=3)), max_size=12, unique=True)


@given(items, st.integers(1, 5), st.booleans())
def test_the_pages_of_a_list_are_the_list(found: list[Item], limit: int, newest: bool) -> None:
    found.sort(reverse=newest)
    seen: list[Item] = []
    cursor: str | None = ""
    while cursor is not None:
        shown, totals = listing(found, a_page(cursor, limit), place_of, newest=newest)
        assert (totals["offset"], totals["total"]) == (len(seen), len(found))
        seen += shown
        cursor = totals["pagination"].next_cursor
    assert seen == found


@given(items, st.data())
def test_what_comes_and_goes_between_two_pages_moves_nothing_else(found: list[Item], data: st.DataObject) -> None:
    found.sort(reverse=True)
    shown, cursor = cut(found, a_page(), place_of, newest=True)
    gone = data.draw(st.sets(st.sampled_from(found), max_size=3)) if found else set()
    fresh = Item(9, "new")
    later = [fresh, *(item for item in found if item not in gone)]
    if cursor is not None:
        following, _ = cut(later, a_page(cursor, 99), place_of, newest=True)
        assert following == [item for item in found if item not in shown and item not in gone]


@pytest.mark.parametrize("key", [(1, "a"), ("é" * 64, "dep_1"), (-3, 7, "0xab"), ()])
def test_a_cursor_holds_its_key(key: tuple[int | str, ...]) -> None:
    assert key_in(cursor_behind(key)) == key


@pytest.mark.parametrize("cursor", ["!!", "zzz", "é", "bnVsbA", cursor_behind(("a", 1))])
def test_a_cursor_of_another_list_or_of_nobody_is_refused(cursor: str) -> None:
    with pytest.raises(InvalidParameters):
        cut([Item(1, "a")], a_page(cursor), place_of)


@pytest.mark.parametrize(("path", "body"), [("agents", AGENT), ("deployments", IMAGE)])
async def test_a_service_that_is_made_between_two_pages_shows_none_twice(
    client: httpx.AsyncClient, world: World, path: str, body: dict[str, Any]
) -> None:
    made = []
    for number in range(4):
        world.clock.time += 1
        answer = await client.post(f"/v1/{path}", json=body | {"name": f"n{number}"})
        assert answer.status_code == 201, answer.text
        made.append((answer.json().get("deployment") or answer.json())["id"])
        if number == 2:
            first = (await client.get(f"/v1/{path}?limit=2")).json()
    cursor = first["pagination"]["nextCursor"]
    second = (await client.get(f"/v1/{path}?limit=2&cursor={cursor}")).json()
    assert [item["id"] for page in (first, second) for item in page[path]] == [made[2], made[1], made[0]]
    assert path == "deployments" or second["offset"] == 3


def fill(world: World) -> None:
    """Several of the things that lists show."""
    bids = tuple(BidSeen(provider=an_address(n), rate=Rate(1), start_within=0, at=NOW) for n in (1, 2, 3))
    world.jobs.put(a_job(bids=bids))
    for n in ("1", "2", "3"):
        made = Timestamp(NOW + 1)
        world.storage.put(ApiKey(id=f"key_{n}", account=ALICE.id, digest=n, created_at=made, name="k"))
        world.storage.put(
            Webhook(id=f"wh_{n}", account=ALICE.id, url="https://a.example", secret=b"s", created_at=made)
        )


LISTS = [
    ("keys", "keys"),
    ("webhooks", "webhooks"),
    ("templates", "templates"),
    ("services", "services"),
    ("languages", "languages"),
    ("market/orders", "asks"),
    (f"providers/prov_{PROVIDER[2:]}/offers", "offers"),
    ("jobs/job_0000000000000001/bids", "bids"),
    ("wallet/transactions", "transactions"),
]


@pytest.mark.parametrize(("path", "plural"), LISTS)
async def test_every_list_can_be_paged_in_each_way(
    client: httpx.AsyncClient, world: World, path: str, plural: str
) -> None:
    fill(world)
    whole = (await client.get(f"/v1/{path}")).json()
    items, place = whole[plural], whole["pagination"]
    assert (place["total"], place["limit"], place["hasMore"]) == (len(items), 100, False)
    seen: list[Any] = []
    query: str | None = "limit=1"
    while query is not None:
        page = (await client.get(f"/v1/{path}?{query}")).json()
        seen += page[plural]
        cursor = page["pagination"].get("nextCursor")
        query = cursor and f"limit=1&cursor={cursor}"
    assert names(seen) == names(items)
    for number in range(len(items)):
        for query in (f"offset={number}", f"page={number + 1}"):
            assert names((await client.get(f"/v1/{path}?limit=1&{query}")).json()[plural]) == names(items)[number:][:1]
    assert (await client.get(f"/v1/{path}?limit=101")).status_code == 400


def names(items: list[dict[str, Any]]) -> list[Any]:
    return [item.get("id") or item.get("name") or item["provider"] for item in items]


def test_both_sides_of_the_book_are_paged_at_once() -> None:
    asks = [an_offer(id=f"off_{n:06d}") for n in range(3)]
    orders = [an_order(id=f"ord_{n:06d}") for n in range(5)]
    seen: list[list[str]] = [[], []]
    cursor: str | None = ""
    while cursor is not None:
        *sides, place = book_page(asks, orders, a_page(cursor))
        for ids, side in zip(seen, sides, strict=True):
            ids += [each.id for each in side]
        cursor = place.next_cursor
    assert seen == [[ask.id for ask in asks], [order.id for order in orders]]
    assert place.total == 5
