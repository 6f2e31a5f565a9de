"""``stemma chat``: a conversation in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import contextlib

    from deploy.gateway.client import Conversation

EPILOG = """[bold]Examples[/]

stemma chat                                    with the champion of the assistant

stemma chat assistant:2 --temperature 0.7 --top-p 0.95 --top-k 40 --seed 7

stemma chat --url https://models.example.org   STEMMA_API_KEY has the key

echo "How many parameters does this function take? def f ( a , b )" | stemma chat
"""
KEY = "STEMMA_API_KEY"


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(chat)


def chat(
    model: Annotated[str, typer.Argument(metavar="[MODEL[@ALIAS|:VERSION]]")] = "assistant@champion",
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Gateway to use; by default that of `stemma up`, else one started for this session."
        ),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.0, max=2.0, help="0 always takes the likeliest token.")] = 0.0,
    top_p: Annotated[
        float | None, typer.Option(min=0.01, max=1.0, help="Sample from the likeliest tokens of this mass.")
    ] = None,
    top_k: Annotated[int | None, typer.Option(min=0, help="Sample from so many likeliest tokens; 0: all.")] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Tokens of an answer at most.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answers.")] = None,
    system: Annotated[str | None, typer.Option(help="A system message before all others.")] = None,
) -> None:
    """Chat with a registered model; answers are streamed.

    Uses the gateway of `stemma up` if it serves the model, else starts one for the session. /reset clears the
    conversation, /quit or Ctrl-D ends the session, Ctrl-C stops an answer. STEMMA_API_KEY holds the gateway's API key,
    if it requires one.
    """
    import contextlib
    import os
    import sys

    from deploy.gateway.client import Conversation, served_models

    sampling = {
        "temperature": temperature, "top_p": top_p, "top_k": top_k, "max_tokens": max_tokens, "seed": seed,
    }  # fmt: skip
    key = os.environ.get(KEY)
    with contextlib.ExitStack() as stack:
        url, key = (url.rstrip("/"), key) if url else _gateway(stack, model, key)
        known = next((row for row in served_models(url, key) if model in (row["id"], *row.get("names", ()))), None)
        conversation = Conversation(
            url, model, known is None or known.get("chat", True), key, system, sampling,
        )  # fmt: skip
        if known is not None:
            print(f"{known.get('version', model)} at {url} (/reset, /quit)", file=sys.stderr)
        _talk(conversation)


def _gateway(stack: contextlib.ExitStack, model: str, key: str | None) -> tuple[str, str | None]:
    """(URL, key) of the stack's gateway where that serves the model, else of one that ends with the command."""
    import sys

    from core.workspace import Workspace
    from deploy.gateway.client import ChatFailed, served_models, temporary_gateway
    from deploy.stack import state, tokens

    workspace = Workspace.find()
    running = state.read(workspace.home)
    url = running.gateway_url if running else None
    if url is not None:
        shown = key or tokens.read(workspace.home).get(state.GATEWAY)
        try:
            if any(model in (row["id"], *row["names"]) for row in served_models(url, shown)):
                return url, shown
        except ChatFailed as problem:
            print(f"The stack's gateway: {problem}", file=sys.stderr)
    own = temporary_gateway(workspace.root, model, lambda text: print(text, file=sys.stderr))
    return stack.enter_context(own), key


def _talk(conversation: Conversation) -> None:
    """Questions and answers until the end of the input; not at a terminal, the first failure ends it."""
    import contextlib
    import sys

    from deploy.gateway.client import ChatFailed

    at_terminal = sys.stdin.isatty()
    if at_terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  input() edits lines by it
    while True:
        try:
            question = input("> " if at_terminal else "").strip()
        except (EOFError, KeyboardInterrupt):
            print(file=sys.stderr)
            return
        if question in ("/quit", "/exit"):
            return
        if question == "/reset":
            conversation.reset()
            print("Conversation cleared.", file=sys.stderr)
            continue
        if not question:
            continue
        left_out, pieces = conversation.left_out, conversation.ask(question)
        try:
            for piece in pieces:
                print(piece, end="", flush=True)
            print()
            if conversation.left_out > left_out:
                note = f"{conversation.left_out} of the oldest messages were left out: the model's context is full"
                print(f"({note})", file=sys.stderr)
        except KeyboardInterrupt:
            pieces.close()  # hangs up, which ends the work on the answer
            print(" (stopped)")
        except ChatFailed as problem:
            if not at_terminal:
                raise
            print(problem, file=sys.stderr)
