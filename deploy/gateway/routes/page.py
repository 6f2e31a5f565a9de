"""``/``: a page to chat in, without anything from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

_FOLDER = Path(__file__).parent.parent / "page"
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def router() -> APIRouter:
    made = APIRouter(include_in_schema=False)

    @made.get("/")
    async def page() -> FileResponse:
        return FileResponse(_FOLDER / "index.html", headers=_HEADERS)

    @made.get("/page/chat.js")
    async def script() -> FileResponse:
        return FileResponse(_FOLDER / "chat.js", headers=_HEADERS, media_type="text/javascript")

    @made.get("/page/chat.css")
    async def style() -> FileResponse:
        return FileResponse(_FOLDER / "chat.css", headers=_HEADERS, media_type="text/css")

    return made
