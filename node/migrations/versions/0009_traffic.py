"""What the leases of an account received and sent in a month."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "traffic",
        sa.Column("id", WORD, nullable=False),
        sa.Column("account", WORD, nullable=False),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traffic")),
    )


def downgrade() -> None:
    op.drop_table("traffic")
