"""What is asked: a whole node on SQLite behind its served API, a provider beside it, and people who own something."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from msgspec import Struct

from market.ledger import CHAIN, Transfer, between, user_account
from node.actions.answers import Answers
from node.actions.build_steps import BuildSteps
from node.actions.keys import NewKey
from node.actions.ledger import post
from node.actions.people import People, let_in
from node.actions.service_logs import Output
from node.actions.wallet_sign_in import Door
from node.actions.webhooks import Webhooks
from node.adapters.clock import SystemClock
from node.adapters.seal import NodeSeal
from node.adapters.storage import open_storage
from node.adapters.tokens import JwtTokens
from node.api.app import create_app
from node.api.limits import UNLIMITED
from node.api.services import Services
from node.api.template_file import load_templates
from node.assembly import Node
from node.config_api import ApiSettings
from node.engine import supervise
from node.loops.delivering import Courier
from node.ports import Storage
from node.records import Account
from tests.fakes import FakeContainers, FakePasswords, MemoryStorage
from tests.node.api.fakes import FakeBinaries, FakePosts
from tests.served import Served
from tests.world import CHAIN_ID, World

FORTUNE = 10**15
SELLER = "seller"


class Stage:
    """One node and its provider; `open` and `close` in the loop that serves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._gifts = 0
        self._stack = AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []
        self.world = World(SystemClock(), folder)
        self.containers = FakeContainers(self.world.clock)  # type: ignore[arg-type]
        self.storage: Storage
        self.node: Node
        self.services: Services

    async def open(self) -> str:
        """Open everything; the operator's key."""
        self.storage = await self._stack.enter_async_context(open_storage(self._folder / "node.db"))
        self._stack.push_async_callback(self._stop)
        await self._start()
        self.services = self._services(self._people())
        await self.enrich(await self.services.people.accounts.operator())
        return await self.operator_key()

    async def operator_key(self) -> str:
        """A key of the operator."""
        people = self.services.people
        return (await people.keys.create_for(await people.accounts.operator(), NewKey(name="operator")))[1]

    async def close(self) -> None:
        await self._stack.aclose()

    async def keep(self, noun: Struct) -> None:
        """Store what nobody can ask for."""
        await self.storage.write(lambda tx: tx.put(noun))

    async def enrich(self, account: Account) -> None:
        """Let the account have more than it can spend."""
        self._gifts += 1
        gift = Transfer(
            id=f"gift:{self._gifts}",
            kind="deposit",
            subject=account.id,
            postings=between(CHAIN, user_account(account.id), FORTUNE),
        )
        await self.storage.write(lambda tx: post(tx, gift, self.world.clock.now()))
        self._fill_wallets()

    async def until(self, check: Callable[[], object]) -> None:
        """Until it is so."""
        async with asyncio.timeout(50):
            while not check():
                await asyncio.sleep(0.01)

    async def _start(self) -> None:
        provider = MemoryStorage()
        await self.world.add(SELLER, provider, sells=True)
        self.world.open_doors(SELLER, provider, self.containers)
        runtime = self.world.runtimes[SELLER]
        runtime.files["out.txt"] = b"42\n"
        runtime.hang.add("sleep")
        self.node = await self.world.add("node", self.storage, sells=False)
        self._fill_wallets()
        await self.until(lambda: list(self.node.book.book.offers()) and self.node.runner.languages())

    def _fill_wallets(self) -> None:
        for wallet in self.world.ledger.tokens:
            self.world.ledger.tokens[wallet] = self.world.ledger.earned[wallet] = FORTUNE

    def _people(self) -> People:
        tokens = JwtTokens(bytes(32), self.node.funding.payee)
        door = Door(chain=CHAIN_ID, may_join=True)
        return let_in(self.node.engine.storage, self.world.clock, FakePasswords(), tokens, door, self.node.ledger)

    def _services(self, people: People) -> Services:
        node, posts, seal = self.node, FakePosts(), NodeSeal(bytes(32))
        self._tasks.append(asyncio.create_task(supervise("webhooks", Courier(node.engine, posts, seal).run, 0.05)))
        binaries: Any = FakeBinaries()
        return Services(
            jobs=node.jobs,
            runner=node.runner,
            series=node.series,
            consoles=node.consoles,
            files=node.holdings,
            market=node.market,
            asks=self.world.nodes[SELLER].asks,
            wallets=node.wallets,
            treasury=node.treasury,
            billing=node.billing,
            news=node.news,
            webhooks=Webhooks(node.engine, node.happenings, posts, seal),
            health=node.health,
            people=people,
            answers=Answers(self.storage, self.world.clock),
            clock=self.world.clock,
            hosting=node.hosting,
            projects=node.projects,
            steps=BuildSteps(self.storage),
            endpoint_url=lambda id, port: f"http://{f'{port}-' if port else ''}{id}.localhost:8081",
            output=Output(node.engine, node.hosting),
            binaries=binaries,
            templates=load_templates(),
        )

    async def _stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.world.close()


class House:
    """The served application; stages move in and out."""

    def __init__(self) -> None:
        self._services: Any = SimpleNamespace()
        self.served = Served(create_app(self._services, ApiSettings(), UNLIMITED))
        self.served.start()

    @property
    def url(self) -> str:
        return self.served.url

    def close(self) -> None:
        self.served.stop()

    def open(self, folder: Path) -> tuple[Stage, str]:
        """A new stage that answers from now on, and its operator's key."""

        async def begin() -> tuple[Stage, str]:
            stage = Stage(folder)
            try:
                return stage, await stage.open()
            except BaseException:
                await stage.close()
                raise

        stage, key = self.served.call(begin())
        vars(self._services).update(vars(stage.services))
        return stage, key

    def end(self, stage: Stage) -> None:
        self.served.call(stage.close())
