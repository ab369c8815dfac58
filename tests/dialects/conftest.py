"""The API on a port of this machine, over fakes, and plain HTTP clients that know nothing but the pages."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import httpx
import pytest

from node.api.limit_file import FILE, load_limits
from node.api.limits import Limiter
from tests.served import Served
from tests.served import served as served
from tests.served import url as url
from tests.served import world as world
from tests.shallow import recursion_limit as recursion_limit

Do = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def limited(served: Served, url: str) -> Callable[[str], None]:
    """From now on the limits of this file of the settings hold."""

    def limit(name: str) -> None:
        served.app.app.state.limiter = Limiter(load_limits(FILE.with_name(name)))

    return limit


@pytest.fixture
def do(served: Served) -> Do:
    """Let something happen in the world, in the loop that serves it."""
    return served.call


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    """A client without anything of its own: paths and headers are those of the pages."""
    with httpx.Client(base_url=url) as client:
        yield client
