"""Whether the service of this container answers: ``python -m deploy.docker.health``, by ``STEMMA_HEALTH_URL``."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

GATEWAY = "http://127.0.0.1:8000/health"


def main() -> int:
    """Exit code 0 where the address answers with 200."""
    url = os.environ.get("STEMMA_HEALTH_URL", GATEWAY)
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return 0 if answer.status == 200 else 1
    except (OSError, urllib.error.URLError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
