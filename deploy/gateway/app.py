"""The HTTP application: endpoints, the chat page, and the middleware before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, Response

from deploy.gateway import arena, classification, errors, feedback, generation, prepared, status
from deploy.gateway.access import AccessControl
from deploy.gateway.api_keys import Keyring
from deploy.gateway.arena import Arena
from deploy.gateway.feedback import Recorder
from deploy.gateway.generation import ClientDisconnected, Generation, key_of
from deploy.gateway.metrics import Metrics, RequestMetrics
from deploy.gateway.model_router import ModelRouter
from deploy.gateway.prepared import PairQueue, RatingDesk
from deploy.gateway.settings import GatewaySettings

ABOUT = (
    "OpenAI's API for the models of a Stemma registry. Every answer names the version that gave it (x-stemma-model)."
)
_PAGE = Path(__file__).parent / "page"
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def build(models: ModelRouter, metrics: Metrics, keyring: Keyring, settings: GatewaySettings) -> FastAPI:
    """The application; its models start and stop with it."""
    recorder = Recorder(models.catalog, settings.feedback_days)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        models.start()
        recorder.start()
        try:
            yield
        finally:
            await recorder.stop()
            await models.stop()

    app = FastAPI(
        title="Stemma gateway", version="1", description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    errors.register(app)

    @app.exception_handler(ClientDisconnected)
    async def disconnected(_: Request, error: ClientDisconnected) -> Response:
        return Response(status_code=499)  # only the metrics see it

    generate = Generation(models, metrics, settings.limits, recorder)
    app.include_router(generation.routes(generate))
    app.include_router(arena.routes(Arena(models, generate, models.catalog, recorder)))
    app.include_router(feedback.routes(recorder, key_of))
    app.include_router(prepared.routes(RatingDesk(PairQueue(models.catalog), models.catalog, recorder), key_of))
    app.include_router(classification.routes(models, metrics, settings.limits))
    app.include_router(status.routes(models, metrics, keyring))
    app.include_router(_page())
    app.add_middleware(AccessControl, keyring=keyring, limits=settings.limits, loopback=settings.loopback)
    paths = frozenset({path for path in _document(app)["paths"] if "{" not in path} | {"/", "/arena", "/rate"})
    app.add_middleware(RequestMetrics, metrics=metrics, paths=paths)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _page() -> APIRouter:
    """Pages to chat (``/``), to vote (``/arena``) and to rate answers (``/rate``); they load nothing from elsewhere."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def page() -> FileResponse:
        return FileResponse(_PAGE / "index.html", headers=_PAGE_HEADERS)

    @router.get("/arena")
    async def voting() -> FileResponse:
        return FileResponse(_PAGE / "arena.html", headers=_PAGE_HEADERS)

    @router.get("/rate")
    async def rating() -> FileResponse:
        return FileResponse(_PAGE / "rate.html", headers=_PAGE_HEADERS)

    @router.get("/page/{name}")
    async def part(name: str) -> FileResponse:
        kinds = {".js": "text/javascript", ".css": "text/css"}
        file = next((file for file in _PAGE.iterdir() if file.name == name and file.suffix in kinds), None)
        if file is None:
            raise errors.unknown_address()
        return FileResponse(file, headers=_PAGE_HEADERS, media_type=kinds[file.suffix])

    return router


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: wrong requests get 400 here, not FastAPI's 422, and ``/v1`` may need a key."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for path, methods in made["paths"].items():
            for operation in methods.values():
                operation["responses"].pop("422", None)
                if path.startswith("/v1/"):
                    operation["security"] = [{}, {"key": []}]
        parts = made.setdefault("components", {})
        for name in ("HTTPValidationError", "ValidationError"):
            parts.get("schemas", {}).pop(name, None)
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = made
    return app.openapi_schema
