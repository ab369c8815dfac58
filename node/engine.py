"""The loop that is the node: event -> step -> one transaction (noun, journal, effects) -> perform the effects.

An effect is a row until it is done. It runs in a task of its own, so that a poisoned one delays only itself, and is
run again after a crash; performers must therefore be repeatable. What a performer returns goes back through `handle`.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec
import structlog
from msgspec import Struct

from market.errors import InvalidTransition, NeugridError, NotFound
from market.machines import Effect, Event, QuietEvent, Tell
from node.ports import Clock, Storage, Tx
from node.records import Entry, Pending

R = TypeVar("R")
MAX_DELAY: Final = 30_000
_log = structlog.get_logger("engine")
_encode = msgspec.json.Encoder().encode


class Machine(Struct, frozen=True):
    """A noun that has a machine: its type, its step function, and what a journal keeps of it and of its events."""

    noun: type[Struct]
    step: Callable[[Any, Event, int], tuple[Any, list[Effect]]]
    journalled: Callable[[Any], Any] = lambda said: said


class Performer(Struct, frozen=True):
    """Who performs an effect: `perform` returns the event for the subject, or None when nothing is to be said."""

    effect: type[Effect]
    noun: str
    perform: Callable[[Any], Awaitable[Event | None]]


Fold = Callable[[Tx, Any, Any, int], None]
"""What follows from a noun's change in the same transaction: (tx, before or None, after, now)."""


class Changes:
    """One transaction in the making: nouns through their machines, effects collected for after the commit."""

    def __init__(self, tx: Tx, machines: Mapping[str, Machine], now: int, folds: Sequence[Fold] = ()) -> None:
        self.tx = tx
        self.now = now
        self.pending: list[Pending] = []
        self.changed: list[str] = []
        self._machines = machines
        self._folds = folds

    def create(self, noun: Any, *effects: Effect) -> None:
        """Store a new noun with its first effects; Conflict when its id is taken."""
        self.tx.insert(noun)
        self._fold(None, noun)
        self._record(type(noun).__name__, noun.id, "Created", noun)
        self._add(effects, created=noun.id)

    def apply(self, noun: str, id: str, event: Event) -> Any:
        """Take one step of a machine; NotFound or InvalidTransition leave the transaction as it was."""
        machine = self._machines[noun]
        before = self.tx.get(machine.noun, id)
        if before is None:
            raise NotFound(f"no such {noun.lower()}", id=id)
        after, effects = machine.step(before, event, self.now)
        self.tx.put(after)
        self._fold(before, after)
        if not isinstance(event, QuietEvent):
            self._record(noun, id, type(event).__name__, event)
        self._add(effects)
        return after

    def _fold(self, before: Any, after: Any) -> None:
        for fold in self._folds:
            fold(self.tx, before, after, self.now)

    def _record(self, noun: str, id: str, event: str, said: Any) -> None:
        machine = self._machines.get(noun)
        body = _encode(machine.journalled(said) if machine else said)
        self.tx.insert(Entry(noun=noun, subject=id, at=self.now, event=event, body=body))  # type: ignore[arg-type]
        self.changed.append(id)

    def _add(self, effects: tuple[Effect, ...] | list[Effect], created: str = "") -> None:
        for effect in effects:
            if isinstance(effect, Tell):
                self._tell(effect)
            else:
                self._store(effect, is_new=effect.subject == created)

    def _tell(self, tell: Tell) -> None:
        try:
            self.apply(tell.noun, tell.subject, tell.event)
        except (InvalidTransition, NotFound) as error:
            _log.info("not told", noun=tell.noun, subject=tell.subject, why=str(error))

    def _store(self, effect: Effect, is_new: bool) -> None:
        """Store an effect unless it waits already; for a subject that is new there is none to look for."""
        attempt = getattr(effect, "attempt", 0)
        name = type(effect).__name__
        pending = Pending(
            id=f"{effect.subject}:{name}:{attempt}",
            subject=effect.subject,
            effect=name,
            body=_encode(effect),
            created_at=self.now,  # type: ignore[arg-type]
        )
        is_begun = any(begun.id == pending.id for begun in self.pending)
        if not is_begun and (is_new or self.tx.get(Pending, pending.id) is None):
            self.tx.insert(pending)
            self.pending.append(pending)


class Engine:
    """Applies events and performs effects. `bind` the performers, then `run` it beside the loops."""

    def __init__(
        self, storage: Storage, clock: Clock, machines: Mapping[str, Machine], folds: Sequence[Fold] = ()
    ) -> None:
        self._folds = folds
        self.storage = storage
        self.clock = clock
        self._machines = machines
        self._performers: dict[str, Performer] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ending: dict[str, bool] = {}
        """Effects that are done, whose rows may still be read; and whether others asked for them meanwhile."""
        self._listeners: list[Callable[[list[str]], None]] = []
        self._watchers: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._is_running = False

    def bind(self, *performers: Performer) -> None:
        """Say who performs which effect; before `run`."""
        self._performers.update({performer.effect.__name__: performer for performer in performers})

    def listen(self, listener: Callable[[list[str]], None]) -> None:
        """Tell `listener` the ids of what changed, after each commit."""
        self._listeners.append(listener)

    async def transact(self, work: Callable[[Changes], R]) -> R:
        """Run `work` in one durable transaction, then start the effects it asked for.

        Whoever asked may go away: what is committed is also followed up.
        """

        def run(tx: Tx) -> tuple[R, Changes]:
            changes = Changes(tx, self._machines, self.clock.now(), self._folds)
            result = work(changes)
            tx.announce([*changes.changed, *(pending.id for pending in changes.pending)])
            return result, changes

        writing = asyncio.ensure_future(self.storage.write(run))
        writing.add_done_callback(self._follow_up)
        result, _ = await asyncio.shield(writing)
        return result

    def _follow_up(self, writing: "asyncio.Future[tuple[Any, Changes]]") -> None:
        if not writing.cancelled() and writing.exception() is None:
            self._after(writing.result()[1])

    async def handle(self, noun: str, id: str, event: Event) -> Any:
        """Apply one event to one noun and return the noun after it."""
        return await self.transact(lambda changes: changes.apply(noun, id, event))

    async def attempt(self, noun: str, id: str, event: Event) -> Any:
        """Like `handle`, but an event that the machine refuses is no error: None comes back."""
        with suppress(InvalidTransition, NotFound):
            return await self.handle(noun, id, event)
        return None

    async def run(self) -> None:
        """Take up every pending effect of the last life and keep performing until cancelled."""
        self._is_running = True
        for pending in self.storage.find(Pending):
            self._start(pending)
        try:
            await asyncio.Event().wait()
        finally:
            self._is_running = False
            await self._stop_all()

    def hear(self, ids: Sequence[str]) -> None:
        """Follow what another process on the database has committed; without ids, whatever it may be."""
        for id in ids or list(self._watchers):
            self.notify(id)
        for listener in self._listeners:
            listener(list(ids))
        if self._is_running:
            for pending in self.storage.find(Pending, id=ids) if ids else self.storage.find(Pending):
                if pending.id in self._ending:
                    self._ending[pending.id] = True
                else:
                    self._start(pending)

    async def changed(self, id: str, timeout: float) -> bool:
        """Wait until the noun changes; False when `timeout` seconds passed first."""
        woken = asyncio.Event()
        self._watchers[id].add(woken)
        try:
            async with asyncio.timeout(timeout):
                await woken.wait()
            return True
        except TimeoutError:
            return False
        finally:
            self._watchers[id].discard(woken)
            if not self._watchers[id]:
                del self._watchers[id]

    def notify(self, id: str) -> None:
        """Wake those who wait for changes of `id`."""
        for woken in self._watchers.get(id, ()):
            woken.set()

    def _after(self, changes: Changes) -> None:
        for id in changes.changed:
            self.notify(id)
        for listener in self._listeners:
            listener(changes.changed)
        if self._is_running:
            for pending in changes.pending:
                self._start(pending)

    def _start(self, pending: Pending) -> None:
        if pending.id not in self._tasks:
            task = asyncio.create_task(self._perform(pending), name=pending.id)
            self._tasks[pending.id] = task
            task.add_done_callback(lambda done: self._forget(pending.id, done))

    def _forget(self, id: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(id) is task:
            del self._tasks[id]

    async def _perform(self, pending: Pending) -> None:
        performer = self._performers.get(pending.effect)
        if performer is None:
            _log.error("nobody performs this effect", effect=pending.effect, subject=pending.subject)
            return
        effect = msgspec.json.decode(pending.body, type=performer.effect)
        while True:
            await asyncio.sleep(max(0, pending.not_before - self.clock.now()) / 1000)
            try:
                await self._done(pending, performer.noun, await performer.perform(effect))
                return
            except Exception as error:  # performer and disk may fail in any way; the effect stays and is tried again
                pending = await self._postpone(pending, error)

    async def _postpone(self, pending: Pending, error: Exception) -> Pending:
        is_known = isinstance(error, NeugridError)
        _log.warning(
            "effect failed", effect=pending.effect, subject=pending.subject, error=repr(error), exc_info=not is_known
        )
        delay = min(MAX_DELAY, 250 * 2 ** min(pending.attempts, 10))
        later = msgspec.structs.replace(pending, attempts=pending.attempts + 1, not_before=self.clock.now() + delay)
        with suppress(NeugridError):  # the pause holds without the disk, too
            await self.storage.write(lambda tx: tx.put(later))
        return later

    async def _done(self, pending: Pending, noun: str, event: Event | None) -> None:
        def work(changes: Changes) -> None:
            changes.tx.delete(Pending, pending.id)
            if event is not None:
                with suppress(InvalidTransition, NotFound):
                    changes.apply(noun, pending.subject, event)

        task = self._tasks.pop(pending.id, None)  # so that the event may ask for the same effect again
        self._ending[pending.id] = False
        try:
            await self.transact(work)
        except Exception:
            if task is not None:
                self._tasks[pending.id] = task
            raise
        finally:
            if self._ending.pop(pending.id):
                asyncio.get_running_loop().call_soon(self.hear, [pending.id])

    async def _stop_all(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def supervise(name: str, run: Callable[[], Awaitable[None]], pause: float = 1.0) -> None:
    """Keep a loop alive: a failure is logged, and the loop starts again after `pause` seconds."""
    while True:
        try:
            await run()
            return
        except Exception:
            _log.exception("loop failed", loop=name)
            await asyncio.sleep(pause)
