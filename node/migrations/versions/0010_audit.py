"""The log of who did what."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_entry",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        *(sa.Column(name, WORD, nullable=False) for name in ("account", "actor", "action")),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_entry")),
    )
    for name in ("account", "actor", "action"):
        op.create_index(op.f(f"ix_audit_entry_{name}_seq"), "audit_entry", [name, "seq"])
    op.create_index(op.f("ix_audit_entry_created"), "audit_entry", ["created"])


def downgrade() -> None:
    op.drop_table("audit_entry")
