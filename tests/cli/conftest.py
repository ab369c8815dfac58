"""A command line that talks to a fake node."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

import cli.client
from cli.main import main
from node.api.limits import Limiter
from tests.cli.fakes import FakeNode
from tests.node.api.fakes import KEY, World
from tests.served import Served


class Said(Struct, frozen=True):
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeNode:
    """Every client of this test talks to this node; there is no node on this machine."""
    fake = FakeNode()
    real = cli.client.Client

    def client(url: str, key: str = "", **others: Any) -> cli.client.Client:
        return real(url, key, transport=fake.transport)

    monkeypatch.setattr(cli.client, "Client", client)
    monkeypatch.setattr("cli.wire.time.sleep", lambda seconds: None)
    monkeypatch.setattr("cli.jobs.POLL", 0)
    monkeypatch.setenv("NEUGRID_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("NEUGRID_URL", raising=False)
    monkeypatch.delenv("NEUGRID_KEY", raising=False)
    return fake


@pytest.fixture
def neugrid(node: FakeNode, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Said]:
    """Run one command against the fake node."""

    def run(*words: str, url: str = "http://node") -> Said:
        monkeypatch.setenv("NEUGRID_URL", url)
        code = main(list(words))
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    served = Served(World(port=2).app)
    served.start()
    yield served
    served.stop()


@pytest.fixture
def world(served: Served) -> World:
    """What the real API serves in this test."""
    world = World()
    served.app.app.state.services = world.services
    served.app.app.state.limiter = Limiter({})
    return world


@pytest.fixture
def real(
    served: Served,
    world: World,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Callable[..., Said]:
    """Run one command against the real API, with Alice's key unless another is given; no login is known."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("NEUGRID_URL", "NEUGRID_KEY", "NEUGRID_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str, key: str = KEY) -> Said:
        place = ["--url", served.url, "--key", key] if key else []
        code = main([*words, *place])
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run
