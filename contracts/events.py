"""What happened on the channels: confirmed logs as typed events, with a cursor that survives restarts and reorgs.

The cursor is a value. Whoever consumes a batch keeps its cursor in the same transaction as what it made of the events;
after a crash the same events come again from there, and each is known by (block hash, log index).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from msgspec import Struct

from contracts.codec import numbers, to_address, topic
from contracts.rpc import Rpc, unknown_if_refused
from market.errors import NeugridError, Unavailable
from market.units import Address, Amount, Timestamp

SPAN: Final = 2_000
"""Blocks a query covers at most: what public endpoints take."""
_TRAIL: Final = 64


class Event(Struct, frozen=True, kw_only=True, tag=True):
    """Where an event is: block, the hash of that block, its index there, and its transaction."""

    block: int
    block_hash: str
    log_index: int
    transaction: str


class Deposited(Event, frozen=True, kw_only=True):
    """`amount` more lies in the channel."""

    channel: str
    payer: Address
    signer: Address
    payee: Address
    amount: Amount


class Claimed(Event, frozen=True, kw_only=True):
    """A voucher brought `amount`; the channel has paid `cumulative` so far."""

    channel: str
    payee: Address
    cumulative: Amount
    amount: Amount


class Settled(Event, frozen=True, kw_only=True):
    """A batch of claims credited `amount - fee` to the payee."""

    payee: Address
    amount: Amount
    fee: Amount


class ExitStarted(Event, frozen=True, kw_only=True):
    """The payer armed a refund of `amount`, due at `ready_at`; 0 disarmed it."""

    channel: str
    payee: Address
    amount: Amount
    ready_at: Timestamp


class Refunded(Event, frozen=True, kw_only=True):
    """An exit was finished."""

    channel: str
    payee: Address
    amount: Amount


class Released(Event, frozen=True, kw_only=True):
    """The payee gave back."""

    channel: str
    payee: Address
    amount: Amount


class Withdrawn(Event, frozen=True, kw_only=True):
    """Earnings left the contract."""

    payee: Address
    to: Address
    amount: Amount


class Transferred(Event, frozen=True, kw_only=True):
    """Tokens changed hands."""

    sender: Address
    receiver: Address
    amount: Amount


ChannelEvent = Deposited | Claimed | Settled | ExitStarted | Refunded | Released | Withdrawn


class Mark(Struct, frozen=True, array_like=True):
    """A block that was read to its end."""

    number: int
    hash: str


class Cursor(Struct, frozen=True):
    """How far the chain was read: the last block of each batch, newest last; the older ones find the way back."""

    trail: tuple[Mark, ...] = ()


class Batch(Struct, frozen=True, kw_only=True):
    """Events in the order of the chain. `rewound_to` says that what came after that block has not happened."""

    events: tuple[Any, ...]
    cursor: Cursor
    rewound_to: int | None = None


class Topic(Struct, frozen=True):
    """Which logs are read: those of a contract, narrowed by `topics` (None = any), and what is made of each."""

    contract: Address
    decode: Callable[[dict[str, Any]], Any]
    topics: tuple[str | None, ...] = ()


class Indexer:
    """Reads the logs of one topic from the block `first` on, `confirmations` blocks below the head."""

    def __init__(self, rpc: Rpc, wanted: Topic, first: int, confirmations: int = 0) -> None:
        self._rpc, self._wanted, self._first, self._confirmations = rpc, wanted, first, confirmations
        self._span = SPAN

    async def batches(self, cursor: Cursor | None = None, poll: float = 1.0) -> AsyncIterator[Batch]:
        """Batches without end; while the chain does not answer, it waits."""
        cursor = cursor or Cursor()
        while True:
            try:
                batch = await self.read(cursor)
            except Unavailable:
                batch = None
            if batch is None or batch.cursor == cursor:
                await asyncio.sleep(poll)
                continue
            cursor = batch.cursor
            yield batch

    async def read(self, cursor: Cursor) -> Batch:
        """What is new after `cursor`: at most SPAN blocks (fewer where an endpoint finds that too much), or a rewind.

        The same cursor comes back when there is nothing new. Raises Unavailable.
        """
        with unknown_if_refused():
            return await self._next(cursor)

    async def _next(self, cursor: Cursor) -> Batch:
        common = await self._common(cursor)
        if common != cursor:
            at = common.trail[-1].number if common.trail else self._first - 1
            return Batch(events=(), cursor=common, rewound_to=at)
        begin = cursor.trail[-1].number + 1 if cursor.trail else self._first
        head = int(await self._rpc.call("eth_blockNumber"), 16) - self._confirmations
        end = min(head, begin + self._span - 1)
        if end < begin:
            return Batch(events=(), cursor=cursor)
        try:
            batch = await self._read(cursor, begin, end)
        except NeugridError as error:
            self._span = max(1, self._span // 2) if "rpc_code" in error.details else self._span
            raise
        self._span = min(SPAN, self._span * 2)
        return batch

    async def _read(self, cursor: Cursor, begin: int, end: int) -> Batch:
        wanted: dict[str, Any] = {"fromBlock": hex(begin), "toBlock": hex(end), "address": self._wanted.contract}
        if self._wanted.topics:
            wanted["topics"] = list(self._wanted.topics)
        before, logs, after = await self._rpc.batch(
            [_header_request(end), ("eth_getLogs", [wanted]), _header_request(end)]
        )
        if before is None or after is None or before["hash"] != after["hash"]:
            raise Unavailable("the chain changed under the reader")
        events = tuple(event for log in logs if (event := self._wanted.decode(log)))
        trail = (*cursor.trail, Mark(end, after["hash"]))
        return Batch(events=events, cursor=Cursor(trail[-_TRAIL:]))

    async def _common(self, cursor: Cursor) -> Cursor:
        """The cursor up to the last mark that the chain still knows."""
        trail = cursor.trail
        while trail:
            header = (await self._rpc.batch([_header_request(trail[-1].number)]))[0]
            if header is not None and header["hash"] == trail[-1].hash:
                break
            trail = trail[:-1]
        return Cursor(trail)


def on_channels(channels: Address) -> Topic:
    """Everything that happens on one Channels contract."""
    return Topic(channels, decode_event)


def transfers_to(token: Address, receiver: Address) -> Topic:
    """The tokens that an address is sent."""
    return Topic(token, _transferred, (_TRANSFER, None, "0x" + "00" * 12 + receiver[2:]))


def decode_event(log: dict[str, Any]) -> ChannelEvent | None:
    """The event in a log; None when it is of no interest."""
    decode = _DECODERS.get(log["topics"][0])
    return decode(_place(log), log["topics"][1:], numbers(bytes.fromhex(log["data"][2:]))) if decode else None


def _place(log: dict[str, Any]) -> dict[str, Any]:
    return {
        "block": int(log["blockNumber"], 16),
        "block_hash": log["blockHash"],
        "log_index": int(log["logIndex"], 16),
        "transaction": log["transactionHash"],
    }


def _transferred(log: dict[str, Any]) -> Transferred:
    sender, receiver = (to_address(topic) for topic in log["topics"][1:3])
    return Transferred(**_place(log), sender=sender, receiver=receiver, amount=Amount(int(log["data"], 16)))


_Decoder = Callable[[dict[str, Any], list[str], list[int]], ChannelEvent]


def _deposited(place: dict[str, Any], topics: list[str], words: list[int]) -> Deposited:
    signer = to_address(words[0].to_bytes(32, "big"))
    payer, payee = to_address(topics[1]), to_address(topics[2])
    return Deposited(
        **place, channel=topics[0][2:], payer=payer, signer=signer, payee=payee, amount=Amount(words[1])
    )  # fmt: skip


def _claimed(place: dict[str, Any], topics: list[str], words: list[int]) -> Claimed:
    channel, payee = topics[0][2:], to_address(topics[1])
    return Claimed(**place, channel=channel, payee=payee, cumulative=Amount(words[0]), amount=Amount(words[1]))


def _settled(place: dict[str, Any], topics: list[str], words: list[int]) -> Settled:
    return Settled(**place, payee=to_address(topics[0]), amount=Amount(words[0]), fee=Amount(words[1]))


def _exit_started(place: dict[str, Any], topics: list[str], words: list[int]) -> ExitStarted:
    channel, payee, ready_at = topics[0][2:], to_address(topics[1]), Timestamp(words[1] * 1000)
    return ExitStarted(**place, channel=channel, payee=payee, amount=Amount(words[0]), ready_at=ready_at)


def _refunded(place: dict[str, Any], topics: list[str], words: list[int]) -> Refunded:
    return Refunded(**place, channel=topics[0][2:], payee=to_address(topics[1]), amount=Amount(words[0]))


def _released(place: dict[str, Any], topics: list[str], words: list[int]) -> Released:
    return Released(**place, channel=topics[0][2:], payee=to_address(topics[1]), amount=Amount(words[0]))


def _withdrawn(place: dict[str, Any], topics: list[str], words: list[int]) -> Withdrawn:
    return Withdrawn(**place, payee=to_address(topics[0]), to=to_address(topics[1]), amount=Amount(words[0]))


def _header_request(number: int) -> tuple[str, list[Any]]:
    return ("eth_getBlockByNumber", [hex(number), False])


_TRANSFER: Final = topic("Transfer(address,address,uint256)")
_DECODERS: Final[dict[str, _Decoder]] = {
    topic("Deposited(bytes32,address,address,address,uint256)"): _deposited,
    topic("Claimed(bytes32,address,uint256,uint256)"): _claimed,
    topic("Settled(address,uint256,uint256)"): _settled,
    topic("ExitStarted(bytes32,address,uint256,uint256)"): _exit_started,
    topic("Refunded(bytes32,address,uint256)"): _refunded,
    topic("Released(bytes32,address,uint256)"): _released,
    topic("Withdrawn(address,address,uint256)"): _withdrawn,
}
