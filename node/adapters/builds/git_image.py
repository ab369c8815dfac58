"""The image that clones: git and what it needs, built on this machine out of Debian's packages."""

import hashlib
from typing import Final

from node.adapters.docker_engine.calls import Engine
from node.adapters.image_bench import Bench, Recipe, Told
from node.adapters.sandboxes.languages import BUILDER, LANGUAGES

REFERENCE: Final = "neugrid-git:latest"
PACKAGES: Final = "git ca-certificates dash coreutils grep libc-bin"
FINISH: Final = """
ldconfig
mkdir -p /etc/ssl/certs /output
cat /usr/share/ca-certificates/*/*.crt >/etc/ssl/certs/ca-certificates.crt
"""


async def ensure_git_image(address: str = "", told: Told = lambda _: None) -> str:
    """Make the image available and say how it was had: "present" or "built".

    Raises Unavailable without an engine, and ImageNotFound with the builder's own words when it can not be had.
    """
    engine = Engine(address, workers=2)
    try:
        return await Bench(engine, told).ensure(_recipe())
    finally:
        engine.close()


def _recipe() -> Recipe:
    script = LANGUAGES.parent / BUILDER
    content = b"\0".join((script.read_bytes(), PACKAGES.encode(), FINISH.encode()))
    return Recipe(
        reference=REFERENCE,
        script=script,
        hash=hashlib.sha256(content).hexdigest(),
        variables={"PACKAGES": PACKAGES, "FINISH": FINISH},
        is_published=False,
    )
