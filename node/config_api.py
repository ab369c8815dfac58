"""The section [api] of the settings: where the HTTP API listens, who may come, and how much of him is taken."""

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from node.config_words import HostName, KeyPrefix, Name, Origin, Port, ProxyAddress, whole


class ApiSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the HTTP API listens; port 0 takes a free one."""

    host: Name = "127.0.0.1"
    port: Port = 8080
    limits: Annotated[str, Meta(max_length=1024, description="a path")] = ""
    """A file of limits instead of the shipped configs/limits.toml."""
    hosts: tuple[HostName, ...] = ()
    """Names under which this API is reached, such as "api.example.org": wallets sign in for one of them."""
    private_webhooks: bool = False
    """Whether webhooks may lead to private addresses and over plain http: programs of the operator's own."""
    wallets_may_join: bool = False
    """Whether a wallet that nobody here has becomes a new account when it signs in."""
    joins_per_hour: Annotated[int, whole(1, 1_000_000, " accounts")] = 60
    """How many new accounts there may be within an hour before no wallet becomes one more."""
    proxies: tuple[ProxyAddress, ...] = ()
    """Addresses or networks of reverse proxies of ours: what they say of the client (X-Forwarded-For) is believed."""
    origins: tuple[Origin, ...] = ()
    """Web pages that may call the API from a browser: their origins, such as "https://app.example.org"."""
    key_prefixes: Annotated[tuple[KeyPrefix, ...], Meta(max_length=16, description="a list of at most 16")] = (
        "neorun=neo_sk_",
        "neuron=nr_live_",
    )
    """How keys begin beside "ng_live_", by the platform whose clients look at that: so they are made, and accepted."""
    body_limit: Annotated[int, whole(1024, 2**40, " bytes")] = 4 * 1024**3
    """The largest upload, in bytes."""
    body_within: Annotated[int, whole(1, 3600, " seconds")] = 30
    """The longest that the next piece of a body may be waited for."""
    connections: Annotated[int, whole(16, 65_536)] = 8192
    """How many there may be at a time..."""
    connections_per_address: Annotated[int, whole(16, 65_536)] = 1024
    """...and from one address, where IPv6 counts by its /64; proxies of ours are not counted by theirs."""

    @property
    def profiles(self) -> Mapping[str, str]:
        """How keys for the clients of a platform begin, by its name."""
        pairs = (entry.partition("=") for entry in self.key_prefixes)
        return {name: prefix for name, _, prefix in pairs}
