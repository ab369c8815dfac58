"""Whether this machine can hold a workload to an egress policy; where it can not, such workloads are refused."""

from market.errors import Unavailable
from node.adapters.egress.namespace import load_nowhere
from node.adapters.egress.rules import Limits, admission, moved, rules

ALWAYS = ("none",)
ALL = ("none", "web", "list")


async def trouble() -> str:
    """What is missing on this machine, "" when nothing is: the rules are tried in a namespace that vanishes at once."""
    own = ("192.0.2.1", "192.0.2.0/24")
    script = rules("list", own, Limits(bandwidth=10**6)) + admission(("192.0.2.2",), 60) + moved(own)
    try:
        await load_nowhere(script)
    except Unavailable as error:
        return str(error)
    return ""
