"""Runs migrations on the connection that :mod:`registry.db.database` opened and locked."""

from alembic import context

from registry.db.schema import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
