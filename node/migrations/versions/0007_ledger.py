"""The ledger: its lines, the balances of its accounts, and what is paid out of it, the invoices."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "posted",
        *(sa.Column(name, WORD, nullable=False) for name in ("id", "account", "currency", "subject")),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_posted")),
    )
    op.create_index(op.f("ix_posted_account_currency_created_id"), "posted", ["account", "currency", "created", "id"])
    op.create_index(op.f("ix_posted_subject"), "posted", ["subject"])
    op.create_table(
        "balance",
        *(sa.Column(name, WORD, nullable=False) for name in ("id", "account", "currency")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created", "amount")),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_balance")),
    )
    op.create_index(op.f("ix_balance_currency"), "balance", ["currency"])
    op.create_table(
        "payout",
        *(sa.Column(name, WORD, nullable=False) for name in ("id", "account", "state")),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payout")),
    )
    op.create_index(op.f("ix_payout_account_created_id"), "payout", ["account", "created", "id"])
    op.create_index(op.f("ix_payout_state"), "payout", ["state"])
    op.create_table(
        "invoice",
        *(sa.Column(name, WORD, nullable=False) for name in ("id", "account", "period")),
        sa.Column("created", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoice")),
    )
    op.create_index(op.f("ix_invoice_account_created_id"), "invoice", ["account", "created", "id"])


def downgrade() -> None:
    op.drop_table("invoice")
    op.drop_table("payout")
    op.drop_table("balance")
    op.drop_table("posted")
