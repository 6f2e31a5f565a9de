"""Forms that browsers send: bounded, each field at most once."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from core.errors import InputProblem

MOST_FIELDS = 50


async def form(request: Request) -> dict[str, str]:
    """The fields of a form by name.

    Raises:
        InputProblem: it is too large, no form, or not UTF-8.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise InputProblem("the request is not a form")
    try:
        body = (await request.body()).decode()
        fields = parse_qsl(body, keep_blank_values=True, max_num_fields=MOST_FIELDS, errors="strict")
    except ClientDisconnect:
        raise InputProblem("the form is too large; shorten what was written") from None
    except ValueError:  # not UTF-8, or too many fields
        raise InputProblem("the form cannot be read") from None
    # Browsers end lines in text areas by CR LF, and reasons are recorded as the command would.
    return {name: value.replace("\r\n", "\n").strip() for name, value in fields}
