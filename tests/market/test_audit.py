"""The chain of entries: whatever is done to it is found, up to the last head that was signed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from market.audit import (
    MAX_DETAILS,
    MAX_TEXT,
    Actor,
    AuditEntry,
    Deed,
    Head,
    digest_of_head,
    hash_of,
    head_of,
    link,
    verify,
)
from tests.builders import NOW

TEXTS = st.text(max_size=20)
ACTORS = st.builds(Actor, account=TEXTS, credential=TEXTS, address=TEXTS, request=TEXTS)
DEEDS = st.builds(
    Deed, action=TEXTS, account=TEXTS, subject=TEXTS, detail=st.dictionaries(TEXTS, TEXTS, max_size=MAX_DETAILS)
)
HISTORIES = st.lists(st.tuples(DEEDS, ACTORS, st.integers(0, 2**53)), min_size=2, max_size=8)


def chain(history: list[tuple[Deed, Actor, int]]) -> list[AuditEntry]:
    entries: list[AuditEntry] = []
    for deed, actor, at in history:
        entries.append(link(head_of(entries[-1]) if entries else Head(), deed, actor, at))
    return entries


def some(count: int = 4) -> list[AuditEntry]:
    return chain(
        [(Deed(action="key.made", subject=f"key_{n}"), Actor(account="user_1"), NOW + n) for n in range(count)]
    )


@given(HISTORIES)
def test_a_chain_that_nobody_touched_is_whole(history: list[tuple[Deed, Actor, int]]) -> None:
    entries = chain(history)
    verdict = verify(entries, [head_of(entry) for entry in entries])
    assert (verdict.flaw, verdict.head) == ("", head_of(entries[-1]))
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


def other(value: Any) -> st.SearchStrategy[Any]:
    kinds = {int: st.integers(0, 2**53), str: TEXTS, Actor: ACTORS, Deed: DEEDS}
    return next(made for kind, made in kinds.items() if isinstance(value, kind)).filter(lambda new: new != value)


@settings(max_examples=1000)
@given(st.data(), HISTORIES)
def test_whatever_is_changed_removed_or_moved_is_found(data: st.DataObject, history: Any) -> None:
    entries = chain(history)
    place = data.draw(st.integers(0, len(entries) - 1))
    edited = list(entries)
    match data.draw(st.sampled_from(["change", "remove", "swap", "repeat", "insert"])):
        case "change":
            field = data.draw(st.sampled_from(AuditEntry.__struct_fields__))
            edited[place] = replace(edited[place], **{field: data.draw(other(getattr(edited[place], field)))})
        case "remove":
            del edited[data.draw(st.integers(0, len(entries) - 2))]
        case "swap":
            edited[place], edited[place - 1] = edited[place - 1], edited[place]
        case "repeat":
            edited.insert(place, edited[place])
        case "insert":
            before = head_of(edited[place - 1]) if place else Head()
            edited.insert(place, link(before, Deed(action="forged"), Actor(), NOW))
    assert verify(edited).flaw


@given(HISTORIES, st.data())
def test_an_entry_with_a_new_hash_does_not_fit_the_one_behind_it(history: Any, data: st.DataObject) -> None:
    entries = chain(history)
    place = data.draw(st.integers(0, len(entries) - 2))
    forged = replace(entries[place], deed=Deed(action="forged"), at=entries[place].at)
    edited = [*entries[:place], replace(forged, hash=hash_of(forged)), *entries[place + 1 :]]
    assert verify(edited).head.seq == place + 1
    assert "does not follow" in verify(edited).flaw


@given(HISTORIES, st.data())
def test_what_is_cut_off_or_written_anew_is_found_up_to_the_last_signed_head(history: Any, data: st.DataObject) -> None:
    entries = chain(history)
    kept = data.draw(st.integers(0, len(entries) - 1))
    signed = [head_of(entries[data.draw(st.integers(kept, len(entries) - 1))])]
    cut = entries[:kept]
    assert verify(cut).flaw == ""
    assert "was signed" in verify(cut, signed).flaw
    anew = list(cut)
    for deed, actor, at in history[kept:]:
        anew.append(link(head_of(anew[-1]) if anew else Head(), replace(deed, action="forged!"), actor, at))
    assert verify(anew).flaw == ""
    assert "written anew" in verify(anew, signed).flaw


def test_a_rewrite_behind_the_last_signed_head_can_not_be_seen() -> None:
    entries = some(3)
    anew = [*entries[:2], link(head_of(entries[1]), Deed(action="forged"), Actor(), NOW)]
    assert verify(anew, [head_of(entries[1])]).flaw == ""


@pytest.mark.parametrize("change", [{"seq": 2}, {"seq": 9}, {"at": NOW}])
def test_a_last_entry_that_was_made_anew_has_its_number_and_its_time_in_order(change: dict[str, int]) -> None:
    entries = some(3)
    forged = replace(entries[-1], **change)
    assert verify([*entries[:2], replace(forged, hash=hash_of(forged))]).flaw


def test_two_heads_of_one_length_that_differ_are_found() -> None:
    entries = some(2)
    assert verify(entries, [head_of(entries[1]), replace(head_of(entries[1]), hash="0" * 64)]).flaw


def test_the_encoding_is_pinned_so_that_old_chains_stay_whole() -> None:
    deed = Deed(action="key.made", account="user_1", subject="key_1", detail={"b": "2", "a": "é"})
    entry = link(Head(), deed, Actor(account="user_1", credential="key_0", address="::1", request="req_1"), NOW)
    assert hash_of(replace(entry, deed=replace(deed, detail={"a": "é", "b": "2"}))) == entry.hash
    assert (entry.hash, digest_of_head(head_of(entry)).hex()) == (PINNED, PINNED_HEAD)


@pytest.mark.parametrize("count", [1, MAX_DETAILS + 5])
def test_texts_are_cut(count: int) -> None:
    detail = {f"{n}{'k' * MAX_TEXT}": "v" * 10_000 for n in range(count)}
    entry = link(Head(), Deed(action="x", subject="s" * 1000, detail=detail), Actor(address="a" * 1000), NOW)
    assert len(entry.deed.subject) == len(entry.actor.address) == MAX_TEXT
    assert len(entry.deed.detail) == min(count, MAX_DETAILS)
    assert {len(text) for pair in entry.deed.detail.items() for text in pair} == {MAX_TEXT}
    assert verify([entry]).flaw == ""


PINNED = "0f15ce00c53e7e4056e3726a7e977d6ec726906f72ddf1e27cd5895858553e7c"
PINNED_HEAD = "a1770a9c5071533aa8b45bde6011ec9c9008decedaa8abbb6e3273e17acc6401"
