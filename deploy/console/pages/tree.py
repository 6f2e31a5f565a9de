"""The family tree of a version as a graph, the card of an artifact, and what descends from a file."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from core.numbers import measured
from deploy.console.console import Console
from deploy.console.rendering import HEADERS, page, quoted
from registry.integrity import history
from registry.lineage import listing
from registry.lineage.card import cards
from registry.lineage.family_tree import graph
from registry.lineage.impact import impact
from registry.lineage.trace import ArtifactNode, Trace, trace

MOST_DRAWN = 500  # artifacts; a graph of more shows nothing to people
SHOWN = 200  # of what descends from something


def routes(console: Console) -> APIRouter:
    router = APIRouter()

    def traced(of: str) -> Trace:
        with console.read() as session:
            history.require_for(console.workspace, session, of)
            return trace(session, of)

    @router.get("/tree")
    def tree(request: Request, of: str = "", subject: str = "") -> Response:
        if of:
            found = traced(of.strip())
            name = f"{found.model}:{found.version}"
            nodes = found.artifacts()
            return page(
                request, console, "tree.html", name=name, nodes=nodes[:MOST_DRAWN], count=len(nodes),
                drawn=len(nodes) <= MOST_DRAWN,
            )  # fmt: skip
        if subject:
            return RedirectResponse(f"/where-used?subject={quoted(subject.strip())}", 303)
        with console.read() as session:
            models, doubt = listing.registered(session), console.doubt(session)
        return page(request, console, "trees.html", models=models, doubt=doubt)

    @router.get("/tree/graph.json")
    def drawn(of: str) -> Response:
        nodes, edges = graph(traced(of))
        return JSONResponse(
            {
                "nodes": [_node(node) for node in nodes.values()],
                "edges": [{"source": "/".join(a), "target": "/".join(b)} for a, b in sorted(edges)],
            },
            headers=HEADERS,
        )

    @router.get("/artifacts/{digest}")
    def artifact(request: Request, digest: str, type: str = "") -> Response:
        with console.read() as session:
            found = cards(session, digest)
        chosen = [card for card in found if card.type == type] or found
        return page(request, console, "artifact.html", cards=chosen, digest=digest)

    @router.get("/where-used")
    def where_used(request: Request, subject: str) -> Response:
        with console.read() as session:
            history.require_for(console.workspace, session, subject)
            found = impact(session, console.workspace, subject.strip())
        return page(request, console, "where_used.html", found=found, shown=SHOWN)

    return router


def _node(node: ArtifactNode) -> dict[str, str]:
    metric = f"{node.metric.name} {measured(node.metric.value, node.metric.stderr)}" if node.metric else ""
    made = node.made_by.stage if node.made_by else node.origin or node.type
    return {
        "id": f"{node.type}/{node.digest}", "type": node.type, "digest": node.digest,
        "label": "\n".join(filter(None, (node.model or node.name, made, metric))),
    }  # fmt: skip
