"""``python -m flows.console``: the console of a workspace, with the gate of ``stemma promote``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable

import uvicorn

from core.environment import quiet_mlflow
from core.errors import StemmaError
from core.network import is_loopback
from core.workspace import Workspace
from deploy.console.app import build
from deploy.console.console import Console, Gate
from deploy.gateway import api_keys
from deploy.gateway.api_keys import Keyring
from deploy.stack.guard import guarded
from registry.promotion.contamination import Compare
from registry.promotion.gate import Pair
from registry.promotion.measurements import Gap
from registry.promotion.promote import Measure, default_actor

STOP_SECONDS = 5
log = logging.getLogger(__name__)


def main() -> int:
    """Run until SIGTERM or Ctrl-C; exit code 2 where it could be reached without a key."""
    parser = argparse.ArgumentParser(prog="python -m flows.console", description="Pages about models, runs and health.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8001)
    arguments = parser.parse_args()
    quiet_mlflow()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        workspace = Workspace.find()
        keyring = Keyring(workspace.home)
    except StemmaError as problem:
        print(problem, file=sys.stderr)
        return 2
    os.environ.pop(api_keys.VARIABLE, None)  # what the gate starts needs none of them
    if not is_loopback(arguments.host) and not any(key.role for key in keyring.keys()):
        log.warning("no key has a role, so nobody can sign in: stemma keys add NAME --role viewer|operator|admin")
    app = build(Console(workspace, gate(workspace)), keyring, default_actor(workspace))
    uvicorn.run(
        guarded(app, refuse=False), host=arguments.host, port=arguments.port, log_level="warning", access_log=False,
        server_header=False, proxy_headers=False, ws="none", timeout_graceful_shutdown=STOP_SECONDS,
    )  # fmt: skip
    return 0


def gate(workspace: Workspace) -> Gate:
    """What `stemma promote` gives to the gate; imported when it is needed first, since stages come with it."""

    def measuring(say: Callable[[str], None]) -> Measure:
        def measure(version: str, gap: Gap) -> None:
            from flows.pipeline.measure import measuring as measuring_by

            measuring_by(workspace, say)(version, gap)

        return measure

    from flows.pipeline.overlap import comparing
    from flows.pipeline.pairing import pairing

    compare: Compare = comparing(workspace)
    pair: Pair = pairing(workspace)
    return Gate(measuring, compare, pair)


if __name__ == "__main__":
    sys.exit(main())
