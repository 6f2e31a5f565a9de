"""The three databases in PostgreSQL, made where they are missing."""

from __future__ import annotations

import psycopg
from psycopg import sql

from deploy.stack.storage import NAMES, Storage

CONNECT_SECONDS = 10


def ensure(storage: Storage) -> list[str]:
    """Make the databases that are missing; what speaks against using them, if anything does.

    PostgreSQL's own variables hold: ``PGPASSWORD``, ``PGSSLMODE``, ``PGPASSFILE`` ...
    """
    missing = []
    for which in NAMES:
        try:
            _connect(storage, storage.name_of(which)).close()
        except psycopg.OperationalError as error:
            if not _is_missing(error, storage.name_of(which)):
                return [_told(storage, error)]
            missing.append(storage.name_of(which))
    if not missing:
        return []
    try:
        with _connect(storage, "postgres") as connection:
            for name in missing:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.Error as error:
        names = ", ".join(missing)
        return [f"{_told(storage, error)}; make the missing databases yourself: {names}"]
    return []


def _connect(storage: Storage, name: str) -> psycopg.Connection:
    return psycopg.connect(storage.url(name), autocommit=True, connect_timeout=CONNECT_SECONDS)


def _is_missing(error: psycopg.OperationalError, name: str) -> bool:
    # The server tells it before there is a session, so without the code that names the error.
    return f'database "{name}" does not exist' in str(error)


def _told(storage: Storage, error: psycopg.Error) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return f"--database {storage.database}: {words}"
