"""Services, and which service a job is a pod of."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "service",
        *(sa.Column(name, WORD, nullable=False) for name in ("id", "account", "state", "name")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("deadline", "created")),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service")),
    )
    op.create_index(op.f("ix_service_account_created_id"), "service", ["account", "created", "id"])
    op.create_index(op.f("ix_service_state_created_id"), "service", ["state", "created", "id"])
    op.create_index(op.f("ix_service_deadline"), "service", ["deadline"])
    op.add_column("job", sa.Column("service", WORD, nullable=False, server_default=""))
    op.create_index(op.f("ix_job_service_created_id"), "job", ["service", "created", "id"])


def downgrade() -> None:
    op.drop_index(op.f("ix_job_service_created_id"), "job")
    op.drop_column("job", "service")
    op.drop_table("service")
