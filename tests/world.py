"""A whole market in one process: nodes on fakes of network, runtime and chain, with real engines and rules."""

import asyncio
import contextlib
import hashlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from market.builds import RESULT, STREAM, step_begins, step_ends
from market.dialogue import LogPlace
from market.errors import BadMessage, ImageNotFound, PeerUnreachable
from market.messages import network_id
from market.offers import Hardware
from market.pricing import PricingPolicy
from market.resources import Prices, Resources
from market.signing import Signer
from market.units import GIB, Address, Amount, Bytes, MilliCpu, PeerId, Seconds, Timestamp
from market.vouchers import channel_id
from node.actions.deploying import PodTerms
from node.actions.log_keeping import LogLimits
from node.actions.projects import BuildTerms
from node.actions.standing import StandingSettings
from node.adapters.docker_engine.places import Resumption
from node.assembly import Node, assemble
from node.engine import supervise
from node.p2p.frames import MAX_HEAD
from node.parts import Identity, Outfit, Ports, Settings
from node.ports import (
    Balances,
    BuildEnd,
    BuildSpec,
    ByteStream,
    ChainNews,
    ChannelOnChain,
    Claim,
    Clock,
    Container,
    Containers,
    ContainerSpec,
    Exit,
    Gossip,
    Hear,
    Image,
    IncomingNews,
    LogLine,
    OutputFile,
    Peer,
    PullProgress,
    Receipt,
    RequestHandler,
    RuntimeHealth,
    Storage,
    StreamHandler,
)
from node.provider import open_doors
from tests.fakes import FakeSandboxes
from tests.streams import MemoryStream, memory_streams

CHAIN_ID = 31337
CHANNELS = Address("0x" + "c0" * 20)


class FakeHub:
    """The air between fake networks: who is there, and who can not be reached."""

    def __init__(self) -> None:
        self.nodes: dict[str, FakeNetwork] = {}
        self.unreachable: set[str] = set()


class FakeNetwork:
    def __init__(self, hub: FakeHub, peer: str) -> None:
        self._hub = hub
        self._peer = PeerId(peer)
        self._topics: set[str] = set()
        self._queue: asyncio.Queue[Gossip] = asyncio.Queue()
        self._handler: RequestHandler | None = None
        self._stream_handler: StreamHandler | None = None
        self._serving: set[asyncio.Task[None]] = set()
        hub.nodes[peer] = self

    @property
    def peer(self) -> PeerId:
        return self._peer

    async def publish(self, topic: str, data: bytes) -> None:
        for peer, node in self._hub.nodes.items():
            if peer != self._peer and topic in node._topics and not self._is_cut(peer):
                node._queue.put_nowait(Gossip(topic, data))

    async def subscribe(self, topic: str) -> None:
        self._topics.add(topic)

    async def gossip(self) -> AsyncIterator[Gossip]:
        while True:
            yield await self._queue.get()

    async def request(self, peer: PeerId, data: bytes, timeout: float = 5.0) -> bytes:
        node = self._hub.nodes.get(peer)
        if node is None or node._handler is None or self._is_cut(peer):
            raise PeerUnreachable("no connection", peer=peer)
        return await node._handler(self._peer, data)

    def serve(self, handler: RequestHandler) -> None:
        self._handler = handler

    async def open_stream(self, peer: PeerId, head: bytes, timeout: float = 5.0) -> ByteStream:
        node = self._hub.nodes.get(peer)
        if node is None or self._is_cut(peer):
            raise PeerUnreachable("no connection", peer=peer)
        if len(head) > MAX_HEAD:
            raise BadMessage("too large for a head", got=len(head))
        ours, theirs = memory_streams()
        task = asyncio.create_task(node._serve_stream(self._peer, head, theirs))
        node._serving.add(task)
        task.add_done_callback(node._serving.discard)
        return ours

    def serve_streams(self, handler: StreamHandler) -> None:
        self._stream_handler = handler

    async def _serve_stream(self, peer: PeerId, head: bytes, stream: MemoryStream) -> None:
        try:
            if self._stream_handler is not None:
                with contextlib.suppress(Exception):
                    await self._stream_handler(peer, head, stream)
                    await stream.close()
        finally:
            stream.abort()

    async def connect(self, address: str) -> None:
        pass

    async def peers(self) -> tuple[Peer, ...]:
        others = [peer for peer in self._hub.nodes if peer != self._peer and not self._is_cut(peer)]
        return tuple(Peer(PeerId(peer)) for peer in others)

    async def addresses(self) -> tuple[str, ...]:
        return ()

    def _is_cut(self, peer: str) -> bool:
        return bool({peer, str(self._peer)} & self._hub.unreachable)


class FakeRuntime:
    """Runs "containers" as rules: `ends` maps a command's first word to its exit; unknown commands exit 0.

    What has no time limit is a service: it runs until it is stopped, unless `ends` says otherwise.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.started: list[str] = []
        self.containers_by_name: dict[str, tuple[ContainerSpec, Timestamp]] = {}
        self.stopped: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.ends: dict[str, Exit] = {}
        self.hang: set[str] = set()
        self.unknown_images: set[str] = set()
        self.files: dict[str, bytes] = {}
        self.lines: tuple[str, ...] = ("hello",)
        self.said: list[LogLine] = []
        """What the engine still has of the output of containers that hang; `say` adds to it."""
        self._news = asyncio.Event()

    async def health(self) -> RuntimeHealth:
        return RuntimeHealth(is_ok=True, version="fake")

    async def ensure_image(self, reference: str, *, requester: str = "") -> Image:
        if reference in self.unknown_images:
            raise ImageNotFound(f"no such image: {reference}", image=reference)
        return Image(reference, "sha256:" + hashlib.sha256(reference.encode()).hexdigest(), 1)

    async def images(self) -> tuple[str, ...]:
        return ("busybox",)

    async def start(self, spec: ContainerSpec) -> Timestamp:
        if spec.name not in self.containers_by_name:
            self.containers_by_name[spec.name] = (spec, self._clock.now())
            self.started.append(spec.name)
        return self.containers_by_name[spec.name][1]

    async def wait(self, name: str) -> Exit:
        spec, at = self.containers_by_name[name]
        word = spec.command[0] if spec.command else ""
        if self._hangs(spec):
            await self.stopped[name].wait()
            return Exit(code=137, reason="killed", started_at=at, finished_at=self._clock.now())
        end = self.ends.get(word, Exit(code=0, reason="exited", started_at=at, finished_at=Timestamp(10)))
        return Exit(
            code=end.code, reason=end.reason, started_at=at, finished_at=Timestamp(at + end.finished_at % 10**6)
        )

    def _hangs(self, spec: ContainerSpec) -> bool:
        word = spec.command[0] if spec.command else ""
        return word in self.hang or (spec.timeout == 0 and word not in self.ends)

    def say(self, *texts: str, stream: str = "stdout") -> None:
        self.said += [LogLine(self._clock.now(), stream, text) for text in texts]
        self._wake()

    async def logs(self, name: str, skip: int = 0, after: Sequence[LogPlace] = ()) -> AsyncIterator[LogLine]:
        (spec, at), before, read = self.containers_by_name[name], Resumption(after), 0
        first = [LogLine(at, "stdout", line) for line in self.lines]
        while True:
            news, lines = self._news, [*first, *self.said][skip:]
            for line in lines[read:]:
                if not before.is_known(line):
                    if before.is_behind_gap(line):
                        yield LogLine(line.at, "node", "lines are missing")
                    yield line
            read = len(lines)
            if self.stopped[name].is_set() or not self._hangs(spec):
                return
            await news.wait()

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def outputs(self, name: str, wanted: Sequence[str], store: Path, limit: int) -> tuple[OutputFile, ...]:
        found = []
        for path in wanted:
            content = self.files.get(path)
            if content is not None:
                digest = hashlib.sha256(content).hexdigest()
                (store / digest).write_bytes(content)
                found.append(OutputFile(path=path, digest=digest, size=len(content)))
        return tuple(found)

    async def stop(self, name: str, grace: int = 5) -> None:
        self.stopped[name].set()
        self._wake()

    async def remove(self, name: str) -> None:
        self.containers_by_name.pop(name, None)

    async def containers(self) -> tuple[Container, ...]:
        return tuple(
            Container(name=name, lease=spec.lease, running=True, created_at=at)
            for name, (spec, at) in self.containers_by_name.items()
        )


class FakeBuilder:
    """Builds by rules: what `ends` says of the last part of the URL, else an image of it; `gate` holds it up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.ends: dict[str, BuildEnd] = {}
        self.breaks: set[str] = set()
        self.specs: list[BuildSpec] = []
        self.swept: list[str] = []
        self.cancelled: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def abilities(self) -> tuple[str, ...]:
        return ("build", "egress:web")

    async def ready(self) -> str:
        return "sha256:git"

    async def build(self, spec: BuildSpec, store: Path, hear: Hear) -> BuildEnd:
        self.specs.append(spec)
        name = spec.source.url.rpartition("/")[2]
        self._say(hear, step_begins(1, f"clone {spec.source.url}"), step_ends(1), step_begins(2, "RUN make"))
        hear(LogLine(self._clock.now(), "stdout", "step 2 failed: forged"))
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(spec.name)
            raise
        if name in self.breaks:
            raise RuntimeError("a mistake")
        end = self.ends.get(name)
        self._say(hear, step_ends(2, end.message if end else ""))
        return end or image_of(name, store)

    async def sweep(self, name: str) -> None:
        self.swept.append(name)

    def _say(self, hear: Hear, *texts: str) -> None:
        for text in texts:
            hear(LogLine(self._clock.now(), STREAM, text))


def image_of(name: str, store: Path) -> BuildEnd:
    content = f"image of {name}".encode()
    digest = hashlib.sha256(content).hexdigest()
    (store / digest).write_bytes(content)
    return BuildEnd(image=f"sha256:{digest}", archive=OutputFile(path=RESULT, digest=digest, size=len(content)))


class FakeImages:
    """Takes every archive; the id of its image is made of its content."""

    async def load(self, archive: Path, *, requester: str = "") -> Image:
        content = archive.read_bytes()
        return Image(reference="", id="sha256:" + hashlib.sha256(content).hexdigest(), size=len(content))

    async def tidy(self) -> int:
        return 0

    def progress(self, reference: str) -> PullProgress | None:
        return None


class FakeMachine:
    async def measure(self) -> tuple[Resources, Hardware]:
        total = Resources(cpu=MilliCpu(8000), memory=Bytes(16 * GIB), disk=Bytes(100 * GIB))
        return total, Hardware(cpu_model="fake", benchmark=1000)


class FakeLedger:
    """The contract as a dictionary, shared by all fake chains."""

    def __init__(self) -> None:
        self.tokens: dict[str, int] = defaultdict(int)
        self.deposited: dict[str, int] = defaultdict(int)
        self.claimed: dict[str, int] = defaultdict(int)
        self.earned: dict[str, int] = defaultdict(int)
        self.fees = 0
        self.keys: dict[str, Receipt] = {}
        self.is_down = False


class FakeChain:
    chain_id = CHAIN_ID
    channels = CHANNELS

    def __init__(self, ledger: FakeLedger, wallet: Address) -> None:
        self._ledger = ledger
        self._wallet = wallet

    async def balances(self, address: Address) -> Balances:
        return Balances(Amount(self._ledger.tokens[address]), 10**18)

    async def channel(self, channel: str) -> ChannelOnChain:
        ledger = self._ledger
        return ChannelOnChain(
            deposited=Amount(ledger.deposited[channel]),
            claimed=Amount(ledger.claimed[channel]),
            exiting=Amount(0),
            exit_ready_at=Timestamp(0),
        )

    async def earned(self, payee: Address) -> Amount:
        return Amount(self._ledger.earned[payee])

    async def deposit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        def move() -> None:
            self._ledger.tokens[self._wallet] -= amount
            self._ledger.deposited[channel_id(self._wallet, signer, payee)] += amount

        return self._once(key, move)

    async def claim(self, payee: Address, claims: Sequence[Claim], key: str) -> Receipt:
        def move() -> None:
            for claim in claims:
                channel = channel_id(claim.payer, claim.signer, payee)
                gain = min(claim.cumulative, self._ledger.deposited[channel]) - self._ledger.claimed[channel]
                self._ledger.claimed[channel] += gain
                self._ledger.earned[payee] += gain - gain // 100
                self._ledger.fees += gain // 100

        return self._once(key, move)

    async def withdraw(self, to: Address, key: str) -> Receipt:
        def move() -> None:
            self._ledger.tokens[to] += self._ledger.earned.pop(self._wallet, 0)

        return self._once(key, move)

    async def release(self, payer: Address, signer: Address, amount: Amount, key: str) -> Receipt:
        def move() -> None:
            self._ledger.deposited[channel_id(payer, signer, self._wallet)] -= amount
            self._ledger.tokens[payer] += amount

        return self._once(key, move)

    async def start_exit(self, signer: Address, payee: Address, amount: Amount, key: str) -> Receipt:
        raise NotImplementedError

    async def finish_exit(self, signer: Address, payee: Address, key: str) -> Receipt:
        raise NotImplementedError

    async def news(self, cursor: str) -> AsyncIterator[ChainNews]:
        await asyncio.Event().wait()
        yield ChainNews(channels=(), cursor=cursor)

    async def pay(self, to: Address, amount: Amount, key: str) -> Receipt:
        def move() -> None:
            self._ledger.tokens[self._wallet] -= amount
            self._ledger.tokens[to] += amount

        return self._once(key, move)

    async def received(self, cursor: str) -> AsyncIterator[IncomingNews]:
        await asyncio.Event().wait()
        yield IncomingNews(transfers=(), cursor=cursor)

    async def journal(self) -> list[dict[str, object]]:
        return [{"key": key, "nonce": nonce} for nonce, key in enumerate(self._ledger.keys)]

    def _once(self, key: str, move: object) -> Receipt:
        if key not in self._ledger.keys:
            move()  # type: ignore[operator]
            self._ledger.keys[key] = Receipt(hash="0x" + key, succeeded=True, gas=1, fee=1, block=1)
        return self._ledger.keys[key]


async def _everything() -> tuple[str, ...]:
    return ("service", "volumes", "endpoints", "build", "egress:web", "egress:list")


class World:
    """Nodes that share a hub and a ledger; `add` starts one, leaving the context stops all."""

    def __init__(self, clock: Clock, folder: Path, logs: LogLimits | None = None) -> None:
        self.clock = clock
        self.logs = logs or LogLimits()
        self.hub = FakeHub()
        self.ledger = FakeLedger()
        self.runtimes: dict[str, FakeRuntime] = {}
        self.sandboxes: dict[str, FakeSandboxes] = {}
        self.builders: dict[str, FakeBuilder] = {}
        self.containers: dict[str, Containers] = {}
        self.nodes: dict[str, Node] = {}
        self.tasks: dict[str, list[asyncio.Task[None]]] = {}
        self._folder = folder

    def assemble(
        self,
        name: str,
        storage: Storage,
        *,
        sells: bool,
        cpu_price: int = 2_000,
        floor: int = 1000,
        owner: str = "",
    ) -> Node:
        """A node of that name; `owner` names another node whose wallet it has too."""
        keys = [Signer(hashlib.sha256(f"{name}:{use}".encode()).digest()) for use in ("node", "vouchers")]
        wallet = Signer(hashlib.sha256(f"{owner or name}:wallet".encode()).digest()).address
        self.ledger.tokens[wallet] = self.ledger.tokens.get(wallet, 0) or 100_000_000
        network = FakeNetwork(self.hub, f"peer-{name}")
        ports = Ports(
            storage=storage,
            clock=self.clock,
            network=network,
            streams=network,
            chain=FakeChain(self.ledger, wallet),
            outfit=self._outfit(name) if sells else None,
        )
        identity = Identity(node=keys[0], vouchers=keys[1], wallet=wallet, network_id=network_id(CHAIN_ID, CHANNELS))
        policy = PricingPolicy(base=Prices(cpu=cpu_price * 10**9, memory=10**9), floor=floor)
        settings = Settings(
            folder=self._folder / name,
            policy=policy if sells else None,
            top_up=Amount(1_000_000),
            claim_above=Amount(10**12),
            logs=self.logs,
            standing=StandingSettings(cap=Amount(20_000_000)),
            builds=BuildTerms(cap=Amount(10_000_000), timeout=Seconds(60)),
            pods=PodTerms(cap=Amount(12_000_000)),
        )
        return assemble(ports, identity, settings)

    def _outfit(self, name: str) -> Outfit:
        return Outfit(
            runtime=self.runtimes.setdefault(name, FakeRuntime(self.clock)),
            machine=FakeMachine(),
            sandboxes=self.sandboxes.setdefault(name, FakeSandboxes()),
            builder=self.builders.setdefault(name, FakeBuilder(self.clock)),
            images=FakeImages(),
            containers=self.containers.get(name),
            abilities=(_everything,),
        )

    async def add(self, name: str, storage: Storage, **options: object) -> Node:
        node = self.assemble(name, storage, **options)  # type: ignore[arg-type]
        self.nodes[name] = node
        self.tasks[name] = [asyncio.create_task(supervise(loop, run, 0.05)) for loop, run in node.loops]
        return node

    def open_doors(self, name: str, storage: Storage, containers: Containers) -> None:
        """Let requesters into the containers of a node."""
        open_doors(self.hub.nodes[f"peer-{name}"], storage, containers)

    async def kill(self, name: str) -> None:
        """Stop a node without a word, as a power cut would."""
        self.hub.nodes.pop(f"peer-{name}", None)
        tasks = self.tasks.pop(name)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            for name in list(self.tasks):
                await self.kill(name)
