"""Prefect's REST API, asked as its own clients ask it."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from typing import Any

ATTEMPTS = 6


class Refused(Exception):
    """The server said no."""

    def __init__(self, code: int, text: str):
        self.code = code
        super().__init__(f"{code}: {text}")


def ask(api: str, path: str, body: Any = None, method: str = "POST", auth: str | None = None) -> Any:
    """The answer of the server at ``api``; ``auth`` is ``user:password``, by default as Prefect's clients take it.

    503 says that its SQLite was busy and nothing was done: Prefect's own clients ask again too.

    Raises:
        Refused: any other error.
    """
    data = None if method == "GET" else json.dumps({} if body is None else body).encode()
    headers = {"Content-Type": "application/json"}
    if shown := auth or os.environ.get("PREFECT_API_AUTH_STRING"):
        headers["Authorization"] = f"Basic {base64.b64encode(shown.encode()).decode()}"
    request = urllib.request.Request(f"{api}{path}", data, headers, method=method)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or "null")
        except urllib.error.HTTPError as error:
            if error.code != 503 or attempt == ATTEMPTS:
                raise Refused(error.code, error.read().decode()) from None
            time.sleep(1)
    raise AssertionError("the last attempt returned or raised")
