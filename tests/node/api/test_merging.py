"""Lists that are shown as one: the same items as of one sorted list, whatever part is asked for."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from node.api.merging import held, merged, place_of


class Item(NamedTuple):
    created_at: int
    id: str


items = st.lists(st.builds(Item, st.integers(0, 5), st.text("ab", max_size=3)), max_size=8, unique=True)


@given(items, items, items, st.integers(0, 12), st.integers(0, 30))
def test_any_part_of_a_merged_list_is_that_part_of_the_sorted_whole(
    first: list[Item], second: list[Item], third: list[Item], limit: int, offset: int
) -> None:
    look = merged(merged(held(first), held(second)), held(third))
    whole = sorted(first + second + third, key=place_of, reverse=True)
    assert look(limit, None, offset) == (whole[offset : offset + limit], len(whole))


@given(items, items, st.integers(1, 4))
def test_each_page_goes_on_behind_the_last_item_of_the_one_before(
    first: list[Item], second: list[Item], limit: int
) -> None:
    look = merged(held(first), held([item for item in second if item not in first]))
    seen: list[Item] = []
    while page := look(limit, place_of(seen[-1]) if seen else None, 0)[0]:
        seen += page
    assert seen == sorted({*first, *second}, key=place_of, reverse=True)
