"""Promoting a version and rolling an alias back: a reason, a second look, and then what the commands do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from core.errors import InputProblem
from deploy.console.console import Console, allowed
from deploy.console.forms import form
from deploy.console.rendering import page, quoted
from registry.db.references import current, find_model, resolve
from registry.errors import PromotionRefused
from registry.lineage import listing
from registry.lineage.catalog import ModelSummary
from registry.promotion.promote import PromotionOutcome, assess, check_request, promote
from registry.promotion.rollback import holders, rollback

Number = Annotated[int, Path(ge=1, lt=2**31)]
HOLDER = "holder"  # field of a second look: the version that held the alias when it was shown


def routes(console: Console) -> APIRouter:
    router = APIRouter()

    @router.get("/models/{model}/{version}/promote")
    def ask_to_promote(request: Request, model: str, version: Number) -> Response:
        allowed(request, "operator")
        with console.read() as session:
            resolve(session, f"{model}:{version}")
        return page(request, console, "promote.html", model=model, version=version, outcome=None, given={})

    @router.post("/models/{model}/{version}/promote")
    async def decide_to_promote(request: Request, model: str, version: Number) -> Response:
        person = allowed(request, "operator")
        given = await form(request)
        name, alias, reason = f"{model}:{version}", given.get("alias", ""), given.get("reason", "")
        check_request(alias, reason, person.name)
        force = given.get("force") == "yes"
        if force:
            allowed(request, "admin")
        gate = console.gate
        if HOLDER not in given:
            outcome = await run_in_threadpool(
                assess, console.workspace, name, alias, compare=gate.compare, pair=gate.pair
            )
            return page(
                request, console, "promote.html", model=model, version=version, outcome=outcome,
                given={"alias": alias, "reason": reason},
            )  # fmt: skip

        def do() -> PromotionOutcome:
            return promote(
                console.workspace, name, alias, reason, person.name, force=force, measure=gate.measure,
                compare=gate.compare, pair=gate.pair,
            )  # fmt: skip

        await run_in_threadpool(_alone, console, model, alias, given[HOLDER], do)
        return RedirectResponse(f"/models/{quoted(model)}/{version}", 303)

    @router.get("/models/{model}/aliases/{alias}/rollback")
    def ask_to_roll_back(request: Request, model: str, alias: str) -> Response:
        allowed(request, "operator")
        return page(
            request, console, "rollback.html", model=model, alias=alias, given={}, **_earlier(console, model, alias)
        )

    @router.post("/models/{model}/aliases/{alias}/rollback")
    async def decide_to_roll_back(request: Request, model: str, alias: str) -> Response:
        person = allowed(request, "operator")
        given = await form(request)
        reason = given.get("reason", "")
        check_request(alias, reason, person.name)
        if not re.fullmatch("[0-9]{1,9}", given.get("version", "")):
            raise InputProblem("version: choose the version to go back to")
        version = int(given["version"])
        if HOLDER not in given:
            found = await run_in_threadpool(_earlier, console, model, alias)
            if version not in [each.version for each in found["earlier"]]:
                raise PromotionRefused(f"{model}:{version} is no earlier holder of {model}@{alias}; choose another")
            shown = {"version": version, "reason": reason}
            return page(request, console, "rollback.html", model=model, alias=alias, given=shown, **found)

        def do() -> PromotionOutcome:
            return rollback(console.workspace, model, reason, person.name, alias=alias, to_version=version)

        await run_in_threadpool(_alone, console, model, alias, given[HOLDER], do)
        return RedirectResponse(f"/models/{quoted(model)}/{version}", 303)

    return router


def _alone(
    console: Console, model: str, alias: str, holder: str, decide: Callable[[], PromotionOutcome]
) -> PromotionOutcome:
    """Decide, where nobody else is deciding and the alias is held as it was at the second look.

    Raises:
        InputProblem: either is not so.
        StemmaError: as the decision itself.
    """
    if not console.deciding.acquire(blocking=False):
        raise InputProblem("another decision is being made; wait for its end and look at its outcome first")
    try:
        with console.read() as session:
            standing = current(session, find_model(session, model).id, alias)
            now = str(standing.to_version.version) if standing else ""
        if now != holder:
            raise InputProblem(
                f"{model}@{alias} has moved since you looked: {f'version {now}' if now else 'no version'} holds it "
                "now; nothing was changed, so look again"
            )
        return decide()
    finally:
        console.deciding.release()


def _earlier(console: Console, model: str, alias: str) -> dict[str, Any]:
    """The holder of an alias, and its earlier holders, the last one first."""
    with console.read() as session:
        stack = [row.version for row in holders(session, find_model(session, model).id, alias)]
        numbers = list(dict.fromkeys(number for number in reversed(stack[:-1]) if number != stack[-1]))
        if not numbers:
            raise PromotionRefused(f"{model}@{alias} has no earlier holder to go back to; promote a version instead")
        earlier: list[ModelSummary] = []
        for number in numbers[: listing.ROWS]:
            earlier += listing.versions(session, model, number + 1, rows=1)
    return {"holder": stack[-1], "earlier": earlier}
