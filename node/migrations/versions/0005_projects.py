"""Projects."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "project",
        *(sa.Column(name, WORD, nullable=False) for name in ("id", "account")),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_project")),
    )
    op.create_index(op.f("ix_project_account_created_id"), "project", ["account", "created", "id"])


def downgrade() -> None:
    op.drop_table("project")
