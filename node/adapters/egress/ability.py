"""Whether this machine can hold a workload to an egress policy; where it can not, such workloads are refused."""

from pathlib import Path
from typing import Final

from market.errors import Unavailable
from node.adapters.egress.namespace import load_nowhere
from node.adapters.egress.rules import Limits, admission, moved, rules

ALWAYS: Final = ("none",)
ALL: Final = ("none", "web", "list")
STATUS: Final = Path("/proc/self/status")
SYS_PTRACE: Final = 19
"""CAP_SYS_PTRACE."""


async def trouble() -> str:
    """What is missing on this machine, "" when nothing is: the rules are tried in a namespace that vanishes at once."""
    own = ("192.0.2.1", "192.0.2.0/24")
    script = rules("list", own, Limits(bandwidth=10**6)) + admission(("192.0.2.2",), 60) + moved(own)
    try:
        await load_nowhere(script)
    except Unavailable as error:
        return str(error)
    return "" if may_look(STATUS.read_text()) else "the node has no CAP_SYS_PTRACE to open the namespaces of others"


def may_look(status: str) -> bool:
    """Whether the process of this /proc/<pid>/status may open namespaces of other users' processes."""
    (capabilities,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    return bool(int(capabilities, 16) >> SYS_PTRACE & 1)
