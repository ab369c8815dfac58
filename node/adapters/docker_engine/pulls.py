"""Pulls through the engine: by digest, anonymous, watched on their way; one for all who want the same image."""

import asyncio
import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from market.errors import ImageNotFound, InvalidParameters, NeugridError, NotFound, Unavailable
from node.adapters.docker_engine.calls import Client, Engine
from node.adapters.images.limits import refuse
from node.adapters.images.registry import Resolved
from node.ports import PullProgress

PULL_LIMIT: Final = 1800.0
"""Seconds that a whole pull may take."""
MAX_PULLS: Final = 4
SHORT_ID: Final = 12
"""Characters of a layer's digest that engines show."""
MAX_LINE: Final = 2**20
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at the disk while an image unpacks: its size on the wire says little about it."""

Progress = Callable[[PullProgress], None]
Free = Callable[[], int | None]
"""Bytes that are free where the engine keeps its images; None where that can not be seen."""


def free_at(root: Path) -> int | None:
    """Free bytes on the disk of `root`."""
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return None


class Pulls:
    """The pulls that run; `first_word` in seconds is how long the engine may take to begin."""

    def __init__(self, engine: Engine, first_word: float, progress: Progress, free: Free, reserve: int) -> None:
        self._engine = engine
        self._first_word = first_word
        self._progress = progress
        self._free = free
        self._reserve = reserve
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tallies: dict[str, Tally] = {}
        self._places = asyncio.Semaphore(MAX_PULLS)

    async def pull(self, reference: str, resolved: Resolved) -> None:
        """Pull, or join the pull of the same image that runs already; one who gives up does not end it for others."""
        key = resolved.pinned
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(self._pull(reference, resolved))
            self._running[key] = task
            task.add_done_callback(lambda _: self._forget(key))
        await asyncio.shield(task)

    def progress(self, reference: str) -> PullProgress | None:
        """How far the pull that was asked for by this full reference is."""
        for tally in list(self._tallies.values()):
            if tally.progress.reference == reference:
                return tally.progress
        return None

    def _forget(self, key: str) -> None:
        self._running.pop(key, None)
        self._tallies.pop(key, None)

    async def _pull(self, reference: str, resolved: Resolved) -> None:
        tally = self._tallies[resolved.pinned] = Tally(reference, resolved, self._progress)
        async with self._places:
            pull = _Pull(self._engine, reference, resolved.pinned, tally)
            threading.Thread(target=pull.run, name="pull", daemon=True).start()
            try:
                async with asyncio.timeout(PULL_LIMIT):
                    await asyncio.wait_for(asyncio.shield(pull.first), self._first_word)
                    await self._until_done(pull, reference)
            except TimeoutError:
                sentence = f"the registry gave {reference!r} too slowly"
                raise ImageNotFound(sentence, image=reference) from None
            finally:
                pull.abandon()

    async def _until_done(self, pull: "_Pull", reference: str) -> None:
        while not (await asyncio.wait([pull.done], timeout=LOOK_EVERY))[0]:
            free = self._free()
            if free is not None and free < self._reserve:
                raise refuse(reference, "keep_free", "unpacking it fills the disk", f"{self._reserve} bytes free", free)
        await pull.done


class Tally:
    """How much of an image is here, from the engine's words and the sizes that were promised for its layers."""

    def __init__(self, reference: str, resolved: Resolved, told: Progress) -> None:
        self._sizes = {digest.partition(":")[2][:SHORT_ID]: size for digest, size in resolved.sizes.items()}
        self._done = dict.fromkeys(self._sizes, 0)
        self._told = told
        self.progress = PullProgress(reference=reference, done=0, total=resolved.size)

    def take(self, item: dict[str, Any]) -> None:
        """One message of the engine; ImageRefused when a layer turns out larger than its manifest says."""
        layer, status = str(item.get("id", "")), str(item.get("status", ""))
        if layer not in self._sizes:
            return
        promised, detail = self._sizes[layer], item.get("progressDetail") or {}
        if status == "Downloading":
            self._check(max(int(detail.get("current") or 0), int(detail.get("total") or 0)), promised)
            self._done[layer] = int(detail.get("current") or 0)
        elif status in ("Download complete", "Already exists", "Pull complete", "Extracting", "Verifying Checksum"):
            self._done[layer] = promised
        self._tell()

    def _check(self, size: int, promised: int) -> None:
        if size > promised:
            raise refuse(self.progress.reference, "layer_size", "a layer is not as large as said", promised, size)

    def _tell(self) -> None:
        done = sum(self._done.values())
        if done != self.progress.done:
            self.progress = PullProgress(reference=self.progress.reference, done=done, total=self.progress.total)
            self._told(self.progress)


class _Pull:
    """One pull in its own thread: `first` is done at the engine's first word, `done` at the end."""

    def __init__(self, engine: Engine, reference: str, pinned: str, tally: Tally) -> None:
        self._loop = asyncio.get_running_loop()
        self.first: asyncio.Future[None] = self._loop.create_future()
        self.done: asyncio.Future[None] = self._loop.create_future()
        self._engine = engine
        self._reference = reference
        self._pinned = pinned
        self._tally = tally
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
        except (NotFound, InvalidParameters) as error:
            sentence = f"{self._reference!r} can not be pulled: {str(error)[:300]}"
            self._fail(ImageNotFound(sentence, image=self._reference))
        except Unavailable as error:
            self._fail(_registry_trouble(self._reference, error))
        except NeugridError as error:
            self._fail(error)
        else:
            self._settle(self.first, None)
            self._settle(self.done, None)

    def _read(self, client: Client) -> None:
        """By our own call and not the SDK's, which would lend the operator's credentials to a stranger."""
        name, _, digest = self._pinned.partition("@")
        where = f"{client.base_url}/v{client.api_version}/images/create"
        wanted = {"fromImage": name, "tag": digest}
        with contextlib.closing(client.post(where, params=wanted, stream=True, timeout=(60, None))) as answer:
            if answer.status_code != 200:
                raise NotFound(answer.text[:300])
            for item in _messages(answer.iter_content(None)):
                if self._is_abandoned:
                    return
                if "error" in item:
                    raise NotFound(str(item["error"])[:300])
                self._settle(self.first, None)
                self._tally.take(item)

    def _fail(self, error: NeugridError) -> None:
        self._settle(self.done, error)
        self._settle(self.first, error)

    def _settle(self, future: "asyncio.Future[None]", error: NeugridError | None) -> None:
        def settle() -> None:
            if not future.done():
                future.set_result(None) if error is None else future.set_exception(error)

        with contextlib.suppress(RuntimeError):  # the loop closed in this moment
            self._loop.call_soon_threadsafe(settle)


def _messages(chunks: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_LINE:
            raise NotFound("the engine's words make no sense")
        yield from (json.loads(line) for line in lines if line.strip())


def _registry_trouble(reference: str, error: Unavailable) -> NeugridError:
    """The engine answers 500 for a registry that it can not reach; only its own silence is its own trouble."""
    if "does not answer" in str(error):
        return error
    return ImageNotFound(f"no registry could give {reference!r}: {error}", image=reference)
