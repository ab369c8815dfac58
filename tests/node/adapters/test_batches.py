"""Many writes as few statements: the order in each table stays, and nothing is lost."""

import pytest

from node.adapters.batches import MOST, Write, batched

INSERT = "INSERT INTO job (id, body) VALUES (:id, :body)"
PUT = "INSERT INTO mark (body, id) VALUES (:body, :id) ON CONFLICT (id) DO UPDATE SET body = excluded.body"
DELETE = "DELETE FROM mark WHERE mark.id = :key"


def inserted(*numbers: int) -> list[Write]:
    return [(INSERT, {"body": f"body {number}", "id": number}) for number in numbers]


def test_rows_for_one_table_are_one_statement_with_values_in_its_order() -> None:
    assert [*batched(inserted(1, 2))] == [
        ("INSERT INTO job (id, body) VALUES (?, ?), (?, ?)", [1, "body 1", 2, "body 2"])
    ]


def test_a_row_alone_is_written_as_it_came() -> None:
    assert [*batched(inserted(1))] == inserted(1)


def test_what_follows_the_row_stays_behind_the_last() -> None:
    ((sql, values),) = batched([(PUT, {"id": "m", "body": "a"}), (PUT, {"id": "m", "body": "b"})])
    assert sql.endswith("VALUES (?, ?), (?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body")
    assert values == ["a", "m", "b", "m"]


def test_tables_are_gathered_across_each_other_and_each_keeps_its_order() -> None:
    put = (PUT, {"id": "m", "body": "a"})
    gone = (DELETE, {"key": "m"})
    found = [*batched([put, *inserted(1), gone, *inserted(2), put])]
    assert [sql.split()[0:3:2] for sql, _ in found] == [
        ["INSERT", "mark"], ["INSERT", "job"], ["DELETE", "mark"], ["INSERT", "mark"]
    ]  # fmt: skip
    assert found[1][1] == [1, "body 1", 2, "body 2"]
    assert found[2] == gone


@pytest.mark.parametrize("count", [2, 3, MOST - 1, MOST, MOST + 1, 3 * MOST + 5])
def test_every_row_is_written_once_in_as_few_statements_as_can_be(count: int) -> None:
    found = [*batched(inserted(*range(count)))]
    assert [value for _, values in found for value in values[::2]] == [*range(count)]
    assert len(found) == -(-count // MOST)
    assert all(sql.count("?") == len(values) for sql, values in found)
