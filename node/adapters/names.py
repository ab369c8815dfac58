"""The addresses of hosts, asked for in threads of their own: a name server that is silent holds up nothing else."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

AT_ONCE: Final = 32
"""The system's look-up can not be cut short: a silent name server takes a thread for up to half a minute."""
WITHIN: Final = 5.0
"""Seconds for one answer."""
LookUp = Callable[..., Sequence[tuple[Any, ...]]]


class Names:
    """Looks hosts up; whoever needs it has one of his own."""

    def __init__(self, look_up: LookUp = socket.getaddrinfo, within: float = WITHIN, at_once: int = AT_ONCE) -> None:
        self._look_up = look_up
        self._within = within
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="names")

    async def resolved(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Sequence[str]:
        """The addresses of a host, each once. Raises OSError, TimeoutError among them."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(self._within):
            found = await loop.run_in_executor(self._threads, self._look_up, host, port, family, socket.SOCK_STREAM)
        return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
