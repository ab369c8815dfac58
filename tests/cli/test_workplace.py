"""What a killed market left behind is swept by the next one, also when the engine needs a second try."""

import json
from pathlib import Path

import pytest

from cli import workplace
from market.errors import Conflict, NeugridError, Unavailable
from node.adapters.docker_engine.settings import RuntimeSettings
from node.ports import Container


class Runtime:
    """An engine with one container, which it fails to remove as often as there are errors."""

    errors: list[NeugridError]
    removed: list[str]

    def __init__(self, settings: RuntimeSettings, clock: object) -> None:
        self._node = settings.node

    async def containers(self) -> tuple[Container, ...]:
        return (Container(name=f"{self._node}-a1", lease="", running=True, created_at=0),)

    async def remove(self, name: str) -> None:
        if self.errors:
            raise self.errors.pop()
        self.removed.append(name)

    async def prepare(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture(autouse=True)
def failing_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    Runtime.errors, Runtime.removed = [], []
    monkeypatch.setattr(workplace, "DockerRuntime", Runtime)
    monkeypatch.setattr(workplace, "PAUSE", 0.0)


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A folder whose market died, with the key of one node."""
    key = tmp_path / "neugrid-dev-1" / "provider-1" / "keys" / "node.json"
    key.parent.mkdir(parents=True)
    key.write_text(json.dumps({"address": "ab"}))
    (tmp_path / "neugrid-dev-1" / "owner.lock").touch()
    return tmp_path / "neugrid-dev-1"


def test_an_abandoned_folder_goes_with_the_containers_of_its_nodes(left: Path) -> None:
    assert workplace.sweep(left.parent) == [left]
    assert Runtime.removed == ["0xab-a1"]
    assert not left.exists()


def test_an_engine_that_fails_once_is_asked_again(left: Path) -> None:
    Runtime.errors = [Unavailable("the end was not seen"), Conflict("already at it")]
    assert workplace.sweep(left.parent) == [left]
    assert Runtime.removed == ["0xab-a1"]


def test_a_folder_stays_while_its_containers_can_not_be_removed(left: Path) -> None:
    Runtime.errors = [Unavailable("no")] * workplace.TRIES
    assert workplace.sweep(left.parent) == []
    assert left.exists()
    assert workplace.sweep(left.parent) == [left]


def test_the_folder_of_a_living_market_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workplace.tempfile, "tempdir", str(tmp_path))
    with workplace.workplace("dev") as folder:
        assert workplace.sweep(tmp_path) == []
        assert folder.exists()
    assert not folder.exists()


def test_what_another_one_sweeps_or_what_is_only_a_link_is_left_to_him(left: Path) -> None:
    (left.parent / "neugrid-link").symlink_to(left)
    with workplace._taken_over(left / "owner.lock") as is_taken:
        assert is_taken
        assert workplace.sweep(left.parent) == []
    assert workplace.sweep(left.parent) == [left]
