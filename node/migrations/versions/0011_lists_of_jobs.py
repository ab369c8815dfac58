"""Lists of jobs leave out those that are pods of services: the index knows them apart."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index(op.f("ix_job_account_created_id"), "job")
    op.create_index(op.f("ix_job_account_service_created_id"), "job", ["account", "service", "created", "id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_job_account_service_created_id"), "job")
    op.create_index(op.f("ix_job_account_created_id"), "job", ["account", "created", "id"])
