"""Work of all kinds in a market that is killed part by part, cycle after cycle; then everything has to add up."""

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

import docker
import pytest
from msgspec import Struct

from tests.e2e.cycling.accounts import unsettled, wrong_bills
from tests.e2e.cycling.killer import Killer
from tests.e2e.cycling.services import Services
from tests.e2e.cycling.stage import BUYER, Stage
from tests.e2e.cycling.traces import is_record, leaks, picture, release_devices, remains
from tests.e2e.cycling.work import Users, unfinished, wrong_ends, wrong_results
from tests.node.adapters.daemons import a_daemon

CODE_IMAGE = "neugrid-code-scripts:latest"
TELL_EVERY = 20.0
RECORDS = 10.0
"""Seconds after which the engine is started again when all that is left are records of volumes without a disk."""
PATIENCE = float(os.environ.get("CYCLES_PATIENCE", "300"))
"""Seconds within which a market that is let be has to come to rest."""


class Plan(Struct, frozen=True):
    """How many cycles, after how many of them the books are looked at, and from which seed."""

    cycles: int
    batch: int
    seed: int
    has_long: bool = True


class Report(Struct):
    """What came out."""

    plan: Plan
    cycles: int
    ways: Counter[str]
    work: Counter[str]
    lives: int
    seconds: float
    problems: list[str]
    records: int
    """Records of volumes that the engine let go only when it was started again."""


class Play:
    """One run: the market, its users, its killer."""

    def __init__(self, plan: Plan, stage: Stage, speaks_python: bool, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stage = stage
        self._say = say
        self._users = Users(stage, Random(f"{plan.seed} work"), speaks_python)
        self._services = Services(stage, Random(f"{plan.seed} services"))
        self._killer = Killer(stage, Random(f"{plan.seed} kills"), plan.has_long)
        self._rng = Random(f"{plan.seed} play")
        self._records = 0

    def run(self) -> Report:
        """To the first batch whose books are wrong, or to the end."""
        began, cycle, problems, lives = time.monotonic(), 0, [], 0
        self._services.create()
        while cycle < self._plan.cycles and not problems:
            for _ in range(min(self._plan.batch, self._plan.cycles - cycle)):
                cycle += 1
                self._cycle()
            problems = self._settled()
            with self._stage.books(BUYER) as books:
                lives = len(self._services.lives(books))
            self._say(f"{cycle} cycles, {time.monotonic() - began:.0f} s, {sum(self._users.counts.values())} asked")
        if not problems:
            problems = self._closed()
        counts = self._killer.ways, self._users.counts
        seconds = round(time.monotonic() - began, 1)
        return Report(self._plan, cycle, *counts, lives, seconds, problems, self._records)

    def _cycle(self) -> None:
        pods = self._services.pods()
        for _ in range(self._rng.randint(1, 3)):
            self._users.ask(pods)
        if self._rng.random() < 0.2:
            self._services.stir()
        self._killer.strike(self._killer.next_blow())

    def _settled(self) -> list[str]:
        """What is wrong once the market has come to rest, or why it does not."""
        stage, asked = self._stage, self._users.asked
        for name in stage.nodes:
            stage.cluster.contact(name)
        if problems := self._until_quiet(self._unrest):
            return problems
        with stage.books(BUYER) as books:
            problems = [*wrong_ends(asked, books, self._killer.outages), *self._services.wrong_logs(books)]
            problems += [*self._services.lost_lives(books), *wrong_results(asked, stage), *wrong_bills(stage)]
        self._users.forget()
        return problems

    def _unrest(self) -> Iterable[str]:
        with self._stage.books(BUYER) as books:
            yield from unfinished(self._users.asked, books)
        yield from self._services.troubles()
        yield from unsettled(self._stage)
        yield from leaks(self._stage)

    def _closed(self) -> list[str]:
        """Without services nothing is left but what waits for work, and without nodes nothing at all."""
        self._services.delete()
        problems = self._until_quiet(lambda: [*unsettled(self._stage), *leaks(self._stage)])
        self._stage.end()
        return problems or self._until_quiet(lambda: remains(self._stage))

    def _until_quiet(self, look: Callable[[], Iterable[str]]) -> list[str]:
        """What is still said after all patience; [] as soon as nothing is."""
        end, told = time.monotonic() + PATIENCE, time.monotonic()
        restart_at = time.monotonic() + RECORDS
        while True:
            try:
                said = list(look())
            except Exception as error:  # noqa: BLE001 (a node may be in its start; in the end it counts)
                said = [repr(error)]
            if not said or time.monotonic() > end:
                return said
            if time.monotonic() > restart_at and all(map(is_record, said)):
                restart_at, self._records = end, self._records + len(said)
                self._stage.daemon.keep_containers(True)
                self._stage.daemon.reload()
                self._stage.daemon.end(signal.SIGTERM)
                self._stage.daemon.start()
            if time.monotonic() > told + TELL_EVERY:
                told = time.monotonic()
                self._say(f"  waiting for: {said[0][:200]}, {len(said) - 1} more")
            time.sleep(0.5)


def play(plan: Plan, folder: Path, say: Callable[[str], None] = print) -> Report:
    """Everything, in `folder`; what was started is ended, whatever happens."""
    with a_daemon(folder / "engine") as daemon:
        speaks_python = _has_code_image(daemon.address)
        stage = Stage(folder, daemon, ("python",) if speaks_python else ())
        before = os.environ.get("DOCKER_HOST")
        try:
            stage.start()
            say(f"seed {plan.seed}: the market is up, {'with' if speaks_python else 'without'} code")
            report = Play(plan, stage, speaks_python, say).run()
            if report.problems:
                (folder / "picture").write_text(picture(stage))
            return report
        finally:
            stage.end()
            _restore("DOCKER_HOST", before)
            _empty(daemon.address)
            daemon.keep_containers(False)
            daemon.end(signal.SIGTERM)
            shutil.copy(daemon.folder / "log", folder / "engine.log")
            release_devices(stage)


def _has_code_image(address: str) -> bool:
    """Bring the image for code over from the machine's own engine, which it may not have."""
    source, target = docker.APIClient(version="auto"), docker.APIClient(address, version="auto")
    try:
        target.load_image(source.get_image(CODE_IMAGE))
    except docker.errors.ImageNotFound:
        return False
    finally:
        source.close()
        target.close()
    return True


def _restore(name: str, before: str | None) -> None:
    if before is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = before


def _empty(address: str) -> None:
    """Containers that a failure left would outlive an engine that is told to spare them."""
    client = docker.APIClient(address, version="auto")
    for item in client.containers(all=True):
        with contextlib.suppress(docker.errors.NotFound):  # a shadow of one that is gone
            client.remove_container(item["Id"], force=True, v=True)
    client.close()


def tell(report: Report) -> None:
    """One screen."""
    for problem in report.problems[:40]:
        print(f"! {problem}")
    print(f"seed {report.plan.seed}: {report.cycles} cycles in {report.seconds} s")
    print(f"kills {report.ways.total()}: {dict(report.ways)}")
    print(f"asked {report.work.total()}: {dict(report.work)}; {report.lives} lives of services")
    print(f"records of volumes that waited for a start of the engine: {report.records}")
    print(f"problems {len(report.problems)}")


def main() -> int:
    """Exit status 0 when all books were right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=20)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    given = parser.parse_args()
    plan = Plan(cycles=given.cycles, batch=given.batch, seed=given.seed, has_long=given.cycles > 50)
    folder = Path(tempfile.mkdtemp(prefix="cycles-"))
    print(f"seed {plan.seed}, in {folder}", flush=True)
    try:
        report = play(plan, folder, lambda text: print(text, flush=True))
    except pytest.skip.Exception as reason:
        print(reason)
        return 2
    tell(report)
    if report.problems:
        print(f"kept: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
