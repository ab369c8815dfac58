"""The JSON-RPC methods of the devnet: parameters in, shapes out. Runs in the chain's thread."""

from collections.abc import Callable
from typing import Any, Final

from contracts.devnet import calls
from contracts.devnet.accounts import ACCOUNTS, FIRST_BASE_FEE, GAS_LIMIT
from contracts.devnet.chain import Devchain, Header
from contracts.devnet.errors import Refused
from contracts.devnet.fees import fee_history
from contracts.devnet.shapes import Shape, block_shape, hexed, log_shape, receipt_shape, transaction_shape
from contracts.devnet.store import LogFilter, LogRow, TransactionRow

SAFE_DEPTH: Final = 2
FINAL_DEPTH: Final = 4
MAX_LOGS: Final = 10_000
VERSION: Final = "neugrid-devnet/1"


class Methods:
    """Answers one request at a time; `mines_at_once` makes a block of every transaction as it comes."""

    def __init__(self, chain: Devchain) -> None:
        self._chain, self._store = chain, chain.store
        self._table: dict[str, Callable[..., Any]] = {
            "web3_clientVersion": lambda: VERSION,
            "net_version": lambda: str(chain.chain_id),
            "net_listening": lambda: True,
            "eth_syncing": lambda: False,
            "eth_chainId": lambda: hex(chain.chain_id),
            "eth_accounts": lambda: [account.address for account in ACCOUNTS],
            "eth_blockNumber": lambda: hex(chain.head.block_number),
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_getBlockReceipts": self._block_receipts,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getBalance": lambda who, tag="latest": hex(self._state(tag).get_balance(raw(who))),
            "eth_getCode": lambda who, tag="latest": hexed(self._state(tag).get_code(raw(who))),
            "eth_getStorageAt": self._storage_at,
            "eth_call": self._call,
            "eth_estimateGas": lambda message, tag="latest": hex(calls.estimate(chain, _message(message))),
            "eth_gasPrice": lambda: hex(chain.next_base_fee() + FIRST_BASE_FEE),
            "eth_maxPriorityFeePerGas": lambda: hex(FIRST_BASE_FEE),
            "eth_feeHistory": self._fee_history,
            "eth_getLogs": self._logs,
            "eth_sendRawTransaction": lambda data: hexed(chain.submit(raw(data))),
            "evm_mine": lambda *_: hex(chain.mine()),
            "evm_increaseTime": lambda seconds: hex(chain.shift_time(number(seconds))),
            "evm_snapshot": lambda: hex(chain.snapshot()),
            "evm_revert": lambda snapshot: chain.revert(number(snapshot)),
        }

    def answer(self, method: str, params: Any) -> Any:
        """The result; Refused with a JSON-RPC code when there is none."""
        handler = self._table.get(method)
        if handler is None:
            raise Refused(f"the method {method} does not exist", -32601)
        if not isinstance(params, list):
            raise Refused("params must be a list", -32602)
        try:
            return handler(*params)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise Refused(f"invalid params of {method}: {error}", -32602) from error

    # --- blocks ---

    def _header(self, tag: Any) -> Header:
        if isinstance(tag, dict):
            tag = tag.get("blockHash", tag.get("blockNumber"))
        if isinstance(tag, str) and len(tag) == 66:
            found = self._store.block_number(raw(tag))
            if found is None:
                raise Refused("header not found")
            return self._chain.header(found)
        return self._chain.header(self._number(tag))

    def _number(self, tag: Any) -> int:
        head = int(self._chain.head.block_number)
        depths = {None: 0, "latest": 0, "pending": 0, "safe": SAFE_DEPTH, "finalized": FINAL_DEPTH, "earliest": head}
        return max(0, head - depths[tag]) if tag in depths else number(tag)

    def _state(self, tag: Any) -> Any:
        return self._chain.state(self._header(tag))

    def _block_by_number(self, tag: Any, is_full: bool = False) -> Shape | None:
        at = self._number(tag)
        return self._block(at, is_full) if at <= self._chain.head.block_number else None

    def _block_by_hash(self, digest: str, is_full: bool = False) -> Shape | None:
        at = self._store.block_number(raw(digest))
        return None if at is None else self._block(at, is_full)

    def _block(self, at: int, is_full: bool) -> Shape:
        header, rows = self._chain.header(at), self._store.transactions_in(at)
        size = 600 + sum(len(row.raw) for row in rows)
        return block_shape(header, [self._mined(row) if is_full else hexed(row.hash) for row in rows], size)

    # --- transactions ---

    def _transaction(self, digest: str) -> Shape | None:
        row = self._store.transaction(raw(digest))
        if row:
            return self._mined(row)
        waiting = self._chain.pool.get(raw(digest))
        return transaction_shape(waiting.body, waiting.sender, None, None) if waiting else None

    def _mined(self, row: TransactionRow) -> Shape:
        return transaction_shape(self._chain.decode(row.raw), row.sender, row, self._store.block_hash(row.block))

    def _receipt(self, digest: str) -> Shape | None:
        row = self._store.transaction(raw(digest))
        if row is None:
            return None
        earlier = self._store.transactions_in(row.block)[: row.position] if row.position else []
        return self._receipt_of(row, sum(before.gas for before in earlier) + row.gas)

    def _block_receipts(self, tag: Any) -> list[Shape]:
        total, shapes = 0, []
        for row in self._store.transactions_in(int(self._header(tag).block_number)):
            total += row.gas
            shapes.append(self._receipt_of(row, total))
        return shapes

    def _receipt_of(self, row: TransactionRow, gas_so_far: int) -> Shape:
        digest = self._store.block_hash(row.block) or b""
        logs = [log_shape(log, digest) for log in self._store.logs_of(row.hash)]
        return receipt_shape(row, self._chain.decode(row.raw), digest, gas_so_far, logs)

    def _transaction_count(self, who: str, tag: Any = "latest") -> str:
        mined = self._state(tag).get_nonce(raw(who))
        return hex(self._chain.pool.next_nonce(raw(who), mined) if tag == "pending" else mined)

    # --- state ---

    def _storage_at(self, who: str, slot: str, tag: Any = "latest") -> str:
        return hexed(self._state(tag).get_storage(raw(who), number(slot)).to_bytes(32, "big"))

    def _call(self, message: Shape, tag: Any = "latest", *_: Any) -> str:
        header = None if tag in (None, "latest", "pending") else self._header(tag)
        return hexed(calls.call(self._chain, _message(message), header))

    def _fee_history(self, count: Any, newest: Any, percentiles: list[float] | None = None) -> Shape:
        return fee_history(self._chain, number(count), self._number(newest), percentiles or [])

    def _logs(self, wanted: Shape) -> list[Shape]:
        if "blockHash" in wanted:
            first = last = int(self._header(wanted["blockHash"]).block_number)
        else:
            first, last = self._number(wanted.get("fromBlock")), self._number(wanted.get("toBlock"))
        topics = tuple(map(_either, wanted.get("topics") or ()))
        found = self._store.logs(
            LogFilter(first=first, last=last, addresses=_either(wanted.get("address")), topics=topics)
        )
        if len(found) > MAX_LOGS:
            raise Refused(f"query returned more than {MAX_LOGS} results", -32005)
        return self._log_shapes(found)

    def _log_shapes(self, found: list[LogRow]) -> list[Shape]:
        hashes = {at: self._store.block_hash(at) or b"" for at in {row.block for row in found}}
        return [log_shape(row, hashes[row.block]) for row in found]


def raw(text: str) -> bytes:
    """The bytes of 0x-hex."""
    if not text.startswith("0x"):
        raise ValueError(f"expected 0x-hex, got {text[:20]!r}")
    return bytes.fromhex(text[2:])


def number(value: str | int) -> int:
    """A quantity: 0x-hex, or a plain number where clients are used to it."""
    return int(value, 16) if isinstance(value, str) else int(value)


def _either(choice: Any) -> tuple[bytes, ...]:
    if not choice:
        return ()
    return (raw(choice),) if isinstance(choice, str) else tuple(map(raw, choice))


def _message(shape: Shape) -> calls.Message:
    return calls.Message(
        sender=raw(shape.get("from") or "0x" + "00" * 20),
        to=raw(shape.get("to") or "0x"),
        data=raw(shape.get("input") or shape.get("data") or "0x"),
        value=number(shape.get("value") or 0),
        gas=min(number(shape.get("gas") or GAS_LIMIT), GAS_LIMIT),
    )
