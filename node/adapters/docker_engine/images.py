"""Images: what a job may name, from this machine or through a registry that was looked at first.

A job may have an image of this machine only if this node brought it, if it is one of the node's own, or if the operator
shares it. Any other name is a registry's: what it gives to everybody is pulled by its digest, after a look at it.
"""

import asyncio
import contextlib
import fnmatch
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from market.errors import ImageNotFound, InvalidParameters, NeugridError, NotFound, Unavailable
from node.adapters.clock import SystemClock
from node.adapters.docker_engine.calls import Engine
from node.adapters.docker_engine.loading import load
from node.adapters.docker_engine.profile import ImageFacts, facts_of
from node.adapters.docker_engine.pulls import Progress, Pulls, free_at
from node.adapters.docker_engine.tidying import Tidying
from node.adapters.images.archives import read_plan
from node.adapters.images.budgets import Budgets
from node.adapters.images.limits import UNPACKED, ImageLimits, refuse
from node.adapters.images.references import Reference, is_image_id, parse_reference
from node.adapters.images.registry import Registries, Resolved
from node.adapters.images.shelf import Shelf
from node.adapters.images.wire import RegistryAway
from node.ports import Clock, Image, PullProgress

PATIENCE: Final = 5.0
"""Seconds until a registry must have answered a question."""
FIRST_WORD: Final = 4
"""The engine may take so many times the patience to begin, for it asks the same questions once more."""
TAG_LASTS: Final = 3_600_000
"""A tag means the same for so long, in ms; then its registry is asked again, if it answers."""
BUILD_LASTS: Final = 86_400_000
"""The same source is built anew after so long, in ms: what its steps fetch may have changed."""
SPACE: Final = 3
"""An image takes about so many times on disk what it has packed."""
RECENT: Final = 600_000
"""Uses within so many ms are told as one time: an offer should not change with every job."""
MAX_FACTS: Final = 1024


class Images:
    """The images of one engine; `own` are names that every node has, `shelf` remembers what this one brought."""

    def __init__(
        self,
        engine: Engine,
        limits: ImageLimits,
        *,
        patience: float = PATIENCE,
        shelf: Path | None = None,
        own: Collection[str] = (),
        clock: Clock | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._engine = engine
        self._limits = limits
        self._own = frozenset(own)
        self._clock = clock or SystemClock()
        self._shelf = Shelf(shelf, self._clock)
        self._budgets = Budgets(self._clock, limits)
        self._registries = Registries(limits, patience)
        reserve = limits.keep_free // 2
        self._pulls = Pulls(engine, patience * FIRST_WORD, progress or (lambda _: None), self._free, reserve)
        full = {str(parse_reference(name)) for name in own}
        self._tidying = Tidying(engine, self._shelf, self._clock, self._free, full)
        self._facts: dict[str, ImageFacts] = {}
        self._given_used: dict[str, int] = {}
        self._architecture = ""
        self._root = Path()

    async def ensure(self, text: str, requester: str = "") -> Image:
        """The image by name or id; pulled on the budget of `requester` when it is not here.

        Raises ImageNotFound, with the registry's reason, ImageRefused and RateLimited, with the limit.
        """
        await self._open()
        if is_image_id(text):
            return await self._by_id(text, requester)
        reference = parse_reference(text)
        return await self._here(text, reference) or await self._brought(text, reference, requester)

    async def load(self, archive: Path, *, requester: str = "") -> Image:
        """The one image of an archive, by its id alone; ImageRefused, RateLimited."""
        await self._open()
        plan = await asyncio.to_thread(read_plan, archive, self._limits, self._architecture)
        try:
            found, is_new = await self._inspect(plan.id), False
        except NotFound:
            self._budgets.pull(requester, plan.id, plan.size)
            await self._make_room(archive.name, plan.size)
            id = await self._engine.call(lambda client: load(client, archive, plan))
            found, is_new = await self._inspect(id), True
        await self._shelf.put(found["Id"], found["Size"], handle=found["Id"] if is_new else "", owner=requester)
        return self._taken(found["Id"], found)

    async def adopt(self, id: str, requester: str, key: str) -> Image:
        """An image that the build `key` made here for `requester`, whose it is; it goes when room is wanted."""
        await self._open()
        found = await self._inspect(id)
        await self._shelf.put(found["Id"], found["Size"], handle=found["Id"], owner=requester)
        await self._shelf.remember(key, found["Id"])
        return self._taken(found["Id"], found)

    async def built(self, key: str) -> str:
        """The id of the image that the build `key` made here within a day, "" when there is none any more."""
        await self._open()
        built = self._shelf.built(key)
        if built is None or self._clock.now() - built.at > BUILD_LASTS:
            return ""
        with contextlib.suppress(NotFound):
            await self._inspect(built.id)
            await self._shelf.use(built.id)
            return built.id
        return ""

    async def kept(self) -> frozenset[str]:
        """The ids of all images that jobs may have by this node's doing."""
        await self._open()
        return frozenset(kept.id for kept in self._shelf.images())

    async def tidy(self) -> int:
        """Remove what this node brought and nobody uses, while less than `keep_free` is free; how many went."""
        await self._open()
        free = self._free()
        if free is None or free >= self._limits.keep_free:
            return 0
        return await self._tidying.make_room(self._limits.keep_free + self._limits.keep_free // 10)

    def progress(self, reference: str) -> PullProgress | None:
        """How far the pull of an image is; None when it is not being pulled, or no reference."""
        with contextlib.suppress(ImageNotFound):
            return self._pulls.progress(str(parse_reference(reference)))
        return None

    async def references(self) -> tuple[str, ...]:
        """Names under which jobs may have what is here, those used last first."""
        await self._open()
        listed = await self._engine.call(lambda client: client.images())
        here = {item["Id"] for item in listed}
        tags = {tag for item in listed for tag in item.get("RepoTags") or ()}
        used = {parse_reference(tag).familiar: self._given_used.get(tag, 0) for tag in tags if self._is_given(tag)}
        at = {kept.id: kept.used_at for kept in self._shelf.images() if kept.id in here}
        used |= {parse_reference(name).familiar: at[id] for name, id in self._shelf.names().items() if id in at}
        return tuple(sorted(used, key=lambda name: (-(used[name] // RECENT), name)))

    async def facts(self, reference: str) -> ImageFacts:
        """What a local image asks for, as it was when it was last ensured; ImageNotFound when it is not here."""
        try:
            return self._facts.get(reference) or facts_of(await self._inspect(reference))
        except NotFound as error:
            raise ImageNotFound(f"the image {reference!r} is not here", image=reference) from error

    def forget(self, reference: str) -> None:
        """The image is gone after all."""
        self._facts.pop(reference, None)

    async def local(self, reference: str) -> Image:
        """The image as it is here, whosever it is; NotFound when it is not."""
        return self._taken(reference, await self._inspect(reference))

    async def close(self) -> None:
        """Write down what was used last."""
        await self._shelf.save()

    async def _open(self) -> None:
        await self._shelf.open()
        if not self._architecture:
            self._root = Path((await self._engine.call(lambda client: client.info()))["DockerRootDir"])
            self._architecture = (await self._engine.call(lambda client: client.version()))["Arch"]

    def _free(self) -> int | None:
        return free_at(self._root)

    async def _by_id(self, id: str, requester: str) -> Image:
        with contextlib.suppress(NotFound):
            found = await self._inspect(id)
            kept = self._shelf.image(id)
            if (kept and kept.is_for(requester)) or any(map(self._is_given, found.get("RepoTags") or ())):
                return await self._used(id, found)
        raise ImageNotFound(f"there is no image {id!r} for jobs here", image=id)

    async def _here(self, text: str, reference: Reference) -> Image | None:
        """The image without asking anybody: the node's own or shared ones, or one that was resolved lately."""
        if self._is_given(str(reference)):
            with contextlib.suppress(NotFound):
                return await self._used(text, await self._inspect(str(reference)))
        named = self._shelf.named(str(reference))
        is_fresh = named and (reference.digest or self._clock.now() - named.at < TAG_LASTS)
        return await self._known(text, reference) if is_fresh else None

    async def _known(self, text: str, reference: Reference) -> Image | None:
        """The image that the reference meant when its registry was asked last, if it is still here."""
        if named := self._shelf.named(str(reference)):
            with contextlib.suppress(NotFound):
                return await self._used(text, await self._inspect(named.id))
        return None

    async def _brought(self, text: str, reference: Reference, requester: str) -> Image:
        self._registries.check(reference)
        self._budgets.look(requester)
        try:
            resolved = await self._registries.resolve(reference, self._architecture)
        except RegistryAway:
            known = await self._known(text, reference)
            if known is None:
                raise
            await self._shelf.put(known.id, known.size, name=str(reference))
            return known
        return await self._adopted(text, reference, resolved) or await self._pulled(
            text, reference, resolved, requester
        )

    async def _adopted(self, text: str, reference: Reference, resolved: Resolved) -> Image | None:
        """The image that its registry gives to everybody, where it is here already by whosever pull.

        Its id alone is no proof: who knows the config of a private image could put it over layers of his own.
        """
        with contextlib.suppress(NotFound):
            return await self._keep(text, reference, await self._inspect(resolved.pinned), "")
        with contextlib.suppress(NotFound):
            found = await self._inspect(resolved.config)
            if not self._shelf.image(found["Id"]) and not any(map(self._is_given, found.get("RepoTags") or ())):
                raise refuse(text, "shared_images", "it is here and not for jobs", "a shared image", "a private one")
            return await self._keep(text, reference, found, "")
        return None

    async def _pulled(self, text: str, reference: Reference, resolved: Resolved, requester: str) -> Image:
        self._budgets.pull(requester, resolved.pinned, resolved.size)
        await self._make_room(text, resolved.size)
        await self._shelf.expect(resolved.pinned)
        try:
            await self._pulls.pull(str(reference), resolved)
            found = await self._inspect(resolved.pinned)
        except NotFound as error:
            await self._shelf.give_up(resolved.pinned)
            raise ImageNotFound(f"there is no image {text!r}", image=text) from error
        except NeugridError:
            await self._shelf.give_up(resolved.pinned)
            raise
        image = await self._keep(text, reference, found, resolved.pinned)
        await self._check_pulled(text, resolved, found)
        return image

    async def _check_pulled(self, text: str, resolved: Resolved, found: dict[str, Any]) -> None:
        """Remove an image that is not what was looked at, or unpacked to more than images may."""
        most, is_other = self._limits.max_size * UNPACKED, found["Id"] not in (resolved.config, _digest(resolved))
        if not is_other and found["Size"] <= most:
            return
        with contextlib.suppress(NotFound):
            await self._engine.call(lambda client: client.remove_image(resolved.pinned))
        await self._shelf.drop([found["Id"]])
        if is_other:
            raise refuse(text, "digest", "its registry gave something else", resolved.config, found["Id"])
        raise refuse(text, "max_image_size", "it unpacks to too much", f"at most {most} bytes", found["Size"])

    async def _make_room(self, text: str, size: int) -> None:
        """Unavailable when the disk can not hold an image of `size` bytes, packed, even without the unused ones."""
        wanted, free = size * SPACE + self._limits.keep_free, self._free()
        if free is None or free >= wanted:
            return
        if free + sum(kept.size for kept in self._shelf.images() if kept.handles) >= wanted:
            await self._tidying.make_room(wanted)
            free = self._free() or 0
        if free < wanted:
            raise Unavailable(f"there is no room for {text[:120]!r}: {wanted} bytes are wanted and {free} are free")

    async def _keep(self, text: str, reference: Reference, found: dict[str, Any], handle: str) -> Image:
        await self._shelf.put(found["Id"], found["Size"], name=str(reference), handle=handle)
        return self._taken(text, found)

    async def _used(self, text: str, found: dict[str, Any]) -> Image:
        await self._shelf.use(found["Id"])
        self._given_used |= {tag: self._clock.now() for tag in found.get("RepoTags") or () if self._is_given(tag)}
        return self._taken(text, found)

    def _taken(self, text: str, found: dict[str, Any]) -> Image:
        if len(self._facts) >= MAX_FACTS:
            self._facts.clear()
        self._facts[text] = facts_of(found)
        return Image(reference=text, id=found["Id"], size=found["Size"])

    def _is_given(self, name: str) -> bool:
        """Whether a name is one of the node's own, or shared by the operator."""
        try:
            reference = parse_reference(name)
        except ImageNotFound:
            return False
        names = (str(reference), reference.familiar)
        if not self._own.isdisjoint(names):
            return True
        return any(fnmatch.fnmatchcase(name, pattern) for name in names for pattern in self._limits.shared)

    async def _inspect(self, reference: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self._engine.call(lambda client: client.inspect_image(reference))
        except InvalidParameters as error:
            raise ImageNotFound(f"{reference!r} is not an image reference: {error}", image=reference) from error
        return found


def _digest(resolved: Resolved) -> str:
    return resolved.pinned.partition("@")[2]
