"""The wanted paths of an ended container, through the engine's archive call, into the store."""

import base64
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from market.errors import NotFound, OutputRefused
from node.adapters.docker_engine.calls import Client, translated
from node.adapters.docker_engine.outputs import BLOCK, Budget, check_wanted, extract, sync_folder
from node.ports import OutputFile

ROOT = "/output"
DIRECTORY = 1 << 31
"""The bit of a directory in the file modes of Go, which the engine reports."""


def collect(client: Client, name: str, wanted: Sequence[str], store: Path, limit: int) -> tuple[OutputFile, ...]:
    """Every regular file at or under the `wanted` paths, at most `limit` bytes; missing paths are left out.

    Raises OutputRefused; blocking, for a thread.
    """
    budget = Budget(size=limit)
    found: dict[str, OutputFile] = {}
    for path in dict.fromkeys(check_wanted(path) for path in wanted):
        if path not in found:
            found |= {file.path: file for file in _files(client, name, path, store, budget)}
    sync_folder(store)
    return tuple(found[path] for path in sorted(found))


def _files(client: Client, name: str, path: str, store: Path, budget: Budget) -> Iterator[OutputFile]:
    with contextlib.suppress(NotFound), translated():
        _refuse_links(client, name, path)
        chunks, _ = client.get_archive(name, f"{ROOT}/{path}", chunk_size=BLOCK)
        folder = str(PurePosixPath(path).parent)
        yield from extract(chunks, "" if folder == "." else folder, store, budget)


def _refuse_links(client: Client, name: str, path: str) -> None:
    """A link in the middle of a path is followed by the engine (inside of the container): refused all the same."""
    for parent in reversed(PurePosixPath(path).parents):
        if parent.parts and not stat(client, name, str(parent))["mode"] & DIRECTORY:
            raise OutputRefused("only plain folders may lead to an output", path=str(parent))


def look_at(client: Client, name: str, path: str) -> Any:
    """The engine's bare answer to a question about a path in a container; the SDK has no call for it."""
    where = f"{client.base_url}/v{client.api_version}/containers/{name}/archive"
    return client.head(where, params={"path": path})


def stat(client: Client, name: str, path: str) -> dict[str, Any]:
    """What the engine says of a path under /output; NotFound when there is nothing."""
    answer = look_at(client, name, f"{ROOT}/{path}")
    if answer.status_code == 404:
        raise NotFound(f"there is no {path!r} in the outputs")
    answer.raise_for_status()
    described: dict[str, Any] = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
    return described
