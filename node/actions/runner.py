"""What a user can do with code: submit it, wait for it, read what came of it."""

import builtins
import secrets
from collections.abc import AsyncIterator, Mapping
from functools import partial
from typing import Final

import msgspec
import structlog
from msgspec.structs import replace

from market.dialogue import CodeDone, RunCode
from market.errors import Conflict, InvalidParameters, NeugridError, PeerUnreachable, Refused, Unavailable
from market.machines import Event
from market.messages import Kind
from market.runs import DONE, DispatchRun, Run, RunCancelled, RunEnded, RunMisplaced, RunState, post_run
from node.actions.access import owned
from node.actions.answers import Idempotency, keep_answer, known_answer
from node.actions.book import Book
from node.actions.code_quota import admit
from node.actions.journals import follow_journal
from node.actions.ledger import Ledger
from node.actions.peers import Peers
from node.actions.standing import Standing
from node.actions.totals import Totals
from node.engine import Changes, Engine
from node.ports import Tx
from node.records import Account, Answer, Entry, Mark

_code_done = msgspec.json.Decoder(CodeDone)
_offered = msgspec.json.Decoder(dict[str, int])
_log = structlog.get_logger("runner")
ANSWER_WITHIN = 60.0
"""Seconds that a provider may take for a run: a wait for a sandbox, the compiler, and every input to its limit."""
PER_INPUT = 4.0
LANGUAGES = "languages"
DAY: Final = 86_400_000
KEPT: Final = 7 * DAY
FEW: Final = 20
"""Runs that are read at once to be forgotten: they have their output with them."""
DOCUMENTED: Final = ("python", "javascript", "cpp", "java")
"""The languages that there are for every user, whatever this node's file of them says."""


class Runner:
    """Runs of accounts; a run of somebody else is answered like one that does not exist."""

    def __init__(
        self,
        engine: Engine,
        peers: Peers,
        book: Book,
        standing: Standing,
        words: Mapping[str, str],
        ledger: Ledger | None = None,
        kept: int = KEPT,
    ) -> None:
        self._kept = kept
        self._ledger = ledger or Ledger()
        self._words = words
        self._engine = engine
        self._peers = peers
        self._book = book
        self._standing = standing
        self._running: set[str] = set()
        self._totals = Totals(engine.clock)

    async def submit(self, account: Account, language: str, code: str, inputs: tuple[str, ...] = ("",)) -> Run:
        """Store the run and answer only then.

        Raises InsufficientFunds, QuotaExceeded, InvalidParameters for a language that is none, Unavailable while nobody
        offers it.
        """
        run, _ = await self.submit_once(account, language, code, inputs, None)
        assert run is not None  # noqa: S101  (without a key there is no stored answer)
        return run

    async def submit_once(
        self, account: Account, language: str, code: str, inputs: tuple[str, ...], idempotency: Idempotency | None
    ) -> tuple[Run | None, Answer | None]:
        """The same: (run, None), or (None, the stored answer) for a repeated key; IdempotencyMismatch."""
        run = Run(
            id=secrets.token_hex(12),
            account=account.id,
            language=language_of(language, self.languages(), self._words),
            code=code,
            inputs=inputs,
            created_at=self._engine.clock.now(),
        )

        def work(changes: Changes) -> tuple[Run | None, Answer | None]:
            known = known_answer(changes.tx, account, idempotency)
            if known is not None:
                return None, known
            price, currency = self._ledger.price_of_run(changes.tx, account, len(inputs))
            priced = replace(run, price=price, currency=currency)
            admit(changes.tx, priced)
            changes.create(*post_run(priced))
            keep_answer(changes.tx, account, idempotency, priced, changes.now)
            return priced, None

        try:
            return await self._engine.transact(work)
        finally:
            self._totals.forget(account.id)

    def get(self, account: Account, id: str) -> Run:
        """The account's run; NotFound when there is none."""
        return owned(self._engine.storage, Run, id, account)

    def list(
        self,
        account: Account,
        *,
        states: tuple[RunState, ...] = (),
        limit: int = 20,
        after: tuple[int, str] | None = None,
        offset: int = 0,
    ) -> tuple[builtins.list[Run], int]:
        """A page of the account's runs, newest first, and how many there are in all."""
        where: dict[str, object] = {"account": account.id, **({"state": states} if states else {})}
        storage = self._engine.storage
        runs = storage.find(Run, limit=limit, offset=offset, after=after, newest=True, **where)
        count = partial(storage.count, Run, **where)
        return runs, count() if states else self._totals.of(account.id, count)

    async def cancel(self, account: Account, id: str) -> Run:
        """End it now, for nothing; Conflict when it has ended already."""
        run = self.get(account, id)
        if run.state in DONE:
            raise Conflict("the run has ended", state=run.state.value)
        after: Run = await self._engine.handle("Run", id, RunCancelled())
        return after

    def events(self, account: Account, id: str, after: int = 0) -> AsyncIterator[Entry]:
        """The journal of the run, in order, to its end."""
        return follow_journal(
            self._engine, id, after, subjects=lambda: (id,), is_over=lambda: self.get(account, id).state in DONE
        )

    async def wait(self, account: Account, id: str, seconds: float) -> Run:
        """The run once it has ended, or as it stands after `seconds`."""
        end = self._engine.clock.now() + int(seconds * 1000)
        run = self.get(account, id)
        while run.state not in DONE and (left := end - self._engine.clock.now()) > 0:
            await self._engine.changed(id, min(left / 1000, 1.0))
            run = self.get(account, id)
        return run

    def is_running(self, run: Run) -> bool:
        """Whether a provider has it in hand now."""
        return run.id in self._running

    def in_hand(self) -> int:
        """How many runs providers have in hand now."""
        return len(self._running)

    def languages(self) -> dict[str, int]:
        """The languages that are offered now, and by how many providers: as the book has it, or had it lately."""
        return self._book.languages() or self._remembered()

    async def remember_languages(self) -> None:
        """Keep what the book has for the processes beside this one, which have no book."""
        offered = self._book.languages()
        if offered != self._remembered():
            mark = Mark(id=LANGUAGES, value=msgspec.json.encode(offered).decode())
            await self._engine.storage.write(lambda tx: tx.put(mark))

    def _remembered(self) -> dict[str, int]:
        mark = self._engine.storage.get(Mark, LANGUAGES)
        return _offered.decode(mark.value) if mark is not None else {}

    async def dispatch(self, effect: DispatchRun) -> Event | None:
        """Bring the run to a sandbox and say what came of it; PeerUnreachable when it did not leave this node."""
        waiting = self._wanted(effect)
        if waiting is None:
            return None
        language, avoid = waiting.language, waiting.avoid
        del waiting  # it has megabytes, perhaps, and the wait may be long
        async with self._standing.place(language, avoid) as place:
            run = self._wanted(effect)
            if run is None:  # it was cancelled, or its time was up, while it waited
                return None
            message = RunCode(place.lease.id, run.id, run.language, run.code, run.inputs)
            patience = ANSWER_WITHIN + PER_INPUT * len(run.inputs)
            self._running.add(run.id)
            try:
                done = await self._peers.ask(place.peer, Kind.RUN, message, _code_done, patience)
            except PeerUnreachable:  # nothing was sent: the run waits for another place, or for this one to come back
                self._standing.shun(place.lease.id, is_silent=True)
                raise
            except NeugridError as error:
                self._standing.shun(place.lease.id, is_silent=not isinstance(error, Refused))
                return _misplaced(place.lease.id, error)
            finally:
                self._running.discard(run.id)
        return RunEnded(
            lease=place.lease.id,
            provider=place.lease.terms.provider,
            results=done.runs,
            waited=done.waited,
            compiling=done.compiling,
        )

    async def sweep(self) -> int:
        """Forget the runs that ended long ago, and their journals; how many. What they cost is in the ledger."""
        storage, until, gone = self._engine.storage, self._engine.clock.now() - self._kept, 0
        while found := storage.find(Run, state=DONE, created_until=until, limit=FEW):
            for id in [run.id for run in found]:
                await storage.write(partial(_forget, id=id))
            gone += len(found)
        return gone

    def _wanted(self, effect: DispatchRun) -> Run | None:
        """The run, while it waits for this very effect."""
        run = self._engine.storage.get(Run, effect.subject)
        is_wanted = run is not None and run.state is RunState.QUEUED and run.attempt == effect.attempt
        return run if is_wanted else None


def language_of(word: str, offered: Mapping[str, int], words: Mapping[str, str]) -> str:
    """The language that is meant by `word`, of those offered now; `words` are the names of all that there may be.

    Unavailable for one that nobody offers for the moment, InvalidParameters for one that there is not.
    """
    name = words.get(word.lower(), word.lower())
    if name in offered:
        return name
    shown, names = word[:32], ", ".join(sorted(offered)) or "none"
    if name in DOCUMENTED or name in words:
        raise Unavailable(f"no provider runs {shown!r} now, try again later; offered are {names}", language=name)
    raise InvalidParameters(
        f"there is no language {shown!r}; offered are {names}", field="language", value=shown, expected=sorted(offered)
    )


def _forget(tx: Tx, id: str) -> None:
    for entry in tx.find(Entry, subject=id):
        tx.delete(Entry, str(entry.seq))
    tx.delete(Run, id)


def _misplaced(lease: str, error: NeugridError) -> RunMisplaced:
    codes = error.details.get("codes") if isinstance(error, Refused) else None
    code = str(codes[0]) if isinstance(codes, tuple) and codes else error.code
    return RunMisplaced(lease=lease, code=code[:64], message=error.message[:512])
