"""Files have owners, and runs that ended long ago are found by their state."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_run_state_created_id"), "run", ["state", "created", "id"])
    op.create_table(
        "holding",
        *(sa.Column(name, WORD, nullable=False) for name in ("id", "account")),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_holding")),
    )
    op.create_index(op.f("ix_holding_created_id"), "holding", ["created", "id"])


def downgrade() -> None:
    op.drop_table("holding")
    op.drop_index(op.f("ix_run_state_created_id"), "run")
