"""An S3-compatible server (moto's) for benches."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

from core.network import free_port
from core.object_stores import refused


@contextlib.contextmanager
def store(bucket: str) -> Iterator[str]:
    """URL of a folder of a new bucket; this process and those that it starts find the server by the environment."""
    import boto3

    port = free_port()
    os.environ.update(
        AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_ACCESS_KEY_ID="key", AWS_SECRET_ACCESS_KEY="secret",
        AWS_DEFAULT_REGION="us-east-1",
    )  # fmt: skip
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--port", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with contextlib.suppress(Exception):
                boto3.client("s3").create_bucket(Bucket=bucket)
                break
            time.sleep(0.5)
        url = f"s3://{bucket}/checkpoints"
        if problem := refused(url):
            raise RuntimeError(problem)
        yield url
    finally:
        server.kill()
        server.wait()
