"""Evaluate: the metrics of a model's latest versions side by side, and the arena's leaderboard."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from deploy.console.console import Console
from deploy.console.rendering import page
from deploy.leaderboard import CurrentLeaderboard
from registry.lineage import listing

VERSIONS = 8  # side by side


def routes(console: Console) -> APIRouter:
    router, current = APIRouter(), CurrentLeaderboard()

    @router.get("/evaluate")
    def evaluate(request: Request, model: str = "") -> Response:
        with console.read() as session:
            models = [each.name for each in listing.registered(session)]
            chosen = model or (models[0] if models else "")
            table = listing.metrics_table(session, chosen, VERSIONS) if chosen else None
            doubt = console.doubt(session)
        board = current.of(console.registry)
        return page(
            request, console, "evaluate.html", models=models, model=chosen, table=table, board=board, doubt=doubt
        )

    return router
