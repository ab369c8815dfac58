"""Sends transactions of one account: persist, broadcast, follow. One wallet per account, in one process.

1. The caller names its intent by a key; a key that is known sends nothing new.
2. Gas is estimated before a nonce is taken, so that a call that would revert costs none.
3. Under a lock: nonce = the larger of the chain's pending count and the journal's highest + 1; sign; commit to disk.
4. Broadcast. "Already known" and "nonce too low" only mean that the receipt tells more.
5. Follow until the receipt is `confirmations` deep; `follow.decide` says what to do meanwhile.
"""

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from contracts.errors import ChainRefused
from contracts.fees import FEE_CAP, outbid, quote
from contracts.follow import PATIENCE, Mined, Patience, Seen, Sent, State, Verdict, decide
from contracts.journal import Journal
from contracts.rpc import Rpc, unknown_if_refused
from contracts.transactions import Fees, Unsigned, sign_transaction
from contracts.values import Call, Receipt
from market.errors import Conflict, InsufficientFunds, Unavailable, WrongChain
from market.signing import Signer
from market.units import Timestamp

_HARMLESS: Final = ("already known", "nonce too low", "known transaction", "underpriced", "already imported")
_FIRST_POLL, _LAST_POLL = 0.02, 1.0
T = TypeVar("T")


class Wallet:
    """The account of `signer`. `now` tells milliseconds since the epoch."""

    def __init__(
        self, rpc: Rpc, signer: Signer, path: Path | str, now: Callable[[], Timestamp],
        patience: Patience = PATIENCE, fee_cap: int = FEE_CAP,
    ) -> None:  # fmt: skip
        self._rpc, self._signer, self._path, self._now = rpc, signer, path, now
        self._patience, self._fee_cap = patience, fee_cap
        self.address = signer.address
        self._nonce_lock = asyncio.Lock()
        self._refused: dict[str, ChainRefused] = {}
        self._pass: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")

    async def open(self, identity: tuple[int, str] | None = None) -> None:
        """Bind the journal to the chain of this id and genesis; WrongChain when it belongs to another.

        Without `identity` it is the chain behind the endpoint; with it the endpoint need not answer yet.
        """
        self._chain_id, genesis = identity or await self._rpc.identity()
        self._journal = await self._disk(lambda: Journal(self._path))
        try:
            await self._disk(lambda: self._journal.bind(self._chain_id, genesis, self.address))
        except WrongChain:
            await self.close()
            raise

    async def close(self) -> None:
        if self._pass:
            self._pass.cancel()
            await asyncio.gather(self._pass, return_exceptions=True)
        await self._disk(self._journal.close)
        self._thread.shutdown()

    async def knows(self, key: str) -> bool:
        """Whether something was sent under this key."""
        return await self._disk(lambda: self._journal.find(key)) is not None

    async def send(self, call: Call, key: str, wait: float = 120.0) -> Receipt:
        """Send once and wait until it is confirmed; a repeat with the same key gives the same receipt.

        Raises CallReverted or InsufficientFunds before anything is sent, Unavailable when the chain does not answer or
        did not confirm it within `wait` seconds (it is followed all the same), Conflict when it can never confirm.
        """
        await self.submit(call, key)
        try:
            async with asyncio.timeout(wait):
                return await self._settled(key)
        except TimeoutError:
            raise Unavailable("the transaction is sent and not confirmed yet", key=key) from None

    async def submit(self, call: Call, key: str) -> None:
        """Persist and broadcast, unless the key is known; does not wait for a block."""
        if await self.knows(key):
            return
        gas = await self._rpc.estimate(self.address, call) * 5 // 4
        async with self._nonce_lock:
            if await self.knows(key):
                return
            sent = await self._persist(call, key, gas)
        try:
            await self._broadcast(sent)
        except Unavailable:
            return  # it is on disk: following it sends it again

    async def follow(self) -> None:
        """Look at everything that is not settled once, and do what is needed; callers at one time share one look."""
        if self._pass is None or self._pass.done():
            self._pass = asyncio.create_task(self._follow())
        await asyncio.shield(self._pass)

    async def run(self, every: float = 2.0) -> None:
        """Follow for ever, so that what was sent before a crash confirms without anybody waiting for it."""
        while True:
            with contextlib.suppress(Unavailable):  # unknown is no reason to stop looking
                await self.follow()
            await asyncio.sleep(every)

    async def entries(self) -> list[dict[str, Any]]:
        """The journal, oldest first, for people to read."""
        return await self._disk(self._journal.entries)

    # --- sending ---

    async def _persist(self, call: Call, key: str, gas: int) -> Sent:
        pending, balance, base_fee, tip = await self._market()
        fees = quote(base_fee, tip, self._fee_cap)
        if gas * fees.most + call.value > balance:
            needed = gas * fees.most + call.value
            raise InsufficientFunds(
                "the wallet cannot pay for the transaction", needed=needed, available=balance, unit="wei"
            )
        nonce = max(pending, await self._disk(self._journal.next_nonce))
        signed = sign_transaction(self._unsigned(call, nonce, gas, fees), self._signer)
        return await self._disk(lambda: self._journal.add(key, nonce, call, gas, fees, signed))

    async def _market(self) -> tuple[int, int, int, int]:
        block, *numbers = await self._rpc.batch(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                ("eth_getTransactionCount", [self.address, "pending"]),
                ("eth_getBalance", [self.address, "latest"]),
                ("eth_maxPriorityFeePerGas", []),
            ]
        )
        pending, balance, tip = (int(number, 16) for number in numbers)
        return pending, balance, int(block["baseFeePerGas"], 16), tip

    async def _broadcast(self, sent: Sent) -> None:
        try:
            await self._rpc.call("eth_sendRawTransaction", "0x" + sent.raw.hex())
        except ChainRefused as refused:
            if not any(word in refused.message for word in _HARMLESS):
                raise _stuck(sent, refused) from refused
        await self._disk(lambda: self._journal.mark_sent(sent.id, self._now()))

    def _unsigned(self, call: Call, nonce: int, gas: int, fees: Fees) -> Unsigned:
        return Unsigned(chain_id=self._chain_id, nonce=nonce, call=call, gas=gas, fees=fees)

    # --- following ---

    async def _settled(self, key: str) -> Receipt:
        receipt, pause = await self._disk(lambda: self._receipt(key)), _FIRST_POLL
        while receipt is None:
            await self.follow()
            if key in self._refused:
                raise self._refused[key]
            if (receipt := await self._disk(lambda: self._receipt(key))) is None:
                await asyncio.sleep(pause)
                pause = min(_LAST_POLL, pause * 1.5)
        return receipt

    def _receipt(self, key: str) -> Receipt | None:
        sent = self._journal.find(key)
        if sent and sent.state is State.LOST:
            raise Conflict("another transaction of this account took the nonce: the key is used elsewhere", key=key)
        return self._journal.receipt(sent.id) if sent and sent.state is State.FINAL else None

    async def _follow(self) -> None:
        with unknown_if_refused():
            seen, tip = await self._look()
            await self._disk(lambda: self._journal.reopen_from(seen.next_nonce))
            open_now = await self._disk(self._journal.unsettled)
            receipts = await self._receipts()
        for sent in open_now:
            verdict = decide(sent, receipts.get(sent.id), seen, self._patience, self._now())
            try:
                await self._act(verdict, sent, receipts.get(sent.id), seen.base_fee, tip)
            except ChainRefused as refused:  # one that cannot go must not hold up the others
                self._refused[sent.key] = refused
            else:
                self._refused.pop(sent.key, None)

    async def _look(self) -> tuple[Seen, int]:
        block, nonce, tip = await self._rpc.batch(
            [
                ("eth_getBlockByNumber", ["latest", False]),
                ("eth_getTransactionCount", [self.address, "latest"]),
                ("eth_maxPriorityFeePerGas", []),
            ]
        )
        head = int(block["number"], 16)
        depth = hex(max(0, head - self._patience.confirmations))
        settled = await self._rpc.call("eth_getTransactionCount", self.address, depth)
        seen = Seen(
            head=head, next_nonce=int(nonce, 16), settled_nonce=int(settled, 16),
            base_fee=int(block["baseFeePerGas"], 16),
        )  # fmt: skip
        return seen, int(tip, 16)

    async def _receipts(self) -> dict[int, Mined]:
        versions = await self._disk(self._journal.open_versions)
        found = await self._rpc.batch([("eth_getTransactionReceipt", [hash]) for _, hash in versions])
        return {id: _mined(shape) for (id, _), shape in zip(versions, found, strict=True) if shape}

    async def _act(self, verdict: Verdict, sent: Sent, mined: Mined | None, base_fee: int, tip: int) -> None:
        if verdict is Verdict.RESEND:
            await self._disk(lambda: self._journal.mark(sent.id, State.SIGNED))
            await self._broadcast(sent)
        elif verdict is Verdict.REPRICE:
            await self._reprice(sent, base_fee, tip)
        elif verdict is Verdict.LOSE:
            await self._disk(lambda: self._journal.mark(sent.id, State.LOST))
        elif mined is not None:
            state = State.FINAL if verdict is Verdict.SETTLE else State.MINED
            await self._disk(lambda: self._journal.mark_mined(sent.id, mined, state))

    async def _reprice(self, sent: Sent, base_fee: int, tip: int) -> None:
        fees = outbid(sent.fees, base_fee, tip, self._fee_cap)
        if fees is None:
            await self._broadcast(sent)
            return
        signed = sign_transaction(self._unsigned(sent.call, sent.nonce, sent.gas, fees), self._signer)
        await self._disk(lambda: self._journal.replace(sent.id, fees, signed))
        renewed = await self._disk(lambda: self._journal.find(sent.key))
        if renewed:
            await self._broadcast(renewed)

    async def _disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _mined(shape: dict[str, Any]) -> Mined:
    gas = int(shape["gasUsed"], 16)
    return Mined(
        hash=shape["transactionHash"], block=int(shape["blockNumber"], 16), block_hash=shape["blockHash"],
        succeeded=shape["status"] == "0x1", gas=gas, fee=gas * int(shape["effectiveGasPrice"], 16),
    )  # fmt: skip


def _stuck(sent: Sent, refused: ChainRefused) -> ChainRefused:
    return ChainRefused(f"transaction {sent.nonce} cannot go: {refused.message}", key=sent.key, hash=sent.hash)
