"""What a chain refuses, in the words of the market's error tree."""

from market.errors import Conflict


class ChainRefused(Conflict):
    """The RPC endpoint answered with an error; `details` hold `rpc_code` and `data`."""

    code = "CHAIN_REFUSED"


class CallReverted(ChainRefused):
    """The contract said no; the message is its reason."""

    code = "CALL_REVERTED"
