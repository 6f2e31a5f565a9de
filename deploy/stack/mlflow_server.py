"""MLflow's server in one process, its database migrated before it listens.

``mlflow server`` is two processes that each import all of MLflow. What it does between them is little: this does it in
one, with half the memory and half the start. It takes MLflow's own variables, and two of the command line:
``python -m deploy.stack.mlflow_server --host HOST --port PORT [--auth]``.
"""

from __future__ import annotations

import argparse
import os
import uuid
from pathlib import Path

from core import layout
from core.files import write_text
from core.locks import FileLock
from core.mlflow_store import adopt_artifacts, create_database
from core.workspace import sqlite_path
from deploy.stack.guard import App, guarded

STOP_SECONDS = 5
# Every account may read, and change what it made. The accounts lie in the database of the runs.
_ACCOUNTS = """[mlflow]
default_permission = READ
database_uri = {uri}
admin_username = {admin}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
"""


def migrate(uri: str) -> None:
    """Create MLflow's tables, or upgrade them to the installed version; to be called under the lock of the database."""
    from mlflow.store.db import utils
    from sqlalchemy.engine import make_url

    def create_tables(database: str) -> None:
        engine = utils.create_sqlalchemy_engine_with_retry(database)
        try:
            utils._safe_initialize_tables(engine)
            utils._upgrade_db(engine)
        finally:
            engine.dispose()

    url = make_url(uri)
    if url.get_backend_name() == "sqlite" and (path := sqlite_path(url)) is not None and not path.exists():
        create_database(path, create_tables)
    create_tables(uri)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.stack.mlflow_server")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--auth", action="store_true", help="require a name and a password")
    arguments = parser.parse_args()
    home = Path(os.environ["STEMMA_HOME"])
    uri, root = os.environ["MLFLOW_BACKEND_STORE_URI"], os.environ["MLFLOW_DEFAULT_ARTIFACT_ROOT"]

    import uvicorn  # before MLflow's server, which checks for it

    with FileLock(layout.mlflow_lock(home)):  # the lock of every process that may be the first on this database
        migrate(uri)
        adopt_artifacts(home)
    os.environ |= _server_environment(uri, root)
    if arguments.auth:
        os.environ["MLFLOW_AUTH_CONFIG_PATH"] = str(_accounts(home, uri))
    uvicorn.run(
        guarded(_application(arguments.auth)),
        host=arguments.host,
        port=arguments.port,
        log_level="warning",
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _application(accounts: bool) -> App:
    """MLflow's application, which reads its settings from the environment when it is imported."""
    if accounts:
        from mlflow.server.auth import create_app

        made: App = create_app()
        return made
    from mlflow.server.fastapi_app import app

    return app


def _server_environment(uri: str, root: str) -> dict[str, str]:
    """The variables that ``mlflow server`` sets for the process that listens."""
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
    path = layout.mlflow_accounts(home)
    admin = os.environ.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"
    write_text(path, _ACCOUNTS.format(uri=uri.replace("%", "%%"), admin=admin), private=True)
    return path


if __name__ == "__main__":
    main()
