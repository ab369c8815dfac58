"""How often who may call: exact sliding windows, all of which must have room."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from market.errors import ConfigError, RateLimited
from node.actions.access import TIERS
from node.api.limit_file import FILE, load_limits
from node.api.limits import Limiter, standing_of
from node.ports import Standing, Window
from tests.builders import NOW

RULES: Mapping[str, Mapping[str, tuple[Window, ...]]] = {
    "free": {"general": (Window(3, 60), Window(5, 600)), "deploy": (Window(1, 60),)},
    "none": {},
}


def left(standing: Standing | None) -> int:
    assert standing is not None
    return standing.remaining


def test_all_windows_must_have_room_and_a_refusal_counts_in_none() -> None:
    limiter = Limiter(RULES)
    limiter.hit("a", "free", "deploy", NOW)
    for _ in range(9):
        with pytest.raises(RateLimited) as refused:
            limiter.hit("a", "free", "deploy", NOW + 1)
        assert refused.value.details["action"] == "deploy"
    assert left(limiter.hit("a", "free", "general", NOW + 2)) == 1, "the refused ones were not counted as general"


def test_the_longer_window_holds_when_the_shorter_has_moved_on() -> None:
    limiter = Limiter(RULES)
    for minute in range(5):
        limiter.hit("a", "free", "general", NOW + minute * 60_000)
    with pytest.raises(RateLimited) as refused:
        limiter.hit("a", "free", "general", NOW + 5 * 60_000)
    assert (standing_of(refused.value).seconds, refused.value.details["retry_after"]) == (600, 300)


def test_who_has_no_windows_is_not_counted() -> None:
    assert Limiter(RULES).hit("a", "none", "deploy", NOW) is None


def test_the_shipped_limits_are_those_that_are_documented() -> None:
    free, pro = load_limits()["free"], load_limits()["pro"]
    assert free["general"] == (Window(100, 60), Window(1000, 86_400))
    assert pro["general"] == (Window(1000, 60), Window(10_000, 86_400))
    assert (free["deploy"], free["power"]) == ((Window(10, 3600),), (Window(30, 3600),))
    assert (free["upload"], pro["upload"]) == ((Window(60, 3600),), (Window(600, 3600),))
    assert (free["key-create"], free["code-submit"], free["auth"]) == (
        (Window(5, 3600),),
        (Window(60, 60),),
        (Window(10, 60),),
    )
    assert (free["withdraw"], pro["withdraw"]) == ((Window(5, 3600),), (Window(20, 3600),))


def test_the_other_dialects_numbers_are_a_file_too() -> None:
    found = load_limits(FILE.with_name("limits.neoengine.toml"))
    assert found["free"]["general"][0] == Window(60, 60)
    assert all(found[tier]["withdraw"] for tier in TIERS), "the node pays for each of them"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[free]\n", "tiers"),
        ("free = 1", "tiers"),
        ("not toml [", "limits"),
        ('[anonymous]\n[free]\nfly = ["1/1m"]\n[pro]\n[enterprise]\n', "fly is no action"),
        ('[anonymous]\n[free]\ngeneral = "1/1m"\n[pro]\n[enterprise]\n', "lists"),
        ('[anonymous]\n[free]\ngeneral = ["0/1m"]\n[pro]\n[enterprise]\n', "no limit"),
        ('[anonymous]\n[free]\ngeneral = ["1/1y"]\n[pro]\n[enterprise]\n', "duration"),
        ('[anonymous]\n[free]\ngeneral = ["1/8d"]\n[pro]\n[enterprise]\n', "7 days"),
        ("anonymous = 1\nfree = 1\npro = 1\nenterprise = 1\n", "table"),
    ],
)
def test_a_file_that_is_none_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "limits.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said):
        load_limits(file)


def test_what_a_call_is_may_be_counted_after_the_call_itself() -> None:
    limiter = Limiter(RULES)
    assert left(limiter.hit("a", "free", "general", NOW)) == 2
    assert left(limiter.hit_also("a", "free", "deploy", NOW)) == 0
    with pytest.raises(RateLimited):
        limiter.hit_also("a", "free", "deploy", NOW)
    assert limiter.hit_also("a", "free", "power", NOW) is None
    assert left(limiter.hit("a", "free", "general", NOW)) == 1, "one call was one call"
