"""The files of an account are listed without a look at those of others."""

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_holding_account_created_id"), "holding", ["account", "created", "id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_holding_account_created_id"), "holding")
