"""PostgreSQL: its own pg_dump, pg_restore and psql. The password goes by environment, never on a command line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy.engine import URL

from core.errors import redacted
from deploy.backup.manifest import BackupFailed

LOCK_SECONDS = 30  # how long a restore waits for servers that still use the database
# libpq's variables by the names that SQLAlchemy's URLs have for the same things.
_LIBPQ = {
    "sslmode": "PGSSLMODE",
    "ssl": "PGSSLMODE",  # asyncpg's name
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}
_OWN = "nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_%'"
# Everything of the user's, schemas included: a newer version's tables must not survive an older one's restore.
_CLEAR = f"""
DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT nspname FROM pg_namespace WHERE {_OWN} LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', name);
  END LOOP;
END $$;
CREATE SCHEMA public;
"""


def dump(url: URL, target: Path) -> None:
    """One consistent state of the whole database at ``url``, in pg_dump's custom format.

    Raises:
        BackupFailed: PostgreSQL's programs are missing or older than the server, or the server refused.
    """
    _run("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")


def content(url: URL) -> str | None:
    """What the database holds, in words; ``None`` where it holds no table.

    Raises:
        BackupFailed: the server or the database does not exist.
    """
    of_users = f"FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE relkind IN ('r', 'p') AND {_OWN}"
    try:
        with psycopg.connect(**_connection(url)) as connection:
            (tables,) = connection.execute(f"SELECT count(*) {of_users}").fetchone() or (0,)
    except psycopg.Error as error:
        raise BackupFailed(f"{url.render_as_string(hide_password=True)}: {_first_error(str(error))}") from None
    return f"{url.render_as_string(hide_password=True)} holds {tables} tables" if tables else None


def load(url: URL, source: Path) -> None:
    """Replace what the database at ``url`` holds by the dump ``source``, in one transaction.

    Raises:
        BackupFailed: as :func:`dump`, or another connection holds locks on it.
    """
    with tempfile.TemporaryDirectory(prefix="stemma-restore-") as folder:
        script, clear = Path(folder, "restore.sql"), Path(folder, "clear.sql")
        clear.write_text(_CLEAR)
        _run("pg_restore", None, "--no-owner", "--no-privileges", "--no-comments", f"--file={script}", str(source))
        arguments = ("--single-transaction", "--set=ON_ERROR_STOP=1", "--quiet", "--no-psqlrc", "--output=/dev/null")
        options = f"-c lock_timeout={LOCK_SECONDS}s -c client_min_messages=warning"
        _run("psql", url, *arguments, f"--file={clear}", f"--file={script}", PGOPTIONS=options)


def program(name: str) -> str:
    """Path of one of PostgreSQL's programs: the newest, since an older one refuses a newer server.

    Raises:
        BackupFailed: it is not installed.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=_version)
    found = str(installed[-1]) if installed else shutil.which(name)
    if found is None:
        raise BackupFailed(f"{name} is not installed; install PostgreSQL's client (apt-get install postgresql-client)")
    return found


def environment(url: URL | None) -> dict[str, str]:
    """This process's environment with libpq's variables for ``url``."""
    if url is None:
        return dict(os.environ)
    values = {
        "PGHOST": url.host,
        "PGPORT": str(url.port) if url.port else None,
        "PGUSER": url.username,
        "PGPASSWORD": str(url.password) if url.password is not None else None,
        "PGDATABASE": url.database,
        **{_LIBPQ[name]: str(value) for name, value in url.query.items() if name in _LIBPQ},
        "PGAPPNAME": "stemma backup",
    }
    return {**os.environ, **{name: value for name, value in values.items() if value is not None}}


def _connection(url: URL) -> dict[str, Any]:
    parameters = {
        "host": url.host,
        "port": str(url.port) if url.port else None,
        "user": url.username,
        "password": str(url.password) if url.password is not None else None,
        "dbname": url.database,
        "sslmode": next((str(url.query[name]) for name in ("sslmode", "ssl") if name in url.query), None),
        "connect_timeout": "10",
    }
    return {name: value for name, value in parameters.items() if value is not None}


def _run(name: str, url: URL | None, *arguments: str, **variables: str) -> None:
    command = [program(name), *(("--no-password",) if url is not None else ()), *arguments]
    done = subprocess.run(
        command, env={**environment(url), **variables}, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        where = f" of {url.render_as_string(hide_password=True)}" if url is not None else ""
        raise BackupFailed(f"{name}{where}: {_first_error(done.stderr)}")


def _first_error(text: str) -> str:
    """The first error in a program's output, on one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    found = next((line for line in lines if re.search(r"error|fatal", line, re.IGNORECASE)), lines[0] if lines else "")
    return redacted(found) or "ended without a message"


def _version(path: Path) -> float:
    try:
        return float(path.parts[-3])
    except ValueError:
        return 0.0
