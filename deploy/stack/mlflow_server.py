"""MLflow's server in one process, its database migrated before it listens.

``mlflow server`` is two processes that each import all of MLflow. What it does between them is little: this does it in
one, with half the memory and half the start. It takes MLflow's own variables, and two of the command line:
``python -m deploy.stack.mlflow_server --host HOST --port PORT [--auth]``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sqlite3
import uuid
from pathlib import Path

from filelock import FileLock

STOP_SECONDS = 5
# Whoever has an account may read; what he made is his to change. The accounts lie beside the runs.
_ACCOUNTS = """[mlflow]
default_permission = READ
database_uri = {uri}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def migrate(uri: str) -> None:
    """Make MLflow's tables, or bring them to the installed version's. Whoever else may do so must be locked out."""
    from mlflow.store.db import utils

    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        if not path.exists():
            _make(path)
    engine = utils.create_sqlalchemy_engine_with_retry(uri)
    try:
        utils._safe_initialize_tables(engine)
        utils._upgrade_db(engine)
    finally:
        engine.dispose()


def _make(path: Path) -> None:
    """A new database, under its name only once it is whole: killed half-way, the migration could not be taken up."""
    partial = path.with_name(f"{path.name}.partial")
    for leftover in path.parent.glob(f"{partial.name}*"):
        leftover.unlink()
    from mlflow.store.db import utils

    engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{partial}")
    utils._safe_initialize_tables(engine)
    engine.dispose()
    with contextlib.closing(sqlite3.connect(partial)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.replace(partial, path)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.stack.mlflow_server")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--auth", action="store_true", help="ask for name and password")
    arguments = parser.parse_args()
    home = Path(os.environ["STEMMA_HOME"])
    uri, root = os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"]

    import uvicorn  # before MLflow's server, which looks whether it is there

    with FileLock(home / "mlflow.lock"):  # the lock of every process that may be the first on this database
        migrate(uri)
    os.environ |= _told_by_mlflow(uri, root)
    app = "mlflow.server.fastapi_app:app"
    if arguments.auth:
        app = "mlflow.server.auth:create_app"
        os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(_accounts(home, uri))
    uvicorn.run(
        app,
        factory=arguments.auth,
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _told_by_mlflow(uri: str, root: str) -> dict[str, str]:
    """What ``mlflow server`` tells the process that listens."""
    from mlflow import environment_variables as names
    from mlflow.server import constants

    return {
        constants.BACKEND_STORE_URI_ENV_VAR: uri,
        constants.REGISTRY_STORE_URI_ENV_VAR: uri,
        constants.ARTIFACT_ROOT_ENV_VAR: root,
        names._MLFLOW_SGI_NAME.name: "uvicorn",
        names._MLFLOW_SERVER_BOOT_ID.name: uuid.uuid4().hex,
        names._MLFLOW_IN_JOB_EXECUTOR.name: "false",  # where it is true, code that comes with a request is run
    }


def _accounts(home: Path, uri: str) -> Path:
    path = home / "mlflow-accounts.ini"
    admin = os.environ.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(_ACCOUNTS.format(uri=uri.replace("%", "%%"), admin=admin))
    return path


if __name__ == "__main__":
    main()
