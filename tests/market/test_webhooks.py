"""Webhooks: signatures as the standard's own example has them, tries over a day, and who is told of what."""

import pytest

from market.errors import InvalidParameters
from market.webhooks import DELAYS, checked_events, delay_after, key_of, sign, wants


def test_the_signature_is_that_of_the_standards_example() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    assert sign([secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


def test_two_secrets_sign_side_by_side() -> None:
    one, other = (sign([secret], "m", 1, b"x") for secret in ("secret-one", "secret-two"))
    assert sign(["secret-one", "secret-two"], "m", 1, b"x") == f"{one} {other}"
    assert len({sign(["s"], *parts) for parts in (("m", 1, b"x"), ("n", 1, b"x"), ("m", 2, b"x"), ("m", 1, b"y"))}) == 4


def test_a_secret_of_ones_own_is_taken_as_it_is() -> None:
    assert key_of("your-webhook-secret") == b"your-webhook-secret"
    assert key_of("whsec_not base64") == b"whsec_not base64"


def test_the_tries_are_those_of_the_standard() -> None:
    assert [delay_after(attempts) for attempts in range(1, 9)] == [*DELAYS, None]
    assert sum(DELAYS) > 86_400


@pytest.mark.parametrize(
    ("events", "is_told"),
    [((), True), (("*",), True), (("job.*",), True), (("job.failed",), True), (("agent.*", "job.created"), False)],
)
def test_who_wants_what_is_told(events: tuple[str, ...], is_told: bool) -> None:
    assert wants(events, "job.failed") is is_told


def test_events_are_names_that_there_are() -> None:
    assert checked_events(["agent.created", "job.*", "*", "agent.created"]) == ("agent.created", "job.*", "*")
    for name in ("", "agent", "agent.", "agent.exploded", ".*", "**", "king.*", "agent.*.x"):
        with pytest.raises(InvalidParameters):
            checked_events([name])
