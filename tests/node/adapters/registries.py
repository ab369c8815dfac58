"""A real registry on loopback, and images in it; the engine's tests prove that nothing of it stays in the engine."""

import io
import shutil
import subprocess
import tarfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from cli.cluster import free_port

CONFIG = """\
version: 0.1
storage: {{filesystem: {{rootdirectory: {folder}/images}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
log: {{level: error}}
"""


class Registry:
    """`docker-registry` at `host`."""

    def __init__(self, host: str) -> None:
        self.host = host

    def push(self, name: str, *files: int) -> str:
        """An image with a file of each size, and content that nobody else has, only in the registry; its name."""
        client: Any = docker.APIClient(version="auto")
        reference = f"{self.host}/{name}"
        repository, _, tag = reference.rpartition(":")
        with closing(client):
            client.import_image_from_data(_a_rootfs(*files), repository=repository, tag=tag)
            try:
                assert '"error' not in client.push(repository, tag=tag)
            finally:
                client.remove_image(reference)
        return reference


def _a_rootfs(*files: int) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for number, size in enumerate(files or (10,)):
            member = tarfile.TarInfo(f"file{number}")
            member.size = size
            archive.addfile(member, io.BytesIO((uuid.uuid4().bytes * (size // 16 + 1))[:size]))
    return target.getvalue()


@contextmanager
def a_registry(folder: Path, *namespaces: str) -> Iterator[Registry]:
    """A registry that holds nothing yet; skips where Debian's package can not be had.

    It answers at the same loopback address in each of the network `namespaces` too.
    """
    folder.mkdir(parents=True)
    program = shutil.which("docker-registry") or _unpacked(folder)
    port = free_port()
    (folder / "config.yml").write_text(CONFIG.format(folder=folder, port=port))
    command = [program, "serve", str(folder / "config.yml")]
    places: list[list[str]] = [[], *(["nsenter", f"--net={namespace}"] for namespace in namespaces)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    processes = [subprocess.Popen([*place, *command], **quiet) for place in places]
    try:
        _until_it_answers(f"http://127.0.0.1:{port}/v2/", processes[0])
        yield Registry(f"127.0.0.1:{port}")
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


def _unpacked(folder: Path) -> str:
    """The program out of Debian's package, which is not installed: that would start a service."""
    steps = ("apt-get -qq download docker-registry", "dpkg-deb -x docker-registry_*.deb .")
    done = subprocess.run(["sh", "-c", " && ".join(steps)], cwd=folder, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("no registry: the package docker-registry can not be had")
    return str(folder / "usr" / "bin" / "docker-registry")


def _until_it_answers(url: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    pytest.fail("the registry does not start")
