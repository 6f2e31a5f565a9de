"""One random token for each service of a stack that asks for no password of its own, made anew at each start.

Whoever may read the file may use the services: the account that started them. The supervisor writes it before the first
service starts; a service gets its token in its environment; commands read the file (:func:`for_clients`). A browser
gets one for all services by a link (:func:`links`): their pages lead to each other, and it sends its cookies to every
port of a host anyway.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from core import layout
from core.files import write_json
from deploy.stack.state import CONSOLE, GATEWAY, MLFLOW, PREFECT, Stack

BROWSER = "browser"
ACCOUNT = "stemma"  # where a service wants a name beside the token; none looks at it


def make() -> dict[str, str]:
    """Service, or :data:`BROWSER`, to token: 256 random bits each, in characters that an address takes as they are."""
    return {name: secrets.token_urlsafe(32) for name in (PREFECT, MLFLOW, GATEWAY, CONSOLE, BROWSER)}


def write(home: Path, tokens: Mapping[str, str]) -> None:
    """Replace the file, readable by its owner alone."""
    write_json(layout.stack_tokens(home), dict(tokens), private=True)


def read(home: Path) -> dict[str, str]:
    """Service, or :data:`BROWSER`, to token; none for services that ask for passwords of their own."""
    try:
        found = json.loads(layout.stack_tokens(home).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def remove(home: Path) -> None:
    """The stack has ended, and its tokens with it."""
    layout.stack_tokens(home).unlink(missing_ok=True)


def for_clients(tokens: Mapping[str, str]) -> dict[str, str]:
    """The variables by which Prefect's, MLflow's and the gateway's own clients show the tokens."""
    found = {}
    if token := tokens.get(PREFECT):
        found["PREFECT_API_AUTH_STRING"] = f"{ACCOUNT}:{token}"
    if token := tokens.get(MLFLOW):
        found["MLFLOW_TRACKING_TOKEN"] = token
    if token := tokens.get(GATEWAY):
        found["STEMMA_API_KEY"] = token
    return found


def links(stack: Stack, tokens: Mapping[str, str]) -> dict[str, str]:
    """Service to what opens its pages: answered with a cookie, and with the address without the token.

    Of the services that have a token, and so a guard that takes the browser's.
    """
    guarded = [each for each in stack.services if each.url and each.name in tokens]
    return {each.name: f"{each.url}/?token={tokens[BROWSER]}" for each in guarded}
