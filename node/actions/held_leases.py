"""Finding a lease of this node: by id for our own effects, by id and party for what a peer says about it."""

from market.errors import NotFound
from market.leases import Lease
from node.ports import Reader


def held_lease(reader: Reader, id: str) -> Lease:
    """The lease of that id; NotFound when there is none."""
    lease = reader.get(Lease, id)
    if lease is None:
        raise NotFound("no such lease", id=id)
    return lease


def lease_with(reader: Reader, id: str, side: str, other: str) -> Lease:
    """Our lease on that side with the party at address `other`; a foreign lease is NotFound like a missing one."""
    lease = held_lease(reader, id)
    party = lease.terms.requester if side == "provider" else lease.terms.provider
    if lease.side != side or party != other:
        raise NotFound("no such lease", id=id)
    return lease
