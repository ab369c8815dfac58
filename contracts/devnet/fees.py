"""What blocks charged: `eth_feeHistory` (https://ethereum.github.io/execution-apis)."""

from typing import Any

from contracts.devnet.chain import Devchain

MAX_BLOCKS = 1024


def fee_history(chain: Devchain, count: int, newest: int, percentiles: list[float]) -> dict[str, Any]:
    """Base fees and fullness of the `count` blocks up to `newest`, and tips at the percentiles of gas used."""
    oldest = max(0, newest - min(count, MAX_BLOCKS) + 1)
    headers = [chain.header(number) for number in range(oldest, newest + 1)]
    is_head = newest == chain.head.block_number
    after = chain.next_base_fee() if is_head else chain.header(newest + 1).base_fee_per_gas
    history: dict[str, Any] = {
        "oldestBlock": hex(oldest),
        "baseFeePerGas": [hex(header.base_fee_per_gas) for header in headers] + [hex(after)],
        "gasUsedRatio": [header.gas_used / header.gas_limit for header in headers],
    }
    if percentiles:
        history["reward"] = [_rewards(chain, header, percentiles) for header in headers]
    return history


def _rewards(chain: Devchain, header: Any, percentiles: list[float]) -> list[str]:
    rows = chain.store.transactions_in(int(header.block_number))
    tips = sorted((row.price - header.base_fee_per_gas, row.gas) for row in rows)
    return [hex(_tip_at(tips, header.gas_used * part / 100)) for part in percentiles]


def _tip_at(tips: list[tuple[int, int]], gas: float) -> int:
    passed = 0
    for tip, used in tips:
        passed += used
        if passed >= gas:
            return tip
    return 0
