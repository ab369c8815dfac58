"""How blocks, transactions, receipts and logs look in JSON-RPC (https://ethereum.github.io/execution-apis)."""

from typing import Any

from eth_bloom.bloom import BloomFilter

from contracts.devnet.chain import Header
from contracts.devnet.store import LogRow, TransactionRow

Shape = dict[str, Any]


def hexed(raw: bytes) -> str:
    return "0x" + raw.hex()


def block_shape(header: Header, transactions: list[Any], size: int) -> Shape:
    """A block; `transactions` are hashes or whole shapes."""
    return {
        "number": hex(header.block_number),
        "hash": hexed(header.hash),
        "parentHash": hexed(header.parent_hash),
        "timestamp": hex(header.timestamp),
        "nonce": hexed(header.nonce),
        "sha3Uncles": hexed(header.uncles_hash),
        "logsBloom": hexed(header.bloom.to_bytes(256, "big")),
        "transactionsRoot": hexed(header.transaction_root),
        "stateRoot": hexed(header.state_root),
        "receiptsRoot": hexed(header.receipt_root),
        "miner": hexed(header.coinbase),
        "difficulty": "0x0",
        "totalDifficulty": "0x0",
        "mixHash": hexed(header.mix_hash),
        "extraData": hexed(header.extra_data),
        "size": hex(size),
        "gasLimit": hex(header.gas_limit),
        "gasUsed": hex(header.gas_used),
        "baseFeePerGas": hex(header.base_fee_per_gas),
        "withdrawalsRoot": hexed(header.withdrawals_root),
        "blobGasUsed": hex(header.blob_gas_used),
        "excessBlobGas": hex(header.excess_blob_gas),
        "parentBeaconBlockRoot": hexed(header.parent_beacon_block_root),
        "requestsHash": hexed(header.requests_hash),
        "transactions": transactions,
        "withdrawals": [],
        "uncles": [],
    }


def transaction_shape(body: Any, sender: bytes, row: TransactionRow | None, block_hash: bytes | None) -> Shape:
    """A transaction; while it waits, `row` is None and its place is null."""
    shape: Shape = {
        "hash": hexed(body.hash),
        "type": hex(body.type_id or 0),
        "chainId": hex(body.chain_id),
        "nonce": hex(body.nonce),
        "from": hexed(sender),
        "to": hexed(body.to) if body.to else None,
        "value": hex(body.value),
        "gas": hex(body.gas),
        "gasPrice": hex(row.price if row else body.max_fee_per_gas),
        "input": hexed(body.data),
        "v": hex(body.y_parity if body.type_id else body.v),
        "r": hex(body.r),
        "s": hex(body.s),
        "blockHash": hexed(block_hash) if block_hash else None,
        "blockNumber": hex(row.block) if row else None,
        "transactionIndex": hex(row.position) if row else None,
    }
    if body.type_id == 2:
        shape["maxFeePerGas"] = hex(body.max_fee_per_gas)
        shape["maxPriorityFeePerGas"] = hex(body.max_priority_fee_per_gas)
    if body.type_id:
        shape["yParity"] = hex(body.y_parity)
        shape["accessList"] = []
    return shape


def receipt_shape(row: TransactionRow, body: Any, block_hash: bytes, gas_so_far: int, logs: list[Shape]) -> Shape:
    return {
        "transactionHash": hexed(row.hash),
        "transactionIndex": hex(row.position),
        "blockHash": hexed(block_hash),
        "blockNumber": hex(row.block),
        "from": hexed(row.sender),
        "to": hexed(body.to) if body.to else None,
        "contractAddress": hexed(row.contract) if row.contract else None,
        "gasUsed": hex(row.gas),
        "cumulativeGasUsed": hex(gas_so_far),
        "effectiveGasPrice": hex(row.price),
        "status": "0x1" if row.succeeded else "0x0",
        "type": hex(body.type_id or 0),
        "logs": logs,
        "logsBloom": hexed(_bloom(logs)),
    }


def log_shape(row: LogRow, block_hash: bytes) -> Shape:
    return {
        "address": hexed(row.address),
        "topics": list(map(hexed, row.topics)),
        "data": hexed(row.data),
        "blockNumber": hex(row.block),
        "blockHash": hexed(block_hash),
        "transactionHash": hexed(row.tx),
        "transactionIndex": hex(row.tx_position),
        "logIndex": hex(row.position),
        "removed": False,
    }


def _bloom(logs: list[Shape]) -> bytes:
    bloom = BloomFilter()
    for log in logs:
        for item in (log["address"], *log["topics"]):
            bloom.add(bytes.fromhex(item[2:]))
    return int(bloom).to_bytes(256, "big")
