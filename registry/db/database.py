"""Opening the registry's database: migrated, and safe with many processes at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.exc import DatabaseError as DriverError
from sqlalchemy.orm import Session

from core.errors import redacted
from core.workspace import sqlite_path
from registry.db.schema import REVISION
from registry.errors import DatabaseError

BUSY_SECONDS = 60
WRITERS_LOCK = 0x5354454D  # "STEM": key of the advisory lock that queues PostgreSQL's writers
MIGRATIONS_LOCK = WRITERS_LOCK + 1


class Registry:
    """Sessions on one database. Readers never wait; writers queue, so that get-or-create cannot race."""

    def __init__(self, engine: Engine):
        self.engine = engine

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and changes nothing."""
        engine = self.engine
        if engine.dialect.name == "postgresql":
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with Session(engine) as session:
            try:
                yield session
            except DriverError as error:
                raise _explained(error, self.engine.url) from error

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is the only writer; committed as a whole when the block ends, else rolled back as a whole."""
        with self.engine.connect().execution_options(stemma_writes=True) as connection:
            try:
                with connection.begin():
                    if connection.dialect.name == "postgresql":
                        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": WRITERS_LOCK})
                    with Session(connection, expire_on_commit=False) as session:
                        yield session
                        session.flush()
            except DriverError as error:
                raise _explained(error, self.engine.url) from error

    def close(self) -> None:
        self.engine.dispose()

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open(url: str) -> Registry:
    """Open, and where needed create or migrate, the registry at ``url``.

    Raises:
        DatabaseError: the URL is wrong, the database cannot be reached, is damaged, or is newer than this code.
    """
    try:
        location = make_url(url)
    except ArgumentError:
        raise DatabaseError(
            f"{redacted(url)!r} is not a database URL; set STEMMA_REGISTRY_URL to sqlite:////path/registry.db or postgresql://..."
        ) from None
    if location.drivername in ("postgresql", "postgres"):
        location = location.set(drivername="postgresql+psycopg")
    if location.get_backend_name() not in ("sqlite", "postgresql"):
        raise DatabaseError(f"{location.get_backend_name()} is not supported; use SQLite or PostgreSQL")
    engine = _sqlite(location) if location.get_backend_name() == "sqlite" else create_engine(location)
    try:
        _migrate(engine)
    except SQLAlchemyError as error:
        engine.dispose()
        raise _explained(error, location) from error
    except DatabaseError:
        engine.dispose()
        raise
    return Registry(engine)


def _sqlite(location: URL) -> Engine:
    if (file := sqlite_path(location)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(location, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A read transaction that turns into a writing one can fail at once, without regard to the busy timeout.
        writes = connection.get_execution_options().get("stemma_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def revision(connection: Connection) -> str | None:
    """The migration a database stands at; ``None`` for an empty one."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        found = revision(connection)
    if found == REVISION:
        return
    if engine.dialect.name == "sqlite":
        from core.locks import FileLock

        file = sqlite_path(engine.url)
        # Not left to SQLite's own locks: switching to WAL ignores the busy timeout.
        with FileLock(f"{file}.lock") if file is not None else nullcontext():
            with engine.connect() as connection:
                connection.connection.driver_connection.execute("PRAGMA journal_mode = WAL")
            with engine.connect().execution_options(stemma_writes=True) as connection, connection.begin():
                _upgrade(connection)
    else:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATIONS_LOCK})
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    migrations = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", migrations.replace("%", "%%"))  # it interpolates, as configparser does
    found = revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise DatabaseError(
            f"the registry {connection.engine.url.render_as_string()} is at revision {found}, which this version of "
            f"Stemma does not know (its newest is {REVISION}); update Stemma"
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _explained(error: SQLAlchemyError, location: URL) -> Exception:
    """Storage failures as a sentence; broken constraints are the caller's to judge."""
    from sqlalchemy.exc import IntegrityError

    if isinstance(error, IntegrityError) or not isinstance(error, DriverError):
        return error
    cause = str(error.orig).strip().splitlines()[0] if error.orig else str(error)
    where = location.render_as_string(hide_password=True)
    if location.get_backend_name() == "sqlite":
        hint = "restore it from a backup, or move it away and run `stemma sync` to rebuild all but the promotions"
    else:
        hint = "check that the server runs and that STEMMA_REGISTRY_URL is right"
    return DatabaseError(f"the registry {where} cannot be used: {cause}; {hint}")
