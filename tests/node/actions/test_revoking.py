"""What is open for somebody ends when he may no longer, and asks the storage no more often for many than for one."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from market.errors import Unavailable
from node.actions.access import Caller
from node.actions.accounts import Wishes
from node.actions.keys import NewKey
from node.actions.people import People
from node.actions.revoking import Watch
from node.records import Account, ApiKey, Session
from tests.node.actions.desk import Desk

ANN, BOB = "ann@example.org", "bob@example.org"
HOUR = 3_600_000


class Office(Desk):
    """Ann, who signed in and has a key for an hour; Bob, who has one, too."""

    async def opened(self) -> tuple[Caller, Caller, Caller]:
        """The callers of Ann's key, of her token, and of Bob's key."""
        wishes = [Wishes(email=email, password="correct horse", role="admin") for email in (ANN, BOB)]
        ann, bob = [await self.people.accounts.create(each) for each in wishes]
        grant = await self.people.sign_in.by_password(ANN, "correct horse")
        keys = [await self.people.keys.create_for(ann, NewKey(name="a", expires_in=7200))]
        keys.append(await self.people.keys.create_for(bob, NewKey(name="b")))
        mine, hers = (self.people.callers.of(secret) for _, secret in keys)
        return mine, self.people.callers.of(grant.access_token), hers


async def revoke(people: People, key: Caller) -> None:
    await people.keys.revoke(key.account, key.credential)


async def block(people: People, key: Caller) -> None:
    await people.accounts.update(key.account.id, Wishes(is_blocked=True))


async def demote(people: People, key: Caller) -> None:
    await people.accounts.update(key.account.id, Wishes(role="developer"))


async def sign_out(people: People, key: Caller) -> None:
    [session] = people.storage.find(Session, account=key.account.id)
    await people.sign_in.end(key.account, session.id)


async def delete(people: People, key: Caller) -> None:
    await people.accounts.delete(key.account.id)


@pytest.mark.parametrize(
    ("deed", "ended"),
    [
        (revoke, (True, False, False)),
        (sign_out, (False, True, False)),
        (block, (True, True, False)),
        (demote, (True, True, False)),
        (delete, (True, True, False)),
    ],
)
def test_what_was_opened_ends_with_what_opened_it(deed: Callable[[People, Caller], Any], ended: tuple[bool]) -> None:
    async def play() -> None:
        office = Office()
        watch, callers = office.people.watch, await office.opened()
        with watch.over(callers[0]) as key, watch.over(callers[1]) as token, watch.over(callers[2]) as other:
            watch.look()
            assert not any(each.is_set() for each in (key, token, other))
            await deed(office.people, callers[0])
            watch.look()
            assert tuple(each.is_set() for each in (key, token, other)) == ended

    asyncio.run(play())


def test_a_token_ends_with_its_hour_and_a_key_with_its_time() -> None:
    async def play() -> None:
        office = Office()
        watch, callers = office.people.watch, await office.opened()
        with watch.over(callers[0]) as key, watch.over(callers[1]) as token, watch.over(callers[2]) as other:
            for hours, ended in ((1, (False, True, False)), (1, (True, True, False))):
                office.clock.advance(hours * HOUR)
                watch.look()
                assert tuple(each.is_set() for each in (key, token, other)) == ended

    asyncio.run(play())


class Counted:
    """A reader that counts what it is asked, and may be away."""

    def __init__(self, office: Office) -> None:
        self.asked = 0
        self.is_away = False
        self._office = office

    def find(self, *wanted: Any, **where: Any) -> list[Any]:
        self.asked += 1
        if self.is_away:
            raise Unavailable("away")
        return self._office.storage.find(*wanted, **where)


def test_five_hundred_followers_cost_three_questions() -> None:
    async def play() -> None:
        office = Office()
        reader: Any = Counted(office)
        watch = Watch(reader, office.clock, every=60)
        caller = (await office.opened())[0]
        doors = [watch.over(_another(office, caller, number)) for number in range(500)]
        open_now = [door.__enter__() for door in doors]
        watch.look()
        assert (reader.asked, any(each.is_set() for each in open_now)) == (3, False)
        for door in doors:
            door.__exit__(None, None, None)
        watch.look()
        assert reader.asked == 3, "nobody is there to ask for"

    asyncio.run(play())


def _another(office: Office, caller: Caller, number: int) -> Caller:
    """Another account's key."""
    account = Account(id=f"user_{number}", name=f"user {number}", role="admin", created_at=office.clock.now())
    key = ApiKey(id=f"key_{number}", account=account.id, name="a", digest=f"d{number}", created_at=office.clock.now())
    office.storage.put(account)
    office.storage.put(key)
    return replace(caller, account=account, credential=key.id, ends=0)


def test_it_looks_by_itself_while_something_is_open_also_after_the_storage_was_away() -> None:
    async def play() -> None:
        office = Office()
        reader: Any = Counted(office)
        watch = Watch(reader, office.clock, every=0.001)
        caller = (await office.opened())[0]
        before = asyncio.all_tasks()
        async with asyncio.timeout(5):
            with watch.over(caller) as revoked:
                reader.is_away = True
                await revoke(office.people, caller)
                while not reader.asked:
                    await asyncio.sleep(0)
                assert not revoked.is_set()
                reader.is_away = False
                await revoked.wait()
            while asyncio.all_tasks() != before:
                await asyncio.sleep(0)

    asyncio.run(play())
