"""The doors to the world: what the node asks of storage, network, runtime, chain, hardware and clock.

Adapters implement these and translate foreign errors into `market.errors`; `app.py` alone chooses them.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from msgspec import Struct

from contracts.values import Balances as Balances
from contracts.values import ChannelOnChain as ChannelOnChain
from contracts.values import Claim as Claim
from contracts.values import Receipt as Receipt
from market.offers import Hardware
from market.resources import Resources
from market.units import Address, Amount, PeerId, Seconds, Timestamp


class Clock(Protocol):
    """The only source of time."""

    def now(self) -> Timestamp:
        """Milliseconds since the epoch; never steps back while the process lives."""
        ...


# --- storage -------------------------------------------------------------------------------------------------------

N = TypeVar("N", bound=Struct)
R = TypeVar("R")


class Reader(Protocol):
    """Reads of nouns; each noun is a table of its searched columns and a JSON body."""

    def get(self, noun: type[N], id: str) -> N | None:
        """The noun with that id."""
        ...

    def find(
        self,
        noun: type[N],
        *,
        limit: int = 0,
        offset: int = 0,
        after: tuple[int, str] | None = None,
        newest: bool = False,
        **where: object,
    ) -> list[N]:
        """Nouns whose columns equal `where` (a tuple or list value means any of), in order of (created, id).

        `<column>_until=n` means at most n; a deadline of 0 is none and never found so. `limit` 0 = all; `offset` passes
        over as many, where there is a limit; `newest` turns the order round; `after` is the (created, id) of the last
        one seen. Entries come in order of `seq` alone, their id is `str(seq)`; log chunks in order of `first`. Raises
        TypeError for a column that the noun's row lacks.
        """
        ...

    def count(self, noun: type[Struct], **where: object) -> int:
        """How many nouns have these columns."""
        ...


class Tx(Reader, Protocol):
    """One open transaction in the writer's thread: synchronous, never kept."""

    def put(self, noun: Struct) -> None:
        """Insert or replace by id; an Entry with seq 0 is inserted. Conflict when a unique column is taken."""
        ...

    def insert(self, noun: Struct) -> None:
        """Insert; Conflict when the id is taken."""
        ...

    def delete(self, noun: type[Struct], id: str) -> None:
        """Delete by id, or do nothing."""
        ...


class Storage(Reader, Protocol):
    """Durable state. Reads see what is committed; writes are grouped, and answered after the commit is on disk."""

    async def write(self, work: Callable[[Tx], R]) -> R:
        """Run `work` once in the writer's thread, alone in its savepoint; return after COMMIT with synchronous=FULL.

        An error in `work` undoes only its own writes and is raised here. Raises Unavailable when the commit fails (disk
        full): then nothing of it is stored. Cancelling the caller does not undo it.
        """
        ...


# --- network -------------------------------------------------------------------------------------------------------


class Gossip(Struct, frozen=True):
    """A message that came over gossip; envelope, freshness and signature are verified already."""

    topic: str
    data: bytes


class Peer(Struct, frozen=True):
    """A connected peer and its addresses as multiaddr strings."""

    id: PeerId
    addresses: tuple[str, ...] = ()


RequestHandler = Callable[[PeerId, bytes], Awaitable[bytes]]


class Network(Protocol):
    """libp2p, in its own supervised process. All methods raise Unavailable while that process is down."""

    @property
    def peer(self) -> PeerId:
        """The peer id of this node, derived from the node key."""
        ...

    async def publish(self, topic: str, data: bytes) -> None:
        """Gossip `data` (at most 16 KiB); a node need not subscribe to publish."""
        ...

    async def subscribe(self, topic: str) -> None:
        """Join `topic`; survives a restart of the network process."""
        ...

    def gossip(self) -> AsyncIterator[Gossip]:
        """Messages of all joined topics, each once."""
        ...

    async def request(self, peer: PeerId, data: bytes, timeout: float = 5.0) -> bytes:
        """One request and its answer over a direct stream (at most 4 MiB each way).

        Raises PeerUnreachable when nothing can have been sent, Unavailable when it may have been.
        """
        ...

    def serve(self, handler: RequestHandler) -> None:
        """Answer requests of peers with `handler`; it runs concurrently and must not raise."""
        ...

    async def connect(self, address: str) -> None:
        """Dial a multiaddr that ends in /p2p/<peer id> and keep the connection alive."""
        ...

    async def peers(self) -> tuple[Peer, ...]:
        """The peers connected now."""
        ...

    async def addresses(self) -> tuple[str, ...]:
        """The multiaddrs this node listens on, each ending in /p2p/<peer id>."""
        ...


# --- runtime -------------------------------------------------------------------------------------------------------


class Image(Struct, frozen=True):
    """A resolved image: `id` is content-addressed, `size` in bytes."""

    reference: str
    id: str
    size: int


class ContainerSpec(Struct, frozen=True, kw_only=True):
    """One container to run: `name` is deterministic (`<lease>-a<attempt>`), so that starting twice starts once."""

    name: str
    lease: str
    image: str
    command: tuple[str, ...]
    env: dict[str, str]
    resources: Resources
    timeout: Seconds
    inputs: Path | None = None
    """A folder that is mounted read-only at /input."""
    has_outputs: bool = False
    """Whether a writable, size-limited /output is mounted."""


class Exit(Struct, frozen=True, kw_only=True):
    """How a container ended. `reason` is one of "exited", "oom", "timeout", "killed", "engine"; times in epoch ms.

    "engine" means infrastructure (exit 137 after an engine restart, container vanished), never the user's failure.
    """

    code: int
    reason: str
    started_at: Timestamp
    finished_at: Timestamp


class LogLine(Struct, frozen=True):
    """One line of output: `at` in epoch ms, `stream` is "stdout" or "stderr", no newline at its end."""

    at: Timestamp
    stream: str
    text: str


class Container(Struct, frozen=True, kw_only=True):
    """A container of ours that the engine knows."""

    name: str
    lease: str
    running: bool
    created_at: Timestamp


class OutputFile(Struct, frozen=True, kw_only=True):
    """A file taken out of a container: `path` relative to /output, `digest` SHA-256 hex, `size` in bytes."""

    path: str
    digest: str
    size: int


class RuntimeHealth(Struct, frozen=True, kw_only=True):
    """Whether the engine answers and enforces limits; `reason` says why not."""

    is_ok: bool
    version: str = ""
    reason: str = ""


class Runtime(Protocol):
    """The container engine. Methods raise Unavailable while the engine does not answer."""

    async def health(self) -> RuntimeHealth: ...

    async def ensure_image(self, reference: str) -> Image:
        """The image, pulled when it is not there; ImageNotFound when there is no such image."""
        ...

    async def images(self) -> tuple[str, ...]:
        """References of the images that are here."""
        ...

    async def start(self, spec: ContainerSpec) -> Timestamp:
        """Create and start the container and say when; when one of that name exists it is kept."""
        ...

    async def wait(self, name: str) -> Exit:
        """Wait until the container has ended (its own time limit included) and say how."""
        ...

    def logs(self, name: str, skip: int = 0) -> AsyncIterator[LogLine]:
        """Lines as they are written, from the first (less `skip` lines) to the end of the container."""
        ...

    async def outputs(self, name: str, wanted: Sequence[str], store: Path, limit: int) -> tuple[OutputFile, ...]:
        """Copy the `wanted` paths under /output into `store`, each file named by its digest; regular files only.

        Raises OutputRefused when links or devices are wanted, or when they hold more than `limit` bytes.
        """
        ...

    async def stop(self, name: str, grace: int = 5) -> None:
        """SIGTERM, then SIGKILL after `grace`; no error when it has ended or does not exist."""
        ...

    async def remove(self, name: str) -> None:
        """Remove container and volumes; no error when it does not exist."""
        ...

    async def containers(self) -> tuple[Container, ...]:
        """All containers of this node, found by label."""
        ...


class Machine(Protocol):
    """Measures the machine that the node sells."""

    async def measure(self) -> tuple[Resources, Hardware]:
        """What is there in total, and the facts about it."""
        ...


# --- chain ---------------------------------------------------------------------------------------------------------


class ChainNews(Struct, frozen=True, kw_only=True):
    """Channels (hex ids) that confirmed events touched, those on which an exit was armed, and where to go on.

    `is_rewound` says that the chain took something back: everything that is known of channels must be read again.
    """

    channels: tuple[str, ...]
    exits: tuple[str, ...] = ()
    is_rewound: bool = False
    cursor: str


class Chain(Protocol):
    """The channels on chain, through this node's wallet. Reads raise Unavailable when no RPC answers.

    Every writing method takes `key`: the wallet journals the transaction under it before it broadcasts, so that a
    repeat with the same key sends nothing new and returns the same receipt.
    """

    chain_id: int
    channels: Address

    async def balances(self, address: Address) -> Balances: ...

    async def channel(self, channel: str) -> ChannelOnChain: ...

    async def earned(self, payee: Address) -> Amount:
        """Claimed and not withdrawn, after the fee."""
        ...

    async def deposit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        """Fund the channel of (this wallet, signer, payee); approves the token first where needed.

        Raises InsufficientFunds before anything is sent.
        """
        ...

    async def claim(self, payee: Address, claims: Sequence[Claim], key: str) -> Receipt: ...

    async def withdraw(self, to: Address, key: str) -> Receipt: ...

    async def release(self, payer: Address, signer: Address, amount: Amount, key: str) -> Receipt:
        """Give the payer back `amount` of an unclaimed deposit at once (payee's side)."""
        ...

    async def start_exit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt: ...

    async def finish_exit(self, signer: Address, payee: Address, key: str) -> Receipt: ...

    async def journal(self) -> list[dict[str, Any]]:
        """The wallet's transactions, oldest first: key, hash, state, gas and block of each."""
        ...

    def news(self, cursor: str) -> AsyncIterator[ChainNews]:
        """What happened after `cursor` ("" = from the deployment on), without end; waits while no RPC answers."""
        ...
