"""API keys: shown once, kept as digests, no more than their maker may, and gone at once when they are revoked."""

import pytest

from market.errors import Forbidden, InvalidParameters, NotFound, QuotaExceeded, Unauthorized
from node.actions import keys
from node.actions.keys import PREFIX, NewKey, digest_of, is_well_formed, new_secret
from node.config_api import ApiSettings
from tests.node.actions.desk import Desk, run


def test_a_key_is_known_by_its_form_before_it_is_looked_up() -> None:
    secret = new_secret()
    assert is_well_formed(secret)
    assert secret.startswith(PREFIX)
    swapped = secret[:-1] + ("0" if secret[-1] != "0" else "1")
    assert not any(
        is_well_formed(text) for text in ("", PREFIX, secret[:-1], secret + "0", swapped, secret[1:], "ü" * 57)
    )


def test_no_two_keys_are_alike() -> None:
    assert len({new_secret() for _ in range(100)}) == 100


def test_only_the_digest_of_a_key_is_stored() -> None:
    desk = Desk()
    key, secret = desk.key()
    assert key.digest == digest_of(secret)
    assert secret not in str(desk.storage._tables)


@pytest.mark.parametrize("secret", ["", "nonsense", new_secret()], ids=["none", "nonsense", "unknown"])
def test_what_is_not_a_key_of_this_node_is_refused(secret: str) -> None:
    desk = Desk()
    desk.key()
    with pytest.raises(Unauthorized):
        desk.who(secret)


def test_a_key_expires_to_the_millisecond_also_where_it_was_just_used() -> None:
    desk = Desk()
    key, secret = desk.key(expires_in=60)
    desk.clock.advance(59_999)
    assert desk.who(secret) == key.account
    desk.clock.advance(1)
    with pytest.raises(Unauthorized):
        desk.who(secret)


def test_a_revoked_key_is_dead_at_once_also_where_it_was_just_used() -> None:
    desk = Desk()
    user = desk.user()
    key, secret = desk.key(user)
    desk.who(secret)
    run(desk.people.keys.revoke(user, key.id))
    with pytest.raises(Unauthorized):
        desk.who(secret)
    assert desk.people.keys.list(user) == []


def test_what_another_process_revokes_is_dead_within_a_second() -> None:
    desk = Desk()
    key, secret = desk.key()
    desk.who(secret)
    desk.storage.delete(type(key), key.id)
    desk.clock.advance(1000)
    with pytest.raises(Unauthorized):
        desk.who(secret)


def test_nobody_revokes_the_key_of_another() -> None:
    desk = Desk()
    key, secret = desk.key()
    mallory = desk.user("mallory@example.org")
    with pytest.raises(NotFound):
        run(desk.people.keys.revoke(mallory, key.id))
    assert desk.who(secret) == key.account


def test_a_key_may_what_it_was_made_for_and_no_more() -> None:
    desk = Desk()
    _, secret = desk.key(scopes=("read",))
    caller = desk.people.callers.of(secret)
    caller.must("read")
    with pytest.raises(Forbidden) as refused:
        caller.must("compute")
    assert refused.value.details == {"scope": "compute"}


def test_a_key_makes_no_key_that_may_more_than_itself() -> None:
    desk = Desk()
    small = desk.caller(desk.user(), "read", "account")
    made, _ = run(desk.people.keys.create(small, NewKey(name="a")))
    assert made.scopes == ("read", "account")
    with pytest.raises(Forbidden):
        run(desk.people.keys.create(small, NewKey(name="a", scopes=("money",))))


def test_a_developers_key_never_administers() -> None:
    desk = Desk()
    user = desk.user()
    with pytest.raises(Forbidden):
        run(desk.people.keys.create(desk.caller(user), NewKey(name="a", scopes=("admin",))))
    _, secret = desk.key(user, scopes=("admin",))
    assert desk.people.callers.of(secret).scopes == frozenset()


@pytest.mark.parametrize("new", [NewKey(name="a", scopes=("root",)), NewKey(name="a", profile="aws")])
def test_words_that_mean_nothing_are_refused(new: NewKey) -> None:
    desk = Desk()
    with pytest.raises(InvalidParameters):
        run(desk.people.keys.create(desk.caller(desk.user()), new))


def test_a_rotated_key_is_the_only_one_left() -> None:
    desk = Desk()
    user = desk.user()
    _, old = desk.key(user)
    desk.who(old)
    key, secret = desk.key(user, rotate=True)
    assert [each.id for each in desk.people.keys.list(user)] == [key.id]
    assert desk.who(secret) == user.id
    with pytest.raises(Unauthorized):
        desk.who(old)


def test_an_account_with_a_single_key_loses_the_old_one_with_each_new_one() -> None:
    desk = Desk()
    user = desk.user(has_single_key=True)
    _, old = desk.key(user)
    desk.key(user)
    with pytest.raises(Unauthorized):
        desk.who(old)


@pytest.mark.parametrize(("profile", "prefix"), [("", "ng_live_"), ("neorun", "neo_sk_"), ("neuron", "nr_live_")])
def test_a_key_begins_as_the_clients_of_its_platform_expect(profile: str, prefix: str) -> None:
    desk = Desk()
    key, secret = desk.key(profile=profile)
    assert secret.startswith(prefix)
    assert desk.people.callers.of(secret).profile == profile
    assert desk.who(secret) == key.account


def test_the_operator_says_for_which_platforms_keys_are_made_and_how_they_begin() -> None:
    desk, other = Desk(), Desk(profiles={"acme": "ak-", "acme2": "ak-2_"})
    user = other.user()
    for profile, prefix in (("", PREFIX), ("acme", "ak-"), ("acme2", "ak-2_")):
        _, secret = other.key(user, profile=profile)
        assert secret.startswith(prefix)
        assert other.who(secret) == user.id
        assert is_well_formed(secret, (prefix,))
    with pytest.raises(InvalidParameters, match="must be of acme, acme2"):
        other.key(user, profile="neorun")
    key, secret = desk.key(profile="neorun")
    other.storage.put(key)
    with pytest.raises(Unauthorized, match="no API key of this node"):
        other.who(secret)


def test_the_settings_begin_with_the_platforms_that_are_known_here() -> None:
    assert ApiSettings().profiles == keys.PROFILES
    assert ApiSettings(key_prefixes=()).profiles == {}


def test_an_account_has_no_more_keys_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    desk = Desk()
    user = desk.user()
    desk.key(user)
    desk.key(user)
    with pytest.raises(QuotaExceeded):
        desk.key(user)
