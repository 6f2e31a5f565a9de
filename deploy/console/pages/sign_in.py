"""Signing in with an API key, and out."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from deploy.console.access import COOKIE, SESSION_SECONDS, Sessions, own_path
from deploy.console.console import Console
from deploy.console.forms import form
from deploy.console.rendering import page

WAIT_SECONDS = 1.0  # after a wrong key


def routes(console: Console, sessions: Sessions) -> APIRouter:
    router = APIRouter()

    @router.get("/sign-in")
    def ask(request: Request, back: str = "/") -> Response:
        return page(request, console, "sign_in.html", back=own_path(back), problem=None)

    @router.post("/sign-in")
    async def sign_in(request: Request) -> Response:
        given = await form(request)
        back = own_path(given.get("back", "/"))
        secret = sessions.start(given.get("key", ""))
        if secret is None:
            await asyncio.sleep(WAIT_SECONDS)
            problem = "This key opens nothing here: it is wrong, was revoked, or has no role."
            return page(request, console, "sign_in.html", 403, back=back, problem=problem)
        answer = RedirectResponse(back, 303)
        answer.set_cookie(COOKIE, secret, max_age=int(SESSION_SECONDS), httponly=True, samesite="strict")
        return answer

    @router.post("/sign-out")
    def sign_out(request: Request) -> Response:
        sessions.end(request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/sign-in", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    return router
