"""Whether the service of this container is healthy: ``python -m deploy.docker.health gateway``, ``… console`` or
``… deployments``.

The gateway and the console are when they answer. The process that runs the flows has no port: it is when it has polled
Prefect for work in the last minute.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from deploy.stack.services import Unhealthy, answers, polls_for_work

GATEWAY, CONSOLE = "http://127.0.0.1:8000/health", "http://127.0.0.1:8001/health"


def gateway() -> None:
    answers(os.environ.get("STEMMA_HEALTH_URL", GATEWAY))


def console() -> None:
    answers(os.environ.get("STEMMA_HEALTH_URL", CONSOLE))


def deployments() -> None:
    polls_for_work(os.environ["PREFECT_API_URL"], os.environ.get("PREFECT_API_AUTH_STRING"), 0.0)


CHECKS: dict[str, Callable[[], None]] = {"gateway": gateway, "console": console, "deployments": deployments}


def main(arguments: list[str]) -> int:
    """Exit code 0 where it is healthy, 1 where it is not (with the reason), 2 for an unknown service."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        print(f"usage: python -m deploy.docker.health {'|'.join(CHECKS)}", file=sys.stderr)
        return 2
    try:
        CHECKS[arguments[0]]()
    except (Unhealthy, OSError) as problem:
        print(f"{arguments[0]}: {problem}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
