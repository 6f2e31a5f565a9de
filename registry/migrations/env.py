"""Runs migrations on the connection that :mod:`registry.database` opened and locked."""

from alembic import context

from registry.schema import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
