"""Asking a service whether it is well."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.error
import urllib.request
from typing import Any

SECONDS = 10.0  # a machine whose cores train is slow to answer, but answers


class Unwell(Exception):
    """The service does not answer as it should; the message says how."""


def answers(url: str) -> None:
    """Raise :class:`Unwell` unless a GET of ``url`` succeeds."""
    _ask(urllib.request.Request(url))


def post(url: str, body: Any, auth: str | None = None) -> Any:
    """The JSON that a POST of JSON is answered with.

    Args:
        auth: ``user:password`` for HTTP's basic authentication.

    Raises:
        Unwell: it was not answered with JSON.
    """
    headers = {"Content-Type": "application/json"}
    if auth:
        headers["Authorization"] = f"Basic {base64.b64encode(auth.encode()).decode()}"
    try:
        return json.loads(_ask(urllib.request.Request(url, json.dumps(body).encode(), headers)))
    except json.JSONDecodeError:
        raise Unwell("answers with something that is not JSON") from None


def _ask(request: urllib.request.Request) -> bytes:
    try:
        # Not through a proxy: the services are this machine's own.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=SECONDS) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        raise Unwell(f"answers with {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise Unwell(f"does not answer ({getattr(error, 'reason', None) or error})") from None
