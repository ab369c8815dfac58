"""The world of a process that has none: network and chain are those of the node beside it."""

from typing import Any, Never

from market.errors import Unavailable
from market.units import Address, PeerId
from node.ports import RequestHandler, StreamHandler


def _away(*_: Any, **__: Any) -> Never:
    raise Unavailable("only the node can do this, which is away")


class ElsewhereNetwork:
    """The ports `Network` and `Streams` where nothing is asked and nothing is heard."""

    publish = subscribe = request = connect = peers = addresses = gossip = open_stream = staticmethod(_away)

    def __init__(self, peer: PeerId) -> None:
        self.peer = peer

    def serve(self, handler: RequestHandler) -> None:
        """Nobody asks."""

    def serve_streams(self, handler: StreamHandler) -> None:
        """Nobody dials."""


class ElsewhereChain:
    """The port `Chain` of which only the names are known."""

    balances = channel = earned = deposit = claim = withdraw = release = staticmethod(_away)
    start_exit = finish_exit = pay = received = journal = news = staticmethod(_away)

    def __init__(self, chain_id: int, channels: Address) -> None:
        self.chain_id = chain_id
        self.channels = channels
