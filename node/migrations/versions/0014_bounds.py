"""Orders of an account that rest, and balances below zero, are found without a look at all the others."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index(op.f("ix_job_state_created_id"), "job")
    op.create_index(op.f("ix_job_state_account_created_id"), "job", ["state", "account", "created", "id"])
    op.create_index(op.f("ix_balance_amount"), "balance", ["amount"])


def downgrade() -> None:
    op.drop_index(op.f("ix_balance_amount"), "balance")
    op.drop_index(op.f("ix_job_state_account_created_id"), "job")
    op.create_index(op.f("ix_job_state_created_id"), "job", ["state", "created", "id"])
