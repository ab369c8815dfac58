"""How this node runs code."""

import os
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from node.adapters.docker_engine.settings import SECCOMP
from node.adapters.sandboxes.languages import LANGUAGES

IDLE_COST: Final = 24
"""MiB that a waiting sandbox takes from the machine: its agent, its shim, and its slot with a shim of its own."""


class SandboxSettings(Struct, frozen=True, kw_only=True):
    """`node` is the label on every sandbox, the same as on the node's other containers."""

    node: str
    address: str = ""
    """The engine's URL; "" means DOCKER_HOST or the default socket."""
    languages: Path = LANGUAGES
    idle_memory: int = 512
    """MiB that sandboxes may take while they wait for code; those that run have the memory of their limits besides."""
    at_once: int = msgspec.field(default_factory=lambda: os.cpu_count() or 1)
    """How many pieces of code run at the same time; more wait."""
    patience: float = 10.0
    """Seconds that code waits for a sandbox before it is refused."""
    cpu: int = 1000
    """Thousandths of a core for each sandbox."""
    lifetime: float = 600.0
    """Seconds after which a sandbox that nobody used ends by itself."""
    has_slots: bool = True
    """Whether sandboxes start in network namespaces that were made before: it halves the CPU of a start."""
    seccomp: Path = SECCOMP

    @property
    def idle(self) -> int:
        """How many sandboxes may wait: at least one."""
        return max(1, self.idle_memory // IDLE_COST)
