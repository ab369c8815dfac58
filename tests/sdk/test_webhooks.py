"""Deliveries that are received: what the node's own code signed is taken, and nothing else."""

import json
from typing import Any

import pytest

from market.webhooks import sign
from neugrid_sdk import BadAnswer, BadSignature, InvalidParameters
from neugrid_sdk.webhooks import verify
from tests.node.actions.test_webhooks import ANN, Office, run

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = 1_614_265_330
BODY = (
    b'{"id":"evt_7","type":"job.succeeded","event":"job.succeeded","timestamp":"2021-02-25T22:35:30.000Z",'
    b'"data":{"job_id":"job_1","note":"\xc3\xa4"}}'
)
HEADERS = {
    "webhook-id": "whk_1_7",
    "webhook-timestamp": str(AT),
    "webhook-signature": "v1,RhHMMzoM3mTi5zx0FUiudHRfLx+RK6A2DJ/ON18ZM90=",
}
"""A delivery that does not change; the package for TypeScript is tested with the same one."""


def test_a_delivery_of_the_node_is_taken_and_told() -> None:
    office = Office("job.*")
    office.happens()
    office.carry()
    [(_, headers, body)] = office.posts.posted
    event = verify(office.secret, headers, body, now=office.clock.now() / 1000)
    assert (event.event, event.data["job_id"]) == ("job.created", "job_1")
    assert event.id == json.loads(body)["id"]
    assert event.timestamp.tzinfo is not None


def test_while_a_secret_is_replaced_both_are_good() -> None:
    office = Office()
    _, fresh = run(office.webhooks.rotate(ANN, office.webhook.id))
    run(office.webhooks.test(ANN, office.webhook.id))
    office.carry()
    [(_, headers, body)] = office.posts.posted
    for secret in (office.secret, fresh):
        assert verify(secret, headers, body, now=office.clock.now() / 1000).event == "webhook.test"


def test_the_delivery_that_does_not_change_is_taken_and_names_of_headers_in_any_casing() -> None:
    for headers in (HEADERS, {name.title(): value for name, value in HEADERS.items()}):
        assert verify(SECRET, headers, BODY, now=AT).data == {"job_id": "job_1", "note": "ä"}


@pytest.mark.parametrize("secret", ["a secret of one's own", "whsec_no base64", "whsec_AB", "whsec_QUJD=", "ä" * 8])
def test_a_secret_is_read_as_the_node_reads_it(secret: str) -> None:
    headers = {**HEADERS, "webhook-signature": f"v1a,x v1, {sign([secret], 'whk_1_7', AT, BODY)}"}
    assert verify(secret, headers, BODY, now=AT).id == "evt_7"


@pytest.mark.parametrize(
    ("change", "body", "field"),
    [
        ({}, BODY + b" ", "webhook-signature"),
        ({"webhook-id": "whk_1_8"}, BODY, "webhook-signature"),
        ({"webhook-timestamp": str(AT + 1)}, BODY, "webhook-signature"),
        ({"webhook-signature": HEADERS["webhook-signature"].replace("v1,", "v2,")}, BODY, "webhook-signature"),
        ({"webhook-signature": HEADERS["webhook-signature"][:-1]}, BODY, "webhook-signature"),
        ({"webhook-signature": "v1,\udcff ä"}, BODY, "webhook-signature"),
        ({"webhook-id": "\udcff"}, BODY, "webhook-signature"),
        ({"webhook-timestamp": "now"}, BODY, "webhook-timestamp"),
        ({"webhook-timestamp": "-1"}, BODY, "webhook-timestamp"),
        ({"webhook-timestamp": "9" * 5000}, BODY, "webhook-timestamp"),
        ({"webhook-timestamp": ""}, BODY, "webhook-timestamp"),
        ({"webhook-signature": ""}, BODY, "webhook-signature"),
    ],
)
def test_what_the_node_did_not_send_is_refused(change: dict[str, str], body: bytes, field: str) -> None:
    with pytest.raises(BadSignature) as refused:
        verify(SECRET, {**HEADERS, **change}, body, now=AT)
    assert (refused.value.code, refused.value.details["field"]) == ("BAD_SIGNATURE", field)
    assert SECRET not in str(refused.value)


def test_an_old_delivery_or_one_of_tomorrow_is_refused() -> None:
    for now in (AT - 300, AT + 300):
        assert verify(SECRET, HEADERS, BODY, now=now).id == "evt_7"
    late: list[dict[str, Any]] = [{"now": AT - 301}, {"now": AT + 301}, {"now": AT + 6, "tolerance": 5}, {}]
    for options in late:
        with pytest.raises(BadSignature, match="further than"):
            verify(SECRET, HEADERS, BODY, **options)


def test_without_headers_it_is_no_delivery() -> None:
    for name in HEADERS:
        with pytest.raises(BadSignature, match=f"{name} is missing"):
            verify(SECRET, {each: HEADERS[each] for each in HEADERS if each != name}, BODY, now=AT)


def test_a_secret_that_is_none_opens_nothing() -> None:
    headers = {**HEADERS, "webhook-signature": sign([""], "whk_1_7", AT, BODY)}
    with pytest.raises(InvalidParameters):
        verify("", headers, BODY, now=AT)


@pytest.mark.parametrize("body", [b"", b"[]", b'{"test": 2432232314}', b"\xff", b"[" * 100_000])
def test_what_is_signed_and_no_event_is_a_bad_answer(body: bytes) -> None:
    with pytest.raises(BadAnswer):
        verify(SECRET, {**HEADERS, "webhook-signature": sign([SECRET], "whk_1_7", AT, body)}, body, now=AT)
