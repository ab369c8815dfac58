"""Runs that ended long ago are found by their state."""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_run_state_created_id"), "run", ["state", "created", "id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_run_state_created_id"), "run")
