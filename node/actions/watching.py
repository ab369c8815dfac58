"""Watch a running workload: stream its log to the requester as it happens, wait for its end, take its outputs."""

import asyncio
from pathlib import Path
from typing import Final

import msgspec
import structlog

from market.dialogue import Line, Logs, LogsKept
from market.errors import NeugridError, OutputRefused, Refused
from market.leases import Lease, LeaseState
from market.machines import Event
from market.messages import Kind
from market.provision_events import WorkloadEnded
from market.receipts import GENESIS, chain_log
from market.workloads import File
from node.actions.peers import Peers
from node.engine import Engine
from node.ports import Exit, Runtime

_kept = msgspec.json.Decoder(LogsKept)
_log = structlog.get_logger("watching")
FLUSH_EVERY: Final = 0.2
BATCH: Final = 1000
MAX_BATCH_BYTES: Final = 512 * 1024
DELIVER_WITHIN: Final = 20.0
CODES: Final = {
    "exited": "",
    "oom": "OUT_OF_MEMORY",
    "timeout": "TIMEOUT",
    "killed": "KILLED",
    "engine": "INFRASTRUCTURE",
}


class LogRelay:
    """Numbers, chains and delivers the lines of one lease; what was delivered before a restart is not sent again."""

    def __init__(self, peers: Peers, lease: Lease) -> None:
        self._peers = peers
        self._lease = lease
        self._lines: list[Line] = []
        self._first = 0
        self.head = GENESIS
        self.count = 0
        self._is_complete = False
        self._woken = asyncio.Event()

    def add(self, line: Line) -> None:
        """One more line of output."""
        self.head = chain_log(self.head, line.at, line.stream, line.text)
        self.count += 1
        self._lines.append(line)
        self._woken.set()

    def complete(self) -> None:
        """No more lines will come."""
        self._is_complete = True
        self._woken.set()

    async def deliver(self) -> None:
        """Send what is waiting until all is out and complete; an unreachable requester is asked again."""
        while self._lines or not self._is_complete:
            if self._lines:
                await self._send(self._batch())
            else:
                self._woken.clear()
                await self._woken.wait()

    def _batch(self) -> tuple[Line, ...]:
        batch: list[Line] = []
        size = 0
        for line in self._lines[:BATCH]:
            size += len(line.text) + 64
            if batch and size > MAX_BATCH_BYTES:
                break
            batch.append(line)
        return tuple(batch)

    async def _send(self, batch: tuple[Line, ...]) -> None:
        try:
            message = Logs(self._lease.id, self._first, batch)
            kept = await self._peers.ask(self._lease.terms.requester_peer, Kind.LOGS, message, _kept)
        except Refused:
            self._drop(len(self._lines))
        except NeugridError:
            await asyncio.sleep(1.0)
        else:
            self._drop(max(0, kept.next - self._first))
            if kept.next < self._first + len(batch):
                await asyncio.sleep(FLUSH_EVERY)

    def _drop(self, count: int) -> None:
        dropped = min(count, len(self._lines))
        del self._lines[:dropped]
        self._first += dropped


class Watching:
    """Follows containers."""

    def __init__(self, engine: Engine, peers: Peers, runtime: Runtime, store: Path) -> None:
        self._engine = engine
        self._peers = peers
        self._runtime = runtime
        self._store = store

    async def watch(self, lease: Lease) -> Event | None:
        """Follow one container to its end; a restart of the node begins again from the container's first line."""
        relay = LogRelay(self._peers, lease)
        delivery = asyncio.create_task(relay.deliver())
        try:
            reading = asyncio.create_task(self._read(lease, relay))
            end = await self._runtime.wait(lease.container)
            await self._drained(reading)
            relay.complete()
            outputs, problem = await self._outputs(lease, end)
            await self._delivered(delivery)
        finally:
            delivery.cancel()
        return _ended(lease, end, outputs, problem, relay)

    async def _read(self, lease: Lease, relay: LogRelay) -> None:
        async for line in self._runtime.logs(lease.container):
            relay.add(Line(line.at, line.stream, line.text))

    async def _drained(self, reading: "asyncio.Task[None]") -> None:
        """The log ends shortly after the container; an engine that does not give the rest is not waited for."""
        try:
            await asyncio.wait_for(reading, 10)
        except (TimeoutError, NeugridError) as error:
            _log.warning("log not read to its end", why=repr(error))

    async def _delivered(self, delivery: "asyncio.Task[None]") -> None:
        try:
            await asyncio.wait_for(delivery, DELIVER_WITHIN)
        except TimeoutError:
            _log.warning("log not delivered to its end")

    async def _outputs(self, lease: Lease, end: Exit) -> tuple[tuple[File, ...], str]:
        workload, present = lease.workload, self._engine.storage.get(Lease, lease.id)
        is_wanted = workload is not None and bool(workload.outputs) and end.reason == "exited"
        if workload is None or not is_wanted or present is None or present.state is not LeaseState.RUNNING:
            return (), ""
        limit = workload.resources.disk or 2**30
        try:
            found = await self._runtime.outputs(lease.container, workload.outputs, self._store, limit)
        except OutputRefused as error:
            return (), error.message
        return tuple(File(path=file.path, digest=file.digest, size=file.size) for file in found), ""


def _ended(lease: Lease, end: Exit, outputs: tuple[File, ...], problem: str, relay: LogRelay) -> WorkloadEnded:
    return WorkloadEnded(
        exit_code=max(-1, min(255, end.code)),
        code="OUTPUT_REFUSED" if problem else CODES[end.reason],
        message=problem or _MESSAGES.get(end.reason, ""),
        started_at=end.started_at or lease.started_at,
        ended_at=end.finished_at,
        outputs=outputs,
        log_lines=relay.count,
        log_head=relay.head,
    )


_MESSAGES: Final = {
    "oom": "the program used more memory than it ordered",
    "timeout": "the program ran into its time limit",
    "killed": "the program was ended by a signal",
    "engine": "the container engine lost the container",
}
