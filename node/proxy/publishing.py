"""Ports of workloads in the open: listeners on the provider's own address, which lead to the containers."""

import structlog

from market.errors import NeugridError, Unavailable
from node.actions.pumping import pump
from node.ports import Dial, OpenPort
from node.proxy.limits import ProxyLimits
from node.proxy.listener import Listener
from node.proxy.wire import Wire

_log = structlog.get_logger("proxy")


class Publisher:
    """One fixed port of the host; whoever connects to it is carried to what `dial` opens. `start`, then `close`."""

    def __init__(self, dial: Dial, limits: ProxyLimits | None = None) -> None:
        self._dial, self._limits = dial, limits or ProxyLimits()
        self._listener = Listener(self._serve, self._limits)

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises ConfigError when it can not be had."""
        return self._listener.start(host, port)

    async def close(self) -> None:
        """Stop listening; connections have the grace time, then they are cut."""
        await self._listener.close()

    async def _serve(self, wire: Wire) -> None:
        try:
            inner = await self._dial()
        except NeugridError as error:
            _log.info("a published port leads nowhere", why=error.message)
            wire.abort()
            return
        try:
            await pump(wire, inner, self._limits.idle)
        except Unavailable:
            wire.abort()
        finally:
            await inner.close()


class PublicRange:
    """`PublicPorts` on this machine: `address` is what others know it by, `host` where it listens."""

    def __init__(self, address: str, host: str, numbers: range, limits: ProxyLimits | None = None) -> None:
        self.address, self.numbers = address, numbers
        self._host, self._limits = host, limits

    def open(self, number: int, dial: Dial) -> OpenPort:
        """Listen on one of the numbers."""
        publisher = Publisher(dial, self._limits)
        publisher.start(self._host, number)
        return publisher
