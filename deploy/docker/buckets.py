"""Makes the buckets that are missing: ``python -m deploy.docker.buckets NAME…``, with ``AWS_*`` in the environment.

It runs in MLflow's image too, so it needs boto3 and nothing else.
"""

from __future__ import annotations

import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError


def main(names: list[str]) -> int:
    """Exit code 0 when every bucket is there."""
    client = boto3.client("s3")
    try:
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for name in names:
            if name not in there:
                client.create_bucket(Bucket=name)
                print(f"made bucket {name}")
    except (BotoCoreError, ClientError) as error:
        print(f"buckets: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
