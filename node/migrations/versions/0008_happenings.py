"""What users hear of, and who is told: happenings, webhooks and deliveries."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "happened",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        *_columns("account", "event"),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_happened")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_happened_account_seq"), "happened", ["account", "seq"])
    op.create_index(op.f("ix_happened_created"), "happened", ["created"])
    op.create_table("webhook", *_columns("id", "account"), sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook")))
    op.create_index(op.f("ix_webhook_account_created_id"), "webhook", ["account", "created", "id"])
    op.create_table(
        "delivery",
        *_columns("id", "webhook", "state"),
        sa.Column("not_before", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_delivery")),
    )
    op.create_index(op.f("ix_delivery_webhook_created_id"), "delivery", ["webhook", "created", "id"])
    op.create_index(op.f("ix_delivery_state_not_before"), "delivery", ["state", "not_before"])
    op.create_index(op.f("ix_delivery_created"), "delivery", ["created"])


def downgrade() -> None:
    for name in ("delivery", "webhook", "happened"):
        op.drop_table(name)


def _columns(*texts: str) -> list[sa.Column[Any]]:
    columns: list[sa.Column[Any]] = [sa.Column(name, WORD, nullable=False) for name in texts]
    created = sa.Column("created", sa.BigInteger(), nullable=False)
    return [*columns, created, sa.Column("body", sa.Text(), nullable=False)]
