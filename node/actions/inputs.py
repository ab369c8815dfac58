"""A lease's inputs: fetched from the requester, laid out as the container sees them, gone with the lease."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

from market.errors import OutputRefused
from market.leases import Lease
from market.workloads import File, Workload, archive_of
from node.actions.files import Files

MANY: Final = 10_000
"""Files whose bringers are remembered; then it begins anew, and they are brought once more."""


class Inputs:
    """One folder a lease below `folder`; the files come from `files`, which keeps them for the next lease.

    That is for another lease of the same requester: who names a digest that others brought has to bring it, too.
    """

    def __init__(self, files: Files, folder: Path) -> None:
        self._files = files
        self._folder = folder
        self._brought: set[tuple[str, str]] = set()
        """Requesters, and the digests of what they brought in this life of the node."""

    def of(self, lease: Lease) -> Path:
        """What is mounted at /input."""
        return self._folder / lease.id / "input"

    async def fetch(self, lease: Lease, workload: Workload) -> None:
        """Bring all inputs into place, but for an image, which is nothing to read.

        Raises what `Files.fetch` raises; OutputRefused for a path that leads out.
        """
        image = archive_of(workload)
        for file in workload.inputs:
            source = await self._fetch(lease, file)
            if file != image:
                await asyncio.to_thread(place, source, self.of(lease), file)

    async def _fetch(self, lease: Lease, file: File) -> Path:
        bringer = (lease.terms.requester, file.digest)
        source = await self._files.fetch(lease.terms.requester_peer, lease.id, file, is_known=bringer in self._brought)
        if len(self._brought) >= MANY:
            self._brought.clear()
        self._brought.add(bringer)
        return source

    def path(self, file: File) -> Path:
        """Where a fetched input is kept."""
        return self._files.path(file.digest)

    async def discard(self, lease: Lease) -> None:
        """Remove the lease's folder, and what a fetch for it has left half done."""
        await asyncio.to_thread(self._files.drop_parts, lease.id)
        await asyncio.to_thread(shutil.rmtree, self.of(lease).parent, ignore_errors=True)


def place(source: Path, folder: Path, file: File) -> None:
    """Copy a fetched input to its path, in whole or not at all; a path that leaves the folder is refused."""
    target = (folder / file.path).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise OutputRefused("an input path must stay inside /input", path=file.path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        part = folder.with_name("part")
        shutil.copyfile(source, part)
        part.replace(target)
