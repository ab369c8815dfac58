"""Units: what people write is parsed exactly or refused with the field, the value and what was expected."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidParameters
from market.units import (
    MAX_AMOUNT,
    Amount,
    Rate,
    amount_due,
    format_amount,
    format_size,
    instant,
    parse_address,
    parse_amount,
    parse_cpu,
    parse_duration,
    parse_size,
    rate_under_cap,
)

NONSENSE = ["", " ", "abc", "-1", "+1", " 1", "1 ", "1\n", "1_000", "1,5", "0x10", "NaN", "sNaN", "inf", "-Infinity",
            "1e2", "1e999999999", "\N{FULLWIDTH DIGIT ONE}", "\N{ARABIC-INDIC DIGIT THREE}", "½", "9" * 400, "1.2.3",
            ".5", "1.", "None", True, None, float("nan"), float("inf"), -1, -0.5, [], {}, b"1"]  # fmt: skip


@pytest.mark.parametrize("parse", [parse_amount, parse_size, parse_duration, parse_cpu])
@pytest.mark.parametrize("text", NONSENSE, ids=repr)
def test_what_is_no_plain_number_is_refused(parse: Callable[[object], int], text: object) -> None:
    with pytest.raises(InvalidParameters):
        parse(text)


@given(st.text(max_size=12))
def test_any_text_is_parsed_or_refused_and_nothing_else(text: str) -> None:
    for parse in (parse_amount, parse_size, parse_duration, parse_cpu, parse_address):
        with suppress(InvalidParameters):
            assert parse(text) is not None


def test_a_refusal_says_field_value_and_what_is_expected() -> None:
    with pytest.raises(InvalidParameters) as refused:
        parse_size("4Gx", "resources.memory")
    assert refused.value.details == {
        "field": "resources.memory",
        "value": "4Gx",
        "expected": 'a size such as "512Mi" or "4Gi"',
    }
    assert "4Gx" in str(refused.value)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1.0", 1_000_000),
        ("0.000001", 1),
        (0.1, 100_000),
        (3, 3_000_000),
        ("007", 7_000_000),
        ("1.50000000", 1_500_000),
    ],
)
def test_amounts_are_read_as_tokens(text: str | float, amount: int) -> None:
    assert parse_amount(text) == amount


@pytest.mark.parametrize("text", ["0.0000001", "1.0000000000000000000000000000001", "9223372036854.775808", 1e17])
def test_amounts_that_are_too_fine_or_too_large_are_refused(text: str | float) -> None:
    with pytest.raises(InvalidParameters):
        parse_amount(text)


@given(st.integers(0, MAX_AMOUNT))
def test_every_amount_survives_being_written_and_read(amount: int) -> None:
    assert parse_amount(format_amount(amount)) == amount


def test_a_debt_is_written_with_a_sign() -> None:
    assert format_amount(-1_500_000) == "-1.5"


@pytest.mark.parametrize(
    ("text", "size"),
    [("4Gi", 4 * 2**30), ("4GiB", 4 * 2**30), ("512M", 512 * 10**6), ("1k", 1000), ("0.5Gi", 2**29), ("0", 0),
     (1024, 1024), ("7B", 7)],
)  # fmt: skip
def test_sizes_take_binary_and_decimal_suffixes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["4Gx", "4 Gi", "4gi", "Gi", "9999999999999999Pi", "8192Pi", "1.1234567Gi"])
def test_sizes_with_other_suffixes_or_beyond_bounds_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameters):
        parse_size(text)


@given(st.integers(0, 10**15) | st.sampled_from([2**n for n in range(60)]))
def test_every_size_survives_being_written_and_read(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600), ("1h30m", 5400), ("90s", 90), ("90", 90), (60, 60), ("2d1s", 172_801)]
)
def test_durations_add_their_parts(text: str | int, seconds: int) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["1.5h", "1m1h", "1x", "h", "1h 30m", 1.5, "1234567d"])
def test_durations_in_other_forms_are_refused(text: str) -> None:
    with pytest.raises(InvalidParameters):
        parse_duration(text)


@pytest.mark.parametrize(("text", "cpu"), [(2, 2000), (0.5, 500), ("1.0", 1000), ("0.001", 1), (4096, 4_096_000)])
def test_cpu_is_read_in_cores(text: str | float, cpu: int) -> None:
    assert parse_cpu(text) == cpu


@pytest.mark.parametrize("text", [0, "0", "0.0005", 4097, "4096.1"])
def test_cpu_out_of_range_is_refused(text: str | float) -> None:
    with pytest.raises(InvalidParameters):
        parse_cpu(text)


def test_addresses_have_one_spelling_inside() -> None:
    assert parse_address("0x" + "aB" * 20) == "0x" + "ab" * 20


@pytest.mark.parametrize(
    "text",
    ["", "0x", "ab" * 20, "0x" + "ab" * 19, "0x" + "ab" * 21, "0X" + "ab" * 20, "0x" + "ab" * 20 + "\n",
     "0x" + "gg" * 20, "0x" + "\N{FULLWIDTH DIGIT ONE}" * 40],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameters):
        parse_address(text)


@given(st.integers(0, 2**60), st.integers(0, 10**7), st.integers(0, 10**7))
def test_time_that_is_billed_in_parts_never_costs_more_than_in_one(rate: int, first: int, second: int) -> None:
    whole = amount_due(Rate(rate), first + second)
    assert whole - 1 <= amount_due(Rate(rate), first) + amount_due(Rate(rate), second) <= whole


@given(st.integers(0, MAX_AMOUNT), st.integers(1, 30 * 86400))
def test_the_rate_under_a_cap_never_costs_more_than_the_cap(cap: int, seconds: int) -> None:
    assert amount_due(rate_under_cap(Amount(cap), seconds), seconds) <= cap


@given(st.integers(0, 253_402_300_799_999))
def test_an_instant_is_the_same_moment_in_iso_8601(at: int) -> None:
    text = instant(at)

    assert len(text) == 24
    assert text.endswith("Z")
    assert datetime.fromisoformat(text) - datetime(1970, 1, 1, tzinfo=UTC) == timedelta(milliseconds=at)
