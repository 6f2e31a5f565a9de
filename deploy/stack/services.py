"""The four services as commands: what each needs, and how it tells that it is well."""

from __future__ import annotations

import datetime
import functools
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import health
from deploy.stack.settings import Settings
from deploy.stack.state import DEPLOYMENTS, GATEWAY, MLFLOW, PREFECT

POLLED_SECONDS = 60.0  # the process that runs deployments asks for work every few seconds


@dataclass(frozen=True)
class Service:
    """One service.

    Attributes:
        url: where it answers; ``None`` for one that listens nowhere.
        probe: raises :class:`deploy.stack.health.Unwell`; takes the time of the process's start, in seconds since the
            epoch, so that what an earlier process left behind does not count.
        after: the service that has to be well before this one is started.
        lock: file that keeps others off the database until this service is well.
        grace_seconds: between being told to end and being killed.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str | None
    probe: Callable[[float], None]
    after: str | None = None
    lock: Path | None = None
    grace_seconds: float = 8.0


def services_of(settings: Settings) -> list[Service]:
    """The services of a stack, in the order in which they are shown."""
    return [_prefect(settings), _mlflow(settings), _deployments(settings), _gateway(settings)]


def client_environment(settings: Settings) -> dict[str, str]:
    """What commands need to use the stack. Never a secret."""
    return {
        **settings.storage.environment(settings.home),
        "PREFECT_API_URL": f"{settings.url(settings.prefect_port)}/api",
        "MLFLOW_TRACKING_URI": settings.url(settings.mlflow_port),
        # Links to runs lead into the same one of Prefect's two user interfaces as its front page.
        "PREFECT_UI_URL": f"{settings.browser_url(settings.prefect_port)}/v2",
    }


def _prefect(settings: Settings) -> Service:
    url, home = settings.url(settings.prefect_port), settings.home / "prefect"
    own = {
        "PREFECT_HOME": str(home),  # that of the servers that `stemma run` starts: their runs are shown too
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # Who trains is known still after a restart: in memory it is lost, and the slot taken for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    if settings.storage.database is not None:
        own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = settings.storage.url(
            settings.storage.name_of("prefect"), "+asyncpg"
        )
    environment = {**_base(settings), **own}
    environment.setdefault("PREFECT_UI_API_URL", f"{settings.browser_url(settings.prefect_port)}/api")
    return Service(
        PREFECT,
        (*_python("prefect", "server", "start"), "--host", settings.host, "--port", str(settings.prefect_port)),
        environment,
        url,
        lambda _: health.answers(f"{url}/api/ready"),
        lock=home / "start.lock",
    )


def _mlflow(settings: Settings) -> Service:
    url = settings.url(settings.mlflow_port)
    own = {
        "STEMMA_HOME": str(settings.home),
        "MLFLOW_BACKEND_STORE_URI": settings.storage.mlflow_backend(settings.home),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.storage.artifact_root(settings.home),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    }
    command = _python("deploy.stack.mlflow_server", "--host", settings.host, "--port", str(settings.mlflow_port))
    if settings.mlflow_accounts:
        command += ("--auth",)
    return Service(MLFLOW, command, {**_base(settings), **own}, url, lambda _: health.answers(f"{url}/health"))


def _deployments(settings: Settings) -> Service:
    environment = _clients(settings)
    api = environment["PREFECT_API_URL"]
    return Service(
        DEPLOYMENTS,
        _python("flows.deployments"),
        environment,
        None,
        functools.partial(asks_for_work, api, environment.get("PREFECT_API_AUTH_STRING")),
        after=PREFECT,
        grace_seconds=60.0,  # a stage that trains saves its checkpoint first
    )


def _gateway(settings: Settings) -> Service:
    url = settings.url(settings.gateway_port)
    command = _python("deploy.gateway", "--host", settings.host, "--port", str(settings.gateway_port))
    return Service(GATEWAY, command, _clients(settings), url, lambda _: health.answers(f"{url}/health"))


def _base(settings: Settings) -> dict[str, str]:
    """The user's environment without what would point a server at another one."""
    others = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
    return {name: value for name, value in settings.environment.items() if name not in others}


def _clients(settings: Settings) -> dict[str, str]:
    """For services that use the others."""
    given = _base(settings)
    environment = {
        **given,
        **client_environment(settings),
        "STEMMA_HOME": str(settings.home),
        "PREFECT_HOME": str(settings.home / "prefect"),
    }
    if auth := given.get("PREFECT_SERVER_API_AUTH_STRING"):
        environment["PREFECT_API_AUTH_STRING"] = auth
    if settings.mlflow_accounts and "MLFLOW_TRACKING_PASSWORD" not in given:
        environment["MLFLOW_TRACKING_USERNAME"] = given.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"
        environment["MLFLOW_TRACKING_PASSWORD"] = given["MLFLOW_AUTH_ADMIN_PASSWORD"]
    return environment


def asks_for_work(api: str, auth: str | None, born: float) -> None:
    """Whether somebody has asked the server for the deployments' runs since ``born``, and lately."""
    found = health.post(f"{api}/deployments/filter", {"deployments": {"tags": {"all_": ["stemma"]}}}, auth)
    polled = [datetime.datetime.fromisoformat(each["last_polled"]) for each in found if each.get("last_polled")]
    if not polled:
        raise health.Unwell("has not registered the deployments yet")
    now = datetime.datetime.now(datetime.UTC)
    last = max(polled)
    if last.timestamp() < born or (now - last).total_seconds() > POLLED_SECONDS:
        raise health.Unwell(f"has not asked for work since {last:%H:%M:%S} UTC")


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", module, *arguments)
