"""The five services: their commands and environments, and how to see that each is healthy."""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from core import layout, python
from core.environment import DATABASES, PROXIES, STORES, chosen
from deploy.gateway import api_keys
from deploy.stack import guard, tokens
from deploy.stack.settings import StackSettings
from deploy.stack.state import CONSOLE, DEPLOYMENTS, GATEWAY, MLFLOW, PREFECT

PROBE_SECONDS = 10.0  # a machine whose cores train is slow to answer, but answers
POLLED_SECONDS = 60.0  # the process that runs deployments polls Prefect for work every few seconds
_ADDRESSES = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI")
# Secrets of the servers: the process that runs the user's stages has everything of the user's but these.
_OF_SERVERS = ("PREFECT_SERVER_API_AUTH_STRING", "MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY",
               "STEMMA_API_KEYS")  # fmt: skip


class Unhealthy(Exception):
    """The service does not answer as it should; the message says how."""


@dataclass(frozen=True)
class Service:
    """One service.

    Attributes:
        url: where it answers; ``None`` for one that listens nowhere.
        probe: raises :class:`Unhealthy`; takes the time of the process's start, in seconds since the
            epoch, so that what an earlier process left behind does not count.
        after: the service that has to be healthy before this one is started.
        lock: file that keeps other processes off the database until this service is healthy.
        grace_seconds: between SIGTERM and SIGKILL.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    url: str | None
    probe: Callable[[float], None]
    after: str | None = None
    lock: Path | None = None
    grace_seconds: float = 8.0


def services_of(settings: StackSettings) -> list[Service]:
    """The services of a stack, in the order in which they are shown."""
    return [_prefect(settings), _mlflow(settings), _deployments(settings), _gateway(settings), _console(settings)]


def client_environment(settings: StackSettings) -> dict[str, str]:
    """What commands need to use the stack. Never a secret."""
    return {
        **settings.storage.environment(settings.home),
        "PREFECT_API_URL": f"{settings.url(settings.prefect_port)}/api",
        "MLFLOW_TRACKING_URI": settings.url(settings.mlflow_port),
        # Links to runs lead into the same one of Prefect's two user interfaces as its front page.
        "PREFECT_UI_URL": f"{settings.browser_url(settings.prefect_port)}/v2",
    }


def _prefect(settings: StackSettings) -> Service:
    url, home = settings.url(settings.prefect_port), layout.prefect(settings.home)
    own = {
        "PREFECT_HOME": str(home),  # that of the servers that `stemma run` starts: their runs are shown too
        "PREFECT_SERVER_API_HOST": settings.host,
        "PREFECT_SERVER_API_PORT": str(settings.prefect_port),
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # On disk: after a restart a lease in memory would be lost, and its slot taken for good.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        **_guarded(settings, PREFECT, settings.prefect_port),
    }
    if settings.storage.database is not None:
        own["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = settings.storage.url(
            settings.storage.name_of("prefect"), "+asyncpg"
        )
    environment = {**_base(settings, "PREFECT_*", *DATABASES, *PROXIES), **own}
    environment.pop("PREFECT_API_KEY", None)  # of another server
    address = environment.setdefault("PREFECT_UI_API_URL", f"{settings.browser_url(settings.prefect_port)}/api")
    # Its default lets the pages of every site in.
    environment.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", "{0.scheme}://{0.netloc}".format(urlsplit(address)))
    return Service(
        PREFECT,
        _python("deploy.stack.prefect_server", "--host", settings.host, "--port", str(settings.prefect_port)),
        environment,
        url,
        lambda _: answers(f"{url}/api/ready"),
        lock=layout.start_lock(settings.home),
    )


def _mlflow(settings: StackSettings) -> Service:
    url = settings.url(settings.mlflow_port)
    own = {
        "STEMMA_HOME": str(settings.home),
        "MLFLOW_BACKEND_STORE_URI": settings.storage.mlflow_backend(settings.home),
        "MLFLOW_DEFAULT_ARTIFACT_ROOT": settings.storage.artifact_root(settings.home),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        **_guarded(settings, MLFLOW, settings.mlflow_port),
    }
    environment = {**_base(settings, "MLFLOW_*", *DATABASES, *STORES), **own}
    for name in [name for name in environment if name.startswith("MLFLOW_TRACKING_")]:
        del environment[name]  # of a client
    if not settings.exposed:
        environment.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", ",".join(settings.hosts(settings.mlflow_port)))
    command = _python("deploy.stack.mlflow_server", "--host", settings.host, "--port", str(settings.mlflow_port))
    if settings.mlflow_accounts:
        command += ("--auth",)
    return Service(MLFLOW, command, environment, url, lambda _: answers(f"{url}/health"))


def _deployments(settings: StackSettings) -> Service:
    environment = {name: value for name, value in _clients(settings).items() if name not in _OF_SERVERS}
    api = environment["PREFECT_API_URL"]
    return Service(
        DEPLOYMENTS,
        _python("flows.deployments"),
        environment,
        None,
        functools.partial(polls_for_work, api, environment.get("PREFECT_API_AUTH_STRING")),
        after=PREFECT,
        grace_seconds=60.0,  # a stage that trains saves its checkpoint first
    )


def _gateway(settings: StackSettings) -> Service:
    url = settings.url(settings.gateway_port)
    command = _python("deploy.gateway", "--host", settings.host, "--port", str(settings.gateway_port))
    # It reads the registry and the bytes of models, and uses no other service.
    names = ("STEMMA_API_KEYS", "STEMMA_FEEDBACK_DAYS", "STEMMA_REGISTRY_URL", "STEMMA_SIGNING_KEY",
             "STEMMA_TRUSTED_KEYS")  # fmt: skip
    environment = _base(settings, *names, *DATABASES, *STORES)
    if registry := client_environment(settings).get("STEMMA_REGISTRY_URL"):
        environment["STEMMA_REGISTRY_URL"] = registry
    environment |= {"STEMMA_HOME": str(settings.home), **_guarded(settings, GATEWAY, settings.gateway_port)}
    _add_key(environment, settings.tokens.get(GATEWAY), api_keys.STACK)
    return Service(GATEWAY, command, environment, url, lambda _: answers(f"{url}/health"))


def _console(settings: StackSettings) -> Service:
    url = settings.url(settings.console_port)
    command = _python("flows.console", "--host", settings.host, "--port", str(settings.console_port))
    # It starts runs, and the gate measures where it has to, by the user's own stages.
    environment = {name: value for name, value in _clients(settings).items() if name not in _OF_SERVERS}
    if given := settings.environment.get(api_keys.VARIABLE):
        environment[api_keys.VARIABLE] = given
    environment |= _guarded(settings, CONSOLE, settings.console_port)
    _add_key(environment, settings.tokens.get(CONSOLE), f"{api_keys.STACK}/{api_keys.ROLES[-1]}")
    return Service(CONSOLE, command, environment, url, lambda _: answers(f"{url}/health"))


def _add_key(environment: dict[str, str], token: str | None, owner: str) -> None:
    """Make a service's token a key like every other; the service keeps its hash."""
    if token:
        keys = (environment.get(api_keys.VARIABLE), f"{owner}:{hashlib.sha256(token.encode()).hexdigest()}")
        environment[api_keys.VARIABLE] = ",".join(filter(None, keys))


def _base(settings: StackSettings, *names: str) -> dict[str, str]:
    """What a server gets of the user's environment: of the variables by these names, none that leads to another one."""
    given = chosen(settings.environment, *names)
    return {name: value for name, value in given.items() if name not in _ADDRESSES}


def _guarded(settings: StackSettings, service: str, port: int) -> dict[str, str]:
    """What the guard of a service reads; nothing for one without a token."""
    token = settings.tokens.get(service)
    if not token:
        return {}
    browser = settings.tokens[tokens.BROWSER]
    return {guard.TOKEN: token, guard.BROWSER: browser, guard.HOSTS: ",".join(settings.hosts(port))}


def _clients(settings: StackSettings) -> dict[str, str]:
    """The environment of the service that uses the others, and in which the user's own code runs."""
    given = {name: value for name, value in settings.environment.items() if name not in _ADDRESSES}
    if settings.tokens.get(MLFLOW):  # MLflow's client prefers these to the token, and they are for another server
        given = {name: value for name, value in given.items() if not name.startswith("MLFLOW_TRACKING_")}
    environment = {
        **given,
        **client_environment(settings),
        "STEMMA_HOME": str(settings.home),
        "PREFECT_HOME": str(layout.prefect(settings.home)),
        "PYTHONPATH": python.with_code_of(settings.root, given),  # its stages are the workspace's
        **tokens.for_clients({name: token for name, token in settings.tokens.items() if name in (PREFECT, MLFLOW)}),
    }
    if auth := given.get("PREFECT_SERVER_API_AUTH_STRING"):
        environment["PREFECT_API_AUTH_STRING"] = auth
    if settings.mlflow_accounts and "MLFLOW_TRACKING_PASSWORD" not in given:
        environment["MLFLOW_TRACKING_USERNAME"] = given.get("MLFLOW_AUTH_ADMIN_USERNAME") or "admin"
        environment["MLFLOW_TRACKING_PASSWORD"] = given["MLFLOW_AUTH_ADMIN_PASSWORD"]
    return environment


def polls_for_work(api: str, auth: str | None, born: float) -> None:
    """Raise :class:`Unhealthy` unless the deployments' process polled since ``born`` and within the last minute."""
    found = post(f"{api}/deployments/filter", {"deployments": {"tags": {"all_": ["stemma"]}}}, auth)
    polled = [datetime.datetime.fromisoformat(each["last_polled"]) for each in found if each.get("last_polled")]
    if not polled:
        raise Unhealthy("has not registered the deployments yet")
    now = datetime.datetime.now(datetime.UTC)
    last = max(polled)
    if last.timestamp() < born or (now - last).total_seconds() > POLLED_SECONDS:
        raise Unhealthy(f"has not polled for work since {last:%H:%M:%S} UTC")


def _python(module: str, *arguments: str) -> tuple[str, ...]:
    return tuple(python.command(module, *arguments))


def answers(url: str) -> None:
    """Raise :class:`Unhealthy` unless a GET of ``url`` succeeds."""
    _send(urllib.request.Request(url))


def post(url: str, body: Any, auth: str | None = None) -> Any:
    """The JSON that a POST of JSON is answered with.

    Args:
        auth: ``user:password`` for HTTP's basic authentication.

    Raises:
        Unhealthy: it was not answered with JSON.
    """
    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    try:
        return json.loads(_send(urllib.request.Request(url, json.dumps(body).encode(), headers)))
    except json.JSONDecodeError:
        raise Unhealthy("answers with something that is not JSON") from None


def _send(request: urllib.request.Request) -> bytes:
    try:
        # Not through a proxy: the services are this machine's own.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
            request, timeout=PROBE_SECONDS
        ) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        raise Unhealthy(f"answers with {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unhealthy(f"does not answer ({getattr(error, 'reason', None) or error})") from None
