"""Prefect's server behind the guard: what ``prefect server start`` does in its process, around the same application.

``python -m deploy.stack.prefect_server --host HOST --port PORT``, with Prefect's own variables.
"""

from __future__ import annotations

import argparse

from deploy.stack.guard import guarded

LOG_LEVEL = "warning"  # below it, uvicorn writes down every address that is asked for


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.stack.prefect_server")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    arguments = parser.parse_args()

    import uvicorn
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    api = get_current_settings().server.api
    uvicorn.run(
        guarded(create_app(final=True)),
        host=arguments.host,
        port=arguments.port,
        timeout_keep_alive=api.keepalive_timeout,
        ws_ping_interval=api.websocket_ping_interval,
        ws_ping_timeout=api.websocket_ping_timeout,
        log_level=LOG_LEVEL,
    )


if __name__ == "__main__":
    main()
