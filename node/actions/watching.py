"""Watch a running workload: stream its log to the requester as it happens, wait for its end, take its outputs."""

import asyncio
from pathlib import Path
from typing import Final

import structlog

from market.dialogue import Line
from market.errors import NeugridError, OutputRefused
from market.leases import Lease, LeaseState
from market.machines import Event
from market.provision_events import WorkloadEnded
from market.workloads import File, WorkloadKind
from node.actions.log_relay import Deliveries, LogRelay
from node.actions.peers import Peers
from node.engine import Engine
from node.ports import Exit, Runtime

_log = structlog.get_logger("watching")
MOST_WAITING: Final = 8 * 2**20
"""Bytes of a service's output that wait here for its requester; a batch job writes no more than that in all."""
CODES: Final = {
    "exited": "",
    "oom": "OUT_OF_MEMORY",
    "timeout": "TIMEOUT",
    "killed": "KILLED",
    "engine": "INFRASTRUCTURE",
}


class Watching:
    """Follows containers."""

    def __init__(self, engine: Engine, peers: Peers, runtime: Runtime, store: Path) -> None:
        self._engine = engine
        self._peers = peers
        self._runtime = runtime
        self._store = store
        self._deliveries = Deliveries()

    async def watch(self, lease: Lease) -> Event | None:
        """Follow one container to its end, also after a restart of the node.

        The output of a batch job is read again from its first line; that of a service, of which the engine keeps the
        newest part alone, goes on where the requester's log ends.
        """
        relay = LogRelay(self._peers, lease, MOST_WAITING if _stays_up(lease) else 0)
        async with self._deliveries.of(relay):
            reading = asyncio.create_task(self._read(lease, relay))
            try:
                end = await self._runtime.wait(lease.container)
                await self._drained(reading)
            finally:
                reading.cancel()
            relay.complete()
            outputs, problem = await self._outputs(lease, end)
        return _ended(lease, end, outputs, problem, relay)

    async def _read(self, lease: Lease, relay: LogRelay) -> None:
        places = await relay.resume() if _stays_up(lease) else ()
        async for line in self._runtime.logs(lease.container, after=places):
            relay.add(Line(line.at, line.stream, line.text))

    async def _drained(self, reading: "asyncio.Task[None]") -> None:
        """The log ends shortly after the container; an engine that does not give the rest is not waited for."""
        try:
            await asyncio.wait_for(reading, 10)
        except (TimeoutError, NeugridError) as error:
            _log.warning("log not read to its end", why=repr(error))

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


def _stays_up(lease: Lease) -> bool:
    return lease.workload is not None and lease.workload.kind is WorkloadKind.SERVICE


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
