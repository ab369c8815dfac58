"""Whether the node may do what the policies need."""

import pytest

from node.adapters.egress.ability import may_look


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [("000001ffffffffff", True), ("0000000000080000", True), ("0000000000201000", False), ("0000000000000000", False)],
)
def test_opening_the_namespaces_of_others_needs_its_capability(capabilities: str, expected: bool) -> None:
    assert may_look(f"Name:\tx\nCapPrm:\t000001ffffffffff\nCapEff:\t{capabilities}\n") is expected
