"""Errors, always in OpenAI's shape, so that every client of that API can read them; and their documentation."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

_CODES = {413: "request_too_large"}
SHOWN_PROBLEMS = 20  # of one request; a message as long as the request itself helps nobody
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "invalid_request_error", 429: "rate_limit_error"}


class ApiError(Exception):
    """A request that cannot be answered.

    Args:
        status: HTTP status.
        message: what is wrong and what to do, for the sender of the request.
        code: an identifier for programs.
        param: the field at fault.
        retry_after: seconds after which to try again.
    """

    def __init__(
        self, status: int, message: str, code: str, *, param: str | None = None, retry_after: float | None = None
    ):
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = {} if retry_after is None else {"retry-after": str(max(1, round(retry_after)))}
        if status == 401:
            self.headers["www-authenticate"] = "Bearer"

    @property
    def body(self) -> dict[str, Any]:
        """OpenAI's shape."""
        default = "invalid_request_error" if self.status < 500 else "server_error"
        kind = _TYPES.get(self.status, default)
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        return JSONResponse(self.body, self.status, self.headers)


def unknown_address() -> ApiError:
    return ApiError(404, "no such address; /openapi.json lists all of them", "unknown_url")


def register(app: FastAPI) -> None:
    """Give every error of ``app`` OpenAI's shape."""

    @app.exception_handler(ApiError)
    async def refused(_: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        problems = [_sentence(problem) for problem in found[:SHOWN_PROBLEMS]]
        if len(found) > SHOWN_PROBLEMS:
            problems.append(f"and {len(found) - SHOWN_PROBLEMS} more")
        first = _place(found[0]) if found else None
        return ApiError(400, "; ".join(problems), "invalid_request", param=first or None).response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        message, code = str(error.detail), _CODES.get(error.status_code, "invalid_request")
        if error.status_code == 405:
            message, code = "this address takes another method; see /openapi.json", "method_not_allowed"
        shown = unknown_address() if error.status_code == 404 else ApiError(error.status_code, message, code)
        response = shown.response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def defect(request: Request, error: Exception) -> JSONResponse:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return ApiError(500, "the gateway failed; see its log", "internal_error").response()


def _place(problem: dict[str, Any]) -> str:
    """Where it is; no longer than anybody wants to read, since names of fields are the sender's."""
    return ".".join(str(part) for part in problem["loc"] if part != "body" and not isinstance(part, dict))[:200]


def _sentence(problem: dict[str, Any]) -> str:
    """A problem with its place; never with the value that was sent, which may be long, secret or no text at all."""
    if problem["type"] == "json_invalid":
        return "the body is not JSON"
    place, message = _place(problem), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = "is not a field of this endpoint; leave it out"
    return f"{place}: {message}" if place else f"the body: {message}"


_DOCUMENTED = {
    400: "The request is wrong; the message says where",
    401: "No valid API key",
    403: "The request names another host than this machine, and there are no API keys",
    404: "No such model",
    408: "The request did not arrive in time",
    413: "The request is too large",
    415: "The body is not application/json",
    429: "Too many requests; Retry-After says when to try again",
    502: "The engine failed",
    503: "No engine is ready, or too many requests wait; Retry-After says when to try again",
    504: "The answer took too long",
}


class ErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(BaseModel):
    """Every refusal and failure."""

    error: ErrorBody


def documented_responses(content: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """FastAPI's ``responses``: the good answer's ``content``, where FastAPI does not know it, and every error."""
    refusals: dict[int | str, dict[str, Any]] = {
        code: {"model": ErrorAnswer, "description": text} for code, text in _DOCUMENTED.items()
    }
    return {**({200: {"description": "The answer", "content": content}} if content else {}), **refusals}
