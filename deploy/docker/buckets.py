"""Makes the store's buckets, and an account for each service: ``python -m deploy.docker.buckets``.

``AWS_*`` is the store's administrator. An account ``worker`` is made where ``WORKER_S3_SECRET_KEY`` has its key, and so
on; what each may do is the buckets' policy. Where no such variable is set only the buckets are made: another store than
VersityGW has accounts of its own. It runs in MLflow's image too, so it needs boto3 and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from typing import Any
from xml.sax.saxutils import escape

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.exceptions import BotoCoreError, ClientError

READ = ("s3:GetObject", "s3:ListBucket")
WRITE = (*READ, "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts")
# Bucket to account to what it may do. Files of MLflow's runs are written by the clients themselves.
BUCKETS: dict[str, dict[str, tuple[str, ...]]] = {
    "dvc": {"worker": WRITE, "gateway": READ, "backup": WRITE},
    "mlflow": {"worker": WRITE, "mlflow": WRITE, "backup": WRITE},
}
_OF_BUCKETS = ("s3:ListBucket",)  # the others are about the objects in them


def policy(bucket: str, known: set[str]) -> dict[str, Any] | None:
    """The policy of a bucket for the accounts that there are; ``None`` where it is for none of them."""
    statements = []
    for account, actions in BUCKETS[bucket].items():
        if account in known:
            for about, resource in ((True, f"arn:aws:s3:::{bucket}"), (False, f"arn:aws:s3:::{bucket}/*")):
                named = [action for action in actions if (action in _OF_BUCKETS) == about]
                statements.append(
                    {"Effect": "Allow", "Principal": {"AWS": [account]}, "Action": named, "Resource": [resource]}
                )
    return {"Version": "2012-10-17", "Statement": statements} if statements else None


def accounts() -> dict[str, str]:
    """Account to secret key, as the environment has them."""
    names = {account for allowed in BUCKETS.values() for account in allowed}
    found = {name: os.environ.get(f"{name.upper()}_S3_SECRET_KEY") for name in sorted(names)}
    return {name: secret for name, secret in found.items() if secret}


def make_account(store: str, name: str, secret: str) -> None:
    """Make VersityGW's account ``name``, or give it this key.

    Raises:
        OSError: the store refused.
    """
    key = escape(secret)
    made = f"<Account><Access>{name}</Access><Secret>{key}</Secret><Role>user</Role></Account>"
    try:
        _patch(f"{store}/create-user", made)
    except urllib.error.HTTPError as error:
        if "XAdminUserExists" not in error.read().decode(errors="replace"):
            raise
        _patch(f"{store}/update-user?access={name}", f"<MutableProps><Secret>{key}</Secret></MutableProps>")


def _patch(url: str, body: str) -> None:
    """A request to VersityGW's administration, which answers at the store's own address."""
    session, request = boto3.Session(), AWSRequest("PATCH", url, data=body.encode())
    S3SigV4Auth(session.get_credentials(), "s3", session.region_name).add_auth(request)
    sent = urllib.request.Request(url, body.encode(), dict(request.headers.items()), method="PATCH")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(sent, timeout=30):
        pass


def main() -> int:
    """Exit code 0 when every bucket and every account is there."""
    client = boto3.client("s3")
    try:
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for name in BUCKETS:
            if name not in there:
                client.create_bucket(Bucket=name)
                print(f"made bucket {name}")
        known = accounts()
        for name, secret in known.items():
            make_account(client.meta.endpoint_url, name, secret)
        for name in BUCKETS:
            if allowed := policy(name, set(known)):
                client.put_bucket_policy(Bucket=name, Policy=json.dumps(allowed))
    except (BotoCoreError, ClientError, OSError) as error:
        print(f"buckets: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
