"""The provider's side of a runner's lease: no container of its own, but a place in the pool of sandboxes."""

import asyncio
from collections import OrderedDict
from typing import Final

import structlog

from market.dialogue import CodeDone, RunCode, RunEnd
from market.errors import NotFound, Refused
from market.leases import UNPAID_RUNS, Lease, LeaseState, owed_for
from market.machines import Event
from market.messages import Envelope
from market.units import Timestamp
from market.workloads import Workload
from node.actions.book import LANGUAGE
from node.actions.held_leases import held_lease, lease_with
from node.engine import Engine
from node.ports import CodeResult, CodeRun, CodeSpec, Sandboxes

_log = structlog.get_logger("sandboxes")
SANDBOX_MEMORY: Final = 256 * 2**20
"""Memory of one sandbox: a lease runs as many at once as its memory holds."""
REMEMBERED: Final = 256
"""Results that are kept for a requester that did not hear them and asks again..."""
SMALL: Final = 256 * 1024
"""...and how many characters they may have."""
WAITING: Final = 16
"""Runs of one lease that may wait for a place, for each that it has; a waiting one keeps its code in memory."""
OUTPUT: Final = 256 * 1024
"""Characters of each stream over all runs of an answer: escaped as JSON they must fit into one message."""


class SandboxHost:
    """Runs code for those who hold a runner's lease, and counts what succeeded."""

    def __init__(self, engine: Engine, sandboxes: Sandboxes) -> None:
        self._engine = engine
        self._sandboxes = sandboxes
        self._running: dict[tuple[str, str], asyncio.Task[CodeDone]] = {}
        self._places: dict[str, asyncio.Semaphore] = {}
        self._known: OrderedDict[tuple[str, str], CodeDone] = OrderedDict()
        self._succeeded: dict[str, int] = {}
        """Runs of each lease that succeeded; after a restart those that the requester counted."""

    async def abilities(self) -> tuple[str, ...]:
        """The languages that are here, in the words of offers; nothing where there is none."""
        names = [language.name for language in await self._sandboxes.languages()]
        return ("runner", *(f"{LANGUAGE}{name}" for name in names)) if names else ()

    # --- the host ---

    async def prepare(self, lease: Lease, workload: Workload) -> str:
        """Nothing is fetched: the languages that are wanted are here, or the lease comes to nothing."""
        here = {language.name for language in await self._sandboxes.languages()}
        if missing := set(workload.command) - here:
            raise Refused(f"no sandbox here runs {', '.join(sorted(missing))}", codes=("LANGUAGE_NOT_HERE",))
        return "sandboxes"

    async def start(self, lease: Lease, workload: Workload) -> Timestamp:
        """From now on code is taken."""
        return self._engine.clock.now()

    async def watch(self, lease: Lease) -> Event | None:
        """Until the lease ends: by itself it never does."""
        while held_lease(self._engine.storage, lease.id).state is LeaseState.RUNNING:
            await self._engine.changed(lease.id, 60.0)
        return None

    async def stop(self, lease: Lease) -> None:
        """Code that runs comes to its own end within seconds."""

    async def remove(self, lease: Lease) -> None:
        """Forget what was counted."""
        self._succeeded.pop(lease.id, None)
        self._places.pop(lease.id, None)

    async def running(self) -> frozenset[str] | None:
        """A runner's lease is no container."""
        return None

    # --- code ---

    async def answer(self, envelope: Envelope, message: RunCode) -> CodeDone:
        """Run it, or join the same run that is under way; what was answered before is answered so again.

        Refused with UNPAID when more runs succeeded than vouchers cover by `UNPAID_RUNS`.
        """
        lease = lease_with(self._engine.storage, message.lease, "provider", envelope.sender)
        key = (lease.id, message.id)
        if known := self._known.get(key):
            return known
        task = self._running.get(key)
        if task is None:
            self._check(lease)
            task = self._running[key] = asyncio.create_task(self._run(lease, message))
            task.add_done_callback(lambda done: self._end(key, done))
        return await asyncio.shield(task)

    def _check(self, lease: Lease) -> None:
        if lease.state is not LeaseState.RUNNING or lease.terms.unit != "run":
            raise Refused("this lease runs no code now", codes=("LEASE_ENDED",))
        done = self._succeeded.setdefault(lease.id, lease.runs)
        under_way = sum(key[0] == lease.id for key in self._running)
        if under_way >= (1 + WAITING) * places_of(lease):
            raise Refused("too many runs of this lease wait", codes=("BUSY",))
        done += under_way  # they may all succeed
        if owed_for(lease.terms, 0, done - UNPAID_RUNS) > lease.paid:
            raise Refused("too many runs are not paid", codes=("UNPAID",))
        if owed_for(lease.terms, 0, done) >= lease.terms.cap:
            raise Refused("the lease has run as much as it may cost", codes=("CAP_REACHED",))

    async def _run(self, lease: Lease, message: RunCode) -> CodeDone:
        place = self._places.setdefault(lease.id, asyncio.Semaphore(places_of(lease)))
        spec = CodeSpec(id=message.id, language=message.language, code=message.code, inputs=message.inputs)
        async with place:
            if held_lease(self._engine.storage, lease.id).state is not LeaseState.RUNNING:
                raise Refused("the lease ended before its turn came", codes=("LEASE_ENDED",))
            try:
                return _done(await self._sandboxes.run(spec))
            except NotFound as error:
                raise Refused(error.message, codes=("LANGUAGE_NOT_HERE",)) from error

    def _end(self, key: tuple[str, str], task: "asyncio.Task[CodeDone]") -> None:
        del self._running[key]
        if task.cancelled() or task.exception() is not None:
            return
        done = task.result()
        if sum(len(run.stdout) + len(run.stderr) for run in done.runs) <= SMALL:
            self._known[key] = done
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        if key[0] in self._succeeded and not any(run.error for run in done.runs):
            self._succeeded[key[0]] += 1


def places_of(lease: Lease) -> int:
    """How many sandboxes the lease may have at once."""
    return max(1, lease.terms.resources.memory // SANDBOX_MEMORY)


def _done(result: CodeResult) -> CodeDone:
    most = OUTPUT // len(result.runs)
    return CodeDone(tuple(_run_end(run, most) for run in result.runs), result.waited, result.compiling)


def _run_end(run: CodeRun, most: int) -> RunEnd:
    return RunEnd(
        stdout=run.stdout[:most],
        stderr=run.stderr[:most],
        exit_code=max(-1, min(255, run.exit_code)),
        milliseconds=run.milliseconds,
        error=run.error,
        message=run.message[:1024],
    )
