"""Runs the revisions on the connection that pgjobs.schema hands over, or prints them (offline)."""

from alembic import context

config = context.config
options = {"version_table": "schema_revision", "version_table_schema": "pgjobs"}

connection = config.attributes.get("connection")
if connection is not None:
    context.configure(connection=connection, **options)
    context.run_migrations()
else:
    context.configure(dialect_name="postgresql", output_buffer=config.output_buffer, as_sql=True, **options)
    with context.begin_transaction():
        context.run_migrations()
