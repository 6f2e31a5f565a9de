"""Runs: every pipeline run that the registry has, what was cached in it, what works now; and starting one."""

from __future__ import annotations

import os
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from core.errors import InputProblem
from deploy.console.console import Console, allowed
from deploy.console.forms import form
from deploy.console.rendering import page
from deploy.console.starting import OFFERED, start
from registry.lineage import listing
from registry.store.run_locks import at_work


def routes(console: Console) -> APIRouter:
    router = APIRouter()

    @router.get("/runs")
    def runs(request: Request, before: Annotated[int | None, Query(ge=1, lt=2**31)] = None) -> Response:
        with console.read() as session:
            found = listing.runs(session, before)
        more = found[-1].id if len(found) == listing.ROWS else None
        working = at_work(console.workspace) if before is None else []
        return page(
            request, console, "runs.html", runs=found, more=more, working=working, offered=OFFERED,
            startable=bool(os.environ.get("PREFECT_API_URL")),
            decisions=console.decisions.all() if before is None else [],
        )  # fmt: skip

    @router.post("/runs/start")
    async def begin(request: Request) -> Response:
        person = allowed(request, "operator")
        given = await form(request)
        deployment = given.get("deployment", "")
        if deployment not in OFFERED:
            raise InputProblem(f"{deployment!r} cannot be started here; {', '.join(OFFERED)} can")
        started = await run_in_threadpool(start, deployment, person.name)
        return page(request, console, "started.html", deployment=deployment, started=started)

    @router.get("/runs/{name}")
    def run(request: Request, name: str) -> Response:
        with console.read() as session:
            found = listing.run(session, name)
        return page(request, console, "run.html", run=found)

    return router
