"""The store's accounts: what each may do, and the requests by which VersityGW makes them (s3api/admin-router.go)."""

from __future__ import annotations

import http.server
import threading
import xml.etree.ElementTree as xml
from collections.abc import Iterator

import pytest

from deploy.docker import buckets, make_secrets


def allowed(account: str) -> set[tuple[str, str]]:
    """(action, resource) that the policies give an account."""
    return {
        (action, resource)
        for bucket in buckets.BUCKETS
        for statement in buckets.policy(bucket, {"worker", "gateway", "mlflow", "backup"})["Statement"]
        if account in statement["Principal"]["AWS"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }


def test_each_account_may_do_what_its_service_does():
    assert allowed("gateway") == {("s3:GetObject", "arn:aws:s3:::dvc/*"), ("s3:ListBucket", "arn:aws:s3:::dvc")}
    assert {resource.split(":::")[1].split("/")[0] for _, resource in allowed("mlflow")} == {"mlflow"}
    for account in ("worker", "backup"):
        assert ("s3:PutObject", "arn:aws:s3:::dvc/*") in allowed(account)
    for account in make_secrets.ACCOUNTS:
        assert allowed(account.lower()) and not {action for action, _ in allowed(account.lower()) if "Policy" in action}


def test_without_accounts_there_is_no_policy(monkeypatch):
    for name in make_secrets.ACCOUNTS:
        monkeypatch.delenv(f"{name}_S3_SECRET_KEY", raising=False)
    assert buckets.accounts() == {} and buckets.policy("dvc", set()) is None
    monkeypatch.setenv("GATEWAY_S3_SECRET_KEY", "secret")
    assert buckets.accounts() == {"gateway": "secret"}


@pytest.fixture
def store(monkeypatch) -> Iterator[tuple[str, list]]:
    """(address, requests that came) of a server that knows one account already."""
    came: list[tuple[str, str, bytes]] = []

    class Administration(http.server.BaseHTTPRequestHandler):
        def do_PATCH(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            came.append((self.path, self.headers["authorization"], body))
            known = self.path == "/create-user" and b"<Access>mlflow<" in body
            answer = b"<Error><Code>XAdminUserExists</Code></Error>" if known else b""
            self.send_response(409 if known else 201)
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    for name, value in {"AWS_ACCESS_KEY_ID": "root", "AWS_SECRET_ACCESS_KEY": "s", "AWS_DEFAULT_REGION": "r"}.items():
        monkeypatch.setenv(name, value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Administration) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", came
        server.shutdown()


def test_an_account_is_made_or_given_its_key_by_signed_requests(store):
    url, came = store
    buckets.make_account(url, "worker", "a<b")
    buckets.make_account(url, "mlflow", "new")
    assert [path for path, _, _ in came] == ["/create-user", "/create-user", "/update-user?access=mlflow"]
    assert all(signed.startswith("AWS4-HMAC-SHA256 Credential=root/") for _, signed, _ in came)
    made, changed = xml.fromstring(came[0][2]), xml.fromstring(came[2][2])
    assert {each.tag: each.text for each in made} == {"Access": "worker", "Secret": "a<b", "Role": "user"}
    assert {each.tag: each.text for each in changed} == {"Secret": "new"}
