"""``stemma up``: the servers of a workspace, kept running on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from deploy.stack.settings import StackSettings

EPILOG = """[bold]Examples[/]

stemma up                                   until Ctrl-C

stemma up --detach                          in the background; `stemma status` shows it, `stemma down` ends it

stemma up --mlflow-port 5001                where something else has port 5000

stemma up --database postgresql://stemma@db.example/stemma --artifacts s3://models/stemma

                                            PGPASSWORD or ~/.pgpass has the password
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(up)


def up(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen here; beyond loopback only with tokens set.")
    ] = "127.0.0.1",
    prefect_port: Annotated[int, typer.Option(metavar="PORT", help="Of Prefect's server.")] = 4200,
    mlflow_port: Annotated[int, typer.Option(metavar="PORT", help="Of MLflow's server.")] = 5000,
    gateway_port: Annotated[int, typer.Option(metavar="PORT", help="Of the gateway that serves the models.")] = 8000,
    console_port: Annotated[int, typer.Option(metavar="PORT", help="Of the pages about models and runs.")] = 8001,
    database: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="PostgreSQL for Prefect, MLflow and the registry; `sqlite` returns to SQLite."
        ),
    ] = None,
    artifacts: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="s3://bucket/path for MLflow's new experiments; `local` returns to the home folder."
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Run in the background; return when all services are healthy.")
    ] = False,
) -> None:
    """Start Prefect, MLflow, the deployments, the gateway and the console, and keep them running until Ctrl-C.

    A service that ends is restarted. Everything listens on loopback; `--host` opens it to other machines. The databases
    are SQLite in the workspace's home; `--database` and `--artifacts` are remembered for the next time.
    """
    from rich.console import Console

    from core.environment import child_environment
    from core.errors import InputProblem
    from core.workspace import Workspace
    from deploy.stack import state
    from deploy.stack.settings import StackSettings
    from deploy.stack.storage import LOCAL, SQLITE, Storage

    workspace = Workspace.find()
    home = workspace.home
    if (running := state.read(home)) is not None:
        problem = f"a stack already runs here: process {running.pid}; `stemma status` shows it, `stemma down` ends it"
        raise InputProblem([problem])
    before = Storage.recall(home)
    storage = Storage(
        None if database == SQLITE else database or before.database,
        None if artifacts == LOCAL else artifacts or before.artifacts,
    )
    settings = StackSettings(
        workspace.root, home, host, prefect_port, mlflow_port, gateway_port, console_port, storage, child_environment()
    )
    if problems := settings.problems():
        raise InputProblem(problems)
    console = Console()
    if detach:
        _detached(settings, console)
    else:
        _here(settings, console)


def _here(settings: StackSettings, console) -> None:
    from cli.screens.stack import StackScreen
    from deploy.stack.supervisor import Supervisor

    Supervisor(settings).run(lambda supervisor: StackScreen(console, settings.home, lambda: supervisor.stack))
    console.print("The stack has stopped.")


def _detached(settings: StackSettings, console) -> None:
    import subprocess
    import sys
    import time

    from cli.errors import FAILED
    from cli.screens.stack import StackScreen, pages, table
    from core import python
    from core.files import last_lines
    from deploy.stack import state

    log = settings.home / "logs" / "stack.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "wb") as output:
        process = subprocess.Popen(
            python.command("cli", "up", *_arguments(settings)),
            cwd=settings.root,
            env={**settings.environment, "STEMMA_HOME": str(settings.home)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        with StackScreen(console, settings.home, lambda: state.read(settings.home)):
            while (stack := state.read(settings.home)) is None or not stack.healthy:
                if process.poll() is not None:
                    break
                time.sleep(0.1)
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    if process.poll() is not None:
        print("\n".join(last_lines(log, 20)), file=sys.stderr)
        raise typer.Exit(process.returncode or FAILED)
    if stack is not None:
        console.print(table(stack), pages(console, stack, settings.home), sep="\n")
    console.print(f"It runs in the background (process {process.pid}, {log}); `stemma down` ends it.", soft_wrap=True)


def _arguments(settings: StackSettings) -> list[str]:
    """The command line options of these settings."""
    from deploy.stack.storage import LOCAL, SQLITE

    ports = {
        "--prefect-port": settings.prefect_port,
        "--mlflow-port": settings.mlflow_port,
        "--gateway-port": settings.gateway_port,
        "--console-port": settings.console_port,
    }
    found = ["--host", settings.host, *(part for name, port in ports.items() for part in (name, str(port)))]
    storage = settings.storage
    return [*found, "--database", storage.database or SQLITE, "--artifacts", storage.artifacts or LOCAL]
