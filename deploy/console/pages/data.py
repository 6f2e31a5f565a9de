"""Data: what a corpus is made of, documents of it, a search in it, and what the rules dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, Response

from components.corpora import finding
from components.corpora.shards import Corpus
from components.corpora.summary import summarize, tokens_of
from core.errors import InputProblem
from deploy.console.console import Console
from deploy.console.rendering import HEADERS, page
from deploy.corpora import card, open_corpus
from registry.errors import MissingBytes, RegistryError
from registry.lineage import listing

DOCUMENTS = 10  # on a page
VALUES = 20  # of a column
# A document of its own, that shows what others wrote: what it may run and load is its own policy, by digests; it has no
# origin, so no script in it could act in the reader's name.
CARD_HEADERS = {**HEADERS, "content-security-policy": "sandbox allow-scripts; frame-ancestors 'self'"}
Seed = Annotated[int, Query(ge=0, lt=2**31)]


def routes(console: Console) -> APIRouter:
    router = APIRouter()

    def allowed(name: str) -> str | None:
        """The name of a run, a version, a revision or a folder of the workspace: a page reads no other folder."""
        if name and Path(console.workspace.root, name).exists():
            folder = Path(console.workspace.root, name).resolve()
            if not folder.is_relative_to(console.workspace.root.resolve()):
                raise InputProblem(f"{name} is outside the workspace; `stemma data show` reads it in a terminal")
            return str(folder)
        if name.startswith(("/", "~", ".")):
            raise InputProblem(f"{name}: no such folder in the workspace")
        return name or None

    def opened(name: str) -> tuple[Corpus, dict[str, Any]]:
        return open_corpus(console.workspace, allowed(name))

    @router.get("/data")
    def data(request: Request, corpus: str = "") -> Response:
        with console.read() as session:
            names = [run.name for run in listing.runs(session)]
        try:
            found, reports = opened(corpus.strip())
        except (InputProblem, RegistryError) as problem:
            status = 400 if corpus else 200  # data/corpus itself is not made yet
            return page(
                request, console, "data.html", status, corpus=corpus, runs=names, found=None, problem=str(problem)
            )
        summary = summarize(found)
        rules = (reports["report"] or {}).get("rules", [])
        return page(
            request, console, "data.html", corpus=corpus, runs=names, found=found, problem=None, summary=summary,
            tokens=tokens_of(summary, reports["tokenized"]), rules=rules, values=VALUES,
            has_card=reports["report"] is not None,
        )  # fmt: skip

    @router.get("/data/card")
    def shown_card(request: Request, corpus: str = "") -> Response:
        try:
            return HTMLResponse(card(console.workspace, allowed(corpus.strip())), headers=CARD_HEADERS)
        except MissingBytes as problem:
            answer = page(request, console, "problem.html", 400, problems=[str(problem)])
            policy = answer.headers["content-security-policy"]  # shown in the frame as the card would be
            answer.headers["content-security-policy"] = policy.replace(
                "frame-ancestors 'none'", "frame-ancestors 'self'"
            )
            return answer

    @router.get("/data/documents")
    def documents(
        request: Request, corpus: str = "", split: str = "", rule: str = "", phrase: str = "", seed: Seed = 0
    ) -> Response:
        found, reports = opened(corpus.strip())
        hits: list[finding.Hit] = []
        rows: list[dict[str, Any]] = []
        seen = 0
        if phrase:
            found.require_split(split or None)
            hits, seen = finding.search(found, phrase, DOCUMENTS, split or None)
        elif rule:
            rows = finding.dropped(reports["report"], found.name, rule, DOCUMENTS, seed)
        else:
            rows = finding.sample(found, DOCUMENTS, seed, split or None)
        total = found.count(split) if split else found.documents
        return page(
            request, console, "documents.html", corpus=corpus, found=found, split=split, rule=rule, phrase=phrase,
            seed=seed, hits=hits, seen=seen, rows=rows, total=total, most=DOCUMENTS,
        )  # fmt: skip

    return router
