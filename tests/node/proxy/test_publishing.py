"""A port of a workload in the open, on the provider's own address."""

import asyncio

import pytest

from market.errors import ConfigError, Refused, Unavailable
from node.ports import ByteStream
from node.proxy.limits import ProxyLimits
from node.proxy.publishing import Publisher
from tests.node.proxy.services import FakeReplica, a_client, run, until


async def shout(stream: ByteStream) -> None:
    while data := await stream.read():
        await stream.write(data.upper())


def test_whoever_connects_talks_to_the_container_until_both_have_ended() -> None:
    async def body() -> None:
        replica = FakeReplica(shout)
        publisher = Publisher(lambda: replica.open(1))
        port = publisher.start("127.0.0.1", 0)
        async with a_client(port) as client:
            client.writer.write(b"hello")
            client.writer.write_eof()
            assert await client.reader.read() == b"HELLO"
        await asyncio.wait_for(replica.tasks[0], 5)
        with pytest.raises(ConfigError):
            publisher.start("127.0.0.1", port)
        await publisher.close()

    run(body())


def test_a_client_is_cut_when_the_container_breaks_is_silent_or_can_not_be_reached() -> None:
    async def body() -> None:
        replica = FakeReplica(shout)
        publisher = Publisher(lambda: replica.open(1), ProxyLimits(idle=0.3, grace=0.1))
        port = publisher.start("127.0.0.1", 0)
        async with a_client(port) as client:
            await until(lambda: replica.streams)
            replica.streams[0].abort()
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
        async with a_client(port) as client:
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
        for error in (Refused("closed"), Unavailable("no engine")):
            replica.refusal = error
            async with a_client(port) as client:
                with pytest.raises(ConnectionResetError):
                    await client.reader.read()
        await publisher.close()

    run(body())
