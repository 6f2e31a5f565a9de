"""New random secrets for a team's stack, as lines ``NAME=value``.

``umask 077; python -m deploy.docker.make_secrets > deploy/.env``. The same file serves ``deploy/compose.yaml`` and the
secret of ``deploy/k8s``. Values are hexadecimal, so that they need no quoting in an address.
"""

from __future__ import annotations

import secrets
import sys

ROLES = ("PREFECT", "MLFLOW", "REGISTRY", "GATEWAY", "BACKUP")  # of the database, made by databases.sql
ACCOUNTS = ("WORKER", "GATEWAY", "MLFLOW", "BACKUP")  # of the store, made by deploy.docker.buckets


def generate() -> dict[str, str]:
    """A value for every secret, 128 random bits or more each."""
    return {
        # The database server's and the store's own administrators, which no service is.
        "POSTGRES_PASSWORD": secrets.token_hex(24),
        "S3_ACCESS_KEY": secrets.token_hex(10),
        "S3_SECRET_KEY": secrets.token_hex(24),
        **{f"{role}_DATABASE_PASSWORD": secrets.token_hex(24) for role in ROLES},
        **{f"{account}_S3_SECRET_KEY": secrets.token_hex(24) for account in ACCOUNTS},
        "PREFECT_AUTH": f"admin:{secrets.token_hex(24)}",
        "MLFLOW_ADMIN_PASSWORD": secrets.token_hex(24),
        "MLFLOW_SECRET_KEY": secrets.token_hex(32),
        # The gateway's first key, of a client called team; more are made with `stemma keys add`.
        "STEMMA_API_KEYS": f"team:sk-stemma-{secrets.token_hex(24)}",
    }


def main() -> int:
    """Print them; never to a terminal, where they would stay in its history."""
    if sys.stdout.isatty():
        hint = "umask 077; python -m deploy.docker.make_secrets > deploy/.env"
        print(f"This prints secrets; send them to a file: {hint}", file=sys.stderr)
        return 2
    print("# Secrets of the stack: keep them out of git, and back them up apart from the data.")
    for name, value in generate().items():
        print(f"{name}={value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
