"""Whether the service of this container is well: ``python -m deploy.docker.health gateway`` or ``… deployments``.

The gateway is when it answers; the process that runs the flows listens nowhere, and is when it has asked Prefect for
work lately.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from deploy.stack import health
from deploy.stack.services import asks_for_work

GATEWAY = "http://127.0.0.1:8000/health"


def gateway() -> None:
    health.answers(os.environ.get("STEMMA_HEALTH_URL", GATEWAY))


def deployments() -> None:
    asks_for_work(os.environ["PREFECT_API_URL"], os.environ.get("PREFECT_API_AUTH_STRING"), 0.0)


CHECKS: dict[str, Callable[[], None]] = {"gateway": gateway, "deployments": deployments}


def main(arguments: list[str]) -> int:
    """Exit code 0 where it is well, 1 where it is not (and why), 2 for another service's name."""
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        print(f"usage: python -m deploy.docker.health {'|'.join(CHECKS)}", file=sys.stderr)
        return 2
    try:
        CHECKS[arguments[0]]()
    except (health.Unwell, OSError) as unwell:
        print(f"{arguments[0]}: {unwell}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
