"""Alembic's entry: the caller hands over a connection with its transaction already open."""

from alembic import context

from kforge.data.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
