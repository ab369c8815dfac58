"""What Alembic runs: compares and changes tables over the connection that `upgrade` hands it."""

from alembic import context

from node.adapters.tables import Row

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Row.metadata,
    render_as_batch=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
