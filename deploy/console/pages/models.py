"""Models: what is registered, a model's versions and history, and one version with its metrics."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import RedirectResponse, Response

from deploy.console.console import Console
from deploy.console.rendering import page
from registry.db.references import current_aliases, find_model, resolve
from registry.integrity.verification import signatures_of
from registry.lineage import listing
from registry.lineage.catalog import metrics_of
from registry.lineage.deployments import of_version
from registry.promotion.history import decisions, verdict_of

Number = Annotated[int, Path(ge=1, lt=2**31)]
Before = Annotated[int | None, Query(ge=1, lt=2**31)]
Skipped = Annotated[int, Query(ge=0, lt=2**31)]


def routes(console: Console) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    def first() -> Response:
        return RedirectResponse("/models", 303)

    @router.get("/models")
    def models(request: Request, after: str = "") -> Response:
        with console.read() as session:
            found, doubt = listing.registered(session, after), console.doubt(session)
        more = found[-1].name if len(found) == listing.ROWS else None
        return page(request, console, "models.html", models=found, more=more, doubt=doubt)

    @router.get("/models/{model}")
    def model(request: Request, model: str, before: Before = None) -> Response:
        with console.read() as session:
            found = listing.versions(session, model, before)
            recent = decisions(session, model, rows=5)
            aliases = [row.alias for row in current_aliases(session, find_model(session, model).id)]
            doubt = console.doubt(session)
        more = found[-1].version if len(found) == listing.ROWS else None
        return page(
            request, console, "model.html", model=model, versions=found, more=more, before=before, decisions=recent,
            aliases=aliases, doubt=doubt,
        )  # fmt: skip

    @router.get("/models/{model}/history")
    def history(request: Request, model: str, skip: Skipped = 0) -> Response:
        with console.read() as session:
            found, doubt = decisions(session, model, skip=skip), console.doubt(session)
        shown = [(record, verdict_of(console.workspace, record)) for record in found]
        more = skip + len(found) if len(found) == listing.ROWS else None
        return page(request, console, "history.html", model=model, decisions=shown, more=more, doubt=doubt)

    @router.get("/models/{model}/{version}")
    def version(request: Request, model: str, version: Number) -> Response:
        with console.read() as session:
            row = resolve(session, f"{model}:{version}")
            summary = listing.versions(session, model, version + 1, rows=1)[0]
            maker = row.execution
            values: dict[str, Any] = {
                "summary": summary,
                "metrics": metrics_of(session, row.artifact_id),
                "keys": [signature.key_id for signature in signatures_of(session, row)],
                "deployments": of_version(session, row.id),
                "stage": maker.stage,
                "run": listing.run_of(session, maker.id),
                "mlflow": (maker.mlflow_experiment_id, maker.mlflow_run_id) if maker.mlflow_run_id else None,
                "flow_run": maker.prefect_flow_run_id,
                "parameters": maker.non_default,
                "doubt": console.doubt(session),
            }
            recent = decisions(session, model, version=version)
        shown = [(record, verdict_of(console.workspace, record)) for record in recent]
        return page(request, console, "version.html", decisions=shown, **values)

    return router
