"""Makes the registry's tables and lets the gateway write its own: ``python -m deploy.docker.registry``.

To be run by the owner of the database (``STEMMA_REGISTRY_URL``) before the gateway starts, and again after a restore.
The gateway's role reads the registry and records its deployments and what people say of answers, of which it deletes
what has expired; decisions, versions and signatures it cannot write.
"""

from __future__ import annotations

import os
import sys

from sqlalchemy import text

from core.errors import StemmaError
from registry.db.database import open as open_registry

GRANTS = (
    "GRANT INSERT, UPDATE ON deployments TO gateway",
    "GRANT USAGE ON SEQUENCE deployments_id_seq TO gateway",
    "GRANT INSERT ON votes TO gateway",
    "GRANT UPDATE (question, answer_a, answer_b, reason, expires) ON votes TO gateway",
    "GRANT USAGE ON SEQUENCE votes_id_seq TO gateway",
    "GRANT INSERT, UPDATE, DELETE ON answers TO gateway",
    "GRANT USAGE ON SEQUENCE answers_id_seq TO gateway",
)


def main() -> int:
    """Exit code 0 when the tables are there and the gateway may use them."""
    try:
        with open_registry(os.environ["STEMMA_REGISTRY_URL"]) as registry, registry.engine.begin() as connection:
            for grant in GRANTS:
                connection.execute(text(grant))
    except StemmaError as error:
        print(f"registry: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
