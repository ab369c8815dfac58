"""How each log stands, and what containers used over time."""

import base64
import json

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and a head for each log that is here."""
    op.create_table(
        "log_head",
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("kind", WORD, nullable=False),
        sa.Column("oldest", sa.BigInteger(), nullable=False),
        sa.Column("newest", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_log_head"),
    )
    op.create_index("ix_log_head_kind_oldest", "log_head", ["kind", "oldest"])
    op.create_index("ix_log_head_newest", "log_head", ["newest"])
    op.create_table(
        "series_chunk",
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("lease", WORD, nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_series_chunk"),
    )
    op.create_index("ix_series_chunk_expires", "series_chunk", ["expires"])
    op.create_index("ix_series_chunk_lease_step_created_id", "series_chunk", ["lease", "step", "created", "id"])
    _write_heads(op.get_bind())


def downgrade() -> None:
    """Take the tables away; the marks that told the same before were left in their place."""
    op.drop_table("series_chunk")
    op.drop_table("log_head")


def _write_heads(database: sa.Connection) -> None:
    """A log was counted by two marks until now; its lines are as old as they say themselves."""
    rows = database.execute(sa.text("SELECT id, body FROM mark WHERE id LIKE 'log%:%'"))
    marks: dict[str, str] = {row.id: row.body for row in rows}
    for id, body in marks.items():
        prefix, _, lease = id.partition(":")
        if prefix == "logs" and (ends := _ends(database, lease)):
            size = marks.get(f"log-bytes:{lease}", '{"value": "0"}')
            numbers = {"next": int(json.loads(body)["value"]), "size": int(json.loads(size)["value"])}
            row = {"id": lease, "kind": "batch", "oldest": ends[0], "newest": ends[1]}
            head = sa.table("log_head", *map(sa.column, ("created", "body", *row)))
            database.execute(head.insert().values(created=0, body=json.dumps({**row, **numbers}), **row))


def _ends(database: sa.Connection, lease: str) -> tuple[int, ...]:
    """When the first and the last line were written; () without lines."""
    chunks = sa.table("log_chunk", sa.column("lease"), sa.column("first"), sa.column("body"))
    found = sa.select(chunks.c.body).where(chunks.c.lease == lease).limit(1)
    oldest = database.scalar(found.order_by(chunks.c.first))
    newest = database.scalar(found.order_by(chunks.c.first.desc()))
    return (_lines(oldest)[0][0], _lines(newest)[-1][0]) if oldest and newest else ()


def _lines(chunk: str) -> list[tuple[int, str, str]]:
    lines: list[tuple[int, str, str]] = json.loads(base64.b64decode(json.loads(chunk)["body"]))
    return lines
