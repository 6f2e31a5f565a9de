"""Templates: every value is escaped where it is written, and what would reorder a line of text is spelled out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from core import numbers
from core.text import printable
from deploy.console.console import Console, Links
from deploy.stack import state

FOLDER = Path(__file__).parent
MENU = (
    ("/models", "Models"), ("/tree", "Family tree"), ("/compare", "Compare"), ("/data", "Data"),
    ("/evaluate", "Evaluate"), ("/runs", "Runs"), ("/system", "Health"),
)  # fmt: skip
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; frame-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # without it forms have no Origin, by which their source is known
    "cache-control": "no-store",
}


def _written(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def when(seconds: float | None) -> str:
    """A time of the registry, in UTC."""
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(seconds)) if seconds else ""


def quoted(text: object) -> str:
    """Part of a path in an address."""
    return quote(str(text), safe="")


_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_written,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters |= {
    "when": when, "quoted": quoted, "figure": numbers.figure, "bytes": numbers.size, "duration": numbers.duration,
}  # fmt: skip
_TEMPLATES.globals |= {"measured": numbers.measured, "menu": MENU}


def page(request: Request, console: Console, template: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of the console as an answer."""
    stack = state.read(console.workspace.home)
    shared = {
        "path": request.url.path,
        "person": request.scope.get("stemma.person"),
        "links": Links(request, stack),
        "cookies": request.cookies,
        "workspace": console.workspace.root.name,
    }
    text = _TEMPLATES.get_template(template).render(**shared, **values)
    return HTMLResponse(text, status, HEADERS)
