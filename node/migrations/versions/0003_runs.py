"""Runs of code."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and its indexes."""
    op.create_table(
        "run",
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("id", WORD, nullable=False),
        sa.Column("account", WORD, nullable=False),
        sa.Column("state", WORD, nullable=False),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_index("ix_run_account_created_id", "run", ["account", "created", "id"])
    op.create_index("ix_run_deadline", "run", ["deadline"])


def downgrade() -> None:
    """Take the table away."""
    op.drop_table("run")
