"""Images: the local ones first, else one shared pull, with a limit on waiting for a registry."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, Final

from market.errors import ImageNotFound, InvalidParameters, NeugridError, NotFound, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.docker_engine.profile import ImageFacts, facts_of
from node.ports import Image

PATIENCE: Final = 5.0
"""Seconds until a registry must have answered with the image's manifest."""
PULL_LIMIT: Final = 1800.0
"""Seconds that a whole pull may take."""
MAX_PULLS: Final = 4

Progress = Callable[[str], None]


class Images:
    """The images of one engine; `patience` in seconds is how long a registry may be silent before its first word."""

    def __init__(self, engine: Engine, patience: float = PATIENCE, progress: Progress | None = None) -> None:
        self._engine = engine
        self._patience = patience
        self._progress = progress or (lambda _: None)
        self._pulls: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(MAX_PULLS)
        self._facts: dict[str, ImageFacts] = {}

    async def ensure(self, reference: str) -> Image:
        """The image by name or id; ImageNotFound, with the registry's reason, when nobody has it."""
        with contextlib.suppress(NotFound):
            return await self.local(reference)
        await self._pull_once(reference)
        try:
            return await self.local(reference)
        except NotFound as error:
            raise ImageNotFound(f"there is no image {reference!r}", image=reference) from error

    async def facts(self, reference: str) -> ImageFacts:
        """What a local image asks for, as it was when it was last ensured; ImageNotFound when it is not here."""
        try:
            return self._facts.get(reference) or facts_of(await self._inspect(reference))
        except NotFound as error:
            raise ImageNotFound(f"the image {reference!r} is not here", image=reference) from error

    def forget(self, reference: str) -> None:
        """The image is gone after all."""
        self._facts.pop(reference, None)

    async def references(self) -> tuple[str, ...]:
        """Names of all local images, sorted."""
        listed = await self._engine.call(lambda client: client.images())
        return tuple(sorted({tag for item in listed for tag in item.get("RepoTags") or () if tag != "<none>:<none>"}))

    async def local(self, reference: str) -> Image:
        """The image as it is here; NotFound when it is not."""
        found = await self._inspect(reference)
        self._facts[reference] = facts_of(found)
        return Image(reference=reference, id=found["Id"], size=found["Size"])

    async def _inspect(self, reference: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_image(reference))
        except InvalidParameters as error:
            raise ImageNotFound(f"{reference!r} is not an image reference: {error}", image=reference) from error
        return found

    async def _pull_once(self, reference: str) -> None:
        """Pull, or join the pull of the same image that runs already; one who gives up does not end it for others."""
        pull = self._pulls.get(reference)
        if pull is None:
            pull = asyncio.create_task(self._pull(reference))
            self._pulls[reference] = pull
            pull.add_done_callback(lambda _: self._pulls.pop(reference, None))
        await asyncio.shield(pull)

    async def _pull(self, reference: str) -> None:
        async with self._places:
            pull = _Pull(self._engine, reference, self._progress)
            threading.Thread(target=pull.run, name="pull", daemon=True).start()
            try:
                await asyncio.wait_for(asyncio.shield(pull.first), self._patience)
                await asyncio.wait_for(asyncio.shield(pull.done), PULL_LIMIT)
            except TimeoutError:
                raise ImageNotFound(
                    f"no registry answered for {reference!r} within {self._patience:g} seconds", image=reference
                ) from None
            finally:
                pull.abandon()


class _Pull:
    """One pull in its own thread: `first` is done at the registry's first word, `done` at the end."""

    def __init__(self, engine: Engine, reference: str, progress: Progress) -> None:
        self._loop = asyncio.get_running_loop()
        self.first: asyncio.Future[None] = self._loop.create_future()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._engine = engine
        self._reference = reference
        self._progress = progress
        self._is_abandoned = False

    def abandon(self) -> None:
        """Nobody waits any more; the engine stops the pull when its reader is gone."""
        self._is_abandoned = True
        for future in (self.first, self.done):
            if future.done() and not future.cancelled():
                future.exception()  # seen, so that nothing is logged about it
            future.cancel()

    def run(self) -> None:
        try:
            self._engine.blocking(self._read)
        except NotFound as error:
            self._fail(ImageNotFound(f"there is no image {self._reference!r}: {error}", image=self._reference))
        except InvalidParameters as error:
            self._fail(ImageNotFound(f"{self._reference!r} can not be pulled: {error}", image=self._reference))
        except Unavailable as error:
            self._fail(_registry_trouble(self._reference, error))
        else:
            self._settle(self.first, None)
            self._settle(self.done, None)

    def _read(self, client: Client) -> None:
        repository, tag = _split(self._reference)
        for item in client.pull(repository, tag=tag, stream=True, decode=True):
            if self._is_abandoned:
                return
            if "error" in item:
                raise NotFound(str(item["error"]))
            self._settle(self.first, None)
            self._progress(" ".join(str(item.get(key, "")) for key in ("status", "id", "progress")).strip())

    def _fail(self, error: NeugridError) -> None:
        self._settle(self.done, error)
        self._settle(self.first, error)

    def _settle(self, future: "asyncio.Future[None]", error: NeugridError | None) -> None:
        def settle() -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop closed in this moment
            self._loop.call_soon_threadsafe(settle)


def _registry_trouble(reference: str, error: Unavailable) -> NeugridError:
    """The engine answers 500 for a registry that it can not reach; only its own silence is its own trouble."""
    if "does not answer" in str(error):
        return error
    return ImageNotFound(f"no registry could give {reference!r}: {error}", image=reference)


def _split(reference: str) -> tuple[str, str]:
    """Repository and tag, or repository and digest; a plain name means "latest", never all tags."""
    if "@" in reference:
        repository, _, digest = reference.partition("@")
        return repository, digest
    repository, _, tag = reference.rpartition(":")
    if not repository or "/" in tag:
        return reference, "latest"
    return repository, tag
