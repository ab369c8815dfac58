"""The devnet's chain: blocks are made of waiting transactions on py-evm and kept whole in the store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.db.schema import SchemaV1
from eth.vm.forks.prague import PragueVM
from eth_utils.exceptions import ValidationError

from contracts.devnet.accounts import ACCOUNTS, FIRST_BASE_FEE, GAS_LIMIT, GENESIS_TIME, NATIVE
from contracts.devnet.errors import Refused
from contracts.devnet.pool import Pool, Waiting
from contracts.devnet.store import LogRow, Store, TransactionRow

Header = Any
State = Any
"""py-evm types its headers and states for all forks at once, with half of the fields optional."""


class Devchain:
    """One chain over one store, used by one thread. `clock` tells the seconds since the epoch."""

    def __init__(self, store: Store, chain_id: int, clock: Callable[[], int]) -> None:
        self.store, self.chain_id, self.pool, self._clock = store, chain_id, Pool(), clock
        kind = MiningChain.configure(vm_configuration=((0, PragueVM),), chain_id=chain_id)
        self._chain: Any = kind(AtomicDB(store)) if store.block_hash(0) else _begin(kind, store, chain_id)
        if store.fact("chain_id") != chain_id:
            raise Refused(f"the data folder holds a chain of id {store.fact('chain_id')}, not {chain_id}")
        self._offset = store.fact("offset") or 0
        self._snapshots: list[int] = []

    # --- questions ---

    @property
    def head(self) -> Header:
        return self._chain.get_canonical_head()

    def header(self, number: int) -> Header:
        """The header of the canonical block `number`, which must exist."""
        digest = self.store.block_hash(number)
        if digest is None:
            raise Refused("header not found")
        return self._chain.get_block_header_by_hash(digest)

    def state(self, header: Header | None = None) -> State:
        """The accounts after the block of `header` (the head)."""
        return self._chain.get_vm(header or self.head).state

    def next_base_fee(self) -> int:
        return int(self._next_header().base_fee_per_gas)

    @contextmanager
    def scratch(self, header: Header | None = None) -> Iterator[State]:
        """A state to try calls on, free of fees: of an old block, or of the block that would come next."""
        base = header or self._next_header()
        vm = self._chain.get_vm(base)
        free = base.copy(base_fee_per_gas=0, gas_used=0)
        yield vm.build_state(vm.chaindb.db, free, vm.chain_context, vm.previous_hashes)

    def decode(self, raw: bytes) -> Any:
        """The EVM's transaction object of the bytes that were signed."""
        return PragueVM.get_transaction_builder().decode(raw)

    # --- changes ---

    def submit(self, raw: bytes) -> bytes:
        """Take a signed transaction into the pool and tell its hash; Refused when no block could ever hold it."""
        body = self._checked(raw)
        if self.store.transaction(body.hash):
            raise Refused("already known")
        state, sender = self.state(), body.sender
        nonce = state.get_nonce(sender)
        if body.nonce < nonce:
            raise Refused(f"nonce too low: next nonce {nonce}, tx nonce {body.nonce}")
        if body.gas * body.max_fee_per_gas + body.value > state.get_balance(sender):
            raise Refused("insufficient funds for gas * price + value")
        most, tip = body.max_fee_per_gas, body.max_priority_fee_per_gas
        self.pool.add(Waiting(hash=body.hash, sender=sender, nonce=body.nonce, most=most, tip=tip, body=body))
        return bytes(body.hash)

    def mine(self) -> int:
        """Make one block of what is ready, empty if nothing is, and tell its number."""
        try:
            number = self._mine(self._next_header())
        except BaseException:
            self.store.discard()
            raise
        self.pool.forget_stale(self.state().get_nonce)
        return number

    def has_ready(self) -> bool:
        """Whether a block made now would hold a transaction."""
        state = self.state()
        return next(self.pool.ready(state.get_nonce, self.next_base_fee()), None) is not None

    def shift_time(self, seconds: int) -> int:
        """Move the clock of the next blocks ahead and tell the whole shift so far.

        Blocks made in a burst run ahead of the clock, one second each: that lead is kept, or the move would be short.
        """
        lead = self.head.timestamp - (self._clock() + self._offset)
        self._offset += seconds + max(0, lead)
        self.store.set_fact("offset", self._offset)
        self.store.commit()
        return self._offset

    def snapshot(self) -> int:
        """Remember the head and tell the number to `revert` to."""
        self._snapshots.append(int(self.head.block_number))
        return len(self._snapshots)

    def revert(self, snapshot: int) -> bool:
        """Go back to a snapshot: its later blocks were never there. False when it is unknown."""
        if not 1 <= snapshot <= len(self._snapshots):
            return False
        number = self._snapshots[snapshot - 1]
        del self._snapshots[snapshot - 1 :]
        digest = self.store.block_hash(number)
        self.store[SchemaV1.make_canonical_head_hash_lookup_key()] = digest or b""
        self.store.rewind(number)
        self.store.commit()
        self.pool.clear()
        return True

    # --- inside ---

    def _checked(self, raw: bytes) -> Any:
        try:
            body = self.decode(raw)
            body.validate()
            body.sender  # noqa: B018 - recovers the key, which fails on a bad signature
        except Exception as error:
            raise Refused(f"invalid transaction: {error}") from error
        if body.chain_id != self.chain_id:
            raise Refused(f"invalid chain id for signer: have {body.chain_id} want {self.chain_id}")
        if body.gas < body.intrinsic_gas:
            raise Refused(f"intrinsic gas too low: gas {body.gas}, minimum needed {body.intrinsic_gas}")
        if body.gas > GAS_LIMIT:
            raise Refused("exceeds block gas limit")
        return body

    def _next_header(self) -> Header:
        head = self.head
        header = self._chain.create_header_from_parent(head)
        time = max(self._clock() + self._offset, head.timestamp + 1)
        return header.copy(timestamp=time, gas_limit=GAS_LIMIT)

    def _mine(self, header: Header) -> int:
        vm = self._chain.get_vm(header)
        mined: list[tuple[Waiting, Any, Any]] = []
        for waiting in self.pool.ready(vm.state.get_nonce, header.base_fee_per_gas):
            if waiting.body.gas > GAS_LIMIT - header.gas_used:
                break
            try:
                receipt, computation = vm.apply_transaction(header, waiting.body)
            except ValidationError:
                self.pool.remove(waiting)
                continue
            header = vm.increment_blob_gas_used(vm.add_receipt_to_header(header, receipt), waiting.body)
            mined.append((waiting, receipt, computation))
        bodies, receipts = [w.body for w, _, _ in mined], [receipt for _, receipt, _ in mined]
        filled = vm.set_block_transactions_and_withdrawals(vm.get_block(), header, bodies, receipts)
        block = vm.mine_block(filled).block
        self._chain.persist_block(block, perform_validation=False)
        self._index(block.header, mined)
        return int(block.number)

    def _index(self, header: Header, mined: list[tuple[Waiting, Any, Any]]) -> None:
        rows: list[TransactionRow] = []
        logs: list[LogRow] = []
        before = 0
        for position, (waiting, receipt, computation) in enumerate(mined):
            gas, before = receipt.gas_used - before, receipt.gas_used
            rows.append(_transaction_row(header, position, waiting, computation, gas))
            for log in receipt.logs:
                logs.append(_log_row(header.block_number, len(logs), waiting.hash, position, log))
        self.store.add_block(header.block_number, header.hash, rows, logs)
        self.store.commit()


def _begin(kind: Any, store: Store, chain_id: int) -> Any:
    params = {
        "difficulty": 0, "nonce": bytes(8), "gas_limit": GAS_LIMIT, "timestamp": GENESIS_TIME,
        "base_fee_per_gas": FIRST_BASE_FEE, "extra_data": b"neugrid %d" % chain_id,
    }  # fmt: skip
    account = {"balance": NATIVE, "nonce": 0, "code": b"", "storage": {}}
    accounts = {bytes.fromhex(each.address[2:]): account for each in ACCOUNTS}
    chain = kind.from_genesis(AtomicDB(store), params, accounts)
    store.add_block(0, chain.get_canonical_head().hash, [], [])
    store.set_fact("chain_id", chain_id)
    store.commit()
    return chain


def _transaction_row(header: Header, position: int, waiting: Waiting, computation: Any, gas: int) -> TransactionRow:
    is_create = waiting.body.to == b""
    return TransactionRow(
        hash=waiting.hash, block=header.block_number, position=position, sender=waiting.sender,
        raw=waiting.body.encode(), succeeded=not computation.is_error, gas=gas,
        price=min(waiting.most, header.base_fee_per_gas + waiting.tip),
        contract=bytes(computation.msg.storage_address) if is_create else None,
    )  # fmt: skip


def _log_row(block: int, position: int, transaction: bytes, tx_position: int, log: Any) -> LogRow:
    topics: list[bytes | None] = [topic.to_bytes(32, "big") for topic in log.topics]
    padded = [*topics, None, None, None, None]
    return LogRow(
        block=block, position=position, tx=transaction, tx_position=tx_position, address=bytes(log.address),
        topic0=padded[0], topic1=padded[1], topic2=padded[2], topic3=padded[3], data=bytes(log.data),
    )  # fmt: skip
