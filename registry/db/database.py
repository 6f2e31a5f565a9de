"""Opening the registry's database: migrated, and safe with many processes at once."""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.exc import DatabaseError as DriverError
from sqlalchemy.orm import Session

from core.errors import first_line, redacted
from core.files import private_folder
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

    def forget_log(self) -> None:
        """Empty SQLite's write-ahead log, which holds what was deleted until it is written over; a reader delays it."""
        if self.engine.dialect.name == "sqlite":
            raw = self.engine.raw_connection()
            try:
                raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                raw.close()

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
    if location.get_backend_name() == "sqlite":
        _make_private(location)
    engine = _engine(location, os.getpid())
    try:
        _migrate(engine)
    except (SQLAlchemyError, sqlite3.Error) as error:
        engine.dispose()
        raise _explained(error, location) from error
    except DatabaseError:
        engine.dispose()
        raise
    return Registry(engine)


def _make_private(location: URL) -> None:
    """Where there is no file yet, an empty one that only this account can read; SQLite gives its others that mode."""
    if (file := sqlite_path(location)) is not None:
        with contextlib.suppress(OSError):  # SQLite says the same in the end, and where
            private_folder(file.parent)
            # Never one that is there: to close what this process has open elsewhere drops its locks
            # (https://www.sqlite.org/howtocorrupt.html, 2.2).
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


@functools.lru_cache(maxsize=4)
def _engine(location: URL, _process: int) -> Engine:
    """The same one whenever a process opens a database again: it keeps compiled statements, not connections.

    To compile a statement takes many times as long as to run it. A forked process has its own.
    """
    if location.get_backend_name() != "sqlite":
        return create_engine(location)
    engine = create_engine(location, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions are begun below, not guessed by the driver
        connection.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}")
        connection.execute("PRAGMA foreign_keys = ON")
        # With less a power cut can undo a decision that git and MLflow have, and a registry that lacks one is refused.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what people want deleted is overwritten, not only forgotten

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


def _explained(error: SQLAlchemyError | sqlite3.Error, location: URL) -> Exception:
    """Storage failures as a sentence; broken constraints are the caller's to judge."""
    from sqlalchemy.exc import IntegrityError

    if isinstance(error, IntegrityError) or not isinstance(error, DriverError | sqlite3.Error):
        return error
    driver = error.orig if isinstance(error, DriverError) else error
    cause = first_line(driver or error)
    where = location.render_as_string(hide_password=True)
    sqlite = location.get_backend_name() == "sqlite"
    hint = (_sqlite_hint if sqlite else _postgresql_hint)(driver, location)
    return DatabaseError(f"the registry {where} cannot be used: {cause}; {hint}")


def _sqlite_hint(error: Any, location: URL) -> str:
    """What to do, by SQLite's primary result code (https://www.sqlite.org/rescode.html)."""
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    file = sqlite_path(location)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return f"another process has held it for {BUSY_SECONDS:g} s, and nothing was changed; try again when it is done"
    if code == sqlite3.SQLITE_FULL:
        return "its disk is full, and nothing was changed; free some space and try again"
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH):
        folder = file.parent if file is not None else "its folder"
        return f"this account must be able to write the file and {folder}; nothing was changed: mend that and try again"
    if code == sqlite3.SQLITE_IOERR:
        return "its disk could not be read or written; look at its space and health, then try again"
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return (
            "it is damaged; restore it from a back-up (`stemma backup restore`), and keep the damaged file: nothing "
            "else here holds the promotions"
        )
    return "nothing was changed; try again, and report it if it stays"


def _postgresql_hint(error: Any, location: URL) -> str:
    """What to do, by PostgreSQL's class of error (its manual, appendix A)."""
    code = getattr(error, "sqlstate", None) or ""
    if code.startswith(("40", "55")) or code in ("53300", "57P03"):
        return "it is busy, and nothing was changed; try again"
    if code == "53100":
        return "its disk is full, and nothing was changed; free some space and try again"
    if code in ("25006", "42501"):
        return (
            "the server or the role may only read, and nothing was changed; grant it the right to write and try again"
        )
    return "check that the server runs and that STEMMA_REGISTRY_URL is right, then try again"
