"""A sandbox that could not be removed because its engine was away goes before the next one starts."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from market.errors import Unavailable
from node.adapters.sandboxes.languages import LANGUAGES, load_languages
from node.adapters.sandboxes.sandbox import Sandboxer
from node.adapters.sandboxes.settings import SandboxSettings


class Engine:
    """Is away or not, and makes no containers."""

    def __init__(self) -> None:
        self.is_away = False
        self.removed: list[str] = []

    async def call(self, verb: Callable[[Any], Any]) -> Any:
        if self.is_away:
            raise Unavailable("the engine is away", service="docker")
        return verb(self)

    async def remove(self, name: str) -> None:
        await self.call(lambda engine: engine.removed.append(name))

    is_local = True

    def info(self) -> dict[str, str]:
        return {"CgroupDriver": "systemd"}

    def create_container_from_config(self, *_: object) -> None:
        raise Unavailable("it makes none", service="docker")


def test_what_could_not_be_removed_goes_before_the_next_start() -> None:
    async def play() -> None:
        engine = Engine()
        limits = load_languages(LANGUAGES).limits
        maker = Sandboxer(engine, None, SandboxSettings(node="n"), limits, "{}")  # type: ignore[arg-type]
        engine.is_away = True
        with pytest.raises(Unavailable):
            await maker.remove("left")
        engine.is_away = False
        for _ in range(2):
            with pytest.raises(Unavailable, match="could be started"):
                await maker.start("image")
        assert engine.removed.count("left") == 1
        assert engine.removed[0] == "left"

    asyncio.run(play())
