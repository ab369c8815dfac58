"""The first tables."""

import sqlalchemy as sa
from alembic import op

from node.adapters.tables import WORD

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES: dict[str, str] = {
    "account": "name",
    "answer": "",
    "api_key": "account digest",
    "channel": "payer signer payee deposited: exiting: promised: claimed:",
    "entry": "seq: noun subject",
    "job": "account state lease deadline: version:",
    "lease": "side state job channel deadline: provider requester",
    "log_chunk": "lease first:",
    "mark": "",
    "offer": "provider",
    "pending": "subject effect not_before:",
    "withdrawal": "account state amount:",
}
"""The columns beside `id` (or `seq`), `created` and `body`; a colon marks a 64-bit integer, the others are text."""

INDEXES = (
    ("account", "name"),
    ("answer", "created", "id"),
    ("api_key", "account"),
    ("channel", "payee"),
    ("channel", "payer"),
    ("entry", "subject", "seq"),
    ("job", "account", "created", "id"),
    ("job", "deadline"),
    ("job", "state", "created", "id"),
    ("lease", "channel", "state", "created", "id"),
    ("lease", "deadline"),
    ("lease", "job"),
    ("lease", "state", "created", "id"),
    ("log_chunk", "lease", "created", "id"),
    ("offer", "provider"),
    ("withdrawal", "account", "created", "id"),
    ("withdrawal", "state"),
)


def upgrade() -> None:
    for name, columns in TABLES.items():
        key = "seq" if name == "entry" else "id"
        op.create_table(
            name,
            *(_column(column) for column in columns.split()),
            *([] if key == "seq" else [_column("id")]),
            _column("created:"),
            sa.Column("body", sa.Text(), nullable=False),
            sa.PrimaryKeyConstraint(key, name=op.f(f"pk_{name}")),
            sqlite_autoincrement=key == "seq",
        )
    for table, *indexed in INDEXES:
        op.create_index(op.f(f"ix_{table}_{'_'.join(indexed)}"), table, indexed)
    op.create_index(op.f("ix_api_key_digest"), "api_key", ["digest"], unique=True)


def downgrade() -> None:
    for name in reversed(TABLES):
        op.drop_table(name)


def _column(text: str) -> sa.Column[object]:
    name = text.removesuffix(":")
    if name == "seq":
        return sa.Column(name, sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False)
    return sa.Column(name, sa.BigInteger() if text.endswith(":") else WORD, nullable=False)
