"""Promoting a version and rolling an alias back: a reason, a second look, and then what the commands do."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response

from core.errors import InputProblem
from deploy.console.console import Console, allowed
from deploy.console.deciding import Decision, Say
from deploy.console.forms import form
from deploy.console.rendering import page, quoted
from registry.db.references import current, find_model, resolve
from registry.errors import PromotionRefused, UnknownReference
from registry.lineage import listing
from registry.lineage.catalog import ModelSummary
from registry.promotion.promote import PromotionOutcome, assess, check_request, promote
from registry.promotion.rollback import holders, rollback

Number = Annotated[int, Path(ge=1, lt=2**31)]
WAIT_SECONDS = 2.0  # for a decision, before its own page is shown
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

        def decide(say: Say) -> PromotionOutcome:
            _require_holder(console, model, alias, given[HOLDER])
            measure = gate.measuring(say) if gate.measuring else None
            return promote(
                console.workspace, name, alias, reason, person.name, force=force, measure=measure,
                compare=gate.compare, pair=gate.pair,
            )  # fmt: skip

        what = f"{'forced ' if force else ''}promotion of {name} to @{alias}"
        return await _decided(console, what, f"/models/{quoted(model)}/{version}", person.name, decide)

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

        def decide(say: Say) -> PromotionOutcome:
            _require_holder(console, model, alias, given[HOLDER])
            say(f"hashing the files of {model}:{version}")
            return rollback(console.workspace, model, reason, person.name, alias=alias, to_version=version)

        what = f"rollback of @{alias} to {model}:{version}"
        return await _decided(console, what, f"/models/{quoted(model)}/{version}", person.name, decide)

    def asked_for(identity: str) -> Decision:
        found = console.decisions.find(identity)
        if found is None:
            raise UnknownReference(
                "this console knows no such decision: it was started anew since, or many have been made; the history "
                "of the model says what was decided"
            )
        return found

    @router.get("/decisions/{identity}/state")
    def state(identity: str) -> Response:
        found = asked_for(identity)
        return JSONResponse({"at_work": found.at_work, "lines": found.steps}, headers={"cache-control": "no-store"})

    @router.get("/decisions/{identity}")
    def decision(request: Request, identity: str) -> Response:
        found = asked_for(identity)
        if found.outcome is not None:
            return RedirectResponse(found.page, 303)
        return page(request, console, "decision.html", decision=found)

    return router


async def _decided(
    console: Console, what: str, where: str, person: str, decide: Callable[[Say], PromotionOutcome]
) -> Response:
    """The page of the outcome, where it is there in a moment; else the one on which it is waited for.

    Raises:
        InputProblem: another decision is being made.
        StemmaError: as the decision itself, where it ends in a moment.
    """
    begun = console.decisions.start(what, where, person, decide)
    await run_in_threadpool(begun.ended.wait, WAIT_SECONDS)
    if begun.problem is not None:
        raise begun.problem
    return RedirectResponse(f"/decisions/{begun.id}" if begun.at_work else where, 303)


def _require_holder(console: Console, model: str, alias: str, holder: str) -> None:
    """Raise an :class:`InputProblem` where the alias is not held as it was at the second look."""
    with console.read() as session:
        standing = current(session, find_model(session, model).id, alias)
        now = str(standing.to_version.version) if standing else ""
    if now != holder:
        raise InputProblem(
            f"{model}@{alias} has moved since you looked: {f'version {now}' if now else 'no version'} holds it now; "
            "nothing was changed, so look again"
        )


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
