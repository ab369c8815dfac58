"""The server of the tests that need one: started once, by the first of them."""

from collections.abc import Iterator

import pytest

from tests.node.adapters.postgres_server import Server, a_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with a_server() as server:
        yield server
