"""The rules as text: what is asked first, and what a policy adds."""

from market.egress import FORBIDDEN4
from node.adapters.egress.rules import Limits, admission, moved, rules


def outward(policy: str, limits: Limits | None = None) -> list[str]:
    """The lines of the chain for packets that go out."""
    script = rules(policy, ("192.0.2.5",), limits or Limits())
    chain = script[script.index("chain outward") : script.index("chain leaving")]
    return [line.strip() for line in chain.splitlines() if line.strip()]


def test_both_policies_refuse_unless_something_accepts() -> None:
    for policy in ("web", "list"):
        script = rules(policy, (), Limits())
        assert script.count("policy drop;") == 3
        assert outward(policy)[-2:] == ["accept", "}"]


def test_forbidden_addresses_are_refused_before_anything_established_is_let_through() -> None:
    lines = outward("web")
    established = lines.index("ct state established,related accept")
    assert all(lines.index(line) < established for line in lines if "@forbidden" in line or "@own" in line)
    script = rules("web", (), Limits())
    assert all(str(block) in script for block in FORBIDDEN4)


def test_only_a_list_asks_for_the_named() -> None:
    assert not any("@named" in line for line in outward("web"))
    assert any(line.startswith("ip daddr != @named reject") for line in outward("list"))


def test_a_bandwidth_holds_both_ways_and_none_is_no_rule() -> None:
    assert rules("web", (), Limits(bandwidth=10**6)).count("limit rate over 1000000 bytes/second") == 2
    assert "bytes/second" not in rules("web", (), Limits())


def test_the_whole_table_is_replaced_at_once() -> None:
    assert rules("web", (), Limits()).startswith("table inet neugrid {}\ndelete table inet neugrid\n")


def test_an_admission_renews_what_was_open_before() -> None:
    assert admission(("1.2.3.4", "5.6.7.8"), 90).splitlines() == [
        "add element inet neugrid named { 1.2.3.4, 5.6.7.8 }",
        "delete element inet neugrid named { 1.2.3.4, 5.6.7.8 }",
        "add element inet neugrid named { 1.2.3.4 timeout 90s, 5.6.7.8 timeout 90s }",
    ]


def test_the_hosts_networks_can_change_and_be_none() -> None:
    assert moved(("51.15.0.7", "51.15.0.0/24")).endswith("add element inet neugrid own { 51.15.0.0/24 }\n")
    assert moved(()) == "flush set inet neugrid own\n"
