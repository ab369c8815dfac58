"""Calls that are counted for several processes; not logged on PostgreSQL, where a crash may forget them."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "called",
        *(sa.Column(name, WORD, nullable=False) for name in ("who", "action")),
        sa.Column("n", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("at", "until")),
        sa.PrimaryKeyConstraint("who", "action", "n", name=op.f("pk_called")),
        prefixes=["UNLOGGED"] if op.get_bind().dialect.name == "postgresql" else [],
    )
    op.create_index(op.f("ix_called_who_action_at_n"), "called", ["who", "action", "at", "n"])
    op.create_index(op.f("ix_called_until"), "called", ["until"])


def downgrade() -> None:
    op.drop_table("called")
