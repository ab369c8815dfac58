"""A network namespace that others were in before."""

import os
import socket

import docker
import pytest

from node.adapters.docker_engine.insides import Inside
from node.adapters.docker_engine.namespaces import connected
from node.adapters.egress.namespace import Namespace

pytestmark = [pytest.mark.anyio, pytest.mark.docker]
ADDRESS, PORT = "127.0.0.1", 7000


async def test_a_port_can_be_had_while_the_kernel_remembers_connections_to_it(engine: None) -> None:
    client = docker.APIClient(version="auto")
    host = client.create_host_config(network_mode="none")
    container = client.create_container("busybox:latest", "sleep 60", host_config=host)["Id"]
    try:
        client.start(container)
        pid = client.inspect_container(container)["State"]["Pid"]
        namespace = Namespace(pid, container)
        inside = Inside(container, os.open(f"/proc/{pid}", os.O_RDONLY))
        for _ in range(2):
            listening = await namespace.listen_for_connections(ADDRESS, PORT)
            listening.listen()
            there = await connected(inside, PORT)
            _close_first(listening)
            there.close()
        namespace.close()
    finally:
        client.remove_container(container, force=True)
        client.close()


def _close_first(listening: socket.socket) -> None:
    """The side that closes first is the one whose port the kernel keeps."""
    listening.setblocking(True)
    here, _ = listening.accept()
    here.close()
    listening.close()
