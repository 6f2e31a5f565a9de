"""The console's application: its pages, how it reports problems, and who may use it."""

from __future__ import annotations

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException

from core.errors import InputProblem, StemmaError
from deploy.console.access import ConsoleAccess, Sessions
from deploy.console.console import Console, NotAllowed
from deploy.console.pages import compare, data, decisions, evaluate, models, runs, sign_in, system, tree
from deploy.console.rendering import FOLDER, HEADERS, page
from deploy.gateway.api_keys import Keyring
from registry.errors import DatabaseError, PromotionConflict, UnknownReference

log = logging.getLogger(__name__)
STATUSES: dict[type[StemmaError], int] = {
    NotAllowed: 403,
    UnknownReference: 404,
    PromotionConflict: 409,
    DatabaseError: 503,
}
KINDS = {".js": "text/javascript", ".css": "text/css", ".txt": "text/plain"}


def build(console: Console, keyring: Keyring, owner: str) -> FastAPI:
    """The application.

    Args:
        owner: who is recorded for what is done by the link of ``stemma up``.
    """
    app = FastAPI(title="Stemma console", docs_url=None, redoc_url=None, openapi_url=None)
    sessions = Sessions(keyring, owner)
    app.include_router(sign_in.routes(console, sessions))
    for each in (models, decisions, tree, compare, data, evaluate, runs, system):
        app.include_router(each.routes(console))
    _static(app)
    _problems(app, console)
    app.add_middleware(ConsoleAccess, sessions=sessions)
    return app


def _static(app: FastAPI) -> None:
    files = {file.name: file for file in (FOLDER / "static").iterdir() if file.suffix in KINDS}

    @app.get("/static/{name}")
    def static(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        headers = {**HEADERS, "cache-control": "no-cache"}
        return FileResponse(files[name], headers=headers, media_type=KINDS[files[name].suffix])


def _problems(app: FastAPI, console: Console) -> None:
    def shown(request: Request, status: int, *problems: str) -> Response:
        return page(request, console, "problem.html", status, problems=problems)

    @app.exception_handler(StemmaError)
    def refused(request: Request, error: StemmaError) -> Response:
        found = [status for kind, status in STATUSES.items() if isinstance(error, kind)]
        problems = error.problems if isinstance(error, InputProblem) else [str(error)]
        return shown(request, found[0] if found else 400, *problems)

    @app.exception_handler(HTTPException)
    def unknown(request: Request, error: HTTPException) -> Response:
        texts = {404: "There is no such page.", 405: "This address takes no such request."}
        return shown(request, error.status_code, texts.get(error.status_code, error.detail))

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        return shown(request, 400, *(f"{each['loc'][-1]}: {each['msg']}" for each in error.errors()))

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        return shown(request, 500, "The console failed; its log says why.")
