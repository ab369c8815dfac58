"""Logins, sessions, nonces and devices that wait to be let in."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = {
    "login": (("account",), ()),
    "session": (("account",), ("expires",)),
    "nonce": ((), ("expires",)),
    "device_login": (("user_code",), ("expires",)),
}
"""What each is searched by: texts, and times."""


def upgrade() -> None:
    op.create_index(op.f("ix_account_created_id"), "account", ["created", "id"])
    for name, (texts, times) in TABLES.items():
        op.create_table(
            name,
            *(sa.Column(column, WORD, nullable=False) for column in ("id", *texts)),
            *(sa.Column(column, sa.BigInteger(), nullable=False) for column in ("created", *times)),
            sa.Column("body", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{name}")),
        )
        for column in (*texts, *times):
            op.create_index(op.f(f"ix_{name}_{column}"), name, [column], unique=column == "user_code")


def downgrade() -> None:
    for name in TABLES:
        op.drop_table(name)
    op.drop_index(op.f("ix_account_created_id"), "account")
