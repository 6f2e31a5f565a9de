"""``stemma serve``: the gateway, in this terminal."""

from __future__ import annotations

from typing import Annotated

import typer

EPILOG = """[bold]Examples[/]

stemma serve                                   the assistant's champion and candidate, and the classifier's champion

stemma serve base@champion --port 8080

stemma serve --feedback-days 30                answers that people rate, edit and allow to be trained on

stemma keys add laptop && stemma serve --host 0.0.0.0      open to other machines, with a key

stemma serve --engine "llama-server -m {model} --port {port}"      any engine that speaks OpenAI's API

curl localhost:8000/v1/chat/completions -H 'content-type: application/json' \\\\
     -d '{"model": "assistant", "messages": [{"role": "user", "content": "Hello"}]}'
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=EPILOG)(serve)


def serve(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL[@ALIAS|:VERSION]]...", help="What to serve.")
    ] = None,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="Listen here; beyond loopback only with keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(metavar="PORT", min=0, max=65535, help="0 takes a free one.")] = 8000,
    engine: Annotated[
        str, typer.Option(metavar="NAME", help="auto, transformers, vllm, or a command with {model} and {port}.")
    ] = "auto",
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of one answer at most.")] = 4096,
    rate_limit: Annotated[int, typer.Option(min=0, help="Requests a minute and key; 0: no limit.")] = 600,
    timeout: Annotated[int, typer.Option(min=1, metavar="SECONDS", help="For a whole answer.")] = 600,
    feedback_days: Annotated[
        int,
        typer.Option(
            min=0, max=3650, envvar="STEMMA_FEEDBACK_DAYS", help="Keep answers that people allow to be kept; 0: none."
        ),
    ] = 0,
) -> None:
    """Serve models over OpenAI's API until Ctrl-C, with a page to chat in.

    Each model's files are verified against their signature before an engine may load them. When an alias moves (a
    promotion or a rollback) the new version is started beside the old one, which answers until the new one does; no
    request fails meanwhile. A version that does not verify or start is refused, and the old one keeps serving.

    API keys: `stemma keys add NAME` makes one and shows it once; only its hash is kept. From the first key on every
    request to /v1/ needs one, in the header `Authorization: Bearer KEY`. Without keys the gateway listens on loopback
    only.

    Feedback: with `--feedback-days N` the pages ask whether answers may be kept and trained on, and take thumbs, stars
    and edits; `stemma feedback export` makes training data of them. Personal data of a fixed form is replaced, and
    everything is deleted after N days.
    """
    import os

    from core import python
    from core.environment import child_environment
    from core.workspace import Workspace

    root = Workspace.find().root
    command = python.command("deploy.gateway", "--host", host, "--port", str(port), "--engine", engine)
    command += ["--max-tokens", str(max_tokens), "--rate-limit", str(rate_limit), "--timeout", str(timeout)]
    command += ["--feedback-days", str(feedback_days)]
    command += [word for model in models or () for word in ("--model", model)]
    os.chdir(root)
    os.execve(command[0], command, child_environment())
