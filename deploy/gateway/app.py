"""The HTTP application: endpoints, and what stands before them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response

from deploy.gateway import errors
from deploy.gateway.fleet import Fleet
from deploy.gateway.generation import Answering, ClientGone
from deploy.gateway.guard import Guard, Keyring
from deploy.gateway.metrics import Measured, Metrics
from deploy.gateway.routes import classification, generation, models, operation, page
from deploy.gateway.settings import Settings

ABOUT = (
    "OpenAI's API for the models of a Stemma registry. Every answer names the version that gave it (x-stemma-model)."
)


def build(fleet: Fleet, metrics: Metrics, keyring: Keyring, settings: Settings) -> FastAPI:
    """The application; its fleet starts and stops with it."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        fleet.start()
        try:
            yield
        finally:
            await fleet.stop()

    app = FastAPI(
        title="Stemma gateway", version="1", description=ABOUT, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    errors.register(app)

    @app.exception_handler(ClientGone)
    async def gone(_: Request, error: ClientGone) -> Response:
        return Response(status_code=499)  # nobody reads it; the figures count it

    app.include_router(generation.router(Answering(fleet, metrics, settings.limits)))
    app.include_router(classification.router(fleet, metrics, settings.limits))
    app.include_router(models.router(fleet))
    app.include_router(operation.router(fleet, metrics, keyring))
    app.include_router(page.router())
    app.add_middleware(Guard, keyring=keyring, limits=settings.limits, loopback=settings.loopback)
    paths = frozenset({path for path in _document(app)["paths"] if "{" not in path} | {"/"})
    app.add_middleware(Measured, metrics=metrics, paths=paths)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    """The OpenAPI document: wrong requests get 400 here, not FastAPI's 422, and a key where keys are asked for."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for path, methods in made["paths"].items():
            for operation_ in methods.values():
                operation_["responses"].pop("422", None)
                if path.startswith("/v1/"):
                    operation_["security"] = [{}, {"key": []}]
        parts = made.setdefault("components", {})
        for name in ("HTTPValidationError", "ValidationError"):
            parts.get("schemas", {}).pop(name, None)
        parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        app.openapi_schema = made
    return app.openapi_schema
