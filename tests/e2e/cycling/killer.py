"""Who is killed, how, and for how long it stays away: all of it from one seeded source of chance."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from msgspec import Struct

from tests.e2e.cycling.stage import BUYER, Stage

AWAY = 1.5
"""Seconds that a victim is usually away at most..."""
LONG = 36.0
"""...and now and then: longer than a lease lasts without a renewal."""
WAYS = {
    "provider": 4,
    "requester": 3,
    "network": 3,
    "watchdog": 2,
    "engine TERM": 1,
    "engine KILL": 2,
    "engine TERM, live-restore": 1,
    "engine KILL, live-restore": 2,
    "provider and engine": 1,
    "both providers": 1,
}
"""How often each is chosen, by weight."""


class Blow(Struct, frozen=True):
    """One kill: what, which provider or node it meets, when, and how long it lasts."""

    way: str
    provider: str
    node: str
    after: float
    away: float


class Killer:
    """Kills, and starts again what was killed."""

    def __init__(self, stage: Stage, rng: Random, has_long: bool) -> None:
        self._stage = stage
        self._rng = rng
        self._has_long = has_long
        self.ways: Counter[str] = Counter()
        self.outages: list[tuple[int, int]] = []
        """When the engine was away, in epoch ms: of a container that ended meanwhile the last lines are lost."""

    def next_blow(self) -> Blow:
        """Chosen whatever the processes do, so that a seed tells the same story again."""
        rng = self._rng
        is_long = self._has_long and rng.random() < 0.02
        return Blow(
            way=rng.choices(list(WAYS), list(WAYS.values()))[0],
            provider=rng.choice(self._stage.cluster.providers),
            node=rng.choice(self._stage.nodes),
            after=rng.random() * 1.2,
            away=LONG if is_long else rng.random() ** 2 * AWAY,
        )

    def strike(self, blow: Blow) -> None:
        """Kill, wait, start again; what takes a while to come up comes up beside what follows."""
        time.sleep(blow.after)
        self.ways[blow.way] += 1
        getattr(self, f"_{blow.way.partition(',')[0].replace(' ', '_').lower()}")(blow)

    def _provider(self, blow: Blow) -> None:
        self._restart((blow.provider,), blow.away)

    def _both_providers(self, blow: Blow) -> None:
        self._restart(self._stage.cluster.providers, blow.away)

    def _requester(self, blow: Blow) -> None:
        self._restart((BUYER,), blow.away)

    def _network(self, blow: Blow) -> None:
        self._stage.kill_process(self._stage.network(blow.node))

    def _watchdog(self, blow: Blow) -> None:
        self._stage.kill_process(self._stage.watchdog(blow.provider))

    def _engine_term(self, blow: Blow) -> None:
        self._end_engine(signal.SIGTERM, "live-restore" in blow.way, blow.away)

    def _engine_kill(self, blow: Blow) -> None:
        self._end_engine(signal.SIGKILL, "live-restore" in blow.way, blow.away)

    def _provider_and_engine(self, blow: Blow) -> None:
        """As the whole machine does; the node is back before its engine."""
        self._stage.cluster.kill(blow.provider)
        with self._outage():
            self._stage.daemon.end(signal.SIGKILL)
            self._stage.cluster.start_node(blow.provider)
            time.sleep(blow.away)
            self._stage.daemon.start()

    def _end_engine(self, how: signal.Signals, keeps: bool, away: float) -> None:
        """The engine reads its settings again before it goes: only then containers live through its end."""
        daemon = self._stage.daemon
        daemon.keep_containers(keeps)
        daemon.reload()
        with self._outage():
            daemon.end(how)
            time.sleep(away)
            daemon.start()

    @contextmanager
    def _outage(self) -> Iterator[None]:
        began = time.time_ns() // 10**6
        yield
        self.outages.append((began - 1000, time.time_ns() // 10**6 + 1000))

    def _restart(self, names: tuple[str, ...], away: float) -> None:
        for name in names:
            self._stage.cluster.kill(name)
        time.sleep(away)
        for name in names:
            self._stage.cluster.start_node(name)
