"""``python -m deploy.gateway``: listens, and serves what the registry says."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
import socket
import sys
from collections.abc import Sequence

import uvicorn

from core.errors import StemmaError, WorkspaceError
from core.workspace import Workspace
from deploy.gateway.api_keys import Keyring, KeysProblem
from deploy.gateway.app import build
from deploy.gateway.backends import NoSuchBackend, choose
from deploy.gateway.catalog import Catalog
from deploy.gateway.connections import ACCEPTED_AT_ONCE, BACKLOG, Server, protocol, reserve_files
from deploy.gateway.log_limits import RepeatLimit
from deploy.gateway.metrics import Metrics
from deploy.gateway.model_router import ModelRouter
from deploy.gateway.settings import DEFAULT_MODELS, GatewaySettings, Limits
from deploy.stack.guard import guarded
from registry.db.references import parse
from registry.errors import RegistryError, UnknownReference

FAILED, USAGE = 1, 2
MOST_DAYS = 3650


class CannotListen(RegistryError):
    """The address cannot be listened on, or must not be without API keys."""


def settings_of(arguments: Sequence[str] | None) -> GatewaySettings:
    """The command line as settings; argparse ends the process where it is wrong."""
    default, limits = GatewaySettings(), Limits()
    parser = argparse.ArgumentParser(
        prog="python -m deploy.gateway",
        description="An OpenAI-compatible API for registered models. Follows aliases, verifies before it loads.",
    )
    add = parser.add_argument
    add("--host", default=default.host, help="address to listen on; beyond this machine only with API keys")
    add("--port", type=int, default=default.port, help="0: any free port")
    add("--model", action="append", metavar="MODEL@ALIAS", help=f"what to serve (default: {' '.join(DEFAULT_MODELS)})")
    add("--engine", default=default.engine, help="auto, transformers, vllm, or a command with {model} and {port}")
    add("--max-tokens", type=_positive, default=limits.tokens, help="most tokens of one answer")
    add("--max-body", type=_positive, default=limits.body_bytes, help="most bytes of one request")
    add("--max-texts", type=_positive, default=limits.texts, help="most texts of one classification")
    add("--max-queue", type=_positive, default=limits.queue, help="requests that may wait for an engine")
    add("--rate-limit", type=int, default=limits.requests_per_minute, help="requests a minute of one key; 0: no limit")
    add(
        "--timeout", type=_positive, default=int(limits.seconds), help="seconds from a request to the end of its answer"
    )
    add(
        "--start-timeout",
        type=_positive,
        default=int(default.start_seconds),
        help="seconds for an engine to load a model and answer once",
    )
    add(
        "--feedback-days",
        type=_days,
        metavar="DAYS",
        default=os.environ.get("STEMMA_FEEDBACK_DAYS") or default.feedback_days,
        help="keep answers so long whose request says `store: true`, and what is said of them "
        "(default: STEMMA_FEEDBACK_DAYS, else 0: none)",
    )
    given = parser.parse_args(arguments)
    return GatewaySettings(
        host=given.host,
        port=given.port,
        models=tuple(given.model or DEFAULT_MODELS),
        engine=given.engine,
        start_seconds=float(given.start_timeout),
        feedback_days=given.feedback_days,
        limits=Limits(
            body_bytes=given.max_body,
            tokens=given.max_tokens,
            texts=given.max_texts,
            requests_per_minute=max(0, given.rate_limit),
            queue=given.max_queue,
            seconds=float(given.timeout),
        ),
    )


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _days(text: str) -> int:
    number = int(text)
    if not 0 <= number <= MOST_DAYS:
        raise ValueError
    return number


def listen(settings: GatewaySettings) -> socket.socket:
    """The listening socket, opened before anything is started.

    Raises:
        CannotListen: the port is taken, or the address is not one of this machine.
    """
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        hint = "choose another with --port" if settings.port else "check --host"
        raise CannotListen(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}; {hint}") from None


def prepare(settings: GatewaySettings) -> tuple[uvicorn.Server, socket.socket]:
    """The server and its socket; every problem of the settings is found here, before anything is started.

    Raises:
        StemmaError: the settings cannot be used.
    """
    for reference in settings.references:
        parse(reference)
    workspace = Workspace.find()
    backend = choose(settings.engine)
    keyring = Keyring(workspace.home)
    if not settings.loopback and not keyring.keys():
        raise CannotListen(
            f"{settings.host} can be reached from other machines, and there are no API keys; make one first with "
            "`stemma keys add NAME`, set STEMMA_API_KEYS, or use --host 127.0.0.1"
        )
    sock = listen(settings)
    settings = dataclasses.replace(settings, port=sock.getsockname()[1])
    metrics = Metrics()
    models = ModelRouter(Catalog(workspace), backend, settings, metrics, f"{socket.gethostname()}:{settings.port}")
    app = guarded(build(models, metrics, keyring, settings), refuse=False)
    config = uvicorn.Config(
        app, http=protocol(reserve_files(settings.connections)), ws="none",
        log_config=None, log_level="warning", access_log=False, server_header=False, proxy_headers=False,
        loop="asyncio", backlog=ACCEPTED_AT_ONCE, timeout_graceful_shutdown=int(settings.stop_seconds),
    )  # fmt: skip
    print(f"Stemma gateway: {settings.url} (engine: {backend.name}; serving {', '.join(settings.references)})",
          file=sys.stderr, flush=True)  # fmt: skip
    return Server(config), sock


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or Ctrl-C; returns the exit code."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatLimit())
    for noisy in ("httpx", "httpcore", "alembic"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises it again once it has ended everything
        signal.signal(number, lambda *_: sys.exit(0))
    settings = settings_of(arguments)
    try:
        server, sock = prepare(settings)
    except (CannotListen, NoSuchBackend, KeysProblem, UnknownReference, WorkspaceError) as error:
        print(error, file=sys.stderr)
        return USAGE
    except StemmaError as error:
        print(error, file=sys.stderr)
        return FAILED
    asyncio.run(server.serve(sockets=[sock]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
