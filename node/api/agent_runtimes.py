"""What a program of an agent runs under, by the name of its runtime: an image, and the command that starts it."""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from market.workloads import File, Workload
from node.actions.binaries import NAME
from node.api.submissions import unfit

_FILE: Final = f"/input/{NAME}"


class AgentRuntime(Struct, frozen=True, kw_only=True):
    """An image and a command that starts the program at `/input/agent` in it."""

    image: str
    command: tuple[str, ...]


_NATIVE: Final = AgentRuntime(image="debian:stable-slim", command=(_FILE,))
_STATIC: Final = AgentRuntime(image="busybox:latest", command=(_FILE,))
_NODE: Final = AgentRuntime(image="node:22-slim", command=("node", _FILE))
_SHELL: Final = AgentRuntime(image="busybox:latest", command=("sh", _FILE))
RUNTIMES: Final[Mapping[str, AgentRuntime]] = {
    "rust": _NATIVE,
    "go": _NATIVE,
    "cpp": _NATIVE,
    "binary": _NATIVE,
    "static": _STATIC,
    "python": AgentRuntime(image="python:3.11-slim", command=("python", "-u", _FILE)),
    "node": _NODE,
    "javascript": _NODE,
    "sh": _SHELL,
}


def runtime_of(name: str) -> AgentRuntime:
    """The runtime of that name; InvalidParameters names those that there are."""
    found = RUNTIMES.get(name)
    if found is None:
        raise unfit("runtime", name or "nothing", f"with binary_url one of {', '.join(RUNTIMES)}")
    return found


def with_program(workload: Workload, runtime: AgentRuntime, program: File) -> Workload:
    """The workload that runs this program."""
    return replace(workload, image=runtime.image, command=runtime.command, inputs=(program,))


def without_program(workload: Workload) -> Workload:
    """The workload before another image: it runs what that says."""
    return replace(workload, inputs=(), command=()) if workload.inputs else workload
