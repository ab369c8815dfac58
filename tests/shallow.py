"""The limit of Python's stack as it is in a node, for tests in whose process an EVM was loaded."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def recursion_limit() -> Iterator[None]:
    """As in a node: the EVM of other tests raises the limit so far that deep JSON would overflow the C stack."""
    raised = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(raised)
