"""Compare: what two versions were made of differently, and which of them answers better."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response

from components.comparison.paired import PairedMetric
from components.comparison.paired import compare as compare_items
from core.errors import InputProblem, StemmaError
from deploy.comparison import sides
from deploy.console.console import Console
from deploy.console.rendering import page
from registry.db.references import parse
from registry.integrity import history
from registry.lineage.diff import diff

FLIPS = 10  # of each metric that are shown


def routes(console: Console) -> APIRouter:
    router = APIRouter()

    @router.get("/compare")
    def compare(request: Request, a: str = "", b: str = "") -> Response:
        if not a.strip() or not b.strip():
            return page(request, console, "compare.html", a=a, b=b, found=None)
        for text in (a, b):
            parse(text)  # a version, and no path: the command reads folders, too
        with console.read() as session:
            history.require_for(console.workspace, session, a, b)
            found = diff(session, console.workspace, a, b)
        metrics: list[PairedMetric] = []
        differences: list[str] = []
        problem = None
        try:
            one, other, differences = sides(console.workspace, console.registry, a, b)
            metrics = compare_items(one.items, other.items, one.directions | other.directions)
            if not metrics:
                raise InputProblem("they share no item: they were measured on different data or tasks")
        except StemmaError as error:  # what they were made of can be compared all the same
            problem = str(error)
        return page(
            request, console, "compare.html", a=a, b=b, found=found, metrics=metrics, differences=differences,
            problem=problem, flips=FLIPS,
        )  # fmt: skip

    return router
