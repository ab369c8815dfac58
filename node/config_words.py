"""What settings may be: numbers, names, prices and addresses, each bounded and with the sentence that says so."""

from typing import Annotated, Final

from msgspec import Meta

from node.ports.inspection import RISKS, SWARM_TIER, TIERS


def whole(least: int, most: int, unit: str = "") -> Meta:
    """A whole number, and the sentence that says so."""
    return Meta(ge=least, le=most, description=f"a whole number from {least} to {most}{unit}")


Port = Annotated[int, whole(0, 65_535)]
Name = Annotated[str, Meta(min_length=1, max_length=64, description="a text of 1 to 64 characters")]
File = Annotated[str, Meta(min_length=1, max_length=1024, description="a path")]
Price = Annotated[
    str, Meta(pattern=r"^\d{1,12}(\.\d{1,6})?$", description='an amount of tokens in quotes, such as "0.02"')
]
Days = Annotated[int, whole(1, 36_500, " days")]
Positive = Annotated[int, whole(1, 10**9)]
_PLACE = r"^/(ip4|ip6|dns|dns4|dns6)/[^/]{1,200}/tcp/\d{1,5}"
Listen = Annotated[
    str, Meta(pattern=rf"{_PLACE}$", max_length=256, description='a multiaddr such as "/ip4/0.0.0.0/tcp/4001"')
]
Dial = Annotated[
    str,
    Meta(
        pattern=rf"{_PLACE}/p2p/[1-9A-HJ-NP-Za-km-z]{{8,128}}$",
        max_length=256,
        description='a multiaddr with peer id, such as "/ip4/203.0.113.7/tcp/4001/p2p/16Uiu2HA..."',
    ),
]
Url = Annotated[
    str, Meta(pattern=r"^https?://\S+$", max_length=512, description='a URL such as "http://127.0.0.1:8545"')
]
Database = Annotated[
    str,
    Meta(
        pattern=r"^(postgres(ql)?://\S+)?$(?!\n)",
        max_length=1024,
        description='"" or a URL such as "postgresql://user@host:5432/name"',
    ),
]
Origin = Annotated[
    str, Meta(pattern=r"^https?://[^/\s]{1,200}$", description='an origin such as "https://app.example.org"')
]
ProxyAddress = Annotated[
    str, Meta(pattern=r"^[0-9a-f.:]{2,45}(/[0-9]{1,3})?$(?!\n)", description='an address such as "10.0.0.7"')
]
HostName = Annotated[
    str, Meta(pattern=r"^[a-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?$(?!\n)", description='a host such as "api.example.org"')
]
KeyPrefix = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9-]{1,16}=[0-9A-Za-z_-]{1,32}$(?!\n)",
        description='a platform and how its keys begin, such as "neorun=neo_sk_"',
    ),
]
Registry = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9*.\[\]:-]{1,255}$(?!\n)",
        description='a registry such as "ghcr.io" or "127.0.0.1:5000", or a pattern such as "*.example.org" or "*"',
    ),
]
Pattern = Annotated[
    str,
    Meta(pattern=r"^[!-~]{1,255}$(?!\n)", description='a name of images such as "team/tool:1" or "team/*"'),
]
RepositoryHost = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9.-]{1,253}(:[1-9][0-9]{0,4})?(=[0-9.]{7,15})?$(?!\n)",
        description='a host such as "git.example.org" or "git.example.org:8443", or with "=10.0.0.7" its address',
    ),
]
Size = Annotated[int, whole(2**20, 2**50, " bytes")]
Region = Annotated[str, Meta(pattern="^[a-z0-9-]{1,32}$", description="1 to 32 characters out of a-z, 0-9 and -")]
Role = Annotated[str, Meta(pattern="^(provider|requester)$", description='"provider" or "requester"')]
ALL_TIERS: Final = (*TIERS, SWARM_TIER)
Tier = Annotated[str, Meta(pattern=f"^({'|'.join(ALL_TIERS)})$", description=f"one of {', '.join(ALL_TIERS)}")]
Engines = Annotated[str, Meta(pattern="^(docker|swarm)$", description='"docker" or "swarm"')]
Risk = Annotated[str, Meta(pattern=f"^({'|'.join(RISKS)})$", description=f"one of {', '.join(RISKS)}")]
Roles = Annotated[tuple[Role, ...], Meta(min_length=1, description='a list of "provider", "requester" or both')]
